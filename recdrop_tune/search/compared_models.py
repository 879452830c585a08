"""`compare_models`: whether one model is better than another one, over fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
from keras_tuner.engine.trial import Trial

from recdrop_tune.errors import (
    InvalidArgumentError,
    RecdropError,
    exception_line,
    invalid_argument,
    is_name,
    warn_caller,
)
from recdrop_tune.events import Configuration
from recdrop_tune.models import ModelCopies
from recdrop_tune.records import Records
from recdrop_tune.results import ModelComparison
from recdrop_tune.search.confirm import Question
from recdrop_tune.search.data_check import check_data, loss_name, reported_metrics
from recdrop_tune.search.execution import carry_out
from recdrop_tune.search.hypermodel_of import may_report
from recdrop_tune.search.references import model_named
from recdrop_tune.search.settings import Confirm, MLflow, SearchConfig, Training, Workers
from recdrop_tune.search.tuning import prepare

MODEL = "model"
"""The hyperparameter with the name of a model."""


def compare_models(
    models: Mapping[str, Any],
    train: Any,
    validation: Any = None,
    *,
    baseline: str | None = None,
    metric: Any = "val_loss",
    epochs: int = 20,
    batch_size: int = 32,
    seeds: int = 5,
    max_seeds: int = 20,
    margin: float | None = None,
    test: Any = None,
    training: Training | None = None,
    workers: int | Workers | None = None,
    tracking: str | MLflow | bool | None = True,
    directory: str | Path | None = None,
    seed: int | None = None,
    verbose: int = 1,
    overwrite: bool = False,
) -> ModelComparison:
    """Finds out whether models are really better than another one, or only luckier.

    All are trained with the same fresh seeds, which decide first weights, order of the data, and masks. After
    5, 8, 13 and 20 seeds it looks, and ends as soon as it is known how the best of the compared models
    differs from the baseline. The 95 % intervals hold for all models together, whenever it ends. Any Keras
    model can be compared, with or without recurrent layers.

    Args:
        models: At least two by name: compiled Keras models, or functions that build one. A model is copied
            and stays as it is. Each training gets new weights, also where the model has been trained, but for
            frozen layers.
        train: `(x, y)` or `(x, y, sample_weight)` arrays, a dataset, or a function that makes them; as in
            `tune`.
        validation: The same, for a metric that starts with `val_`.
        baseline: The name of the model that the others are compared with, by default the first.
        metric: The metric to compare, at the best epoch of each training; a `keras_tuner.Objective` if its
            name does not tell whether less is better.
        epochs: Epochs of each training.
        batch_size: Batch size for arrays.
        seeds: How many times each model is trained at first.
        max_seeds: How many times at most.
        margin: The largest difference that does not matter, in units of the metric. By default a hundredth of
            the baseline's mean.
        test: Data like `validation` that are evaluated once after each training, with the weights of its best
            epoch; then the answer is about them.
        training: Folds, class weights, callbacks and further arguments of `Model.fit`. `executions` and what
            is about trials are not used.
        workers: How many trainings run at the same time, with Ray; or `Workers`.
        tracking: Name of the MLflow experiment; or `MLflow`. `None` or `False` turns MLflow off. The
            comparison is a run, and each training is a child of it.
        directory: The project folder, by default a new one in `recdrop_runs`. If it has the same comparison,
            that is resumed: nothing is trained twice. If the answer is not known yet, a larger `max_seeds`
            trains more seeds.
        seed: Seed that those of the trainings are derived from; by default a random one.
        verbose: 0 prints nothing, 1 a line for each training, 2 also what workers print.
        overwrite: Whether to delete the comparison in `directory` and start a new one.

    Returns:
        The answer: in words, as tables, figure, page and LaTeX.

    Raises:
        InvalidArgumentError: An argument is invalid; nothing was started.
        ProjectError: The folder has something else, or cannot be written to; nothing was changed.
        RecdropError: A model cannot be built, or every training failed.

    Example:
        >>> answer = rdt.compare_models({"plain": plain, "zoneout": zoned}, (x, y), (x_val, y_val), epochs=30)
        >>> print(answer.verdict)
        zoneout is better than plain: val_loss lower by 0.0310 (95 % interval 0.0120 to 0.0500, 8 seeds).

    References:
        Bouthillier et al., 2021, Accounting for variance in machine learning benchmarks (arXiv:2103.03098).
    """
    given = dict(locals())
    compared = ComparedModels(models, baseline)
    confirm = Confirm(1, seeds=seeds, max_seeds=max_seeds, margin=margin, test=test)
    arguments = {each.name: given[each.name] for each in fields(SearchConfig) if each.name in given}
    arguments |= {"model": compared, "objective": metric, "confirm": confirm}
    try:
        plan = prepare(SearchConfig(**arguments), train, validation, question=MODELS)
    except InvalidArgumentError as error:
        raise error.renamed("metric") if "objective" in error.argument else error from None
    is_logged = any(map(may_report, plan.training.callbacks))
    descriptions = compared.check(
        plan.goal.name, is_logged, plan.data.parts, batch_size, plan.training.fit
    )
    tuner, tracked = carry_out(replace(plan, models=descriptions))
    answer = ModelComparison(tracked.records, Path(tuner.project_dir))
    if tracked.records.confirmations and not answer.order:
        why = exception_line(tracked.records.confirmations[-1].message or "").rstrip(".")
        raise RecdropError(
            f"Every training failed; the last one with: {why}. The folder is `{answer.folder}`."
        )
    return answer


class ComparedModels(kt.HyperModel):
    """Builds one of several models by its name; the `baseline`, by default the first, comes first."""

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

    def build(self, hp: kt.HyperParameters) -> keras.Model:
        """Builds the model that `hp` names."""
        return self.build_one(hp.Choice(MODEL, list(self.builders)))

    def build_one(self, name: str) -> keras.Model:
        """Builds the model of a name."""
        try:
            model = self.builders[name]()
        except Exception as error:  # Anything in a user's function.
            what = f"The model `{name}` cannot be built: {type(error).__name__}: {error}"
            raise RecdropError(what) from error
        return _check_compiled(name, model)

    def check(
        self, metric: str, is_logged: bool, parts: Mapping[str, Any], batch_size: int, fit: Any
    ) -> dict[str, str]:
        """Checks and describes each model; `is_logged` is whether a callback can report the metric."""
        losses, descriptions = {}, {}
        for name in self.builders:
            model, other = self.build_one(name), self.build_one(name)
            if other is model:
                raise invalid_argument(
                    f"models[{name!r}]",
                    expected="a function that builds a new model each time",
                    received="one that returns the same model, which would be trained on and on",
                )
            descriptions[name] = _describe(model, other)
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
        return descriptions


def _builder(name: str, model: Any) -> Callable[[], Any]:
    if callable(model) and not isinstance(model, type | keras.layers.Layer):
        return model  # type: ignore[no-any-return]
    model = _check_compiled(name, model)
    try:
        return ModelCopies(model).build
    except InvalidArgumentError as error:
        what, fix = f"models[{name!r}]", "Give a function that builds it."
        raise invalid_argument(
            what, expected=error.expected, received=error.received, fix=fix
        ) from error


def _check_compiled(name: str, model: Any) -> keras.Model:
    if isinstance(model, keras.Model) and model.compiled:
        return model
    what, fix = model, ""
    if isinstance(model, keras.Model):
        what = f"`{model.name}`, which is not compiled"
        fix = "Compile it: `model.compile(optimizer, loss, metrics)`."
    expected = "a compiled Keras model, or a function that builds one"
    raise invalid_argument(f"models[{name!r}]", expected=expected, received=what, fix=fix)


def _describe(*models: keras.Model) -> str:
    """Describes what a function builds, given two of its models: their layers, and a digest."""
    kinds = ", ".join(dict.fromkeys(type(layer).__name__ for layer in models[0].layers))
    for frozen in (True, False):  # Frozen weights can be random, and differ in each model.
        with suppress(Exception):  # Keras cannot copy every model.
            digest, *others = {ModelCopies(each).fingerprint(frozen) for each in models}
            if not others:
                return f"{kinds} (digest {digest})"
    return f"{type(models[0]).__qualname__} of {kinds}"


def _trial_of_model(oracle: kt.Oracle, configuration: Configuration) -> Trial:
    """Returns a trial that builds a model."""
    hyperparameters = oracle.get_space().copy()
    models = hyperparameters.space[0].values
    hyperparameters.values[MODEL] = models[int(configuration.trial_id)]
    return Trial(hyperparameters, configuration.trial_id)


def _every_model(records: Records, settings: Confirm) -> list[Configuration]:
    return [*map(Configuration, records.models)]


MODELS = Question(_every_model, _trial_of_model, keep=None, searches=False)
