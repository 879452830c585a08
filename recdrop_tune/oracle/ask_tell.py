"""Optuna's side of a search: asks, reports and tells, and knows which trial stands for which."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from recdrop_tune.oracle.conditions import (
    HyperParameter,
    is_active,
    is_fixed,
    suggest,
    to_drawn,
    walk,
)
from recdrop_tune.oracle.parameters import Values
from recdrop_tune.oracle.samplers import quiet_optuna
from recdrop_tune.oracle.scores import reached, values_of
from recdrop_tune.oracle.surrogate_sampler import DISCARDED

_WANTED = "wanted"


class AskTell:
    """Links the trials of Keras Tuner to trials of an Optuna study.

    A trial that is run again gets a new trial of Optuna's: what was reported of the first attempt
    cannot be taken back, and the second would be judged by it.

    Args:
        study: The study.
        numbers: Optuna's number by Keras Tuner's id; kept up to date.
    """

    def __init__(self, study: optuna.Study, numbers: dict[str, int]) -> None:
        self.study = study
        self._numbers = numbers
        self._asked: dict[str, optuna.Trial] = {}
        self._steps: dict[str, set[int]] = {}

    def is_under_way(self, trial_id: str) -> bool:
        """Says whether a trial was asked for here and has not ended."""
        return trial_id in self._asked

    def ask(self, trial_id: str, space: Sequence[HyperParameter]) -> Values:
        """Asks for the values of a trial."""
        asked = self.study.ask()
        values = walk(space, lambda hp: suggest(asked, hp))
        asked.set_user_attr("keras_tuner_id", trial_id)
        self._asked[trial_id], self._steps[trial_id] = asked, set()
        self._numbers[trial_id] = asked.number
        return values

    def ask_for(self, trial_id: str, space: Sequence[HyperParameter], values: Values) -> Values:
        """Has given values tried by a trial.

        What the user has enqueued in the study comes first there, and is put back behind.
        """
        token = uuid.uuid4().hex
        self._enqueue(space, values, {_WANTED: token})
        while True:
            got = self.ask(trial_id, space)
            asked = self._asked[trial_id]
            attributes = {n: v for n, v in asked.user_attrs.items() if n != "keras_tuner_id"}
            if attributes.get(_WANTED) == token:
                return got
            self.discard(trial_id)
            # One that a killed process wanted for itself is of no use to anybody.
            if _WANTED not in attributes:
                self._enqueue(space, got, attributes)

    def ask_again(self, trial_id: str, space: Sequence[HyperParameter], values: Values) -> None:
        """Begins another attempt at a trial, whose earlier one has failed for Optuna."""
        earlier = self._numbers.get(trial_id)
        if earlier is not None:
            with quiet_optuna():
                self.study.tell(earlier, state=TrialState.FAIL, skip_if_finished=True)
        active = {hp.name for hp in space if hp.name in values and is_active(hp, values)}
        self.ask_for(trial_id, space, {name: values[name] for name in values if name in active})
        if earlier is not None:
            self._asked[trial_id].set_user_attr("retry_of", earlier)

    def discard(self, trial_id: str) -> None:
        """Gives up a trial that will not be run."""
        if trial_id in self._asked:
            self._asked[trial_id].set_user_attr(DISCARDED, True)
        self._end(trial_id, state=TrialState.FAIL)
        self._numbers.pop(trial_id, None)

    def report(self, trial_id: str, value: float, step: int) -> bool:
        """Reports an epoch; returns whether the pruner would stop here.

        Of several trainings of a trial only the first one's epochs are reported.
        """
        asked = self._asked.get(trial_id)
        if asked is None or step in self._steps[trial_id] or not math.isfinite(value):
            return False
        self._steps[trial_id].add(step)
        asked.report(value, step)
        return bool(asked.should_prune())

    def tell(self, trial: Any, objective: Any) -> None:
        """Tells how a trial of Keras Tuner's has ended.

        Optuna takes no value for a trial that was stopped early: its own is that of the last epoch. The best
        one is the attribute `best_value`.
        """
        asked = self._asked.get(trial.trial_id) if trial.status == "STOPPED" else None
        best = reached(trial, objective).value if asked is not None else None
        if asked is not None and best is not None:
            # Storages with a heartbeat may have ended it.
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                asked.set_user_attr("best_value", best)
        self._end(trial.trial_id, **outcome(trial, objective))

    def _end(self, trial_id: str, **ending: Any) -> None:
        self._asked.pop(trial_id, None)
        self._steps.pop(trial_id, None)
        number = self._numbers.get(trial_id)
        if number is not None:
            with quiet_optuna():
                self.study.tell(number, skip_if_finished=True, **ending)

    def _enqueue(
        self, space: Sequence[HyperParameter], values: Values, attributes: dict[str, Any]
    ) -> None:
        drawn = {
            hp.name: to_drawn(hp, values[hp.name])
            for hp in space
            if not is_fixed(hp) and is_active(hp, values)
        }
        with quiet_optuna():
            self.study.enqueue_trial(drawn, user_attrs=attributes)


def outcome(trial: Any, objective: Any) -> dict[str, Any]:
    """Returns how a trial has ended as `optuna.Study.tell` takes it."""
    if trial.status == "COMPLETED":
        return {"values": values_of(trial, objective)}
    return {"state": TrialState.PRUNED if trial.status == "STOPPED" else TrialState.FAIL}
