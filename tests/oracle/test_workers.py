"""Workers that die, come back or outlive the oracle's process."""

import pytest

import recdrop_tune as rdt
from recdrop_tune.oracle import OptunaOracle, save_trial
from tests.small_search import build


@pytest.fixture
def make(tmp_path):
    def made():
        oracle = OptunaOracle("val_loss", 4, seed=1)
        tuner = rdt.Tuner(oracle, build, directory=tmp_path, project_name="p")
        oracle.verbose = 0
        return tuner

    return made


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
    save_trial(before.oracle, trial)
    before.save()
    oracle = make().oracle
    oracle.take_back()
    assert list(oracle.ongoing_trials) == ["one"]
    assert oracle.update_trial(trial.trial_id, {"val_loss": 0.4}, step=1).status == "RUNNING"
    other = oracle.create_trial("two")
    assert other.trial_id != trial.trial_id
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert oracle.create_trial("one").trial_id not in {trial.trial_id, other.trial_id}
    ended = oracle.get_trial(trial.trial_id)
    assert (ended.status, ended.score, ended.best_step) == ("COMPLETED", 0.4, 1)
