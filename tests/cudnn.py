"""cuDNN seen from the outside, on each Keras backend: is it used, is it exact, and what can stand in.

Imports the backend in use alone.
"""

import importlib
from contextlib import contextmanager

import keras

BACKEND = keras.backend.backend()


@contextmanager
def exact_float32():
    """Turns TF32 off, in which an NVIDIA GPU multiplies float32 with 10 bits of mantissa."""
    if BACKEND == "tensorflow":
        from tensorflow.config import experimental

        before = experimental.tensor_float_32_execution_enabled()
        experimental.enable_tensor_float_32_execution(False)
        yield
        experimental.enable_tensor_float_32_execution(before)
    elif BACKEND == "jax":
        import jax

        with jax.default_matmul_precision("highest"):  # its cuDNN call reads it too
            yield
    else:
        import torch

        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False  # that of matrix products is off by default
        yield
        torch.backends.cudnn.allow_tf32 = before


def cudnn_operations(wrapped, sequences):
    """The names of the cuDNN operations in a training call of a layer, of those of its backend."""
    return {"tensorflow": _in_graph, "jax": _in_jaxpr, "torch": _in_profile}[BACKEND](
        wrapped, sequences
    )


def _in_graph(wrapped, sequences):
    import tensorflow as tf

    call = tf.function(lambda x: wrapped(x, training=True))
    traced = call.get_concrete_function(tf.constant(sequences))
    return [op for op in ops_of(traced) if "Cudnn" in op]


def ops_of(traced):
    """The ops of a function that TensorFlow has traced, bodies of loops and conditionals included."""
    graph = traced.graph.as_graph_def()
    bodies = (node for part in graph.library.function for node in part.node_def)
    return [node.op for node in (*graph.node, *bodies)]


def _in_jaxpr(wrapped, sequences):
    import jax

    trainable = [variable.value for variable in wrapped.trainable_variables]
    others = [variable.value for variable in wrapped.non_trainable_variables]

    def call(x):
        return wrapped.stateless_call(trainable, others, x, training=True)[0]

    words = str(jax.make_jaxpr(call)(sequences)).replace("[", " ").split()
    return [word for word in words if word == "rnn_fwd"]


def _in_profile(wrapped, sequences):
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        wrapped(sequences, training=True)
    return [event.name for event in seen.events() if "cudnn_rnn" in event.name]


def see_a_gpu(monkeypatch):
    """Makes Keras's backend believe in a GPU; returns its module of recurrent layers."""
    module = importlib.import_module(f"keras.src.backend.{BACKEND}.rnn")
    name = "_is_cuda_cudnn_available" if BACKEND == "torch" else "_is_gpu_available"
    monkeypatch.setattr(module, name, lambda: True)
    return module


def stand_in(monkeypatch):
    """Puts a CPU implementation where Keras calls cuDNN, so that all around it runs without a GPU.

    Returns:
        A list that grows by one with each call.
    """
    calls = []
    {"jax": _jax_stand_in, "torch": _torch_stand_in}[BACKEND](monkeypatch, calls)
    return calls


def _jax_stand_in(monkeypatch, calls):
    """The reference that JAX ships for its cuDNN LSTM."""
    from jax.experimental import rnn

    def lstm(x, h, c, weights, lengths, **options):
        calls.append("lstm")
        keys = ("input_size", "hidden_size", "num_layers", "bidirectional")
        unpacked = rnn.unpack_lstm_weights(weights, *(options[key] for key in keys))
        keys = ("input_size", "hidden_size", "num_layers", "dropout", "bidirectional")
        return rnn.lstm_ref(x, h, c, *unpacked, lengths, *(options[key] for key in keys))

    see_a_gpu(monkeypatch)
    monkeypatch.setattr(rnn, "lstm", lstm)


def _torch_stand_in(monkeypatch, calls):
    """The function that Keras calls for cuDNN, which torch has for the CPU too."""
    module = see_a_gpu(monkeypatch)

    def lstm(x, h, c, kernel, recurrent_kernel, bias, *options):
        calls.append("lstm")
        weights = (kernel, recurrent_kernel, bias)
        return module._cudnn_lstm(x, h, c, *weights, options[2], x.device)

    def gru(x, h, kernel, recurrent_kernel, bias, *options):
        calls.append("gru")
        return module._cudnn_gru(x, h, kernel, recurrent_kernel, bias, options[2], x.device)

    monkeypatch.setattr(module, "_fallback_lstm", lstm)
    monkeypatch.setattr(module, "_fallback_gru", gru)
