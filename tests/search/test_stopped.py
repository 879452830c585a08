"""Searches that are asked to stop, that end by themselves, and whose space is exhausted."""

import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.events import (
    CONVERGED,
    MAX_TRIALS,
    STOPPED,
    ConfirmationStarted,
    NoMoreTrials,
    SearchEnded,
)
from recdrop_tune.files import ask_to_stop, is_asked_to_stop
from recdrop_tune.journal import Journal
from recdrop_tune.states import TrialState
from tests.small_search import Failing, build, data


class Asking(Failing):
    """Asks its own search to stop in one of its trainings."""

    def __init__(self, folder, at=2):
        super().__init__()
        self.folder, self.left = folder, at

    def fit(self, hp, model, *args, **kwargs):
        self.left -= 1
        if not self.left:
            ask_to_stop(self.folder)
        return model.fit(*args, **kwargs)


pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def options(tmp_path):
    return {
        "max_trials": 4,
        "epochs": 2,
        "seed": 0,
        "verbose": 1,
        "tracking": None,
        "directory": tmp_path / "p",
    }


def events_of(folder, kind):
    return [each for each in Journal(folder / "events.jsonl").read() if isinstance(each, kind)]


@pytest.mark.heavy
def test_it_ends_after_the_running_trial(options, planted_uri, capsys):
    folder = options["directory"]
    options["tracking"] = rdt.MLflow("stopped", uri=planted_uri)
    ended = rdt.tune(data(), data(), Asking(folder), **options, confirm=1)
    assert list(ended.trials["state"]) == [TrialState.COMPLETE] * 2
    words = "Stopped by request after 2 of at most 4 trials."
    assert capsys.readouterr().out.splitlines()[-1] == words
    assert f"{words} To resume, run it again with the same folder." in ended.summary()
    assert words in (folder / "result" / "summary.md").read_text()
    assert words in (folder / "result" / "report.html").read_text()
    assert words in rdt.TuneResult.load(folder).summary()
    assert [each.status for each in events_of(folder, SearchEnded)] == ["FINISHED"]
    assert events_of(folder, ConfirmationStarted) == []  # It would train more.
    found = MlflowClient(planted_uri).search_runs(
        [MlflowClient(planted_uri).get_experiment_by_name("stopped").experiment_id],
        f"tags.`recdrop.search_id` = '{ended.search.search_id}'",
    )
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    assert not is_asked_to_stop(folder)
    again = rdt.tune(data(), data(), Asking(folder, at=0), **options)
    assert list(again.trials["state"]) == [TrialState.COMPLETE] * 4
    assert "Stopped" not in again.summary()


@pytest.mark.heavy
def test_in_the_confirmation(options):
    """The third training of all is its first; no other one follows."""
    folder = options["directory"]
    given = {**options, "max_trials": 2, "confirm": rdt.Confirm(1, seeds=3, max_seeds=3)}
    ended = rdt.tune(data(), data(), Asking(folder, at=3), **given)
    assert len(ended.records.confirmations) == 1
    assert [each.reason for each in events_of(folder, NoMoreTrials)] == [MAX_TRIALS, STOPPED]


@pytest.mark.heavy
def test_an_old_request_does_not_stop_a_new_search(options):
    options["directory"].mkdir()
    rdt.tune(data(), data(), build, **{**options, "max_trials": 1})
    ask_to_stop(options["directory"])
    again = rdt.tune(data(), data(), build, **{**options, "max_trials": 2})
    assert len(again.trials) == 2
    assert not is_asked_to_stop(options["directory"])


SMALL = {"units": 4, "wrapper": ["none", "recurrent"], "placement": "input", "rate": [0.1, 0.3]}


@pytest.mark.heavy
def test_a_space_that_is_exhausted(options, capsys):
    given = {**options, "epochs": 1, "space": SMALL}
    ended = rdt.tune(data(), data(), **{**given, "max_trials": 3})
    (limit,) = events_of(options["directory"], NoMoreTrials)
    assert (limit.reason, limit.gain) == (MAX_TRIALS, None)
    assert "is exhausted" not in ended.summary()
    ended = rdt.tune(data(), data(), **{**given, "max_trials": 8})
    words = "The search space is exhausted after 3 of at most 8 trials: all 3 configurations were tried."
    assert capsys.readouterr().out.splitlines()[-1] == words
    assert words in ended.summary()
    assert words in (options["directory"] / "result" / "summary.md").read_text()


class Alike(Failing):
    """All configurations are as good as each other."""

    def fit(self, hp, model, *args, **kwargs):
        return {"val_loss": 0.5}


@pytest.mark.heavy
def test_a_search_ends_by_itself(options, planted_uri, capsys):
    given = {**options, "max_trials": None, "tracking": rdt.MLflow("stopped", uri=planted_uri)}
    folder, ended = options["directory"], rdt.tune(data(), data(), Alike(), **given)
    (why,) = events_of(folder, NoMoreTrials)
    assert (why.reason, why.gain) == (CONVERGED, pytest.approx(0, abs=1e-9))
    pay = "More trials hardly pay: five are expected to gain less than 1 % of val_loss."
    words = f"Ended by itself after {len(ended.trials)} trials. {pay}"
    assert capsys.readouterr().out.splitlines()[-1] == words
    assert words in ended.summary()
    assert words in (folder / "result" / "summary.md").read_text()
    assert words in (folder / "result" / "report.html").read_text()
    assert words in rdt.TuneResult.load(folder).summary()
    client = MlflowClient(planted_uri)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("stopped").experiment_id],
        f"tags.`recdrop.kind` = 'search' and tags.`recdrop.search_id` = '{ended.search.search_id}'",
    )
    assert (run.data.tags["recdrop.state"], run.data.params["min_gain"]) == (CONVERGED, "0.01")
    again = rdt.tune(data(), data(), Alike(), **given)
    assert len(again.trials) == len(ended.trials) >= 8
    more = {**given, "max_trials": len(ended.trials) + 1}
    ended = rdt.tune(data(), data(), Alike(), **more)
    assert len(ended.trials) == more["max_trials"]
    assert ended.summary().count(pay) == 1
    assert "Ended by itself" not in ended.summary()


def test_other_tuners_need_a_number_of_trials(options):
    given = {**options, "max_trials": None, "tuner": "random"}
    with pytest.raises(InvalidArgumentError, match=r"max_trials.*default sampler"):
        rdt.tune(data(), data(), Alike(), **given)
