"""Applies the `schedule` of a space through a callback in `fit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import keras_tuner

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.hypermodels.extensions import ExtendedHyperModel, Extension, extended
from recdrop_tune.models import LayerSchedules, RateSchedule, dropout_layers
from recdrop_tune.spaces import DropoutSample, SearchSpace


def scheduled(hypermodel: Any) -> ExtendedHyperModel:
    """Makes `schedule` a dimension of the search for models built with `dropout_rnn`.

    A schedule changes rates during training, which needs a callback, and a build function adds none. The
    returned hypermodel adds the callback to `fit`, and delegates everything else. `tune` does the same
    automatically, and the hypermodels of this package do not need it.

    Args:
        hypermodel: A function that builds a model from `hp`, or a `keras_tuner.HyperModel`. Its own `fit`,
            if any, has to pass its `callbacks` to `Model.fit`, or call them.

    Raises:
        InvalidArgumentError: It is neither. In `fit`: no callback was called, or the callbacks contain a
            `RateSchedule`.

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


def set_schedule(root: Any, space: SearchSpace, sample: DropoutSample) -> None:
    """Sets the schedule of every dropout layer in a layer or model, if the space has schedules."""
    if space.schedule is not None:
        for layer in dropout_layers(root):
            layer.schedule = sample.schedule


def applies_schedules(hp: Any) -> bool:
    """Returns whether the model is built inside `scheduled`, which will apply schedules."""
    return getattr(hp, "applies_schedules", False)


class Schedules(Extension):
    """Applies the schedules of a model's layers in `fit`. See `scheduled`."""

    def build(self, build: Callable[[Any], Any], hp: Any) -> Any:
        """Builds the model."""
        before = applies_schedules(hp)  # The model can be built by another scheduled hypermodel.
        hp.applies_schedules = True
        try:
            return build(hp)
        finally:
            hp.applies_schedules = before

    def fit(self, fit: Callable[..., Any], hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits the model with the schedules of its layers."""
        kwargs["callbacks"] = with_schedules(kwargs.get("callbacks"), model)
        results = fit(hp, model, *args, **kwargs)
        for callback in kwargs["callbacks"]:
            if isinstance(callback, LayerSchedules) and not callback.began:
                raise InvalidArgumentError(
                    "The schedule was not applied: the `fit` of the hypermodel did not call its "
                    "`callbacks`. Pass them to `model.fit`."
                )
        return results


def with_schedules(callbacks: Any, model: Any) -> list[Any]:
    """Returns the callbacks of a `fit`, and one that applies the schedules of the model's layers.

    Raises:
        InvalidArgumentError: A callback of the user is a `RateSchedule`, which would change the same rates.
    """
    given = list(callbacks or ())
    # A user-defined `fit` can train other objects than Keras models.
    layers = dropout_layers(model) if isinstance(model, keras.layers.Layer) else []
    schedules = {layer.schedule for layer in layers} - {None}
    if not schedules or any(isinstance(callback, LayerSchedules) for callback in given):
        return given
    for callback in given:
        if isinstance(callback, RateSchedule):
            raise invalid_argument(
                "callbacks",
                expected="no RateSchedule, because the search space has a `schedule`",
                received=callback,
                fix="Remove one of the two.",
            )
    return given if schedules == {"constant"} else [*given, LayerSchedules()]
