"""Runs the trials of a search, in this process or in workers, then its confirmation."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from recdrop_tune.errors import RecdropError, failure_text, is_disk_failure, plain
from recdrop_tune.events import STOPPED, Event, Listener, TrackingWarning
from recdrop_tune.files import JOURNAL
from recdrop_tune.journal import Journal
from recdrop_tune.oracle import TooManyFailuresError
from recdrop_tune.ray_workers import Parcel, Team, connected, pack
from recdrop_tune.records import Records
from recdrop_tune.search.interrupts import Interrupts
from recdrop_tune.search.settings import MLflow, Workers
from recdrop_tune.search.tuner_tracking import track_in
from recdrop_tune.session import SearchSession
from recdrop_tune.states import SearchOutcome, TrialState
from recdrop_tune.terminal import format_ending
from recdrop_tune.tuner import Tuner

Runner = Callable[..., SearchSession]
"""Runs the trials of a job, and returns the tracking of the search that has ended.

It takes the tuner, which has all results afterwards; the records, which it keeps up to date; listeners for
the events; and, by name, attributes of the job that were unknown when it was sent to the workers.
"""


@contextmanager
def runner(
    job: Any, workers: Workers | None, verbose: int, interrupts: Interrupts
) -> Iterator[Runner]:
    """Yields a function that runs the trials of a job. With workers, it connects to Ray and sends the job."""
    if workers is None:
        yield partial(_run_here, job, interrupts)
        return
    with connected(workers, verbose) as ray:
        interrupts.listen()  # Ray has replaced the signal handlers.
        yield partial(_run_in_workers, ray, workers, pack(ray, job), job.tracking)


def _run_here(
    job: Any,
    interrupts: Interrupts,
    tuner: Tuner,
    records: Records,
    listeners: Iterable[Listener],
    **later: Any,
) -> SearchSession:
    """Runs the trials, and then the confirmation, one after the other. Always closes the tracking."""
    job = replace(job, **later)
    tracking: SearchSession = job.track(tuner, records, listeners)
    follow_up = job.follow_up()
    tracking.stays_open = follow_up is not None
    args, fit = job.arguments()
    with tracking:
        try:
            with interrupts.reraise_lost():
                tuner.search(*args, **fit)
        except Exception as error:
            if not is_disk_failure(error):  # Otherwise the running trials will run again.
                _fail_running_trials(tuner.oracle, f"{type(error).__name__}: {error}")
            if isinstance(error, TooManyFailuresError):
                raise _too_many_failures(tuner.project_dir, records) from None
            raise
        if follow_up is None:
            return tracking
        keep = partial(follow_up.keep, tuner, tracking)
        while tracking.can_begin() and (tasks := follow_up.tasks(tuner, tracking)):
            for task in tasks:
                if tracking.can_begin():
                    reporter, guard = tracking.reporter, interrupts.reraise_lost
                    follow_up.run(tuner, task, (args, fit), reporter, keep, guard)
    return tracking


def _fail_running_trials(oracle: Any, message: str) -> None:
    """Ends the running trials of a search that failed, or Optuna and MLflow would wait for them."""
    for trial in list(oracle.ongoing_trials.values()):
        if trial.status == TrialStatus.RUNNING:
            trial.status, trial.message = TrialStatus.FAILED, message
            # It raises again if this is one failure too many.
            with contextlib.suppress(TooManyFailuresError):
                oracle.end_trial(trial)


def actor_name(folder: Path) -> str:
    """Names a search in a cluster after its project folder, which one process at a time may use."""
    return f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


def _run_in_workers(
    ray: Any,
    workers: Workers,
    parcel: Parcel,
    mlflow: MLflow | None,
    tuner: Tuner,
    records: Records,
    listeners: Iterable[Listener],
    **later: Any,
) -> SearchSession:
    """Runs the trials in other processes, and loads their results into the tuner in this process."""
    parcel = parcel.changed(ray, **later)
    folder, audience = Path(tuner.project_dir).absolute(), list(listeners)
    # Only one process at a time searches in a folder.
    actor = actor_name(folder)

    def show(event: Event) -> None:
        records.on_event(event)
        for listener in list(audience):
            try:
                listener.on_event(event)
            except Exception as failure:  # A closed terminal must not end the search.
                audience.remove(listener)
                what = f"{type(listener).__name__} failed and is not used any more: {failure}"
                warnings.warn(what, TrackingWarning, stacklevel=2)

    seen = len(Journal(folder / JOURNAL).read())
    note = partial(print, flush=True)
    end = Team(ray, parcel, workers, folder, actor, show, note, seen).search()
    with contextlib.redirect_stdout(io.StringIO()):
        tuner.reload()
    tracking = track_in(mlflow, tuner, records=records)
    tracking.adopt(*end)
    return tracking


def check_completed(folder: str | Path, records: Records) -> None:
    """Raises if a search ended without a complete trial, or because its trials failed."""
    states = _states(records)
    is_stopped = records.no_more is not None and records.no_more.reason == STOPPED
    if records.ended is not None and records.ended.status == SearchOutcome.FAILED:
        raise _too_many_failures(folder, records)
    if states[TrialState.COMPLETE]:
        return
    failed, pruned = states[TrialState.FAILED], states[TrialState.PRUNED]
    if failed and not (pruned or is_stopped):
        raise _too_many_failures(folder, records)
    why = "the tuner proposed no configuration, or `timeout` was over before one could end."
    if is_stopped:
        why = f"{format_ending(records)} To resume, run again with the folder as `directory`."
    elif pruned:
        how = f"{pruned} were pruned and {failed} failed" if failed else "all were pruned"
        why = (
            f"of {len(records.trials)} trials {how}. A pruned trial stops before its last epoch and does not "
            'count. Resume with a larger `max_trials`, and with tuner=rdt.Optuna(pruner="none"), or a pruner '
            "that gives trials more epochs."
        )
    raise RecdropError(f"No trial was completed: {why} The folder is `{folder}`.")


def _too_many_failures(folder: str | Path, records: Records) -> RecdropError:
    """Makes the error of a search that ended because its trials failed."""
    ends = [each.ended for each in records.trials.values() if each.ended]
    messages = [end.message for end in ends if end.message]
    # The message of an earlier session's trial comes from a file.
    last = plain(failure_text(messages[-1])) if messages else "no message"
    complete = _states(records)[TrialState.COMPLETE]
    what = f"{complete} were completed before" if complete else "none was completed"
    return RecdropError(
        f"The search ended because its trials failed; {what}. The folder is `{folder}`. The last trial "
        f"failed with:\n{last}"
    )


def _states(records: Records) -> Counter[TrialState]:
    """Counts the trials by state."""
    return Counter(each.state for each in records.trials.values())
