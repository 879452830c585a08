"""The default sampler: a Gaussian process over the learning curves of all trials of a conditional space."""

from __future__ import annotations

import math
import secrets
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.errors import check_integer
from recdrop_tune.oracle.learning_curves import Array, LearningCurves, seen_of
from recdrop_tune.oracle.parameters import (
    Candidates,
    Encoding,
    Parameter,
    Values,
    check_space,
    key_of,
)
from recdrop_tune.oracle.scores import Curve, as_error_rates, read_curve

STARTUP_TRIALS = 5
"""Random trials before the first proposal; more of them do not pay off (benchmarks)."""

# The most trials that are fitted: the best and the last of those that have reported, and the last of the
# others. So the time of a proposal stays the same with many trials and workers.
_MAX_FITTED = 100
_BEST_VARIED = 10
# How often one of the first trials is drawn anew because it is refused.
_DRAWS = 50

DISCARDED = "discarded"
"""Attribute of a failed trial that never ran, so that samplers ignore it."""

WARM = "warm_start"
"""Attribute of a trial of another search; its configuration can be tried again."""


def nothing(values: Values) -> bool:
    """Refuses no configuration. A module's function, as samplers are pickled."""
    return False


class SurrogateSampler(BaseSampler):
    """Proposes the configuration with the largest expected improvement over the best trial.

    `LearningCurves`, a Gaussian process over configurations and epochs, predicts from all reported values
    what each configuration would reach in the end. It picks from all untried configurations of a small space,
    or from 350 of a large one. Pruned and running trials count with what they have reported, and failed ones
    as the worst. Running ones are taken to reach what is predicted, so that several workers try different
    configurations.

    The first five trials are drawn at random. No configuration is proposed twice. Once all of a small space
    has been tried, it draws at random, as Optuna cannot end a study there.

    Args:
        space: The whole conditional space. An `OptunaOracle` replaces it by that of its search. Parameters
            that it lacks are drawn at random.
        seed: Random seed. The same seed and the same trials give the same proposal. By default another
            one each time.

    Attributes:
        space: The space, parents first.
        refuses: Returns whether the surrogate should not propose a configuration. An `OptunaOracle` sets it.
        promised: The gain that the last proposal promised, as `expected_gain` returns it.

    Raises:
        InvalidArgumentError: The seed is not an integer of at least 0, or the space has a condition on a
            parameter that it lacks.

    Example:
        >>> def objective(trial):
        ...     x = trial.suggest_float("x", -1, 1)
        ...     return x**2 if trial.suggest_categorical("kind", "ab") == "a" else 2 + x
        >>> x, kind = FloatDistribution(-1, 1), CategoricalDistribution("ab")
        >>> space = [Parameter("x", x), Parameter("kind", kind)]
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=SurrogateSampler(space, seed=0))
        >>> study.optimize(objective, n_trials=20)
        >>> study.best_params["kind"], study.best_value < 0.01
        ('a', True)

    Reference:
        Learning curves: Swersky, Snoek and Adams 2014, arXiv:1406.3896. Expected improvement: Jones,
        Schonlau and Welch 1998, doi:10.1023/A:1008306431147. One process over a conditional space, inactive
        parameters in the middle: Hutter, Hoos and Leyton-Brown 2011, doi:10.1007/978-3-642-25566-3_40.
    """

    def __init__(self, space: Iterable[Parameter], seed: int | None = None) -> None:
        self.space = check_space(space)
        self._seed = secrets.randbits(32) if seed is None else check_integer("seed", seed, 0)
        self.refuses: Callable[[Values], bool] = nothing
        self.promised: float | None = None
        self._candidates: tuple[list[Parameter], Candidates] | None = None
        self._read: dict[tuple[int, datetime | None], Curve] = {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the parameters that are proposed together; see `optuna.samplers.BaseSampler`."""
        return {each.name: each.distribution for each in self.space}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Values:
        """Proposes a configuration; see `optuna.samplers.BaseSampler`."""
        direction = study.direction  # Optuna raises here if there are several.
        trials, random = known_trials(study, trial), self._random(trial.number)
        self.promised = None
        if len(trials) < STARTUP_TRIALS or not any(each.state.is_finished() for each in trials):
            tried = {key_of(each.params, each.distributions) for each in trials}
            candidates = self._candidates_of_space()
            drawn = (candidates.draw(tried, random) for _ in range(_DRAWS))
            found = next((each for each in drawn if each and not self.refuses(each)), None)
        else:
            found, self.promised = self._most_promising(trials, direction, random)
        return found or {}

    def expected_gain(self, study: optuna.Study) -> float | None:
        """Returns the expected gain of the next proposal, as a part of the best loss.

        Of a metric to maximize whose values are all from 0 to 1, it is the part of the error rate, 1 - value.
        Other values have no such part: it is None, as it is before the first complete trial.
        """
        trials = known_trials(study)
        if not trials:
            return None
        return self._most_promising(trials, study.direction, self._random(len(trials)))[1]

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draws the value of an unknown parameter; see `optuna.samplers.BaseSampler`."""
        random = self._random(trial.number, zlib.crc32(param_name.encode()))
        return Parameter(param_name, param_distribution).at(random.random())

    def _random(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *numbers])

    def _most_promising(
        self,
        trials: list[FrozenTrial],
        direction: StudyDirection,
        random: np.random.Generator,
    ) -> tuple[Values | None, float | None]:
        """Returns the configuration to propose, and the gain that it promises; see `expected_gain`."""
        sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
        curves = {trial.number: self._curve(trial, sign) for trial in trials}
        values = {trial.number: trial.params for trial in trials}
        tried = {curves[t.number].key for t in trials if WARM not in t.user_attrs}
        running = [trial.number for trial in trials if not trial.state.is_finished()]
        end = max([1, *(curve.steps[-1] + 1 for curve in curves.values() if curve.steps)])
        seen = observed(curves, end)
        ranked = sorted(seen, key=lambda number: seen[number][-1][1])
        best = [values[number] for number in ranked[:_BEST_VARIED]]
        offered = self._candidates_of_space().untried(tried, best, random)
        if not offered:
            return None, None
        encoding = Encoding(self.space)
        fitted = choose_fitted(ranked, values, [each for each in running if each not in seen])
        rows = [(number, *each) for number in fitted for each in seen.get(number, ())]
        if not rows:  # Nothing is known of them.
            return self._first_accepted(offered), None
        numbers, at, costs = zip(*rows, strict=True)
        reached = as_error_rates(costs, direction == StudyDirection.MAXIMIZE)
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
        busy = [number for number in running if number in points]
        process.suppose(np.array([points[number] for number in busy]), busy)
        # Those of complete trials at the last epoch.
        whole = [
            score
            for number, epoch, score in zip(numbers, at, process.scores, strict=False)
            if epoch == end and curves[number].state == TrialState.COMPLETE
        ]
        # No training has a negative number.
        mean, deviation = process.predict(encoding(offered), [-1] * len(offered))
        gains = improvement(mean, deviation, min(whole, default=mean.min()))
        order = np.argsort(-gains, kind="stable")
        chosen = next((n for n in order if not self.refuses(offered[n])), None)
        if chosen is None:
            return None, None
        # Only logarithms have differences that are parts; nothing is better than an error of 0.
        gain = float(process.unit * gains[chosen]) if min(reached) > 0 else 0.0
        return offered[chosen], gain if whole and min(reached) >= 0 else None

    def _first_accepted(self, offered: Iterable[Values]) -> Values | None:
        return next((values for values in offered if not self.refuses(values)), None)

    def _curve(self, trial: FrozenTrial, sign: float) -> Curve:
        if not trial.state.is_finished():
            return read_curve(trial, sign)
        identity = trial.number, trial.datetime_start  # One sampler can serve several studies.
        if identity not in self._read:  # A trial that has ended never changes.
            self._read[identity] = read_curve(trial, sign)
        return self._read[identity]

    def _candidates_of_space(self) -> Candidates:
        if self._candidates is None or self._candidates[0] != self.space:
            self._candidates = self.space, Candidates(self.space)
        return self._candidates[1]


def known_trials(study: optuna.Study, trial: FrozenTrial | None = None) -> list[FrozenTrial]:
    """Lists the other trials that are running or have ended, without discarded ones."""
    own = None if trial is None else trial.number
    begun = [each for each in study.get_trials(deepcopy=False) if each.state != TrialState.WAITING]
    return [
        each
        for each in begun
        if each.number != own and each.params and not each.user_attrs.get(DISCARDED)
    ]


def improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Returns the expected improvement of each point over the best score."""
    from scipy.stats import norm

    deviation = np.maximum(deviation, 1e-9)
    steps = (best - mean) / deviation
    found: Array = deviation * (steps * norm.cdf(steps) + norm.pdf(steps))
    return found


def choose_fitted(
    ranked: Sequence[int], begun: Iterable[int], under_way: Sequence[int]
) -> list[int]:
    """Returns the numbers of the trials that are fitted: all, or the best and the last ones of many.

    Args:
        ranked: The trials with reported values, best first.
        begun: All trials, in the order in which they began.
        under_way: The running ones that have reported nothing yet, in that order.
    """
    if len(ranked) > _MAX_FITTED:
        best = ranked[: _MAX_FITTED // 2]
        others = set(ranked) - set(best)
        last = [number for number in begun if number in others][-_MAX_FITTED // 2 :]
        ranked = [*best, *last]
    return [*ranked, *under_way[-_MAX_FITTED:]]


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
