"""What Keras's backends differ in, for tests that run on each of them."""

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()

PRECISE = "float64" if BACKEND == "tensorflow" else "float32"
"""The most precise dtype: elsewhere Keras computes float64 layers in float32, at least in part."""

POLICIES = ["mixed_float16", "mixed_bfloat16", *([] if BACKEND == "jax" else ["float64"])]
"""Dtype policies other than the default; jax warns about float64, which has to be enabled there."""

JIT_COMPILE = {"tensorflow": [False, True], "jax": [True], "torch": [False]}[BACKEND]
"""What models are compiled with: the other two take minutes, for the plain layer too.

Without jit, jax compiles each op by itself; torch.compile breaks the graph at each step of Keras's loop.
"""

TRACES_EACH_STEP = BACKEND == "torch"
"""Whether the layers' code runs in each step: where nothing is compiled."""

on_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason=f"about TensorFlow itself; this is {BACKEND}"
)


class Traced(keras.layers.Layer):
    """Passes its inputs on, and counts how often it is called or traced."""

    def __init__(self):
        super().__init__()
        self.times = 0

    def call(self, inputs):
        self.times += 1
        return inputs


def array(tensor):
    """A copy of a tensor in NumPy: torch's may require gradients, and would share its memory."""
    return np.array(keras.ops.convert_to_numpy(tensor))


def gradients(loss, inputs, variables):
    """Differentiates `loss(inputs)`: NumPy arrays, for the inputs and for each variable."""
    found = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[BACKEND](
        loss, keras.ops.convert_to_tensor(inputs), variables
    )
    return [array(keras.ops.convert_to_tensor(gradient)) for gradient in found]


def _tensorflow(loss, inputs, variables):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(inputs)
    return tape.gradient(value, [inputs, *(variable.value for variable in variables)])


def _jax(loss, inputs, variables):
    import jax

    def pure(inputs, values):
        with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
            return loss(inputs)

    of_inputs, of_values = jax.grad(pure, argnums=(0, 1))(inputs, [v.value for v in variables])
    return [of_inputs, *of_values]


def _torch(loss, inputs, variables):
    import torch

    inputs = inputs.detach().requires_grad_()
    return torch.autograd.grad(loss(inputs), [inputs, *(variable.value for variable in variables)])
