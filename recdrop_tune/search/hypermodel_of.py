"""The hypermodel of a search by `tune`, and what it adds: a clear word if the objective is not reported."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.errors import InvalidArgumentError, RecdropError, invalid_argument
from recdrop_tune.hypermodels import (
    AbstractHyperModel,
    ExistingModel,
    Extension,
    infer_hypermodel,
    unextended,
)
from recdrop_tune.models import walk
from recdrop_tune.search.settings import Task
from recdrop_tune.spaces import SearchSpace

CROSS_ENTROPIES = ("sparse_categorical_crossentropy", "categorical_crossentropy")
ERRORS = ("mean_squared_error", "mean_absolute_error", "huber")
BINARY = ("binary_crossentropy", "binary_accuracy")
ACCURACIES = ("accuracy", "sparse_categorical_accuracy", "categorical_accuracy")
_KNOWN = (*CROSS_ENTROPIES, *ERRORS, *BINARY, *ACCURACIES, "perplexity")
_ALIASES = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "acc": "accuracy"}
# A loss that is set up otherwise is another one.
_USUAL = {"reduction": "sum_over_batch_size", "label_smoothing": 0, "axis": -1}
# A model that overrides one of these may score in any way.
_SCORING = ("compile", "compute_loss", "compute_metrics", "evaluate", "test_step")


# The hypermodel of a search: the caller's, or one read off the training data.


def as_hypermodel(hypermodel: Any, train: Any, validation: Any, space: object) -> tuple[Any, str]:
    """Returns the hypermodel of a search, or the function that builds its models; and its space in words.

    Args:
        hypermodel: The caller's, or their Keras model; or the task, for one that suits the training data.
        train: The training data.
        validation: The validation data, or `None`; they have to suit an inferred hypermodel.
        space: The search space of an inferred hypermodel, or of a Keras model; `None` for `"quick"`.

    Raises:
        InvalidArgumentError: The hypermodel is none, or has a space of its own beside `space`.
    """
    hypermodel = unextended(hypermodel)
    searched = "quick" if space is None else space
    if isinstance(hypermodel, Task):
        task = hypermodel
        hypermodel = infer_hypermodel(train, validation, searched, task.name, **task.arguments())
    elif isinstance(hypermodel, keras.Model):
        hypermodel = ExistingModel(hypermodel, searched)
    elif space is not None:
        raise invalid_argument(
            "space",
            expected="no value beside a function or a hypermodel, which has a space of its own",
            received=space,
        )
    own = getattr(hypermodel, "space", None)
    if isinstance(own, SearchSpace):
        return hypermodel, own.to_yaml()
    if isinstance(hypermodel, kt.HyperModel):
        return hypermodel, f"hypermodel {_qualified(type(hypermodel))}"
    if callable(hypermodel) and not isinstance(hypermodel, type | keras.Layer):
        _check_build_function(hypermodel)
        return hypermodel, f"function {_qualified(hypermodel)}"
    raise _no_hypermodel(hypermodel)


def describe_model(hypermodel: Any) -> dict[str, Any] | None:
    """Describes what all models of a search share; None if only a function knows.

    A search that resumed with models of another size, say, would compare different things.
    """
    if isinstance(hypermodel, ExistingModel):
        names: tuple[str, ...] = ("per_layer", "keep_weights")
        what = f"model {hypermodel.blueprint.digest()}"
    elif isinstance(hypermodel, AbstractHyperModel):
        names = ("num_classes", "vocab_size", "mask_value", "mask_zero", "one_hot", "target_shape")
        names += ("return_sequences",)
        what = type(hypermodel).__name__
    else:
        return None
    own = {name: getattr(hypermodel, name) for name in names if hasattr(hypermodel, name)}
    return {"class": what, **own}


def loss_of(hypermodel: Any) -> Any:
    """Returns the loss of all models of a search, with the weights of several; None if not known."""
    if not isinstance(hypermodel, ExistingModel):
        return hypermodel.loss if isinstance(hypermodel, AbstractHyperModel) else None
    compiled = hypermodel.blueprint.compiled or {}
    loss, weights = compiled.get("loss"), compiled.get("loss_weights")
    return loss if weights is None else {"loss": loss, "weights": weights}


def _check_build_function(function: Any) -> None:
    """Raises for a function without arguments: it makes a model, of which nothing is asked."""
    try:
        without = not inspect.signature(function).parameters
    except (TypeError, ValueError):  # Of a function in C nothing may be known.
        return
    if without:
        raise invalid_argument(
            "model",
            expected="a Keras model, or a function that builds one from `hp`",
            received=f"{_qualified(function)}, which takes no argument",
            fix="Pass the model that it makes, with brackets: `model=make_model()`.",
        )


def _no_hypermodel(received: Any) -> InvalidArgumentError:
    fix = f"Pass an instance: {received.__name__}(...)." if isinstance(received, type) else ""
    return invalid_argument(
        "model",
        expected="a Keras model, a function that builds one from `hp`, or a keras_tuner.HyperModel",
        received=received,
        fix=fix,
    )


def _qualified(thing: Any) -> str:
    return f"{thing.__module__}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


class ObjectiveNotReportedError(RecdropError, kt.errors.FatalError):
    """The model reports no metric of the objective's name, so no trial can be scored.

    Keras Tuner ends the search for a `FatalError`, where it would count others as failed trials.
    """


class ObservedTrials(Extension):
    """Looks for the objective in the metrics of a trial, and notes what is being built.

    Args:
        hypermodel: The hypermodel, or a function.
        objectives: The objectives.

    Attributes:
        building: The hyperparameters of the model that is being built, or could not be built.
        compiled: What the first model was compiled with; `None` if that is not known.
    """

    def __init__(self, hypermodel: Any, objectives: Sequence[kt.Objective]) -> None:
        fits = (kt.HyperModel.fit, AbstractHyperModel.fit)
        known = isinstance(hypermodel, kt.HyperModel)
        self._own_fit = known and type(hypermodel).fit not in fits
        self._objectives = objectives
        self.building: Any = None
        self.compiled: Compiled | None = None
        self._first = True
        self._reported = False

    def build(self, build: Callable[[Any], Any], hp: Any) -> Any:
        """Builds the model."""
        self.building = hp
        model = build(hp)
        self.building = None
        if self._first and not self._own_fit:  # A `fit` of the user's own may score in its own way.
            self.compiled = compiled_with(model)
        self._first = False
        return model

    def fit(self, fit: Callable[..., Any], hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits the model and checks what it reports.

        Raises:
            ObjectiveNotReportedError: The objective is not among the metrics, nor was it in an earlier trial.
        """
        callbacks = list(kwargs.pop("callbacks", None) or [])
        validated = kwargs.get("validation_freq", 1) == 1
        if not self._own_fit and validated and not any(map(_may_report, callbacks)):
            # A `fit` or a callback of the user's own may report the objective later.
            callbacks.append(_ObjectiveCheck(self._objectives))
        result = fit(hp, model, *args, callbacks=callbacks, **kwargs)
        if isinstance(result, keras.callbacks.History):
            if not self._reported:
                check_objectives(self._objectives, result.history, "" if validated else _SELDOM)
            # One that ended before it was reported fails alone from here on.
            self._reported = True
        return result


_SELDOM = " Or no epoch was validated: a `validation_freq` above `epochs` leaves none; pass a smaller one."


def _may_report(callback: Any) -> bool:
    """Says whether a callback may log metrics: one that sees epochs, neither Keras's nor this package's."""
    kind = type(callback)
    own = kind.__module__.partition(".")[0] not in ("keras", "recdrop_tune")
    return own and getattr(kind, "on_epoch_end", None) is not keras.callbacks.Callback.on_epoch_end


class _ObjectiveCheck(keras.callbacks.Callback):
    """Looks for the objective when the first epoch has ended, not after the last."""

    def __init__(self, objectives: Sequence[kt.Objective]) -> None:
        super().__init__()
        self._objectives = objectives

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Checks the metrics of an epoch."""
        check_objectives(self._objectives, logs or {})


def check_objectives(objectives: Sequence[kt.Objective], metrics: Any, advice: str = "") -> None:
    """Raises if an objective is not among the metrics.

    Args:
        objectives: The objectives.
        metrics: The metrics, by name.
        advice: What else may be done about it.

    Raises:
        ObjectiveNotReportedError: It is not.
    """
    for objective in objectives:
        if objective.has_value(metrics):
            continue
        raise ObjectiveNotReportedError(
            f"The model reports no metric named `{objective.name}`, which is the objective. It "
            f"reports: {', '.join(sorted(metrics))}. Take one of them as `objective`, or compile the "
            f"model with the metric.{advice}"
        )


# What a model is compiled with: the losses and metrics of Keras's that a constant can be scored by.


@dataclass(frozen=True)
class Measure:
    """A loss or a metric of Keras's.

    Attributes:
        kind: Keras's name of its function.
        ignored: Steps with this target do not count; `None` where all do.
        bound: The threshold of a binary accuracy, or the delta of a Huber loss.
    """

    kind: str
    ignored: int | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Compiled:
    """What a model is compiled with, as far as it is known.

    Attributes:
        measures: The loss (as `loss`) and the metrics by the names under which the model reports them.
        output: Shape of the model's output.
        masked: Whether a layer of the model makes a mask.
    """

    measures: dict[str, Measure]
    output: tuple[int | None, ...]
    masked: bool


def is_scored_as_usual(model: Any) -> bool:
    """Says whether a compiled model's class leaves to Keras how it is scored."""
    kind = type(model)
    return model.compiled and all(
        getattr(kind, name) is getattr(keras.Model, name) for name in _SCORING
    )


def kind_of(loss: Any) -> str:
    """Returns Keras's name of a loss, by its name, its function or its class; empty for the caller's own.

    Example:
        >>> kind_of("mse"), kind_of(keras.losses.BinaryCrossentropy()), kind_of(lambda y, p: 0)
        ('mean_squared_error', 'binary_crossentropy', '')
    """
    if isinstance(loss, str):
        return _kind(loss)
    kind = loss if hasattr(loss, "__name__") else type(loss)
    return _kind(kind.__name__) if kind.__module__.startswith("keras.") else ""


def _kind(name: str) -> str:
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return _ALIASES.get(name, name)


def compiled_with(model: Any) -> Compiled | None:
    """Reads what a model with one output is compiled with; `None` where that is not known.

    What a model adds to its loss (a regularizer, `add_loss`) no constant predictor has, so the loss of such
    a model is not known.
    """
    if not isinstance(model, keras.Model) or not model.built or not model.compiled:
        return None
    output = getattr(model, "output_shape", None)
    one = isinstance(output, tuple) and all(
        size is None or isinstance(size, int) for size in output
    )
    if not one or not is_scored_as_usual(model):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of a lambda that is written down.
            config = model.get_compile_config()
    except Exception:  # A loss or a metric of the user's own, which cannot be written down.
        return None
    metrics = config.get("metrics") or []
    found = dict(map(_measure, metrics if isinstance(metrics, list) else [metrics]))
    layers = list(walk(model))
    added = model.losses or any(getattr(each, "activity_regularizer", None) for each in layers)
    if not added and not config.get("loss_weights"):
        found["loss"] = _measure(config.get("loss"))[1]
    return Compiled(
        {name: measure for name, measure in found.items() if measure is not None},
        tuple(output or ()),
        any(
            isinstance(each, keras.layers.Masking) or getattr(each, "mask_zero", False) is True
            for each in layers
        ),
    )


def _measure(described: Any) -> tuple[str, Measure | None]:
    """Reads a loss or a metric as `get_compile_config` describes it: its name, and what it is."""
    config: dict[str, Any] = {}
    if isinstance(described, str):
        name = kind = described
    elif isinstance(described, dict) and _is_ours_or_keras(described):
        kind, config = described["class_name"], described["config"]
        name = str(config.get("name", kind))
    else:
        return "", None
    kind = _kind(kind)
    # The axes are a list once the loss was saved.
    if kind == "binary_crossentropy" and config.get("axis") in ((), []):
        # The loss of each 0 or 1 by itself, which has the same mean.
        config = {**config, "axis": -1}
    if kind not in _KNOWN or any(config.get(key, same) != same for key, same in _USUAL.items()):
        return name, None
    if kind == "huber" and config and "delta" not in config:
        return name, None  # Keras 3.15 does not write it down.
    bound = config.get("threshold", config.get("delta"))
    return name, Measure(kind, config.get("ignore_class"), bound)


def _is_ours_or_keras(described: dict[str, Any]) -> bool:
    keras_own = str(described.get("module")).startswith("keras.")
    keras_own = keras_own and described.get("registered_name") is None
    ours = described.get("registered_name") == "recdrop_tune>Perplexity"
    return (keras_own or ours) and isinstance(described.get("config"), dict)
