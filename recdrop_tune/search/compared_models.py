"""The models that `compare_models` compares, as one hypermodel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.errors import (
    InvalidArgumentError,
    RecdropError,
    invalid_argument,
    is_name,
    warn_caller,
)
from recdrop_tune.models import ModelCopies
from recdrop_tune.search.data_check import check_data, loss_name, reported_metrics
from recdrop_tune.search.references import model_named

MODEL = "model"
"""The hyperparameter with the name of a model."""


class ComparedModels(kt.HyperModel):
    """Models by name: compiled ones, which are copied, or functions that build one.

    Its only hyperparameter is which of them. The `baseline`, by default the first, comes first in `builders`.
    """

    def __init__(self, models: Mapping[str, Any], baseline: str | None) -> None:
        super().__init__()
        if not isinstance(models, Mapping) or len(models) < 2:
            raise invalid_argument(
                "models",
                expected="a dict of at least two models by name, such as {'plain': plain, 'zoneout': zoned}",
                received=[*models] if isinstance(models, Mapping) else models,
            )
        for name in models:
            if not isinstance(name, str) or not is_name(name):
                expected = "names of at most 500 characters, in one line"
                raise invalid_argument("models", expected=expected, received=name)
        baseline = next(iter(models)) if baseline is None else baseline
        if baseline not in models:
            expected = f"one of {', '.join(models)}"
            raise invalid_argument("baseline", expected=expected, received=baseline)
        names = dict.fromkeys([baseline, *models])
        self.builders = {name: _builder(name, model_named(models[name])) for name in names}
        self.descriptions: dict[str, str] = {}

    def build(self, hp: Any) -> keras.Model:
        """Builds the model that `hp` names."""
        return self.build_one(hp.Choice(MODEL, list(self.builders)))

    def build_one(self, name: str) -> keras.Model:
        """Builds the model of a name.

        Raises:
            RecdropError: Its function fails, or builds something else than a compiled model.
        """
        try:
            model = self.builders[name]()
        except Exception as error:  # Anything in a user's function.
            what = f"The model `{name}` cannot be built: {type(error).__name__}: {error}"
            raise RecdropError(what) from error
        return _check_compiled(name, model)

    def check(
        self, metric: str, is_logged: bool, parts: Mapping[str, Any], batch_size: int, fit: Any
    ) -> None:
        """Checks before the first training that each model can be trained on the data and scored.

        If `is_logged`, a callback can report the metric, so it is not checked.
        """
        losses = {}
        for name in self.builders:
            model, other = self.build_one(name), self.build_one(name)
            if other is model:
                raise invalid_argument(
                    f"models[{name!r}]",
                    expected="a function that builds a new model each time",
                    received="one that returns the same model, which would be trained on and on",
                )
            self.descriptions[name] = _describe(model, other)
            try:
                check_data(parts, model, batch_size, fit)
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"Model `{name}`: {error}") from error
            reported = None if is_logged else reported_metrics(model)
            if reported and metric.removeprefix("val_") not in reported:
                raise invalid_argument(
                    "metric",
                    expected=f"one that the model `{name}` reports: {', '.join(sorted(reported))}",
                    received=metric,
                    fix="With validation data, these are also there with `val_`.",
                )
            losses[name] = loss_name(model.loss)
        if metric in ("loss", "val_loss") and len(set(losses.values())) > 1:
            words = ", ".join(f"`{name}` {loss}" for name, loss in losses.items())
            warn_caller(
                f"The models are compiled with different losses ({words}), so `{metric}` is not the same "
                "measure for all of them. Pass another `metric`, which each of them reports."
            )

    def description(self) -> dict[str, Any]:
        """Returns what tells this comparison from another one, once its models were checked."""
        names = [*self.builders]
        return {"baseline": names[0], "order": names, "models": self.descriptions}


def _builder(name: str, model: Any) -> Callable[[], Any]:
    if isinstance(model, keras.Model):
        try:
            return ModelCopies(_check_compiled(name, model)).build
        except InvalidArgumentError as error:
            raise invalid_argument(
                f"models[{name!r}]",
                expected=error.expected,
                received=error.received,
                fix=error.fix if error.argument != "model" else "Give a function that builds it.",
            ) from error
    if callable(model) and not isinstance(model, type | keras.layers.Layer):
        return model  # type: ignore[no-any-return]
    expected = "a compiled Keras model, or a function that builds one"
    raise invalid_argument(f"models[{name!r}]", expected=expected, received=model)


def _check_compiled(name: str, model: Any) -> Any:
    if isinstance(model, keras.Model) and model.compiled:
        return model
    what = f"`{model.name}`, which is not compiled" if isinstance(model, keras.Model) else model
    raise invalid_argument(
        f"models[{name!r}]",
        expected="a compiled Keras model, or a function that builds one",
        received=what,
        fix="Compile it: `model.compile(optimizer, loss, metrics)`.",
    )


def _describe(*models: keras.Model) -> str:
    """Describes what a function builds, given two of its models: their layers, and a digest."""
    kinds = ", ".join(dict.fromkeys(type(layer).__name__ for layer in models[0].layers))
    for frozen in (True, False):  # Frozen weights can be random, and differ in each model.
        with suppress(Exception):  # Keras cannot copy every model.
            digest, *others = {ModelCopies(each).fingerprint(frozen) for each in models}
            if not others:
                return f"{kinds} (digest {digest})"
    return f"{type(models[0]).__qualname__} of {kinds}"
