"""`ExtendedHyperModel`: the one stand-in for a hypermodel, and what it may add to building and training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import keras_tuner

from recdrop_tune import models


class Extension:
    """What is added to a hypermodel. This one adds nothing; its methods are there to be overridden."""

    def build(self, build: Callable[[Any], Any], hp: Any) -> Any:
        """Builds a model.

        Args:
            build: Builds it without this extension.
            hp: The hyperparameters.
        """
        return build(hp)

    def fit(self, fit: Callable[..., Any], hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits a model; the caller's list of callbacks stays as it is.

        Args:
            fit: Fits it without this extension.
            hp: The hyperparameters.
            model: The model.
            *args: Positional arguments of `Model.fit`.
            **kwargs: Its other arguments.
        """
        return fit(hp, model, *args, **kwargs)

    def on_replace(self, built: Any, model: Any) -> None:
        """Is told that another model of the same structure will be fitted in the place of one that was built.

        Args:
            built: What `build` has returned.
            model: What `fit` will get.
        """


E = TypeVar("E", bound=Extension)


class ExtendedHyperModel(keras_tuner.HyperModel):
    """Stands in for a hypermodel, hands everything on, and adds what its extensions add.

    Attributes:
        hypermodel: A `keras_tuner.HyperModel`, or a function that builds a model from `hp`.
        extensions: The extensions, each around those before it.
    """

    def __init__(self, hypermodel: Any, extensions: Iterable[Extension]) -> None:
        super().__init__()
        self.hypermodel = hypermodel
        self.extensions = tuple(extensions)

    def extension(self, kind: type[E]) -> E | None:
        """Returns the extension of a kind, if there is one."""
        return next((each for each in self.extensions if isinstance(each, kind)), None)

    def build(self, hp: Any) -> Any:
        """Builds the model."""
        build = self.hypermodel.build if self._has_methods else self.hypermodel
        for each in self.extensions:
            build = partial(each.build, build)
        return build(hp)

    def declare_hyperparameters(self, hp: Any) -> None:
        """Declares hyperparameters, if the hypermodel does."""
        if isinstance(self.hypermodel, keras_tuner.HyperModel):
            self.hypermodel.declare_hyperparameters(hp)

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits the model."""
        fit = fit_of(self.hypermodel) if self._has_methods else _fit
        for each in self.extensions:
            fit = partial(each.fit, fit)
        return fit(hp, model, *args, **kwargs)

    def on_replace(self, built: Any, model: Any) -> None:
        """Tells the extensions that `model` will be fitted in the place of `built`."""
        for each in self.extensions:
            each.on_replace(built, model)

    @property
    def _has_methods(self) -> bool:
        known = isinstance(self.hypermodel, keras_tuner.HyperModel)
        return known or not callable(
            self.hypermodel
        )  # A tuner of one's own may have anything there.

    def __getattr__(self, name: str) -> Any:
        if (
            name.startswith("__") or name == "hypermodel"
        ):  # Copying looks for them before they are there.
            raise AttributeError(name)
        return getattr(self.hypermodel, name)


def fit_of(hypermodel: Any) -> Callable[..., Any]:
    """Returns the `fit` of a hypermodel, or of `super()` in one.

    In the place of Keras Tuner's own, which calls `Model.fit`, it is one that calls
    `recdrop_tune.models.fit`.
    """
    own: Callable[..., Any] = hypermodel.fit
    is_keras_tuners = getattr(own, "__func__", None) is keras_tuner.HyperModel.fit
    return _fit if is_keras_tuners else own


def has_own_fit(hypermodel: Any) -> bool:
    """Returns whether a hypermodel has a user-defined `fit`."""
    fit = getattr(type(unextended(hypermodel)), "fit", None)
    package = str(getattr(fit, "__module__", "")).partition(".")[0]
    return fit is not None and package not in ("keras_tuner", "recdrop_tune")


def _fit(hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    return models.fit(model, *args, **kwargs)


def extended(hypermodel: Any, extension: Extension) -> ExtendedHyperModel:
    """Returns a stand-in for a hypermodel; of one that stands in already, another one with all extensions."""
    if isinstance(hypermodel, ExtendedHyperModel):
        return ExtendedHyperModel(hypermodel.hypermodel, [*hypermodel.extensions, extension])
    return ExtendedHyperModel(hypermodel, [extension])


def tell_replaced(hypermodel: Any, built: Any, model: Any) -> None:
    """Tells a hypermodel with extensions that another model is fitted in the place of one that it built."""
    if isinstance(hypermodel, ExtendedHyperModel):
        hypermodel.on_replace(built, model)


def unextended(hypermodel: Any) -> Any:
    """Returns what an `ExtendedHyperModel` stands in for; anything else as it is."""
    return hypermodel.hypermodel if isinstance(hypermodel, ExtendedHyperModel) else hypermodel
