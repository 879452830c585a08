"""Carries out the `schedule` that `dropout_rnn` asks for, which takes a callback in `fit`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import keras
import keras_tuner

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.hypermodels.extensions import ExtendedHyperModel, Extension, extended
from recdrop_tune.models import RateSchedule, dropout_layers

Asked = dict[str, str]
"""The schedule that a build asks for each dropout layer, by the layer's name."""

_asked: ContextVar[Asked | None] = ContextVar("recdrop_tune_asked", default=None)


def scheduled(hypermodel: Any) -> ExtendedHyperModel:
    """Makes `schedule` a dimension of the search for models built with `dropout_rnn`.

    A schedule moves rates while a model trains, which takes a callback, and a build function adds
    none. The hypermodel that this returns hands everything on and adds the callback to `fit`.
    `tune` does so by itself, and `SequenceClassifier` needs no help.

    Args:
        hypermodel: A function that builds a model from `hp`, or a `keras_tuner.HyperModel`; a `fit`
            of its own has to pass its `callbacks` on to `Model.fit`, or to call them itself.

    Raises:
        InvalidArgumentError: It is neither. In `fit`: a layer that `dropout_rnn` gave is not in the
            model, no callback was called, or there is a `RateSchedule` besides.

    Example:
        >>> import keras_tuner
        >>> space = {"wrapper": ["none", "recurrent"], "schedule": ["constant", "curriculum"]}
        >>> def build(hp):
        ...     layer = recdrop_tune.dropout_rnn(hp, keras.layers.LSTM(64), space=space)
        ...     ...
        >>> tuner = keras_tuner.RandomSearch(recdrop_tune.scheduled(build), "val_loss")
    """
    if isinstance(hypermodel, ExtendedHyperModel) and hypermodel.extension(Schedules):
        return hypermodel
    is_hypermodel = isinstance(hypermodel, keras_tuner.HyperModel)
    if not is_hypermodel and (isinstance(hypermodel, type) or not callable(hypermodel)):
        raise invalid_argument(
            "hypermodel",
            expected="a keras_tuner.HyperModel or a function that builds a model from `hp`",
            received=hypermodel,
        )
    return extended(hypermodel, Schedules())


def ask(layer: Any, schedule: str) -> None:
    """Notes the schedule of a layer that is being built, for the `fit` that comes after."""
    asked = _asked.get()
    if asked is not None:
        asked[layer.name] = schedule


def can_ask() -> bool:
    """Says whether someone carries out the schedules of what is being built."""
    return _asked.get() is not None


class Schedules(Extension):
    """Notes the schedules that a build asks for, and adds them to the `fit`. See `scheduled`."""

    def __init__(self) -> None:
        self._schedules: WeakKeyDictionary[Any, Asked] = WeakKeyDictionary()

    def build(self, build: Callable[[Any], Any], hp: Any) -> Any:
        """Builds the model and notes the schedules that it asks for."""
        with _asking() as asked:
            model = build(hp)
        if asked:
            self._schedules[model] = asked
        return model

    def fit(self, fit: Callable[..., Any], hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits the model with its schedules."""
        asked = self._schedules.get(model)
        if not asked:
            return fit(hp, model, *args, **kwargs)
        moving, seen = _by_schedule(model, asked), _Epochs()
        callbacks = [*with_schedules(kwargs.pop("callbacks", None), moving), seen]
        result = fit(hp, model, *args, callbacks=callbacks, **kwargs)
        if moving and not seen.count:
            raise InvalidArgumentError(
                f"No rate moved by {', '.join(moving)}: the `fit` of the hypermodel called no "
                "callbacks. Pass its `callbacks` on to `model.fit`, or hand them to a "
                "`keras.callbacks.CallbackList` and call that as `model.fit` does."
            )
        return result

    def on_replace(self, built: Any, model: Any) -> None:
        """Gives a model the schedules that were asked for another one, which it stands in for."""
        self._schedules[model] = self._schedules.get(built, {})

    def __reduce__(self) -> Any:
        """Goes to another process without what it knows of models, for those do not go there."""
        return Schedules, ()


def with_schedules(
    callbacks: Iterable[Any] | None, layers: Mapping[str, list[Any] | None]
) -> list[Any]:
    """Returns the callbacks of a `fit`, and one for each schedule that moves a rate.

    Args:
        callbacks: The callbacks so far.
        layers: What each schedule moves; `None` for all layers of the model. May be empty.

    Raises:
        InvalidArgumentError: There is a `RateSchedule` among the callbacks, which would move the
            same rates.
    """
    given = list(callbacks or ())
    for callback in given:
        if isinstance(callback, RateSchedule):
            raise invalid_argument(
                "callbacks",
                expected="no RateSchedule where the search space has a `schedule`",
                received=callback,
                fix="Leave out one of the two.",
            )
    return [*given, *(RateSchedule(name, layers=chosen) for name, chosen in layers.items())]


@contextmanager
def _asking() -> Iterator[Asked]:
    asked: Asked = {}
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


def _by_schedule(model: Any, asked: Asked) -> dict[str, list[Any]]:
    """Finds the layers of the model whose rates move, by their schedule."""
    found: dict[str, list[Any]] = defaultdict(list)
    layers = dropout_layers(model)
    for name, schedule in asked.items():
        if schedule == "constant":
            continue
        # A `Bidirectional` around the layer makes two of it, of these names.
        names = (name, f"forward_{name}", f"backward_{name}")
        chosen = [layer for layer in layers if layer.name in names]
        if not chosen:
            raise invalid_argument(
                "model",
                expected=f"one with the layer `{name}`, which `dropout_rnn` gave and whose rate "
                f"moves by the schedule `{schedule}`",
                received=[layer.name for layer in layers],
            )
        found[schedule] += chosen
    return found


class _Epochs(keras.callbacks.Callback):
    """Counts the epochs that callbacks are told of, once they are told that training begins."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._begun = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Begins to count."""
        self._begun = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Counts an epoch."""
        self.count += self._begun
