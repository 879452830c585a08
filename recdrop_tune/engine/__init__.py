"""Runs a rewritten kernel call: picks the kernel, and knows Keras's layers from the inside.

The kernels are cuDNN, through the hook that Keras's own layers use, and a step loop that can do everything.
"""

from recdrop_tune.engine._gradients import gradients_tied_to_graphs as gradients_tied_to_graphs
from recdrop_tune.engine._hooks import hand_on_input_shape as hand_on_input_shape
from recdrop_tune.engine._hooks import reset_names as reset_names
from recdrop_tune.engine._hooks import seed_keeping_kernels as seed_keeping_kernels
from recdrop_tune.engine._layer import call_layer as call_layer
from recdrop_tune.engine._layer import cell_of as cell_of
from recdrop_tune.engine._layer import merge_directions as merge_directions
from recdrop_tune.engine._seeds import ReplicaSeedGenerator as ReplicaSeedGenerator
from recdrop_tune.engine._seeds import check_seed as check_seed
from recdrop_tune.engine._select import Layer as Layer
from recdrop_tune.engine._select import run as run

__all__ = [
    "Layer",
    "ReplicaSeedGenerator",
    "call_layer",
    "cell_of",
    "check_seed",
    "gradients_tied_to_graphs",
    "hand_on_input_shape",
    "merge_directions",
    "reset_names",
    "run",
    "seed_keeping_kernels",
]
