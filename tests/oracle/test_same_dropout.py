"""Tests that a dropout with two names is trained once and shown under both."""

import keras
import keras_tuner as kt
import pytest

from recdrop_tune import ExistingModel, SequenceClassifier, SequenceTagger, dropout_rnn, standing
from recdrop_tune.mlflow_store import track
from recdrop_tune.oracle import OptunaOracle, exhausted, other_names
from recdrop_tune.oracle.proposals import tried_of_all
from tests.oracle.test_optuna_oracle import Formula

EVERY = {
    "units": 2,
    "wrapper": ["none", "native", "recurrent", "variational", "time_distributed", "lambda"],
    "rate": [0.1, 0.2],
}
OPTIONS = {"per_step": [True, False], "function": ["bernoulli", "gaussian"]}


def make(folder, hypermodel, trials=99, **options):
    oracle = OptunaOracle(kt.Objective("score", "min"), trials, seed=0, **options)
    oracle.verbose = 0
    tuner = Formula(oracle, hypermodel, directory=folder)
    tuner.formula = lambda hp: abs(hp.values.get("rate", 0.5) - 0.2)
    return tuner


def classifier(**more):
    return SequenceClassifier(2, (3, 2), {**EVERY, **more})


def stack(hp):
    """A build function: nothing tells that its last layer returns its last step in every trial."""
    layer = dropout_rnn(hp, keras.layers.GRU(2), name="top", space={**EVERY, "units": 2})
    return keras.Sequential([keras.Input((3, 2)), layer])


def existing(*returns, per_layer=False):
    layers = [keras.layers.LSTM(2, return_sequences=each) for each in returns]
    model = keras.Sequential([keras.Input((3, 2)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    space = {name: value for name, value in EVERY.items() if name != "units"}
    return ExistingModel(model, space, per_layer=per_layer)


def names(oracle, wrapper, placement, layer="", **options):
    """Returns the other names of a configuration."""
    hp = oracle.get_space()
    given = {"wrapper": wrapper, "placement": placement, "rate": 0.1, **options}
    hp.values = {}
    for each in hp.space:
        bare = each.name.removeprefix(layer).partition(".")[0]
        inactive = each.conditions and not all(c.is_active(hp.values) for c in each.conditions)
        if not inactive:
            hp.values[each.name] = given.get(bare, each.default)
    return other_names(oracle, hp).get(f"{layer}wrapper", [])


STEPS = ["recurrent", "time_distributed", "lambda"]


@pytest.mark.parametrize(
    ("hypermodel", "placement", "equal"),
    [
        (classifier(), "input", STEPS),
        (classifier(), "input", ["native", "variational"]),
        (classifier(), "output", ["recurrent", "variational", "time_distributed", "lambda"]),
        (classifier(bidirectional=True), "output", [*STEPS[:1], "variational", *STEPS[1:]]),
        (classifier(layers=2), "output", STEPS),
        (SequenceTagger(2, (3, 2), EVERY), "output", STEPS),
        (existing(False), "output", ["recurrent", "variational", "time_distributed", "lambda"]),
        (stack, "output", STEPS),
        (classifier(), "input+recurrent", ["native"]),
        (classifier(), "input+recurrent", ["recurrent"]),
    ],
)
def test_which_dropouts_are_the_same(tmp_path, hypermodel, placement, equal):
    oracle = make(tmp_path, hypermodel).oracle
    layer = "top/" if hypermodel is stack else ""
    for wrapper in equal:
        others = [each for each in equal if each != wrapper]
        assert names(oracle, wrapper, placement, layer) == others


@pytest.mark.parametrize(
    ("options", "wrapper", "equal"),
    [
        ({"per_step": False}, "recurrent", ["native", "variational"]),
        ({"function": "gaussian"}, "lambda", []),
        ({}, "variational", ["native", "recurrent"]),  # With `per_step` at `False`.
    ],
)
def test_options_make_dropouts_equal_or_not(tmp_path, options, wrapper, equal):
    oracle = make(tmp_path, classifier(**OPTIONS)).oracle
    assert names(oracle, wrapper, "input", **options) == equal


def test_each_layer_has_its_own_dropout(tmp_path):
    oracle = make(tmp_path, existing(True, False, per_layer=True)).oracle
    first, last = oracle.returns_steps
    assert names(oracle, "recurrent", "output", first) == STEPS[1:]
    assert names(oracle, "recurrent", "output", last) == ["variational", *STEPS[1:]]


def test_wrappers_of_a_user_can_be_anything(tmp_path):
    def build(hp):
        wrapper = hp.Choice("wrapper", ["none", "recurrent", "lambda"])
        with hp.conditional_scope("wrapper", ["recurrent", "lambda"]):
            hp.Choice("placement", ["input"])
            hp.Choice("rate", [0.1, 0.2])
        return wrapper

    tuner = make(tmp_path, build)
    tuner.search()
    assert len(tuner.oracle.trials) == 5


@pytest.mark.parametrize("sampler", ["surrogate", "tpe", "grid"])
def test_a_dropout_with_two_names_is_tried_once(tmp_path, sampler):
    space = {"wrapper": ["none", "recurrent", "time_distributed"], "placement": ["input", "output"]}
    # Rates of the input, and those of the output for either name; and none.
    point = {"wrapper": "time_distributed", "placement": "input", "rate": 0.1}
    points = [point, {**point, "wrapper": "recurrent"}]
    tuner = make(tmp_path, classifier(**space), 3, sampler=sampler, try_first=points)
    assert len(tuner.oracle.points_to_try()) == 1
    tuner.search()
    resumed = make(tmp_path, classifier(**space), sampler=sampler, try_first=points)
    resumed.search()
    assert len(resumed.oracle.trials) == 1 + 2 * 2
    assert tried_of_all(resumed.oracle) == exhausted(resumed.oracle) == (5, 5)


def test_the_records_have_the_other_names(tmp_path):
    space = {"wrapper": ["none", "recurrent", "time_distributed"], "placement": ["input"]}
    tuner = make(tmp_path, classifier(**space))
    with track(tuner) as tracking:
        tuner.search()
    records = tracking.records
    assert len(records.trials) == 3
    table = standing.by_wrapper(records, {"wrapper": space["wrapper"]}).set_index("wrapper")
    best = {"recurrent": 0.0, "time_distributed": 0.0, "none": 0.3}
    assert table["best"].to_dict() == pytest.approx(best)
