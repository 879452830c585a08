"""When failed trials end a search: of Keras Tuner's own oracles too, which have no class for it."""

import pickle

import keras_tuner as kt
import pytest

from recdrop_tune.oracle import TooManyFailuresError, has_ended_by_failures, supervised


def failing_oracle(folder, limit):
    hps = kt.HyperParameters()
    hps.Float("rate", 0.0, 1.0)
    oracle = kt.oracles.RandomSearchOracle(
        "val_loss", max_trials=9, hyperparameters=hps, max_consecutive_failed_trials=limit
    )
    oracle._set_project_dir(str(folder), "search")
    return oracle


def fail_one(oracle, message="it broke"):
    trial = oracle.create_trial("tuner0")
    trial.status, trial.message = "FAILED", message
    oracle.end_trial(trial)


def test_an_oracle_of_keras_tuners_own(tmp_path):
    oracle = failing_oracle(tmp_path, limit=2)
    fail_one(oracle)
    assert not has_ended_by_failures(
        oracle, RuntimeError("consecutive failures, says the user's code")
    )
    with pytest.raises(RuntimeError) as error:
        fail_one(oracle)
    assert has_ended_by_failures(oracle, error.value)
    assert not has_ended_by_failures(oracle, ValueError("something else"))


def test_a_supervised_one_has_a_class_for_it_that_reaches_other_processes(tmp_path):
    oracle = supervised(failing_oracle(tmp_path, limit=1))
    with pytest.raises(
        TooManyFailuresError, match=r"(?s)exceeded the limit of 1.*it broke"
    ) as error:
        fail_one(oracle)
    assert isinstance(pickle.loads(pickle.dumps(error.value)), TooManyFailuresError)
