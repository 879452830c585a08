"""Runs a search by `tune`, from its folder to its result."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.backends import tracing_expected
from recdrop_tune.errors import ProjectError, invalid_argument
from recdrop_tune.files import SEARCH, read_object
from recdrop_tune.kernels import compilations_kept
from recdrop_tune.oracle import OptunaOracle, read_space
from recdrop_tune.results import TuneResult, read_records
from recdrop_tune.search.first_trials import enqueue_first_trials, untried_lines
from recdrop_tune.search.identity import claim, plain_values
from recdrop_tune.search.interrupts import Interrupts
from recdrop_tune.search.plan import Plan
from recdrop_tune.search.references import as_function
from recdrop_tune.search.runners import check_completed, runner
from recdrop_tune.search.settings import SearchConfig
from recdrop_tune.session import SearchSession
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.terminal import print_search
from recdrop_tune.tuner import Tuner, differences, space_of


def result_of(plan: Plan, tuner: Tuner, tracking: SearchSession) -> TuneResult:
    """Returns the result of a search that was carried out."""
    check_completed(tuner.project_dir, tracking.records)
    return TuneResult(tuner, tracking, partial(_confirm, plan), plan.refit)


def carry_out(plan: Plan) -> tuple[Any, SearchSession]:
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
                _enqueue(plan, tuner.oracle)
        search = stack.enter_context(
            claim(plan.folder, plan.identity, config.seed, config.overwrite)
        )
        plan = replace(plan, config=replace(config, seed=search.seed))
        if not isinstance(getattr(plan.model, "space", None), SearchSpace):
            _check_space(plan)
        tuner = plan.new_tuner()
        # All that this process knows of the search: the journal so far, then each new event.
        records = read_records(plan.folder, tuner.oracle)
        hints = [*_enqueue(plan, tuner.oracle), *_hints(plan, tuner.oracle)]
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
        data = replace(data, test=as_function(confirm.test))
        confirm = replace(confirm, test=None)
    config = replace(plan.config, confirm=confirm, overwrite=False)
    plan = replace(plan, data=data, config=config)
    return result_of(plan, *carry_out(plan))


def _enqueue(plan: Plan, oracle: Any) -> list[str]:
    """Enqueues the first trials, and reads other searches; returns a line for each of their folders."""
    if not isinstance(oracle, OptunaOracle):
        return []
    if plan.proposes:
        enqueue_first_trials(oracle, plan.config.optuna.try_first)
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


def _hints(plan: Plan, oracle: Any) -> Iterator[str]:
    """Yields lines about what the search will not try."""
    if plan.proposes:
        yield from untried_lines(oracle)
    if plan.question.searches and not any(
        row.is_wrapper for row in read_space(oracle.get_space().space)
    ):
        yield "No dropout is searched. In a build function, use `rdt.dropout_rnn(hp, layer)`."


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
def _tuner_elsewhere(plan: Plan) -> Iterator[Any]:
    """Makes the tuner in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield plan.new_tuner(Path(folder, "search"))
