"""The only file that touches internals of Keras and TensorFlow.

The kernels that `keras.layers.LSTM` and `GRU` call have no public name, nor has the question whether
TensorFlow is tracing for XLA, nor have the custom gradients that TensorFlow keeps.
`tests/test_engine.py` and `tests/test_engine_gradients.py` fail when an upgrade moves one of them or
changes what it takes.
"""

import inspect
from typing import Any

import keras
from keras.src.backend import cudnn_ok as cudnn_ok
from keras.src.backend import gru as gru
from keras.src.backend import lstm as lstm
from keras.src.backend import rnn as rnn

__all__ = [
    "cudnn_ok",
    "graph_of_gradient",
    "gru",
    "in_xla",
    "lstm",
    "registered_gradients",
    "rnn",
    "runs_on_cpu",
]


def runs_on_cpu() -> bool:
    """Whether TensorFlow sees no accelerator."""
    import tensorflow as tf

    return not [
        device for device in tf.config.list_logical_devices() if device.device_type != "CPU"
    ]


def in_xla() -> bool:
    """Whether the code being traced will be compiled by XLA, which knows fewer ops."""
    if keras.backend.backend() != "tensorflow":
        return False
    from tensorflow.python.framework import ops as tf_ops
    from tensorflow.python.ops import control_flow_util

    return bool(control_flow_util.GraphOrParentsInXlaContext(tf_ops.get_default_graph()))


def registered_gradients() -> dict[str, dict[str, Any]]:
    """TensorFlow's own table of gradients by name; an empty one where there is none."""
    if keras.backend.backend() != "tensorflow":
        return {}
    from tensorflow.python.framework import ops as tf_ops

    registry = getattr(tf_ops, "gradient_registry", None)
    return getattr(registry, "_registry", {})


def graph_of_gradient(gradient: Any) -> Any:
    """The graph that a registered `tf.custom_gradient` was traced in; `None` if that cannot be told."""
    function = inspect.getclosurevars(gradient).nonlocals.get("tape_grad_fn")
    if function is None:
        return None
    results = keras.tree.flatten(inspect.getclosurevars(function).nonlocals.get("result"))
    return next((part.graph for part in results if keras.ops.is_tensor(part)), None)
