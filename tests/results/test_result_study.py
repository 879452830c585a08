"""Tests for `TuneResult.study`: a search as an Optuna study, whatever proposed its trials."""

from datetime import datetime

import keras_tuner as kt
import pytest
from optuna.trial import TrialState

from recdrop_tune.errors import RecdropError
from recdrop_tune.results import TuneResult
from tests.agreement import check_study
from tests.planted_search import SPACE, Planted, planted_result


def by_id(study):
    return {t.user_attrs["keras_tuner_id"]: t for t in study.trials}


def check(result):
    """Compares the study with the table of trials, which comes from the same files by another way."""
    check_study(result)
    rates = result.trials.set_index("trial_id")["learning_rate"]
    for trial_id, trial in by_id(result.study()).items():
        assert trial.params["learning_rate"] == rates[trial_id]
        assert "cell" not in trial.params
        seconds = (trial.datetime_complete - trial.datetime_start).total_seconds()
        assert 0 <= seconds < 60
        assert abs((datetime.now() - trial.datetime_start).total_seconds()) < 3600


def test_a_search_by_optuna_and_what_is_loaded_of_it(planted):
    check(planted)
    first, second = by_id(planted.study()), by_id(TuneResult.load(planted.directory).study())
    assert first == second
    assert {t.state for t in first.values()} >= {TrialState.COMPLETE, TrialState.FAIL}
    complete = [t for t in first.values() if t.state == TrialState.COMPLETE]
    # Keras Tuner's own tuner reports the best epoch of a training alone; the journal has all.
    assert all(t.intermediate_values[2] == t.value for t in complete)
    assert all(list(t.intermediate_values) == [0, 1, 2] for t in complete)
    planted.study().enqueue_trial({})
    assert len(planted.study().trials) == len(first)  # Each is a copy.


def test_a_search_by_another_tuner(tmp_path):
    oracle = kt.oracles.RandomSearchOracle(kt.Objective("val_loss", "min"), 20, seed=1)
    hypermodel = Planted({**SPACE, "cell": "gru"}, failing=None)
    result = planted_result(oracle, tmp_path, hypermodel=hypermodel)
    check(result)
    assert set(result.importances().index) <= {*SPACE, "placement"}


def test_what_hyperband_trains_for_a_part_of_the_epochs_does_not_compare(tmp_path):
    oracle = kt.oracles.HyperbandOracle(kt.Objective("val_loss", "min"), max_epochs=9, seed=1)
    result = planted_result(oracle, tmp_path, hypermodel=Planted(failing=None))
    check(result)
    frame = result.trials
    whole = frame["state"] == "COMPLETE"
    # With those of the trial that it continues.
    assert (set(frame["epochs"][whole]), set(frame["epochs"][~whole])) == ({9}, {1, 3})
    assert (frame["best_epoch"] < frame["epochs"]).all()
    assert result.wrappers["complete"].sum() == whole.sum()
    # A search by `track` has no data to confirm with.
    assert "`confirm=" not in result.summary()
    with pytest.raises(RecdropError, match="Only searches by `tune` can be confirmed"):
        result.confirm()
