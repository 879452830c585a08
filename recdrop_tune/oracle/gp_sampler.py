"""Proposes configurations by a Gaussian process over all that has been tried, also in conditional spaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recdrop_tune.oracle.candidates import Candidates, Encoding, frozen
from recdrop_tune.oracle.conditions import HyperParameter, Values
from recdrop_tune.oracle.scores import Outlooks

# Trials before the first proposal; more of them cost more than they tell (benchmarks).
_STARTUP_TRIALS = 5
# Times the root of the number of hyperparameters, as distances grow with it.
_LENGTH_SCALES = (0.1, 0.2, 0.4, 0.8)
# The likeliest before anything is seen, and the variance of its logarithm: of few trials the likelihood
# alone takes any scale for granted.
_EXPECTED_SCALE, _SCALE_VARIANCE = 0.4, 0.5
# Variance of what a training's seed does to its place among the others, whose variance is 1.
_NOISE = 0.1
# More trials than that are not fitted: the best, and the last ones; and of those under way the last ones. The
# time of a proposal stays flat, however many trials there are and however many workers.
_MAX_FITTED = 100
_BEST = 10

Array = NDArray[np.float64]


class Surrogate:
    """Picks what promises the most improvement over the best, by what is known of all trials.

    A Gaussian process (Matern 5/2, of a few length scales the likeliest) predicts the places of
    configurations among those tried, as normal scores: an objective's scale and its outliers do not
    matter. Trials stopped early count with what they would have come to, failed ones as the worst, and
    those under way as middling ones, so that several workers look at several places.

    Args:
        seed: Seed of what is drawn; the same seed and the same trials give the same proposal.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._outlooks = Outlooks()
        self._tried: dict[str, frozenset[tuple[str, Any]]] = {}
        self._space: tuple[str, ...] = ()
        self._candidates: Candidates | None = None

    def propose(
        self, space: Sequence[HyperParameter], trials: Mapping[str, Any], objective: Any
    ) -> Values | None:
        """Proposes a configuration; `None` while too little is known, or where nothing is left.

        Args:
            space: The hyperparameters.
            trials: The trials of the search by id.
            objective: The objective of the search.
        """
        if len(trials) < _STARTUP_TRIALS:
            return None
        # A trial whose file was lost says nothing of any place.
        trials = {id: trial for id, trial in trials.items() if trial.hyperparameters.values}
        outlooks = self._outlooks.of(trials.values(), objective)
        if not outlooks:
            return None
        values = {id: trial.hyperparameters.values for id, trial in trials.items()}
        ranked = sorted(outlooks, key=outlooks.__getitem__)
        random = np.random.default_rng([self._seed, len(trials)])
        best = [values[id] for id in ranked[:_BEST]]
        candidates = self._candidates_of(space).untried(self._tried_of(values), best, random)
        if not candidates:
            return None
        fitted = _some(ranked, values, [id for id in values if id not in outlooks])
        encoding = Encoding(space)
        scores = normal_scores([outlooks.get(id) for id in fitted])
        points = encoding([values[id] for id in fitted])
        unit = sqrt(max(1, encoding.size))
        mean, deviation = predict(points, scores, encoding(candidates), unit)
        return candidates[int(np.argmax(improvement(mean, deviation, scores.min())))]

    def _tried_of(self, values: Mapping[str, Values]) -> set[frozenset[tuple[str, Any]]]:
        for id in values:
            if id not in self._tried:  # A trial's values never change.
                self._tried[id] = frozen(values[id])
        return {self._tried[id] for id in values}

    def _candidates_of(self, space: Sequence[HyperParameter]) -> Candidates:
        names = tuple(hp.name for hp in space)
        if self._candidates is None or names != self._space:  # Keras Tuner may find more of them.
            self._candidates, self._space = Candidates(space), names
        return self._candidates


def normal_scores(values: Sequence[float | None]) -> Array:
    """Returns the normal score of each value by its rank, 0 for unknown ones.

    Example:
        >>> normal_scores([3.0, 1.0, None, 900.0]).round(2).tolist()
        [0.0, -1.22, 0.0, 1.22]
    """
    from scipy.stats import norm, rankdata

    known = [value for value in values if value is not None]
    scores = norm.ppf((rankdata(known) - 0.5) / len(known))
    scores /= scores.std() or 1.0
    found = iter(scores)
    return np.array([0.0 if value is None else next(found) for value in values])


def predict(points: Array, scores: Array, at: Array, unit: float) -> tuple[Array, Array]:
    """Returns mean and standard deviation of a Gaussian process at other points.

    Args:
        points: Where the scores are known.
        scores: The scores.
        at: The other points.
        unit: What the length scales are multiples of.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    fitted = {}
    for scale in _LENGTH_SCALES:
        kernel = Matern(length_scale=scale * unit, length_scale_bounds="fixed", nu=2.5)
        process = GaussianProcessRegressor(kernel, alpha=_NOISE, optimizer=None)
        prior = log(scale / _EXPECTED_SCALE) ** 2 / (2 * _SCALE_VARIANCE)
        process.fit(points, scores)
        fitted[process.log_marginal_likelihood_value_ - prior] = process
    mean, deviation = fitted[max(fitted)].predict(at, return_std=True)
    return mean, deviation


def improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Returns by how much each is expected to be better than the best."""
    from scipy.stats import norm

    deviation = np.maximum(deviation, 1e-9)
    steps = (best - mean) / deviation
    found: Array = deviation * (steps * norm.cdf(steps) + norm.pdf(steps))
    return found


def _some(ranked: list[str], begun: Iterable[str], open_ones: list[str]) -> list[str]:
    """Returns the ids of the trials that are fitted: all, or of many the best and the last ones.

    Args:
        ranked: Those whose outlook is known, best first.
        begun: All of them, in the order of their beginnings.
        open_ones: Those of which nothing is known yet, in that order.
    """
    if len(ranked) > _MAX_FITTED:
        best = ranked[: _MAX_FITTED // 2]
        others = set(ranked) - set(best)
        ranked = [*best, *[id for id in begun if id in others][-_MAX_FITTED // 2 :]]
    return [*ranked, *open_ones[-_MAX_FITTED:]]
