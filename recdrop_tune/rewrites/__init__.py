"""The core: pure functions that rewrite the arguments of one recurrent kernel call.

A Keras LSTM or GRU layer ends in one kernel call. Every technique is a function from `KernelCall` to
`KernelCall`. The kernel itself does not change, so it can be cuDNN's. Rewrites compose with `chain`.
"""

from recdrop_tune.rewrites.call import (
    Cell,
    GateForcing,
    KernelCall,
    Rewrite,
    Tensor,
    chain,
)
from recdrop_tune.rewrites.gates import (
    GATES,
    absorb_forcings,
    drop_recurrent,
    drop_update,
    expect_update,
    expect_zoneout,
    output_noise,
    reorder_gates,
    split_gates,
    zone_out,
)
from recdrop_tune.rewrites.weights import drop_gate_inputs, drop_rows, drop_weights

__all__ = [
    "GATES",
    "Cell",
    "GateForcing",
    "KernelCall",
    "Rewrite",
    "Tensor",
    "absorb_forcings",
    "chain",
    "drop_gate_inputs",
    "drop_recurrent",
    "drop_rows",
    "drop_update",
    "drop_weights",
    "expect_update",
    "expect_zoneout",
    "output_noise",
    "reorder_gates",
    "split_gates",
    "zone_out",
]
