"""Any argument of wrappers and functions on models works, or raises an error of the package."""

import decimal
import fractions
import inspect
import warnings

import keras
import keras_tuner as kt
import numpy as np
import pytest
from hypothesis import strategies as st

import recdrop_tune as rdt
from recdrop_tune import wrappers
from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import InvalidArgumentError
from tests.fuzzing import OddEquality, OddTruth, hold, profiles, refused

layers = keras.layers
IDS = [name for name, technique in TECHNIQUES.items() if technique.class_name]
X = np.zeros((2, 3, 4), "float32")

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, 2**31, 2**32 - 1, -1, 0, 1, 2]),
    st.floats(),
    st.floats(0, 1),
    st.text(max_size=8),
    st.sampled_from(
        ["input", "recurrent", " input + output ", "input+input", "+", "\0", "gaussian"]
    ),
    st.dictionaries(st.sampled_from(["input", "recurrent", "output", "x", 1]), st.floats(0, 1)),
    st.lists(st.floats(0, 1), max_size=2),
    st.builds(OddEquality),
    st.builds(OddTruth),
    st.sampled_from([np.float32(0.3), np.float64("nan"), np.int64(1), decimal.Decimal("0.3"), 1j]),
    st.sampled_from([fractions.Fraction(1, 3), object, b"x", ..., np.array(0.3), np.array([0.1])]),
)


def layer():
    return layers.LSTM(2)


def arguments(name):
    """The arguments that a wrapper needs to train."""
    return {"rate": 0.2, **({"samples": 9} if TECHNIQUES[name].learns_rate else {})}


def runs(made):
    """Runs a wrapper, and makes it once more of its configuration."""
    for training in (True, False):
        assert made(X, training=training).shape == (2, 2)
    again = type(made).from_config(made.get_config())
    assert again.get_config() == made.get_config()


@profiles
def test_arguments_of_wrappers(profile):
    places = [
        (name, argument)
        for name in IDS
        for argument in list(inspect.signature(wrappers.get(name).__init__).parameters)[2:-1]
    ]

    def check(case):
        (name, argument), value = case
        made = []
        given = {**arguments(name), argument: value}
        error = refused(lambda: made.append(rdt.wrap(layer(), name, **given)), InvalidArgumentError)
        # A custom function can do anything.
        if error is None and not (argument == "function" and callable(value)):
            (wrapper,) = made
            if wrapper.learns_rates:  # Where `samples` is None, they are counted.
                wrapper.expect_samples(9)
            if getattr(wrapper, "mask_groups", 1) < 5:  # Each group is a call of the kernel.
                runs(wrapper)

    hold(profile, 200, st.tuples(st.sampled_from(places), junk), check)


LAYERS = {
    "none": lambda: None,
    "name": lambda: "LSTM",
    "class": lambda: layers.LSTM,
    "odd": OddEquality,
    "recurrent_dropout": lambda: layers.LSTM(2, recurrent_dropout=0.2),
    "dropout": lambda: layers.Bidirectional(layers.GRU(2, dropout=0.2)),
    "SimpleRNN": lambda: layers.SimpleRNN(2),
    "RNN": lambda: layers.RNN(layers.LSTMCell(2)),
    "Dense": lambda: layers.Dense(2),
    "Bidirectional": lambda: layers.Bidirectional(layers.SimpleRNN(2)),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(2)),
    "ConvLSTM": lambda: layers.ConvLSTM1D(2, 3),
    "model": lambda: keras.Sequential([layers.LSTM(2)]),
    "wrapper": lambda: rdt.wrap(layer(), "recurrent", rate=0.2),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_that_cannot_be_wrapped(kind):
    for name in IDS:
        with pytest.raises(InvalidArgumentError, match="argument `layer`"):
            rdt.wrap(LAYERS[kind](), name, rate=0.2)


@pytest.mark.parametrize("name", IDS)
def test_a_layer_that_is_built_already(name):
    built = layer()
    built.build((None, None, 4))
    runs(rdt.wrap(built, name, **arguments(name)))


KERAS_ARGUMENTS = {"name", "dtype", "trainable", "module", "unknown"}
"""Keys of a configuration whose values are Keras's to refuse: `keras.layers.Layer` checks them."""


@profiles
def test_changed_configurations(profile):
    good = wrappers.serialize(rdt.wrap(layer(), "recurrent", rate=0.2, seed=1))
    inner = [("config", key) for key in [*good["config"], "unknown", "go_backwards"]]
    places = [*((key,) for key in [*good, "wrapper", "layer"]), *inner]

    def check(case):
        place, value, dropped = case
        config = {**good, "config": dict(good["config"])}
        holder = config if len(place) == 1 else config["config"]
        holder.pop(place[-1], None)
        if not dropped:
            holder[place[-1]] = value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if place[-1] in KERAS_ARGUMENTS or place == ("build_config",):
                kinds = (InvalidArgumentError, ValueError, TypeError, AttributeError, RuntimeError)
                refused(lambda: wrappers.get(config), kinds)
            else:
                refused(lambda: wrappers.get(config), InvalidArgumentError)

    hold(profile, 200, st.tuples(st.sampled_from(places), junk, st.booleans()), check)


@profiles
def test_other_values_than_configurations(profile):
    def check(value):
        refused(lambda: wrappers.get(value), InvalidArgumentError)
        for call in (wrappers.deserialize, wrappers.serialize, wrappers.ZoneoutWrapper.from_config):
            assert refused(lambda: call(value), InvalidArgumentError)  # noqa: B023
        refused(lambda: rdt.wrap(layer(), value, rate=0.1), InvalidArgumentError)

    hold(profile, 80, junk, check)


def model():
    return keras.Sequential([keras.Input((3, 4)), rdt.wrap(layer(), "recurrent", rate=0.2)])


CALLS = {
    "explain": lambda value: rdt.explain(value),
    "to_plain": lambda value: rdt.to_plain(value),
    "mc_predict": lambda value: rdt.mc_predict(value, X),
    "mc_predict.x": lambda value: rdt.mc_predict(MODEL, value, samples=1),
    "mc_predict.samples": lambda value: rdt.mc_predict(MODEL, X, samples=_few(value)),
    "mc_predict.batch_size": lambda value: rdt.mc_predict(MODEL, X, samples=1, batch_size=value),
    "mc_predict.seed": lambda value: rdt.mc_predict(MODEL, X, samples=1, seed=value),
    "RateSchedule.schedule": lambda value: rdt.RateSchedule(value),
    "RateSchedule.epochs": lambda value: rdt.RateSchedule("linear", epochs=value),
    "RateSchedule.per": lambda value: rdt.RateSchedule("linear", per=value),
    "RateSchedule.layers": lambda value: rdt.RateSchedule("linear", layers=value),
    "LockedDropout.rate": lambda value: rdt.LockedDropout(value),
    "LockedDropout.seed": lambda value: rdt.LockedDropout(0.2, seed=value),
    "EmbeddingDropout.layer": lambda value: rdt.EmbeddingDropout(value, 0.2),
    "EmbeddingDropout.rate": lambda value: rdt.EmbeddingDropout(layers.Embedding(3, 2), value),
    "EmbeddingDropout.seed": lambda value: rdt.EmbeddingDropout(
        layers.Embedding(3, 2), 0.2, seed=value
    ),
    "dropout_rnn.hp": lambda value: rdt.dropout_rnn(value, layer()),
    "dropout_rnn.layer": lambda value: rdt.dropout_rnn(kt.HyperParameters(), value, space=DROPPING),
    "dropout_rnn.name": lambda value: rdt.dropout_rnn(kt.HyperParameters(), layer(), value),
    "dropout_rnn.space": lambda value: rdt.dropout_rnn(kt.HyperParameters(), layer(), space=value),
}
MODEL, DROPPING = model(), {"wrapper": "recurrent", "rate": 0.2}


def _few(value):
    """Spares a test that would draw a billion samples."""
    return 1 if isinstance(value, int) and value > 9 else value


@profiles
def test_functions_on_models(profile):
    def check(case):
        name, value = case
        # Keras refuses arrays of other shapes than the model takes.
        kind = ValueError if name == "mc_predict.x" else InvalidArgumentError
        refused(lambda: CALLS[name](value), kind)

    hold(profile, 250, st.tuples(st.sampled_from(sorted(CALLS)), junk), check, seconds=20)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rdt.wrap(layer(), "native", rate=10**400), "`rate`"),
        (lambda: rdt.wrap(layer(), "native", rate=0.2, seed=10**30), r"`seed`.*below 2\*\*32 - 1"),
        (lambda: rdt.wrap(layer(), "recurrent", rate=0.2, per_step="no"), "`per_step`.*True or Fa"),
        (
            lambda: rdt.wrap(layer(), "variational", rate=0.2, tied_gates=2),
            "`tied_gates`.*True or F",
        ),
        (lambda: rdt.wrap(layer(), "variational", rate=0.2, mask_groups=2**31), "`mask_groups`"),
        (lambda: rdt.wrap(layer(), OddEquality(), rate=0.2), "`wrapper`"),
        (lambda: wrappers.deserialize("recurrent"), "`config`.*a mapping"),
        (lambda: wrappers.deserialize({"class_name": OddEquality()}), "`class_name`"),
        (lambda: wrappers.deserialize({"class_name": "ZoneoutWrapper", "config": 1}), "`config`"),
        (lambda: wrappers.ZoneoutWrapper.from_config({"rate": 0.1}), "`config`.*of a `layer`"),
        (lambda: wrappers.ZoneoutWrapper.from_config({"rate": 0.1, "layer": 1}), "`config`"),
        (lambda: rdt.mc_predict(model(), X, seed=-1), "`seed`"),
        (lambda: rdt.LockedDropout(0.1, seed=0.5), "`seed`"),
        (lambda: rdt.dropout_rnn(None, layer()), "`hp`"),
        (lambda: rdt.dropout_rnn(kt.HyperParameters(), layer(), 3), "`name`"),
        (lambda: rdt.RateSchedule("linear", layers=3), "`layers`"),
    ],
)
def test_arguments_that_are_refused(call, message):
    with pytest.raises(InvalidArgumentError, match=message):
        call()


@pytest.mark.parametrize("function", ["system", "popen", None, 3])
def test_a_configuration_names_no_function_of_other_modules(function, tmp_path):
    written = {"class_name": "function", "module": "os", "config": function, "registered_name": "x"}
    config = {"wrapper": "lambda", "rate": 0.2, "function": written, "layer": layer()}
    with pytest.raises(InvalidArgumentError, match=r"`function`.*registered with Keras"):
        wrappers.get(config)


def test_numbers_of_numpy_are_numbers():
    made = rdt.wrap(
        layer(),
        "variational",
        rate=np.float32(0.25),
        seed=np.int64(1),
        mask_groups=np.int64(2),
        tied_gates=np.bool_(True),
    )
    runs(made)
    kinds = [
        type(made.get_config()[name]) for name in ("rate", "seed", "mask_groups", "tied_gates")
    ]
    assert kinds == [float, int, int, bool]
