"""A wrapper where the layer stood: its name, `input_shape`, attributes, and Keras's own errors."""

import warnings

import keras
import numpy as np
import pytest

from recdrop_tune.models import structure, to_plain
from recdrop_tune.wrappers import EmbeddingDropout, RecurrentDropoutWrapper
from tests.backends import array

X = np.random.default_rng(0).normal(size=(8, 6, 4)).astype("float32")

KINDS = [keras.layers.LSTM, keras.layers.GRU]


def with_shape(kind, *arguments, **options):
    """A layer with the arguments of tutorials, about which Keras warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Do not pass an `input_shape`")
        return kind(*arguments, **options)


@pytest.mark.backends
@pytest.mark.parametrize("kind", KINDS)
def test_the_input_shape_of_the_layer_builds_a_sequential(kind):
    layer = with_shape(kind, 5, input_shape=(6, 4))
    model = keras.Sequential([RecurrentDropoutWrapper(layer, rate=0.3), keras.layers.Dense(1)])
    plain = keras.Sequential([keras.Input((6, 4)), kind(5), keras.layers.Dense(1)])
    assert model.built
    assert model.count_params() == plain.count_params()
    model.compile("sgd", "mse")
    assert structure(model) is not None  # It can be used again.
    assert keras.models.clone_model(model).input_shape == (None, 6, 4)


def test_the_input_shape_of_a_bidirectional_and_of_an_embedding():
    both = with_shape(keras.layers.Bidirectional, keras.layers.GRU(3), input_shape=(6, 4))
    model = keras.Sequential([RecurrentDropoutWrapper(both, rate=0.3), keras.layers.Dense(1)])
    assert model.input_shape == (None, 6, 4)
    tokens = with_shape(keras.layers.Embedding, 10, 4, input_shape=(6,))
    model = keras.Sequential([EmbeddingDropout(tokens, rate=0.3), keras.layers.LSTM(2)])
    assert model.input_shape == (None, 6)


@pytest.mark.backends
def test_it_is_found_by_the_name_that_its_layer_was_given(tmp_path):
    layers = [
        RecurrentDropoutWrapper(
            keras.layers.LSTM(5, name="lower", return_sequences=True), rate=0.3
        ),
        RecurrentDropoutWrapper(keras.layers.LSTM(5, name="upper"), rate=0.3),
    ]
    model = keras.Sequential([keras.Input((6, 4)), *layers])
    assert [model.get_layer(name) for name in ("lower", "upper")] == layers
    paths = [weight.path for weight in model.weights]
    assert len(set(paths)) == len(paths)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("upper").layer.name == "upper"
    np.testing.assert_array_equal(array(loaded(X)), array(model(X)))
    assert to_plain(model).get_layer("lower").name == "lower"


def test_the_layer_itself_and_its_wrapper_stand_in_one_model():
    layer, inputs = keras.layers.LSTM(3), keras.Input((6, 4))
    wrapped = RecurrentDropoutWrapper(layer, rate=0.3)
    model = keras.Model(inputs, [layer(inputs), wrapped(inputs)])
    assert len(model.weights) == 3


OF_THE_LAYER = (
    *("units", "activation", "kernel_regularizer", "bias_constraint", "return_sequences"),
    *("return_state", "stateful", "go_backwards", "zero_output_for_mask", "input_spec", "states"),
)


@pytest.mark.parametrize(
    ("kind", "own"), [(KINDS[0], "unit_forget_bias"), (KINDS[1], "reset_after")]
)
def test_the_attributes_of_the_layer(kind, own):
    options = {"kernel_regularizer": "l2", "bias_constraint": "non_neg", "go_backwards": True}
    layer = kind(5, activation="relu", **options)
    wrapped = RecurrentDropoutWrapper(layer, rate=0.3)
    for name in (*OF_THE_LAYER, own):
        assert getattr(wrapped, name) == getattr(layer, name), name


def test_what_a_bidirectional_does_not_have():
    both = keras.layers.Bidirectional(keras.layers.LSTM(5), merge_mode="sum")
    wrapped = RecurrentDropoutWrapper(both, rate=0.3)
    assert wrapped.merge_mode == "sum"
    assert not hasattr(wrapped, "units")
    with pytest.raises(AttributeError):
        wrapped.get_initial_state(2)
    assert not hasattr(RecurrentDropoutWrapper(keras.layers.LSTM(5), rate=0.3), "merge_mode")


@pytest.mark.backends
def test_states_of_a_batch():
    layer = keras.layers.LSTM(5, stateful=True)
    wrapped = RecurrentDropoutWrapper(layer, rate=0.3)
    assert [tuple(state.shape) for state in wrapped.get_initial_state(3)] == [(3, 5), (3, 5)]
    wrapped(X, training=True)
    assert np.abs(array(wrapped.states[0])).sum() > 0
    wrapped.reset_states()
    assert np.abs(array(wrapped.states[0])).sum() == 0
