"""The only file that touches internals of Keras and TensorFlow: what has no public name.

`tests/kernels`, `tests/laws`, `tests/wrappers/test_wrappers.py`, `tests/models/test_learning.py` and
`tests/tuner/test_recovery.py` fail if an upgrade moves one of them or changes its arguments.
"""

from __future__ import annotations

import importlib
import inspect
import random
from types import CodeType, SimpleNamespace
from typing import Any

import keras
import numpy as np

try:
    # Keras 3.12 to 3.16 have them here; keras.src.backend itself lists them up to 3.15 only.
    _rnn = importlib.import_module(f"keras.src.backend.{keras.backend.backend()}.rnn")
    cudnn_ok, gru, lstm, rnn = _rnn.cudnn_ok, _rnn.gru, _rnn.lstm, _rnn.rnn
    AutocastScope = importlib.import_module("keras.src.backend.common.variables").AutocastScope
    _masking = importlib.import_module("keras.src.backend.common.masking")
    _scopes = importlib.import_module("keras.src.backend.common.stateless_scope")
    _global_state = importlib.import_module("keras.src.backend.common.global_state")
    _seed_generator = importlib.import_module("keras.src.random.seed_generator")
    _naming = importlib.import_module("keras.src.utils.naming")
    _rng_utils = importlib.import_module("keras.src.utils.rng_utils")
except (ImportError, AttributeError) as error:
    raise ImportError(
        f"recdrop-tune supports Keras 3.12 to 3.16, but this is {keras.__version__}, which has moved the "
        "kernels of its LSTM and GRU layers. Install a supported Keras, or a newer recdrop-tune."
    ) from error


# The probe leaves no trace: a cell of Keras's would draw a seed, and a layer without a name take a number.
_NO_CELL = SimpleNamespace(call=None, state_size=1)
KERAS_PASSES_MASKS = bool(keras.layers.RNN(_NO_CELL, name="probe").supports_masking)
"""Whether recurrent layers pass their mask on to later layers: not since Keras 3.16 (keras#23235)."""


def sublayers(layer: Any) -> list[Any]:
    """Returns the direct sublayers of a layer, as `keras.Model.layers` does for models."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def compile_arguments(model: Any) -> dict[str, Any]:
    """Returns the arguments of `compile` as objects; Keras's serialized form lacks functions."""
    arguments = dict(model._compile_config.config)
    if arguments["jit_compile"] == model._resolve_auto_jit_compile():
        # Keras stores the result of "auto" for the layers of this model.
        arguments["jit_compile"] = "auto"
    arguments["auto_scale_loss"] = isinstance(
        model.optimizer, keras.optimizers.LossScaleOptimizer
    ) or (model.dtype_policy.name != "mixed_float16")
    return arguments


def excluded_from_decay(optimizer: Any) -> tuple[str | None, bool]:
    """Returns the exclusions set by `exclude_from_weight_decay`, which are not in the configuration.

    They are a pattern of names, and whether variables were excluded individually.
    """
    decaying = getattr(optimizer, "inner_optimizer", optimizer)
    names = getattr(decaying, "_exclude_from_weight_decay_pattern", None)
    return None if names is None else str(names.pattern), bool(
        getattr(decaying, "_exclude_from_weight_decay", None)
    )


def lost_arguments(thing: Any) -> dict[str, Any]:
    """Returns the arguments of a loss or a metric that are missing in its configuration (Keras 3.15)."""
    held: dict[str, Any] = getattr(thing, "_fn_kwargs", {})
    known = set(inspect.signature(type(thing).__init__).parameters) - set(thing.get_config())
    return {name: value for name, value in held.items() if name in known}


def wrapped_function(metric: Any) -> Any:
    """Returns the function or loss whose mean a metric computes; `None` for other metrics."""
    return metric._fn if isinstance(metric, keras.metrics.MeanMetricWrapper) else None


def mask_of(tensor: Any) -> Any:
    """Returns the mask that Keras has attached to an output, or `None`."""
    return _masking.get_keras_mask(tensor)


def set_mask(tensor: Any, mask: Any) -> None:
    """Attaches a mask to an output, for the layers that read it."""
    _masking.set_keras_mask(tensor, mask)


def stateless_scope() -> Any:
    """Returns the `keras.StatelessScope` in which layers are called, or `None`."""
    return _scopes.get_stateless_scope() if _scopes.in_stateless_scope() else None


def forward_pass() -> dict[str, Any]:
    """Returns the attributes of the call of the outermost layer that runs; empty if none does."""
    context = _global_state.get_global_attribute("current_call_ctx")
    return {} if context is None else vars(context)


def inputs_of(layer: Any) -> list[Any]:
    """Returns the symbolic inputs of all calls of a layer; `layer.input` has those of the first call."""
    return [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]


def copy_input_shape(layer: Any, wrapper: Any) -> None:
    """Copies the `input_shape` of a layer to its wrapper, for a `Sequential` that starts with it."""
    # As an argument it would make Keras repeat the warning that it gave for the layer itself.
    shape = getattr(layer, "_input_shape_arg", None)
    if shape is not None and getattr(wrapper, "_input_shape_arg", None) is None:
        wrapper._input_shape_arg = shape


def runs_on_cpu() -> bool:
    """Returns whether layers run on the CPU, eagerly or in a graph. On JAX, which compiles: False."""
    backend = keras.backend.backend()
    if backend == "torch":
        # The device is "meta" if only shapes are computed.
        return bool(keras.ops.zeros(()).device.type == "cpu")
    if backend != "tensorflow":
        return False
    import tensorflow as tf

    return all(each.device_type == "CPU" for each in tf.config.list_logical_devices())


def is_compiled() -> bool:
    """Returns whether the current trace will be compiled: by XLA, which has fewer ops, or by PyTorch."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        # PyTorch's compiler calls the backward pass of the fused LSTM wrongly (2.13).
        return bool(torch.compiler.is_compiling())
    if backend != "tensorflow":
        return False
    from tensorflow.python.framework import ops as tf_ops
    from tensorflow.python.ops import control_flow_util

    return bool(control_flow_util.GraphOrParentsInXlaContext(tf_ops.get_default_graph()))


def uninterruptible() -> set[CodeType]:
    """Returns the Python functions that TensorFlow calls from C++ without looking whether they raised.

    An exception in them ends the process: by a null pointer, or by shapes written behind their buffer.
    """
    if keras.backend.backend() != "tensorflow":
        return set()
    import tensorflow as tf

    context = importlib.import_module("tensorflow.python.eager.context").Context
    variable = importlib.import_module("tensorflow.python.ops.resource_variable_ops")
    properties = (context._handle, tf.Tensor.dtype, variable.BaseResourceVariable.handle)
    methods = (tf.TensorShape.__len__, tf.TensorShape.__getitem__)
    return {function.__code__ for function in (*methods, *(each.fget for each in properties))}


def registered_gradients() -> dict[str, dict[str, Any]]:
    """Returns TensorFlow's table of gradients by name; empty on other backends."""
    if keras.backend.backend() != "tensorflow":
        return {}
    from tensorflow.python.framework import ops as tf_ops

    registry = getattr(tf_ops, "gradient_registry", None)
    return getattr(registry, "_registry", {})


def graph_of_gradient(gradient: Any) -> Any:
    """Returns the graph in which a registered `tf.custom_gradient` was traced, or `None`."""
    function = inspect.getclosurevars(gradient).nonlocals.get("tape_grad_fn")
    if function is None:
        return None
    results = keras.tree.flatten(inspect.getclosurevars(function).nonlocals.get("result"))
    return next((part.graph for part in results if keras.ops.is_tensor(part)), None)


def reset_names() -> None:
    """Restarts Keras's numbering of layer names."""
    _naming.reset_uids()


def global_seed() -> int | None:
    """Returns the seed that `keras.utils.set_random_seed` has set in this thread, or `None`."""
    seed: int | None = _rng_utils.get_random_seed()
    return seed


def seed_keeping_kernels(seed: int) -> bool:
    """Seeds like `keras.utils.set_random_seed`, but keeps TensorFlow's kernels; returns whether it could.

    Keras's function discards them, and every compiled function has to be optimized and placed again.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    from tensorflow.python.eager import context as tf_context

    context = tf_context.context()
    # It has no generator before the first seed.
    known = isinstance(getattr(context, "_rng", None), random.Random)
    names = [
        getattr(_rng_utils, "GLOBAL_RANDOM_SEED", None),
        getattr(_seed_generator, "GLOBAL_SEED_GENERATOR", None),  # Not in Keras 3.12.
    ]
    if not known or None in names:
        return False
    for name, value in zip(names, (seed, None), strict=True):
        _global_state.set_global_attribute(name, value)
    random.seed(seed)
    np.random.seed(seed)
    context._seed, context._rng = seed, random.Random(seed)
    return True


CALLBACK_STATE = (
    *("best", "best_epoch", "best_weights", "wait", "cooldown_counter"),
    *("_batches_seen_since_last_saving", "_last_batch_seen"),  # `ModelCheckpoint`
    *("_global_train_batch", "_global_test_batch"),  # `TensorBoard`
    "_ema_weights_in_model",
)
"""The state of Keras's callbacks between two epochs that a continued training would not set itself."""


def forget_initial_epoch(model: Any) -> None:
    """Lets the running `fit` begin with its own `initial_epoch`, not with that of `BackupAndRestore`."""
    model._initial_epoch = None
