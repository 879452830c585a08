"""How far the trainings of one configuration are apart: folds, or trainings with different seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recdrop_tune.oracle import reached

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


def spread_words(result: TuneResult, trial_id: str | None = None) -> str:
    """Says how far the trainings of a trial are apart, to stand behind its score.

    The number is the sample standard deviation of the objective at the trial's best epoch. A mean over so
    few trainings is itself uncertain: differences between trials that are smaller say little.

    Args:
        result: The result; one of its trials is complete.
        trial_id: The trial; by default the best one.

    Returns:
        Words such as `" ± 0.0200 over 5 folds"`; nothing where there is one training.
    """
    oracle = result.tuner.oracle
    trial = result.best_trial if trial_id is None else oracle.trials[trial_id]
    found = reached(trial, oracle.objective)
    if found.std is None:
        return ""
    return f" ± {found.std:.4f} over {found.trainings} {_trainings(result)}"


def weights_words(result: TuneResult) -> str:
    """Says which of several trainings the weights of the best model are from; nothing where there is one."""
    if result.confirmation is not None:  # Its weights are those of a confirmed training.
        return ""
    if reached(result.best_trial, result.tuner.oracle.objective).trainings < 2:
        return ""
    kind = _trainings(result)[:-1]
    part = ", so it was not trained on all data" if kind == "fold" else ""
    return f"The best model has the weights of its best {kind}{part}."


def _trainings(result: TuneResult) -> str:
    folds = getattr(result.tuner, "cv", None) is not None
    once = getattr(result.tuner, "executions_per_trial", 1) == 1
    return "folds" if folds and once else "trainings"
