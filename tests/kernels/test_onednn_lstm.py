"""Tests for the fused LSTM of PyTorch's CPU: it computes what the step loop does, or is left alone."""

import importlib
from functools import partial

import keras
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.models import explain
from tests.backends import BACKEND

pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch's op"),
]

X = np.random.default_rng(0).normal(size=(6, 5, 3)).astype("float32")


def layer(use_cudnn="auto", **options):
    keras.utils.set_random_seed(1)
    # The masks of a seed depend on the name.
    inner = keras.layers.LSTM(4, use_cudnn=use_cudnn, dtype="float32", name="rnn", **options)
    return rdt.wrap(inner, "recurrent", rate=0.3, placement="recurrent", seed=4)


def gradients(made, twice=False):
    """Returns the output, its gradients by the inputs and the weights, and those of the gradient's square."""
    torch = importlib.import_module("torch")
    x = torch.tensor(X, requires_grad=True)
    out = made(x, training=True)
    variables = [x, *(variable.value for variable in made.trainable_variables)]
    first = torch.autograd.grad(torch.sin(out).sum(), variables, create_graph=twice)
    second = torch.autograd.grad((first[0] ** 2).sum(), variables) if twice else ()
    return [part.detach().numpy() for part in (out, *first, *second)]


@pytest.mark.parametrize("options", [{}, {"go_backwards": True, "return_sequences": True}])
def test_gradients_and_their_gradients_are_those_of_the_loop(options):
    fused, loop = (gradients(layer(kind, **options), twice=True) for kind in ("auto", False))
    for ours, theirs in zip(fused, loop, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("floatx", ["float64", "float16"])
def test_another_type_of_the_rest_of_the_program(floatx):
    expected = gradients(layer())
    keras.config.set_floatx(floatx)
    try:
        found = gradients(layer())
    finally:
        keras.config.set_floatx("float32")
    np.testing.assert_equal(found, expected)


def test_autocast_is_left_to_the_loop():
    torch = importlib.import_module("torch")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused, loop = (layer(kind)(torch.tensor(X), training=True) for kind in ("auto", False))
    np.testing.assert_array_equal(fused.detach().numpy(), loop.detach().numpy())


@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns too.
def test_what_is_compiled_is_left_to_the_loop(monkeypatch):
    torch = importlib.import_module("torch")
    # Forward and backward pass are traced as by default, but no C++ is made of them.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    model = keras.Sequential([keras.Input((5, 3)), layer(), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=True)
    assert {row.kernel for row in explain(model).rows} == {"fused CPU op"}
    history = model.fit(X, X[:, 0, :1], epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
