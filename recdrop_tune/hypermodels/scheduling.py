"""Applies the `schedule` requested by `dropout_rnn` through a callback in `fit`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import keras
import keras_tuner

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.hypermodels.extensions import ExtendedHyperModel, Extension, extended
from recdrop_tune.models import RateSchedule, dropout_layers

Requests = dict[str, str]
"""The schedule that a build function requests for each dropout layer, by the layer's name."""

_requests: ContextVar[Requests | None] = ContextVar("recdrop_tune_schedules", default=None)


def scheduled(hypermodel: Any) -> ExtendedHyperModel:
    """Makes `schedule` a dimension of the search for models built with `dropout_rnn`.

    A schedule changes rates during training, which needs a callback, and a build function adds none. The
    returned hypermodel adds the callback to `fit`, and delegates everything else. `tune` does the same
    automatically, and the hypermodels of this package do not need it.

    Args:
        hypermodel: A function that builds a model from `hp`, or a `keras_tuner.HyperModel`. Its own `fit`,
            if any, has to pass its `callbacks` to `Model.fit`, or call them.

    Raises:
        InvalidArgumentError: It is neither. In `fit`: a layer returned by `dropout_rnn` is not in the
            model, no callback was called, or the callbacks contain another `RateSchedule`.

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


def request_schedule(layer: Any, schedule: str) -> None:
    """Requests a schedule for a layer of the model that is being built."""
    requests = _requests.get()
    if requests is not None and requests.setdefault(layer.name, schedule) != schedule:
        raise invalid_argument(
            "model",
            expected="recurrent layers of different names, because each has its own `schedule`",
            received=layer.name,
        )


def can_request_schedules() -> bool:
    """Returns whether the model is built inside `scheduled`, which will apply schedules."""
    return _requests.get() is not None


class Schedules(Extension):
    """Records the schedules that a build requests, and applies them in `fit`. See `scheduled`."""

    def __init__(self) -> None:
        self._schedules: WeakKeyDictionary[Any, Requests] = WeakKeyDictionary()

    def build(self, build: Callable[[Any], Any], hp: Any) -> Any:
        """Builds the model and records its schedules."""
        requests: Requests = {}
        token = _requests.set(requests)
        try:
            model = build(hp)
        finally:
            _requests.reset(token)
        if requests:
            self._schedules[model] = requests
        return model

    def fit(self, fit: Callable[..., Any], hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits the model with its schedules."""
        requests = self._schedules.get(model)
        if not requests:
            return fit(hp, model, *args, **kwargs)
        moving, seen = _by_schedule(model, requests), _Epochs()
        callbacks = [*with_schedules(kwargs.pop("callbacks", None), moving), seen]
        result = fit(hp, model, *args, callbacks=callbacks, **kwargs)
        if moving and not seen.count:
            raise InvalidArgumentError(
                f"The schedule {', '.join(moving)} was not applied: the `fit` of the hypermodel did not "
                "call its `callbacks`. Pass them to `model.fit`."
            )
        return result

    def on_replace(self, built: Any, model: Any) -> None:
        """Gives `model` the schedules of `built`."""
        self._schedules[model] = self._schedules.get(built, {})

    def __reduce__(self) -> Any:
        """Is pickled without models, which stay in their process."""
        return Schedules, ()


def with_schedules(
    callbacks: Iterable[Any] | None, layers: Mapping[str, list[Any] | None]
) -> list[Any]:
    """Returns the callbacks of a `fit`, and one more for each schedule.

    Args:
        callbacks: The callbacks of the user.
        layers: The layers of each schedule; `None` for all layers of the model.

    Raises:
        InvalidArgumentError: A callback is a `RateSchedule`, which would change the same rates.
    """
    given = list(callbacks or ())
    for callback in given:
        if isinstance(callback, RateSchedule):
            raise invalid_argument(
                "callbacks",
                expected="no RateSchedule, because the search space has a `schedule`",
                received=callback,
                fix="Remove one of the two.",
            )
    return [*given, *(RateSchedule(name, layers=chosen) for name, chosen in layers.items())]


def _by_schedule(model: Any, requests: Requests) -> dict[str, list[Any]]:
    """Returns the layers of the model whose rates change, by their schedule."""
    found: dict[str, list[Any]] = defaultdict(list)
    layers = dropout_layers(model)
    for name, schedule in requests.items():
        if schedule == "constant":
            continue
        # A `Bidirectional` around the layer copies it under these names.
        names = (name, f"forward_{name}", f"backward_{name}")
        chosen = [layer for layer in layers if layer.name in names]
        if not chosen:
            raise invalid_argument(
                "model",
                expected=f"a model with the layer `{name}` that `dropout_rnn` returned, whose rate has "
                f"the schedule `{schedule}`",
                received=[layer.name for layer in layers],
            )
        found[schedule] += chosen
    return found


class _Epochs(keras.callbacks.Callback):
    """Counts epochs after `on_train_begin`, without which a `RateSchedule` does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._started = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts to count."""
        self._started = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Counts an epoch."""
        self.count += self._started
