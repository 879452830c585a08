"""Runs a rewritten kernel call: chooses the kernel, and connects it to Keras's layers.

The kernels are cuDNN (through the hook of Keras's own layers), the fused CPU ops of TensorFlow and PyTorch,
and a step loop that computes every call. `keras_internals` is the only file that uses private names of Keras
and TensorFlow.
"""

from recdrop_tune.kernels.choice import (
    Obstacle,
    Rewriting,
    cell_of,
    directions_of,
    fused_layer,
    gpu_in_sight,
    kernel_of,
    merges_as_keras,
    run,
)
from recdrop_tune.kernels.compilation import compilations_kept
from recdrop_tune.kernels.keras_internals import (
    CALLBACK_STATE,
    KERAS_PASSES_MASKS,
    compile_arguments,
    copy_input_shape,
    excluded_from_decay,
    forget_initial_epoch,
    global_seed,
    inputs_of,
    lost_arguments,
    mask_of,
    set_mask,
    stateless_scope,
    sublayers,
    uninterruptible,
    wrapped_function,
)
from recdrop_tune.kernels.layer_call import call_layer
from recdrop_tune.kernels.noise import (
    bernoulli,
    dropped,
    for_all_steps,
    gaussian,
    relaxed_bernoulli,
)
from recdrop_tune.kernels.process_state import (
    FreshStart,
    SeparateSeedGenerator,
    check_seed,
    default_seed,
    derive_seed,
    gradients_tied_to_graphs,
    random_states,
    seeds_aside,
    set_random_states,
)

__all__ = [
    "CALLBACK_STATE",
    "KERAS_PASSES_MASKS",
    "FreshStart",
    "Obstacle",
    "Rewriting",
    "SeparateSeedGenerator",
    "bernoulli",
    "call_layer",
    "cell_of",
    "check_seed",
    "compilations_kept",
    "compile_arguments",
    "copy_input_shape",
    "default_seed",
    "derive_seed",
    "directions_of",
    "dropped",
    "excluded_from_decay",
    "for_all_steps",
    "forget_initial_epoch",
    "fused_layer",
    "gaussian",
    "global_seed",
    "gpu_in_sight",
    "gradients_tied_to_graphs",
    "inputs_of",
    "kernel_of",
    "lost_arguments",
    "mask_of",
    "merges_as_keras",
    "random_states",
    "relaxed_bernoulli",
    "run",
    "seeds_aside",
    "set_mask",
    "set_random_states",
    "stateless_scope",
    "sublayers",
    "uninterruptible",
    "wrapped_function",
]
