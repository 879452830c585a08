"""The hypermodel of a search by `tune`, and the check that its models report the objective."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.errors import (
    InvalidArgumentError,
    RecdropError,
    invalid_argument,
    suggestion,
    warn_caller,
)
from recdrop_tune.hypermodels import (
    AbstractHyperModel,
    ExistingModel,
    Extension,
    has_own_fit,
    infer_hypermodel,
    unextended,
)
from recdrop_tune.models import makes_masks
from recdrop_tune.search.data_check import check_data
from recdrop_tune.search.settings import Task
from recdrop_tune.spaces import SearchSpace


def as_hypermodel(hypermodel: Any, train: Any, space: object) -> tuple[Any, str]:
    """Returns the hypermodel of a search or the function that builds its models, and its space in words."""
    hypermodel = unextended(hypermodel)
    searched = "quick" if space is None else space
    if isinstance(hypermodel, Task):
        task = hypermodel
        hypermodel = infer_hypermodel(train, searched, task.name, **task.arguments())
    elif isinstance(hypermodel, keras.Model):
        hypermodel = ExistingModel(hypermodel, searched)
    elif space is not None:
        expected = "None with a function or a hypermodel, which defines its own space"
        raise invalid_argument("space", expected=expected, received=space)
    own_space = getattr(hypermodel, "space", None)
    if isinstance(own_space, SearchSpace):
        return hypermodel, own_space.to_yaml()
    if isinstance(hypermodel, kt.HyperModel):
        return hypermodel, f"hypermodel {_qualified(type(hypermodel))}"
    if callable(hypermodel) and not isinstance(hypermodel, type | keras.Layer):
        return hypermodel, f"function {_qualified(hypermodel)}"
    expected = "a Keras model, a function that builds one from `hp`, or a keras_tuner.HyperModel"
    raise invalid_argument("model", expected=expected, received=hypermodel)


_ELSEWHERE = {
    "epochs": "`epochs`",
    "batch_size": "`batch_size`",
    "verbose": "`verbose`",
    "callbacks": "`training=rdt.Training(callbacks=...)`",
    "x": "`train`",
    "y": "`train`",
    "validation_data": "`validation`",
}
"""The arguments of `Model.fit` that `tune` takes elsewhere."""


def check_fit_arguments(fit: Mapping[str, Any]) -> None:
    """Raises for an argument in `Training.fit` that would silently replace one of `tune`."""
    for name in fit.keys() & _ELSEWHERE.keys():  # The values can be data, too long for a message.
        raise InvalidArgumentError(
            f"Invalid argument `{name}` received in `fit`. Give {_ELSEWHERE[name]} to `tune`."
        )


def check_hypermodel_data(
    hypermodel: Any,
    parts: Mapping[str, Any],
    batch_size: int,
    fit: Mapping[str, Any],
    padding: float | None = None,
) -> keras.Model | None:
    """Checks data with one of the models of a hypermodel, and returns that; see `check_data`."""
    if has_own_fit(hypermodel):
        return None  # It may do anything with the data.
    model: Any = None
    with suppress(Exception):  # The search itself explains why a model cannot be built.
        build = hypermodel.build if isinstance(hypermodel, kt.HyperModel) else hypermodel
        model = build(kt.HyperParameters())
    if not isinstance(model, keras.Model) or not model.compiled:
        return None
    check_data(parts, model, batch_size, fit)
    masks = getattr(hypermodel, "mask_zero", False) or makes_masks(model)  # The former by its loss.
    if padding is not None and not masks:
        warn_caller(
            f"The sequences were padded with {padding:g} to one length, and no layer of the model makes "
            f"a mask, so it reads padding as data. Begin it with `keras.layers.Masking({padding:g})`."
        )
    return model


def describe_model(hypermodel: Any) -> dict[str, Any] | None:
    """Describes what all models of a search share; None if only a function knows."""
    if isinstance(hypermodel, ExistingModel):
        names = ["per_layer", "keep_weights"]
        # Frozen weights can be random, and differ in each process.
        what = f"model {hypermodel.template.fingerprint(frozen=False)}"
    elif isinstance(hypermodel, AbstractHyperModel):
        names = ["num_classes", "vocab_size", "mask_value", "mask_zero", "one_hot", "target_shape"]
        names += ["return_sequences"]
        what = type(hypermodel).__name__
    else:
        return None
    values = {name: getattr(hypermodel, name) for name in names if hasattr(hypermodel, name)}
    return {"class": what, **values}


def loss_of(hypermodel: Any) -> Any:
    """Returns the loss of all models of a search, with the weights of several; None if not known."""
    if not isinstance(hypermodel, ExistingModel):
        return hypermodel.loss if isinstance(hypermodel, AbstractHyperModel) else None
    template = hypermodel.template
    loss, weights = template.loss, (template.compiled or {}).get("loss_weights")
    return loss if weights is None else {"loss": loss, "weights": weights}


def _qualified(thing: Any) -> str:
    return f"{thing.__module__}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


class ObjectiveNotReportedError(RecdropError, kt.errors.FatalError):
    """The model reports no metric with the objective's name, so no trial can be scored.

    Keras Tuner ends the search on a `FatalError`, but counts other errors as failed trials.
    """

    argument = "objective"  # The line of a file is found by it.


def check_reported(objective: str, reported: Iterable[str]) -> None:
    """Raises if the objective is not among the metrics that models report."""
    known = sorted(reported)
    if objective in known:
        return
    kind = objective.removeprefix("val_")
    fix = suggestion(objective, known) or "Compile the model with the metric."
    if objective.lower() not in known:
        with suppress(ValueError):  # Keras knows no metric of that name.
            keras.metrics.get(kind)
            fix = f"Add {kind!r} to the `metrics` of the model or of `rdt.Task`."
    raise ObjectiveNotReportedError(
        f"The model reports no metric named `{objective}`, which is the objective. It reports: "
        f"{', '.join(known)}. {fix}"
    )


class ObservedTrials(Extension):
    """Checks that trials report the objective; `building` is the model that is built, or could not be."""

    def __init__(self, hypermodel: Any, objective: str) -> None:
        self._own_fit = has_own_fit(hypermodel)
        self._objective = objective
        self.building: kt.HyperParameters | None = None
        self._reported = False

    def build(self, build: Callable[[Any], Any], hp: Any) -> Any:
        """Builds the model."""
        self.building = hp
        model = build(hp)
        self.building = None
        return model

    def fit(self, fit: Callable[..., Any], hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits the model and checks what it reports."""
        callbacks = list(kwargs.pop("callbacks", None) or [])
        validated = kwargs.get("validation_freq", 1) == 1
        if not self._own_fit and validated and not any(map(may_report, callbacks)):
            # A user-defined `fit` or callback can report the objective later.
            check = keras.callbacks.LambdaCallback(
                on_epoch_end=lambda _, logs: check_reported(self._objective, logs)
            )
            callbacks.append(check)
        result = fit(hp, model, *args, callbacks=callbacks, **kwargs)
        if isinstance(result, keras.callbacks.History):
            if not self._reported:
                check_reported(self._objective, result.history)
            # From here on, a trial that ends before it reports the objective fails alone.
            self._reported = True
        return result


def may_report(callback: Any) -> bool:
    """Returns whether a user-defined callback sees the end of epochs, where it can log metrics."""
    kind = type(callback)
    is_users = kind.__module__.partition(".")[0] not in ("keras", "recdrop_tune")
    return (
        is_users
        and getattr(kind, "on_epoch_end", None) is not keras.callbacks.Callback.on_epoch_end
    )
