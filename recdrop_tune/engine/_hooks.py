"""The only file that touches internals of Keras and TensorFlow.

The kernels that `keras.layers.LSTM` and `GRU` call have no public name, nor has the question whether
TensorFlow is tracing for XLA. `tests/test_engine.py` fails when an upgrade moves one of them or
changes what it takes.
"""

import keras
from keras.src.backend import cudnn_ok as cudnn_ok
from keras.src.backend import gru as gru
from keras.src.backend import lstm as lstm
from keras.src.backend import rnn as rnn

__all__ = ["cudnn_ok", "gru", "in_xla", "lstm", "rnn", "runs_on_cpu"]


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
