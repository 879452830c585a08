"""Tests for hyperparameters as rows, and for their translation from and to Keras Tuner and Optuna."""

import math

import keras_tuner as kt
import numpy as np
import pytest
from keras_tuner.src.engine.conditions import Parent

from recdrop_tune.hyperparameters import (
    MAX_LISTED,
    Hyperparameter,
    configurations,
    count,
    is_twin,
    walk,
    without_dropout,
)
from recdrop_tune.optuna_forms import from_optuna, to_optuna
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.oracle.translation import (
    read_space,
    read_values,
    write_values,
)
from recdrop_tune.spaces import SearchSpace


def rows_of(preset, folder):
    """Returns the rows of a preset, as a tuner finds them: it builds a model for each condition."""
    oracle = OptunaOracle("val_loss", 1)
    space = SearchSpace.load(preset)
    kt.Tuner(oracle, lambda hp: space.sample(hp), directory=folder)
    return read_space(oracle.get_space().space)


def test_groups_of_wrappers_share_the_key_of_their_placement(tmp_path):
    space = rows_of("full", tmp_path)
    placements = [row for row in space if row.kind == "placement"]
    assert len(placements) > 1
    assert {row.key for row in placements} == {"placement"}
    for wrapper in next(row for row in space if row.is_wrapper).choices:
        values = walk(space, lambda row, w=wrapper: w if row.is_wrapper else row.middle)
        assert ("placement" in values) == (wrapper != "none")


def test_names_that_could_be_active_together_are_their_own_keys():
    hp = kt.HyperParameters()
    hp.Choice("placement.recurrent", ["a", "b"])
    hp.Choice("placement.lambda", ["c", "d"])
    assert [row.key for row in read_space(hp.space)] == ["placement.recurrent", "placement.lambda"]


def test_a_child_of_an_inactive_parent_is_inactive():
    """Its own condition alone can hold: Keras Tuner's values can hold those of inactive parents."""
    a = kt.engine.hyperparameters.Choice("a", [1, 2])
    b = kt.engine.hyperparameters.Choice("b", [1, 2], conditions=[Parent("a", [2])])
    c = kt.engine.hyperparameters.Choice("c", [1, 2], conditions=[Parent("b", [1])])
    space = read_space([c, b, a])
    assert [row.name for row in space] == ["a", "b", "c"]
    assert read_values(space, {"a": 1, "b": 1, "c": 2}) == {"a": 1}
    assert len(list(configurations(space))) == count(space) == 1 + 1 + 2


def test_a_parent_can_have_more_values_than_are_listed():
    child = Hyperparameter("child", choices=[1, 2], when={"parent": [7, 8, 0.5]})
    space = [Hyperparameter("parent", low=1, high=MAX_LISTED + 1), child]
    assert len(list(configurations(space))) == count(space) == MAX_LISTED + 1 + 2
    assert count([Hyperparameter("parent", low=0.0, high=1.0), child]) == math.inf


@pytest.mark.parametrize("preset", ["full", "awd_lstm", "lstm"])
def test_a_configuration_survives_both_translations(tmp_path, preset):
    space = rows_of(preset, tmp_path)
    for place in (0.0, 0.3, 0.99):
        known = walk(space, lambda row, place=place: row.at(place))
        assert read_values(space, write_values(space, known)) == known
        params, distributions = to_optuna(space, known)
        assert from_optuna(space, params) == known
        for name, value in params.items():
            distribution = distributions[name]
            assert distribution._contains(distribution.to_internal_repr(value))


@pytest.mark.parametrize(
    ("row", "inside", "outside"),
    [
        (Hyperparameter("x", choices=[1, 2]), [1, 2], [True, 3, "1"]),
        (Hyperparameter("x", choices=[True, False]), [True], [1, 0]),
        (Hyperparameter("x", low=1, high=9, step=4), [1, 5.0, 9], [2, 13, True, "5", math.inf]),
        (
            Hyperparameter("x", low=0.1, high=0.5, step=0.1),
            [0.1 + 0.2, 0.5],
            [0.25, 0.6, None, math.inf],
        ),
        (Hyperparameter("x", low=0.1, high=0.5), [0.25], [0.6, math.nan]),
    ],
)
def test_what_a_row_contains(row, inside, outside):
    assert all(row.contains(value) for value in inside)
    assert not any(row.contains(value) for value in outside)
    assert {type(row.exact(value)) for value in inside} == {type(row.middle)}


@pytest.mark.parametrize(
    "hp",
    [
        kt.engine.hyperparameters.Int("x", 8, 61, step=8),
        kt.engine.hyperparameters.Int("x", 4, 300, sampling="log"),
        kt.engine.hyperparameters.Float("x", 1e-4, 1e-2, sampling="log"),
        kt.engine.hyperparameters.Float("x", 0.5, 0.99, sampling="reverse_log"),
        kt.engine.hyperparameters.Float("x", 0.1, 0.7, step=0.1),
        kt.engine.hyperparameters.Choice("x", ["a", "b", "c", "d"]),
        kt.engine.hyperparameters.Boolean("x"),
    ],
)
def test_the_middle_is_keras_tuners(hp):
    (row,) = read_space([hp])
    middle = hp.prob_to_value(0.5)
    assert row.middle == (pytest.approx(middle, rel=1e-12) if type(middle) is float else middle)


@pytest.mark.parametrize("ends", [(0.9, 0.99), (0.1, 0.9), (1e-3, 1.0)])
def test_the_ends_of_a_mirrored_range_are_in_it(ends):
    """`0.9 + 0.99 - 0.9` is more than 0.99."""
    (row,) = read_space([kt.engine.hyperparameters.Float("x", *ends, sampling="reverse_log")])
    for end in ends:
        params, distributions = to_optuna([row], {"x": end})
        assert distributions["x"]._contains(params["x"])
        assert from_optuna([row], params) == {"x": pytest.approx(end, rel=1e-12)}
        assert row.contains(from_optuna([row], params)["x"])
    assert (row.place(-1.0), row.place(2.0)) == (0.0, 1.0)


def test_steps_of_a_third_begin_at_the_lower_end():
    (row,) = read_space([kt.engine.hyperparameters.Float("x", 1 / 3, 1.0, step=1 / 3)])
    assert all(row.contains(value) for value in (*row.values, 1 / 3))


def test_numbers_of_numpy_are_those_of_python():
    """Tables and JSON take no others."""
    rates = list(np.array([0.1, 0.2]))
    space = read_space([kt.engine.hyperparameters.Choice("x", rates)])
    assert {type(value) for value in space[0].choices} == {float}
    assert type(read_values(space, {"x": rates[1]})["x"]) is float


def test_steps_that_do_not_reach_the_end():
    row = Hyperparameter("x", low=8, high=61, step=8)
    assert (row.high, row.at(0.999), row.place(56)) == (56, 56, 1.0)


def test_a_hyperparameter_that_is_active_only_without_dropout():
    hp = kt.HyperParameters()
    hp.Choice("wrapper", ["none", "recurrent"])
    with hp.conditional_scope("wrapper", ["recurrent"]):
        hp.Choice("rate", [0.1, 0.2])
    with hp.conditional_scope("wrapper", ["none"]):
        hp.Choice("l2", [0.0, 0.1, 0.2])
    best = {"wrapper": "recurrent", "rate": 0.1}
    assert without_dropout(read_space(hp.space), best) == {"wrapper": "none", "l2": 0.1}


NO_DROPOUT = {"units": 8, "wrapper": "none"}
ZONEOUT = {"units": 8, "wrapper": "zoneout", "rate": 0.1}
TWO_LAYERS = {"a/wrapper": "none", "b/wrapper": "none"}


@pytest.mark.parametrize(
    ("without", "values", "twin"),
    [
        (NO_DROPOUT, ZONEOUT, True),
        ({**NO_DROPOUT, "rate": None}, ZONEOUT, True),
        ({**NO_DROPOUT, "units": 9}, ZONEOUT, False),
        (ZONEOUT, ZONEOUT, False),
        ({"units": 8}, {"units": 8}, False),
        (TWO_LAYERS, {**TWO_LAYERS, "b/wrapper": "zoneout"}, True),
        ({**TWO_LAYERS, "b/wrapper": "native"}, {**TWO_LAYERS, "b/wrapper": "zoneout"}, False),
        # A user-defined hyperparameter of that name counts like any other.
        ({**NO_DROPOUT, "gift/wrapper": "paper"}, {**ZONEOUT, "gift/wrapper": "foil"}, False),
        ({**NO_DROPOUT, "gift/wrapper": "paper"}, {**ZONEOUT, "gift/wrapper": "paper"}, True),
    ],
)
def test_the_twin_is_the_same_without_dropout(without, values, twin):
    assert is_twin(without, values) == twin
