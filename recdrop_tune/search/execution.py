"""`run`: the one path of a search, from its folder to its result, its trials run here or by workers."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras_tuner as kt

from recdrop_tune.backends import tracing_expected
from recdrop_tune.errors import (
    ProjectError,
    RecdropError,
    exception_line,
    invalid_argument,
    plain,
)
from recdrop_tune.events import STOPPED, Event, Listener, SearchStarted, TrackingWarning
from recdrop_tune.files import JOURNAL, SEARCH
from recdrop_tune.journal import Journal
from recdrop_tune.kernels import compilations_kept
from recdrop_tune.mlflow_store import Tracking
from recdrop_tune.oracle import (
    OptunaOracle,
    TooManyFailuresError,
    has_ended_by_failures,
    read_object,
    tried_of_all,
)
from recdrop_tune.ray_workers import Closed, Parcel, Team, connected, pack
from recdrop_tune.records import Records
from recdrop_tune.results import TuneResult
from recdrop_tune.search.confirm import check_confirmations
from recdrop_tune.search.first_trials import (
    coverage_line,
    enqueue_first_trials,
    known_points_line,
    warn_if_nothing_is_searched,
)
from recdrop_tune.search.identity import claim, plain_values
from recdrop_tune.search.interrupts import Interrupts
from recdrop_tune.search.plan import Plan
from recdrop_tune.search.settings import MLflow, Workers
from recdrop_tune.search.tuner_tracking import track
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.storage_errors import is_storage_failure, storage_failures_named
from recdrop_tune.terminal import Progress, Terminal, best_words, live_display, no_more_words
from recdrop_tune.tuner import differences, space_of


def run(plan: Plan) -> TuneResult:
    """Runs a search, or goes on with it in its folder.

    Raises:
        ProjectError: The folder holds another search, or cannot be written to; nothing was changed.
        RecdropError: The model cannot be built, or no trial could be completed.
        StorageError: A disk is full or broken.
    """
    with ExitStack() as stack:
        # First, so that all else is closed before it ends.
        interrupts = stack.enter_context(Interrupts())
        stack.enter_context(tracing_expected())
        stack.enter_context(compilations_kept(plan.compilation_cache))
        run_trials = stack.enter_context(runner(plan, plan.workers, plan.verbose, interrupts))
        stack.enter_context(storage_failures_named(plan.folder))
        if plan.overwrite:
            _space_of(
                plan
            )  # If the model cannot be built, the search in the folder is not deleted.
        held = stack.enter_context(claim(plan.folder, plan.identity, plan.seed, plan.overwrite))
        check_confirmations(plan.folder)
        plan = replace(plan, search_id=held.id, seed=held.seed)
        own_space = not isinstance(getattr(plan.model, "space", None), SearchSpace)
        if own_space and (plan.folder / "oracle.json").exists():
            _check_space(plan)
        tuner = plan.new_tuner()
        if plan.tuner == "optuna":
            enqueue_first_trials(tuner.oracle, plan.optuna.try_first)
        told = _warm_start(plan, tuner.oracle)
        if own_space:
            warn_if_nothing_is_searched(tuner.oracle, plan.space)
        progress = stack.enter_context(shown_progress(plan.folder, plan.verbose, plan.at_once))
        keep = " and overwrite=False" if plan.overwrite else ""
        how = f'run again with directory="{plan.folder}"{keep}'
        stack.enter_context(print_how_to_resume(plan.folder, how, plan.verbose))
        few: tuple[str | None, ...] = ()
        if plan.tuner == "optuna":
            few = coverage_line(tuner.oracle), known_points_line(tuner.oracle)
        for line in (*told, *few) if plan.verbose else ():
            if line is not None:
                print(line, flush=True)
        folder = plan.folder.absolute()
        # MLflow's readers are in another folder.
        known: dict[str, Any] = {
            "folder": folder,
            "go_on": f'run again with directory="{folder}"{keep}',
        }
        known |= {"search_id": held.id, "seed": held.seed}
        ended = run_trials(tuner, [*progress, interrupts], **known)
        check_completed(tuner, ended)
        return TuneResult(tuner, ended.tracking)


def _warm_start(plan: Plan, oracle: Any) -> list[str]:
    """Reads the trials of other searches; returns a line for each of their folders.

    Raises:
        InvalidArgumentError: Their scores do not compare with those of this search.
    """
    if not isinstance(oracle, OptunaOracle):
        return []
    now = plain_values(plan.identity)
    # An accuracy is the same measure whatever the loss.
    compared = {"objective", "epochs"} | ({"loss"} if "loss" in str(now["objective"]) else set())
    for folder in oracle.warm_start:
        there = (read_object(Path(folder) / SEARCH) or {}).get("identity")
        if not isinstance(there, dict):
            continue
        known = {key for key in compared if there.get(key) is not None and now[key] is not None}
        if lines := differences({k: there[k] for k in known}, {k: now[k] for k in known}):
            raise invalid_argument(
                "warm_start",
                expected="searches with the same objective, loss and epochs, whose scores compare",
                received=str(folder),
                fix="It differs in:\n" + "\n".join(lines),
            )
    return oracle.read_warm_start()


def _check_space(plan: Plan) -> None:
    """Raises if a build function asks for another space than the search in the folder has.

    Only its name is part of the search's identity, and Keras Tuner would resume with the old ranges.
    """
    saved = (read_object(plan.folder / "oracle.json") or {}).get("hyperparameters")
    try:
        there = space_of(kt.HyperParameters.from_config(saved))
    except (AttributeError, LookupError, TypeError, ValueError):
        return  # The oracle will name the damaged file.
    now = space_of(_space_of(plan))
    if lines := differences({name: there.get(name) for name in now}, now):
        raise ProjectError(
            f"The search in the folder `{plan.folder}` has another search space. It differs in:\n"
            + "\n".join(lines)
            + "\nGive another `directory`, or delete the search there with `overwrite=True`."
        )


def _space_of(plan: Plan) -> Any:
    """Returns the search space of a search that is not there yet, as `keras_tuner.HyperParameters`."""
    with tempfile.TemporaryDirectory() as folder:
        return plan.new_tuner(Path(folder, "search")).oracle.get_space()


# What is printed.


@contextmanager
def shown_progress(folder: Path, verbose: int, workers: int) -> Iterator[list[Listener]]:
    """Shows the progress of a search on the terminal.

    Args:
        folder: The project folder.
        verbose: 0 is silent; from 2 on, epochs are printed too.
        workers: How many trials run at the same time.

    Yields:
        The listeners of its events.
    """
    if not verbose:
        yield []
        return
    history, console = Journal(folder / JOURNAL).read(), Terminal(highlight=False)
    with live_display(console, history, workers) as display:
        lines = Progress(console, epochs=verbose > 1, history=history, workers=workers)
        yield [lines] if display is None else [lines, display]


@contextmanager
def print_how_to_resume(folder: Path, how: str, verbose: int) -> Iterator[None]:
    """Prints how to resume a search; on Ctrl-C the traceback ends with that and the best trial so far.

    Args:
        folder: The project folder.
        how: How to resume the search in it.
        verbose: 0 prints nothing at the start.
    """
    if verbose:
        print(f"Folder: {folder} (to resume: {how})", flush=True)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        # Notes come after the traceback. Printed lines would be above it, out of sight.
        interrupt.add_note(plain(f"Interrupted. Finished trials are kept in {folder}."))
        best = best_words(Records(Journal(folder / JOURNAL).read()))
        if best is not None:
            interrupt.add_note(plain(f"Best so far: {best}"))
        interrupt.add_note(plain(f"To resume: {how}"))
        raise


# The trials: here, or by workers.


class Ended(NamedTuple):
    """A search that has ended.

    Attributes:
        tracking: Its tracking.
        stopped_by: The failures that ended it, if they did.
    """

    tracking: Tracking
    stopped_by: str | None = None


Runner = Callable[..., Ended]
"""Runs the trials of a job: with its tuner in this process, which knows of them at the end; listeners, which
are told of the events; and, by name, values of the job that were not known when it was sent to workers."""


@contextmanager
def runner(
    job: Any, workers: Workers | None, verbose: int, interrupts: Interrupts
) -> Iterator[Runner]:
    """Yields what runs the trials of a job; of workers, Ray is connected and has been sent the job.

    Raises:
        InvalidArgumentError: A value of the job cannot be sent, or Ray has not what the workers ask for.
        RecdropError: There is no Ray.
    """
    if workers is None:
        yield partial(_run_here, job, interrupts)
        return
    with connected(workers, verbose) as ray:
        interrupts.listen()  # Ray has put its own handlers there.
        yield partial(_run_by_workers, ray, workers, pack(ray, job), job.tracking)


def _run_here(
    job: Any, interrupts: Interrupts, tuner: Any, listeners: Iterable[Listener], **later: Any
) -> Ended:
    """Runs the trials, and what follows, one after the other; ends the tracking, whatever happens."""
    job = replace(job, **later)
    tracking, follow_up = job.track(tuner, listeners), job.follow_up()
    tracking.stays_open = follow_up is not None
    args, fit = job.arguments()
    with tracking:
        try:
            with interrupts.kept():
                tuner.search(*args, **fit)
        except Exception as error:
            if is_storage_failure(error):  # Nothing more is written: what is under way runs again.
                raise
            over = has_ended_by_failures(tuner.oracle, error)
            _fail_ongoing(tuner, error)
            if over:
                raise too_many_failures(tuner) from None
            raise
        if follow_up is not None and completed(tuner) and tracking.can_begin():
            keep = partial(follow_up.keep, tuner, tracking)
            for task in follow_up.tasks(tuner, tracking):
                if not tracking.can_begin():
                    break
                follow_up.run(tuner, task, (args, fit), tracking.reporter, keep)
    return Ended(tracking)


def _fail_ongoing(tuner: Any, error: Exception) -> None:
    """Ends the trial that an error broke off, so that neither Optuna nor MLflow wait for it."""
    for trial in list(tuner.oracle.ongoing_trials.values()):
        if trial.status == "RUNNING":
            trial.status, trial.message = "FAILED", f"{type(error).__name__}: {error}"
            # Keras Tuner raises once more if this is one failure too many.
            with contextlib.suppress(RuntimeError):
                tuner.oracle.end_trial(trial)


def _run_by_workers(
    ray: Any,
    workers: Workers,
    parcel: Parcel,
    mlflow: MLflow,
    tuner: Any,
    listeners: Iterable[Listener],
    **later: Any,
) -> Ended:
    """Runs the trials in other processes, and gives what they have found to the tuner in this one."""
    parcel = parcel.changed(ray, **later)
    folder, audience = Path(tuner.project_dir).absolute(), list(listeners)

    def show(event: Event) -> None:
        for listener in list(audience):
            try:
                listener.on_event(event)
            except Exception as failure:  # A terminal that is gone ends no search.
                audience.remove(listener)
                what = f"{type(listener).__name__} failed and is left out: {failure}"
                warnings.warn(what, TrackingWarning, stacklevel=2)

    seen = len(Journal(folder / JOURNAL).read())
    note = partial(print, flush=True)
    try:
        team = Team(ray, parcel, workers, folder, actor_name(folder), show, note, seen)
        closed = team.search()
    except TooManyFailuresError as error:
        # Keras Tuner's own oracles raise it to the worker whose trial was the last of them.
        closed = Closed(stopped_by=str(error))
    return Ended(_tracking_of(tuner, mlflow, closed), closed.stopped_by)


def actor_name(folder: Path) -> str:
    """Names a search in a cluster by its project folder, of which only one process may be at work."""
    return f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


def _tracking_of(tuner: Any, mlflow: MLflow, closed: Closed) -> Tracking:
    """Reads what a search in other processes has found; returns its tracking as it would be here."""
    with contextlib.redirect_stdout(io.StringIO()):
        tuner.reload()
    tracking = track(tuner, mlflow)
    history = Journal(tracking.journal_path).read()
    begun = next((each for each in history[::-1] if isinstance(each, SearchStarted)), None)
    if begun is not None:
        tracking.space, tracking.context = begun.space, begun.context
    tracking.adopt(closed.experiment_id, closed.failure, closed.run_ids)
    tracking.unsaved = closed.unsaved
    return tracking


# How a search has failed, in words.


def too_many_failures(tuner: Any) -> RecdropError:
    """Makes the error of a search that ended because its trials failed."""
    messages = [trial.message for trial in tuner.oracle.trials.values() if trial.message]
    # A trial of an earlier session has its message from a file.
    last = plain(messages[-1].strip()) if messages else "no message"
    done = completed(tuner)
    what = f"{done} were completed before" if done else "none was completed"
    line = exception_line(last)
    whole = last if line == last else f"{line}\n\n{last}"
    return RecdropError(
        f"The search ended because its trials failed; {what}. The folder is "
        f"`{tuner.project_dir}`. The last trial failed with:\n{whole}"
    )


def nothing_ended(tuner: Any) -> RecdropError:
    """Makes the error of a search none of whose trials has ended, well or badly."""
    begun, timeout = len(tuner.oracle.trials), getattr(tuner.oracle, "timeout", None)
    what = f"none of {begun} that were begun before has ended" if begun else "none was begun"
    why, remedy = "the tuner proposed no configuration", "Give it a larger `max_trials`"
    if timeout is not None:
        why = f"the {timeout:g} seconds of `timeout` were over before one could begin"
        remedy = "Run again with a larger `timeout`, or without one"
    return RecdropError(
        f"No trial was completed: {what}, for {why}. {remedy}. The folder is `{tuner.project_dir}`."
    )


def check_completed(tuner: Any, ended: Ended) -> None:
    """Raises if a search ended without a complete trial, or by failures in a row.

    Args:
        tuner: The tuner.
        ended: Its end.

    Raises:
        RecdropError: It did.
    """
    statuses = [trial.status for trial in tuner.oracle.trials.values()]
    pruned, failed = statuses.count("STOPPED"), statuses.count("FAILED")
    early = ended.tracking.records.no_more
    if not (ended.stopped_by or completed(tuner)) and early and early.reason == STOPPED:
        raise RecdropError(
            f"{no_more_words(ended.tracking.records)} None is complete. The folder is "
            f"`{tuner.project_dir}`: run again with it as `directory` to go on."
        )
    if not (ended.stopped_by or completed(tuner) or pruned or failed):
        raise nothing_ended(tuner)
    if ended.stopped_by or not (completed(tuner) or pruned):
        raise too_many_failures(tuner)
    if completed(tuner):
        return
    how = f"{pruned} were pruned and {failed} failed" if failed else "all were pruned"
    on = "Go on in it with a larger `max_trials`, and with"
    counts = tried_of_all(tuner.oracle)
    if counts is not None and counts[0] == counts[1]:
        on = (
            "No configuration of the search space is left to be tried: begin in another one, or with "
            "`overwrite=True`, and with"
        )
    raise RecdropError(
        f"No trial was completed: of {len(statuses)} trials {how}. A pruned trial is stopped before its "
        "last epoch because it promises nothing, and does not count. The folder is "
        f"`{tuner.project_dir}`. {on} "
        'tuner=rdt.Optuna(pruner="none") or a pruner that leaves trials more epochs.'
    )


def completed(tuner: Any) -> int:
    """Counts the complete trials."""
    return sum(trial.status == "COMPLETED" for trial in tuner.oracle.trials.values())
