"""Confidence intervals of paired gains that hold for all compared configurations together.

The same seeds train every configuration, so that a score is modelled as

    score[configuration, seed] = level[configuration] + shift[seed] + error

with errors of one variance, and fitted by least squares to all configurations at once. The gain of a
configuration over another is the difference of their levels; if no training failed, it is the mean of the
differences seed by seed. The residuals of all configurations estimate one variance, with
`(configurations - 1) * (seeds - 1)` degrees of freedom: a pair alone would have four with five seeds, which
widens its interval by 40 %. The price: if the variances of the configurations differ, the interval of the one
that varies most is too narrow; if several with dropout share a twin that varies more than they do, all
intervals are. The problem `calm` of `benchmarks/verdicts.py` measures the second case, none the first.

All intervals hold at the same time with the stated confidence. Each reaches

    critical * standard error[pair]   to both sides of its gain, where   P(max |T[pair]| <= critical) = 0.95

and `T` follows Student's t distribution in several dimensions, with the correlation that the gains have
because they share seeds, configurations and the variance. If all others are compared with one
configuration, this is Dunnett's test; with one pair of two configurations, Student's paired t test.

References:
    Dunnett, 1955, A multiple comparison procedure for comparing several treatments with a control.
    Hothorn, Bretz and Westfall, 2008, Simultaneous inference in general parametric models.
    Somerville, 1998, Numerical computation of multivariate normal and multivariate-t probabilities over
    convex regions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq
from scipy.special import fdtr, ndtri, stdtrit
from scipy.stats import qmc

Array = npt.NDArray[np.float64]
Pair = tuple[str, str]

NOTHING = 1e-10
"""Spreads and eigenvalues below this fraction of the largest are rounding errors."""

DIRECTIONS = 14
"""Critical values are means over 2**14 directions: 0.2 % off at most, for up to 20 pairs."""


@dataclass(frozen=True)
class PairedGain:
    """How much better a configuration is than another one: positive is better, in either direction.

    Attributes:
        gain: The estimate; NaN if no seeds connect the two.
        low: Lower end of its interval; NaN if fewer than two seeds trained both.
        high: Upper end.
    """

    gain: float
    low: float
    high: float

    @property
    def outcome(self) -> str:
        """`"helped"` or `"hurt"`, or `"not known"` if the interval contains 0."""
        if self.low > 0:
            return "helped"
        return "hurt" if self.high < 0 else "not known"


def paired_gains(
    scores: pd.DataFrame, pairs: Sequence[Pair], direction: str, confidence: float = 0.95
) -> list[PairedGain]:
    """Estimates gains with intervals that all hold together; see the module for the equations.

    Args:
        scores: A row for each seed, a column for each configuration; NaN if a training failed. All
            columns help to estimate the variance, also those in no pair.
        pairs: Each a configuration and the one that it is compared with.
        direction: `"max"` or `"min"`: which scores are better.
        confidence: The probability that all intervals contain their true gains.

    Returns:
        A gain for each pair, in their order. A configuration compared with itself gains 0.

    Example:
        >>> scores = pd.DataFrame({"none": [0.50, 0.52, 0.47], "dropout": [0.41, 0.44, 0.38]})
        >>> (gain,) = paired_gains(scores, [("dropout", "none")], "min")
        >>> gain.outcome
        'helped'
    """
    fit = _Fit.of(scores)
    contrasts = [_contrast(pair, fit.names, direction) for pair in pairs]
    known = [fit.estimable(pair, each) for pair, each in zip(pairs, contrasts, strict=True)]
    covered = [each for each, is_known in zip(contrasts, known, strict=True) if is_known]
    critical = critical_value(_covariance(covered, fit.unscaled), fit.freedom, confidence)
    gains = []
    for pair, contrast, is_known in zip(pairs, contrasts, known, strict=True):
        if pair[0] == pair[1]:
            gains.append(PairedGain(0.0, 0.0, 0.0))
            continue
        gain = fit.gain(contrast)
        half = math.nan
        if is_known:
            half = critical * fit.spread * math.sqrt(contrast @ fit.unscaled @ contrast)
        gains.append(PairedGain(gain, gain - half, gain + half))
    return gains


def seeds_to_settle(
    scores: pd.DataFrame,
    pairs: Sequence[Pair],
    direction: str,
    pair: Pair,
    confidence: float = 0.95,
    most: int = 1000,
) -> int | None:
    """Returns how many seeds would settle whether a pair's gain is above or below 0.

    With that many seeds, its interval would exclude 0 if the gain and the spread stayed the same. They do
    not quite, so it is a hint, not a promise.

    Args:
        scores: As for `paired_gains`.
        pairs: As for `paired_gains`.
        direction: As for `paired_gains`.
        pair: Which of them to settle.
        confidence: As for `paired_gains`.
        most: The largest answer.

    Returns:
        The number, at least 2; `None` if it is larger than `most`, or the gain is 0 or unknown.
    """
    fit = _Fit.of(scores)
    contrasts = [_contrast(each, fit.names, direction) for each in pairs if each[0] != each[1]]
    own = _contrast(pair, fit.names, direction)
    gain = abs(fit.gain(own))
    if not gain > 0 or math.isnan(fit.spread):
        return None
    # With every training done, levels are independent given the shifts, each with variance / seeds.
    complete = np.eye(len(fit.names))
    covariance = _covariance([each for each in contrasts if each.any()], complete)
    columns = int(np.sum(fit.trained.any(axis=0)))

    def settles(seeds: int) -> bool:
        critical = critical_value(covariance, (columns - 1) * (seeds - 1), confidence)
        return bool(critical * fit.spread * math.sqrt(own @ own / seeds) < gain)

    low, high = 1, most
    if not settles(most):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high


def critical_value(covariance: Array, freedom: float, confidence: float) -> float:
    """Returns the bound on the largest |T| of several gains, at a given confidence.

    `T` is a normal vector `Z` of the gains' correlation over an independent estimate of its standard
    deviation. Split into direction and length, `Z = length * A @ direction` with `A @ A.T` the
    correlation and `rank` dimensions, it is

        P(max |T| <= c) = E[F(c**2 / (rank * max |A @ direction|**2))]

    over directions that are uniform on the sphere, `F` the distribution function of Fisher's F with
    `rank` and `freedom` degrees of freedom. The mean over fixed, evenly spread directions is smooth in `c`,
    the same in every run, and works for linearly dependent gains.

    Args:
        covariance: The covariance of the gains, up to a factor; all variances are positive.
        freedom: Degrees of freedom of the estimated variance.
        confidence: The probability.

    Returns:
        The value; NaN without gains or degrees of freedom.
    """
    if not len(covariance) or freedom < 1:
        return math.nan
    deviations = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(deviations, deviations))
    kept = values > NOTHING * values[-1]
    factor, rank = vectors[:, kept] * np.sqrt(values[kept]), int(kept.sum())
    single = float(stdtrit(freedom, (1 + confidence) / 2))
    if rank == 1:
        return single
    lengths = np.max(np.abs(_directions(rank) @ factor.T), axis=1)
    # F takes most of the time, and is almost linear within a 512th of them.
    lengths = np.sort(lengths).reshape(512, -1).mean(axis=1)

    def excess(critical: float) -> float:
        return float(np.mean(fdtr(rank, freedom, (critical / lengths) ** 2 / rank))) - confidence

    # Bonferroni's value is too large for any correlation; a single gain's is too small.
    bonferroni = float(stdtrit(freedom, 1 - (1 - confidence) / 2 / len(covariance)))
    return float(brentq(excess, 0.99 * single, 1.01 * bonferroni, xtol=1e-5))


@dataclass(frozen=True)
class _Fit:
    """The additive model, fitted.

    Attributes:
        names: The configurations that were trained at all.
        trained: Whether a seed has trained a configuration: seeds by configurations.
        levels: The estimates of their levels, up to a constant.
        unscaled: Their covariance, in units of the error variance.
        reach: The projection on the combinations of parameters that the trainings determine.
        spread: Standard deviation of the error; NaN without degrees of freedom.
        freedom: Degrees of freedom.
        rounding: Smaller numbers count as 0.
    """

    names: list[str]
    trained: npt.NDArray[np.bool_]
    levels: Array
    unscaled: Array
    reach: Array
    spread: float
    freedom: int
    rounding: float

    @classmethod
    def of(cls, scores: pd.DataFrame) -> _Fit:
        """Fits the model to a frame of scores. Infinite scores are left out, as NaN is."""
        table = scores.to_numpy(dtype=float, na_value=math.nan)
        some = np.isfinite(table).any(axis=0)
        names, table = [str(name) for name in scores.columns[some]], table[:, some]
        trained = np.isfinite(table)
        seed, column = np.nonzero(trained)
        design = np.hstack([np.eye(len(names))[column], np.eye(len(table))[seed]])
        observed = table[trained]
        rounding = NOTHING * float(np.max(np.abs(observed), initial=0.0))
        # Without their mean, small differences of large scores keep their digits.
        observed = observed - observed.mean() if len(observed) else observed
        inverse = np.linalg.pinv(design.T @ design, rcond=NOTHING, hermitian=True)
        fitted = inverse @ design.T @ observed
        residuals = observed - design @ fitted
        freedom = len(observed) - int(np.linalg.matrix_rank(design)) if len(observed) else 0
        spread = math.sqrt(residuals @ residuals / freedom) if freedom else math.nan
        spread = 0.0 if spread <= rounding else spread
        own = slice(len(names))
        unscaled: Array = np.asarray(inverse[own, own], dtype=np.float64)
        reach: Array = (inverse @ design.T @ design)[own]
        return cls(names, trained, fitted[own], unscaled, reach, spread, freedom, rounding)

    def gain(self, contrast: Array) -> float:
        """Estimates a difference of levels; NaN if no seeds connect the two configurations."""
        if not contrast.any() or not self._connected(contrast):
            return math.nan
        gain = float(contrast @ self.levels)
        return 0.0 if abs(gain) <= self.rounding else gain

    def estimable(self, pair: Pair, contrast: Array) -> bool:
        """Returns whether a pair has an interval: two different configurations, both trained by two seeds."""
        return (
            bool(contrast.any())
            and self.freedom > 0
            and int(np.sum(self.trained[:, contrast != 0].all(axis=1))) > 1
        )

    def _connected(self, contrast: Array) -> bool:
        shown = contrast @ self.reach
        wanted = np.concatenate([contrast, np.zeros(len(shown) - len(contrast))])
        return bool(np.allclose(shown, wanted, atol=1e-6))


def _contrast(pair: Pair, names: Sequence[str], direction: str) -> Array:
    """Returns weights of the levels whose sum is the gain; all 0 if one of the two was never trained."""
    found = np.zeros(len(names))
    if pair[0] in names and pair[1] in names:
        sign = 1.0 if direction == "max" else -1.0
        found[names.index(pair[0])] += sign
        found[names.index(pair[1])] -= sign
    return found


def _covariance(contrasts: Sequence[Array], unscaled: Array) -> Array:
    if not contrasts:
        return np.zeros((0, 0))
    weights = np.stack(contrasts)
    covariance: Array = weights @ unscaled @ weights.T
    return covariance


def _directions(rank: int) -> Array:
    """Returns evenly spread directions, the same in every run."""
    points = qmc.Sobol(rank, scramble=False).random_base2(DIRECTIONS)
    normal = ndtri(points + 0.5 / len(points))
    directions: Array = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return directions
