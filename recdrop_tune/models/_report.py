"""What `explain` returns: rows, as objects, as text, and as a data frame."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LayerExplanation:
    """One recurrent layer: what drops in it, and which kernel its training step takes.

    Attributes:
        name: Path of the layer in the model, joined by `/`.
        cell: `"LSTM"`, `"GRU"`, or the class of another recurrent layer.
        technique: Id of the technique; `"none"` without dropout, `"native"` for Keras's own too.
        placement: The sites, joined by `+`; empty without dropout.
        rate: The configured rates, as text: one number, or one for each site.
        shares_mask: Who shares a mask, in words.
        kernel: What the training step runs on here: `"cuDNN"`, `"fused CPU op"`, `"step loop"`,
            `"error"` (it insists on cuDNN in vain) or `"unknown"`.
        why: Why it is not cuDNN here, or a remark on the kernel; empty if there is nothing to say.
        change: What to change to have it on cuDNN; empty if there is nothing to change.
        on_gpu: `"cuDNN"` if it would run there on a machine with a GPU, or why it would not.
    """

    name: str
    cell: str
    technique: str
    placement: str
    rate: str
    shares_mask: str
    kernel: str
    why: str
    change: str
    on_gpu: str


_COLUMNS = (
    "layer",
    "cell",
    "technique",
    "placement",
    "rate",
    "shares a mask",
    "kernel",
    "on a GPU",
)


@dataclass(frozen=True)
class Explanation:
    """The recurrent layers of a model; `str()` gives a table with notes beneath it.

    Attributes:
        rows: One for each recurrent layer, one for each direction of a `Bidirectional`.
    """

    rows: tuple[LayerExplanation, ...]

    def to_frame(self) -> pd.DataFrame:
        """Returns the rows as a pandas data frame, one column for each attribute."""
        import pandas as pd

        columns = list(LayerExplanation.__dataclass_fields__)
        return pd.DataFrame([asdict(row) for row in self.rows], columns=columns)

    def __str__(self) -> str:
        if not self.rows:
            return "No recurrent layer in this model."
        notes = _notes(self.rows)
        table = [_COLUMNS, *(_cells(row, notes) for row in self.rows)]
        widths = [max(len(line[i]) for line in table) for i in range(len(_COLUMNS))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in table
        ]
        return "\n".join([*lines, *(f"[{number}] {note}" for note, number in notes.items())])


def _note(row: LayerExplanation) -> str:
    return f"{row.why}. To change it: {row.change}." if row.change else f"{row.why}."


def _notes(rows: tuple[LayerExplanation, ...]) -> dict[str, int]:
    """Numbers the notes: rows with the same one share it."""
    notes: dict[str, int] = {}
    for row in rows:
        if row.why:
            notes.setdefault(_note(row), len(notes) + 1)
    return notes


def _cells(row: LayerExplanation, notes: dict[str, int]) -> tuple[str, ...]:
    kernel = f"{row.kernel} [{notes[_note(row)]}]" if row.why else row.kernel
    on_gpu = row.on_gpu if row.on_gpu in ("cuDNN", "unknown") else "not cuDNN"
    dash = (row.placement or "-", row.rate or "-", row.shares_mask or "-")
    return (row.name, row.cell, row.technique, *dash, kernel, on_gpu)
