"""Searches that are asked to stop, that end by themselves, and whose space is exhausted."""

import pytest

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
from recdrop_tune.states import TrialState
from tests.small_search import Failing, tuned
from tests.tracked_events import events_of, runs_of


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
def folder(tmp_path):
    return tmp_path / "p"


@pytest.mark.heavy
def test_it_ends_after_the_running_trial(folder, planted_uri, capsys):
    options = {"max_trials": 4, "epochs": 2, "verbose": 1}
    tracking = rdt.MLflow("stopped", uri=planted_uri)
    ended = tuned(folder, tracking, Asking(folder), **options, confirm=1)
    assert list(ended.trials["state"]) == [TrialState.COMPLETE] * 2
    words = "Stopped by request after 2 of at most 4 trials."
    assert capsys.readouterr().out.splitlines()[-1] == words
    assert f"{words} To resume, run it again with the same folder." in ended.summary()
    assert words in (folder / "result" / "summary.md").read_text()
    assert words in (folder / "result" / "report.html").read_text()
    assert words in rdt.TuneResult.load(folder).summary()
    assert [each.status for each in events_of(folder, SearchEnded)] == ["FINISHED"]
    assert events_of(folder, ConfirmationStarted) == []  # It would train more.
    found = runs_of(planted_uri, "stopped", search_id=ended.search.search_id)
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    assert not is_asked_to_stop(folder)
    again = tuned(folder, tracking, Asking(folder, at=0), **options)
    assert list(again.trials["state"]) == [TrialState.COMPLETE] * 4
    assert "Stopped" not in again.summary()


@pytest.mark.heavy
def test_in_the_confirmation(folder):
    """The third training of all is its first; no other one follows."""
    confirm = rdt.Confirm(1, seeds=3, max_seeds=3)
    ended = tuned(folder, None, Asking(folder, at=3), confirm=confirm)
    assert len(ended.records.confirmations) == 1
    assert [each.reason for each in events_of(folder, NoMoreTrials)] == [MAX_TRIALS, STOPPED]


@pytest.mark.heavy
def test_an_old_request_does_not_stop_a_new_search(folder):
    folder.mkdir()
    tuned(folder, None, max_trials=1)
    ask_to_stop(folder)
    assert len(tuned(folder, None).trials) == 2
    assert not is_asked_to_stop(folder)


class Alike(Failing):
    """All configurations are as good as each other."""

    def fit(self, hp, model, *args, **kwargs):
        return {"val_loss": 0.5}


@pytest.mark.heavy
def test_a_search_ends_by_itself(folder, planted_uri, capsys):
    given = folder, rdt.MLflow("stopped", uri=planted_uri), Alike()
    ended = tuned(*given, max_trials=None, verbose=1)
    (why,) = events_of(folder, NoMoreTrials)
    assert (why.reason, why.gain) == (CONVERGED, pytest.approx(0, abs=1e-9))
    pay = "More trials hardly pay: five are expected to gain less than 1 % of val_loss."
    words = f"Ended by itself after {len(ended.trials)} trials. {pay}"
    assert capsys.readouterr().out.splitlines()[-1] == words
    assert words in ended.summary()
    search_id = ended.search.search_id
    (run,) = runs_of(planted_uri, "stopped", kind="search", search_id=search_id)
    assert (run.data.tags["recdrop.state"], run.data.params["min_gain"]) == (CONVERGED, "0.01")
    again = tuned(*given, max_trials=None)
    assert len(again.trials) == len(ended.trials) >= 8
    ended = tuned(*given, max_trials=len(again.trials) + 1)
    assert len(ended.trials) == len(again.trials) + 1
    assert ended.summary().count(pay) == 1
    assert "Ended by itself" not in ended.summary()


def test_other_tuners_need_a_number_of_trials(folder):
    with pytest.raises(InvalidArgumentError, match=r"max_trials.*default sampler"):
        tuned(folder, None, Alike(), max_trials=None, tuner="random")
