"""The confirmation: the best configurations and the baselines, trained again with the same fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recdrop_tune.facade._baselines import BASELINES
from recdrop_tune.oracle import objectives, trial_folder
from recdrop_tune.results import CONFIRMED
from recdrop_tune.tracking import (
    ConfirmationEnded,
    ConfirmationStarted,
    Tracking,
    TrainingReporter,
    has_wrapper,
    readable,
)
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

    def tasks(self, tuner: Any, tracking: Tracking) -> list[dict[str, Any]]:
        """Lists the trainings that are still to be done, each contender with the same seeds, and says so.

        Args:
            tuner: The tuner, its search over.
            tracking: Its tracking.
        """
        trials = contenders(tuner.oracle, self.top)
        earlier = [each for each in tracking.records.confirmations if each.score is not None]
        done = {(each.trial_id, each.repeat) for each in earlier}
        total = self.seeds * len(trials)
        # Seed by seed, so that a confirmation which is broken off has compared whole sets.
        left = [
            {
                "trial": trial,
                "repeat": repeat,
                "seed": confirmation_seed(self.seed, repeat),
                "total": total,
            }
            for repeat in range(self.seeds)
            for trial in trials
            if (trial.trial_id, repeat) not in done
        ]
        if left:
            ids = [trial.trial_id for trial in trials]
            tracking.emit(ConfirmationStarted(trial_ids=ids, total=total))
        return left

    def run(
        self,
        tuner: Any,
        task: Mapping[str, Any],
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        reporter: TrainingReporter,
        offer: Callable[..., None],
    ) -> None:
        """Trains a contender once more, and reports how that went."""
        trial, (_, fit) = task["trial"], arguments
        about = (trial.trial_id, task["repeat"], task["seed"], task["total"])
        with reporter.apart(*about) as report:
            outcome = retrain(tuner, trial, task["seed"], fit, self.test)
            offer(trial, outcome.score, outcome.weights)
            tests = {f"test_{name}": value for name, value in (outcome.test or {}).items()}
            report(outcome.score, outcome.best_epoch, {**outcome.metrics, **tests})

    def keep(self, tuner: Any, tracking: Tracking, *result: Any) -> None:
        """Keeps on disk, of each contender, the weights of its best training.

        Args:
            tuner: The tuner.
            tracking: Its tracking.
            *result: The trial, its score and the weights of the best epoch.
        """
        trial, score, weights = result
        first = objectives(tuner.oracle.objective)[0]
        earlier = (
            each.score
            for each in tracking.records.confirmations
            if each.trial_id == trial.trial_id and each.score is not None
        )
        if all(first.better_than(score, each) for each in earlier):
            model = tuner.hypermodel.build(trial.hyperparameters)
            save_weights(_folder(tuner, trial.trial_id), model, weights)

    def failed(self, tracking: Tracking, task: Mapping[str, Any], reason: str) -> None:
        """Takes note of a training that cannot be done."""
        about = {key: task[key] for key in ("repeat", "seed", "total")}
        trial_id = task["trial"].trial_id
        tracking.emit(ConfirmationEnded(trial_id=trial_id, score=None, message=reason, **about))


def confirm(tuner: Any, tracking: Tracking, fit: dict[str, Any], plan: ConfirmationPlan) -> None:
    """Trains the contenders again, one after the other; what is done already is not repeated.

    Args:
        tuner: The tuner, its search over.
        tracking: Its tracking, still open: is told of every training.
        fit: Arguments of `Model.fit`.
        plan: What is to be confirmed.
    """
    for task in plan.tasks(tuner, tracking):
        plan.run(tuner, task, ((), fit), tracking.reporter, partial(plan.keep, tuner, tracking))


def _folder(tuner: Any, trial_id: str) -> Path:
    return trial_folder(Path(tuner.project_dir) / CONFIRMED, trial_id, "trial.json")


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
