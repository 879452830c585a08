"""Confidence intervals of paired gains that hold for all compared configurations together.

The same seeds train every configuration. A pair of configurations, one with dropout and one without, has a
difference of scores for each seed, and its gain is their mean. The differences of all pairs have one
variance, estimated as the mean of theirs,

    variance = sum over pairs and seeds of (difference[pair, seed] - gain[pair])**2 / sum of (seeds - 1)

for five seeds leave a pair on its own four degrees of freedom, which widens its interval by a third and
more. Each difference has dropout on one side and none on the other, so that the variance is right where the
two kinds vary differently over the seeds, too; a variance of scores, pooled over configurations, is right
only where both kinds are equally many.

All intervals hold at the same time with the stated confidence. Each reaches

    critical * standard error[pair]   to both sides of its gain, where   P(max |T[pair]| <= critical) = 0.95

and `T` follows Student's t distribution in several dimensions. Gains of pairs that share a configuration
are correlated, by 1/2; the mean of such variances has fewer degrees of freedom than their sum,

    degrees = (sum over pairs of (seeds - 1))**2 / sum over pairs, pairs of correlation**2 * (seeds - 1)

With one pair this is Student's paired t test.

References:
    Hothorn, Bretz and Westfall, 2008, Simultaneous inference in general parametric models.
    Satterthwaite, 1946, An approximate distribution of estimates of variance components.
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
"""Spreads and eigenvalues under this part of the largest are rounding errors."""

DIRECTIONS = 14
"""Critical values are means over 2**14 directions: 0.2 % off at most, for up to 20 pairs."""


@dataclass(frozen=True)
class PairedGain:
    """How much better a configuration is than another one: above 0 it is better, whatever the direction.

    Attributes:
        gain: The estimate; NaN where no seed trained both.
        low: Lower end of its interval; NaN where fewer than two seeds trained both.
        high: Upper end.
    """

    gain: float
    low: float
    high: float

    @property
    def outcome(self) -> str:
        """What the interval shows: `"helped"`, `"hurt"` or, where it holds 0, `"not known"`."""
        if self.low > 0:
            return "helped"
        return "hurt" if self.high < 0 else "not known"


def paired_gains(
    scores: pd.DataFrame, pairs: Sequence[Pair], direction: str, confidence: float = 0.95
) -> list[PairedGain]:
    """Estimates gains with intervals that all hold together; see the module for the equations.

    Args:
        scores: A row for each seed, a column for each configuration; NaN where a training failed.
        pairs: Each a configuration and the one that it is compared with.
        direction: `"max"` or `"min"`: which scores are better.
        confidence: How likely all intervals hold their true gains.

    Returns:
        A gain for each pair, in their order. A configuration compared with itself gains 0.

    Example:
        >>> scores = pd.DataFrame({"none": [0.50, 0.52, 0.47], "dropout": [0.41, 0.44, 0.38]})
        >>> (gain,) = paired_gains(scores, [("dropout", "none")], "min")
        >>> gain.outcome
        'helped'
    """
    known = _Differences.of(scores, pairs, direction)
    critical = critical_value(known.correlation, known.freedom, confidence)
    return [_gain_of(known, pair, critical) for pair in pairs]


def seeds_to_settle(
    scores: pd.DataFrame,
    pairs: Sequence[Pair],
    direction: str,
    pair: Pair,
    confidence: float = 0.95,
    most: int = 1000,
) -> int | None:
    """Returns how many seeds in all would settle whether a pair's gain is above or below 0.

    That is the number with which its interval would leave out 0 if its gain and the spread stay what
    they are. They do not quite, so that it is a hint and no promise.

    Args:
        scores: As for `paired_gains`.
        pairs: As for `paired_gains`: all that the intervals have to hold for.
        direction: As for `paired_gains`.
        pair: Which of them to settle.
        confidence: As for `paired_gains`.
        most: The largest answer.

    Returns:
        The number, at least 2; `None` if it is larger than `most`, or the gain is 0 or not known.
    """
    known = _Differences.of(scores, pairs, direction)
    gain = abs(known.gains.get(pair, 0.0))
    if gain == 0 or math.isnan(known.spread):
        return None
    # With every training done, each pair has as many differences as there are seeds.
    shared = np.array([[_correlation(one, other) for other in known.pairs] for one in known.pairs])
    freedom = len(shared) ** 2 / float(np.sum(shared**2))

    def settles(seeds: int) -> bool:
        critical = critical_value(shared, freedom * (seeds - 1), confidence)
        return critical * known.spread / math.sqrt(seeds) < gain

    if not settles(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high


def critical_value(covariance: Array, freedom: float, confidence: float) -> float:
    """Returns what the largest |T| of several gains stays under with the stated confidence.

    `T` is a normal vector `Z` of the gains' correlation over an independent estimate of its standard
    deviation. Split into direction and length, `Z = length * A @ direction` with `A @ A.T` the
    correlation and `rank` dimensions, it is

        P(max |T| <= c) = E[F(c**2 / (rank * max |A @ direction|**2))]

    over directions that are uniform on the sphere, `F` the distribution function of Fisher's F with
    `rank` and `freedom` degrees of freedom. The mean over fixed, evenly spread directions is smooth in `c`
    and the same in every run, and does not mind gains that follow from each other.

    Args:
        covariance: Of the gains, up to a factor; all variances above 0.
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
    # F hardly bends within a 512th of them, and takes most of the time.
    lengths = np.sort(lengths).reshape(512, -1).mean(axis=1)

    def excess(critical: float) -> float:
        return float(np.mean(fdtr(rank, freedom, (critical / lengths) ** 2 / rank))) - confidence

    # Bonferroni's value is too large for any correlation; a single gain's is too small.
    bonferroni = float(stdtrit(freedom, 1 - (1 - confidence) / 2 / len(covariance)))
    return float(brentq(excess, 0.99 * single, 1.01 * bonferroni, xtol=1e-5))


@dataclass(frozen=True)
class _Differences:
    """The differences of pairs, seed by seed.

    Attributes:
        gains: The means of all pairs that some seed has trained both of.
        pairs: Those that have an interval, each once.
        seeds: How many seeds trained both of each of these.
        correlation: That of their gains.
        spread: Standard deviation of a difference; NaN where no pair has an interval.
        freedom: Degrees of freedom of its estimate.
    """

    gains: dict[Pair, float]
    pairs: list[Pair]
    seeds: dict[Pair, int]
    correlation: Array
    spread: float
    freedom: float

    @classmethod
    def of(cls, scores: pd.DataFrame, pairs: Sequence[Pair], direction: str) -> _Differences:
        """Takes the differences; scores that are infinite are left out as NaN are."""
        table = scores.astype(float)
        table = table.where(np.isfinite(table))
        # The smaller the scores' differences beside them, the more of a difference is rounding.
        rounding = NOTHING * float(np.nanmax(table.abs().to_numpy(), initial=0.0))
        sign = 1.0 if direction == "max" else -1.0
        gains: dict[Pair, float] = {}
        found: dict[Pair, Array] = {}
        for pair in dict.fromkeys(pairs):
            if pair[0] == pair[1]:
                gains[pair] = 0.0
            elif pair[0] in table and pair[1] in table:
                of_pair = (sign * (table[pair[0]] - table[pair[1]])).to_numpy()
                number = int(np.isfinite(of_pair).sum())
                gain = float(np.nanmean(of_pair)) if number else math.nan
                gains[pair] = 0.0 if abs(gain) <= rounding else gain
                if number > 1 and pair[::-1] not in found:
                    found[pair] = of_pair
        if not found:
            return cls(gains, [], {}, np.zeros((0, 0)), math.nan, 0.0)
        there = np.isfinite(np.stack(list(found.values()))).astype(float)
        left = np.stack([each - gains[pair] for pair, each in found.items()])
        shared = np.array([[_correlation(one, other) for other in found] for one in found])
        common, seeds = there @ there.T, there.sum(axis=1)
        total = float(np.sum(seeds - 1))
        freedom = total**2 / float(np.sum(shared**2 * np.maximum(common - 1, 0)))
        spread = math.sqrt(float(np.nansum(left**2)) / total)
        return cls(
            gains,
            list(found),
            {pair: int(number) for pair, number in zip(found, seeds, strict=True)},
            shared * common / np.sqrt(np.outer(seeds, seeds)),
            0.0 if spread <= rounding else spread,
            freedom,
        )


def _gain_of(known: _Differences, pair: Pair, critical: float) -> PairedGain:
    gain = known.gains.get(pair, math.nan)
    if pair[0] == pair[1]:
        return PairedGain(0.0, 0.0, 0.0)
    seeds = known.seeds.get(pair) or known.seeds.get(pair[::-1])
    half = math.nan if seeds is None else critical * known.spread / math.sqrt(seeds)
    return PairedGain(gain, gain - half, gain + half)


def _correlation(one: Pair, other: Pair) -> float:
    """Returns the correlation of two pairs' differences with the same seed: 1/2 where they share one."""
    same = (one[0] == other[0]) + (one[1] == other[1])
    opposite = (one[0] == other[1]) + (one[1] == other[0])
    return (same - opposite) / 2


def _directions(rank: int) -> Array:
    """Returns evenly spread directions: the same in every run, so that intervals are too."""
    points = qmc.Sobol(rank, scramble=False).random_base2(DIRECTIONS)
    normal = ndtri(points + 0.5 / len(points))
    directions: Array = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return directions
