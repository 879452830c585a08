"""A sampler that also ranks paused trials."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from recdrop_tune.oracle.learning_curves import LearningCurves, seen_of
from recdrop_tune.oracle.parameters import Encoding, Values
from recdrop_tune.oracle.samplers import (
    BEST_VARIED,
    WARM,
    SurrogateSampler,
    choose_fitted,
    improvement,
    known_trials,
)
from recdrop_tune.oracle.scores import Curve


class Promise(NamedTuple):
    """What can be trained next: a new configuration, or a paused trial.

    Attributes:
        gain: The expected improvement over the best complete trial at the last epoch.
        values: The new configuration.
        number: The trial.
    """

    gain: float
    values: Values | None = None
    number: int | None = None


class FreezeThawSampler(SurrogateSampler):
    """Ranks paused trials and new configurations by what they promise at the last epoch.

    Paused trials and new configurations compete by the expected improvement over the best complete trial, as
    `LearningCurves` predicts it. Before a trial is complete, the best prediction takes its place.

    Args:
        seed: Random seed.
        space: The whole conditional space, as for `SurrogateSampler`.

    Reference:
        Swersky, Snoek and Adams 2014, arXiv:1406.3896.
    """

    def rank(self, study: optuna.Study, paused: Collection[int], epochs: int) -> list[Promise]:
        """Ranks what can be trained next: new configurations, and trials that have paused.

        Args:
            study: The study. A trial that has paused is running in it.
            paused: The numbers of the trials that have paused.
            epochs: The epochs of a complete training.

        Returns:
            The most promising first.
        """
        trials, space = known_trials(study), self._space_of(study)
        reported = sum(len(trial.intermediate_values) for trial in trials)
        random = np.random.default_rng([self._seed, len(trials), reported])
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        curves = {trial.number: self._curve(trial, sign) for trial in trials}
        values = {trial.number: trial.params for trial in trials}
        tried = {curves[t.number].key for t in trials if WARM not in t.user_attrs}
        running = [t.number for t in trials if not t.state.is_finished()]
        end = max([epochs, *(epoch for curve in curves.values() for epoch, _ in seen_of(curve))])
        seen = observed(curves, end)
        ranked = sorted(seen, key=lambda number: seen[number][-1][1])
        best = [values[number] for number in ranked[:BEST_VARIED]]
        offered = self._candidates_of(space).untried(tried, best, random)
        offered = [each for each in offered if not self.refuses(each)]
        encoding = Encoding(space)
        fitted = choose_fitted(ranked, values, [each for each in running if each not in seen])
        rows = [(number, *each) for number in fitted for each in seen.get(number, ())]
        if not rows:  # Nothing is known of them.
            found = [Promise(math.nan, values=each) for each in offered]
            return found + [Promise(math.nan, number=each) for each in paused]
        numbers, at, reached = zip(*rows, strict=True)
        points = dict(zip(fitted, encoding(values[number] for number in fitted), strict=True))
        process = LearningCurves(
            np.array([points[number] for number in numbers]),
            encoding.owners,
            at,
            numbers,
            reached,
            end,
            random,
        )
        busy = [number for number in running if number in points and number not in paused]
        process.suppose(np.array([points[number] for number in busy]), busy)
        # Those of complete trials at the last epoch.
        whole = [
            score
            for number, epoch, score in zip(numbers, at, process.scores, strict=False)
            if epoch == end and curves[number].state == TrialState.COMPLETE
        ]
        waiting = [number for number in fitted if number in paused]
        every = np.concatenate([encoding(offered), encoding(values[n] for n in waiting)])
        # Any negative number is the number of none.
        mean, deviation = process.predict(every, [*(-1 for _ in offered), *waiting])
        gains = process.unit * improvement(mean, deviation, min(whole, default=mean.min()))
        promises = [Promise(gain, values=v) for gain, v in zip(gains, offered, strict=False)]
        promises += [
            Promise(gain, number=n) for gain, n in zip(gains[len(offered) :], waiting, strict=True)
        ]
        # Those of many trials that are not fitted are among the worst.
        promises += [Promise(0.0, number=number) for number in paused if number not in points]
        return sorted(promises, key=lambda each: -each.gain)


def observed(curves: Mapping[int, Curve], end: int) -> dict[int, list[tuple[int, float]]]:
    """Returns what is known of each trial: epochs, and the best values until then.

    The value of a complete trial counts at the last epoch, `end`, and so does a failure, as infinity; it is
    left out if another trial of the same configuration did not fail.
    """
    again = {each.key for each in curves.values() if each.state != TrialState.FAIL}
    found = {}
    for number, each in curves.items():
        if each.state == TrialState.FAIL:
            seen = [] if each.key in again else [(end, math.inf)]
        else:
            seen = seen_of(each)
            if each.state == TrialState.COMPLETE:
                seen = [*((epoch, best) for epoch, best in seen if epoch < end), (end, each.value)]
        if seen:
            found[number] = seen
    return found
