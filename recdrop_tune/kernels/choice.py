"""Chooses the kernel of a call: cuDNN if nothing prevents it, or else the fastest other one.

`run` chooses for a call, `kernel_of` predicts the choice; both use the same `obstacles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import keras
from keras import ops

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.kernels import keras_internals
from recdrop_tune.kernels.block_lstm import block_lstm_is_faster, run_block_lstm
from recdrop_tune.kernels.loop import finish, run_loop
from recdrop_tune.kernels.onednn_lstm import has_onednn, run_onednn_lstm
from recdrop_tune.rewrites import Cell, KernelCall, Tensor, absorb_forcings

Layer = Any
"""A `keras.layers.LSTM` or `GRU`; Keras has no type information."""

CUDNN = "cuDNN"
FUSED_CPU = "fused CPU op"
STEP_LOOP = "step loop"
ERROR = "error"
UNKNOWN = "unknown"

# Keras also accepts the `tanh` and `sigmoid` of the backends themselves.
_BACKEND_MODULES = {"tensorflow": "tensorflow", "jax": "jax.numpy", "torch": "torch"}


@dataclass(frozen=True)
class Obstacle:
    """One reason why a layer cannot run on cuDNN, and its `fix`, which is empty if nothing can be changed."""

    reason: str
    fix: str = ""


_NEEDS_LOOP = Obstacle(
    "noise per sample and gate, zoneout of h, and the expectations of zoneout and `update` need the step loop"
)
_INSISTS = Obstacle(
    "use_cudnn=True insists on cuDNN, so a training step raises an error",
    'pass use_cudnn="auto"',
)


_KINDS: tuple[tuple[Any, Any, Cell], ...] = (
    (keras.layers.LSTM, keras.layers.LSTMCell, "lstm"),
    (keras.layers.GRU, keras.layers.GRUCell, "gru"),
)


def cell_of(layer: Layer) -> Cell | None:
    """Returns the cell that a layer (of a `Bidirectional`, the forward one) computes; `None` if unknown."""
    own = type(layer)
    if isinstance(layer, keras.layers.Bidirectional):
        return cell_of(layer.forward_layer) if merges_as_keras(layer) else None
    # A subclass with its own `call`, `inner_loop` or cell computes something else.
    for kind, step, cell in _KINDS:
        if isinstance(layer, kind) and own.call is kind.call and own.inner_loop is kind.inner_loop:
            return cell if getattr(type(layer.cell), "call", None) is step.call else None
    return None


def fused_layer(layer: Layer) -> Any:
    """Returns the class that computes the same as a `keras.layers.RNN` of a cell, or `None`."""
    fused = {step: kind for kind, step, _ in _KINDS}
    return fused.get(type(layer.cell)) if type(layer) is keras.layers.RNN else None


def directions_of(layer: Layer) -> list[Layer]:
    """Returns the two layers in a `Bidirectional`, or the layer itself."""
    if isinstance(layer, keras.layers.Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    return [layer]


def merges_as_keras(layer: Layer) -> bool:
    """Returns whether a layer is a `Bidirectional` with Keras's own `call`."""
    merging = keras.layers.Bidirectional
    return isinstance(layer, merging) and type(layer).call is merging.call


# Why a layer cannot run on cuDNN: on any machine, or for lack of a GPU.


def obstacles(
    layer: Layer, masked: bool = False, technique: Obstacle | None = None
) -> Iterator[Obstacle]:
    """Yields why a layer cannot run on cuDNN on any machine; `technique` is the reason of its wrapper."""
    cell, backend = cell_of(layer), keras.backend.backend()
    if cell is None:
        yield Obstacle("cuDNN has no kernel for this cell in Keras", "use an LSTM or a GRU")
        return
    if technique is not None:
        yield technique
    if cell == "gru" and backend == "jax":
        yield Obstacle(
            "Keras's jax backend has no cuDNN kernel for the GRU",
            "use an LSTM, or the tensorflow or torch backend",
        )
    if backend == "jax" and _is_half(layer):
        yield Obstacle(
            "jax's cuDNN kernel takes no half precision",
            "use float32, or the tensorflow or torch backend",
        )
    if masked and backend != "tensorflow":
        yield Obstacle(
            f"a mask reaches the layer, and Keras's {backend} backend gives cuDNN none",
            "train on sequences of one length without a mask, or use the tensorflow backend",
        )
    yield from _option_obstacles(layer)


def _option_obstacles(layer: Layer) -> Iterator[Obstacle]:
    if layer.use_cudnn not in (True, "auto"):
        yield Obstacle(f"use_cudnn={layer.use_cudnn!r}", 'pass use_cudnn="auto"')
    for argument, name in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        if not _is(getattr(layer, argument), name):
            yield Obstacle(f"{argument} is not {name}", f'pass {argument}="{name}"')
    if not layer.use_bias:
        yield Obstacle("use_bias=False", "pass use_bias=True")
    if layer.unroll:
        yield Obstacle("unroll=True", "pass unroll=False")
    if not getattr(layer, "reset_after", True):
        yield Obstacle("reset_after=False", "pass reset_after=True")


def _is(activation: Any, name: str) -> bool:
    """Returns whether Keras treats an activation as the function of that name."""
    if activation in (getattr(keras.activations, name), getattr(ops, name)):
        return True
    module = import_module(_BACKEND_MODULES.get(keras.backend.backend(), "keras"))
    return activation is not None and activation is getattr(module, name, None)


def _is_half(layer: Layer) -> bool:
    return layer.cell.compute_dtype in ("float16", "bfloat16")


def gpu_in_sight() -> bool:
    """Returns whether Keras's backend would use cuDNN for a suitable layer."""
    tanh, sigmoid = keras.activations.tanh, keras.activations.sigmoid
    return bool(keras_internals.cudnn_ok(tanh, sigmoid, unroll=False, use_bias=True))


def _no_gpu() -> Obstacle:
    backend = keras.backend.backend()
    return Obstacle(
        f"no GPU is seen by Keras's {backend} backend",
        f"use a machine with a GPU, and a {backend} built for it",
    )


def _suits_cudnn(layer: Layer, masked: bool) -> bool:
    return next(obstacles(layer, masked), None) is None and gpu_in_sight()


def keras_goes_wrong(layer: Layer, mask: Tensor | None) -> bool:
    """Returns whether Keras's own call of a layer fails on cuDNN, unlike `run`."""
    if mask is not None:
        # Keras raises for a mask that is not right-padded.
        return _suits_cudnn(layer, masked=True)
    if keras.backend.backend() != "jax" or not isinstance(layer, keras.layers.LSTM):
        return False
    # Keras's jax backend cannot compile an LSTM in half precision, and returns a backward one in the order of
    # time.
    if not _is_half(layer) and not (layer.go_backwards and layer.return_sequences):
        return False
    return next(_option_obstacles(layer), None) is None and gpu_in_sight()


# Runs a call.


def run(call: KernelCall, layer: Layer) -> tuple[Tensor, ...]:
    """Runs a call on the fastest suitable kernel; returns `(output, *states)`.

    The output has shape `(batch, time, units)` or `(batch, units)`.
    """
    masked = call.mask is not None
    if call.needs_loop or not _suits_cudnn(layer, masked):
        if layer.use_cudnn is True:
            raise _no_cudnn(call, layer)
        kinds = call.kernel.dtype, bool(call.forcings), masked
        if call.needs_loop or next(_off_fused_op(layer, *kinds), None) is not None:
            return run_loop(call, layer)
        return (run_onednn_lstm if keras.backend.backend() == "torch" else run_block_lstm)(
            call, layer
        )
    try:
        return _run_by_mask(call, layer) if masked else _run_cudnn(call, layer)
    except NotImplementedError as error:  # Raised by Keras's backends for unsuitable calls.
        if layer.use_cudnn is True:
            raise _no_cudnn(call, layer) from error
        return run_loop(call, layer)


def _off_fused_op(layer: Layer, dtype: Any, forced: bool, masked: bool) -> Iterator[str]:
    """Yields why the fused CPU op does not run a rewritten call; `forced` is whether gates are forced."""
    if not isinstance(layer, keras.layers.LSTM):
        yield "is for LSTMs only"
    if masked:
        yield "takes no mask"
    if layer.unroll or layer.use_cudnn is False:
        yield "is not used with unroll=True or use_cudnn=False"
    if keras.backend.standardize_dtype(dtype) != "float32":
        yield "takes float32 only"
    activations = layer.activation, layer.recurrent_activation
    if activations != (keras.activations.tanh, keras.activations.sigmoid):
        yield "takes tanh and sigmoid only"
    if not keras_internals.runs_on_cpu():
        yield "runs on the CPU only"
    if keras_internals.is_compiled():
        yield "cannot be compiled"
    if keras.backend.backend() == "torch" and not has_onednn():
        yield "is switched off by autocast, or not in this PyTorch"
    if keras.backend.backend() == "tensorflow" and not block_lstm_is_faster(layer.units, forced):
        yield f"is slower with {layer.units} units"


def _run_cudnn(call: KernelCall, layer: Layer) -> tuple[Tensor, ...]:
    """Runs a call on cuDNN through the hook of Keras's own layers, with forcings as extra features."""
    call = absorb_forcings(call)
    # Keras's jax backend would return the outputs in the order of time, but a backward layer returns them in
    # the order in which it computes them. With a mask, Keras reverses the sequences, per sample.
    if call.go_backwards and call.mask is None:
        call = replace(call, sequences=ops.flip(call.sequences, axis=1), go_backwards=False)
    lstm = call.cell == "lstm"
    hook = keras_internals.lstm if lstm else keras_internals.gru
    results = hook(
        call.sequences,
        *call.initial_state,
        call.mask,
        kernel=call.kernel,
        recurrent_kernel=call.recurrent_kernel,
        bias=call.bias,
        activation=layer.activation,
        recurrent_activation=layer.recurrent_activation,
        return_sequences=layer.return_sequences,
        go_backwards=call.go_backwards,
        unroll=layer.unroll,
        **({} if lstm else {"reset_after": call.reset_after}),
    )
    return finish(call, layer, *results)


def _run_by_mask(call: KernelCall, layer: Layer) -> tuple[Tensor, ...]:
    """Chooses by the mask of each batch: cuDNN accepts only right-padded ones."""
    valid = ops.cast(call.mask, "int32")
    starts, has_no_gaps = ops.all(valid[:, 0] == 1), ops.all(valid[:, 1:] <= valid[:, :-1])
    return tuple(
        ops.cond(
            ops.logical_and(starts, has_no_gaps),
            lambda: list(_run_cudnn(call, layer)),
            lambda: list(run_loop(call, layer)),
        )
    )


def _no_cudnn(call: KernelCall, layer: Layer) -> InvalidArgumentError:
    found = [*obstacles(layer, call.mask is not None, _NEEDS_LOOP if call.needs_loop else None)]
    found += [] if gpu_in_sight() else [_no_gpu()]
    reasons = "; ".join(obstacle.reason for obstacle in found) or "Keras declined the call"
    return invalid_argument(
        "use_cudnn",
        expected=f"'auto' or False, because cuDNN cannot run this layer here ({reasons})",
        received=True,
        fix='Pass use_cudnn="auto" to the wrapped layer to fall back to the step loop.',
    )


# Predicts the kernel of a layer without running it.


@dataclass(frozen=True)
class Rewriting:
    """The properties of a technique's rewrite in training that decide on the kernel.

    `wrapped` is whether a wrapper of this package runs the layer, and so checks masks first. If the call is
    not `rewritten`, Keras's own layer runs. `obstacle` is the part that no fused kernel computes, or `None`.
    """

    wrapped: bool = False
    rewritten: bool = False
    forces_gates: bool = False
    obstacle: Obstacle | None = None


@dataclass(frozen=True)
class KernelChoice:
    """The kernel of a layer's training step here and `on_gpu`, and what keeps it off cuDNN here."""

    kernel: str
    obstacles: tuple[Obstacle, ...]
    on_gpu: str
    note: str = ""


def kernel_of(layer: Layer, rewriting: Rewriting, *, masked: bool = False) -> KernelChoice:
    """Returns the kernel of a layer's training step on this machine, and why."""
    known = cell_of(layer) is not None
    if not known and isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
        own = Obstacle(
            f"{type(layer).__name__} has its own `call` or cell, whose kernel is unknown"
        )
        return KernelChoice(UNKNOWN, (own,), UNKNOWN)
    found = [*obstacles(layer, masked, rewriting.obstacle)]
    on_gpu = "; ".join(obstacle.reason for obstacle in found) or CUDNN
    if not gpu_in_sight():
        found.append(_no_gpu())
    if not found:
        by_batch = "Keras stops with an error at a batch whose mask is not right-padded"
        if rewriting.wrapped:
            by_batch = "a batch whose mask is not right-padded takes the step loop"
        return KernelChoice(CUDNN, (), on_gpu, by_batch if masked else "")
    if getattr(layer, "use_cudnn", "auto") is True:
        return KernelChoice(ERROR, (*found, _INSISTS), on_gpu)
    if not known or rewriting.obstacle is not None or not keras_internals.runs_on_cpu():
        return KernelChoice(STEP_LOOP, tuple(found), on_gpu)
    off: str | None = "is used only for dropout inside the layer"
    if rewriting.rewritten:
        kinds = layer.cell.compute_dtype, rewriting.forces_gates, masked
        off = next(_off_fused_op(layer, *kinds), None)
    note = "" if off is None else f"the fused CPU op {off}"
    return KernelChoice(STEP_LOOP if note else FUSED_CPU, tuple(found), on_gpu, note)
