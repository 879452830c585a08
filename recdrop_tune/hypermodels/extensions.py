"""How hypermodels train: with the schedule of their space, and with extensions around both methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import keras_tuner

from recdrop_tune import models
from recdrop_tune.errors import invalid_argument
from recdrop_tune.spaces import SearchSpace


class Extension:
    """An addition to a hypermodel. The base class adds nothing; override its methods."""

    def build(self, build: Callable[[Any], Any], hp: Any) -> Any:
        """Builds a model. `build` does so without this extension."""
        return build(hp)

    def fit(self, fit: Callable[..., Any], hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits a model. `fit` does so without this extension. The given list of callbacks is not changed."""
        return fit(hp, model, *args, **kwargs)


E = TypeVar("E", bound=Extension)


class ExtendedHyperModel(keras_tuner.HyperModel):
    """Delegates to a hypermodel or build function, with each extension around those before it."""

    def __init__(self, hypermodel: Any, extensions: Iterable[Extension]) -> None:
        super().__init__()
        self.hypermodel = hypermodel
        self.extensions = tuple(extensions)

    def extension(self, kind: type[E]) -> E | None:
        """Returns the extension of a class, or `None`."""
        return next((each for each in self.extensions if isinstance(each, kind)), None)

    def build(self, hp: Any) -> Any:
        """Builds the model."""
        build = self.hypermodel.build if self._is_hypermodel else self.hypermodel
        for extension in self.extensions:
            build = partial(extension.build, build)
        return build(hp)

    def declare_hyperparameters(self, hp: Any) -> None:
        """Declares hyperparameters, if the hypermodel does."""
        if self._is_hypermodel:
            self.hypermodel.declare_hyperparameters(hp)

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits the model."""
        fit = fit_of(self.hypermodel) if self._is_hypermodel else _fit
        for extension in self.extensions:
            fit = partial(extension.fit, fit)
        return fit(hp, model, *args, **kwargs)

    @property
    def _is_hypermodel(self) -> bool:
        return isinstance(self.hypermodel, keras_tuner.HyperModel)

    def __getattr__(self, name: str) -> Any:
        # `copy` looks for these before they exist.
        if name.startswith("__") or name == "hypermodel":
            raise AttributeError(name)
        return getattr(self.hypermodel, name)


def fit_of(hypermodel: Any) -> Callable[..., Any]:
    """Returns the `fit` of a hypermodel, or of `super()` in one; this package's for Keras Tuner's own."""
    own: Callable[..., Any] = hypermodel.fit
    is_keras_tuners = getattr(own, "__func__", None) is keras_tuner.HyperModel.fit
    return _fit if is_keras_tuners else own


def has_own_fit(hypermodel: Any) -> bool:
    """Returns whether a hypermodel has a user-defined `fit`."""
    fit = getattr(unextended(hypermodel), "fit", None)
    package = str(getattr(fit, "__module__", "")).partition(".")[0]
    return fit is not None and package not in ("keras_tuner", "recdrop_tune")


def _fit(hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    return models.fit(model, *args, **kwargs)


def extended(hypermodel: Any, extension: Extension) -> ExtendedHyperModel:
    """Returns a hypermodel with one more extension. The given one is not changed."""
    if isinstance(hypermodel, ExtendedHyperModel):
        return ExtendedHyperModel(hypermodel.hypermodel, [*hypermodel.extensions, extension])
    return ExtendedHyperModel(hypermodel, [extension])


def unextended(hypermodel: Any) -> Any:
    """Returns the hypermodel without its extensions."""
    return hypermodel.hypermodel if isinstance(hypermodel, ExtendedHyperModel) else hypermodel


class ScheduledHyperModel(keras_tuner.HyperModel):
    """A hypermodel that trains with the schedule of its space."""

    space: SearchSpace

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Trains the model with the schedule of the space, as `keras.Model.fit` does.

        The given list of callbacks is not changed. Afterwards, the model has the configured rates again.
        """
        callbacks = list(kwargs.get("callbacks") or ())
        if self.space.schedule:
            for callback in callbacks:
                if isinstance(callback, models.RateSchedule):
                    raise invalid_argument(
                        "callbacks",
                        expected="no RateSchedule, because the search space has a `schedule`",
                        received=callback,
                        fix="Remove one of the two.",
                    )
            callbacks.append(models.RateSchedule(self.space.schedule))
        return fit_of(super())(hp, model, *args, **{**kwargs, "callbacks": callbacks})
