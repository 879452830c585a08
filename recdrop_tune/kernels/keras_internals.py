"""The only file that touches internals of Keras and TensorFlow.

These have no public name: the kernels that `keras.layers.LSTM` and `GRU` call, the device that Keras has
PyTorch use, whether TensorFlow is tracing for XLA, the layers inside a layer, the arguments that a layer
was made with, the metric of a model's loss, the arguments that a model was compiled with, what an optimizer
excludes from weight decay, the function of a metric, the arguments of that of a loss, the custom gradients
that TensorFlow keeps, a seed that leaves TensorFlow's kernels alone, the `input_shape` of a layer, and the
mask of an output.
`tests/kernels`, `tests/wrappers/test_wrappers.py` and `tests/models/test_learning.py` fail when an upgrade
moves one of them or changes what it takes.
"""

from __future__ import annotations

import importlib
import inspect
import random
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

try:
    # Keras 3.12 to 3.16 have them here; keras.src.backend itself lists them up to 3.15 only.
    _rnn = importlib.import_module(f"keras.src.backend.{keras.backend.backend()}.rnn")
    cudnn_ok, gru, lstm, rnn = _rnn.cudnn_ok, _rnn.gru, _rnn.lstm, _rnn.rnn
except (ImportError, AttributeError) as error:
    raise ImportError(
        f"recdrop-tune supports Keras 3.12 to 3.16; Keras {keras.__version__} has moved the kernels of its "
        "LSTM and GRU layers. Install a supported version of Keras, or a newer recdrop-tune."
    ) from error


# A cell that is not Keras's draws no seed, and a name leaves Keras's numbering of layers alone.
_NO_CELL = SimpleNamespace(call=None, state_size=1)
KERAS_HANDS_ON_MASKS = bool(keras.layers.RNN(_NO_CELL, name="probe").supports_masking)
"""Whether recurrent layers hand their mask on to what follows them: not from Keras 3.16 on (keras#23235)."""


def sublayers(layer: Any) -> list[Any]:
    """Returns the layers that a layer holds directly; `keras.Model.layers` does so for models alone."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def loss_tracker(model: Any) -> Any:
    """Returns the metric of a model's loss, which each `compile` makes anew; `None` before the first."""
    return getattr(model, "_loss_tracker", None)


def compile_arguments(model: Any) -> dict[str, Any]:
    """Returns the arguments of `compile`, as objects; what Keras writes down of them lacks functions."""
    arguments = dict(model._compile_config.config)
    if arguments["jit_compile"] == model._resolve_auto_jit_compile():
        arguments["jit_compile"] = (
            "auto"  # Keras keeps what it came to for the layers of this model.
        )
    arguments["auto_scale_loss"] = isinstance(
        model.optimizer, keras.optimizers.LossScaleOptimizer
    ) or (model.dtype_policy.name != "mixed_float16")
    return arguments


def excluded_from_decay(optimizer: Any) -> tuple[str | None, bool]:
    """Reads what `exclude_from_weight_decay` has told an optimizer, of which its configuration has nothing.

    Args:
        optimizer: The optimizer, or one of losses that are scaled.

    Returns:
        The names, as a pattern; and whether variables themselves were excluded.
    """
    decaying = getattr(optimizer, "inner_optimizer", optimizer)
    names = getattr(decaying, "_exclude_from_weight_decay_pattern", None)
    return None if names is None else str(names.pattern), bool(
        getattr(decaying, "_exclude_from_weight_decay", None)
    )


def lost_arguments(thing: Any) -> dict[str, Any]:
    """Returns the arguments of a loss or a metric that Keras leaves out of its configuration (3.15)."""
    held: dict[str, Any] = getattr(thing, "_fn_kwargs", {})
    known = set(inspect.signature(type(thing).__init__).parameters) - set(thing.get_config())
    return {name: value for name, value in held.items() if name in known}


def wrapped_function(metric: Any) -> Any:
    """Returns the function, or the loss, that a metric takes the mean of; `None` if it is of another kind."""
    return metric._fn if isinstance(metric, keras.metrics.MeanMetricWrapper) else None


def arguments_made_with(layer: Any) -> dict[str, Any] | None:
    """Returns the arguments that a layer was made with; `None` where they are not all plain values."""
    noted = getattr(layer, "_auto_config", None)
    return None if noted is None else dict(noted.config)


def mask_of(tensor: Any) -> Any:
    """Returns the mask that Keras has put to the output of a model; `None` if there is none."""
    return getattr(tensor, "_keras_mask", None)


def hand_on_mask(tensor: Any, other: Any) -> None:
    """Gives a tensor the mask of another one."""
    if mask_of(tensor) is not None:
        other._keras_mask = tensor._keras_mask


def inputs_of(layer: Any) -> list[Any]:
    """Returns the symbolic tensors that a layer was called with; `layer.input` is those of its first call."""
    return [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]


def hand_on_input_shape(layer: Any, wrapper: Any) -> None:
    """Gives a wrapper the `input_shape` of its layer, from which a `Sequential` makes its first layer.

    Passed as an argument, it would make Keras repeat the advice that it gave for the layer itself.
    """
    shape = getattr(layer, "_input_shape_arg", None)
    if shape is not None and getattr(wrapper, "_input_shape_arg", None) is None:
        wrapper._input_shape_arg = shape


def runs_on_cpu() -> bool:
    """Says whether layers run on the CPU, an op at a time or in a graph; JAX compiles what it runs."""
    backend = keras.backend.backend()
    if backend == "torch":
        # "meta" where only shapes are computed.
        return bool(keras.ops.zeros(()).device.type == "cpu")
    if backend != "tensorflow":
        return False
    import tensorflow as tf

    return not [
        device for device in tf.config.list_logical_devices() if device.device_type != "CPU"
    ]


def is_compiled() -> bool:
    """Says whether what is traced will be compiled: by XLA, which knows fewer ops, or by PyTorch.

    PyTorch's compiler makes a wrong call of the fused LSTM's backward pass (2.13).
    """
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return bool(torch.compiler.is_compiling())
    if backend != "tensorflow":
        return False
    from tensorflow.python.framework import ops as tf_ops
    from tensorflow.python.ops import control_flow_util

    return bool(control_flow_util.GraphOrParentsInXlaContext(tf_ops.get_default_graph()))


def registered_gradients() -> dict[str, dict[str, Any]]:
    """Returns TensorFlow's own table of gradients by name; an empty one where there is none."""
    if keras.backend.backend() != "tensorflow":
        return {}
    from tensorflow.python.framework import ops as tf_ops

    registry = getattr(tf_ops, "gradient_registry", None)
    return getattr(registry, "_registry", {})


def graph_of_gradient(gradient: Any) -> Any:
    """Returns the graph that a registered `tf.custom_gradient` was traced in, `None` if it is unknown."""
    function = inspect.getclosurevars(gradient).nonlocals.get("tape_grad_fn")
    if function is None:
        return None
    results = keras.tree.flatten(inspect.getclosurevars(function).nonlocals.get("result"))
    return next((part.graph for part in results if keras.ops.is_tensor(part)), None)


def reset_names() -> None:
    """Lets Keras number the names of new layers from the beginning."""
    from keras.src.utils import naming

    naming.reset_uids()


def seed_keeping_kernels(seed: int) -> bool:
    """Seeds all that `keras.utils.set_random_seed` seeds, and leaves TensorFlow's kernels alone.

    Keras's function throws them away, and every compiled function must be optimized and placed again.

    Returns:
        Whether that was possible; if not, nothing was done.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    from keras.src.backend.common import global_state
    from keras.src.random import seed_generator
    from keras.src.utils import rng_utils
    from tensorflow.python.eager import context as tf_context

    context = tf_context.context()
    known = hasattr(context, "_seed") and isinstance(context._rng, random.Random)
    names = [
        getattr(rng_utils, "GLOBAL_RANDOM_SEED", None),
        getattr(seed_generator, "GLOBAL_SEED_GENERATOR", None),  # Not in Keras 3.12.
    ]
    if not known or None in names:
        return False
    for name, value in zip(names, (seed, None), strict=True):
        global_state.set_global_attribute(name, value)
    random.seed(seed)
    np.random.seed(seed)
    context._seed, context._rng = seed, random.Random(seed)
    return True
