"""Law 2: at inference a wrapper is the wrapped layer, bit for bit; with rate 0 up to rounding."""

import numpy as np
from keras import ops

from tests.laws.cases import (
    MASKS,
    SCENARIOS,
    WIDEST,
    arrays,
    in_matrix,
    is_exact_at_inference,
    make_inputs,
    make_layer,
    make_wrapper,
)


def run_plain_and_wrapped(wrapper, cell, scenario, rate, training):
    case = SCENARIOS[scenario]
    layer = make_layer(cell, dtype="float32", **case.layer)
    wrapped = make_wrapper(layer, wrapper, rate)
    sequences, states = make_inputs(cell, case.initial_state)
    call = {"mask": MASKS[case.mask], "initial_state": states}
    plain = layer(ops.array(sequences, "float32"), **call)
    if layer.stateful:
        layer.reset_state()
    return arrays(plain), arrays(
        wrapped(ops.array(sequences, "float32"), training=training, **call)
    )


def has_a_product_per_gate(wrapper):
    """As Keras's own cell with recurrent_dropout: equal to rounding, see the last test."""
    return wrapper[0] == "native" and "recurrent" in wrapper[1]


# At inference the sites do not matter; zoneout's expectation is tested in law 1.
@in_matrix(only=lambda wrapper: wrapper in WIDEST and is_exact_at_inference(wrapper))
def test_at_inference(wrapper, cell, scenario):
    plain, wrapped = run_plain_and_wrapped(wrapper, cell, scenario, 0.4, training=False)
    for one, other in zip(plain, wrapped, strict=True):
        np.testing.assert_array_equal(one, other)


@in_matrix(only=lambda wrapper: not has_a_product_per_gate(wrapper))
def test_with_rate_0(wrapper, cell, scenario):
    plain, wrapped = run_plain_and_wrapped(wrapper, cell, scenario, 0.0, training=True)
    # Another kernel may run than the plain layer's, or the same one on parts of the batch: to rounding
    # then. What does not rewrite the call runs the plain layer itself.
    rewritten = wrapper[0] not in ("time_distributed", "lambda")
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if rewritten else {"rtol": 0}
    for one, other in zip(plain, wrapped, strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


@in_matrix(only=has_a_product_per_gate)
def test_native_with_rate_0(wrapper, cell, scenario):
    plain, wrapped = run_plain_and_wrapped(wrapper, cell, scenario, 0.0, training=True)
    for one, other in zip(plain, wrapped, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
