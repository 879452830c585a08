"""A project folder in which a file is damaged or missing: one error names it, and nothing is changed."""

import errno
import json
import os
import resource
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import keras_tuner as kt
import pandas as pd
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError
from recdrop_tune.tuner import TrackedOracle
from tests.small_search import build, contents, data, pretend_to_train, tuned

DONE, MOST = 3, 5
"""The trials before the damage, and those that the search is to have in the end."""


class Quick(kt.HyperModel):
    """Reports epochs without any training."""

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, callbacks=(), epochs=1, **kwargs):
        rate = hp.get("rate") if "rate" in hp else 0.6
        losses = [abs(rate - 0.3) + 0.1 * epoch for epoch in range(epochs)]
        return pretend_to_train(model, callbacks, losses)


def search(folder: Path, max_trials: int):
    tracking = rdt.MLflow(uri=f"sqlite:///{folder.parent}/mlflow.db")
    return tuned(folder, tracking, Quick(), epochs=2, max_trials=max_trials)


@pytest.fixture(scope="module")
def original(tmp_path_factory, new_store):
    base = tmp_path_factory.mktemp("original")
    new_store(base)
    search(base / "project", DONE)
    return base


@pytest.fixture
def project(original, tmp_path):
    """A copy of the folder of a search that has ended."""
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy" / "project"


def damage(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
        return
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0x80]) + content[middle + 1 :]
    path.write_bytes({"empty": b"", "half": content[:middle], "flipped": flipped}[how])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("search.json", "empty"),
        ("oracle.json", "gone"),
        ("oracle.json", "half"),
        ("trial_0/trial.json", "gone"),
        ("trial_0/trial.json", "flipped"),
        ("tuner0.json", "empty"),
        ("events.jsonl", "flipped"),
        ("events.jsonl", "gone"),
        ("events.jsonl", "half"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_changed(project, name, how):
    damage(project / name, how)
    before = contents(project)
    with pytest.raises(ProjectError, match=name.replace(".", r"\.")):
        search(project, MOST)
    assert contents(project) == before


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("oracle.json", "start_order", ["0", "0", "1", "2"]),
        ("trial_0/trial.json", "score", None),
        ("trial_0/trial.json", "score", float("nan")),
        ("trial_0/trial.json", "status", "DONE"),
    ],
)
def test_an_edited_value_is_damage(project, name, key, value):
    """But readers do not need Keras Tuner's files."""
    expected = rdt.TuneResult.load(project).trials
    edited = {**json.loads((project / name).read_text()), key: value}
    (project / name).write_text(json.dumps(edited))
    with pytest.raises(ProjectError, match=rf"{name}` is damaged"):
        search(project, MOST)
    pd.testing.assert_frame_equal(rdt.TuneResult.load(project).trials, expected)


@pytest.mark.parametrize("name", ["events.jsonl", "trial_0/trial.json", "result/trials.csv"])
def test_a_pipe_instead_of_a_file_does_not_block(project, name):
    (project / name).unlink()
    os.mkfifo(project / name)
    for read in (partial(search, project, MOST), partial(rdt.TuneResult.load, project)):
        with pytest.raises(ProjectError, match=rf"{name}` is not a file"):
            read()


def test_a_tracked_search_whose_journal_is_lost_does_not_resume(tmp_path):
    def tracked():
        place = {"directory": tmp_path, "project_name": "p"}
        tuner = kt.RandomSearch(Quick(), "val_loss", 2, **place)
        rdt.track(tuner, None)
        return tuner

    tracked().search(*data(8), validation_data=data(8), epochs=2, verbose=0)
    tracked()
    (tmp_path / "p" / "events.jsonl").unlink()
    with pytest.raises(ProjectError, match=r"events\.jsonl` is damaged: it is lost, or"):
        tracked()


HARMLESS = ("trial_0/build_config.json", "trial_0/checkpoint.weights.h5")
"""Files that do not matter to the search, besides the results."""


@pytest.mark.parametrize("how", ["gone", pytest.param("half", marks=pytest.mark.heavy)])
def test_a_search_resumes_without_other_files(project, how):
    """And trains nothing again. Keras Tuner's file of a tuner can be gone too."""
    trials = {path: path.read_bytes() for path in project.glob("trial_*/trial.json")}
    results = [path for path in project.glob("result/*") if path.is_file()]
    for path in (*results, *(project / name for name in HARMLESS)):
        damage(path, how)
    if how == "gone":
        damage(project / "tuner0.json", how)
    assert len(search(project, MOST).trials) == MOST
    assert {path: path.read_bytes() for path in trials} == trials


def test_a_file_that_cannot_be_opened_changes_nothing(project):
    """Too many open files, no rights, a disk that fails."""
    oracle = rdt.OptunaOracle("val_loss", MOST)
    oracle._set_project_dir(project.parent, project.name)
    before = contents(project)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(ProjectError, match=r"oracle\.json` cannot be read: .*Too many open"):
            oracle.reload()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert contents(project) == before


def test_an_end_that_could_not_be_reported_does_not_happen(tmp_path):
    def full(trial):
        raise OSError(errno.ENOSPC, "No space left on device")

    oracle = rdt.OptunaOracle("val_loss", MOST)
    oracle._set_project_dir(tmp_path, "p")
    tracked = TrackedOracle(oracle, None, SimpleNamespace(trial_ended=full))
    trial = oracle.create_trial("tuner0")
    with pytest.raises(OSError, match="No space left"):
        tracked.end_trial(SimpleNamespace(**{**vars(trial), "status": "FAILED"}))
    assert (trial.status, oracle.end_order) == ("RUNNING", [])
