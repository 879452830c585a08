"""Trials that pause and go on: what is trained next, and what is left after a kill."""

import math
from contextlib import suppress
from pathlib import Path

import keras_tuner as kt
import pytest
from optuna.trial import TrialState

from recdrop_tune.oracle import OptunaOracle, optuna_oracle
from recdrop_tune.oracle.learning_curves import rungs
from recdrop_tune.oracle.trial_files import drop_states, paused_epoch, state_path

EPOCHS, STATE = 20, "a state"


class Killed(Exception):
    """Ends a search as a kill does: nothing more is written."""


class Oracle(OptunaOracle):
    """Is killed at one of the operations that a tuner asks of it."""

    left = math.inf

    def _operate(self):
        self.left -= 1
        if self.left < 0:
            raise Killed

    def _save_trial(self, trial):
        self._operate()
        super()._save_trial(trial)

    def save(self):
        super().save()
        self._operate()


def make(folder, max_trials=12, direction="min", **options):
    hp = kt.HyperParameters()
    hp.Float("lr", 1e-4, 1e-1, sampling="log")
    hp.Choice("wrapper", ["none", "recurrent", "lambda"])
    with hp.conditional_scope("wrapper", ["recurrent", "lambda"]):
        hp.Float("rate", 0.1, 0.5, step=0.1)
    options = {"seed": 0, "twin_last": True, "pruner": "pause", **options}
    oracle = Oracle(kt.Objective("score", direction), max_trials, hyperparameters=hp, **options)
    oracle.verbose = 0
    oracle._set_project_dir(str(folder), "project")
    oracle.rungs = rungs(EPOCHS)
    if Path(folder, "project", "oracle.json").exists():
        oracle.reload()
    return oracle


def curve(values, epoch):
    """Dropout is slow at first, and better in the end; `recurrent` by 0.3 is the best."""
    rate = values.get("rate", 0.0)
    end = 0.3 + abs(math.log10(values["lr"]) + 2.5)
    end += (
        0.4
        if values["wrapper"] == "none"
        else abs(rate - 0.3) + 0.1 * (values["wrapper"] == "lambda")
    )
    return end + (1 + rate) / (epoch + 1)


def train(oracle, trial, log):
    """Trains a slice as a tuner does."""
    folder, status = Path(oracle._get_trial_dir(trial.trial_id)), "COMPLETED"
    first = paused_epoch(folder)
    for epoch in range(first, EPOCHS):
        score = curve(trial.hyperparameters.values, epoch)
        if oracle.update_trial(trial.trial_id, {"score": score}, step=epoch).status == "PAUSED":
            state_path(folder, epoch + 1).write_text(STATE)
            drop_states(folder, before=epoch + 1)
            status = "PAUSED"
            break
    log.append((trial.trial_id, first, epoch + 1))
    trial.status = status
    oracle.end_trial(trial)


def search(oracle, log):
    while (trial := oracle.create_trial("w")).status == "RUNNING":
        train(oracle, trial, log)
    return oracle


def curves(oracle):
    """The reported epochs of each trial, and its status."""
    return {
        id: (trial.status, [each.step for each in trial.metrics.get_history("score")])
        for id, trial in oracle.trials.items()
    }


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    log = []
    return search(make(tmp_path_factory.mktemp("searched")), log), log


def test_slices_end_at_rungs_and_follow_each_other(searched):
    oracle, log = searched
    assert {(first, end) for _, first, end in log} <= {(0, 1), (1, 3), (3, 9), (9, 20)}
    for id, (status, steps) in curves(oracle).items():
        assert steps == list(range(len(steps)))
        assert (status == "COMPLETED") == (len(steps) == EPOCHS)
        assert next(first for other, first, _ in log if other == id) == 0


def test_epochs_go_to_what_promises_most(searched):
    oracle, log = searched
    spent = sum(end - first for _, first, end in log)
    assert len(oracle.trials) <= 12
    assert spent < 0.7 * 12 * EPOCHS
    scores = [curve(t.hyperparameters.values, EPOCHS - 1) for t in oracle.trials.values()]
    assert oracle.get_best_trials()[0].score == min(scores)
    assert oracle.get_best_trials()[0].hyperparameters.values["wrapper"] != "none"


def test_the_baseline_and_the_twin_of_the_best_are_trained_to_their_end(searched):
    oracle, _ = searched
    complete = [t.hyperparameters.values for t in oracle.trials.values() if t.status == "COMPLETED"]
    best = oracle.get_best_trials()[0].hyperparameters.values
    assert {"lr": best["lr"], "wrapper": "none"} in complete


@pytest.mark.parametrize(("direction", "best"), [("min", min), ("max", max)])
def test_when_the_time_is_up_the_best_with_dropout_is_trained_to_its_end(
    tmp_path, monkeypatch, direction, best
):
    oracle, log = make(tmp_path, direction=direction, timeout=60, seed=1), []
    for _ in range(4):
        train(oracle, oracle.create_trial("w"), log)
    begun = {id: t.hyperparameters.values for id, t in oracle.trials.items()}
    dropping = {id: curve(values, 0) for id, values in begun.items() if "rate" in values}
    monkeypatch.setattr(oracle, "_deadline", 0.0)
    search(oracle, log)
    complete = [id for id, (status, _) in curves(oracle).items() if status == "COMPLETED"]
    assert best(dropping, key=dropping.get) in complete
    assert len(complete) == 2  # The other is its twin, or the baseline.


def test_in_the_study_a_paused_trial_is_running(searched):
    oracle, _ = searched
    running = [t for t in oracle.study.trials if t.state == TrialState.RUNNING]
    paused = [id for id, trial in oracle.trials.items() if trial.status == "PAUSED"]
    assert paused
    assert sorted(t.user_attrs["keras_tuner_id"] for t in running) == sorted(paused)


@pytest.mark.parametrize("kill_at", range(3, 160, 16))
def test_a_killed_search_loses_at_most_a_slice(searched, tmp_path, kill_at):
    whole, whole_log = searched
    log, oracle = [], make(tmp_path)
    oracle.left = kill_at
    with pytest.raises(Killed):
        search(oracle, log)
    again = search(make(tmp_path), log)
    assert curves(again) == curves(whole)
    spent = sum(end - first for _, first, end in log)
    longest = max(end - first for _, first, end in whole_log)
    assert spent <= sum(end - first for _, first, end in whole_log) + longest


def test_a_state_that_is_gone_lets_its_trial_start_anew(tmp_path):
    log, oracle = [], make(tmp_path)
    for _ in range(8):
        train(oracle, oracle.create_trial("w"), log)
    for path in tmp_path.rglob("paused-*"):
        path.unlink()
    search(oracle, log)
    for _, steps in curves(oracle).values():
        assert steps == list(range(len(steps)))


@pytest.mark.parametrize("kill_at", [math.inf, 90, 120, 150])
def test_without_room_for_its_state_a_trial_catches_up(searched, tmp_path, monkeypatch, kill_at):
    monkeypatch.setattr(optuna_oracle, "MOST_PAUSED", 2 * len(STATE))
    log, oracle = [], make(tmp_path)
    oracle.left = kill_at
    with suppress(Killed):
        search(oracle, log)
    oracle = search(make(tmp_path), log)
    assert curves(oracle) == curves(searched[0])
    paused = [id for id, trial in oracle.trials.items() if trial.status == "PAUSED"]
    states = [p.read_text() for id in paused for p in tmp_path.rglob(f"trial_{id}/paused-*")]
    assert states.count(STATE) <= 2 < len(states)
    begun = [id for id, first, _ in log if first == 0]
    assert len(begun) > len(set(begun)) + (kill_at < math.inf)


def test_several_workers_train_different_trials(tmp_path):
    log, oracle = [], make(tmp_path)
    while True:
        asked = [oracle.create_trial(name) for name in ("a", "b", "c")]
        running = [trial for trial in asked if trial.status == "RUNNING"]
        assert len({trial.trial_id for trial in running}) == len(running)
        if not running:
            break
        for trial in running:
            train(oracle, trial, log)
    scores = [curve(t.hyperparameters.values, EPOCHS - 1) for t in oracle.trials.values()]
    assert oracle.get_best_trials()[0].score == min(scores)
