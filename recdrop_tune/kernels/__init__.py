"""Runs a rewritten kernel call: picks the kernel, and knows Keras's layers from the inside.

The kernels are cuDNN, through the hook that Keras's own layers use, and a step loop that can do everything.
"""

from recdrop_tune.kernels.choice import Layer, run
from recdrop_tune.kernels.keras_internals import (
    hand_on_input_shape,
    reset_names,
    seed_keeping_kernels,
    sublayers,
)
from recdrop_tune.kernels.layer_call import call_layer, cell_of, merge_directions
from recdrop_tune.kernels.obstacles import (
    CUDNN,
    KernelChoice,
    Obstacle,
    Rewriting,
    gpu_in_sight,
    kernel_of,
)
from recdrop_tune.kernels.process_state import Beginning, gradients_tied_to_graphs
from recdrop_tune.kernels.seeds import ReplicaSeedGenerator, check_seed

__all__ = [
    "CUDNN",
    "Beginning",
    "KernelChoice",
    "Layer",
    "Obstacle",
    "ReplicaSeedGenerator",
    "Rewriting",
    "call_layer",
    "cell_of",
    "check_seed",
    "gpu_in_sight",
    "gradients_tied_to_graphs",
    "hand_on_input_shape",
    "kernel_of",
    "merge_directions",
    "reset_names",
    "run",
    "seed_keeping_kernels",
    "sublayers",
]
