"""What a model has learned of its rates, as configurations for a search to try first."""

import keras
import keras_tuner as kt
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.oracle import complete
from recdrop_tune.spaces import plain_names
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


def tried(points, space, embedding=True):
    """What a search builds of points: what they leave open takes a middle value."""
    hp = kt.HyperParameters()
    rdt.SearchSpace.load(space).sample(hp, embedding=embedding)
    return [plain_names(complete(hp.space, point)) for point in points]


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


ONE = {"wrapper": "variational", "placement": "recurrent", "rate": [0.1, 0.2]}


@pytest.mark.parametrize(
    ("groups", "more", "expected"),
    [
        (1, {"mask_groups": [1, 2, 4]}, {"mask_groups": 1}),
        (4, {"mask_groups": [1, 2, 4]}, {"mask_groups": 4}),
        (1, {"schedule": ["constant", "linear", "ramp"]}, {"schedule": "constant"}),
        (1, {"locked_rate": [0.0, 0.3, 0.5]}, {"locked_rate": 0.0}),
        (1, {"locked_rate": {"input": {"min": 0.1, "max": 0.5}}}, {"locked_rate.input": 0.1}),
    ],
    ids=["one mask", "groups", "schedule", "locked", "the least"],
)
def test_nothing_of_the_dropout_is_left_to_the_middle(groups, more, expected):
    space = {**ONE, **more}
    points = rdt.learned_points(learned({"recurrent": 0.2}, mask_groups=groups), space)
    assert tried(points, space) == [{**ONE, "rate": 0.2, **expected}]


def test_the_preset_of_everything_tries_the_masks_that_were_learned():
    found = rdt.learned_points(learned({"recurrent": 0.2}), "full")
    (values,) = tried(found, "full")
    assert (values["mask_groups"], values["tied_gates"]) == (1, True)


@pytest.mark.parametrize("beside", [False, True])
def test_dropout_beside_the_wrapper_is_that_of_the_model(beside):
    text, words = keras.Input((5,), dtype="int32"), keras.layers.Embedding(9, 3)
    features = rdt.EmbeddingDropout(words, 0.4)(text) if beside else words(text)
    features = rdt.LockedDropout(0.3)(features) if beside else features
    layer = ConcreteDropoutWrapper(keras.layers.LSTM(4), 0.2, "recurrent")
    model = keras.Model(text, layer(features))
    space = {**ONE, "locked_rate": [0.0, 0.3, 0.5], "embedding_rate": [0.0, 0.2, 0.4]}
    (values,) = tried(rdt.learned_points(model, space), space)
    rates = (values["locked_rate"], values["embedding_rate"])
    assert rates == ((0.3, 0.4) if beside else (0.0, 0.0))
    # Without an embedding no search asks for the rate of one.
    points = rdt.learned_points(learned({"recurrent": 0.2}), space)
    assert tried(points, space, embedding=False)[0]["locked_rate"] == 0.0


def test_layers_that_drop_in_other_ways_are_not_one_dropout():
    layers = [
        ConcreteDropoutWrapper(keras.layers.LSTM(4, return_sequences=True), 0.1, elements=elements)
        for elements in (True, False)
    ]
    for model, what in (
        (keras.Sequential([keras.Input((5, 3)), *layers]), "`elements`"),
        (learned({"input": 0.1}, {"recurrent": 0.3}), "sites"),
    ):
        with pytest.raises(InvalidArgumentError, match=f"`learned`.*Their {what} differ. Pass one"):
            rdt.learned_points(model, EVERY)
    assert rdt.learned_points(layers[0], EVERY)[0]["wrapper"] == "weight_drop"


@pytest.mark.parametrize(
    ("placement", "more", "message"),
    [
        ("recurrent", {"tied_gates": False}, "at recurrent: `variational` with `tied_gates: true`. "),
        ("recurrent", {"mask_groups": 4}, "with `mask_groups: 1`. .*add what stands behind `with`"),
        ("output", {"wrapper": "recurrent", "placement": "output"}, ": `recurrent` with `per_step: false`. "),
        ("recurrent", {"schedule": ["ramp", "linear"]}, ": `variational` with `schedule: constant`. "),
    ],
    ids=["gates", "groups", "steps", "schedule"],
)  # fmt: skip
def test_an_option_that_the_space_lacks_is_named(placement, more, message):
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.learned_points(learned({placement: 0.2}), {**ONE, **more})


@pytest.mark.parametrize(
    ("model", "space", "message"),
    [
        (
            keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4)]),
            EACH,
            "`learned`. Expected a model that",
        ),
        ("a model", EACH, r"Wrap a layer by `recdrop_tune.wrap\(layer, 'concrete'\)`"),
        (
            learned({"output": 0.2}),
            EACH,
            "at output: `variational` or `recurrent` with `per_step: false`. ",
        ),
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


def searched(model, tmp_path, new_store, **options):
    numbers = {"epochs": 1, "seed": 0, "verbose": 0, "max_trials": 1}
    tracking = rdt.MLflow(uri=new_store(tmp_path))
    numbers |= {"directory": tmp_path / "search", "tracking": tracking}
    return rdt.tune(data(24), data(16), model, **numbers, **options)


def test_a_metric_of_the_same_name_is_no_hyperparameter(tmp_path, running_eagerly, new_store):
    space = {"wrapper": "concrete", "placement": "recurrent", "learning_rate": 0.008, "units": 4}
    training = rdt.Training(
        callbacks=keras.callbacks.LearningRateScheduler(lambda _, rate: rate / 2)
    )
    with running_eagerly():
        task = rdt.SequenceClassifier(2, (5, 3), space=space)
        result = searched(task, tmp_path, new_store, training=training)
    assert list(result.trials["learning_rate"]) == [pytest.approx(0.004)]
    fixed = {**ONE, "learning_rate": {"min": 1e-4, "max": 0.1, "log": True}}
    assert rdt.learned_points(result, fixed)[0]["learning_rate"] == 0.008


@pytest.mark.parametrize("others", [True, False], ids=["alike", "not alike"])
def test_options_count_whatever_the_prefix_of_their_names(
    others, tmp_path, running_eagerly, new_store
):
    def build(hp):
        model = keras.Sequential([keras.Input((5, 3))])
        for name, elements in (("a", True), ("b", others)):
            layer = keras.layers.LSTM(4, return_sequences=True)
            space = {"wrapper": "concrete", "placement": "recurrent", "elements": elements}
            model.add(rdt.dropout_rnn(hp, layer, name, space))
        model.add(keras.layers.GlobalAveragePooling1D())
        model.add(keras.layers.Dense(2, "softmax"))
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    with running_eagerly():
        result = searched(build, tmp_path, new_store)
    if others:
        assert [point["wrapper"] for point in rdt.learned_points(result, EVERY)] == ["weight_drop"]
    else:
        with pytest.raises(InvalidArgumentError, match="Their `elements` differ"):
            rdt.learned_points(result, EVERY)
