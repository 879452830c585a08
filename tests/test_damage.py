"""A project folder in which a file is damaged or missing: one error names it, and nothing is changed."""

import errno
import math
import os
import resource
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import keras_tuner as kt
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError
from recdrop_tune.tuner import TrackedOracle
from tests.laws.cases import over
from tests.small_search import build, data

DONE, MOST = 3, 5
"""The trials before the damage, and those that the search is to have in the end."""


class Quick(kt.HyperModel):
    """Reports epochs without any training."""

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, callbacks=(), epochs=1, **kwargs):
        rate = hp.get("rate") if "rate" in hp else 0.6
        history = keras.callbacks.History()
        told = keras.callbacks.CallbackList([history, *callbacks], model=model)
        told.on_train_begin()
        for epoch in range(epochs):
            told.on_epoch_begin(epoch)
            told.on_epoch_end(epoch, {"loss": 1.0, "val_loss": abs(rate - 0.3) + 0.1 * epoch})
        told.on_train_end()
        return history


def search(folder: Path, max_trials: int, model=None, **more):
    options = {"epochs": 2, "seed": 0, "verbose": 0, **more}
    options["tracking"] = rdt.MLflow(uri=f"sqlite:///{folder.parent}/mlflow.db")
    model = model or Quick()
    return rdt.tune(data(8), data(8), model, directory=folder, max_trials=max_trials, **options)


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


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def damage(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
        return
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0x80]) + content[middle + 1 :]
    path.write_bytes({"empty": b"", "half": content[:middle], "flipped": flipped}[how])


STORE = ("search.json", "oracle.json", "trial_0/trial.json")
REFUSED = [(name, how) for name in STORE for how in ("gone", "empty", "half", "flipped")]
REFUSED += [("tuner0.json", "empty"), ("events.jsonl", "flipped")]


@over(("name", "how"), REFUSED)
def test_a_damaged_file_is_named_and_nothing_is_changed(project, name, how):
    damage(project / name, how)
    before = content(project)
    with pytest.raises(ProjectError, match=name.replace(".", r"\.")):
        search(project, MOST)
    assert content(project) == before


HARMLESS = [("tuner0.json", "gone"), ("events.jsonl", "gone")]
HARMLESS += [
    (name, how)
    for name in (
        "trial_0/build_config.json",
        "trial_0/checkpoint.weights.h5",
        "result/best_model.json",
        "result/best_model.keras",
        "result/best_model.py",
        "result/history.csv",
        "result/report.html",
        "result/summary.md",
        "result/trials.csv",
        "result/trials.json",
    )
    for how in ("gone", "half")
]
"""Keras Tuner's file of a tuner holds nothing; the others do not matter to the search."""


@pytest.mark.heavy
@over(("name", "how"), HARMLESS)
def test_a_search_resumes_without_other_files(project, name, how):
    trials = {path: path.read_bytes() for path in project.glob("trial_*/trial.json")}
    damage(project / name, how)
    assert len(search(project, MOST).trials) == MOST
    assert {path: path.read_bytes() for path in trials} == trials


def test_a_missing_tuner_file_trains_nothing_again(project):
    trials = {path: path.read_bytes() for path in project.glob("trial_*/trial.json")}
    (project / "tuner0.json").unlink()
    assert len(search(project, MOST).trials) == MOST
    assert {path: path.read_bytes() for path in trials} == trials


def test_a_file_that_cannot_be_opened_changes_nothing(project):
    """Too many open files, no rights, a disk that fails."""
    oracle = rdt.OptunaOracle("val_loss", MOST)
    oracle._set_project_dir(project.parent, project.name)
    before = content(project)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(ProjectError, match=r"oracle\.json` cannot be read: .*Too many open"):
            oracle.reload()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert content(project) == before


def test_an_end_that_could_not_be_written_is_not_reported():
    class FullOracle:
        def end_trial(self, trial):
            raise OSError(errno.ENOSPC, "No space left on device")

    reported = []
    tracked = TrackedOracle(FullOracle(), None, SimpleNamespace(trial_ended=reported.append))
    with pytest.raises(OSError, match="No space left"):
        tracked.end_trial(SimpleNamespace(trial_id="0", status="COMPLETED"))
    assert reported == []


def test_a_choice_can_offer_infinity(tmp_path, new_store):
    new_store(tmp_path)

    class Unlimited(Quick):
        def build(self, hp):
            hp.Choice("limit", [1.0, math.inf])
            return super().build(hp)

    result = search(tmp_path / "project", 6, Unlimited(), tuner="random")
    assert set(result.trials["limit"]) == {1.0, math.inf}
    loaded = rdt.TuneResult.load(result.directory)
    assert loaded.trials["limit"].to_list() == result.trials["limit"].to_list()
