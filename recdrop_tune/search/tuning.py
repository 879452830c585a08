"""`tune` itself: wiring only."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain, count
from math import isfinite
from pathlib import Path
from typing import Any

from recdrop_tune.kernels import check_seed
from recdrop_tune.mlflow_store import absolute, check_model_name, check_system_metrics, resolve_uri
from recdrop_tune.oracle import check_seconds
from recdrop_tune.ray_workers import connected, put_parts
from recdrop_tune.results import TuneResult
from recdrop_tune.search import project as project
from recdrop_tune.search.checks import (
    callback_list,
    check_confirmation,
    check_fit_arguments,
    check_flags,
    check_integers,
    check_optuna,
    check_words,
    described_cv,
    expanded,
    proposals,
    validation_data,
    worker_resources,
)
from recdrop_tune.search.confirm import ConfirmationPlan
from recdrop_tune.search.context import context_of
from recdrop_tune.search.data_arguments import check_data, check_finite, data_of, fit_arguments
from recdrop_tune.search.first_trials import coverage_line, enqueue_first_trials
from recdrop_tune.search.hypermodel_of import TrialHyperModel, as_hypermodel
from recdrop_tune.search.interrupts import Interrupts
from recdrop_tune.search.mended import put_trials_back
from recdrop_tune.search.run_by_workers import Search, search_with_workers
from recdrop_tune.search.run_here import run, set_up, space_of, told, watched
from recdrop_tune.search.tuner_tracking import track
from recdrop_tune.storage_errors import storage_failures_named
from recdrop_tune.tuner import SearchPlan, as_objectives, check_arguments


def tune(
    train: Any,
    validation: Any = None,
    *,
    space: object = "quick",
    objective: Any = "val_loss",
    tuner: str = "optuna",
    max_trials: int = 20,
    epochs: int = 20,
    batch_size: int = 32,
    experiment: str = "recdrop-tune",
    tracking_uri: str | None = None,
    directory: str | Path | None = None,
    seed: int | None = None,
    hypermodel: Any = None,
    sampler: Any = None,
    pruner: Any = None,
    storage: Any = None,
    timeout: float | None = None,
    executions_per_trial: int = 1,
    cv: Any = None,
    confirm: int = 0,
    confirm_seeds: int = 5,
    test: Any = None,
    register_model: str | None = None,
    system_metrics: bool = False,
    keep_checkpoints: int | None = 5,
    reuse_models: int = 4,
    callbacks: Iterable[Any] | None = (),
    workers: int | None = None,
    gpus_per_trial: float | None = None,
    cpus_per_trial: float = 1,
    ray_address: str | None = None,
    trial_timeout: float | None = None,
    verbose: int = 1,
    overwrite: bool = False,
    **fit_kwargs: Any,
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
        space: A preset's name, a YAML file, a mapping or a `SearchSpace`.
        objective: The metric to optimize, or a `keras_tuner.Objective`; or a list of them, for a Pareto
            front (tuner `"optuna"` only). `ms_per_step` is a metric of every model.
        tuner: `"optuna"`, `"random"`, `"bayesian"`, `"hyperband"` or `"grid"`.
        max_trials: The most trials that are run, the twin of the best one included.
        epochs: Epochs of one trial.
        batch_size: Samples a batch, for arrays.
        experiment: Name of the MLflow experiment.
        tracking_uri: Where MLflow keeps its runs. By default what `MLFLOW_TRACKING_URI` says, else
            `sqlite:///mlflow.db`.
        directory: The project folder. By default a new one in `recdrop_runs`. A folder that holds
            the same search goes on with it, up to `max_trials`.
        seed: Seed of the proposals and of every trial: the same seed gives the same search, as far as
            the device's kernels are deterministic. Python's, NumPy's and Keras's global random states
            are set by it. 0 is a seed.
        hypermodel: A `keras_tuner.HyperModel` or a function that builds a model from `hp`. By default
            the data say which: `SequenceClassifier`, `SequenceRegressor`, `SequenceTagger` or
            `LanguageModel`, made by `from_data(train, space)`.
        sampler: Optuna sampler or the name of one: `"surrogate"` (the default; `"tpe"` with several
            objectives), `"tpe"`, `"random"`, `"qmc"`, `"gp"`, `"cmaes"`, `"nsga2"`; for the tuner
            `"optuna"` only.
        pruner: Optuna pruner or the name of one: `"halving"` (the default), `"patient_median"`,
            `"median"`, `"percentile"`, `"asha"`, `"hyperband"`, `"none"`; for the tuner `"optuna"`
            only. A trial always gets a third of its epochs, and at least ten: dropout slows the first
            ones down.
        storage: Optuna storage or storage URL; by default a file in the project folder.
        timeout: Seconds after which no more trials are begun, but for the twin of the best configuration;
            for the tuner `"optuna"` only.
        executions_per_trial: Trainings of each trial, whose mean counts. The result has their spread; the
            best model has the weights of the training with the best epoch.
        cv: Number of folds, or a splitter such as `sklearn.model_selection.TimeSeriesSplit()`, in place
            of `validation`: each trial is trained once for each fold. The result has the spread over the
            folds; the best model has the weights of its best fold, and is not trained on all data.
        confirm: How many of the best configurations to train again after the search, together with the
            twin of each, the best one without dropout and the best one with Keras's own, all with the
            same fresh seeds. Without it the best of many noisy trials looks better than it is.
        confirm_seeds: How many times each of them is trained.
        test: Data as `validation`, looked at in the confirmation alone, whose verdict is read on them.
        register_model: A name for the best model in MLflow's registry, where it gets the alias
            `champion`; by default it is not registered.
        system_metrics: Whether the use of processors, memory and GPUs is recorded for each trial; needs
            the extra `system-metrics`.
        keep_checkpoints: Of how many trials the weights are kept; `None` for all.
        reuse_models: How many compiled models are kept for trials of the same structure; 0 for none.
        callbacks: Keras callbacks (or one) for every training, each of which gets a copy; or functions
            that make one.
        workers: How many trials run at the same time, each in a process of its own, with Ray (extra
            `ray`). By default they run one after the other in this process. What the workers are sent has
            to be picklable: for a `tf.data.Dataset` pass a function that makes it.
        gpus_per_trial: GPUs of each worker, also a fraction: 0.25 has four share a GPU. By default an
            equal share of the GPUs that Ray sees, one at most.
        cpus_per_trial: CPU cores of each worker.
        ray_address: A Ray cluster: `"auto"` for the one that this machine belongs to, `"host:port"` or
            `"ray://host:port"`. By default the one that this process or `RAY_ADDRESS` names, else a Ray of
            its own on this machine.
        trial_timeout: Seconds after which a trial's worker counts as hanging: it is killed, and the trial
            runs again, three times at most.
        verbose: 0 is silent, 1 prints the folder and a line a trial, 2 a line an epoch as well (and what
            workers print).
        overwrite: Whether to delete the search in `directory`, this one or another, and to begin anew.
        **fit_kwargs: Further arguments of `Model.fit`, or of a `fit` of the hypermodel's own.

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
    max_trials, epochs, batch_size, executions_per_trial, confirm_seeds = check_integers(
        max_trials=max_trials,
        epochs=epochs,
        batch_size=batch_size,
        executions_per_trial=executions_per_trial,
        confirm_seeds=confirm_seeds,
    )
    seed = check_seed(seed)
    check_flags(system_metrics=system_metrics, overwrite=overwrite)
    check_arguments(keep_checkpoints, reuse_models)
    check_confirmation(confirm, test)
    check_model_name(register_model)
    if system_metrics:
        check_system_metrics()
    check_words(experiment, directory, verbose)
    resources = worker_resources(
        workers,
        gpus_per_trial,
        cpus_per_trial,
        ray_address,
        trial_timeout,
        system_metrics=system_metrics,
        storage=storage,
    )
    at_once = 1 if resources is None else resources.workers
    goals, uri = as_objectives(objective), absolute(resolve_uri(tracking_uri))
    timeout = check_seconds("timeout", timeout)
    options = {"sampler": sampler, "pruner": pruner, "storage": storage, "timeout": timeout}
    check_optuna(tuner, options, goals, uri)
    check_fit_arguments(fit_kwargs, hypermodel, inspect.signature(tune).parameters)
    checking = validation_data(goals, validation, fit_kwargs, cv)
    given = {"train": train, "validation": validation, "test": test}
    data = {name: data_of(each) for name, each in given.items()}
    fit = {**fit_arguments(data["train"], data["validation"], batch_size), "epochs": epochs}
    fit |= {**fit_kwargs, "callbacks": callback_list(callbacks)}
    checking = data_of(checking) if validation is None else data["validation"]
    check_data("validation_data", checking)
    check_data("test", data["test"])
    if "validation_data" in fit_kwargs:
        fit["validation_data"] = checking
    check_finite({**data, "validation": checking}, own_model=hypermodel is not None)
    model, described = as_hypermodel(hypermodel, data["train"], checking, space)
    info: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    how: dict[str, Any] = {"executions": executions_per_trial, "cv": described_cv(cv)}
    search = project.Fingerprint(described, **project.named(goals), tuner=tuner, **info, **how)
    with ExitStack() as stack:
        interrupts = stack.enter_context(
            Interrupts()
        )  # First, so that all else is closed before it ends.
        if resources is not None:
            ray = stack.enter_context(connected(resources, verbose))
            interrupts.listen()
            own = {"hypermodel": model, "callbacks": fit["callbacks"], **fit_kwargs}
            own |= {"sampler": sampler, "pruner": pruner, "storage": storage}
            parts = put_parts(ray, {**given, **own})
        folder = _new_folder(experiment) if directory is None else expanded(directory)
        stack.enter_context(storage_failures_named(folder))
        with project.claimed(folder, search, overwrite, until=stack) as search_id:
            trials = TrialHyperModel(model, goals)
            plan = SearchPlan(
                trials,
                goals,
                max_trials,
                epochs,
                folder.absolute(),
                seed,
                study_name=f"{folder.name}-{search_id[:8]}",
                executions=executions_per_trial,
                cv=cv,
                keep_checkpoints=keep_checkpoints,
                reuse_models=reuse_models,
                twin_last=not confirm,  # The confirmation trains the twins of all that it confirms.
                **options,
            )
            put_trials_back(folder, goals, partial(space_of, tuner, plan, trials))
            made = set_up(tuner, plan, trials)
        listeners = [*stack.enter_context(watched(folder, verbose, at_once)), interrupts]
        stack.enter_context(told(folder, verbose, overwrite))
        if verbose and (missing := coverage_line(made.oracle)):
            print(missing, flush=True)
        tracked: dict[str, Any] = {"experiment": experiment, "tracking_uri": uri}
        tracked |= {"space": described, "register_model": register_model}
        names = [goal.name for goal in goals]
        tracked["context"] = context_of(data["train"], checking, model, trials.compiled, names)
        tracked["info"] = {**info, **proposals(options, tuner), "workers": at_once}
        tracked["info"] |= {"timeout": timeout} if timeout is not None and isfinite(timeout) else {}
        confirmation = ConfirmationPlan(confirm, confirm_seeds, seed, None) if confirm else None
        if resources is None:
            enqueue_first_trials(made.oracle)
            described_data = {
                "training": data["train"],
                "validation": checking,
                "test": data["test"],
            }
            tracking = track(
                made,
                listeners=listeners,
                data=described_data,
                system_metrics=system_metrics,
                **tracked,
            )
            if confirmation is not None:
                confirmation = replace(confirmation, test=data["test"])
            run(made, tracking, fit, confirmation)
        else:
            bare = replace(plan, hypermodel=None, sampler=None, pruner=None, storage=None)
            elsewhere = Search(tuner, bare, batch_size, tuple(fit_kwargs), tracked, confirmation)
            tracking = search_with_workers(ray, resources, elsewhere, parts, listeners, made)
        return TuneResult(made, tracking)


def _new_folder(experiment: str) -> Path:
    """Names a folder that is not there yet, by the experiment and the time."""
    name = re.sub(r"[^\w.-]+", "-", experiment)[:50]
    first = Path("recdrop_runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    others = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return next(folder for folder in chain([first], others) if not folder.exists())
