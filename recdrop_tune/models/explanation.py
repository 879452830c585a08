"""`explain`: the recurrent layers of a model, their dropout, and the kernel that trains them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any

import keras

from recdrop_tune.kernels import Rewriting, kernel_of, sublayers
from recdrop_tune.models.layers import check_layer
from recdrop_tune.models.masks import is_masked
from recdrop_tune.wrappers import (
    AbstractDropoutWrapper,
    ConcreteDropoutWrapper,
    LockedDropout,
    NativeDropoutWrapper,
    RecurrentWrapper,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LayerExplanation:
    """One recurrent layer: its dropout, and the kernel of its training step.

    Attributes:
        name: Path of the layer in the model, joined by `/`.
        cell: `"LSTM"`, `"GRU"`, or the class of another recurrent layer.
        technique: Id of the technique: `"none"` without dropout, `"native"` for Keras's own.
        placement: The sites, joined by `+`; empty without dropout.
        rate: The configured rates as text: one number, or one for each site. For learned rates, their
            current values.
        shares_mask: Who shares a mask, in words.
        decay: The decays of its activations as text, such as `"activity 2, temporal 1"`, or empty.
        kernel: The kernel of the training step on this machine: `"cuDNN"`, `"fused CPU op"`, `"step loop"`,
            `"error"` (it requires cuDNN, which is not possible) or `"unknown"`.
        why: Why it is not cuDNN here, and not a fused CPU op; or a note on the kernel. Can be empty.
        change: How to get cuDNN; empty if nothing helps.
        on_gpu: `"cuDNN"`, or why it would not run on cuDNN on a machine with a GPU.
    """

    name: str
    cell: str
    technique: str
    placement: str
    rate: str
    shares_mask: str
    decay: str
    kernel: str
    why: str
    change: str
    on_gpu: str


_NONE = "No recurrent layer in this model."


@dataclass(frozen=True)
class Explanation:
    """The recurrent layers of a model. `str()` and notebooks show a table with notes.

    Attributes:
        rows: One for each recurrent layer, one for each direction of a `Bidirectional`.
        decays: The decays of each `LockedDropout` that has some, by its path.
    """

    rows: tuple[LayerExplanation, ...]
    decays: Mapping[str, str] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """Returns the rows as a pandas data frame, one column for each attribute."""
        import pandas as pd

        columns = list(LayerExplanation.__dataclass_fields__)
        return pd.DataFrame([asdict(row) for row in self.rows], columns=columns)

    def __str__(self) -> str:
        table, notes = self._table()
        lines = [list(table[0]), *(list(row.values()) for row in table)] if table else [[_NONE]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = [map(str.ljust, line, widths) for line in lines]
        return "\n".join([*("  ".join(line).rstrip() for line in padded), *notes])

    def _repr_html_(self) -> str:
        """Returns the table for a notebook."""
        import pandas as pd

        table, notes = self._table()
        below = [escape(note) for note in notes]
        if not table:
            return f"<p>{'<br>'.join([_NONE, *below])}</p>"
        html = pd.DataFrame(table).to_html(index=False, border=0)
        return f"{html}\n<p>{'<br>'.join(below)}</p>"

    def _table(self) -> tuple[list[dict[str, str]], list[str]]:
        """Returns the rows of the table, and the notes below it. Equal notes share a number."""
        table, numbers = [], dict[str, int]()
        for row in self.rows:
            kernel = row.kernel
            if row.why:
                note = f"{row.why}. To change it: {row.change}." if row.change else f"{row.why}."
                kernel += f" [{numbers.setdefault(note, len(numbers) + 1)}]"
            decay = {"decay": row.decay or "-"} if any(each.decay for each in self.rows) else {}
            cells = {
                "layer": row.name,
                "cell": row.cell,
                "technique": row.technique,
                "placement": row.placement or "-",
                "rate": row.rate or "-",
                "shares a mask": row.shares_mask or "-",
                **decay,
                "kernel": kernel,
                "on a GPU": row.on_gpu if row.on_gpu in ("cuDNN", "unknown") else "not cuDNN",
            }
            table.append(cells)
        notes = [f"[{number}] {note}" for note, number in numbers.items()]
        notes += [f"Decay at the LockedDropout {name}: {w}." for name, w in self.decays.items()]
        return table, notes


def explain(model: Any) -> Explanation:
    """Explains the dropout of each recurrent layer, and the kernel of its training step.

    Nothing is run or changed. Recurrent layers are found in nested models, `Bidirectional`,
    `TimeDistributed`, and attributes of custom layers. Whether a layer is masked is read from the graph of a
    built Sequential or functional model; elsewhere no mask is assumed.

    Args:
        model: A Keras model, or a single layer.

    Returns:
        A table: `print(explain(model))`, `.rows`, or `.to_frame()`.

    Raises:
        InvalidArgumentError: `model` is not a Keras model or layer.

    Example:
        >>> import keras
        >>> from recdrop_tune.models import explain
        >>> from recdrop_tune.wrappers import RecurrentDropoutWrapper
        >>> layer = RecurrentDropoutWrapper(keras.layers.LSTM(8), rate=0.3)
        >>> (row,) = explain(layer).rows
        >>> row.technique, row.rate, row.on_gpu
        ('recurrent', '0.3', 'cuDNN')
    """
    check_layer(model)
    root = _Place(names=()) if isinstance(model, keras.Model) else _Place(names=(model.name,))
    placed = list(_found(model, root, set()))
    rows = tuple(_row(layer, at) for layer, at in placed if isinstance(layer, keras.layers.RNN))
    locked = ((layer, at) for layer, at in placed if isinstance(layer, LockedDropout))
    decays = {"/".join(at.names): w for layer, at in locked if (w := _decay_words(layer))}
    return Explanation(rows, decays)


@dataclass(frozen=True)
class _Place:
    """A layer's path in the model, the wrapper that runs it, and whether it is masked."""

    names: tuple[str, ...]
    wrapper: RecurrentWrapper | None = None
    masked: bool = False


def _found(layer: Any, place: _Place, seen: set[int]) -> Iterator[tuple[Any, _Place]]:
    """Yields each recurrent layer and each `LockedDropout` with its place."""
    if id(layer) in seen:  # A shared layer is listed once.
        return
    seen.add(id(layer))
    place = replace(place, masked=place.masked or is_masked(layer))
    if isinstance(layer, RecurrentWrapper):
        place = replace(place, wrapper=layer)
    if isinstance(layer, keras.layers.RNN | LockedDropout):
        yield layer, place
        return
    for child in sublayers(layer):
        # A wrapper and its layer share a name; a `Bidirectional` in it has two parts.
        same = isinstance(layer, RecurrentWrapper)
        names = place.names if same else (*place.names, child.name)
        yield from _found(child, replace(place, names=names), seen)


def _row(layer: Any, place: _Place) -> LayerExplanation:
    wrapper, cell = place.wrapper, type(layer).__name__
    dropping = wrapper if isinstance(wrapper, AbstractDropoutWrapper) else None
    dropout = _native(layer) if dropping is None else _wrapped(dropping)
    technique, placement, rate, sharing, rewriting = dropout
    rewriting = replace(rewriting, wrapped=wrapper is not None)
    choice = kernel_of(layer, rewriting, masked=place.masked)
    reasons = [*(obstacle.reason for obstacle in choice.obstacles), choice.note]
    if dropping is not None and dropping.inference_rewrite():
        reasons.append("inference computes an expectation in the step loop")
    return LayerExplanation(
        name="/".join(place.names),
        cell=f"RNN({type(layer.cell).__name__})" if cell == "RNN" else cell,
        technique=technique,
        placement=placement,
        rate=rate,
        shares_mask=sharing,
        decay="" if wrapper is None else _decay_words(wrapper),
        kernel=choice.kernel,
        why="; ".join(filter(None, reasons)),
        change="; ".join(dict.fromkeys(each.fix for each in choice.obstacles if each.fix)),
        on_gpu=choice.on_gpu,
    )


_Dropout = tuple[str, str, str, str, Rewriting]
"""A technique's id, placement, rates and mask sharing in words, and how it rewrites the call."""


def _wrapped(wrapper: AbstractDropoutWrapper) -> _Dropout:
    words = [_rate_words(wrapper.rate)]
    if isinstance(wrapper, ConcreteDropoutWrapper):
        short = {site: float(f"{rate:.3g}") for site, rate in wrapper.learned_rates.items()}
        words = [f"{_rate_words(short)}, learned"]
    words += [f"{n} {v:g}" for n, v in wrapper.configured_rates.items() if n not in wrapper.sites]
    rate, rewriting = ", ".join(words), wrapper.rewriting
    return wrapper.technique_id, wrapper.placement, rate, wrapper.shares_mask, rewriting


def _native(layer: Any) -> _Dropout:
    """Describes the layer's own arguments `dropout` and `recurrent_dropout`."""
    own = {
        site: float(rate)
        for site, argument in (("input", "dropout"), ("recurrent", "recurrent_dropout"))
        if (rate := getattr(layer, argument, 0.0))
    }
    if not own:
        return "none", "", "", "", Rewriting()
    sharing, obstacle = NativeDropoutWrapper.sharing(own)
    return "native", "+".join(own), _rate_words(own), sharing, Rewriting(obstacle=obstacle)


def _decay_words(layer: RecurrentWrapper | LockedDropout) -> str:
    decays = {"activity": layer.activity_decay, "temporal": layer.temporal_decay}
    return ", ".join(f"{name} {value:g}" for name, value in decays.items() if value)


def _rate_words(rate: float | dict[str, float]) -> str:
    """Writes one rate, or one for each site if they differ."""
    rates = rate if isinstance(rate, dict) else {"": rate}
    if len(set(rates.values())) == 1:
        return f"{next(iter(rates.values())):g}"
    return ", ".join(f"{site} {value:g}" for site, value in rates.items())
