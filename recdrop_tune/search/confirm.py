"""Trainings with the same fresh seeds, in rounds: of a search's best configurations, or of given models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import Trial

from recdrop_tune import standing
from recdrop_tune.events import Configuration, ConfirmationEnded, ConfirmationStarted
from recdrop_tune.files import trial_folder
from recdrop_tune.hyperparameters import NONE, drops, has_wrapper, is_twin
from recdrop_tune.oracle import trial_of
from recdrop_tune.records import Records
from recdrop_tune.results import CONFIRMED, PairedTrainings, rounds
from recdrop_tune.search.first_trials import KERAS
from recdrop_tune.search.settings import Confirm
from recdrop_tune.session import SearchSession
from recdrop_tune.tuner import TrainingReporter, Tuner, retrain, save_weights, trial_seed


@dataclass(frozen=True)
class Question:
    """What trainings with fresh seeds are to answer, as functions that can be sent to workers.

    `first` returns what the first round trains. `searches` is whether trials come before.
    """

    first: Callable[[Records, Confirm], list[Configuration]]
    trial: Callable[[kt.Oracle, Configuration], Trial]
    keep: Callable[..., None] | None
    searches: bool


@dataclass(frozen=True)
class Retrainings:
    """Trains configurations in rounds, here or in workers, until it is known which is better.

    `tasks`, `keep` and `failed` are called in the oracle's process, `run` in a worker. `test` are data that
    only the confirmation uses, or `None`.
    """

    question: Question
    settings: Confirm
    seed: int | None
    test: Any

    def tasks(self, tuner: Tuner, tracking: SearchSession) -> list[dict[str, Any]]:
        """Lists the trainings of the next round, and reports it; none if the answer is known."""
        records = tracking.records
        for seeds, wanted in self._rounds(tracking):
            # The cause of what failed in an earlier session can have been mended.
            done = {each.key for each in records.confirmations} - records.failed_before
            # Seed by seed, so that an interrupted round has compared whole sets.
            missing = [
                {
                    "configuration": each,
                    "trial": self.question.trial(tuner.oracle, each),
                    "repeat": repeat,
                    "seed": confirmation_seed(self.seed, repeat),
                }
                for repeat in range(seeds)
                for each in wanted
                if (each.name, repeat) not in done
            ]
            if missing:
                begun = ConfirmationStarted(
                    configurations=[each.name for each in wanted],
                    seeds=seeds,
                    max_seeds=max(self.settings.seeds, self.settings.max_seeds),
                    margin=self.settings.margin,
                )
                tracking.emit(begun)
                return missing
        return []

    def _rounds(self, tracking: SearchSession) -> Iterator[tuple[int, list[Configuration]]]:
        """Yields the seeds and configurations of the first round, of earlier ones, and of the next ones."""
        records = tracking.records
        first, most = self.settings.seeds, max(self.settings.seeds, self.settings.max_seeds)
        planned = rounds(first, most, sorted({each.seeds for each in records.rounds}))
        yield planned[0], self.question.first(records, self.settings)
        if not records.rounds:
            return
        last, again = records.rounds[-1], {name for name, _ in records.failed_before}
        for each in records.rounds:
            # The last one can have been interrupted.
            names = [name for name in each.configurations if each is last or name in again]
            if each.seeds <= most:
                yield each.seeds, [*map(Configuration.named, names)]
        if last.margin != self.settings.margin:  # It decides what is in question.
            tracking.emit(replace(last, margin=self.settings.margin, time=time.time()))
        names = PairedTrainings(records).in_question
        for seeds in planned:
            if seeds > last.seeds:
                yield seeds, [*map(Configuration.named, names)]

    def run(
        self,
        tuner: Tuner,
        task: Mapping[str, Any],
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        reporter: TrainingReporter,
        offer: Callable[..., None],
    ) -> None:
        """Trains a configuration once and reports the result."""
        trial, (_, fit) = task["trial"], arguments
        about = task["configuration"], task["repeat"], task["seed"]
        with reporter.apart(*about) as report:
            outcome = retrain(tuner, trial, task["seed"], fit, self.test)
            offer(trial, outcome.score, outcome.weights)
            tests = {f"test_{name}": value for name, value in (outcome.test or {}).items()}
            report(outcome.score, outcome.best_epoch, {**outcome.metrics, **tests})

    def keep(self, tuner: Tuner, tracking: SearchSession, *result: Any) -> None:
        """Takes a trial, its score, and the weights of a training."""
        if self.question.keep is not None:
            self.question.keep(tuner, tracking, *result)

    def failed(self, tracking: SearchSession, task: Mapping[str, Any], reason: str) -> None:
        """Records a training that failed."""
        about = {**task["configuration"]._asdict(), "repeat": task["repeat"], "seed": task["seed"]}
        tracking.emit(ConfirmationEnded(score=None, message=reason, **about))


def _keep_best(
    tuner: Tuner, tracking: SearchSession, trial: Trial, score: float, weights: Any
) -> None:
    """Stores the weights of the best training of each configuration."""
    cost = tracking.records.cost
    earlier = (
        each.score
        for each in tracking.records.confirmations
        if each.configuration.name == trial.trial_id and each.score is not None
    )
    if all(cost(score) < cost(each) for each in earlier):
        model = tuner.hypermodel.build(trial.hyperparameters)
        place = Path(tuner.project_dir) / CONFIRMED
        save_weights(trial_folder(place, trial.trial_id, "trial.json"), model, weights)


def chosen_configurations(records: Records, settings: Confirm) -> list[Configuration]:
    """Returns what the first round trains: the best trials, and once each twin of those with dropout."""
    complete = standing.ranked(records)
    best = [*complete[: settings.top]]
    # The best with dropout, without, and with Keras's own.
    best += [each for each in complete if drops(each.active)][:1]
    for wrapper in (NONE, KERAS):
        best += [each for each in complete if has_wrapper(each.active, wrapper)][:1]
    chosen = {Configuration(each.trial_id): each.active for each in best}
    trained = sorted({each.configuration for each in records.confirmations if each.twin})
    # Twins that were trained before keep their names.
    earlier = {twin: standing.values_of(records, twin) for twin in trained}
    for configuration, values in list(chosen.items()):
        if drops(values) and not any(is_twin(other, values) for other in chosen.values()):
            twin = next(
                (twin for twin, other in earlier.items() if is_twin(other, values)),
                configuration._replace(twin=True),
            )
            chosen[twin] = standing.values_of(records, twin)
    return list(chosen)


def confirmation_seed(seed: int | None, repeat: int) -> int:
    """Derives the seed of a repeat: the same for every configuration, and not one of the search."""
    return trial_seed(seed or 0, {"confirmation": repeat}) % 2**31


DROPOUT = Question(chosen_configurations, trial_of, _keep_best, searches=True)
