"""What a model has learned of its rates, as configurations for a search to try first."""

import keras
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.wrappers import ConcreteDropoutWrapper
from tests.small_search import data

RATES = {"min": 0.05, "max": 0.5, "step": 0.05}
EACH = {"wrapper": ["none", "variational"], "rate": dict.fromkeys(("input", "recurrent"), RATES)}


def learned(rates, *more, **options):
    """A model whose layers have learned rates."""
    layers = [
        ConcreteDropoutWrapper(
            keras.layers.LSTM(4, return_sequences=True), each, "+".join(each), **options
        )
        for each in (rates, *more)
    ]
    return keras.Sequential([keras.Input((5, 3)), *layers])


def test_rates_are_rounded_and_end_where_the_range_does():
    model = learned({"input": 0.013, "recurrent": 0.137})
    (point,) = rdt.learned_points(model, EACH)
    assert point == {
        "wrapper": "variational",
        "placement": "input+recurrent",
        "rate.input": 0.05,
        "rate.recurrent": 0.15,
    }


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ({"min": 0.02, "max": 0.1}, 0.1),
        ({"min": 0.01, "max": 0.5, "log": True}, pytest.approx(0.12)),
        ([0.5, 0.1, 0.2], 0.1),
        (0.3, 0.3),
    ],
    ids=["beyond a continuum", "within one", "a list", "fixed"],
)
def test_one_rate_for_all_sites_is_their_mean(rate, expected):
    model = learned({"input": 0.04, "recurrent": 0.2})
    space = {"wrapper": "variational", "placement": "input+recurrent", "rate": rate}
    (point,) = rdt.learned_points(model, space)
    assert point["rate"] == expected


def test_of_several_layers_it_is_their_mean():
    model = learned({"recurrent": 0.1}, {"recurrent": 0.3})
    (point,) = rdt.learned_points(model, {"wrapper": "variational", "rate": RATES})
    assert point == {"wrapper": "variational", "placement": "recurrent", "rate": 0.2}


EVERY = {
    "wrapper": ["none", "native", "recurrent", "variational", "weight_drop", "zoneout"],
    "rate": RATES,
    "per_step": [True, False],
    "tied_gates": [False, True],
}


@pytest.mark.parametrize(
    ("placement", "elements", "expected"),
    [
        ("recurrent", False, ["variational"]),
        ("recurrent", True, ["weight_drop"]),
        ("input+recurrent", True, ["variational"]),
        ("input", False, ["variational", "recurrent", "native"]),
        ("output", False, ["variational", "recurrent"]),
    ],
)
def test_techniques_with_the_same_masks(placement, elements, expected):
    points = rdt.learned_points(
        learned(dict.fromkeys(placement.split("+"), 0.2), elements=elements), EVERY
    )
    assert [point["wrapper"] for point in points] == expected
    options = {
        name: point[name]
        for point in points
        for name in ("per_step", "tied_gates")
        if name in point
    }
    assert options == (
        {"tied_gates": True}
        if expected == ["variational"]
        else {"per_step": False}
        if len(expected) > 1
        else {}
    )


def test_a_mask_for_each_step_is_another_one():
    points = rdt.learned_points(learned({"output": 0.2}), {"wrapper": ["recurrent", "variational"]})
    assert [point["wrapper"] for point in points] == ["variational"]


@pytest.mark.parametrize(
    ("model", "space", "message"),
    [
        (
            keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4)]),
            EACH,
            "`learned`. Expected a model that",
        ),
        ("a model", EACH, r"Wrap a layer by `recdrop_tune.wrap\(layer, 'concrete'\)`"),
        (learned({"output": 0.2}), EACH, "at output: `variational` or `recurrent`. "),
        (learned({"input": 0.2}), {"wrapper": ["none", "zoneout"]}, "Add it to `wrapper`"),
    ],
    ids=["no wrapper", "no model", "no placement", "no technique"],
)
def test_what_cannot_be_tried_is_refused(model, space, message):
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.learned_points(model, space)


def test_a_search_tries_what_another_has_learned(tmp_path, running_eagerly, new_store):
    numbers = {
        "epochs": 2,
        "seed": 0,
        "verbose": 0,
        "tracking": rdt.MLflow(uri=new_store(tmp_path)),
    }
    learning = {
        "wrapper": ["none", "concrete"],
        "placement": "recurrent",
        "elements": True,
        "units": [4, 8],
        "layers": 2,
    }
    fixed = {"wrapper": ["none", "weight_drop"], "rate": RATES, "units": [4, 8, 16]}
    with running_eagerly():
        first = rdt.tune(
            data(24), data(16), space=learning, max_trials=3, directory=tmp_path / "a", **numbers
        )
        points = rdt.learned_points(rdt.TuneResult.load(first.directory), fixed)
        second = rdt.tune(
            data(24),
            data(16),
            space=fixed,
            max_trials=4,
            directory=tmp_path / "b",
            tuner=rdt.Optuna(try_first=points),
            **numbers,
        )
    rows = first.trials[first.trials["wrapper"] == "concrete"]
    best = rows.iloc[0]
    metrics = [name for name in first.trials if name.endswith("/learned_rate.recurrent")]
    assert len(metrics) == 2
    mean = best[metrics].mean()
    (point,) = points
    assert point["units"] == best["units"]
    assert abs(point["rate"] - mean) <= 0.025
    tried = second.trials.sort_values("number").iloc[2]
    assert {name: tried[name] for name in point} == point
