"""The step loop: computes every call, one step at a time, as Keras's own cells do.

The product with `kernel` stays inside the loop. For all steps at once it would be one large product instead
of many small ones, but then the loop and its gradient have gates * units numbers per step instead of the
features. On a CPU that was slower at almost every size in benchmarks/step_time.py, and never significantly
faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from recdrop_tune.kernels.keras_internals import rnn
from recdrop_tune.rewrites import KernelCall, Tensor, split_gates


def finish(
    call: KernelCall, layer: Any, last: Tensor, outputs: Tensor, states: Any
) -> tuple[Tensor, ...]:
    """Selects the last output or the sequence, scaled if a rewrite requires that; ends every kernel."""
    if not layer.return_sequences:
        return (last, *states)
    if call.output_scale is not None:
        outputs = outputs * ops.cast(call.output_scale, outputs.dtype)
    return (outputs, *states)


Step = Callable[[Any, Any], tuple[Tensor, list[Tensor]]]


def run_loop(call: KernelCall, layer: Any) -> tuple[Tensor, ...]:
    """Runs a call in Keras's own loop over time steps, and forces gates where they are computed."""
    make_step = _lstm_step if call.cell == "lstm" else _gru_step
    # Further inputs of a step, each `(batch, time, units)`.
    per_step = [ops.cast(forcing.bits, "bool") for forcing in call.forcings]
    if _kept_per_step(call):
        per_step.append(call.hidden_kept)
    inputs = (call.sequences, *per_step) if per_step else call.sequences
    outcome = rnn(
        make_step(call, layer),
        inputs,
        list(call.initial_state),
        go_backwards=call.go_backwards,
        mask=call.mask,
        unroll=layer.unroll,
        # For an unknown length, Keras would read the shape of `inputs`, but a tuple has none. In a list, the
        # length only bounds the loop. XLA reserves memory up to this bound. A tensor would act as a mask.
        input_length=call.sequences.shape[1] or [ops.shape(call.sequences)[1]],
        zero_output_for_mask=layer.zero_output_for_mask,
        return_all_outputs=layer.return_sequences,
    )
    return finish(call, layer, *outcome)


def _kept_per_step(call: KernelCall) -> bool:
    return call.hidden_kept is not None and len(call.hidden_kept.shape) == 3


def _unpack(inputs: Any, call: KernelCall) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """Splits a step's inputs into features `(batch, features)`, bits, and the kept fraction of h."""
    x, *parts = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    kept = parts.pop() if _kept_per_step(call) else call.hidden_kept
    return x, parts, kept


def _project(tensor: Tensor, weights: Tensor, noise: Tensor | None, call: KernelCall) -> Tensor:
    """Computes `tensor @ weights`, optionally with a separate noise on the tensor for each gate."""
    if noise is None:
        return ops.matmul(tensor, weights)
    factors = ops.cast(noise, tensor.dtype)  # (gates, batch, features or units)
    blocks = split_gates(weights, call.cell).values()
    products = [ops.matmul(tensor * factors[i], block) for i, block in enumerate(blocks)]
    return ops.concatenate(products, axis=-1)


def _force(gates: dict[str, Tensor], bits: list[Tensor], call: KernelCall) -> dict[str, Tensor]:
    """Sets forced gates to 0 or 1, after the activation, so it is exact for every activation."""
    for forcing, bit in zip(call.forcings, bits, strict=True):
        for gate, value in forcing.gates:
            gates = {**gates, gate: ops.where(bit, ops.cast(value, gates[gate].dtype), gates[gate])}
    return gates


def _keep(old: Tensor, new: Tensor, fraction: Tensor | None) -> Tensor:
    if fraction is None:
        return new
    fraction = ops.cast(fraction, new.dtype)
    return fraction * old + (1 - fraction) * new


def _lstm_step(call: KernelCall, layer: Any) -> Step:
    gate, squash = layer.recurrent_activation, layer.activation

    def step(inputs: Any, states: Any) -> tuple[Tensor, list[Tensor]]:
        x, bits, kept = _unpack(inputs, call)
        h, c = states[0], states[1]
        z = _project(x, call.kernel, call.input_noise, call)
        z = _plus(z + _project(h, call.recurrent_kernel, call.state_noise, call), call.bias)
        blocks = split_gates(z, "lstm")
        opened = {name: gate(blocks[name]) for name in ("input", "forget", "output")}
        opened = _force(opened, bits, call)
        update = opened["input"] * squash(blocks["candidate"])
        if call.update_missing is not None:
            update = update * (1 - ops.cast(call.update_missing, update.dtype))
        new = opened["forget"] * c + update
        c = _keep(c, new, call.cell_kept)
        h = _keep(h, opened["output"] * squash(c), kept)
        return h, [h, c]

    return step


def _gru_step(call: KernelCall, layer: Any) -> Step:
    gate, squash = layer.recurrent_activation, layer.activation
    input_bias, recurrent_bias = call.bias, None
    if call.bias is not None and call.reset_after:
        input_bias, recurrent_bias = call.bias[0], call.bias[1]
    early = None if call.reset_after else _early_reset(call)

    def step(inputs: Any, states: Any) -> tuple[Tensor, list[Tensor]]:
        x, bits, kept = _unpack(inputs, call)
        h = states[0]
        from_x = _project(x, call.kernel, call.input_noise, call)
        from_h = _project(h, call.recurrent_kernel, call.state_noise, call)
        x_blocks = split_gates(_plus(from_x, input_bias), "gru")
        h_blocks = split_gates(_plus(from_h, recurrent_bias), "gru")
        opened = {name: gate(x_blocks[name] + h_blocks[name]) for name in ("update", "reset")}
        opened = _force(opened, bits, call)
        update, reset = opened["update"], opened["reset"]
        fed_back = reset * h_blocks["candidate"] if early is None else early(reset * h)
        new = update * h + (1 - update) * squash(x_blocks["candidate"] + fed_back)
        h = _keep(h, new, kept)
        return h, [h]

    return step


def _plus(tensor: Tensor, bias: Tensor | None) -> Tensor:
    return tensor if bias is None else tensor + bias


def _early_reset(call: KernelCall) -> Callable[[Tensor], Tensor]:
    """Returns the candidate's product for `reset_after=False`, where the reset gate acts on h."""
    weights = split_gates(call.recurrent_kernel, "gru")["candidate"]
    noise = None if call.state_noise is None else call.state_noise[2]

    def project(h: Tensor) -> Tensor:
        return ops.matmul(h if noise is None else h * ops.cast(noise, h.dtype), weights)

    return project
