"""Confidence intervals of paired gains that hold at any stop and for all compared configurations together.

A configuration and its twin are trained with the same seeds, in rounds. After each round someone looks, and
either stops or adds another round. The gain of a pair is the mean of its differences, seed by seed. Its
interval is that of Student's paired t test, with the spread of these differences alone:

    gain +- t(1 - share * 0.05 / (2 * pairs), trainings - 1) * spread / sqrt(trainings)

Each pair is judged by its own spread because spreads differ: a dropout can have three times that of its twin.
Intervals after few seeds are therefore wide, and further rounds narrow them.

They all hold together in at least 95 of 100 confirmations, because the chance of an error is divided between
the looks and, at each look, between the pairs (Bonferroni). The parts add up to 5 %, so the bound holds for
any rule that stops and for any dependence between pairs. Each look gets the *share* of the planned seeds
that it adds: with 20 planned and looks after 5, 8, 13 and 20, these are 25, 15, 25 and 35 %. 2 % are kept
for seeds beyond the plan: by the look after `n` seeds, `2 % * (1 - planned / n)` of it is spent, so a
confirmation can be extended any number of times. Pairs that are added after a look are not planned: what they
get adds to the 5 %.

The intervals rely on differences without a long tail on one side: where dropout is a little better with most
seeds and far worse with a rare one, the first seeds can all lack the rare one. `PairedGain` therefore also
has the worst difference, and a seed that is far off.

Scores with few values, such as an accuracy on 50 rows, can be equal because they are rounded. With `g` the
smallest step between two scores, rounding adds `g**2 / 6` to the variance of a difference.

References:
    Lan and DeMets, 1983, Discrete sequential boundaries for clinical trials.
    Schuirmann, 1987, A comparison of the two one-sided tests procedure and the power approach.
    Efron and Morris, 1975, Data analysis using Stein's estimator and its generalizations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from scipy.special import stdtrit

Pair = tuple[str, str]

HELPED, HURT, NO_DIFFERENCE, NOT_KNOWN = "helped", "hurt", "no difference", "not known"
"""The outcomes."""

_CONFIDENCE = 0.95

_KEPT = 0.02
"""The part of the chance of an error that is kept for seeds beyond the plan."""

_GROWTH = 1.6
"""How much each round multiplies the seeds. Larger rounds train too much; more rounds divide the chance of
an error too often."""

MOST_SEEDS, _POWER = 100, 0.9
"""The largest number that `seeds_to_decide` names, and how probably the outcome is known then."""

_FAR = 7
"""A difference is far off if it is this many times as far from the median as the others are on average. With
normal noise, 10 % of the pairs have one with 5 seeds, 2 % with 8, and hardly any with 20."""


@dataclass(frozen=True)
class Looks:
    """After which numbers of `seeds` a confirmation was looked at, and how many were `planned` at first."""

    seeds: Sequence[int]
    planned: int

    def share(self, number: int) -> float:
        """Returns the part of the chance of an error that the look after `number` seeds gets."""
        before = max((each for each in self.seeds if each < number), default=0)
        return self._spent(number) - self._spent(before)

    def _spent(self, seeds: int) -> float:
        if seeds <= self.planned:
            return (1 - _KEPT) * seeds / self.planned
        return 1 - _KEPT * self.planned / seeds


def rounds(first: int, most: int, done: Sequence[int] = ()) -> list[int]:
    """Returns how many seeds each round ends with; `done` has those of a confirmation that is extended."""
    sizes = [seeds for seeds in done if seeds <= most] or [min(first, most)]
    while sizes[-1] < most:
        sizes.append(min(most, max(first, math.ceil(sizes[-1] * _GROWTH))))
    return sizes


@dataclass(frozen=True)
class PairedGain:
    """How much better a configuration is than another one: positive is better, in either direction.

    `gain` is the mean of the `differences` (by the row of the seed), NaN if no seed has trained both.
    `trainings` counts the seeds that have. The ends `low` and `high` of the 95 % interval and the standard
    `error` are NaN with fewer than two. The interval is based on `seeds`, failed trainings included; `failed`
    counts those of the configuration and of the other one. `outcome` is `"helped"` or `"hurt"` if the
    interval excludes 0, `"no difference"` if no difference is larger than the margin, or else `"not known"`.
    `tested` is the 90 % interval of two one-sided tests, if it is within the margin and the interval is not;
    else `None`.
    """

    gain: float
    low: float
    high: float
    trainings: int
    seeds: int
    failed: tuple[int, int]
    differences: Mapping[int, float]
    error: float
    outcome: str
    tested: tuple[float, float] | None = None

    @property
    def worst(self) -> float:
        """The worst difference; NaN without any."""
        return min(self.differences.values(), default=math.nan)

    @property
    def better(self) -> float:
        """The share of seeds where it is better; NaN without any."""
        values = np.array([*self.differences.values()])
        return float(np.mean(values > 0)) if len(values) else math.nan

    @property
    def far_off(self) -> int | None:
        """The row of a seed whose difference is far from the others'; `None` if all are close."""
        if not self.differences:
            return None
        rows, values = [*self.differences], np.array([*self.differences.values()])
        distances = np.abs(values - np.median(values))
        farthest = int(np.argmax(distances))
        usual = float(np.delete(distances, farthest).sum()) / max(1, len(rows) - 1)
        return rows[farthest] if distances[farthest] > _FAR * usual > 0 else None


def paired_gains(
    costs: pd.DataFrame,
    pairs: Sequence[Pair],
    looks: Looks | None = None,
    margin: float = 0.0,
    number: int | None = None,
) -> list[PairedGain]:
    """Estimates gains with 95 % intervals that all hold together; see the module for the equations.

    `costs` has a row for each seed and a column for each configuration: its score as a number to minimize,
    infinite if the training failed, NaN if it was not trained. A pair is a configuration and the one that it
    is compared with; it gets the interval of the last of the `looks` whose seeds have all trained both.
    Without `looks`, NaN is a failed training too. The chance of an error is divided between `number` pairs,
    by default all.
    """
    table = costs.astype(float)
    values = np.unique(table.to_numpy()[np.isfinite(table.to_numpy())])
    largest = np.abs(values).max(initial=0.0)
    steps = np.diff(values)
    # Smaller steps are rounding errors.
    step = float(min(steps[steps > 1e-10 * largest], default=0.0))
    number = number or len(set(pairs))
    return [_gain(table[own], table[other], looks, margin, step, number) for own, other in pairs]


def _gain(
    own: pd.Series[float],
    other: pd.Series[float],
    looks: Looks | None,
    margin: float,
    step: float,
    pairs: int,
) -> PairedGain:
    first, second = own.to_numpy(), other.to_numpy()
    look = seeds = len(own)
    share, is_last = 1.0, True
    if looks is not None:
        trained = ~np.isnan(first) & ~np.isnan(second)
        # The seeds from the first one on that have all trained both.
        seeds = len(own) if trained.all() else int(np.argmin(trained))
        look = max((each for each in looks.seeds if each <= seeds), default=0)
        seeds = look or seeds  # A first round that was interrupted has a gain, and no interval.
        first, second = first[:seeds], second[:seeds]
        share, is_last = looks.share(look), look == looks.planned
    failed = int(np.isinf(first).sum()), int(np.isinf(second).sum())
    with np.errstate(invalid="ignore"):
        differences = second - first
    both = np.isfinite(first) & np.isfinite(second)
    differences = differences[both]
    by_row = dict(zip(map(int, np.flatnonzero(both)), map(float, differences), strict=True))
    count, gain = len(differences), math.nan
    if count:
        gain = float(differences.mean())
    spread = float(differences.std(ddof=1)) if count > 1 else math.nan
    if not look or not math.hypot(spread, step) > 0:
        return PairedGain(
            gain, math.nan, math.nan, count, seeds, failed, by_row, math.nan, NOT_KNOWN
        )
    error = math.sqrt((spread**2 + step**2 / 6) / count)
    half = _half(error, count, share, pairs)
    low, high = gain - half, gain + half
    within, tested, outcome = max(abs(low), abs(high)), None, NOT_KNOWN
    if is_last and within > margin:
        # Two one-sided tests. The answer can rest on one pair, so the chance is divided among the pairs.
        half = _half(error, count, 2.0, pairs)
        within, tested = abs(gain) + half, (gain - half, gain + half)
    # A configuration that fails more often is not better because its other trainings are.
    if within <= margin and failed[0] == failed[1]:
        outcome = NO_DIFFERENCE
    elif low > 0 and failed[0] <= failed[1]:
        outcome = HELPED
    elif high < 0 and failed[1] <= failed[0]:
        outcome = HURT
    tested = tested if outcome == NO_DIFFERENCE else None
    return PairedGain(gain, low, high, count, seeds, failed, by_row, error, outcome, tested)


def _half(error: float, count: int, share: float, pairs: int) -> float:
    """Returns how far an interval reaches to each side of its gain."""
    return error * float(stdtrit(count - 1, 1 - (1 - _CONFIDENCE) * share / 2 / pairs))


def seeds_to_decide(
    gain: PairedGain, expected: float, looks: Looks, margin: float, pairs: int, begun: int = 0
) -> int | None:
    """Returns after how many seeds the outcome of a gain is probably known; `None` if 100 are too few.

    Further differences have the mean `expected` and the spread of those seen. All `begun` seeds count, or
    none: the trainings are then planned anew.
    """
    for seeds in range(max(begun, 1) + 1, MOST_SEEDS + 1):
        done, planned = (looks.seeds, looks.planned) if begun else ((), seeds)
        share = Looks(rounds(looks.seeds[0], seeds, done), planned).share(seeds)
        error, added = gain.error * math.sqrt(gain.trainings / seeds), 1 - begun / seeds
        half = _half(error, seeds, share, pairs)
        inner = _half(error, seeds, 2.0, pairs) if seeds == planned else half
        # It stays open if the mean is neither far enough from 0 nor close enough to it. The mean of the
        # seeds at hand is known; that of the others varies.
        mean = NormalDist(gain.gain + added * (expected - gain.gain), error * math.sqrt(added))
        near, far = (mean.cdf(end) - mean.cdf(-end) for end in (max(0.0, margin - inner), half))
        if far - near <= 1 - _POWER:
            return seeds
    return None


def comparable_means(costs: pd.DataFrame) -> pd.Series[float]:
    """Returns the mean of each column as if all had been trained with all seeds; NaN for one without costs.

    `costs` has a row for each seed and a column for each configuration; NaN where a training failed or is
    missing.
    """
    everywhere = costs.dropna(axis=1, how="all").dropna()
    # Later rounds leave some out, and their seeds can be harder: the effect of each seed is subtracted.
    added = (costs - everywhere.mean()).mean(axis=1).fillna(0.0)
    return costs.sub(added, axis=0).mean() + added.mean()


def shrunk(gains: Sequence[PairedGain]) -> list[float]:
    """Corrects gains for the choice of the best one; NaN where a gain has no interval.

    The best of several means is too large, and so is a mean that ended a confirmation. Each gain is moved
    toward the mean of all by the part of their variance that chance explains (an empirical Bayes estimate),
    and the result toward 0, to a fraction of `1 - (standard error / gain)**2` (a Stein estimate).
    """
    means = np.array([each.gain for each in gains])
    errors = np.array([each.error for each in gains])
    known = np.isfinite(errors)
    if not known.any():
        return [math.nan] * len(gains)
    noise = float(np.mean(errors[known] ** 2))
    between = max(0.0, float(np.var(means[known], ddof=1)) - noise) if known.sum() > 1 else noise
    kept = between / (between + noise) if known.sum() > 1 else 1.0
    center = float(means[known].mean())
    moved = center + kept * (means - center)
    with np.errstate(divide="ignore", invalid="ignore"):
        return [float(each) for each in moved * np.maximum(0.0, 1 - (errors / moved) ** 2)]
