"""Law 2: at inference a wrapper is the wrapped layer, bit for bit; with rate 0 up to its kernel's rounding."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.laws.cases import (
    CELL_SCENARIOS,
    MASKS,
    SCENARIOS,
    WRAPPERS,
    arrays,
    is_exact_at_inference,
    make_inputs,
    make_layer,
    make_wrapper,
    wrapper_id,
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


@pytest.mark.parametrize(("cell", "scenario"), CELL_SCENARIOS)
@pytest.mark.parametrize(
    ("rate", "training"), [(0.0, True), (0.4, False)], ids=["rate_0", "inference"]
)
@pytest.mark.parametrize("wrapper", WRAPPERS, ids=wrapper_id)
def test_is_the_plain_layer(wrapper, cell, scenario, rate, training):
    if wrapper[0] == "native" and "recurrent" in wrapper[1] and rate == 0.0:
        pytest.skip(
            "one product per gate, as in Keras's own cell: equal to rounding, see the next test"
        )
    if not is_exact_at_inference(wrapper) and not training:
        pytest.skip("its expectation is tested against the reference, in law 1")
    plain, wrapped = run_plain_and_wrapped(wrapper, cell, scenario, rate, training)
    # With noise of rate 0 another kernel may run than the plain layer's: to rounding then. That is so
    # for the LSTM on TensorFlow (a fused op), and on torch, where Keras has a loop of its own.
    backend = keras.backend.backend()
    other_kernel = backend == "torch" or (backend == "tensorflow" and cell == "lstm")
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if training and other_kernel else {"rtol": 0}
    for one, other in zip(plain, wrapped, strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


@pytest.mark.parametrize(("cell", "scenario"), CELL_SCENARIOS)
@pytest.mark.parametrize("placement", ["recurrent", "input+recurrent"])
def test_native_with_rate_0(placement, cell, scenario):
    plain, wrapped = run_plain_and_wrapped(("native", placement, {}), cell, scenario, 0.0, True)
    for one, other in zip(plain, wrapped, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
