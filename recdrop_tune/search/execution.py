"""Runs a search, from its folder to its result; its trials run in this process or in workers."""

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

import keras
import keras_tuner as kt
from keras_tuner.engine.trial import TrialStatus

from recdrop_tune.backends import tracing_expected
from recdrop_tune.errors import (
    ProjectError,
    RecdropError,
    check_callbacks,
    failure_text,
    invalid_argument,
    is_disk_failure,
    plain,
)
from recdrop_tune.events import STOPPED, Event, Listener, SearchStarted, TrackingWarning
from recdrop_tune.files import JOURNAL, SEARCH
from recdrop_tune.hypermodels import scheduled
from recdrop_tune.journal import Journal
from recdrop_tune.kernels import compilations_kept
from recdrop_tune.mlflow_store import Tracking
from recdrop_tune.oracle import (
    OptunaOracle,
    TooManyFailuresError,
    is_wrapper,
    read_object,
)
from recdrop_tune.ray_workers import Parcel, Team, connected, pack
from recdrop_tune.records import Records
from recdrop_tune.results import TuneResult, check_journal
from recdrop_tune.search.first_trials import enqueue_first_trials, untried_lines
from recdrop_tune.search.identity import claim, plain_values
from recdrop_tune.search.interrupts import Interrupts
from recdrop_tune.search.plan import Plan
from recdrop_tune.search.references import as_function
from recdrop_tune.search.settings import MLflow, SearchConfig, Workers
from recdrop_tune.search.tuner_tracking import track
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.terminal import (
    Progress,
    Terminal,
    best_words,
    counts,
    live_display,
    no_more_words,
)
from recdrop_tune.tuner import copy_callbacks, differences, space_of


def run(plan: Plan) -> TuneResult:
    """Runs a search, or resumes the one in its folder.

    Raises:
        ProjectError: The folder has another search, or cannot be written to; nothing was changed.
        RecdropError: The model cannot be built, or no trial was completed.
        OSError: A disk is full or broken. Nothing is lost; run again when there is room.
    """
    config = plan.config
    with ExitStack() as stack:
        # First, so that everything else is closed before it ends the process.
        interrupts = stack.enter_context(Interrupts())
        stack.enter_context(tracing_expected())
        stack.enter_context(compilations_kept(plan.compilation_cache))
        run_trials = stack.enter_context(runner(plan, config.workers, config.verbose, interrupts))
        if config.overwrite:
            # If the new search cannot begin, the one in the folder is not deleted.
            with _tuner_elsewhere(plan) as tuner:
                _first_trials(plan, tuner.oracle)
        held = stack.enter_context(claim(plan.folder, plan.identity, config.seed, config.overwrite))
        config = replace(config, seed=held.seed)
        plan = replace(plan, config=config)
        if not isinstance(getattr(plan.model, "space", None), SearchSpace):
            _check_space(plan)
        tuner = plan.new_tuner()
        records = Records(Journal(plan.folder / JOURNAL).read(epochs=False))
        check_journal(plan.folder, records, tuner.oracle)
        lines = _first_trials(plan, tuner.oracle)
        progress = stack.enter_context(shown_progress(plan.folder, config.verbose, plan.at_once))
        keep = " and overwrite=False" if config.overwrite else ""
        how = f'run again with directory="{plan.folder}"{keep}'
        stack.enter_context(print_how_to_resume(plan.folder, how, config.verbose))
        if config.tuner_name == "optuna":
            lines += untried_lines(tuner.oracle)
        if not any(map(is_wrapper, tuner.oracle.get_space().space)):
            lines.append(
                "No dropout is searched. In a build function, use `rdt.dropout_rnn(hp, layer)`."
            )
        for line in lines if config.verbose else ():
            print(line, flush=True)
        folder = plan.folder.absolute()  # MLflow's readers are not in the current folder.
        ended = run_trials(
            tuner,
            [*progress, interrupts],
            config=replace(config, directory=folder),
            resume_hint=f'run again with directory="{folder}"{keep}',
        )
        check_completed(tuner, ended)
        again = partial(_confirm, plan), partial(_refit, plan)
        return TuneResult(tuner, ended.tracking, *again)


def _confirm(plan: Plan, confirm: Any) -> TuneResult:
    """Confirms the configurations of a search that has ended; see `TuneResult.confirm`."""
    confirm = SearchConfig(confirm=confirm, tracking=None).confirm
    data = plan.data
    if confirm and confirm.test is not None:
        data = replace(data, test=as_function(confirm.test))
        confirm = replace(confirm, test=None)
    config = replace(plan.config, confirm=confirm, overwrite=False)
    return run(replace(plan, data=data, config=config))


def _refit(plan: Plan, hp: Any, total: int, x: Any, y: Any, epochs: int, **fit: Any) -> Any:
    """Trains a configuration on all data; see `TuneResult.refit`. A schedule has `total` epochs at least."""

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = model.stop_training or epoch + 1 >= epochs

    part = x if y is None else (x, y, fit.pop("sample_weight", None))
    data = replace(plan.data, train=part, validation=None, test=None, task=plan.data.prepared_task)
    callbacks = copy_callbacks(plan.training.callbacks, "refit", 0)
    callbacks = [
        each
        for each in callbacks
        if not isinstance(each, keras.callbacks.EarlyStopping)
        and not str(getattr(each, "monitor", "")).startswith("val_")
    ]
    callbacks += check_callbacks(fit.pop("callbacks", None))
    callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=stop))
    lasting = {n: each for n, each in plan.training.fit.items() if not n.startswith("validation")}
    given = data.fit_arguments(plan.config.batch_size) | lasting | {"verbose": 0} | fit
    hypermodel = scheduled(plan.model)
    keras.utils.set_random_seed(plan.config.seed)
    model = hypermodel.build(hp)
    hypermodel.fit(hp, model, **given, epochs=max(epochs, total), callbacks=callbacks)
    return model


def _first_trials(plan: Plan, oracle: Any) -> list[str]:
    """Enqueues the first trials, and reads those of other searches; returns a line for each of their folders.

    Raises:
        InvalidArgumentError: A configuration is not in the space, or the scores of another search do not
            compare with those of this one.
    """
    if not isinstance(oracle, OptunaOracle):
        return []
    if plan.config.tuner_name == "optuna":
        enqueue_first_trials(oracle, plan.config.optuna.try_first)
    now = plain_values(plan.identity)
    # An accuracy is the same measure with any loss.
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
    return oracle.read_warm_start(plan.folder)


def _check_space(plan: Plan) -> None:
    """Raises if a build function asks for another space than the search in the folder has.

    Only its name is part of the search's identity, and Keras Tuner would resume with the old ranges.
    """
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
def _tuner_elsewhere(plan: Plan) -> Iterator[Any]:
    """Makes the tuner in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield plan.new_tuner(Path(folder, "search"))


# What is printed.


@contextmanager
def shown_progress(folder: Path, verbose: int, workers: int) -> Iterator[list[Listener]]:
    """Shows the progress of a search on the terminal; yields the listeners of its events."""
    if not verbose:
        yield []
        return
    history, console = Journal(folder / JOURNAL).read(), Terminal(highlight=False)
    with live_display(console, history, workers) as display:
        lines = Progress(console, epochs=verbose > 1, history=history, workers=workers)
        yield [lines] if display is None else [lines, display]


@contextmanager
def print_how_to_resume(folder: Path, how: str, verbose: int) -> Iterator[None]:
    """Prints how to resume a search; on Ctrl-C the traceback ends with that and the best trial so far."""
    if verbose:
        print(f"Folder: {folder} (to resume: {how})", flush=True)
        if found := counts(Records(Journal(folder / JOURNAL).read())):
            states = ", ".join(f"{number} {state}" for state, number in found.items())
            print(f"Resuming after {sum(found.values())} trials: {states}.", flush=True)
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


# The trials: in this process, or in workers.


class Ended(NamedTuple):
    """A search that has ended.

    Attributes:
        tracking: Its tracking.
        stopped_by: The failures that ended it, if they did.
    """

    tracking: Tracking
    stopped_by: str | None = None


Runner = Callable[..., Ended]
"""Runs the trials of a job. It takes the tuner, which has all results afterwards; listeners for the events;
and, by name, attributes of the job that were unknown when it was sent to the workers."""


@contextmanager
def runner(
    job: Any, workers: Workers | None, verbose: int, interrupts: Interrupts
) -> Iterator[Runner]:
    """Yields a function that runs the trials of a job. With workers, it connects to Ray and sends the job.

    Raises:
        InvalidArgumentError: A part of the job cannot be sent, or Ray lacks the resources.
        RecdropError: Ray is not installed.
    """
    if workers is None:
        yield partial(_run_here, job, interrupts)
        return
    with connected(workers, verbose) as ray:
        interrupts.listen()  # Ray has replaced the signal handlers.
        yield partial(_run_in_workers, ray, workers, pack(ray, job), job.tracking)


def _run_here(
    job: Any, interrupts: Interrupts, tuner: Any, listeners: Iterable[Listener], **later: Any
) -> Ended:
    """Runs the trials, and then the confirmation, one after the other. Always closes the tracking."""
    job = replace(job, **later)
    tracking, follow_up = job.track(tuner, listeners), job.follow_up()
    tracking.stays_open = follow_up is not None
    args, fit = job.arguments()
    with tracking:
        try:
            with interrupts.kept():
                tuner.search(*args, **fit)
        except Exception as error:
            if is_disk_failure(error):  # Nothing can be written. Running trials will run again.
                raise
            # End the interrupted trial, or Optuna and MLflow would wait for it.
            for trial in list(tuner.oracle.ongoing_trials.values()):
                if trial.status == TrialStatus.RUNNING:
                    trial.status, trial.message = (
                        TrialStatus.FAILED,
                        f"{type(error).__name__}: {error}",
                    )
                    # It raises again if this is one failure too many.
                    with contextlib.suppress(TooManyFailuresError):
                        tuner.oracle.end_trial(trial)
            if isinstance(error, TooManyFailuresError):
                raise _too_many_failures(tuner) from None
            raise
        if follow_up is not None and _completed(tuner) and tracking.can_begin():
            keep = partial(follow_up.keep, tuner, tracking)
            while tasks := follow_up.tasks(tuner, tracking):
                for task in tasks:
                    if not tracking.can_begin():
                        return Ended(tracking)
                    follow_up.run(tuner, task, (args, fit), tracking.reporter, keep)
    return Ended(tracking)


def actor_name(folder: Path) -> str:
    """Names a search in a cluster after its project folder, which one process at a time may use."""
    return f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


def _run_in_workers(
    ray: Any,
    workers: Workers,
    parcel: Parcel,
    mlflow: MLflow | None,
    tuner: Any,
    listeners: Iterable[Listener],
    **later: Any,
) -> Ended:
    """Runs the trials in other processes, and loads their results into the tuner in this process."""
    parcel = parcel.changed(ray, **later)
    folder, audience = Path(tuner.project_dir).absolute(), list(listeners)
    # Only one process at a time searches in a folder.
    actor = actor_name(folder)

    def show(event: Event) -> None:
        for listener in list(audience):
            try:
                listener.on_event(event)
            except Exception as failure:  # A closed terminal must not end the search.
                audience.remove(listener)
                what = f"{type(listener).__name__} failed and is not used any more: {failure}"
                warnings.warn(what, TrackingWarning, stacklevel=2)

    seen = len(Journal(folder / JOURNAL).read())
    note = partial(print, flush=True)
    closed = Team(ray, parcel, workers, folder, actor, show, note, seen).search()
    with contextlib.redirect_stdout(io.StringIO()):
        tuner.reload()
    tracking = track(tuner, mlflow)
    history = Journal(tracking.journal_path).read()
    started = next((each for each in history[::-1] if isinstance(each, SearchStarted)), None)
    if started is not None:
        tracking.about |= {"space": started.space, "context": started.context}
    tracking.adopt(closed.experiment_id, closed.failure, closed.run_ids)
    tracking.unsaved = closed.unsaved
    return Ended(tracking, closed.stopped_by)


def check_completed(tuner: Any, ended: Ended) -> None:
    """Raises if a search ended without a complete trial, or because its trials failed.

    Raises:
        RecdropError: It did.
    """
    trials, records = tuner.oracle.trials.values(), ended.tracking.records
    pruned = sum(trial.status == TrialStatus.STOPPED for trial in trials)
    failed = sum(trial.status == TrialStatus.FAILED for trial in trials)
    is_stopped = records.no_more is not None and records.no_more.reason == STOPPED
    if ended.stopped_by:
        raise _too_many_failures(tuner)
    if _completed(tuner):
        return
    if failed and not (pruned or is_stopped):
        raise _too_many_failures(tuner)
    why = "the tuner proposed no configuration, or `timeout` was over before one could end."
    if is_stopped:
        why = f"{no_more_words(records)} To resume, run again with the folder as `directory`."
    elif pruned:
        how = f"{pruned} were pruned and {failed} failed" if failed else "all were pruned"
        why = (
            f"of {len(trials)} trials {how}. A pruned trial stops before its last epoch and does not count. "
            'Resume with a larger `max_trials`, and with tuner=rdt.Optuna(pruner="none"), or a pruner that '
            "gives trials more epochs."
        )
    raise RecdropError(f"No trial was completed: {why} The folder is `{tuner.project_dir}`.")


def _too_many_failures(tuner: Any) -> RecdropError:
    """Makes the error of a search that ended because its trials failed."""
    messages = [trial.message for trial in tuner.oracle.trials.values() if trial.message]
    # The message of an earlier session's trial comes from a file.
    last = plain(failure_text(messages[-1])) if messages else "no message"
    done = _completed(tuner)
    what = f"{done} were completed before" if done else "none was completed"
    return RecdropError(
        f"The search ended because its trials failed; {what}. The folder is "
        f"`{tuner.project_dir}`. The last trial failed with:\n{last}"
    )


def _completed(tuner: Any) -> int:
    """Counts the complete trials."""
    return sum(trial.status == TrialStatus.COMPLETED for trial in tuner.oracle.trials.values())
