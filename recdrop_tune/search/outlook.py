"""What is to come of a search, before it begins: trials, trainings, epochs, and a time if one is known."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any

from recdrop_tune.events import FILE, INTERRUPTED, Journal, Records
from recdrop_tune.oracle import NONE, OptunaOracle, fewer_than_trials, is_wrapper
from recdrop_tune.search.first_trials import KERAS
from recdrop_tune.search.plan import Plan
from recdrop_tune.terminal import duration


def outlook_line(plan: Plan, oracle: Any) -> str | None:
    """Says how many trials and trainings are to come at most, and how long they take where that is known.

    Nothing is timed for it: a time is told from the trials that the folder has, or those that the search is
    told of.

    Args:
        plan: The search.
        oracle: Its oracle, which knows the trials that have ended.

    Returns:
        A line; `None` where nothing is to come.
    """
    records, folds = Records(Journal(plan.folder / FILE).read()), _folds(plan.training.cv)
    trials, confirmations = _trials_to_come(oracle), _confirmations_to_come(plan, oracle, records)
    if not trials and not confirmations:
        return None
    trainings, confirming = plan.training.executions * (folds or 1), confirmations * (folds or 1)
    said = _counted(trials, "more trial" if oracle.trials else "trial")
    parts = [said + f" of {trainings} trainings" * (trainings > 1)] * bool(trials)
    parts += [f"{_counted(confirming, 'training')} to confirm"] * bool(confirmations)
    line = f"To come: at most {', then '.join(parts)}, of up to {_counted(plan.epochs, 'epoch')}"
    if folds is None:
        line += " for each fold"
    else:
        epochs = (trials * trainings + confirming) * plan.epochs
        line += f" each: {epochs:,} in all{_time(plan, oracle, records, epochs)}"
    if trials and plan.timeout is not None and isfinite(plan.timeout):
        line += f"; no trial begins after {duration(plan.timeout)}"
    return f"{line}."


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _trials_to_come(oracle: Any) -> int:
    """Counts the trials that a search may still run; those that were broken off are among them."""
    ended = sum(
        trial.status in ("COMPLETED", "STOPPED", "FAILED") for trial in oracle.trials.values()
    )
    fewer = fewer_than_trials(oracle)
    return max(0, int(oracle.max_trials if fewer is None else fewer) - ended)


def _confirmations_to_come(plan: Plan, oracle: Any, records: Records) -> int:
    """Counts the trainings of a confirmation, if all it compares were different configurations."""
    if plan.confirm is None:
        return 0
    offered = {
        value for hp in oracle.hyperparameters.space if is_wrapper(hp) for value in hp.values
    }
    # Beside the best: the best without dropout and that with Keras's own; and a twin of each that drops.
    beside, twins = int(NONE in offered), plan.confirm.top if offered - {NONE} else 0
    if KERAS in offered and offered - {NONE, KERAS}:
        beside, twins = beside + 1, twins + 1
    most = plan.confirm.seeds * (plan.confirm.top + beside + twins)
    return max(0, most - sum(each.score is not None for each in records.confirmations))


def _folds(cv: Any) -> int | None:
    """Returns how many folds there are, 1 for none; `None` where only the data tell."""
    cv = getattr(cv, "cv", cv)  # Of groups.
    if cv is None or isinstance(cv, int):
        return cv or 1
    try:
        return int(cv.get_n_splits())
    except (AttributeError, TypeError, ValueError):
        return None


def _time(plan: Plan, oracle: Any, records: Records, epochs: int) -> str:
    """Says how long so many epochs take by those that were trained before, if any were."""
    per_epoch, by = _seconds_per_epoch([records]), "the trials before"
    if per_epoch is None and isinstance(oracle, OptunaOracle) and oracle.warm_start.folders:
        folders = [Path(folder) for folder in oracle.warm_start.folders]
        others = (Records(Journal(folder / FILE).read()) for folder in folders)
        per_epoch, by = _seconds_per_epoch(others), "the trials that it is told of"
    if per_epoch is None:
        return ""
    return f", about {duration(per_epoch * epochs / plan.at_once)} going by {by}"


def _seconds_per_epoch(searches: Iterable[Records]) -> float | None:
    """Returns the mean time of an epoch, building and compiling included; `None` where none was trained."""
    trials = [trial for records in searches for trial in records.trials.values()]
    ended = [trial for trial in trials if trial.seconds and trial.state != INTERRUPTED]
    epochs = sum(len(trial.epochs) + len(trial.repeats) for trial in ended)
    return sum(trial.seconds or 0.0 for trial in ended) / epochs if epochs else None
