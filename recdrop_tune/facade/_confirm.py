"""The confirmation: the best configurations and the baselines, trained again with the same fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recdrop_tune.facade._baselines import BASELINES
from recdrop_tune.oracle import objectives
from recdrop_tune.results import CONFIRMED
from recdrop_tune.tracking import Tracking, has_wrapper, readable
from recdrop_tune.tuner import retrain, save_weights, trial_seed


@dataclass(frozen=True)
class ConfirmationPlan:
    """What is to be confirmed.

    Attributes:
        top: How many of the best configurations, beside the baselines.
        seeds: How many times each is trained.
        seed: Seed of the search.
        test: Data that are looked at here and nowhere else; `None` for none.
    """

    top: int
    seeds: int
    seed: int | None = None
    test: Any = None


def confirm(tuner: Any, tracking: Tracking, fit: Mapping[str, Any], plan: ConfirmationPlan) -> None:
    """Trains the contenders again, each with the same seeds; what is done already is not repeated.

    Args:
        tuner: The tuner, its search over.
        tracking: Its tracking, still open: is told of every training.
        fit: Arguments of `Model.fit`.
        plan: What is to be confirmed.
    """
    trials = contenders(tuner.oracle, plan.top)
    earlier = [each for each in tracking.records.confirmations if each.score is not None]
    done = {(each.trial_id, each.repeat) for each in earlier}
    keeper = _BestWeights(tuner, tracking)
    # Seed by seed, so that a confirmation which is broken off has compared whole sets.
    for repeat in range(plan.seeds):
        for trial in trials:
            if (trial.trial_id, repeat) in done:
                continue
            seed = confirmation_seed(plan.seed, repeat)
            total = plan.seeds * len(trials)
            with tracking.reporter.apart(trial.trial_id, repeat, seed, total) as report:
                outcome = retrain(tuner, trial, seed, fit, plan.test)
                keeper.offer(trial.trial_id, outcome)
                tests = {f"test_{name}": value for name, value in (outcome.test or {}).items()}
                report(outcome.score, outcome.best_epoch, {**outcome.metrics, **tests})


def contenders(oracle: Any, top: int) -> list[Any]:
    """Picks the best trials, and the best trial of each baseline if it is not among them.

    Args:
        oracle: The oracle.
        top: How many of the best.
    """
    complete = [t for t in oracle.get_best_trials(len(oracle.trials)) if t.status == "COMPLETED"]
    chosen = complete[:top]
    for wrapper in BASELINES:
        same = [
            trial for trial in complete if has_wrapper(readable(trial.hyperparameters), wrapper)
        ]
        chosen += [trial for trial in same[:1] if trial not in chosen]
    return chosen


def confirmation_seed(seed: int | None, repeat: int) -> int:
    """Derives the seed of a repeat: the same for every configuration, and none that the search used."""
    return trial_seed(seed or 0, {"confirmation": repeat}) % 2**31


class _BestWeights:
    """Keeps on disk, of each configuration, the weights of its best training."""

    def __init__(self, tuner: Any, tracking: Tracking) -> None:
        self._tuner = tuner
        self._first = objectives(tuner.oracle.objective)[0]
        self._best: dict[str, float] = {}
        for each in tracking.records.confirmations:
            if each.score is not None:
                self._note(each.trial_id, each.score)

    def offer(self, trial_id: str, outcome: Any) -> None:
        if self._note(trial_id, outcome.score):
            model = self._tuner.hypermodel.build(
                self._tuner.oracle.trials[trial_id].hyperparameters
            )
            folder = Path(self._tuner.project_dir) / CONFIRMED / f"trial_{trial_id}"
            save_weights(folder, model, outcome.weights)

    def _note(self, trial_id: str, score: float) -> bool:
        best = self._best.get(trial_id)
        if best is None or self._first.better_than(score, best):
            self._best[trial_id] = score
            return True
        return False
