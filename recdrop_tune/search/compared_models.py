"""The models that `compare_models` compares, as one hypermodel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.errors import RecdropError, invalid_argument, is_name
from recdrop_tune.models import ModelCopies
from recdrop_tune.search.references import model_named

MODEL = "model"
"""The hyperparameter with the name of a model."""


class ComparedModels(kt.HyperModel):
    """Models by name. Its only hyperparameter is which of them.

    Args:
        models: Compiled models, which are copied, or functions that build one.
        baseline: The name of the one that the others are compared with; None for the first.

    Attributes:
        builders: Functions that build them by name, the baseline first.

    Raises:
        InvalidArgumentError: There are fewer than two, one is neither, or there is no such baseline.
    """

    def __init__(self, models: Mapping[str, Any], baseline: str | None) -> None:
        super().__init__()
        if not isinstance(models, Mapping) or len(models) < 2 or not all(map(is_name, models)):
            raise invalid_argument(
                "models",
                expected="a dict of at least two models by name, such as {'plain': plain, 'zoneout': zoned}",
                received=[*models] if isinstance(models, Mapping) else models,
            )
        baseline = next(iter(models)) if baseline is None else baseline
        if baseline not in models:
            expected = f"one of {', '.join(models)}"
            raise invalid_argument("baseline", expected=expected, received=baseline)
        names = dict.fromkeys([baseline, *models])
        self.builders = {name: _builder(name, model_named(models[name])) for name in names}

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

    def description(self) -> dict[str, Any]:
        """Returns what tells this comparison from another one."""
        return {name: _describe(builder) for name, builder in self.builders.items()}


def _builder(name: str, model: Any) -> Callable[[], Any]:
    if isinstance(model, keras.Model):
        return ModelCopies(_check_compiled(name, model)).build
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


def _describe(builder: Callable[[], Any]) -> str:
    copies = getattr(builder, "__self__", None)
    if isinstance(copies, ModelCopies):
        return f"model {copies.digest()}"
    return f"function {builder.__module__}.{getattr(builder, '__qualname__', type(builder))}"
