"""The default sampler: a Gaussian process over the learning curves of all trials of a conditional space."""

from __future__ import annotations

import math
import secrets
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.encoding import Encoding
from recdrop_tune.errors import check_integer
from recdrop_tune.hyperparameters import Hyperparameter, Key, Space, Values, check_space, key_of
from recdrop_tune.optuna_forms import from_optuna, read_distribution, to_optuna
from recdrop_tune.oracle.candidates import Candidates
from recdrop_tune.oracle.learning_curves import Array, Curve, LearningCurves, read_curve, seen_of
from recdrop_tune.oracle.scores import as_error_rates

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
        refuses: Returns whether the surrogate should not propose a configuration. An `OptunaOracle` sets it.
        promised: The gain that the last proposal promised, as `expected_gain` returns it.

    Raises:
        InvalidArgumentError: The seed is not an integer of at least 0, or the space has a condition on a
            hyperparameter that it lacks.

    Example:
        >>> def objective(trial):
        ...     x = trial.suggest_float("x", -1, 1)
        ...     return x**2 if trial.suggest_categorical("kind", "ab") == "a" else 2 + x
        >>> space = [Hyperparameter("x", low=-1.0, high=1.0), Hyperparameter("kind", choices="ab")]
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

    def __init__(self, space: Iterable[Hyperparameter], seed: int | None = None) -> None:
        self._seed = secrets.randbits(32) if seed is None else check_integer("seed", seed, 0)
        self.refuses: Callable[[Values], bool] = nothing
        self.promised: float | None = None
        self._set_space(check_space(space))

    @property
    def space(self) -> Space:
        """The space, each hyperparameter after those in its conditions."""
        return self._space

    @space.setter
    def space(self, space: Space) -> None:
        if space != self._space:
            self._set_space(space)

    def _set_space(self, space: Space) -> None:
        self._space, self._candidates = space, Candidates(space)
        self._ended_trials: dict[tuple[int, datetime | None], ObservedTrial] = {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the parameters that are proposed together; see `optuna.samplers.BaseSampler`."""
        return {row.name: row.distribution for row in self.space}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Values:
        """Proposes a configuration; see `optuna.samplers.BaseSampler`."""
        trials, random = self._observe(study, trial), self._random(trial.number)
        if len(trials) < STARTUP_TRIALS or all(other.is_running for other in trials):
            tried = {other.key for other in trials}
            drawn = (self._candidates.draw(tried, random) for _ in range(_DRAWS))
            accepted = (values for values in drawn if values and not self.refuses(values))
            values, self.promised = next(accepted, None), None
        else:
            values, self.promised = self._most_promising(study, trials, random)
        return {} if values is None else to_optuna(self.space, values)[0]

    def expected_gain(self, study: optuna.Study) -> float | None:
        """Returns the expected gain of the next proposal, as a part of the best loss.

        Of a metric to maximize whose values are all from 0 to 1, it is the part of the error rate, 1 - value.
        Other values have no such part: it is None, as it is before the first complete trial.
        """
        trials = self._observe(study)
        if not trials:
            return None
        return self._most_promising(study, trials, self._random(len(trials)))[1]

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draws the value of an unknown parameter; see `optuna.samplers.BaseSampler`."""
        random = self._random(trial.number, zlib.crc32(param_name.encode()))
        return read_distribution(param_name, param_distribution).at(random.random())

    def _random(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *numbers])

    def _most_promising(
        self, study: optuna.Study, trials: Sequence[ObservedTrial], random: np.random.Generator
    ) -> tuple[Values | None, float | None]:
        """Returns the configuration to propose, and the gain that it promises; see `expected_gain`."""
        evidence = Evidence(trials)
        candidates = self._candidates.untried(evidence.tried, evidence.best, random)
        order: Iterable[int] = range(len(candidates))
        parts: Array | None = None
        if candidates and evidence.observations:
            maximize = study.direction == StudyDirection.MAXIMIZE
            gains, parts = expected_gains(
                evidence, Encoding(self.space), candidates, maximize, random
            )
            order = np.argsort(-gains, kind="stable")
        chosen = next((place for place in order if not self.refuses(candidates[place])), None)
        if chosen is None:
            return None, None
        return candidates[chosen], None if parts is None else float(parts[chosen])

    def _observe(
        self, study: optuna.Study, trial: FrozenTrial | None = None
    ) -> list[ObservedTrial]:
        """Reads the other trials that are running or have ended, without discarded ones."""
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        own = None if trial is None else trial.number
        trials = []
        for other in study.get_trials(deepcopy=False):
            is_discarded = other.user_attrs.get(DISCARDED) or not other.params
            if other.state == TrialState.WAITING or other.number == own or is_discarded:
                continue
            identity = other.number, other.datetime_start  # One sampler can serve several studies.
            known = self._ended_trials.get(identity) or observe(self.space, other, sign)
            if not known.is_running:  # It never changes again.
                self._ended_trials[identity] = known
            trials.append(known)
        return trials


class ObservedTrial(NamedTuple):
    """A trial: its configuration, also as a member of sets, and its learning curve.

    `is_warm`: whether it belongs to another search, so that its configuration can be tried again.
    """

    number: int
    values: Values
    key: Key
    curve: Curve
    is_warm: bool

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return not self.curve.state.is_finished()


def observe(space: Space, trial: FrozenTrial, sign: float) -> ObservedTrial:
    """Reads a trial; `sign` is 1 if its study minimizes, and -1 if it maximizes."""
    values = from_optuna(space, trial.params)
    is_warm = WARM in trial.user_attrs
    return ObservedTrial(trial.number, values, key_of(values), read_curve(trial, sign), is_warm)


class Evidence:
    """What the trials of a study, in the order in which they began, have shown.

    `tried` are the configurations that are not proposed again, `best` those of the best trials, best first,
    `fitted` the numbers of the trials that are fitted, and `running` those of them that have not ended.
    `observations` holds the number, the epoch and the best value until then, several for each of the fitted
    trials. `end` is the last epoch of a complete training.
    """

    def __init__(self, trials: Sequence[ObservedTrial]) -> None:
        self.trials = {trial.number: trial for trial in trials}
        self.tried = {trial.key for trial in trials if not trial.is_warm}
        self.end = max([1, *(trial.curve.steps[-1] + 1 for trial in trials if trial.curve.steps)])
        seen = best_by_epoch(trials, self.end)
        ranked = sorted(seen, key=lambda number: seen[number][-1][1])
        self.best = [self.trials[number].values for number in ranked[:_BEST_VARIED]]
        running = [trial.number for trial in trials if trial.is_running]
        unseen = [number for number in running if number not in seen]
        self.fitted = choose_fitted(ranked, self.trials, unseen)
        self.running = [number for number in running if number in self.fitted]
        self.observations = [(n, *pair) for n in self.fitted for pair in seen.get(n, ())]

    def is_final(self, number: int, epoch: int) -> bool:
        """Returns whether an observation is the value of a complete trial."""
        return epoch == self.end and self.trials[number].curve.state == TrialState.COMPLETE


def expected_gains(
    evidence: Evidence,
    encoding: Encoding,
    candidates: Sequence[Values],
    maximize: bool,
    random: np.random.Generator,
) -> tuple[Array, Array | None]:
    """Predicts what each candidate gains over the best trial.

    Returns the expected improvements, in units of the process; and the same as parts of the best loss, or
    None where values have no parts or no trial is complete.
    """
    numbers, epochs, costs = zip(*evidence.observations, strict=True)
    errors = as_error_rates(costs, maximize)
    values = (evidence.trials[number].values for number in evidence.fitted)
    points = dict(zip(evidence.fitted, encoding(values), strict=True))
    process = LearningCurves(
        np.array([points[number] for number in numbers]),
        encoding.owners,
        epochs,
        numbers,
        errors,
        evidence.end,
        random,
    )
    final = [
        score
        for number, epoch, score in zip(numbers, epochs, process.scores, strict=True)
        if evidence.is_final(number, epoch)
    ]
    running = evidence.running
    process.suppose(np.array([points[number] for number in running]), running)
    # No training has a negative number.
    mean, deviation = process.predict(encoding(candidates), [-1] * len(candidates))
    gains = improvement(mean, deviation, min(final, default=mean.min()))
    if not final or min(errors) < 0:
        return gains, None
    # Only logarithms have differences that are parts; nothing is better than an error of 0.
    return gains, gains * (process.unit if min(errors) > 0 else 0.0)


def improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Returns the expected improvement of each point over the best score."""
    from scipy.stats import norm

    deviation = np.maximum(deviation, 1e-9)
    steps = (best - mean) / deviation
    gains: Array = deviation * (steps * norm.cdf(steps) + norm.pdf(steps))
    return gains


def choose_fitted(
    ranked: Sequence[int], begun: Iterable[int], under_way: Sequence[int]
) -> list[int]:
    """Returns the numbers of the trials that are fitted: all, or the best and the last ones of many.

    `ranked` has the trials with reported values, best first; the others are in the order in which they began.
    """
    if len(ranked) > _MAX_FITTED:
        best = ranked[: _MAX_FITTED // 2]
        others = set(ranked) - set(best)
        last = [number for number in begun if number in others][-_MAX_FITTED // 2 :]
        ranked = [*best, *last]
    return [*ranked, *under_way[-_MAX_FITTED:]]


def best_by_epoch(trials: Sequence[ObservedTrial], end: int) -> dict[int, list[tuple[int, float]]]:
    """Returns epochs, and the best values until then, by the number of the trial.

    The value of a complete trial counts at the last epoch, `end`, and so does a failure, as infinity; it is
    left out if another trial of the same configuration did not fail.
    """
    again = {trial.key for trial in trials if trial.curve.state != TrialState.FAIL}
    seen = {}
    for number, _, key, curve, _ in trials:
        values = seen_of(curve)
        if curve.state == TrialState.FAIL:
            values = [] if key in again else [(end, math.inf)]
        elif curve.state == TrialState.COMPLETE:
            values = [*(pair for pair in values if pair[0] < end), (end, curve.value)]
        if values:
            seen[number] = values
    return seen
