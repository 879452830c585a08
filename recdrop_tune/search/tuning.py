"""`tune`: checks its arguments, makes a plan of them, and has it run."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from recdrop_tune.backends import check_training, share_gpus
from recdrop_tune.errors import check_flag, check_seconds
from recdrop_tune.files import RUNS
from recdrop_tune.hypermodels import task_in_words
from recdrop_tune.kernels import check_seed
from recdrop_tune.ray_workers import import_ray
from recdrop_tune.results import TuneResult
from recdrop_tune.search.checks import (
    check_directory,
    check_fit_arguments,
    check_integers,
    check_tuner,
    check_validation,
    check_verbose,
    check_workers,
    expanded,
)
from recdrop_tune.search.classes_and_groups import of_data
from recdrop_tune.search.data_arguments import Data
from recdrop_tune.search.execution import run
from recdrop_tune.search.hypermodel_of import as_hypermodel
from recdrop_tune.search.model_checks import check_model_data
from recdrop_tune.search.plan import Plan
from recdrop_tune.search.settings import (
    EXPERIMENT,
    Confirm,
    MLflow,
    Optuna,
    Training,
    Workers,
    as_confirm,
    as_mlflow,
    as_optuna,
    as_task,
    as_training,
    as_workers,
)
from recdrop_tune.tuner import as_objectives


def tune(
    train: Any,
    validation: Any = None,
    model: Any = None,
    *,
    space: object = None,
    objective: Any = "val_loss",
    max_trials: int = 20,
    epochs: int = 20,
    batch_size: int = 32,
    timeout: float | None = None,
    tuner: str | Optuna = "optuna",
    training: Training | None = None,
    confirm: int | Confirm = 0,
    workers: int | Workers | None = None,
    tracking: str | MLflow = EXPERIMENT,
    directory: str | Path | None = None,
    seed: int | None = None,
    verbose: int = 1,
    overwrite: bool = False,
) -> TuneResult:
    """Searches for the recurrent dropout that suits the data: which one, where, and how much.

    With the default tuner the search first tries no dropout, Keras's own dropout and each other wrapper
    once, as far as the space offers them. Without `confirm` its last trial is the twin of the best
    configuration with dropout: the same hyperparameters and seeds, without dropout. So what is said of
    dropout is not owed to a learning rate.

    Args:
        train: `(x, y)` or `(x, y, sample_weight)` arrays, a `tf.data.Dataset` or a
            `keras.utils.PyDataset`; or a function that makes them, which each process calls. Without a
            `model` of yours x may be a list of arrays of unequal lengths.
        validation: The same, for the objectives that start with `val_`.
        model: A compiled Keras model, for the dropout of its LSTM and GRU layers (`ExistingModel` has
            options for it); a function that builds a model from `hp`; or a `keras_tuner.HyperModel`. By
            default the data say which: `SequenceClassifier`, `SequenceRegressor`, `SequenceTagger` or
            `LanguageModel`, made by `from_data(train, space)`; or the name of a task, such as `"tagging"`, or
            `Task`, which knows of padding and metrics too.
        space: A preset's name (by default `"quick"`), a YAML file, a mapping or a `SearchSpace`; of a Keras
            model, what is about dropout. A function or a hypermodel has a space of its own.
        objective: The metric to optimize, or a `keras_tuner.Objective`; or a list of them, for a Pareto
            front (tuner `"optuna"` only). `ms_per_step` is a metric of every model.
        max_trials: The most trials that are run, the twin of the best one included.
        epochs: Epochs of one trial.
        batch_size: Samples a batch, for arrays.
        timeout: Seconds after which no more trials are begun, but for the twin of the best configuration.
        tuner: `"optuna"`, `"random"`, `"bayesian"`, `"hyperband"` or `"grid"`; or `Optuna` with a sampler,
            a pruner, a storage, configurations to try first, or folders of earlier searches to learn from.
        training: How each trial is trained, if otherwise than once and with `Model.fit`'s defaults; see
            `Training`.
        confirm: How many of the best configurations to train again after the search, with fresh seeds; or
            `Confirm`.
        workers: How many trials run at the same time, with Ray; or `Workers`. By default they run one after
            the other in this process.
        tracking: Name of the MLflow experiment; or `MLflow`.
        directory: The project folder. By default a new one in `recdrop_runs`. A folder that holds
            the same search goes on with it, up to `max_trials`.
        seed: Seed of the proposals and of every trial: the same seed gives the same search, as far as
            the device's kernels are deterministic. Python's, NumPy's and Keras's global random states
            are set by it. 0 is a seed. By default that of the folder; for a new search one is drawn by
            Python's `random`.
        verbose: 0 is silent, 1 prints the folder and a line a trial, 2 a line an epoch as well (and what
            workers print).
        overwrite: Whether to delete the search in `directory`, this one or another, and to begin anew.

    Returns:
        The result: the trials as a data frame, the best model, a summary.

    Raises:
        InvalidArgumentError: An argument cannot be worked with; nothing was started.
        ProjectError: The folder holds another search, or cannot be written to; nothing was changed.
        ObjectiveNotReportedError: The model does not report the objective.
        RecdropError: The model cannot be built, or no trial could be completed.
        StorageError: A disk is full or broken. Nothing is lost: run it again, with the folder as `directory`.

    Example:
        >>> result = tune((x, y), (x_val, y_val), space="quick", max_trials=30, seed=0)
        >>> print(result.summary())
    """
    check_training()
    max_trials, epochs, batch_size = check_integers(
        max_trials=max_trials, epochs=epochs, batch_size=batch_size
    )
    seed, timeout = check_seed(seed), check_seconds("timeout", timeout)
    check_flag("overwrite", overwrite)
    check_directory(directory)
    check_verbose(verbose)
    name, optuna = as_optuna(tuner)
    training, confirmation, mlflow = as_training(training), as_confirm(confirm), as_mlflow(tracking)
    team, goals = as_workers(workers), as_objectives(objective)
    mlflow = replace(mlflow, uri=mlflow.store())
    check_tuner(name, optuna, goals, str(mlflow.uri))
    check_workers(team, optuna, mlflow)
    check_fit_arguments(training.fit, model)
    check_validation(goals, validation, training)
    if team is not None:
        import_ray()
        share_gpus()
    test, task = None if confirmation is None else confirmation.test, as_task(model)
    data = Data(train, validation, test, task)
    data.check()
    made = data.made
    hypermodel, described = as_hypermodel(
        data.prepared_task or model, made["training"], made["validation"], space
    )
    check_model_data(model, made, batch_size, training.fit)
    if task is not None and verbose:
        train_data = made["training"]
        x, y = train_data[:2] if isinstance(train_data, tuple) else (None, None)
        print(f"Task: {task_in_words(hypermodel, x, y)}.", flush=True)
    training = of_data(training, made["training"], hypermodel)
    plan = Plan(
        data=data,
        model=hypermodel,
        space=described,
        goals=goals,
        max_trials=max_trials,
        epochs=epochs,
        batch_size=batch_size,
        timeout=timeout,
        seed=seed,
        tuner=name,
        optuna=optuna,
        training=training,
        confirm=None if confirmation is None else replace(confirmation, test=None),
        workers=team,
        tracking=mlflow,
        folder=_new_folder(mlflow) if directory is None else expanded(directory),
        verbose=verbose,
        overwrite=overwrite,
    )
    return run(plan)


def _new_folder(tracking: MLflow) -> Path:
    """Names a folder that is not there yet, by the experiment and the time."""
    name = re.sub(r"[^\w.-]+", "-", str(tracking.experiment))[:50]
    first = Path(RUNS) / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    others = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return next(folder for folder in chain([first], others) if not folder.exists())
