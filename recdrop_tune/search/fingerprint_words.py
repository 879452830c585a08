"""The words of a fingerprint for what is an object: a loss, folds, the arguments of `fit`.

They are the same in each process, and of two objects that do the same where that can be told.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from numbers import Real
from typing import Any

import keras
import numpy as np

from recdrop_tune.hypermodels import AbstractHyperModel, ExistingModel
from recdrop_tune.kernels import lost_arguments
from recdrop_tune.tuner import GroupedFolds

_MOST = 80
"""Of what takes more characters than these there is a digest."""

_ADDRESS = re.compile(" at 0x[0-9a-fA-F]+")
"""Where an object lies in the memory of a process, as Python's own `repr` says it."""


def loss_in_words(hypermodel: Any) -> str | None:
    """Describes the loss that all models of a search have; `None` where only a function knows it.

    Args:
        hypermodel: The hypermodel, or the function that builds its models.

    Example:
        >>> loss_in_words(SequenceRegressor(1, (None, 3), loss=keras.losses.Huber(0.1)))
        'huber(delta=0.1)'
    """
    weights = None
    if isinstance(hypermodel, ExistingModel):
        compiled = hypermodel.blueprint.compiled or {}
        loss, weights = compiled.get("loss"), compiled.get("loss_weights")
    elif isinstance(hypermodel, AbstractHyperModel):
        loss = hypermodel.loss
    else:
        return None
    words = _in_words(loss, _loss)
    return words if weights is None else f"{words}, weights {_in_words(weights)}"


def _loss(loss: Any) -> str:
    """Describes one loss: its name, and those of its arguments that are not the usual ones."""
    if isinstance(loss, str):
        with suppress(ValueError):  # It is somebody's own.
            loss = keras.losses.get(loss)
    if isinstance(loss, partial):
        return _call(_loss(loss.func), loss.keywords)
    if not isinstance(loss, keras.losses.Loss):
        return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    # As Keras names the function that computes it.
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", type(loss).__name__).lower()
    return _call(name, _arguments(loss))


_USUAL = {"reduction": "sum_over_batch_size"}


def _arguments(loss: Any) -> dict[str, Any]:
    """Returns the arguments of a loss that are not the default ones."""
    config: dict[str, Any] = {}
    with suppress(Exception):  # A loss of the user's own, which cannot be written down.
        config = {**loss.get_config(), **lost_arguments(loss)}
    named = inspect.signature(type(loss).__init__).parameters
    found = {}
    for name in dict.fromkeys((*named, *config)):
        default = named[name].default if name in named else inspect.Parameter.empty
        default = _USUAL.get(name, default)
        value = getattr(loss, name, config.get(name, default))
        if name not in ("self", "name", "dtype") and _in_words(value) != _in_words(default):
            found[name] = value
    return found


def fit_in_words(fit: Mapping[str, Any]) -> str | None:
    """Describes the arguments of `fit` that are plain values and not the default ones.

    Args:
        fit: What `Training.fit` says. Arrays are data, of which a fingerprint knows nothing; the weights of
            classes have a place of their own in it.

    Example:
        >>> fit_in_words({"validation_split": 0.2, "shuffle": True})
        'validation_split=0.2'
    """
    usual = inspect.signature(keras.Model.fit).parameters
    said = {
        name: value
        for name, value in fit.items()
        if name != "class_weight"
        and _is_plain(value)
        and not (name in usual and _in_words(value) == _in_words(usual[name].default))
    }
    return ", ".join(_pairs(said)) or None


def folds_in_words(cv: Any) -> str | None:
    """Describes folds: their number, or a splitter as it describes itself or by its public attributes.

    Args:
        cv: What `Training.cv` says.
    """
    if cv is None:
        return None
    if isinstance(cv, GroupedFolds):
        return f"{folds_in_words(cv.cv)} by groups"
    kind: Any = type(cv)
    if kind.__repr__ is object.__repr__ and kind.__str__ is object.__str__:
        held = getattr(cv, "__dict__", {})
        public = {name: value for name, value in held.items() if not name.startswith("_")}
        return _call(kind.__name__, public, "()")
    return _ADDRESS.sub("", str(cv))


def _call(name: str, arguments: Mapping[str, Any], without: str = "") -> str:
    given = ", ".join(_pairs(arguments))
    return f"{name}({given})" if given else name + without


def _pairs(arguments: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_in_words(value)}" for name, value in sorted(arguments.items())]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | Real | np.bool_)


def _in_words(value: Any, of_part: Any = None) -> str:
    """Describes a value: equal numbers in one way, structures part by part, and no address.

    Args:
        value: The value.
        of_part: Describes what is no structure; by default as Python does.
    """
    if isinstance(value, Mapping):
        parts = (f"{key}: {_in_words(part, of_part)}" for key, part in value.items())
        text = f"{{{', '.join(sorted(parts))}}}"
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(_in_words(part, of_part) for part in value)}]"
    elif isinstance(value, set | frozenset):
        text = f"[{', '.join(sorted(_in_words(part, of_part) for part in value))}]"
    elif of_part is not None:
        return str(of_part(value))
    elif isinstance(value, np.ndarray | np.generic):
        return _in_words(value.tolist())
    elif isinstance(value, Real):
        text = str(value).removesuffix(".0")  # 1.0 is 1.
    else:
        text = _ADDRESS.sub("", getattr(value, "__name__", "") or repr(value))
    if len(text) <= _MOST or of_part is not None:
        return text
    return f"digest {hashlib.sha256(text.encode()).hexdigest()[:12]}"
