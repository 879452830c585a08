"""PyTorch's fused CPU op for a whole LSTM: oneDNN's, forward and backward in one op each.

On the CPU, Keras's torch backend runs a layer in a Python loop. This op has the arguments of cuDNN, with the
gates in Keras's order, and gates are forced by extra features too. It is faster at every size in
benchmarks/step_time.py.

There is no such op for the GRU: PyTorch loops over its steps too. The op supports neither forward mode nor
`torch.vmap`: pass `use_cudnn=False` to the layer for them.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from recdrop_tune.kernels.loop import finish
from recdrop_tune.rewrites import KernelCall, Tensor, absorb_forcings


def has_onednn() -> bool:
    """Returns whether PyTorch has oneDNN for this processor, and does not change types (autocast)."""
    import torch

    return bool(torch.backends.mkldnn.is_available() and not torch.is_autocast_enabled("cpu"))


def run_onednn_lstm(call: KernelCall, layer: Any) -> tuple[Tensor, ...]:
    """Runs a call in one op: of an LSTM with tanh and sigmoid, in float32, without a mask."""
    import torch

    call = absorb_forcings(call)
    sequences = call.sequences  # (batch, time, features)
    if call.go_backwards:
        sequences = ops.flip(sequences, axis=1)
    nothing = ops.zeros((4 * call.units,), dtype=call.kernel.dtype)
    # PyTorch adds a bias for each of the two products.
    biases = [nothing if call.bias is None else call.bias, nothing]
    weights = [ops.transpose(part) for part in (call.kernel, call.recurrent_kernel)]
    outputs, *states = torch.lstm(
        sequences,
        [state[None] for state in call.initial_state],  # (layers, batch, units)
        [*weights, *biases],
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=True,
        bidirectional=False,
        batch_first=True,
    )
    return finish(call, layer, outputs[:, -1], outputs, [state[0] for state in states])
