"""The Optuna study of a search follows from Keras Tuner's trials, also after a kill."""

import json
import math

import keras_tuner as kt
import pytest
from optuna.trial import TrialState

from recdrop_tune.oracle import HalvingPruner, OptunaOracle

OBJECTIVE = kt.Objective("score", "min")
EPOCHS = 6


class Killed(Exception):
    """Ends a search as a kill does: nothing more is written."""


def space(hp):
    """Fixed, conditional and continuous hyperparameters."""
    hp.Fixed("cell", "lstm")
    hp.Float("lr", 1e-4, 1e-1, sampling="log")
    wrapper = hp.Choice("wrapper", ["none", "recurrent", "lambda"])
    with hp.conditional_scope("wrapper", ["recurrent", "lambda"]):
        hp.Float("rate", 0.1, 0.5, step=0.1)
    return wrapper


class Oracle(OptunaOracle):
    """Is killed at a number of operations that a tuner asks of it."""

    def __init__(self, *args, kill_at=math.inf, **kwargs):
        super().__init__(*args, **kwargs)
        self.left = kill_at

    def _operate(self):
        self.left -= 1
        if self.left < 0:
            raise Killed

    def _save_trial(self, trial):
        self._operate()
        super()._save_trial(trial)
        self._operate()

    def save(self):
        super().save()
        self._operate()


def make(folder, max_trials=9, objective=OBJECTIVE, hyperparameters=None, **options):
    hp = kt.HyperParameters()
    space(hp)
    options = {"seed": 0, "pruner": HalvingPruner(2), "max_retries_per_trial": 1, **options}
    oracle = Oracle(objective, max_trials, hyperparameters=hyperparameters or hp, **options)
    oracle.verbose = 0
    oracle._set_project_dir(str(folder), "project")
    path = folder / "project" / "oracle.json"
    if path.exists():
        oracle.reload()
    return oracle


def loss(trial, epoch):
    values = trial.hyperparameters.values
    away = abs(math.log10(values["lr"]) + 2.5) + abs(values.get("rate", 0.6) - 0.3)
    return away + 1 / (epoch + 1)


def train(oracle, trial, worker="w"):
    """Runs a trial as a tuner does; every fifth one fails at first."""
    trial.metrics = type(trial.metrics)()
    number, status = int(trial.trial_id), "COMPLETED"
    for epoch in range(EPOCHS):
        metrics = {"score": loss(trial, epoch), "other": float(epoch)}
        answer = oracle.update_trial(trial.trial_id, metrics, step=epoch)
        if answer.status == "STOPPED":
            status = "STOPPED"
            break
        if number % 5 == 4 and trial.trial_id not in oracle.failed:
            oracle.failed.add(trial.trial_id)
            status = "INVALID"
            break
    if number == 7:
        status = "FAILED"
    trial.status = status
    oracle.end_trial(trial)


def search(oracle, failed=None):
    oracle.failed = set() if failed is None else failed
    while (trial := oracle.create_trial("w")).status == "RUNNING":
        train(oracle, trial)
    return oracle


def tried(oracle):
    return {id: trial.hyperparameters.values for id, trial in sorted(oracle.trials.items())}


def ended(oracle):
    """What samplers and pruners see of each trial that has ended, without attempts that were given up."""
    return [
        (t.state, t.values, rounded(t.params), t.intermediate_values, t.user_attrs)
        for t in oracle.study.trials
        if t.state.is_finished() and not t.user_attrs.get("discarded") and not is_retried(oracle, t)
    ]


def rounded(params):
    return {n: round(v, 12) if isinstance(v, float) else v for n, v in params.items()}


def is_retried(oracle, trial):
    """Returns whether another attempt at a trial was made: an earlier session's are gone."""
    return oracle.number_of(trial.user_attrs["keras_tuner_id"]) != trial.number


def test_the_study_is_the_same_in_a_later_session(tmp_path):
    live = search(make(tmp_path))
    ends = {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert {each[0] for each in ended(live)} == ends
    assert ended(make(tmp_path)) == ended(live)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return search(make(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("kill_at", range(1, 34, 5))
def test_a_killed_search_proposes_what_one_that_was_not_killed_does(tmp_path, whole, kill_at):
    killed, failed = make(tmp_path / "killed", kill_at=kill_at), set()
    with pytest.raises(Killed):
        search(killed, failed)
    files = {path: path.read_text() for path in tmp_path.glob("killed/project/trial_*/trial.json")}
    trials = [json.loads(text) for text in files.values()]
    done = {each["trial_id"] for each in trials if each["message"]} & failed
    again = search(make(tmp_path / "killed"), done or failed)
    assert tried(again) == tried(whole)
    for path, text in files.items():
        assert "COMPLETED" not in text or path.read_text() == text
    assert [t.state for t in again.study.trials if t.state == TrialState.RUNNING] == []


def test_an_attempt_that_was_given_up_leaves_nothing_behind(tmp_path):
    oracle = make(tmp_path)
    trial = oracle.create_trial("first")
    for step in range(2):
        oracle.update_trial(trial.trial_id, {"score": 0.5}, step)
    oracle.give_up("first")
    assert oracle.create_trial("second").trial_id == trial.trial_id
    assert oracle.number_of(trial.trial_id) == 1
    again = make(tmp_path)
    assert again.create_trial("third").trial_id == trial.trial_id
    again.update_trial(trial.trial_id, {"score": 0.1}, 0)
    history = again.trials[trial.trial_id].metrics.get_history("score")
    assert [(each.step, each.value) for each in history] == [(0, [0.1])]


@pytest.mark.parametrize("together", [False, True])
def test_a_worker_that_comes_back_begins_its_trial_anew_unless_it_trains_with_others(
    tmp_path, together
):
    oracle = make(tmp_path)
    oracle.multi_worker = together
    trial = oracle.create_trial("one")
    oracle.update_trial(trial.trial_id, {"score": 0.1}, step=0)
    again = oracle.create_trial("one")
    assert again.trial_id == trial.trial_id
    assert again.metrics.exists("score") == together
