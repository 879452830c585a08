"""Law 1: given the same masks, outputs, states and gradients are those of the NumPy step loop."""

import keras
import numpy as np
import pytest
from keras import ops

from recdrop_tune.rewrites import bernoulli, dropped
from tests import reference
from tests.laws.cases import (
    BATCH,
    CELL_SCENARIOS,
    FEATURES,
    MASKS,
    SCENARIOS,
    TIME,
    UNITS,
    WRAPPERS,
    arrays,
    make_inputs,
    make_layer,
    make_wrapper,
    wrapper_id,
)

RATE, SEED = 0.4, 7
GATES = {"lstm": 4, "gru": 3}


def draw(wrapper, cell, backwards, sequences_returned):
    """Draws the masks that a wrapper of that seed draws, in the order it documents: in, inside, out."""
    technique_id, placement, options = wrapper
    sites = placement.split("+")
    seed = keras.random.SeedGenerator(SEED + int(backwards))
    steps = TIME if options.get("per_step", True) else 1
    noise = {}

    def factor(*shape):
        return np.asarray(ops.convert_to_numpy(bernoulli(shape, RATE, seed)), "float64")

    def kept(*shape):
        return (1.0 - np.asarray(ops.convert_to_numpy(dropped(shape, RATE, seed)), "float64")) / (
            1 - RATE
        )

    if technique_id == "native":
        gates = GATES[cell]
        if placement == "input":
            noise["input"] = factor(BATCH, 1, FEATURES)
        elif "input" in sites:
            noise["gate_input"] = factor(gates, BATCH, FEATURES)
        if "recurrent" in sites:
            noise["gate_state"] = factor(gates, BATCH, UNITS)
        return noise
    if "input" in sites:
        noise["input"] = factor(BATCH, steps, FEATURES)
    if "recurrent" in sites:
        noise["step"] = np.broadcast_to(kept(BATCH, steps, UNITS), (BATCH, TIME, UNITS))
        noise["initial"] = kept(BATCH, UNITS) if steps == TIME else noise["step"][:, 0]
    if "output" in sites:
        shape = (BATCH, steps, UNITS) if sequences_returned else (BATCH, UNITS)
        noise["output"] = factor(*shape)
    return noise


def expect(cell, layer, noise, sequences, states, mask, weights):
    """What the definition gives: `[output, *states]`."""
    kernel, recurrent_kernel, *bias = weights
    if states is None:
        states = [np.zeros((BATCH, UNITS))] * (2 if cell.startswith("lstm") else 1)
    emitted, finals = reference.run(
        cell.split("_")[0],
        sequences * noise.get("input", 1.0),
        states,
        kernel,
        recurrent_kernel,
        bias[0] if bias else None,
        mask=mask,
        go_backwards=layer.go_backwards,
        reset_after=getattr(layer, "reset_after", True),
        step_noise=noise.get("step"),
        initial_noise=noise.get("initial"),
        gate_input_noise=noise.get("gate_input"),
        gate_state_noise=noise.get("gate_state"),
    )
    output = emitted if layer.return_sequences else emitted[:, -1]
    return [output * noise.get("output", 1.0), *(finals if layer.return_state else [])]


@pytest.mark.parametrize(("cell", "scenario"), CELL_SCENARIOS)
@pytest.mark.parametrize("wrapper", WRAPPERS, ids=wrapper_id)
def test_outputs_and_states(wrapper, cell, scenario):
    case = SCENARIOS[scenario]
    layer = make_layer(cell, **case.layer)
    wrapped = make_wrapper(layer, wrapper, RATE, SEED)
    sequences, states = make_inputs(cell, case.initial_state)
    mask = MASKS[case.mask]
    result = wrapped(ops.array(sequences), initial_state=states, mask=mask, training=True)
    noise = draw(wrapper, cell.split("_")[0], layer.go_backwards, layer.return_sequences)
    weights = [ops.convert_to_numpy(w) for w in layer.trainable_weights]
    expected = expect(cell, layer, noise, sequences, states, mask, weights)
    for got, wanted in zip(arrays(result), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mask", ["none", "left"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("wrapper", WRAPPERS, ids=wrapper_id)
def test_gradients(wrapper, cell, mask):
    tf = pytest.importorskip("tensorflow")
    layer = make_layer(cell, return_sequences=True, return_state=True)
    wrapped = make_wrapper(layer, wrapper, RATE, SEED)
    sequences, states = make_inputs(cell, initial_state=True)
    inputs = tf.constant(sequences)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        result = wrapped(inputs, initial_state=states, mask=MASKS[mask], training=True)
        loss = sum(ops.sum(ops.sin(part)) for part in result)
    got = tape.gradient(loss, [inputs, *(w.value for w in layer.trainable_weights)])

    noise = draw(wrapper, cell, backwards=False, sequences_returned=True)
    weights = [np.array(w) for w in layer.trainable_weights]

    def scalar():
        parts = expect(cell, layer, noise, sequences, states, MASKS[mask], weights)
        return sum(np.sum(np.sin(part)) for part in parts)

    for gradient, wanted in zip(
        got, reference.gradients(scalar, [sequences, *weights]), strict=True
    ):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6)
