"""Runs a search by `tune`, from its folder to its result; its trials run in this process or in workers."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import TrialStatus

from recdrop_tune.backends import tracing_expected
from recdrop_tune.errors import (
    ProjectError,
    RecdropError,
    failure_text,
    invalid_argument,
    is_disk_failure,
    plain,
)
from recdrop_tune.events import STOPPED, Listener
from recdrop_tune.files import JOURNAL, SEARCH, read_object
from recdrop_tune.journal import Dispatcher, Journal
from recdrop_tune.kernels import compilations_kept
from recdrop_tune.oracle import OptunaOracle, TooManyFailuresError, read_space
from recdrop_tune.ray_workers import Parcel, Team, connected, pack
from recdrop_tune.records import Records
from recdrop_tune.results import TuneResult, read_records
from recdrop_tune.search.first_trials import untried_lines
from recdrop_tune.search.identity import claim, plain_values
from recdrop_tune.search.interrupts import Interrupts
from recdrop_tune.search.plan import Plan
from recdrop_tune.search.settings import MLflow, SearchConfig, Workers
from recdrop_tune.search.tuner_tracking import track_in
from recdrop_tune.session import SearchSession
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.states import SearchOutcome, TrialState
from recdrop_tune.terminal import format_ending, print_search
from recdrop_tune.tuner import SnapshotError, Tuner, differences, space_of

Runner = Callable[..., SearchSession]
"""Runs the trials of a job with a tuner, records and listeners, and attributes of the job by name."""


def result_of(plan: Plan, tuner: Tuner, tracking: SearchSession) -> TuneResult:
    """Returns the result of a search that was carried out."""
    check_completed(tuner.project_dir, tracking.records)
    # The current folder may be another one by then.
    plan = replace(plan, config=replace(plan.config, directory=plan.folder.absolute()))
    return TuneResult(tuner, tracking, partial(_confirm, plan), plan.refit)


def carry_out(plan: Plan) -> tuple[Tuner, SearchSession]:
    """Runs what a plan describes, or resumes it; returns the tuner and its tracking."""
    config = plan.config
    keep = " and overwrite=False" if config.overwrite else ""
    with ExitStack() as stack:
        # First, so that everything else is closed before it ends the process.
        interrupts = stack.enter_context(Interrupts())
        stack.enter_context(tracing_expected())
        stack.enter_context(compilations_kept(plan.compilation_cache))
        run_trials = stack.enter_context(runner(plan, config.workers, config.verbose, interrupts))
        if config.overwrite:
            # If the new search cannot begin, the one in the folder is not deleted.
            with _tuner_elsewhere(plan) as tuner:
                _read_warm_start(plan, tuner.oracle)
        seed = stack.enter_context(claim(plan.folder, plan.identity, config.seed, config.overwrite))
        plan = replace(plan, config=replace(config, seed=seed))
        if not isinstance(getattr(plan.model, "space", None), SearchSpace):
            _check_space(plan)
        tuner = plan.new_tuner()
        # All that this process knows of the search: the journal so far, then each new event.
        records = read_records(plan.folder, tuner.oracle)
        hints = _read_warm_start(plan, tuner.oracle)
        if plan.proposes:
            hints += untried_lines(tuner.oracle)
        rows = read_space(tuner.oracle.get_space().space)
        if plan.question.searches and not any(row.is_wrapper for row in rows):
            hints.append(
                "No dropout is searched. In a build function, use `rdt.dropout_rnn(hp, layer)`."
            )
        how = f'run again with directory="{plan.folder}"{keep}'
        listeners = stack.enter_context(
            print_search(plan.folder, records, how, config.verbose, plan.at_once, hints)
        )
        folder = plan.folder.absolute()  # MLflow's readers are not in the current folder.
        tracking = run_trials(
            tuner,
            records,
            [*listeners, interrupts],
            config=replace(plan.config, directory=folder),
            resume_hint=f'run again with directory="{folder}"{keep}',
        )
        return tuner, tracking


def _confirm(plan: Plan, confirm: Any) -> TuneResult:
    """Confirms the configurations of a search that has ended; see `TuneResult.confirm`."""
    confirm = SearchConfig(confirm=confirm, tracking=None).confirm
    data = plan.data
    if confirm and confirm.test is not None:
        data = replace(data, test=confirm.test)
        confirm = replace(confirm, test=None)
    config = replace(plan.config, confirm=confirm, overwrite=False)
    plan = replace(plan, data=data, config=config)
    return result_of(plan, *carry_out(plan))


def _read_warm_start(plan: Plan, oracle: OptunaOracle) -> list[str]:
    """Reads the trials of other searches; returns a line for each of their folders."""
    now = plain_values(plan.identity)
    # An accuracy is the same measure with any loss.
    compared = ["epochs", "loss"] if "loss" in str(now["objective"]) else ["epochs"]
    for folder in oracle.warm_start:
        there = (read_object(Path(folder) / SEARCH) or {}).get("identity") or {}
        known = [key for key in compared if None not in (there.get(key), now[key])]
        if lines := differences({k: there[k] for k in known}, {k: now[k] for k in known}):
            raise invalid_argument(
                "warm_start",
                expected="searches with the same loss and epochs, whose scores compare",
                received=str(folder),
                fix="It differs in:\n" + "\n".join(lines),
            )
    return oracle.read_warm_start(plan.folder)


def _check_space(plan: Plan) -> None:
    """Raises if a build function asks for another space than the search in the folder has."""
    # Only the function's name is part of the search's identity, and Keras Tuner would resume with the old
    # ranges.
    saved = (read_object(plan.folder / "oracle.json") or {}).get("hyperparameters")
    if saved is None:
        return
    try:
        there = space_of(kt.HyperParameters.from_config(saved))
    except (AttributeError, LookupError, TypeError, ValueError):
        return  # The oracle will name the damaged file.
    with _tuner_elsewhere(plan) as tuner:
        now = space_of(tuner.oracle.get_space())
    if lines := differences({name: there.get(name) for name in now}, now):
        raise ProjectError(
            f"The search in the folder `{plan.folder}` has another search space. It differs in:\n"
            + "\n".join(lines)
            + "\nGive another `directory`, or delete the search there with `overwrite=True`."
        )


@contextmanager
def _tuner_elsewhere(plan: Plan) -> Iterator[Tuner]:
    """Makes the tuner in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield plan.new_tuner(Path(folder, "search"))


@contextmanager
def runner(
    job: Any, workers: Workers | None, verbose: int, interrupts: Interrupts
) -> Iterator[Runner]:
    """Yields a function that runs the trials of a job. With workers, it connects to Ray and sends the job."""
    if workers is None:
        yield partial(_run_here, job)
        return
    with connected(workers, verbose) as ray:
        interrupts.listen()  # Ray has replaced the signal handlers.
        yield partial(_run_in_workers, ray, workers, pack(ray, job), job.tracking)


def _run_here(
    plan: Plan,
    tuner: Tuner,
    records: Records,
    listeners: Iterable[Listener],
    **later: Any,
) -> SearchSession:
    """Runs the trials, and then the confirmation, one after the other. Always closes the tracking."""
    plan = replace(plan, **later)
    tracking = plan.track(tuner, records, listeners)
    follow_up: Any = plan.follow_up()  # A session does not know all of its reporter.
    tracking.stays_open = follow_up is not None
    args, fit = plan.arguments()
    with tracking:
        try:
            tuner.search(*args, **fit)
        except Exception as error:
            # Otherwise the running trials will run again.
            if not (is_disk_failure(error) or isinstance(error, SnapshotError)):
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
                    follow_up.run(tuner, task, (args, fit), tracking.reporter, keep)
    return tracking


def _fail_running_trials(oracle: kt.Oracle, message: str) -> None:
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
    folder = Path(tuner.project_dir).absolute()
    audience = Dispatcher(Journal(folder / JOURNAL), [records, *listeners])
    seen, note = len(audience.journal.read()), partial(print, flush=True)
    team = Team(ray, parcel, workers, folder, actor_name(folder), audience.notify, note, seen)
    end = team.search()
    with contextlib.redirect_stdout(io.StringIO()):
        tuner.reload()
    tracking = track_in(mlflow, tuner, records=records)
    tracking.adopt(*end)
    return tracking


def check_completed(folder: str | Path, records: Records) -> None:
    """Raises if a search ended without a complete trial, or because its trials failed."""
    states = Counter(each.state for each in records.trials.values())
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
    complete = [each for each in records.trials.values() if each.state == TrialState.COMPLETE]
    what = f"{len(complete)} were completed before" if complete else "none was completed"
    return RecdropError(
        f"The search ended because its trials failed; {what}. The folder is `{folder}`. The last trial "
        f"failed with:\n{last}"
    )
