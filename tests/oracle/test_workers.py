"""Workers that die or come back."""

import pytest

import recdrop_tune as rdt
from recdrop_tune.oracle import OptunaOracle
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
