"""Tests for custom gradients tied to graphs: a training step that nobody holds is freed."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from recdrop_tune.kernels import gradients_tied_to_graphs, keras_internals
from tests.small_search import data


def custom():
    return {
        name
        for name in keras_internals.registered_gradients()
        if name.startswith("CustomGradient-")
    }


def fit():
    """Trains a model whose activation is a custom gradient of TensorFlow."""
    keras.utils.clear_session(free_memory=False)
    x, y = data()
    layers = [keras.layers.Flatten(), keras.layers.Dense(2, "silu"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    return model


def test_a_training_step_that_nobody_holds_is_freed():
    """Without the tie it is not: if that fails, an upgrade has fixed the leak or moved the table."""
    before = custom()
    fit()
    gc.collect()
    assert custom() - before
    before = custom()
    with gradients_tied_to_graphs():
        model = fit()
    assert custom() - before
    del model
    keras.utils.clear_session()
    assert custom() <= before


def square(scale):
    @tf.custom_gradient
    def own(x):
        return x**2, lambda upstream: upstream * scale * x

    return own


def test_a_graph_that_is_alive_has_its_gradients():
    functions = [tf.function(square(7.0))]
    x = tf.constant(3.0)
    before = custom()
    with gradients_tied_to_graphs():
        functions[0](x)
    (name,) = custom() - before

    @tf.function
    def derivative(x):
        # In a graph the gradient is looked up by its name, out of the function traced above.
        return tf.gradients(functions[0](x), x)[0]

    gc.collect()
    assert name in custom()
    assert derivative(x).numpy() == 21.0
    del derivative
    functions.clear()
    gc.collect()
    assert name not in custom()


def test_what_was_there_before_and_what_fails_inside():
    outside = tf.function(square(2.0))
    outside(tf.constant(1.0))
    before = {name: keras_internals.registered_gradients()[name]["type"] for name in custom()}
    inside = [tf.function(square(3.0))]

    def fail():
        inside[0](tf.constant(1.0))
        raise RuntimeError

    with pytest.raises(RuntimeError), gradients_tied_to_graphs():
        fail()
    assert all(
        keras_internals.registered_gradients()[name]["type"] is one for name, one in before.items()
    )
    assert len(custom() - set(before)) == 1
    inside.clear()
    gc.collect()
    assert custom() == set(before)
    np.testing.assert_array_equal(outside(tf.constant(3.0)), 9.0)
