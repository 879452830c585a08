"""Turns a call of a Keras layer into a kernel call, and its results into those of the layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
from keras import ops

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels.choice import Layer, cell_of, directions_of, keras_goes_wrong, run
from recdrop_tune.kernels.keras_internals import AutocastScope
from recdrop_tune.rewrites import KernelCall, Rewrite, Tensor, chain


def call_layer(
    layer: Layer,
    sequences: Tensor,
    *,
    rewrite: Rewrite | None,
    groups: int = 1,
    initial_state: Any = None,
    mask: Tensor | None = None,
) -> Any:
    """Computes `layer(sequences, ...)`, an LSTM, GRU or `Bidirectional` of one, with a rewritten kernel call.

    The sequences have shape `(batch, time, features)`, each initial state `(batch, units)`, and the mask, of
    booleans, `(batch, time)`. The layer does not change: its weights are read, and only the states of a
    stateful layer are written. The rewrite (`None` for the plain layer) is called for each direction and for
    each of the `groups` into which the batch is split, so each has its own noise.
    """
    directions = directions_of(layer)
    if initial_state is not None:
        count = len(keras.tree.flatten(initial_state))
        expected = len(directions) * (2 if cell_of(layer) == "lstm" else 1)
        if count != expected:
            raise invalid_argument(
                "initial_state", expected=f"a list of {expected}", received=f"{count} states"
            )
    if rewrite is None:
        if not any(keras_goes_wrong(direction, mask) for direction in directions):
            if initial_state is None:
                initial_state = _states_for_keras(layer)
            return layer(sequences, initial_state=initial_state, mask=mask)
        rewrite, groups = chain(), 1
    if len(directions) == 1:
        return _call_one(layer, sequences, rewrite, groups, initial_state, mask)
    states = list(initial_state) if initial_state is not None else []
    half = len(states) // 2
    forward, backward = (
        _call_one(direction, sequences, rewrite, groups, part or None, mask)
        for direction, part in zip(directions, (states[:half], states[half:]), strict=True)
    )
    return _regularize(layer, _merge_directions(layer, forward, backward))


def _call_one(
    layer: Layer,
    sequences: Tensor,
    rewrite: Rewrite,
    groups: int,
    initial_state: Any,
    mask: Tensor | None,
) -> Any:
    _check_batch(layer, sequences)
    if mask is not None:  # Keras's layers also accept `(batch, time, 1)`.
        mask = ops.cast(mask[..., 0] if len(mask.shape) == 3 else mask, "bool")
    dtype = layer.cell.compute_dtype
    call = KernelCall(
        cell=cell_of(layer),  # type: ignore[arg-type]  # Wrappers refuse other layers.
        sequences=ops.cast(sequences, dtype),
        initial_state=_initial_state(layer, sequences, initial_state),
        kernel=_cast(layer.cell.kernel, dtype),
        recurrent_kernel=_cast(layer.cell.recurrent_kernel, dtype),
        bias=None if layer.cell.bias is None else _cast(layer.cell.bias, dtype),
        mask=mask,
        go_backwards=layer.go_backwards,
        reset_after=getattr(layer, "reset_after", True),
    )
    parts = (
        _run_in_groups(call, layer, rewrite, groups) if groups > 1 else run(rewrite(call), layer)
    )
    output, *states = (ops.cast(part, layer.compute_dtype) for part in parts)
    if layer.stateful:
        for variable, state in zip(layer.states, states, strict=True):
            variable.assign(state)
    return _regularize(layer, (output, *states) if layer.return_state else output)


def _run_in_groups(
    call: KernelCall, layer: Layer, rewrite: Rewrite, groups: int
) -> tuple[Tensor, ...]:
    """Splits the batch into groups, rewrites and runs each separately, and joins the results."""
    batch = ops.shape(call.sequences)[0]
    # All groups have the same size, so that none is empty, which cuDNN would refuse: the batch is padded with
    # zeros, and the results are cut.
    size = (batch + groups - 1) // groups
    padded = _map_batch(call, lambda tensor: _pad(tensor, size * groups - batch))
    results = [
        run(rewrite(_map_batch(padded, lambda t, i=i: t[i * size : (i + 1) * size])), layer)
        for i in range(groups)
    ]
    return tuple(ops.concatenate(parts, axis=0)[:batch] for parts in zip(*results, strict=True))


def _map_batch(call: KernelCall, function: Callable[..., Tensor]) -> KernelCall:
    return replace(
        call,
        sequences=function(call.sequences),
        initial_state=tuple(function(state) for state in call.initial_state),
        mask=None if call.mask is None else function(call.mask),
    )


def _pad(tensor: Tensor, missing: Any) -> Tensor:
    """Appends rows to the batch: zeros, or `True` for a mask, because cuDNN requires valid steps."""
    fill = True if "bool" in str(tensor.dtype) else 0
    widths = [[0, missing]] + [[0, 0]] * (len(tensor.shape) - 1)
    return ops.pad(tensor, widths, constant_values=fill)


def _regularize(layer: Layer, result: Any) -> Any:
    """Adds the layer's activity loss, as Keras does in a call of the layer."""
    if layer.activity_regularizer is not None:
        for output in result if isinstance(result, tuple) else (result,):
            batch = ops.cast(ops.shape(output)[0], output.dtype)
            layer.add_loss(ops.divide_no_nan(layer.activity_regularizer(output), batch))
    return result


def _check_batch(layer: Layer, sequences: Tensor) -> None:
    """Raises Keras's own error for a stateful layer and a batch of another size."""
    if not layer.stateful or layer.states is None:
        return
    expected, received = layer.states[0].shape[0], sequences.shape[0]
    if received is not None and received != expected:
        raise ValueError(
            "If an RNN is stateful, the batch size of the input sequences must be the same as the batch size "
            f"of the initial state. \n- Expected batch size: {expected}\n- Received batch size: {received}"
        )


def _cast(value: Any, dtype: str) -> Tensor:
    # A wrapper in half precision would round the weights of a layer in float32.
    with AutocastScope(None):
        return ops.cast(ops.convert_to_tensor(value), dtype)


def _initial_state(layer: Layer, sequences: Tensor, states: Any) -> tuple[Tensor, ...]:
    if states is None and layer.stateful and layer.states is not None:
        states = _kept_states(layer)
    elif states is None:
        states = layer.get_initial_state(ops.shape(sequences)[0])
    states = states if isinstance(states, (list, tuple)) else [states]
    return tuple(_cast(state, layer.cell.compute_dtype) for state in states)


def _kept_states(layer: Layer) -> list[Any]:
    """Returns the states of a stateful layer."""
    # On torch a call overwrites them in place, but the backward pass needs the old values
    # (keras-team/keras#23462).
    torch = keras.backend.backend() == "torch"
    return [ops.copy(state) if torch else state for state in layer.states]


def _states_for_keras(layer: Layer) -> list[Any] | None:
    """Returns the states for a call of Keras's own layer; `None` if it reads them itself."""
    parts = directions_of(layer)
    if keras.backend.backend() != "torch" or not all(p.stateful and p.states for p in parts):
        return None
    return [state for part in parts for state in _kept_states(part)]


def _merge_directions(bidirectional: Layer, forward: Any, backward: Any) -> Any:
    """Merges the results of the two directions as `keras.layers.Bidirectional` does."""
    states: tuple[Tensor, ...] = ()
    if bidirectional.return_state:
        (forward, *first), (backward, *second) = forward, backward
        states = (*first, *second)
    # Keras casts the outputs, but not the states, to the type of the `Bidirectional`.
    forward, backward = (
        ops.cast(part, bidirectional.compute_dtype) for part in (forward, backward)
    )
    if bidirectional.return_sequences:
        backward = ops.flip(backward, axis=1)
    merge: dict[str | None, Callable[[], Any]] = {
        "concat": lambda: ops.concatenate([forward, backward], axis=-1),
        "sum": lambda: forward + backward,
        "ave": lambda: (forward + backward) / 2,
        "mul": lambda: forward * backward,
        None: lambda: (forward, backward),
    }
    output = merge[bidirectional.merge_mode]()
    if not states:
        return output
    return (*output, *states) if bidirectional.merge_mode is None else (output, *states)
