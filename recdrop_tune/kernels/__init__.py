"""Runs a rewritten kernel call: picks the kernel, and knows Keras's layers from the inside.

The kernels are cuDNN through the hook of Keras's own layers, the fused ops that TensorFlow and PyTorch have
for a CPU, and a step loop that computes every call. `keras_internals` is the one file that knows private
names of Keras and TensorFlow.
"""

from recdrop_tune.kernels.choice import (
    CUDNN,
    KernelChoice,
    Layer,
    Obstacle,
    Rewriting,
    cell_of,
    gpu_in_sight,
    kernel_of,
    merges_as_keras,
    run,
)
from recdrop_tune.kernels.compilation import compilations_kept
from recdrop_tune.kernels.keras_internals import (
    KERAS_HANDS_ON_MASKS,
    arguments_made_with,
    compile_arguments,
    excluded_from_decay,
    hand_on_input_shape,
    hand_on_mask,
    inputs_of,
    loss_tracker,
    lost_arguments,
    mask_of,
    sublayers,
    wrapped_function,
)
from recdrop_tune.kernels.layer_call import call_layer
from recdrop_tune.kernels.process_state import (
    Beginning,
    ReplicaSeedGenerator,
    check_seed,
    gradients_tied_to_graphs,
    seeds_aside,
)

__all__ = [
    "CUDNN",
    "KERAS_HANDS_ON_MASKS",
    "Beginning",
    "KernelChoice",
    "Layer",
    "Obstacle",
    "ReplicaSeedGenerator",
    "Rewriting",
    "arguments_made_with",
    "call_layer",
    "cell_of",
    "check_seed",
    "compilations_kept",
    "compile_arguments",
    "excluded_from_decay",
    "gpu_in_sight",
    "gradients_tied_to_graphs",
    "hand_on_input_shape",
    "hand_on_mask",
    "inputs_of",
    "kernel_of",
    "loss_tracker",
    "lost_arguments",
    "mask_of",
    "merges_as_keras",
    "run",
    "seeds_aside",
    "sublayers",
    "wrapped_function",
]
