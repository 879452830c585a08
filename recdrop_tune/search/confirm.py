"""The confirmation: the best configurations and their twins, trained again with the same fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recdrop_tune.events import ConfirmationEnded, ConfirmationStarted
from recdrop_tune.files import trial_folder
from recdrop_tune.mlflow_store import Tracking
from recdrop_tune.oracle import (
    Configuration,
    configuration_name,
    has_dropout,
    ranked,
    twin_among,
    twin_trial,
)
from recdrop_tune.results import CONFIRMED, open_configurations, rounds
from recdrop_tune.search.first_trials import KERAS
from recdrop_tune.search.settings import Confirm
from recdrop_tune.standing import NONE, has_wrapper
from recdrop_tune.tuner import TrainingReporter, readable, retrain, save_weights, trial_seed


@dataclass(frozen=True)
class Confirmation:
    """Trains the best configurations again, here or in workers.

    `tasks`, `keep` and `failed` are called in the oracle's process, `run` in a worker.

    Attributes:
        settings: What to train.
        seed: Seed of the search.
        test: Data that only the confirmation uses, or `None`.
    """

    settings: Confirm
    seed: int | None
    test: Any

    def tasks(self, tuner: Any, tracking: Tracking) -> list[dict[str, Any]]:
        """Lists the trainings of the next round, and reports it; none if the answer is known.

        All configurations have the same seeds. Later rounds train only the pairs whose outcome is not known,
        and end once a dropout is known to help.
        """
        records, oracle = tracking.records, tuner.oracle
        done = {(each.trial_id, each.twin, each.repeat) for each in records.confirmations}
        found = contenders(oracle, self.settings.top)
        twins = twins_of(oracle, found, [key[:2] for key in sorted(done)])
        wanted = [(trial.trial_id, False) for trial in found]
        wanted += [(trial.trial_id, True) for trial in twins]
        first, earlier = self.settings.seeds, {each.seeds for each in records.rounds}
        most = max(first, self.settings.max_seeds)
        for seeds in rounds(first, most, sorted(earlier)):
            # Seed by seed, so that an interrupted round has compared whole sets.
            missing = [
                {
                    "trial": oracle.trials[trial_id],
                    "twin": twin,
                    "repeat": repeat,
                    "seed": confirmation_seed(self.seed, repeat),
                }
                for repeat in range(seeds)
                for trial_id, twin in wanted
                if (trial_id, twin, repeat) not in done
            ]
            if missing:
                begun = ConfirmationStarted(
                    trial_ids=[trial_id for trial_id, twin in wanted if not twin],
                    twins=[trial_id for trial_id, twin in wanted if twin],
                    seeds=seeds,
                    max_seeds=most,
                    margin=self.settings.margin,
                )
                tracking.emit(begun)
                return missing
            there = open_configurations(oracle, records)
            wanted = [each for each in wanted if each in there]
        return []

    def run(
        self,
        tuner: Any,
        task: Mapping[str, Any],
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        reporter: TrainingReporter,
        offer: Callable[..., None],
    ) -> None:
        """Trains a configuration once, and reports the result."""
        trial, (_, fit) = task["trial"], arguments
        with reporter.apart(trial.trial_id, **_about(task)) as report:
            trained = twin_trial(trial) if task["twin"] else trial
            outcome = retrain(tuner, trained, task["seed"], fit, self.test)
            offer(trained, outcome.score, outcome.weights)
            tests = {f"test_{name}": value for name, value in (outcome.test or {}).items()}
            report(outcome.score, outcome.best_epoch, {**outcome.metrics, **tests})

    def keep(self, tuner: Any, tracking: Tracking, *result: Any) -> None:
        """Stores the weights of the best training of each configuration."""
        trial, score, weights = result
        objective = tuner.oracle.objective
        earlier = (
            each.score
            for each in tracking.records.confirmations
            if configuration_name((each.trial_id, each.twin)) == trial.trial_id
            and each.score is not None
        )
        if all(objective.better_than(score, each) for each in earlier):
            model = tuner.hypermodel.build(trial.hyperparameters)
            place = Path(tuner.project_dir) / CONFIRMED
            save_weights(trial_folder(place, trial.trial_id, "trial.json"), model, weights)

    def failed(self, tracking: Tracking, task: Mapping[str, Any], reason: str) -> None:
        """Records a training that failed."""
        trial_id = task["trial"].trial_id
        ended = ConfirmationEnded(trial_id=trial_id, score=None, message=reason, **_about(task))
        tracking.emit(ended)


def contenders(oracle: Any, top: int) -> list[Any]:
    """Returns the trials whose configurations to train again.

    These are the best ones and, unless included, the best one with dropout, the best one without and the
    best one with Keras's own.
    """
    complete = ranked(oracle)
    dropping = next((each for each in complete if has_dropout(each.hyperparameters)), None)
    baselines = [
        next((each for each in complete if has_wrapper(readable(each.hyperparameters), name)), None)
        for name in (NONE, KERAS)
    ]
    return list(dict.fromkeys(each for each in (*complete[:top], dropping, *baselines) if each))


def twins_of(oracle: Any, chosen: Sequence[Any], trained: Iterable[Configuration]) -> list[Any]:
    """Returns the trials whose twins to train too: of the configurations with dropout.

    Configurations can share a twin, which is trained once; and a twin can be one of the chosen trials. A twin
    that an earlier confirmation has `trained` keeps the name that it had then.
    """
    there: list[Configuration] = [(trial.trial_id, False) for trial in chosen]
    earlier = [each for each in trained if each[1]]
    found: dict[str, Any] = {}
    for trial in chosen:
        if has_dropout(trial.hyperparameters) and twin_among(oracle, trial, there) is None:
            owner = (twin_among(oracle, trial, earlier) or (trial.trial_id, True))[0]
            there.append((owner, True))
            found[owner] = oracle.trials[owner]
    return list(found.values())


def confirmation_seed(seed: int | None, repeat: int) -> int:
    """Derives the seed of a repeat: the same for every configuration, and not one of the search."""
    return trial_seed(seed or 0, {"confirmation": repeat}) % 2**31


def _about(task: Mapping[str, Any]) -> dict[str, Any]:
    return {name: task[name] for name in ("twin", "repeat", "seed")}
