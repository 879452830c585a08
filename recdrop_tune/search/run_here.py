"""Runs a search: sets it up, ends it whatever happens, and says in words how it failed."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from recdrop_tune.errors import RecdropError, exception_line, plain
from recdrop_tune.events import FILE, Journal, Listener, readable
from recdrop_tune.mlflow_store import Tracking
from recdrop_tune.search.confirm import ConfirmationPlan, confirm
from recdrop_tune.search.hypermodel_of import TrialHyperModel
from recdrop_tune.storage_errors import is_storage_failure
from recdrop_tune.terminal import Progress, Terminal, live_display
from recdrop_tune.tuner import SearchPlan, make_tuner


def set_up(name: str, plan: SearchPlan, model: TrialHyperModel) -> Any:
    """Makes the tuner, which builds the model under every condition of its space.

    Args:
        name: Name of the tuner.
        plan: The search.
        model: Its hypermodel.

    Raises:
        RecdropError: The model cannot be built.
    """
    try:
        # Keras Tuner prints that it goes on with a search, however quiet it is told to be.
        with contextlib.redirect_stdout(io.StringIO()):
            return make_tuner(name, plan)
    except RecdropError:
        raise
    except Exception as error:
        if is_storage_failure(error):
            raise
        what = f"The search cannot be set up in `{plan.directory}`"
        if model.building is not None:
            active = readable(model.building).items()
            values = ", ".join(f"{name}={value!r}" for name, value in active if value is not None)
            what = f"The model cannot be built with {values or 'no hyperparameters'}"
        raise RecdropError(f"{what}: {type(error).__name__}: {error}") from error


def space_of(name: str, plan: SearchPlan, model: TrialHyperModel) -> Any:
    """Returns the search space of a search that is not there yet, as `keras_tuner.HyperParameters`.

    Args:
        name: Name of the tuner.
        plan: The search; its folder is not looked at.
        model: Its hypermodel.

    Raises:
        RecdropError: The model cannot be built.
    """
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = replace(plan, directory=Path(folder, "search"), storage=None)
        return set_up(name, elsewhere, model).oracle.get_space()


@contextlib.contextmanager
def watched(folder: Path, verbose: int, workers: int) -> Iterator[list[Listener]]:
    """Has the progress of a search be seen for as long as the block runs.

    Args:
        folder: The project folder.
        verbose: 0 is silent; from 2 on, epochs are printed too.
        workers: How many trials run at the same time.

    Yields:
        Who is to be told of the events.
    """
    if not verbose:
        yield []
        return
    history, console = Journal(folder / FILE).read(), Terminal(highlight=False)
    with live_display(console, history, workers) as display:
        lines = Progress(console, epochs=verbose > 1, history=history, workers=workers)
        yield [lines] if display is None else [lines, display]


@contextlib.contextmanager
def told(folder: Path, verbose: int, overwrite: bool) -> Iterator[None]:
    """Says at the start, and again if the user breaks off, where the search can be gone on with."""
    kept = " and overwrite=False" if overwrite else ""
    again = f'run again with directory="{folder}"{kept} to go on'
    if verbose:
        print(f"Folder: {folder} ({again})", flush=True)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        # Printed, it would stand above a long traceback.
        interrupt.add_note(f"Broken off. What is finished is kept in {folder}: {again}")
        raise


def run(
    tuner: Any,
    tracking: Tracking,
    fit: dict[str, Any],
    confirmation: ConfirmationPlan | None = None,
) -> None:
    """Runs the search and its confirmation, and ends the tracking, whatever happens.

    Raises:
        RecdropError: No trial was completed, or too many failed in a row.
        StorageError: A disk is full or broken.
    """
    tracking.goes_on_after_search = confirmation is not None
    with tracking:
        try:
            tuner.search(**fit, verbose=0)
        except Exception as error:
            if is_storage_failure(error):  # Nothing more is written: what is under way runs again.
                raise
            _fail_ongoing(tuner, error)
            if "consecutive failures" in str(error):
                raise too_many_failures(tuner) from None
            raise
        if confirmation is not None and completed(tuner):
            confirm(tuner, tracking, {**fit, "verbose": 0}, confirmation)
    check_completed(tuner)


def _fail_ongoing(tuner: Any, error: Exception) -> None:
    """Ends the trial that an error broke off, so that neither Optuna nor MLflow wait for it."""
    for trial in list(tuner.oracle.ongoing_trials.values()):
        if trial.status == "RUNNING":
            trial.status, trial.message = "FAILED", f"{type(error).__name__}: {error}"
            # Keras Tuner raises once more if this is one failure too many.
            with contextlib.suppress(RuntimeError):
                tuner.oracle.end_trial(trial)


def too_many_failures(tuner: Any) -> RecdropError:
    """Makes the error of a search that ended because its trials failed."""
    messages = [trial.message for trial in tuner.oracle.trials.values() if trial.message]
    # A trial of an earlier session has its message from a file.
    last = plain(messages[-1].strip()) if messages else "no message"
    done = completed(tuner)
    what = f"{done} were completed before" if done else "none was completed"
    return RecdropError(
        f"The search ended because its trials failed; {what}. The folder is "
        f"`{tuner.project_dir}`. The last trial failed with:\n{exception_line(last)}\n\n{last}"
    )


def check_completed(tuner: Any, stopped_by: Any = None) -> None:
    """Raises if a search ended without a complete trial, or by failures in a row.

    Args:
        tuner: The tuner.
        stopped_by: The failures that ended the search, if they did.

    Raises:
        RecdropError: It did.
    """
    statuses = [trial.status for trial in tuner.oracle.trials.values()]
    pruned, failed = statuses.count("STOPPED"), statuses.count("FAILED")
    if stopped_by or not (completed(tuner) or pruned):
        raise too_many_failures(tuner)
    if completed(tuner):
        return
    how = f"{pruned} were pruned and {failed} failed" if failed else "all were pruned"
    raise RecdropError(
        f"No trial was completed: of {len(statuses)} trials {how}. A pruned trial is stopped before its "
        "last epoch because it promises nothing, and does not count. The folder is "
        f'`{tuner.project_dir}`. Run again with tuner=rdt.Optuna(pruner="none"), with a pruner '
        "that leaves trials more epochs, or with a larger `max_trials`, which goes on in this folder."
    )


def completed(tuner: Any) -> int:
    """Counts the complete trials."""
    return sum(trial.status == "COMPLETED" for trial in tuner.oracle.trials.values())
