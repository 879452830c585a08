"""Law 1: given the same masks, outputs, states and gradients are those of the NumPy step loop."""

from itertools import product

import keras
import numpy as np
import pytest
from keras import ops

from recdrop_tune.rewrites import bernoulli, dropped
from tests import reference
from tests.backends import PRECISE, array, gradients
from tests.expected import slope
from tests.laws.cases import (
    BATCH,
    FEATURES,
    MASKS,
    SCENARIOS,
    TIME,
    UNITS,
    WIDEST,
    WRAPPERS,
    arrays,
    in_matrix,
    learns_rates,
    make_inputs,
    make_layer,
    make_wrapper,
    over,
)

SEED = 7
RATE = float(np.float32(0.4))  # a rate is a variable in float32, whatever the layer computes in,
SCALE = float(1 / (1 - np.float32(RATE)))  # and so is what survivors are scaled by

# Float64 shows that the equations are the same. In float32 there are some 50 roundings of 6e-8 in a row, over
# the 5 steps, and a gradient sums the errors of 15 samples and steps.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}[PRECISE]
GRADIENT_TOLERANCE = {"float64": 1e-6, "float32": 1e-4}[PRECISE]
GATES = {"lstm": 4, "gru": 3}
TEMPERATURE = 0.1  # of concrete dropout


def draw(wrapper, cell, backwards, sequences_returned, rates=None):
    """Draws the masks that a wrapper of that seed draws, in the order it documents: in, inside, out.

    Args:
        rates: Of concrete dropout, those of the sites.
    """
    technique_id, placement, options = wrapper
    sites = placement.split("+")
    seed = keras.random.SeedGenerator(SEED + int(backwards))
    steps = TIME if options.get("per_step", True) else 1
    noise = {}

    def factor(*shape):
        return array(bernoulli(shape, RATE, seed)).astype("float64")

    def bits(*shape, rate=RATE):
        return array(dropped(shape, rate, seed)).astype("float64")

    def kept(*shape):
        return (1.0 - bits(*shape)) * SCALE

    if technique_id == "native":
        gates = GATES[cell]
        if placement == "input":
            noise["input"] = factor(BATCH, 1, FEATURES)
        elif "input" in sites:
            noise["gate_input"] = factor(gates, BATCH, FEATURES)
        if "recurrent" in sites:
            noise["gate_state"] = factor(gates, BATCH, UNITS)
        return noise
    if technique_id == "weight_drop":
        for site, rows in (("input", FEATURES), ("recurrent", UNITS)):
            if site in sites:
                noise[f"{site}_weights"] = factor(rows, GATES[cell] * UNITS)
        return noise
    if technique_id == "zoneout":
        noise["kept"] = bits(BATCH, TIME, UNITS)
        if cell == "lstm" and options:
            noise["hidden_kept"] = bits(BATCH, TIME, UNITS, rate=np.float32(options["hidden_rate"]))
        return noise
    if technique_id == "concrete":
        rates = rates or dict.fromkeys(sites, reference.kept_as_logit(RATE))

        def soft(site, *shape):
            uniform = array(keras.random.uniform(shape, dtype="float32", seed=seed))
            return reference.softly_dropped(uniform.astype("float64"), rates[site], TEMPERATURE)

        return draw_concrete(sites, options, GATES[cell], sequences_returned, soft)
    if technique_id == "variational":
        return draw_variational(sites, options, GATES[cell], sequences_returned, factor)
    if "input" in sites:
        noise["input"] = factor(BATCH, steps, FEATURES)
    if "recurrent" in sites:
        noise["step"] = np.broadcast_to(kept(BATCH, steps, UNITS), (BATCH, TIME, UNITS))
        noise["initial"] = kept(BATCH, UNITS) if steps == TIME else noise["step"][:, 0]
    if "output" in sites:
        shape = (BATCH, steps, UNITS) if sequences_returned else (BATCH, UNITS)
        noise["output"] = factor(*shape)
    return noise


def draw_variational(sites, options, gates, sequences_returned, factor):
    """One mask a sequence; the recurrent one belongs to a group of samples."""
    noise = {}
    if "input" in sites:
        noise["input"] = factor(BATCH, 1, FEATURES)
    if "recurrent" in sites:
        own = 1 if options.get("tied_gates", True) else gates
        noise["gate_state"] = in_groups(options, gates, lambda: factor(UNITS, own))
    if "output" in sites:
        noise["output"] = factor(*((BATCH, 1, UNITS) if sequences_returned else (BATCH, UNITS)))
    return noise


def draw_concrete(sites, options, gates, sequences_returned, factor):
    """Soft masks where variational dropout has its own, or on single weights."""
    noise = {}
    if "input" in sites:
        noise["input"] = factor("input", BATCH, 1, FEATURES)
    if "recurrent" in sites and options.get("elements"):
        noise["recurrent_weights"] = factor("recurrent", UNITS, gates * UNITS)
    elif "recurrent" in sites:
        noise["gate_state"] = in_groups(options, gates, lambda: factor("recurrent", UNITS, 1))
    if "output" in sites:
        shape = (BATCH, 1, UNITS) if sequences_returned else (BATCH, UNITS)
        noise["output"] = factor("output", *shape)
    return noise


def in_groups(options, gates, mask):
    """One mask for each group of the batch, as `(gates, batch, units)`."""
    groups = options.get("mask_groups", 1)
    size = -(-BATCH // groups)
    masks = [mask() for _ in range(groups)]
    each = [np.broadcast_to(masks[b // size], (UNITS, gates)) for b in range(BATCH)]
    return np.transpose(each, (2, 0, 1))


def expect(cell, layer, noise, sequences, states, mask, weights):
    """What the definition gives: `[output, *states]`."""
    kernel, recurrent_kernel, *bias = weights
    if states is None:
        states = [np.zeros((BATCH, UNITS))] * (2 if cell.startswith("lstm") else 1)
    emitted, finals = reference.run(
        cell.split("_")[0],
        sequences * noise.get("input", 1.0),
        states,
        kernel * noise.get("input_weights", 1.0),
        recurrent_kernel * noise.get("recurrent_weights", 1.0),
        bias[0] if bias else None,
        mask=mask,
        go_backwards=layer.go_backwards,
        reset_after=getattr(layer, "reset_after", True),
        step_noise=noise.get("step"),
        initial_noise=noise.get("initial"),
        gate_input_noise=noise.get("gate_input"),
        gate_state_noise=noise.get("gate_state"),
        kept=noise.get("kept"),
        hidden_kept=noise.get("hidden_kept"),
    )
    output = emitted if layer.return_sequences else emitted[:, -1]
    return [output * noise.get("output", 1.0), *(finals if layer.return_state else [])]


@in_matrix
def test_outputs_and_states(wrapper, cell, scenario):
    case = SCENARIOS[scenario]
    layer = make_layer(cell, **case.layer)
    wrapped = make_wrapper(layer, wrapper, RATE, SEED)
    sequences, states = make_inputs(cell, case.initial_state)
    mask = MASKS[case.mask]
    result = wrapped(ops.array(sequences), initial_state=states, mask=mask, training=True)
    noise = draw(wrapper, cell.split("_")[0], layer.go_backwards, layer.return_sequences)
    weights = [array(w) for w in layer.trainable_weights]
    expected = expect(cell, layer, noise, sequences, states, mask, weights)
    for got, wanted in zip(arrays(result), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE)


@over(
    ("wrapper", "cell", "mask"),
    product(WRAPPERS, ["lstm", "gru"], ["none", "left"]),
    backends=lambda wrapper, cell, mask: wrapper in WIDEST and mask == "none",
)
def test_gradients(wrapper, cell, mask):
    layer = make_layer(cell, return_sequences=True, return_state=True)
    wrapped = make_wrapper(layer, wrapper, RATE, SEED)
    sequences, states = make_inputs(cell, initial_state=True)

    def loss(inputs):
        result = wrapped(inputs, initial_state=states, mask=MASKS[mask], training=True)
        return sum(ops.sum(ops.sin(part)) for part in result)

    got = gradients(loss, sequences.astype(PRECISE), layer.trainable_weights)
    noise = draw(wrapper, cell, backwards=False, sequences_returned=True)
    weights = [array(w).astype("float64") for w in layer.trainable_weights]

    def scalar():
        parts = expect(cell, layer, noise, sequences, states, MASKS[mask], weights)
        return sum(np.sum(np.sin(part)) for part in parts)

    generator = np.random.default_rng(3)
    for values, gradient in zip([sequences, *weights], got, strict=True):
        for _ in range(3):  # Along random directions every component counts.
            direction = generator.normal(size=values.shape)
            wanted = slope(scalar, values, direction)
            assert np.sum(gradient * direction) == pytest.approx(
                wanted, rel=GRADIENT_TOLERANCE, abs=GRADIENT_TOLERANCE
            )


LEARNED = [wrapper for wrapper in WRAPPERS if learns_rates(wrapper)]


def masked(site, cell, options):
    """How many things a site masks."""
    weights = UNITS * GATES[cell] * UNITS
    inside = weights if options.get("elements") else UNITS
    return {"input": FEATURES, "recurrent": inside, "output": UNITS}[site]


@over(
    ("wrapper", "cell", "tau"),
    product(LEARNED, ["lstm", "gru"], [None, 3.0]),
    backends=lambda wrapper, cell, tau: wrapper in WIDEST,
)
def test_gradients_of_learned_rates(wrapper, cell, tau):
    technique_id, placement, options = wrapper
    sites, scale = placement.split("+"), 0.7
    layer = make_layer(cell, return_sequences=True)
    rates = dict(zip(sites, (0.1, 0.3, 0.55), strict=False))
    more = {**options, "tau": tau, "length_scale": scale}
    wrapped = make_wrapper(layer, (technique_id, placement, more), rates, SEED)
    sequences, _ = make_inputs(cell)

    def loss(inputs):
        output = wrapped(inputs, training=True)
        return ops.sum(ops.sin(output)) + wrapped.regularization()

    logits = [wrapped.logits[site] for site in sites]
    variables = [*logits, *layer.trainable_weights]
    _, *got = gradients(loss, sequences.astype(PRECISE), variables)
    kernel, recurrent_kernel, bias = (array(w).astype("float64") for w in layer.trainable_weights)
    at = np.array([reference.logit(reference.kept_as_logit(rates[site])) for site in sites])
    factor = 1.0 if tau is None else 2.0 / tau
    read = {"input": [kernel], "recurrent": [recurrent_kernel], "output": []}

    def scalar():
        now = dict(zip(sites, reference.sigmoid(at), strict=True))
        noise = draw(wrapper, cell, backwards=False, sequences_returned=True, rates=now)
        weights = [kernel, recurrent_kernel, bias]
        (output,) = expect(cell, layer, noise, sequences, None, None, weights)
        terms = (
            reference.prior_terms(now[s], read[s], masked(s, cell, options), 20, factor, scale)
            for s in sites
        )
        return np.sum(np.sin(output)) + sum(terms)

    found = np.array(got[: len(sites)])
    for direction in np.eye(len(sites)):
        wanted = slope(scalar, at, direction)
        assert abs(wanted) > 1e-3
        assert np.sum(found * direction) == pytest.approx(
            wanted, rel=10 * GRADIENT_TOLERANCE, abs=10 * GRADIENT_TOLERANCE
        )
    for weights, gradient in zip([kernel, recurrent_kernel], got[len(sites) :], strict=False):
        direction = np.random.default_rng(3).normal(size=weights.shape)
        assert np.sum(gradient * direction) == pytest.approx(
            slope(scalar, weights, direction), rel=GRADIENT_TOLERANCE, abs=GRADIENT_TOLERANCE
        )


@pytest.mark.backends
@pytest.mark.parametrize("scenario", ["states", "backwards", "left_padded", "initial_state"])
@pytest.mark.parametrize(
    ("options", "cell"),
    [({}, "lstm"), ({}, "gru"), ({}, "gru_reset_before"), ({"hidden_rate": 0.3}, "lstm")],
    ids=str,
)
def test_the_expectation_of_zoneout(options, cell, scenario):
    case = SCENARIOS[scenario]
    layer = make_layer(cell, **case.layer)
    wrapped = make_wrapper(layer, ("zoneout", "recurrent", options), RATE, SEED)
    sequences, states = make_inputs(cell, case.initial_state)
    result = wrapped(ops.array(sequences), initial_state=states, mask=MASKS[case.mask])
    noise = {"kept": np.full((BATCH, TIME, UNITS), RATE)}
    if cell == "lstm" and options:
        noise["hidden_kept"] = np.full((BATCH, TIME, UNITS), np.float32(options["hidden_rate"]))
    weights = [array(w) for w in layer.trainable_weights]
    expected = expect(cell, layer, noise, sequences, states, MASKS[case.mask], weights)
    for got, wanted in zip(arrays(result), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE)
