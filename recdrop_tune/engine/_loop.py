"""The step loop: computes every call, one step at a time, as Keras's own cells do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from recdrop_tune.engine import _hooks
from recdrop_tune.engine._finish import finish
from recdrop_tune.rewrites import KernelCall
from recdrop_tune.rewrites._call import Tensor
from recdrop_tune.rewrites._gates import split_gates

Step = Callable[[Any, Any], tuple[Tensor, list[Tensor]]]


def run_loop(call: KernelCall, layer: Any) -> tuple[Tensor, ...]:
    """Runs a call in Keras's own loop over time steps, gates forced where they are computed."""
    make_step = _lstm_step if call.cell == "lstm" else _gru_step
    # One tensor, not a tuple: Keras's loop asks its inputs for a shape where the length is unknown.
    bits = [forcing.bits for forcing in call.forcings]
    inputs = ops.concatenate([call.sequences, *bits], axis=-1) if bits else call.sequences
    outcome = _hooks.rnn(
        make_step(call, layer),
        inputs,
        list(call.initial_state),
        go_backwards=call.go_backwards,
        mask=call.mask,
        unroll=layer.unroll,
        input_length=call.sequences.shape[1],
        zero_output_for_mask=layer.zero_output_for_mask,
        return_all_outputs=layer.return_sequences,
    )
    return finish(call, layer, *outcome)


def _unpack(inputs: Tensor, call: KernelCall) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Takes one step's features and bits apart: `(batch, features)`, and `(batch, units)` each."""
    features, units = call.sequences.shape[-1], call.units
    starts = [features + i * units for i in range(len(call.forcings))]
    return inputs[:, :features], tuple(inputs[:, start : start + units] for start in starts)


def _project(tensor: Tensor, weights: Tensor, noise: Tensor | None, call: KernelCall) -> Tensor:
    """`tensor @ weights`, where each gate may read the tensor through a noise of its own."""
    if noise is None:
        return ops.matmul(tensor, weights)
    blocks = split_gates(weights, call.cell).values()
    factors = ops.cast(noise, tensor.dtype)
    products = [ops.matmul(tensor * factors[i], block) for i, block in enumerate(blocks)]
    return ops.concatenate(products, axis=-1)


def _force(
    gates: dict[str, Tensor], bits: tuple[Tensor, ...], call: KernelCall
) -> dict[str, Tensor]:
    """Sets forced gates to 0 or 1. On the gate itself, so it is exact for every activation."""
    for forcing, bit in zip(call.forcings, bits, strict=True):
        for gate, value in forcing.gates:
            gates = {**gates, gate: gates[gate] * (1 - bit) + value * bit}
    return gates


def _lstm_step(call: KernelCall, layer: Any) -> Step:
    gate, squash = layer.recurrent_activation, layer.activation

    def step(inputs: Any, states: Any) -> tuple[Tensor, list[Tensor]]:
        x, bits = _unpack(inputs, call)
        h, c = states[0], states[1]
        z = _project(x, call.kernel, call.input_noise, call)
        z = z + _project(h, call.recurrent_kernel, call.state_noise, call)
        z = z if call.bias is None else z + call.bias
        blocks = split_gates(z, "lstm")
        opened = {name: gate(blocks[name]) for name in ("input", "forget", "output")}
        opened = _force(opened, bits, call)
        c = opened["forget"] * c + opened["input"] * squash(blocks["candidate"])
        h = opened["output"] * squash(c)
        return h, [h, c]

    return step


def _gru_step(call: KernelCall, layer: Any) -> Step:
    gate, squash = layer.recurrent_activation, layer.activation
    input_bias, recurrent_bias = _gru_biases(call)
    early = None if call.reset_after else _early_reset(call)

    def step(inputs: Any, states: Any) -> tuple[Tensor, list[Tensor]]:
        x, bits = _unpack(inputs, call)
        h = states[0]
        x_blocks = split_gates(
            _plus(_project(x, call.kernel, call.input_noise, call), input_bias), "gru"
        )
        h_blocks = split_gates(
            _plus(_project(h, call.recurrent_kernel, call.state_noise, call), recurrent_bias), "gru"
        )
        opened = {name: gate(x_blocks[name] + h_blocks[name]) for name in ("update", "reset")}
        opened = _force(opened, bits, call)
        update, reset = opened["update"], opened["reset"]
        fed_back = reset * h_blocks["candidate"] if early is None else early(reset * h)
        h = update * h + (1 - update) * squash(x_blocks["candidate"] + fed_back)
        return h, [h]

    return step


def _plus(tensor: Tensor, bias: Tensor | None) -> Tensor:
    return tensor if bias is None else tensor + bias


def _gru_biases(call: KernelCall) -> tuple[Tensor | None, Tensor | None]:
    if call.bias is None:
        return None, None
    return (call.bias[0], call.bias[1]) if call.reset_after else (call.bias, None)


def _early_reset(call: KernelCall) -> Callable[[Tensor], Tensor]:
    """The candidate's product for `reset_after=False`, where the reset gate acts on h itself."""
    weights = split_gates(call.recurrent_kernel, "gru")["candidate"]
    noise = None if call.state_noise is None else call.state_noise[2]

    def project(h: Tensor) -> Tensor:
        return ops.matmul(h if noise is None else h * ops.cast(noise, h.dtype), weights)

    return project
