"""Law 1: with the same masks, outputs, states and gradients are those of the NumPy step loop."""

from itertools import product

import numpy as np
import pytest
from keras import ops

from tests import reference
from tests.backends import PRECISE, array, gradients
from tests.expected import GATES, Draws, expect, slope
from tests.laws.cases import (
    FEATURES,
    MASKS,
    SCENARIOS,
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
RATE = float(np.float32(0.4))  # A rate is a variable in float32, whatever the layer computes in.

# Float64 shows that the equations are the same. In float32 there are some 50 roundings of 6e-8 in a row, over
# the 5 steps, and a gradient sums the errors of 15 samples and steps.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}[PRECISE]
GRADIENT_TOLERANCE = {"float64": 1e-6, "float32": 1e-4}[PRECISE]


def expected_results(wrapper, layer, sequences, states, mask, weights, rate=RATE):
    """Returns `[output, *states]` in NumPy, with the masks that the wrapper draws."""
    draws = Draws(wrapper, layer, sequences.shape, rate, SEED)
    return expect(draws, weights, sequences, states, mask)


@in_matrix()
def test_outputs_and_states(wrapper, cell, scenario):
    case = SCENARIOS[scenario]
    layer = make_layer(cell, **case.layer)
    wrapped = make_wrapper(layer, wrapper, RATE, SEED)
    sequences, states = make_inputs(cell, case.initial_state)
    mask = MASKS[case.mask]
    result = wrapped(ops.array(sequences), initial_state=states, mask=mask, training=True)
    weights = [array(w) for w in layer.trainable_weights]
    expected = expected_results(wrapper, layer, sequences, states, mask, weights)
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
    weights = [array(w).astype("float64") for w in layer.trainable_weights]
    draws = Draws(wrapper, layer, sequences.shape, RATE, SEED)

    def scalar():
        parts = expect(draws, weights, sequences, states, MASKS[mask])
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
    """How many features, units or weights a site masks."""
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
        weights = [kernel, recurrent_kernel, bias]
        (output,) = expected_results(wrapper, layer, sequences, None, None, weights, rate=now)
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
    ("technique", "options", "cell"),
    [
        ("zoneout", {}, "lstm"),
        ("zoneout", {}, "gru"),
        ("zoneout", {}, "gru_reset_before"),
        ("zoneout", {"hidden_rate": 0.3}, "lstm"),
        ("update", {}, "lstm"),
        ("update", {"per_step": False}, "lstm_no_bias"),
    ],
    ids=str,
)
def test_the_expectation_at_inference(technique, options, cell, scenario):
    case = SCENARIOS[scenario]
    layer = make_layer(cell, **case.layer)
    wrapped = make_wrapper(layer, (technique, "recurrent", options), RATE, SEED)
    sequences, states = make_inputs(cell, case.initial_state)
    result = wrapped(ops.array(sequences), initial_state=states, mask=MASKS[case.mask])
    draws = Draws((technique, "recurrent", options), layer, sequences.shape, RATE, SEED)
    rates = {"kept": RATE, "hidden_kept": np.float32(options.get("hidden_rate", 0.0))}
    rates["update_noise"] = 1.0 - RATE
    (drawn,) = draws.inside
    draws.inside = [{name: np.full(bits.shape, rates[name]) for name, bits in drawn.items()}]
    weights = [array(w) for w in layer.trainable_weights]
    expected = expect(draws, weights, sequences, states, MASKS[case.mask])
    for got, wanted in zip(arrays(result), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE)
