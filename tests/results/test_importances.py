"""Tests for `TuneResult.importances`, on searches in which it is known what matters."""

import math

import optuna
import pandas as pd
import pytest

from recdrop_tune.errors import RecdropError
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.results.study import importances
from tests.planted_search import SPACE
from tests.test_standing import records


def check_shares(shares):
    assert shares.index.name == "hyperparameter"
    assert shares.sum() == pytest.approx(1.0)
    assert (shares >= 0).all()
    assert shares.is_monotonic_decreasing


@pytest.mark.filterwarnings("ignore:Some regimes for parameter")
def test_the_shares_are_those_of_optunas_own_study(planted, capfd):
    shares = planted.importances()
    assert "study" not in "".join(capfd.readouterr())  # Optuna is quiet.
    check_shares(shares)
    assert set(shares.index) == {*SPACE, "placement"}
    assert shares.index[0] == "learning_rate"
    assert shares.iloc[0] > 0.5
    study = planted.tuner.oracle.study
    complete = (planted.trials["state"] == "COMPLETE").sum()
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=4.5 / complete)
    own = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert len([name for name in own if name.startswith("placement.")]) > 1
    merged = pd.Series(own).groupby(lambda name: name.split(".")[0]).sum()
    assert shares.to_dict() == pytest.approx(merged.to_dict())


X = Hyperparameter("x", low=0, high=20)
FIXED = [Hyperparameter("y", choices=[1]), Hyperparameter("z", low=1, high=1)]
UNITS = Hyperparameter("units", low=16, high=80, step=32)


def search(*scores, direction="min", status="COMPLETE", units=None):
    """Records of a search with one hyperparameter, or two, and two that are fixed."""
    more = [{} if units is None else {"units": each} for each in units or scores]
    given = ({"x": number, "y": 1, "z": 1} | own for number, own in enumerate(more))
    trials = ((values, score, status) for values, score in zip(given, scores, strict=True))
    found = records(*trials, direction=direction)
    found.space = [X, *FIXED, *([] if units is None else [UNITS])]
    return found


def test_too_few_trials_or_the_same_score_everywhere():
    nine = [*range(9), math.inf, math.inf]
    with pytest.raises(RecdropError, match=r"need 10 complete trials.*This search has 9\."):
        importances(search(*nine))
    with pytest.raises(RecdropError, match=r"This search has 0\."):
        importances(search(*range(12), status="PRUNED"))
    with pytest.raises(RecdropError, match="All 12 complete trials have the same score"):
        importances(search(*[0.5] * 12))


@pytest.mark.parametrize("direction", ["min", "max"])
def test_ties_with_the_worst_are_not_among_the_best(direction):
    # Two of twelve are better: were the best five taken, all twelve would be the best.
    shares = importances(search(0.1, 0.1, *[0.5] * 10, direction=direction))
    assert shares.to_dict() == {"x": 1.0}


def test_a_default_beside_the_steps_is_left_out():
    """A grid search begins with the defaults, and Keras Tuner takes any value between the ends for one."""
    units = [100 if number == 0 else (16, 48, 80)[number % 3] for number in range(12)]
    shares = importances(search(*[number / 20 for number in range(12)], units=units))
    check_shares(shares)
    assert set(shares.index) == {"x", "units"}
