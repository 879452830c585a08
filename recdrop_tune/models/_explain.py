"""Which recurrent layers a model has, what drops in them, and on which kernel they train."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from recdrop_tune.engine._explain import CUDNN, KernelChoice, Rewriting, kernel_of
from recdrop_tune.models._report import Explanation, LayerExplanation
from recdrop_tune.models._techniques import PER_GATE, native_sharing, rewriting_of, sharing_of
from recdrop_tune.models._walk import check_layer, children
from recdrop_tune.wrappers import AbstractDropoutWrapper


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
