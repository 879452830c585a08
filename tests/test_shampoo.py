"""The training loop of the benchmark on the shampoo sales, computed step by step."""

import importlib

import keras
import numpy as np
import pytest

from tests import ROOT
from tests.backends import BACKEND

pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(BACKEND != "jax", reason="the loop is of JAX's functions"),
]

HISTORY = 100 + 10 * np.random.default_rng(0).normal(size=36).cumsum()
EPOCHS = 3


@pytest.fixture
def shampoo(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("_shampoo")


def lstm(weights, states, x):
    """One step of an LSTM and of the dense layer behind it."""
    import jax

    kernel, recurrent, bias, out, out_bias = weights
    h, c = states
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
    h = jax.nn.sigmoid(o) * jax.numpy.tanh(c)
    return h @ out + out_bias, (h, c)


def fitted(weights, pairs):
    """Trains batch by batch with Keras's Adam; the states are constants of each step's loss."""
    import jax

    variables = [keras.Variable(each) for each in weights]
    optimizer = keras.optimizers.Adam()
    for _ in range(EPOCHS):
        states = (np.zeros((4, 3)), np.zeros((4, 3)))
        for x, y in pairs.reshape(-1, 4, 2, 1).transpose(0, 2, 1, 3):

            def loss(weights, states=states, x=x, y=y):
                forecast, after = lstm(weights, states, x)
                return ((forecast - y) ** 2).mean(), after

            now = [each.value for each in variables]
            gradients, states = jax.grad(loss, has_aux=True)(now)
            optimizer.apply(gradients, variables)
    return [each.value for each in variables]


def forecasts(weights, held):
    states, found = (np.zeros((4, 3)), np.zeros((4, 3))), []
    for x in held[:, :1].reshape(-1, 4, 1):
        forecast, states = lstm(weights, states, x)
        found.append(forecast)
    return np.ravel(found)


def test_the_loop_carries_states_as_a_stateful_layer_does_and_each_lane_is_a_training_of_its_own(
    shampoo,
):
    lanes = [(0.0, 0), (0.0, 1)]
    train, held, (low, high) = shampoo.prepared(HISTORY, 12)
    assert train.shape == (20, 2)
    (scores,) = shampoo.scores(shampoo.Network(), lanes, HISTORY, 12, [EPOCHS])
    for (_, seed), score in zip(lanes, scores, strict=True):
        keras.utils.set_random_seed(seed)
        begun = shampoo.Network().build(0.0).get_weights()
        scaled = forecasts(fitted(begun, train), held)
        change = low + (scaled + 1) / 2 * (high - low)
        # A forecast is the true value of the month before plus the predicted change.
        expected = np.sqrt(np.mean((HISTORY[23:35] + change - HISTORY[24:]) ** 2))
        assert score == pytest.approx(expected, rel=1e-4)
    assert scores[0] != pytest.approx(scores[1], rel=1e-3)


def test_rates_are_of_their_lanes(shampoo):
    """No dropout is the rate 0 of any technique from the same first weights, and other rates are not."""
    (plain,) = shampoo.scores(shampoo.Network(), [(0.0, 0)], HISTORY, 12, [EPOCHS])
    for wrapper, placement in (("native", "input"), ("weight_drop", "recurrent")):
        network = shampoo.Network(wrapper, placement)
        (found,) = shampoo.scores(network, [(0.0, 0), (0.5, 0)], HISTORY, 12, [EPOCHS])
        assert found[0] == pytest.approx(plain[0], rel=1e-5)
        assert found[1] != pytest.approx(plain[0], rel=1e-4)


def test_the_input_is_dropped_for_each_gate_as_in_keras_2(shampoo):
    model = shampoo.Network("native", "input").build(0.4)
    assert model.layers[0].rate == {"input": 0.4, "recurrent": 0.0}
    assert "not its gates" in model.layers[0].shares_mask
