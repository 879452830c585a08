"""Tests for `TuneResult.importances`, on searches in which it is known what matters."""

import keras_tuner as kt
import numpy as np
import optuna
import pandas as pd
import pytest

from recdrop_tune.errors import RecdropError
from recdrop_tune.oracle import quiet_optuna
from recdrop_tune.results.importances import importances
from tests.planted_search import SPACE, Planted, planted_result

SCORE = kt.Objective("val_loss", "min")


def check_shares(table):
    shares = table["importance"]
    assert shares.index.name == "hyperparameter"
    assert shares.sum() == pytest.approx(1.0)
    assert (shares >= 0).all()
    assert shares.is_monotonic_decreasing


def test_the_planted_hyperparameter_comes_first(planted):
    shares = planted.importances()
    check_shares(shares)
    assert set(shares.index) == {*SPACE, "placement"}
    assert shares.index[0] == "learning_rate"
    assert shares["importance"].iloc[0] > 0.5
    assert shares["above_chance"].iloc[0]


@pytest.mark.filterwarnings("ignore:Some regimes for parameter")
def test_the_shares_are_those_of_optunas_own_study(planted):
    study = planted.tuner.oracle.study
    complete = (planted.trials["state"] == "COMPLETE").sum()
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=4.5 / complete)
    own = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert len([name for name in own if name.startswith("placement.")]) > 1
    merged = pd.Series(own).groupby(lambda name: name.split(".")[0]).sum()
    assert planted.importances()["importance"].to_dict() == pytest.approx(merged.to_dict())


@pytest.mark.parametrize(
    "make",
    [
        lambda: kt.oracles.RandomSearchOracle(SCORE, max_trials=30, seed=0),
        lambda: kt.oracles.HyperbandOracle(SCORE, max_epochs=8, seed=0),
    ],
    ids=["random", "hyperband"],
)
def test_any_tuner(make, tmp_path, planted_uri):
    space = {**SPACE, "cell": "gru", "wrapper": ["none", "recurrent"]}
    hypermodel = Planted(space, epochs=1, failing=None)
    shares = planted_result(make(), tmp_path, planted_uri, hypermodel).importances()
    check_shares(shares)
    assert "cell" not in shares
    assert set(shares.index) <= {*SPACE, "placement"}
    assert shares.index[0] == "learning_rate"


def test_several_objectives(traded):
    table = traded.importances()
    check_shares(table)
    # To be fast counts too: that is no matter of the learning rate alone.
    alone = importances(traded.tuner.oracle, traded.trials, [SCORE])["importance"]
    shares = table["importance"]
    assert shares["learning_rate"] < alone["learning_rate"]


def scores(*values, state="COMPLETE"):
    """A frame of trials of an oracle with one hyperparameter, and the oracle."""
    oracle = kt.oracles.RandomSearchOracle(SCORE, max_trials=len(values), seed=0)
    for number in range(len(values)):
        hp = kt.HyperParameters()
        hp.Int("x", 0, len(values))
        hp.Fixed("y", 1)
        hp.values["x"] = number
        oracle.trials[str(number)] = kt.engine.trial.Trial(hp, trial_id=str(number))
    oracle.hyperparameters = hp
    ids = [str(number) for number in range(len(values))]
    return oracle, pd.DataFrame({"trial_id": ids, "state": state, "val_loss": values})


def test_too_few_trials():
    nine = [*range(9), float("nan"), float("inf")]
    with pytest.raises(RecdropError, match=r"need 10 complete trials.*This search has 9\."):
        importances(*scores(*nine), [SCORE])
    with pytest.raises(RecdropError, match=r"This search has 0\."):
        importances(*scores(*range(12), state="PRUNED"), [SCORE])


def test_the_same_score_everywhere():
    with pytest.raises(RecdropError, match="All 12 complete trials have the same val_loss"):
        importances(*scores(*[0.5] * 12), [SCORE])


def test_ties_with_the_worst_are_not_among_the_best():
    # Two of twelve are better: were the best five taken, all twelve would be the best.
    shares = importances(*scores(0.1, 0.1, *[0.5] * 10), [SCORE])
    assert shares["importance"].to_dict() == {"x": 1.0}
    best = importances(*scores(0.1, 0.1, *[0.5] * 10), [kt.Objective("val_loss", "max")])
    assert best["importance"].to_dict() == {"x": 1.0}


def test_where_nothing_matters_nothing_is_above_chance():
    """By chance one search in twenty has a share above it."""
    above = 0
    for seed in range(10):
        oracle, frame = scores(*np.random.default_rng(seed).normal(size=15))
        above += importances(oracle, frame, [SCORE])["above_chance"].any()
    assert above <= 3


def test_a_default_beside_the_steps_is_left_out():
    """A grid search begins with the defaults, and Keras Tuner takes any value between the ends for one."""
    oracle, frame = scores(*[number / 20 for number in range(12)])
    for number, trial in enumerate(oracle.trials.values()):
        hp = trial.hyperparameters
        hp.Int("units", 16, 100, step=32, default=100)
        hp.values["units"] = 100 if number == 0 else (16, 48, 80)[number % 3]
    oracle.hyperparameters = hp
    shares = importances(oracle, frame, [SCORE])
    check_shares(shares)
    assert set(shares.index) == {"x", "units"}


def test_optuna_is_quiet(planted, capfd):
    with quiet_optuna():
        planted.importances()
    planted.importances()
    assert "study" not in "".join(capfd.readouterr())
