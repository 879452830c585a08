"""Tells, without running anything, which kernel a layer trains on, and what keeps it off cuDNN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import keras

from recdrop_tune.kernels import keras_internals as _hooks
from recdrop_tune.kernels.block_lstm import block_lstm_can_run
from recdrop_tune.kernels.choice import Layer, cudnn_takes_masks
from recdrop_tune.kernels.layer_call import cell_of
from recdrop_tune.rewrites import GateForcing, KernelCall

CUDNN = "cuDNN"
FUSED_CPU = "fused CPU op"
STEP_LOOP = "step loop"
ERROR = "error"
UNKNOWN = "unknown"

# Functions of the backends themselves that Keras also takes for its own `tanh` and `sigmoid`.
_BACKEND_MODULES = {"tensorflow": "tensorflow", "jax": "jax.numpy", "torch": "torch"}


@dataclass(frozen=True)
class Obstacle:
    """One thing that keeps a layer off cuDNN.

    Attributes:
        reason: What it is.
        fix: What to change; empty where nothing can be changed.
    """

    reason: str
    fix: str = ""


@dataclass(frozen=True)
class Rewriting:
    """What a technique does to a layer's kernel call in training, as far as the kernel depends on it.

    Attributes:
        wrapped: Whether one of this package's wrappers runs the layer, and so looks at masks first.
        rewritten: Whether the call is rewritten; where not, Keras's own layer runs.
        forces_gates: Whether the rewrite forces gates.
        obstacle: What it asks for that no fused kernel computes; `None` if nothing.
    """

    wrapped: bool = False
    rewritten: bool = False
    forces_gates: bool = False
    obstacle: Obstacle | None = None


@dataclass(frozen=True)
class KernelChoice:
    """The kernel of a layer's training step.

    Attributes:
        kernel: `"cuDNN"`, `"fused CPU op"` (outside XLA), or `"step loop"`; `"error"` where the layer
            insists on cuDNN and cannot have it; `"unknown"` for a subclass with a `call` of its own.
        obstacles: What keeps it off cuDNN here; empty if it runs there.
        on_gpu: `"cuDNN"`, or why it would not run there with a GPU in sight.
        note: What holds on cuDNN but is decided for each batch; mostly empty.
    """

    kernel: str
    obstacles: tuple[Obstacle, ...]
    on_gpu: str
    note: str = ""


def gpu_in_sight() -> bool:
    """Whether Keras's backend would use cuDNN for a layer that suits it."""
    return bool(
        _hooks.cudnn_ok(
            activation=keras.activations.tanh,
            recurrent_activation=keras.activations.sigmoid,
            unroll=False,
            use_bias=True,
        )
    )


def kernel_of(layer: Layer, rewriting: Rewriting, *, masked: bool = False) -> KernelChoice:
    """Tells which kernel a layer's training step takes here, and why.

    Args:
        layer: Any Keras RNN layer; not a `Bidirectional`, but each of its directions.
        rewriting: What the dropout technique does to its kernel call.
        masked: Whether a mask reaches the layer.

    Returns:
        The kernel, what keeps the layer off cuDNN here, and what it would run on with a GPU.
    """
    if cell_of(layer) is None and isinstance(layer, (keras.layers.LSTM, keras.layers.GRU)):
        own = Obstacle(f"{type(layer).__name__} has a `call` of its own, whose kernel is not known")
        return KernelChoice(UNKNOWN, (own,), UNKNOWN)
    lasting = tuple(_lasting_obstacles(layer, rewriting.obstacle, masked))
    on_gpu = "; ".join(obstacle.reason for obstacle in lasting) or CUDNN
    passing = () if gpu_in_sight() else (_no_gpu(),)
    if lasting or passing:
        insists = getattr(layer, "use_cudnn", "auto") is True
        insisting = (_INSISTS,) if insists else ()
        kernel = ERROR if insists else _kernel_off_cudnn(layer, rewriting, masked)
        return KernelChoice(kernel, (*lasting, *passing, *insisting), on_gpu)
    return KernelChoice(CUDNN, (), on_gpu, _mask_note(layer, masked, rewriting.wrapped))


def _kernel_off_cudnn(layer: Layer, rewriting: Rewriting, masked: bool) -> str:
    """Asks the engine, with a call that has what its choice depends on, and no data."""
    cell = cell_of(layer)
    if cell is None or not rewriting.rewritten:
        return STEP_LOOP
    width = (4 if cell == "lstm" else 3) * layer.units
    probe = KernelCall(
        cell=cell,
        sequences=None,
        initial_state=(),
        kernel=keras.KerasTensor((1, width), dtype=layer.cell.compute_dtype),
        recurrent_kernel=keras.KerasTensor((layer.units, width), dtype=layer.cell.compute_dtype),
        mask=True if masked else None,
        forcings=(GateForcing(bits=None, gates=()),) if rewriting.forces_gates else (),
        state_noise=True if rewriting.obstacle else None,
    )
    return FUSED_CPU if block_lstm_can_run(probe, layer) else STEP_LOOP


_INSISTS = Obstacle(
    "use_cudnn=True insists on cuDNN, so a training step raises an error",
    'pass use_cudnn="auto"',
)


def _no_gpu() -> Obstacle:
    backend = keras.backend.backend()
    return Obstacle(
        f"no GPU is seen by Keras's {backend} backend",
        f"use a machine with a GPU, and a {backend} built for it",
    )


def _mask_note(layer: Layer, masked: bool, wrapped: bool) -> str:
    if not masked or not cudnn_takes_masks(layer):
        return ""
    if wrapped:
        return "a batch whose mask is not right-padded takes the step loop"
    return "Keras stops with an error at a batch whose mask is not right-padded"


def _lasting_obstacles(
    layer: Layer, technique: Obstacle | None, masked: bool
) -> Iterator[Obstacle]:
    """What keeps a layer off cuDNN on every machine: the conditions of `_select`, one by one."""
    cell = cell_of(layer)
    if cell is None:
        yield Obstacle("cuDNN has no kernel for this cell in Keras", "use an LSTM or a GRU")
        return
    if technique is not None:
        yield technique
    backend = keras.backend.backend()
    if cell == "gru" and backend == "jax":
        yield Obstacle(
            "Keras's jax backend has no cuDNN kernel for the GRU",
            "use an LSTM, or the tensorflow or torch backend",
        )
    if backend == "jax" and layer.cell.compute_dtype in ("float16", "bfloat16"):
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
    """The options of the layer itself that cuDNN does not have."""
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
    """Whether Keras takes an activation for the function of that name."""
    backend = keras.backend.backend()
    taken = [getattr(keras.activations, name), getattr(keras.ops, name)]
    if backend in _BACKEND_MODULES and activation not in taken:
        taken.append(getattr(import_module(_BACKEND_MODULES[backend]), name, None))
    return activation in taken
