"""Law 1 in float32, the dtype of training, on the kernels chosen for it on a CPU.

The other tests of law 1 run in float64, which TensorFlow's fused op does not support.
"""

import keras
import numpy as np
import pytest
from keras import ops

from recdrop_tune.models import explain
from tests.cudnn import ops_of
from tests.expected import Draws, cell_of, directions_of, expect, slope
from tests.laws.cases import ONE_EACH, WIDEST, arrays, make_wrapper, over

if keras.backend.backend() != "tensorflow":
    pytest.skip(
        "about TensorFlow's fused op; test_onednn_lstm is about PyTorch's", allow_module_level=True
    )
tf = pytest.importorskip("tensorflow")

BATCH, TIME, FEATURES = 3, 6, 2
RATE, SEED = 0.4, 7
SMALL, LARGE = 8, 80
"""Units below and above the limit of the fused op."""

KINDS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
REWRITTEN = ("recurrent", "variational", "weight_drop", "update", "zoneout", "concrete")
WRAPPERS = [w for w in WIDEST if w[0] in REWRITTEN]
SCENARIOS = {
    "sequences": {"return_sequences": True},
    "states": {"return_sequences": True, "return_state": True},
    "last_backwards": {"return_state": True, "go_backwards": True},
    "bidirectional": {"return_sequences": True, "return_state": True},
    "right_padded": {"return_sequences": True},
}
"""With initial states where states are returned."""

MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]], bool)

MATRIX = [
    *((w, "lstm", SMALL, scenario) for w in WRAPPERS for scenario in SCENARIOS),
    *((w, "lstm", LARGE, scenario) for w in WRAPPERS for scenario in ("states", "last_backwards")),
    *((w, "gru", units, "states") for w in WRAPPERS for units in (SMALL, LARGE)),
]
MATRIX = [row for row in MATRIX if row[1] == "lstm" or "hidden_rate" not in row[0][2]]


def tolerance(units):
    """The allowed error of float32, relative to the sum.

    Each step adds up features + units products, each rounded by at most 2^-24. A state is at most 1,
    its scale 1 / (1 - 0.4) < 2, and the weights are such that a step hands an error on about as
    large as it was: so the roundings of all steps add up, at worst.
    """
    return 2 * TIME * (FEATURES + units) * 2.0**-24


def make_layer(cell, units, scenario):
    layer = KINDS[cell](units, **SCENARIOS[scenario])
    if scenario == "bidirectional":
        layer = keras.layers.Bidirectional(layer)
    layer.build((BATCH, TIME, FEATURES))
    generator = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        # The products of units numbers with weights of this size are about 1: see `tolerance`.
        weight.assign(generator.normal(0.0, units**-0.5, weight.shape))
    return layer


def make_inputs(layer, units):
    generator = np.random.default_rng(2)
    sequences = generator.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    if not layer.return_state:
        return sequences, []
    count = len(directions_of(layer)) * (2 if cell_of(layer) == "lstm" else 1)
    states = generator.uniform(-1.0, 1.0, (count, BATCH, units)).astype("float32")
    return sequences, list(states)


def trace(wrapped, states, mask):
    """Traces a training step: outputs, and gradients by the inputs, the weights and the states."""
    weights = [weight.value for weight in wrapped.layer.trainable_weights]
    states = [tf.constant(state) for state in states]

    @tf.function
    def step(sequences):
        with tf.GradientTape() as tape:
            tape.watch([sequences, *states])
            result = wrapped(sequences, initial_state=states or None, mask=mask, training=True)
            parts = tf.nest.flatten(result)
            loss = sum(ops.sum(ops.sin(part)) for part in parts)
        return parts, tape.gradient(loss, [sequences, *weights, *states])

    return step.get_concrete_function(tf.TensorSpec((BATCH, TIME, FEATURES), "float32"))


def runs_in_the_fused_op(function):
    """Whether a traced graph holds the fused op, bodies of loops and conditionals included."""
    names = set(ops_of(function))
    assert not ("BlockLSTM" in names and any("While" in name for name in names))
    return "BlockLSTM" in names


def explained_kernel(wrapped, masked):
    """The kernel according to `explain`, with or without a mask."""
    model = wrapped
    if masked:
        inputs = keras.Input((TIME, FEATURES))
        model = keras.Model(inputs, wrapped(keras.layers.Masking()(inputs)))
    (kernel,) = {row.kernel for row in explain(model).rows}
    return kernel


def can_differ(wrapper, cell, units, scenario):
    """The options of a technique change masks, and which kernel runs: not what a layer is asked for."""
    return wrapper in ONE_EACH or scenario == "states"


def is_large(wrapper, cell, units, scenario):
    """These run step by step, as in float64."""
    return units == LARGE


@over(("wrapper", "cell", "units", "scenario"), MATRIX, among=can_differ, heavy=is_large)
def test_outputs_states_and_gradients(wrapper, cell, units, scenario):
    layer = make_layer(cell, units, scenario)
    wrapped = make_wrapper(layer, wrapper, RATE, SEED)
    sequences, states = make_inputs(layer, units)
    mask = MASK if scenario == "right_padded" else None
    step = trace(wrapped, states, mask)
    fused = explained_kernel(wrapped, mask is not None) == "fused CPU op"
    assert runs_in_the_fused_op(step) == fused
    results, gradients = step(tf.constant(sequences))

    draws = Draws(wrapper, layer, sequences.shape, RATE, SEED)
    weights = layer.get_weights()
    exact = [np.array(array, "float64") for array in (sequences, *weights, *states)]

    def compute():
        first_state = 1 + len(weights)
        given = exact[first_state:] or None
        return expect(draws, exact[1:first_state], exact[0], given, mask)

    for got, wanted in zip(arrays(results), compute(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance(units))
    check_gradients(lambda: sum(np.sin(part).sum() for part in compute()), exact, gradients, units)


def check_gradients(loss, exact, gradients, units):
    """Compares slopes along random directions, in which every component of a gradient counts."""
    generator = np.random.default_rng(3)
    for array, gradient in zip(exact, gradients, strict=True):
        for _ in range(3):
            direction = generator.normal(size=array.shape)
            terms = gradient.numpy() * direction
            # Back through the same steps as forth: twice the roundings.
            allowed = 2 * tolerance(units) * np.abs(terms).sum()
            assert abs(terms.sum() - slope(loss, array, direction)) < allowed
