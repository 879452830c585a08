"""`tune` itself: wiring only."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain, count
from math import isfinite
from pathlib import Path
from typing import Any

from recdrop_tune.errors import check_flag
from recdrop_tune.kernels import check_seed
from recdrop_tune.oracle import check_seconds
from recdrop_tune.ray_workers import connected, import_ray, put_parts, share_gpus
from recdrop_tune.results import TuneResult
from recdrop_tune.search import project as project
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
from recdrop_tune.search.confirm import ConfirmationPlan
from recdrop_tune.search.context import context_of
from recdrop_tune.search.data_arguments import check_data, check_finite, data_of, fit_arguments
from recdrop_tune.search.first_trials import coverage_line, enqueue_first_trials
from recdrop_tune.search.hypermodel_of import TrialHyperModel, as_hypermodel
from recdrop_tune.search.interrupts import Interrupts
from recdrop_tune.search.mended import put_trials_back
from recdrop_tune.search.old_arguments import answers_unknown_arguments
from recdrop_tune.search.run_by_workers import Search, search_with_workers
from recdrop_tune.search.run_here import run, set_up, space_of, told, watched
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
    as_training,
    as_workers,
)
from recdrop_tune.search.tuner_tracking import track
from recdrop_tune.storage_errors import storage_failures_named
from recdrop_tune.tuner import SearchPlan, as_objectives


@answers_unknown_arguments
def tune(
    train: Any,
    validation: Any = None,
    model: Any = None,
    *,
    space: object = "quick",
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
            `keras.utils.PyDataset`; or a function that makes them, which each process calls.
        validation: The same, for the objectives that start with `val_`.
        model: A function that builds a model from `hp`, or a `keras_tuner.HyperModel`. By default the data
            say which: `SequenceClassifier`, `SequenceRegressor`, `SequenceTagger` or `LanguageModel`, made
            by `from_data(train, space)`.
        space: A preset's name, a YAML file, a mapping or a `SearchSpace`.
        objective: The metric to optimize, or a `keras_tuner.Objective`; or a list of them, for a Pareto
            front (tuner `"optuna"` only). `ms_per_step` is a metric of every model.
        max_trials: The most trials that are run, the twin of the best one included.
        epochs: Epochs of one trial.
        batch_size: Samples a batch, for arrays.
        timeout: Seconds after which no more trials are begun, but for the twin of the best configuration.
        tuner: `"optuna"`, `"random"`, `"bayesian"`, `"hyperband"` or `"grid"`; or `Optuna` with a sampler,
            a pruner or a storage.
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
            are set by it. 0 is a seed.
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
    max_trials, epochs, batch_size = check_integers(
        max_trials=max_trials, epochs=epochs, batch_size=batch_size
    )
    seed, timeout = check_seed(seed), check_seconds("timeout", timeout)
    check_flag("overwrite", overwrite)
    check_directory(directory)
    check_verbose(verbose)
    name, optuna = as_optuna(tuner)
    training, confirmation, mlflow = as_training(training), as_confirm(confirm), as_mlflow(tracking)
    team = as_workers(workers)
    goals, uri = as_objectives(objective), mlflow.store()
    check_tuner(name, optuna, goals, uri)
    check_workers(team, optuna, mlflow)
    check_fit_arguments(training.fit, model)
    check_validation(goals, validation, training)
    if team is not None:
        import_ray()
        share_gpus()
    test = None if confirmation is None else confirmation.test
    given = {"train": train, "validation": validation, "test": test}
    data = {each: data_of(value) for each, value in given.items()}
    fit = {**fit_arguments(data["train"], data["validation"], batch_size), "epochs": epochs}
    fit |= {**training.fit, "callbacks": list(training.callbacks)}
    check_data("test", data["test"])
    check_finite(data, own_model=model is not None)
    hypermodel, described = as_hypermodel(model, data["train"], data["validation"], space)
    info: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    cv = None if training.cv is None else str(training.cv)
    how: dict[str, Any] = {"executions": training.executions, "cv": cv}
    search = project.Fingerprint(described, **project.named(goals), tuner=name, **info, **how)
    with ExitStack() as stack:
        interrupts = stack.enter_context(
            Interrupts()
        )  # First, so that all else is closed before it ends.
        if team is not None:
            ray = stack.enter_context(connected(team, verbose))
            interrupts.listen()
            own = {"model": hypermodel, "callbacks": fit["callbacks"], "fit": training.fit}
            own |= {"sampler": optuna.sampler, "pruner": optuna.pruner, "storage": optuna.storage}
            parts = put_parts(ray, {**given, **own})
        folder = _new_folder(str(mlflow.experiment)) if directory is None else expanded(directory)
        stack.enter_context(storage_failures_named(folder))
        with project.claimed(folder, search, overwrite, until=stack) as search_id:
            trials = TrialHyperModel(hypermodel, goals)
            plan = SearchPlan(
                trials,
                goals,
                max_trials,
                epochs,
                folder.absolute(),
                seed,
                study_name=f"{folder.name}-{search_id[:8]}",
                sampler=optuna.sampler,
                pruner=optuna.pruner,
                storage=optuna.storage,
                timeout=timeout,
                executions=training.executions,
                cv=training.cv,
                keep_checkpoints=training.keep_checkpoints,
                reuse_models=training.reuse_models,
                # The confirmation trains the twins of all that it confirms.
                twin_last=confirmation is None,
            )
            put_trials_back(folder, goals, partial(space_of, name, plan, trials))
            made = set_up(name, plan, trials)
        at_once = 1 if team is None else team.number
        listeners = [*stack.enter_context(watched(folder, verbose, at_once)), interrupts]
        stack.enter_context(told(folder, verbose, overwrite))
        if verbose and (missing := coverage_line(made.oracle)):
            print(missing, flush=True)
        names = [goal.name for goal in goals]
        context = context_of(data["train"], data["validation"], hypermodel, trials.compiled, names)
        info |= {**_pruner_of(name, optuna), "workers": at_once}
        info |= {"timeout": timeout} if timeout is not None and isfinite(timeout) else {}
        tracked: dict[str, Any] = {"tracking": replace(mlflow, uri=uri), "space": described}
        tracked |= {"context": context, "info": info}
        follow_up = None
        if confirmation is not None:
            follow_up = ConfirmationPlan(confirmation.top, confirmation.seeds, seed, None)
        if team is None:
            enqueue_first_trials(made.oracle)
            described_data = {
                "training": data["train"],
                "validation": data["validation"],
                "test": data["test"],
            }
            recorded = track(made, listeners=listeners, data=described_data, **tracked)
            if follow_up is not None:
                follow_up = replace(follow_up, test=data["test"])
            run(made, recorded, fit, follow_up)
        else:
            bare = replace(plan, hypermodel=None, sampler=None, pruner=None, storage=None)
            elsewhere = Search(name, bare, batch_size, tracked, follow_up)
            recorded = search_with_workers(ray, team, elsewhere, parts, listeners, made)
        return TuneResult(made, recorded)


def _pruner_of(tuner: str, optuna: Optuna) -> dict[str, str]:
    """Names the pruner of a search by what `Optuna` calls it; the oracle knows its class alone."""
    name = optuna.pruner or "halving"
    return {"pruner": name} if tuner == "optuna" and isinstance(name, str) else {}


def _new_folder(experiment: str) -> Path:
    """Names a folder that is not there yet, by the experiment and the time."""
    name = re.sub(r"[^\w.-]+", "-", experiment)[:50]
    first = Path("recdrop_runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    others = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return next(folder for folder in chain([first], others) if not folder.exists())
