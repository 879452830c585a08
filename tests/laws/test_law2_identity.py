"""Law 2: at inference a wrapper is the wrapped layer, bit for bit; with rate 0 up to rounding."""

import numpy as np
from keras import ops

from tests.laws.cases import (
    FEW,
    MASKS,
    ONE_EACH,
    SCENARIOS,
    WIDEST,
    arrays,
    in_matrix,
    is_exact_at_inference,
    learns_rates,
    make_inputs,
    make_layer,
    make_wrapper,
)


def tolerance(wrapper):
    """Another kernel may run than the plain layer's, or the same one on parts of the batch."""
    technique, placement, _ = wrapper
    if technique in ("time_distributed", "lambda"):
        return {"rtol": 0}  # The plain layer itself runs.
    if technique == "native" and "recurrent" in placement:
        return {"rtol": 1e-6, "atol": 1e-7}  # As Keras's own cell: a product for each gate.
    return {"rtol": 1e-5, "atol": 1e-6}


def can_differ(wrapper, cell, scenario):
    """At inference only the technique counts; the noise of each option and placement is law 1's."""
    return wrapper in ONE_EACH or (wrapper in WIDEST and scenario in FEW)


@in_matrix(among=can_differ)
def test_identity(wrapper, cell, scenario):
    case = SCENARIOS[scenario]
    layer = make_layer(cell, dtype="float32", **case.layer)
    sequences, states = make_inputs(cell, case.initial_state)

    def run(called, **how):
        if layer.stateful:
            layer.reset_state()
        call = {"mask": MASKS[case.mask], "initial_state": states, **how}
        return arrays(called(ops.array(sequences, "float32"), **call))

    plain = run(layer)
    if not learns_rates(wrapper):
        quiet = run(make_wrapper(layer, wrapper, 0.0), training=True)
        for got, wanted in zip(quiet, plain, strict=True):
            np.testing.assert_allclose(got, wanted, **tolerance(wrapper))
    if is_exact_at_inference(wrapper):  # Zoneout's expectation is tested in law 1.
        for got, wanted in zip(
            run(make_wrapper(layer, wrapper), training=False), plain, strict=True
        ):
            np.testing.assert_array_equal(got, wanted)
