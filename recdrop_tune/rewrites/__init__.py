"""The core: pure functions that rewrite the arguments of one recurrent kernel call.

A Keras LSTM or GRU layer ends in one kernel call. Every technique is a function from `KernelCall` to
`KernelCall`; the kernel itself is never touched, so it can be cuDNN's. Rewrites compose with `chain`.
"""

from recdrop_tune.rewrites._call import GateForcing as GateForcing
from recdrop_tune.rewrites._call import KernelCall as KernelCall
from recdrop_tune.rewrites._call import Rewrite as Rewrite
from recdrop_tune.rewrites._call import chain as chain
from recdrop_tune.rewrites._drop_gate_inputs import drop_gate_inputs as drop_gate_inputs
from recdrop_tune.rewrites._drop_recurrent import drop_recurrent as drop_recurrent
from recdrop_tune.rewrites._drop_rows import drop_rows as drop_rows
from recdrop_tune.rewrites._drop_weights import drop_weights as drop_weights
from recdrop_tune.rewrites._forcing import absorb_forcings as absorb_forcings
from recdrop_tune.rewrites._gates import GATES as GATES
from recdrop_tune.rewrites._noise import bernoulli as bernoulli
from recdrop_tune.rewrites._noise import dropped as dropped
from recdrop_tune.rewrites._noise import gaussian as gaussian
from recdrop_tune.rewrites._zoneout import expect_zoneout as expect_zoneout
from recdrop_tune.rewrites._zoneout import zone_out as zone_out

__all__ = [
    "GATES",
    "GateForcing",
    "KernelCall",
    "Rewrite",
    "absorb_forcings",
    "bernoulli",
    "chain",
    "drop_gate_inputs",
    "drop_recurrent",
    "drop_rows",
    "drop_weights",
    "dropped",
    "expect_zoneout",
    "gaussian",
    "zone_out",
]
