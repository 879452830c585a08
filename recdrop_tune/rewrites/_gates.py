"""The only file that knows in which order Keras keeps the gates of a cell."""

from __future__ import annotations

from collections.abc import Mapping

from keras import ops

from recdrop_tune.rewrites._call import Cell, Tensor

GATES: dict[Cell, tuple[str, ...]] = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("update", "reset", "candidate"),
}
"""Gates of each cell in the order of the blocks of `kernel`, `recurrent_kernel` and `bias`."""


def split_gates(blocks: Tensor, cell: Cell) -> dict[str, Tensor]:
    """Splits `(..., gates * units)` into one `(..., units)` tensor per gate."""
    return dict(zip(GATES[cell], ops.split(blocks, len(GATES[cell]), axis=-1), strict=True))


def reorder_gates(blocks: Tensor, cell: Cell, order: tuple[str, ...]) -> Tensor:
    """Puts the blocks of `(..., gates * units)` into another order, for a kernel that wants it."""
    gates = split_gates(blocks, cell)
    return ops.concatenate([gates[gate] for gate in order], axis=-1)


def gate_columns(cell: Cell, units: int, values: Mapping[str, Tensor], default: float) -> Tensor:
    """Builds the vector `(gates * units,)` that holds one scalar per gate.

    Args:
        cell: `"lstm"` or `"gru"`.
        units: Units per gate.
        values: Scalars by gate name.
        default: The scalar of every gate that `values` does not name.
    """
    per_gate = ops.stack([ops.cast(values.get(gate, default), "float32") for gate in GATES[cell]])
    return ops.repeat(per_gate, units)


def forced_rows(cell: Cell, units: int, logits: Mapping[str, float], dtype: str) -> Tensor:
    """Builds constant kernel rows `(units, gates * units)`: a scaled identity per named gate.

    Appended to `kernel`, row `j` adds `logits[gate]` to the pre-activation of unit `j` of each gate.
    """
    eye = ops.eye(units, dtype=dtype)
    return ops.concatenate([eye * logits.get(gate, 0.0) for gate in GATES[cell]], axis=1)
