"""`tune` itself: wiring only."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.errors import RecdropError, invalid_argument
from recdrop_tune.facade import _project as project
from recdrop_tune.facade._baselines import enqueue_baselines
from recdrop_tune.facade._checks import check_integers, check_storage, check_validation
from recdrop_tune.facade._data import fit_arguments
from recdrop_tune.facade._trials import FunctionHyperModel, TrialHyperModel
from recdrop_tune.hypermodels import SequenceClassifier
from recdrop_tune.results import TuneResult
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.tracking import Journal, Progress, Tracking, track
from recdrop_tune.tracking._uris import resolve_uri
from recdrop_tune.tuner import SearchPlan, as_objective, make_tuner


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
    storage: Any = None,
    callbacks: Iterable[Any] = (),
    verbose: int = 1,
    overwrite: bool = False,
    **fit_kwargs: Any,
) -> TuneResult:
    """Searches for the recurrent dropout that suits the data: which one, where, and how much.

    With the default tuner the search tries its baselines first, if the space offers them: no dropout,
    then Keras's own dropout, each with the middle value of everything else.

    Args:
        train: `(x, y)` or `(x, y, sample_weight)` arrays, a `tf.data.Dataset` or a
            `keras.utils.PyDataset`.
        validation: The same, for the objectives that start with `val_`.
        space: A preset's name, a YAML file, a mapping or a `SearchSpace`.
        objective: The metric to optimize, or a `keras_tuner.Objective`.
        tuner: `"optuna"`, `"random"`, `"bayesian"`, `"hyperband"` or `"grid"`.
        max_trials: The most trials that are run.
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
        hypermodel: A `keras_tuner.HyperModel` or a function that builds a model from `hp`, instead
            of `SequenceClassifier.from_data(train, space)`.
        storage: Optuna storage or storage URL; by default a file in the project folder.
        callbacks: Keras callbacks for every training; each gets a copy.
        verbose: 0 is silent, 1 prints a line a trial, 2 a line an epoch as well.
        overwrite: Whether to delete another search in `directory`.
        **fit_kwargs: Further arguments of `Model.fit`.

    Returns:
        The result: the trials as a data frame, the best model, a summary.

    Raises:
        InvalidArgumentError: An argument cannot be worked with; nothing was started.
        ProjectError: The folder holds another search; nothing was changed.
        ObjectiveNotReportedError: The model does not report the objective.
        RecdropError: No trial could be completed.

    Example:
        >>> result = tune((x, y), (x_val, y_val), space="quick", max_trials=30, seed=0)
        >>> print(result.summary())
    """
    check_integers(max_trials=max_trials, epochs=epochs, batch_size=batch_size, seed=seed)
    goal, uri = as_objective(objective), resolve_uri(tracking_uri)
    check_storage(tuner, storage, uri)
    check_validation(goal.name, validation, fit_kwargs)
    fit = {**fit_arguments(train, validation, batch_size), "epochs": epochs, **fit_kwargs}
    model, described = _hypermodel(hypermodel, train, space)
    info: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    search = project.Fingerprint(described, goal.name, goal.direction, tuner, **info)
    folder = _new_folder(experiment) if directory is None else Path(directory)
    search_id = project.claim(folder, search, overwrite)
    plan = SearchPlan(TrialHyperModel(model, goal, seed), goal, max_trials, epochs, folder, seed)
    name = f"{folder.name}-{search_id[:8]}"
    made = make_tuner(tuner, replace(plan, storage=storage, study_name=name))
    project.write(folder, search_id, search)
    enqueue_baselines(made.oracle)
    tracking = track(
        made,
        experiment=experiment,
        tracking_uri=uri,
        listeners=[_progress(folder, verbose)] if verbose else [],
        space=described,
        info=info,
    )
    _search(made, tracking, {**fit, "callbacks": list(callbacks)})
    return TuneResult(made, tracking)


def _progress(folder: Path, verbose: int) -> Progress:
    return Progress(epochs=verbose > 1, history=Journal(folder / "events.jsonl").read())


def _search(tuner: Any, tracking: Tracking, fit: dict[str, Any]) -> None:
    """Runs the search and ends the tracking, whatever happens."""
    with tracking:
        try:
            tuner.search(**fit, verbose=0)
        except Exception as error:
            _fail_ongoing(tuner, error)
            if "consecutive failures" in str(error):
                raise _too_many_failures(tuner) from None
            raise
    if not _completed(tuner):
        raise _too_many_failures(tuner)


def _fail_ongoing(tuner: Any, error: Exception) -> None:
    """Ends the trial that an error broke off, so that neither Optuna nor MLflow wait for it."""
    for trial in list(tuner.oracle.ongoing_trials.values()):
        if trial.status == "RUNNING":
            trial.status, trial.message = "FAILED", f"{type(error).__name__}: {error}"
            # Keras Tuner raises once more if this is one failure too many.
            with contextlib.suppress(RuntimeError):
                tuner.oracle.end_trial(trial)


def _too_many_failures(tuner: Any) -> RecdropError:
    messages = [trial.message for trial in tuner.oracle.trials.values() if trial.message]
    last = messages[-1].strip() if messages else "no message"
    done = _completed(tuner)
    what = f"{done} were completed before" if done else "none was completed"
    return RecdropError(
        f"The search ended because its trials failed; {what}. The folder is "
        f"`{tuner.project_dir}`. The last trial failed with:\n{last.rpartition(chr(10))[2]}\n\n{last}"
    )


def _completed(tuner: Any) -> int:
    return sum(trial.status == "COMPLETED" for trial in tuner.oracle.trials.values())


def _hypermodel(hypermodel: Any, train: Any, space: object) -> tuple[Any, str]:
    """Returns the hypermodel, and its space in words."""
    if hypermodel is None:
        hypermodel = SequenceClassifier.from_data(train, space=space)
    elif space != "quick":
        raise invalid_argument(
            "space",
            expected="no value beside a `hypermodel`, which has a space of its own",
            received=space,
        )
    own = getattr(hypermodel, "space", None)
    if isinstance(own, SearchSpace):
        return hypermodel, own.to_yaml()
    if isinstance(hypermodel, kt.HyperModel):
        return hypermodel, f"hypermodel {_qualified(type(hypermodel))}"
    if callable(hypermodel):
        return FunctionHyperModel(hypermodel), f"function {_qualified(hypermodel)}"
    raise invalid_argument(
        "hypermodel",
        expected="a keras_tuner.HyperModel or a function that builds a model from `hp`",
        received=hypermodel,
    )


def _qualified(thing: Any) -> str:
    return f"{thing.__module__}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _new_folder(experiment: str) -> Path:
    """Names a folder that is not there yet, by the experiment and the time."""
    name = re.sub(r"[^\w.-]+", "-", experiment)
    first = Path("recdrop_runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    others = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return next(folder for folder in chain([first], others) if not folder.exists())
