"""`compare` and `recdrop-tune list`: what journals say of searches is what their results say."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError
from recdrop_tune.events import ResultSaved
from tests.commands import output_of
from tests.small_search import tuned
from tests.tracked_events import ended, journaled, started, trial

SPACE = {
    "units": 4,
    "wrapper": ["none", "recurrent"],
    "rate": {"input": [0.1, 0.2], "recurrent": [0.1, 0.3]},
    "placement": "input+recurrent",
    "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, new_store, planted, running_eagerly):
    """A folder of searches: a confirmed one, a planted one, and one that was interrupted."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(planted.directory, folder / "planted")
    tracking = rdt.MLflow("accuracy", uri=new_store(tmp_path_factory.mktemp("mlflow")))
    options = {"objective": "val_accuracy", "confirm": rdt.Confirm(top=1, seeds=1, max_seeds=1)}
    with running_eagerly():
        tuned(folder / "confirmed", tracking, None, space=SPACE, **options)
    cut = [*trial(0, status="FAILED"), *trial(1, status="PRUNED"), *trial(2, status=None)]
    again = (started(when=started().time + 5000), ended(when=started().time + 5005))
    journaled(folder / "interrupted", started(), *cut, *again)
    (folder / "no_search").mkdir()
    return folder


@pytest.fixture(scope="module")
def frame(runs):
    return rdt.compare(runs)


def row_of(frame, name):
    return frame[frame["folder"].str.endswith(name)].iloc[0]


@pytest.mark.parametrize("name", ["confirmed", "planted"])
def test_a_row_is_what_the_result_says(runs, frame, name):
    result, row = rdt.TuneResult.load(runs / name), row_of(frame, name)
    assert (row["experiment"], row["objective"]) == (
        result.search.experiment,
        result.search.objective,
    )
    assert row["best"] == pytest.approx(result.trials[result.search.objective].iloc[0])
    assert row["wrapper"] == result.best_hyperparameters["wrapper"]
    states = result.trials["state"].value_counts()
    assert row["trials"] == len(result.trials)
    for state in ("COMPLETE", "PRUNED", "FAILED"):
        assert row[state.lower()] == states.get(state, 0)
    assert row["seconds"] >= result.trials["seconds"].max()
    began = pd.Timestamp.fromtimestamp(result.records.began)
    assert abs(row["began"] - began) < pd.Timedelta("1ms")
    words = None if result.context is None else result.context.words
    assert (pd.isna(row["data"]) and not words) or row["data"] == words
    confirmed = result.confirmation
    assert pd.isna(row["confirmed"]) == (confirmed is None)
    if confirmed is not None:
        assert row["confirmed"] == pytest.approx(confirmed.best["mean"])
        assert row["gain"] == pytest.approx(confirmed.gain)
    else:
        assert (result.twin_gain is None) == pd.isna(row["gain"])


def test_the_gain_of_a_resumed_search_is_not_that_of_its_earlier_result(tmp_path):
    saved = ResultSaved(files=[], summary="", best_trial_id="0", metrics={"gain": 0.5})
    with_dropout = [replace(trial(1)[0], hyperparameters={"wrapper": "zoneout"}), trial(1)[-1]]
    without = [replace(trial(0)[0], hyperparameters={"wrapper": "none"}), trial(0)[-1]]
    journaled(tmp_path, started(), *without, saved, ended(), started(), *with_dropout)
    difference = trial(0)[-1].score - trial(1)[-1].score
    assert rdt.compare(tmp_path)["gain"].tolist() == pytest.approx([difference])


def test_several_sites_and_layers_are_joined(tmp_path):
    layers = {"enc/wrapper": "none", "dec/wrapper": "zoneout", "enc/rate": None}
    sites = {"dec/rate.input": 0.125, "dec/rate.recurrent": 0.5}
    begun, *_, end = trial(0)
    journaled(tmp_path, started(), replace(begun, hyperparameters=layers | sites), end)
    row = rdt.compare(tmp_path).iloc[0]
    assert (row["wrapper"], row["rate"]) == ("none / zoneout", "0.125 / 0.5")


def test_a_search_without_a_result(runs, frame, monkeypatch):
    row = row_of(frame, "interrupted")
    monkeypatch.setenv("HOME", str(runs))
    assert row_of(rdt.compare("~"), "interrupted")["trials"] == row["trials"]
    assert rdt.TuneResult.load("~/planted").directory == runs / "planted"
    assert row[["trials", "complete", "pruned", "failed"]].tolist() == [3, 0, 1, 1]
    assert row[["best", "gain", "wrapper"]].isna().all()
    # The break between the two sessions does not count, and epochs are not read.
    assert row["seconds"] == pytest.approx(21.1 + 5)
    assert frame.dtypes["best"] == "Float64"


def test_the_order_is_best_first_for_each_objective(runs, frame, tmp_path):
    names = [Path(folder).name for folder in frame["folder"]]
    assert names == ["confirmed", "planted", "interrupted"]
    pd.testing.assert_frame_equal(rdt.compare(*(runs / name for name in names)), frame)
    for name, score in (("a", 0.5), ("b", 0.75)):
        search = replace(started(), objective="val_accuracy", direction="max")
        *begun, end = trial(0)
        journaled(tmp_path / name, search, *begun, replace(end, score=score))
    assert [Path(folder).name for folder in rdt.compare(tmp_path)["folder"]] == ["b", "a"]


def test_a_damaged_journal_is_an_error_that_names_it(runs, tmp_path):
    shutil.copytree(runs / "planted", tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "events.jsonl").write_text("no events\n")
    with pytest.raises(ProjectError, match=r"bad/events\.jsonl` is damaged"):
        rdt.compare(tmp_path)


def test_the_command_lists_the_same(runs, frame):
    head, *lines = output_of("list", runs).splitlines()
    assert head.split() == [
        *("folder", "experiment", "objective", "best", "confirmed", "gain", "wrapper"),
        *("placement", "rate", "trials", "time", "began", "data"),
    ]
    assert [line.split()[0] for line in lines] == list(frame["folder"])
    planted = row_of(frame, "planted")
    line = lines[list(frame["folder"]).index(planted["folder"])]
    assert f"30 ({planted['failed']} failed)" in line


def test_the_command_shows_texts_of_a_folder_as_text(tmp_path):
    journaled(tmp_path, started(experiment="a\x1b[2J\nb"))
    _, line = output_of("list", tmp_path).splitlines()
    assert r"a\x1b[2J b" in line
