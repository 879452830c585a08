"""`Workers` around any oracle: trials of dead workers run again, and failures end the search for all."""

import json

import keras_tuner as kt
import pytest

import recdrop_tune as rdt
from recdrop_tune.oracle import OptunaOracle, Workers, has_ended_by_failures
from tests.small_search import build

ORACLES = {
    "hyperband": lambda **more: kt.oracles.HyperbandOracle("val_loss", 4, seed=1, **more),
    "grid": lambda **more: kt.oracles.GridSearchOracle("val_loss", 4, seed=1, **more),
    "optuna": lambda **more: OptunaOracle("val_loss", 4, seed=1, **more),
}


@pytest.fixture(params=ORACLES)
def make(request, tmp_path):
    """Makes a tuner with an oracle for several workers, as a host or a chief does."""

    def made(**options):
        oracle = ORACLES[request.param](**options)
        tuner = rdt.Tuner(oracle, build, directory=tmp_path, project_name="p")
        tuner.oracle = Workers(tuner.oracle)
        tuner.oracle.verbose = 0
        return tuner

    return made


def test_the_trial_of_a_dead_worker_runs_again(make):
    oracle = make().oracle
    first, second = oracle.create_trial("one"), oracle.create_trial("two")
    oracle.update_trial(first.trial_id, {"val_loss": 0.1}, step=0)
    oracle.give_up("one")
    again = oracle.create_trial("three")
    assert again.trial_id == first.trial_id
    assert again.hyperparameters.values == first.hyperparameters.values
    assert again.metrics.metrics == {}
    assert len(oracle.trials) == 2
    oracle.give_up("nobody")
    assert oracle.update_trial(second.trial_id, {"val_loss": 0.5}).status == "RUNNING"
    oracle.give_up("two")  # But it lives: it is stopped, and its end does not count.
    assert oracle.update_trial(second.trial_id, {"val_loss": 0.5}).status == "STOPPED"
    oracle.end_trial(second)
    assert second.trial_id not in oracle.end_order


def test_a_worker_that_comes_back_begins_its_trial_anew(make):
    oracle = make().oracle
    trial = oracle.create_trial("one")
    oracle.update_trial(trial.trial_id, {"val_loss": 0.1}, step=0)
    again = oracle.create_trial("one")
    assert again.trial_id == trial.trial_id
    assert again.metrics.metrics == {}


def test_processes_with_one_id_train_a_trial_together(make):
    oracle = make().oracle
    oracle.multi_worker = True
    trial = oracle.create_trial("one")
    oracle.update_trial(trial.trial_id, {"val_loss": 0.1}, step=0)
    again = oracle.create_trial("one")
    assert again.trial_id == trial.trial_id
    assert again.metrics.get_best_value("val_loss") == 0.1


def test_the_oracles_process_dies_and_its_workers_live_on(make):
    before = make()
    trial = before.oracle.create_trial("one")
    before.oracle.update_trial(trial.trial_id, {"val_loss": 0.5}, step=0)
    before.save()
    oracle = make().oracle
    oracle.take_back()
    assert list(oracle.ongoing_trials) == ["one"]
    assert oracle.update_trial(trial.trial_id, {"val_loss": 0.4}, step=1).status == "RUNNING"
    other = oracle.create_trial("two")
    assert other.trial_id != trial.trial_id
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    taken = {trial.trial_id, other.trial_id if other.status == "RUNNING" else None}
    assert oracle.create_trial("one").trial_id not in taken
    ended = oracle.get_trial(trial.trial_id)
    assert (ended.status, ended.score, ended.best_step) == ("COMPLETED", 0.4, 1)


def test_a_worker_that_gets_no_trial_waits_for_the_others(make):
    oracle = make().oracle
    oracle.max_trials = 1
    trial = oracle.create_trial("one")
    assert oracle.create_trial("two").status == "IDLE"
    oracle.update_trial(trial.trial_id, {"val_loss": 0.5})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert oracle.create_trial("two").status == "STOPPED"


def test_too_many_failures_end_the_search_of_all(make, tmp_path, capsys):
    oracle = make(max_consecutive_failed_trials=1).oracle
    first, second = oracle.create_trial("one"), oracle.create_trial("two")
    first.status, first.message = "FAILED", "it broke"
    oracle.end_trial(first)
    assert "it broke" in oracle.stopped_by
    assert "consecutive failures" in capsys.readouterr().out
    assert oracle.create_trial("one").status == "IDLE"
    second.status = "FAILED"
    oracle.end_trial(second)
    assert oracle.create_trial("one").status == "STOPPED"
    saved = json.loads((tmp_path / "p" / f"trial_{first.trial_id}" / "trial.json").read_text())
    assert (saved["status"], saved["message"]) == ("FAILED", "it broke")


def test_other_errors_are_no_failures_in_a_row(make):
    oracle = make(max_consecutive_failed_trials=2).oracle
    trial = oracle.create_trial("one")
    trial.status = "FAILED"
    oracle.end_trial(trial)
    assert not has_ended_by_failures(oracle, RuntimeError("consecutive failures, says the user"))
    assert not has_ended_by_failures(oracle, ValueError("something else"))
