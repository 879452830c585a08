"""`tune`: checks its arguments and the data, and runs the search."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from recdrop_tune.backends import check_training, share_gpus
from recdrop_tune.catalog import MILLISECONDS
from recdrop_tune.errors import invalid_argument, warn_caller
from recdrop_tune.files import RUNS
from recdrop_tune.hypermodels import has_own_fit, task_in_words
from recdrop_tune.kernels import compilations_kept
from recdrop_tune.oracle import as_objective
from recdrop_tune.ray_workers import import_ray
from recdrop_tune.results import TuneResult
from recdrop_tune.search.confirm import DROPOUT, Question
from recdrop_tune.search.context import context_of
from recdrop_tune.search.data import Data, make
from recdrop_tune.search.data_check import complete_training, reported_metrics
from recdrop_tune.search.execution import carry_out, result_of
from recdrop_tune.search.hypermodel_of import (
    as_hypermodel,
    check_fit_arguments,
    check_hypermodel_data,
    check_reported,
    may_report,
)
from recdrop_tune.search.plan import Plan
from recdrop_tune.search.references import model_named, resolved
from recdrop_tune.search.settings import (
    EXPERIMENT,
    Confirm,
    MLflow,
    Optuna,
    SearchConfig,
    Task,
    Training,
    Workers,
)
from recdrop_tune.search.tuner_tracking import with_active


def tune(
    train: Any,
    validation: Any = None,
    model: Any = None,
    *,
    space: object = None,
    objective: Any = "val_loss",
    max_trials: int | None = 20,
    epochs: int = 20,
    batch_size: int = 32,
    timeout: float | None = None,
    tuner: str | Optuna = "optuna",
    training: Training | None = None,
    confirm: int | Confirm = 0,
    workers: int | Workers | None = None,
    tracking: str | MLflow | bool | None = True,
    directory: str | Path | None = None,
    seed: int | None = None,
    verbose: int = 1,
    overwrite: bool = False,
) -> TuneResult:
    """Searches for the recurrent dropout that suits the data: which one, where, and how much.

    With the default tuner the search first tries no dropout, Keras's own dropout and every other wrapper of
    the space once. Without `confirm` its last trial is the twin of the configuration with dropout that is
    best so far, unless it has one: the same hyperparameters and seeds, without dropout. This shows what the
    dropout contributes.

    A function can also be named as `"module:function"`. Each process then imports it.

    Args:
        train: `(x, y)` or `(x, y, sample_weight)` arrays, a `tf.data.Dataset` or a `keras.utils.PyDataset`;
            or a function that returns them, which each process calls. If the data choose the model, x can be
            a list of arrays of unequal lengths.
        validation: The same, for an objective that starts with `val_`.
        model: A compiled Keras model, to search the dropout of its LSTM and GRU layers (`ExistingModel` has
            options for it); a function that builds a model from `hp`; or a `keras_tuner.HyperModel`. By
            default the data choose: `SequenceClassifier`, `SequenceRegressor`, `SequenceTagger` or
            `LanguageModel`, made by `from_data(train, space)`. The name of a task, such as `"tagging"`, or a
            `Task` helps them.
        space: A preset's name (by default `"quick"`), a YAML file, a mapping or a `SearchSpace`. For a Keras
            model its keys about dropout apply. A function or a hypermodel has its own space.
        objective: The metric to optimize: its name, `{"name": "val_f1", "direction": "max"}` or a
            `keras_tuner.Objective`. Every model has the metric `ms_per_step`.
        max_trials: The most trials to run, including the twin of the best one. With None, the search ends by
            itself, when another trial is expected to gain less than a hundredth of the objective; see
            `OptunaOracle`.
        epochs: Epochs per trial.
        batch_size: Samples per batch, for arrays.
        timeout: Seconds after which no trial starts, except for the twin of the best configuration.
        tuner: `"optuna"`, `"random"`, `"bayesian"`, `"hyperband"` or `"grid"`; or `Optuna` with a sampler,
            a pruner, configurations to try first, or folders of earlier searches to learn from.
        training: How to train each trial; by default once, with the defaults of `Model.fit`.
        confirm: How many of the best configurations to train again after the search, with fresh seeds; or
            `Confirm`.
        workers: How many trials run at the same time, with Ray; or `Workers`. By default they run one after
            the other in this process.
        tracking: Name of the MLflow experiment, by default the active one or else `"recdrop-tune"`; or
            `MLflow`. `None` or `False` turns MLflow off. An active run of MLflow becomes the parent.
        directory: The project folder; by default a new one in `recdrop_runs`. If it has the same search,
            that is resumed up to `max_trials`.
        seed: Seed of the proposals and of every trial. The same seed gives the same search, if the device's
            kernels are deterministic. It sets the global random states of Python, NumPy and Keras. By default
            the seed in the folder; for a new search a random one.
        verbose: 0 prints nothing, 1 the folder and a line per trial, 2 also a line per epoch (and what
            workers print).
        overwrite: Whether to delete the search in `directory` and start a new one.

    Returns:
        The result: the trials as a data frame, the best model, a summary.

    Raises:
        InvalidArgumentError: An argument is invalid; nothing was started.
        ProjectError: The folder has another search, or cannot be written to; nothing was changed.
        ObjectiveNotReportedError: The model does not report the objective.
        UserCodeError: A function named as `"module:function"` does not exist, or fails.
        RecdropError: The model cannot be built, or no trial was completed.
        OSError: A disk is full or broken. Nothing is lost: run again with the folder as `directory`.

    Example:
        >>> result = tune((x, y), (x_val, y_val), space="quick", max_trials=30, seed=0)
        >>> print(result.summary())
    """
    # All but the data are those of `SearchConfig`, which checks them.
    arguments: dict[str, Any] = dict(locals())
    del arguments["train"], arguments["validation"]
    return run_search(SearchConfig(**arguments), train, validation)


def run_search(
    config: SearchConfig, train: Any, validation: Any = None, config_file: Path | None = None
) -> TuneResult:
    """Runs a search; see `tune`. `config_file` is the YAML file that describes it."""
    plan = prepare(config, train, validation, config_file)
    return result_of(plan, *carry_out(plan))


def prepare(
    config: SearchConfig,
    train: Any,
    validation: Any = None,
    config_file: Path | None = None,
    question: Question = DROPOUT,
) -> Plan:
    """Checks arguments and data, and returns the plan of what they ask for."""
    check_training()
    training, model = config.training or Training(), model_named(config.model)
    callbacks = [resolved(callback) for callback in training.callbacks]
    training = replace(training, callbacks=callbacks, groups=make(training.groups))
    mlflow = with_active(config.tracking, folder=None if config.overwrite else config.directory)
    check_fit_arguments(training.fit)
    is_split = training.cv is not None or bool(training.fit.get("validation_split"))
    is_validated = validation is not None or is_split
    _check_validation(config.objective.name, validation, training.cv, is_validated)
    if config.workers is not None:
        import_ray()
        share_gpus()
    confirm, test = config.confirm, None
    if confirm:
        confirm, test = replace(confirm, test=None), confirm.test
    task = model if isinstance(model, Task) else None
    data = Data(train, validation, test, task)
    parts = data.parts
    hypermodel, space = as_hypermodel(data.prepared_task or model, parts["training"], config.space)
    is_logged = has_own_fit(hypermodel) or any(map(may_report, training.callbacks))
    with compilations_kept(training.compilation_cache):
        checked = check_hypermodel_data(
            hypermodel, parts, config.batch_size, training.fit, data.padding
        )
        reported = None if checked is None else reported_metrics(checked)
        if reported and not is_logged and question.searches:
            validated = reported - {MILLISECONDS} if is_validated else ()
            names = {*reported, *(f"val_{name}" for name in validated)}
            check_reported(config.objective.name, names)
        goal = as_objective(vars(config.objective), reported or ())
        context = context_of(
            parts["training"], parts["validation"], hypermodel, checked, goal, data.padding
        )
    is_of_training = not goal.name.startswith("val_") and goal.name != MILLISECONDS
    if is_validated and is_of_training and not is_logged:
        warn_caller(
            f"`{goal.name}` is measured on the training data, which handicaps dropout. For the validation "
            f"data, use `val_{goal.name}`."
        )
    if task is not None and config.verbose:
        x, y = parts["training"][:2] if isinstance(parts["training"], tuple) else (None, None)
        print(f"Task: {task_in_words(hypermodel, x, y, task.name)}.", flush=True)
    training = complete_training(training, parts["training"], hypermodel)
    # A plan is sent to workers, and has the model, its space and the test data apart.
    config = replace(
        config,
        model=None,
        space=None,
        training=training,
        confirm=confirm,
        tracking=mlflow,
        directory=config.directory or _new_folder(mlflow),
    )
    return Plan(config, data, hypermodel, space, goal, context, config_file, question=question)


def _check_validation(objective: str, validation: Any, cv: Any, is_validated: bool) -> None:
    """Raises for two sources of validation data, and for an objective without any."""
    if cv is not None and validation is not None:
        expected = "None with `cv`, which takes the validation data from the training data"
        raise invalid_argument("validation", expected=expected, received=type(validation).__name__)
    if objective.startswith("val_") and not is_validated:
        raise invalid_argument(
            "validation",
            expected=f"validation data, for the objective is {objective}",
            received=None,
            fix="Pass them; or, with arrays, `training=rdt.Training(cv=5)` or "
            "`training=rdt.Training(fit={'validation_split': 0.2})`; or take another objective.",
        )


def _new_folder(tracking: MLflow | None) -> Path:
    """Returns a new folder, named by the experiment and the time."""
    experiment = str(tracking.experiment) if tracking else EXPERIMENT
    name = re.sub(r"[^\w.-]+", "-", experiment)[:50]
    first = Path(RUNS) / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    others = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return next(folder for folder in chain([first], others) if not folder.exists())
