"""What trainings will reach: a Gaussian process over configurations and epochs."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

Array = NDArray[np.float64]

# The epochs at which a curve is read, besides its last one: first epochs tell more than later ones.
_POWERS = [3**power for power in range(20)]
# The part of a configuration's covariance that all its epochs have in common; the rest fades between epochs.
_LASTING = 0.5
# Variance of a training that its configuration does not explain, where that of all scores is 1.
_OWN = 0.05
# The scales of the parameters, of the logarithm of the epoch, and the noise: how often each is drawn, and
# the ranges. More draws, wider ranges or other values change the searches of the benchmark by less than
# their noise.
_DRAWS = 12
_LENGTH_DEVIATION = 1.0
_FADING = 0.7, 6.0
_NOISE = 0.003, 0.05
# The deviation of the values grows with this power of the epoch: first epochs are much alike. With one
# deviation for all epochs, the predictions would be about twice as certain.
_GROWTH = 0.0, 1.2
# Values worse than this quantile count as that quantile: how bad a bad training is does not matter.
_CAP = 0.9


@dataclass(frozen=True)
class Curve:
    """The values that a trial has reported; lower ones are better in every study.

    The value of a trial that is not complete is its best so far, or infinity. `bests` are the best values
    until each of the reported steps.
    """

    state: TrialState
    value: float
    steps: list[int]
    bests: list[float]


def read_curve(trial: FrozenTrial, sign: float) -> Curve:
    """Reads a trial; `sign` is 1 if its study minimizes, and -1 if it maximizes."""
    reported = {step: sign * value for step, value in trial.intermediate_values.items()}
    steps = sorted(step for step, value in reported.items() if math.isfinite(value))
    bests = list(accumulate((reported[step] for step in steps), min))
    value = math.inf
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        value = sign * trial.value
    elif trial.state != TrialState.FAIL and bests:
        value = bests[-1]
    return Curve(trial.state, value, steps, bests)


def seen_of(curve: Curve) -> list[tuple[int, float]]:
    """Returns 1, 3, 9, 27 ... and the last epoch of a curve, each with the best value until then."""
    if not curve.steps:
        return []
    last = curve.steps[-1] + 1
    at = [*_POWERS[bisect_right(_POWERS, curve.steps[0]) : bisect_left(_POWERS, last)], last]
    return [(epoch, curve.bests[bisect_right(curve.steps, epoch - 1) - 1]) for epoch in at]


class LearningCurves:
    """Predicts the final values of trainings from all learning curves so far.

    A Gaussian process over the configuration (Matern 5/2) and the logarithm of the epoch; each training has
    a part that is only its own. So an early epoch tells less about the last one than a late epoch, and most
    about the same training. That dropout slows the first epochs down need not be said: the wrapper and the
    rate are coordinates of the process. The values are the logarithms of losses, or normal scores of their
    ranks if one of them is not positive, less a trend.

    Args:
        points: The configuration of each observation, of shape `(observations, coordinates)`.
        owners: The parameter of each coordinate, numbered from 0.
        trainings: The number of each observation's training.
        values: The best value of the training until then; infinity for a failed one.
        end: The last epoch of a complete training.

    Reference:
        Swersky, Snoek and Adams 2014, arXiv:1406.3896.
    """

    def __init__(
        self,
        points: Array,
        owners: NDArray[np.int64],
        epochs: Sequence[int],
        trainings: Sequence[int],
        values: Sequence[float],
        end: int,
        random: np.random.Generator,
    ) -> None:
        self._owners = owners
        self._points, self._trainings = points, np.array(trainings)
        self._times = np.log(np.array(epochs, float))
        self._end = math.log(end)
        self._values = _scaled(np.array(values))
        size = int(owners.max(initial=-1)) + 1
        drawn = [(np.ones(size), 2.0, 0.02, 0.25)]
        drawn += [self._draw(size, random) for _ in range(_DRAWS - 1)]
        self._likelihood(max(drawn, key=self._likelihood))

    def _draw(self, size: int, random: np.random.Generator) -> tuple[Array, float, float, float]:
        lengths = np.exp(random.normal(0.0, _LENGTH_DEVIATION, size))
        fading, noise = (math.exp(random.uniform(*np.log(bounds))) for bounds in (_FADING, _NOISE))
        return lengths, fading, noise, random.uniform(*_GROWTH)

    def _likelihood(self, drawn: tuple[Array, float, float, float]) -> float:
        """Fits the process; returns the logarithm of the likelihood of hyperparameters, times their prior."""
        self._lengths, self._fading, self._noise, growth = drawn
        scale = np.exp(growth * self._times)
        line = np.stack([1 / scale, self._times / scale], axis=1)
        rest = self._values / scale
        rest -= line @ np.linalg.lstsq(line, rest, rcond=None)[0]
        spread = float(rest.std())
        deviation = spread or 1.0
        self.unit = spread * math.exp(growth * self._end)
        """The standard deviation of the values at the last epoch: the unit of all predictions."""
        self.scores = rest / deviation
        """The values of the observations, each in the unit of its epoch."""
        self._fit()
        prior = (np.log(self._lengths) ** 2).sum() / (2 * _LENGTH_DEVIATION**2)
        fit = self.scores @ self._weights / 2 + np.log(np.diag(self._factor[0])).sum()
        units = len(rest) * math.log(deviation) + growth * self._times.sum()
        return float(-fit - units - prior)

    def _fit(self) -> None:
        from scipy.linalg import cho_factor, cho_solve

        covariance = self._covariance(self._points, self._times, self._trainings)
        covariance[np.diag_indices_from(covariance)] += self._noise
        self._factor = cho_factor(covariance, lower=True)
        self._weights = cho_solve(self._factor, self.scores)

    def _covariance(self, points: Array, times: Array, trainings: NDArray[np.int64]) -> Array:
        """Returns the covariance with each observation."""
        from scipy.spatial.distance import cdist

        scale = 1 / self._lengths[self._owners]
        away = sqrt(5) * cdist(points * scale, self._points * scale)
        alike = (1 + away + away**2 / 3) * np.exp(-away)
        near = np.exp(-np.abs(times[:, None] - self._times) / self._fading)
        same = trainings[:, None] == self._trainings
        covariance: Array = alike * (_LASTING + (1 - _LASTING) * near) + _OWN * same * near
        return covariance

    def predict(self, points: Array, trainings: Sequence[int]) -> tuple[Array, Array]:
        """Returns mean and standard deviation of the values at the last epoch.

        `points` has the shape `(configurations, coordinates)`. `trainings` has the number of the training of
        each; one without observations can have any other number.
        """
        from scipy.linalg import cho_solve

        ends = np.full(len(points), self._end)
        known = self._covariance(points, ends, np.array(trainings, np.int64))
        mean = known @ self._weights
        variance = 1 + _OWN - (known * cho_solve(self._factor, known.T).T).sum(axis=1)
        return mean, np.sqrt(np.maximum(variance, 1e-9))

    def suppose(self, points: Array, trainings: Sequence[int]) -> None:
        """Counts trainings that are under way as ended, with the values that are predicted for them.

        So several workers train different configurations.
        """
        if not len(points):
            return
        mean, _ = self.predict(points, trainings)
        self.scores = np.concatenate([self.scores, mean])
        self._points = np.concatenate([self._points, points])
        self._times = np.concatenate([self._times, np.full(len(points), self._end)])
        self._trainings = np.concatenate([self._trainings, trainings])
        self._fit()


def _scaled(values: Array) -> Array:
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(len(values))
    scores = np.log(values) if values[finite].min() > 0 else normal_scores(values.tolist())
    scores[finite] = np.minimum(scores[finite], np.quantile(scores[finite], _CAP))
    # Worse than any other, but not so much that the others look alike.
    scores[~finite] = scores[finite].max() + (scores[finite].std() or 1.0)
    return scores


def normal_scores(values: Sequence[float]) -> Array:
    """Returns the normal score of each value by its rank."""
    from scipy.stats import norm, rankdata

    scores: Array = norm.ppf((rankdata(values) - 0.5) / len(values))
    return scores / (scores.std() or 1.0)
