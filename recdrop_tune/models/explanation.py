"""Which recurrent layers a model has, what drops in them, and on which kernel they train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import keras

from recdrop_tune.kernels import CUDNN, KernelChoice, Obstacle, Rewriting, kernel_of
from recdrop_tune.models.layers import check_layer, children
from recdrop_tune.wrappers import AbstractDropoutWrapper

if TYPE_CHECKING:
    import pandas as pd


# What `explain` returns: rows, as objects, as text, and as a data frame.


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


# What `explain` says of each technique: who shares a mask, and what keeps it off cuDNN.

PER_GATE = Obstacle(
    "each sample and gate has noise of its own, which no fused kernel can take",
    "use the wrapper `recurrent` or `variational`",
)
_KEEPS_H = Obstacle(
    "no gate keeps an LSTM's h, so hidden_rate above 0 takes a step loop",
    "pass hidden_rate=0 and zone out the cell alone",
)


def rewriting_of(wrapper: AbstractDropoutWrapper) -> Rewriting:
    """What a wrapper does to its layer's kernel call in training."""
    return Rewriting(
        wrapped=True,
        rewritten=bool(set(wrapper.sites) & set(wrapper.rewritten_sites)),
        forces_gates="recurrent" in wrapper.sites and wrapper.technique_id in _FORCES_GATES,
        obstacle=_obstacle_of(wrapper),
    )


_FORCES_GATES = ("recurrent", "zoneout")


def _obstacle_of(wrapper: AbstractDropoutWrapper) -> Obstacle | None:
    """What a wrapper's technique does in training that cuDNN cannot; `None` if nothing."""
    if wrapper.technique_id == "native" and "recurrent" in wrapper.sites:
        return PER_GATE
    if getattr(wrapper, "hidden_rate", 0.0) > 0.0:
        return _KEEPS_H
    return None


def sharing_of(wrapper: AbstractDropoutWrapper) -> str:
    """Says in words who shares a mask."""
    return _SHARING[wrapper.technique_id](wrapper)


def native_sharing(recurrent: bool) -> str:
    """Who shares a mask of Keras's own `dropout` and `recurrent_dropout`."""
    return "all steps of a sample, not its gates" if recurrent else "all steps of a sample"


def _recurrent(wrapper: Any) -> str:
    return "nobody: one per sample and step" if wrapper.per_step else "all steps of a sample"


def _lambda(wrapper: Any) -> str:
    if isinstance(wrapper.function, str):
        return "nobody: one per sample and step"
    return "as the mask function draws"


def _variational(wrapper: Any) -> str:
    if "recurrent" not in wrapper.sites:
        return "all steps of a sample"
    groups = wrapper.mask_groups
    samples = "the batch" if groups == 1 else f"a {groups}th of the batch"
    if groups in (2, 3):
        samples = {2: "half the batch", 3: "a third of the batch"}[groups]
    gates = "" if wrapper.tied_gates else ", not its gates"
    rest = "; input and output: of a sample" if len(wrapper.sites) > 1 else ""
    return f"all steps of {samples}{gates}{rest}"


def _fixed(words: str) -> Callable[[Any], str]:
    return lambda wrapper: words


_SHARING: dict[str, Callable[[Any], str]] = {
    "native": lambda wrapper: native_sharing("recurrent" in wrapper.sites),
    "recurrent": _recurrent,
    "variational": _variational,
    "weight_drop": _fixed("all samples and steps of a batch"),
    "zoneout": _fixed("nobody: one per sample and step"),
    "time_distributed": _fixed("nobody: one per sample and step"),
    "lambda": _lambda,
}


def explain(model: Any) -> Explanation:
    """Tells what drops in each recurrent layer, and which kernel its training step takes.

    Nothing is run and nothing is changed. Recurrent layers are found wherever they are: in nested
    models, inside and outside `Bidirectional`, in `TimeDistributed`, in the attributes of custom
    layers. Whether a mask reaches a layer is read off the graph of a Sequential or functional model that
    has been built; elsewhere none is assumed.

    Args:
        model: A Keras model, or a single layer.

    Returns:
        A table: `print(explain(model))`, `.rows`, or `.to_frame()`.

    Raises:
        InvalidArgumentError: It is not a Keras model or layer.

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
    return Explanation(tuple(_rows(model, root, set())))


@dataclass(frozen=True)
class _Place:
    """Where in a model a layer stands: its path, the wrapper that runs it, and whether it is masked."""

    names: tuple[str, ...]
    wrapper: AbstractDropoutWrapper | None = None
    masked: bool = False


def _rows(layer: Any, place: _Place, seen: set[int]) -> Iterator[LayerExplanation]:
    if id(layer) in seen:  # a layer that is used at several places has one set of weights
        return
    seen.add(id(layer))
    place = replace(place, masked=place.masked or _is_masked(layer))
    if isinstance(layer, AbstractDropoutWrapper):
        place = replace(place, wrapper=layer)
    if isinstance(layer, keras.layers.RNN):
        yield _row(layer, place)
        return
    for child in children(layer):
        # A wrapper around a layer is one thing to its user; a Bidirectional in it has two parts.
        same = isinstance(layer, AbstractDropoutWrapper)
        names = place.names if same else (*place.names, child.name)
        yield from _rows(child, replace(place, names=names), seen)


def _is_masked(layer: Any) -> bool:
    """Whether the model's graph brings a mask to the layer."""
    try:
        inputs = keras.tree.flatten(layer.input)
    except (AttributeError, ValueError):  # it stands in no graph
        return False
    # Where Keras keeps a tensor's mask: keras.io/guides/understanding_masking_and_padding
    return any(getattr(tensor, "_keras_mask", None) is not None for tensor in inputs)


def _row(layer: Any, place: _Place) -> LayerExplanation:
    wrapper = place.wrapper
    technique = _native(layer) if wrapper is None else _wrapped(wrapper)
    choice = kernel_of(layer, technique.rewriting, masked=place.masked)
    return LayerExplanation(
        name="/".join(place.names),
        cell=_cell_name(layer),
        technique=technique.id,
        placement=technique.placement,
        rate=technique.rate,
        shares_mask=technique.sharing,
        kernel=choice.kernel,
        why=_why(choice),
        change="; ".join(dict.fromkeys(o.fix for o in choice.obstacles if o.fix)),
        on_gpu=choice.on_gpu,
    )


def _why(choice: KernelChoice) -> str:
    if choice.kernel == CUDNN:
        return choice.note
    return "; ".join(obstacle.reason for obstacle in choice.obstacles)


@dataclass(frozen=True)
class _Technique:
    id: str = "none"
    placement: str = ""
    rate: str = ""
    sharing: str = ""
    rewriting: Rewriting = field(default_factory=Rewriting)


def _wrapped(wrapper: AbstractDropoutWrapper) -> _Technique:
    rate = _rate_words(wrapper.rate)
    hidden = getattr(wrapper, "hidden_rate", 0.0)
    return _Technique(
        wrapper.technique_id,
        wrapper.placement,
        f"{rate}, hidden {hidden:g}" if hidden else rate,
        sharing_of(wrapper),
        rewriting_of(wrapper),
    )


def _native(layer: Any) -> _Technique:
    """What the layer's own arguments `dropout` and `recurrent_dropout` do."""
    own = {
        site: float(rate)
        for site, argument in (("input", "dropout"), ("recurrent", "recurrent_dropout"))
        if (rate := getattr(layer, argument, 0.0))
    }
    if not own:
        return _Technique()
    recurrent = "recurrent" in own
    rates = own if len(set(own.values())) > 1 else next(iter(own.values()))
    rewriting = Rewriting(obstacle=PER_GATE if recurrent else None)
    sharing = native_sharing(recurrent)
    return _Technique("native", "+".join(own), _rate_words(rates), sharing, rewriting)


def _rate_words(rate: float | dict[str, float]) -> str:
    if isinstance(rate, dict):
        return ", ".join(f"{site} {value:g}" for site, value in rate.items())
    return f"{rate:g}"


def _cell_name(layer: Any) -> str:
    name = type(layer).__name__
    return f"RNN({type(layer.cell).__name__})" if name == "RNN" else name
