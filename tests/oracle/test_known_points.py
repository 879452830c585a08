"""Tests of configurations that are tried first: what they are checked for, and when they are tried."""

import keras_tuner as kt
import numpy as np
import pandas as pd
import pytest

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.oracle.known_points import complete
from recdrop_tune.oracle.translation import read_space
from recdrop_tune.spaces import SearchSpace
from tests.oracle.test_optuna_oracle import make_tuner, values
from tests.planted_search import SPACE


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (
            {"wraper": "none"},
            r"`try_first`.*`wraper` is not among them. Did you mean `wrapper`\?$",
        ),
        ({"wrapper": "none", "rate": 0.3}, r"`rate` is inactive with the other values"),
        ({"wrapper": "lambda", "rate": 0.33}, r"`rate` to be from 0.1 to 0.5, in steps of 0.1. "),
        ({"cell": "gru"}, r"`cell` to be 'lstm'. "),
        ({"wrapper": "recurrent", "per_step": 1}, r"`per_step` to be one of False, True"),
    ],
)
def test_a_wrong_one_is_refused_before_any_trial(tmp_path, point, message):
    tuner = make_tuner(tmp_path, try_first=[{"wrapper": "none"}, point])
    with pytest.raises(InvalidArgumentError, match=message):
        tuner.search()
    assert not tuner.oracle.trials


def test_a_row_of_a_table_will_do(tmp_path):
    """It has NumPy's numbers, nothing where something is inactive, and one name for all placements."""
    space, oracle = SearchSpace.load(SPACE), OptunaOracle(kt.Objective("val_loss", "min"))
    kt.Tuner(oracle, lambda hp: space.sample(hp), directory=tmp_path)
    asked = oracle.space
    row = {"units": np.int64(16), "wrapper": "lambda", "placement": "output"}
    found = complete(asked, {**row, "rate": np.float64(0.3), "learning_rate": 0.01})
    assert found["placement"] == "output"
    assert found["rate"] == 0.3
    assert type(found["units"]) is int
    without = {"wrapper": "none", "placement": None, "rate": np.float32("nan"), "units": pd.NA}
    assert complete(asked, without)["wrapper"] == "none"
    with pytest.raises(InvalidArgumentError, match="`placement` is inactive"):
        complete(asked, {**without, "placement": "input"})


def test_values_of_a_range_with_steps():
    """Keras Tuner's grid has -5.6e-17 for 0, and no 1 for the range from 0 to 1."""
    hp = kt.HyperParameters()
    hp.Float("around", -0.3, 0.3, step=0.1)
    hp.Float("share", 0, 1, step=0.1)
    assert complete(read_space(hp.space), {"around": 0.0})["around"] == pytest.approx(0, abs=1e-12)
    with pytest.raises(InvalidArgumentError, match=r"`share` to be from 0 to 0.9, in steps of 0.1"):
        complete(read_space(hp.space), {"share": 1.0})


def test_an_integer_takes_whole_numbers():
    hp = kt.HyperParameters()
    hp.Int("units", 8, 64, sampling="log")
    assert complete(read_space(hp.space), {"units": 16.0}) == {"units": 16}
    with pytest.raises(InvalidArgumentError, match="`units` to be a whole number from 8 to 64"):
        complete(read_space(hp.space), {"units": 16.5})


def test_none_is_tried_twice_also_when_the_search_goes_on(tmp_path):
    points = [
        {"wrapper": "lambda", "rate": 0.2},
        {"wrapper": "lambda", "rate": 0.2 + 1e-17, "cell": "lstm"},
        {"wrapper": "lambda", "rate": 0.1 + 0.2},
        {"wrapper": "none"},
        {"wrapper": "lambda", "rate": 0.5},
    ]
    first = make_tuner(tmp_path, max_trials=2, try_first=points)
    assert len(first.oracle.points_to_try()) == 4
    first.search()
    second = make_tuner(tmp_path, max_trials=4, try_first=[*points, {"wrapper": "none"}])
    assert [p.get("rate") for p in second.oracle.points_to_try()] == [None, 0.5]
    second.search()
    found = [(each["wrapper"], each.get("rate")) for each in values(second)]
    assert found == [("lambda", 0.2), ("lambda", 0.3), ("none", None), ("lambda", 0.5)]


def test_a_wrong_one_in_the_middle_of_a_search_leaves_the_folder_usable(tmp_path):
    tuner = make_tuner(tmp_path, max_trials=1)
    tuner.search()
    with pytest.raises(InvalidArgumentError, match="`nope` is not among them"):
        tuner.oracle.enqueue({"nope": 1})
    tuner.oracle.save()
    again = make_tuner(tmp_path, max_trials=2)
    again.search()
    assert len(again.oracle.trials) == 2
