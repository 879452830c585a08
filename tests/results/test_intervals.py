"""Tests of the intervals of paired gains: against known tests, and by simulation of whole confirmations."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recdrop_tune.results import Looks, paired_gains, rounds
from recdrop_tune.results.intervals import seeds_to_decide, shrunk

TWINS = [("a", "a0"), ("b", "b0"), ("c", "c0")]
"""Three configurations with dropout and their twins without."""

NAMES = [name for pair in TWINS for name in pair]
LOOKS = rounds(5, 20)


def drawn(generator, worth=0.0, seeds=20, spread=1.0, alike=0.28):
    """Draws costs with a spread of 1 without dropout. A part of it is the same for all with one seed."""
    shared = math.sqrt(alike) * generator.normal(size=(seeds, 1))
    own = math.sqrt(1 - alike) * generator.normal(size=(seeds, 6))
    own *= np.array([spread, 1.0] * 3)
    return pd.DataFrame(-np.array([worth, 0.0] * 3) - shared - own, columns=NAMES)


@pytest.fixture
def costs():
    return drawn(np.random.default_rng(0), worth=2.0)


def confirmed(costs, looks=LOOKS):
    """Looks after each round, and stops once a dropout is known to help or all are known."""
    for number, seeds in enumerate(looks, 1):
        gains = paired_gains(costs[:seeds], TWINS, Looks(looks[:number], looks[-1]))
        outcomes = {gain.outcome for gain in gains}
        if "helped" in outcomes or "not known" not in outcomes:
            break
    return gains


def ends(gain):
    return gain.low, gain.high


@pytest.mark.parametrize("pairs", [1, 3])
def test_an_interval_is_that_of_the_paired_t_test(costs, pairs):
    """At a level that is divided between the pairs."""
    gain = paired_gains(costs, TWINS[:pairs])[0]
    known = stats.ttest_rel(costs["a0"], costs["a"])
    assert gain.gain == pytest.approx((costs["a0"] - costs["a"]).mean())
    assert ends(gain) == pytest.approx(tuple(known.confidence_interval(1 - 0.05 / pairs)))


def test_the_chance_of_an_error_is_spent_once():
    looks = Looks([*LOOKS, 32, 50, 1000], 20)
    shares = [looks.share(each) for each in looks.seeds]
    assert min(shares) > 0
    assert sum(shares[:4]) == pytest.approx(0.98)
    assert 0.999 < sum(shares) < 1
    gains = [
        paired_gains(drawn(np.random.default_rng(0)), TWINS, each)[0]
        for each in (Looks([20], 20), Looks(LOOKS, 20))
    ]
    assert gains[1].high - gains[1].low > 1.1 * (gains[0].high - gains[0].low)


@pytest.mark.parametrize(
    ("first", "most", "done", "expected"),
    [
        (5, 20, (), [5, 8, 13, 20]),
        (2, 2, (), [2]),
        (1, 4, (), [1, 2, 4]),
        (5, 6, (), [5, 6]),
        (5, 50, LOOKS, [*LOOKS, 32, 50]),
        (5, 20, [2], [2, 5, 8, 13, 20]),
        (5, 20, [5, 8], LOOKS),
        (5, 8, LOOKS, [5, 8]),
    ],
)
def test_rounds_extend_earlier_ones(first, most, done, expected):
    assert rounds(first, most, done) == expected


@pytest.mark.parametrize(
    ("worth", "spread", "helped"),
    [(0.0, 1.0, (0.0, 0.05)), (0.0, 3.0, (0.0, 0.05)), (1.0, 1.0, (0.9, 1.0))],
    ids=["nothing", "three times the spread", "one spread"],
)
def test_intervals_hold_together_whenever_it_stops(worth, spread, helped):
    generator, times = np.random.default_rng(0), 300
    found = [confirmed(drawn(generator, worth, spread=spread)) for _ in range(times)]
    held = sum(all(gain.low <= worth <= gain.high for gain in gains) for gains in found)
    assert held / times > 0.93
    helps = sum(any(gain.outcome == "helped" for gain in gains) for gains in found)
    assert helped[0] <= helps / times <= helped[1]


def test_the_best_of_several_is_not_flattered():
    generator, raw, stated = np.random.default_rng(0), [], []
    for _ in range(200):
        gains = confirmed(drawn(generator, 1.0))
        best = max(range(3), key=lambda place: gains[place].gain)
        raw.append(gains[best].gain)
        stated.append(shrunk(gains)[best])
    assert np.mean(raw) > 1.25
    assert np.mean(stated) == pytest.approx(1.0, abs=0.1)
    one = paired_gains(drawn(generator, 1.0), TWINS[:1])
    assert shrunk(one)[0] == pytest.approx(one[0].gain, rel=0.2)
    assert math.isnan(shrunk(paired_gains(drawn(generator, seeds=1), TWINS))[0])


def test_only_whole_rounds_count(costs):
    looks = Looks([5, 8], 20)
    six, five = (paired_gains(costs[:seeds], TWINS, looks)[0] for seeds in (6, 5))
    assert six.seeds == 5
    assert ends(six) == pytest.approx(ends(five), rel=0.001)
    (gain,) = paired_gains(costs[:4], TWINS[:1], looks)
    assert gain.gain == pytest.approx((costs["a0"] - costs["a"])[:4].mean())
    assert (math.isnan(gain.low), gain.outcome) == (True, "not known")


def test_a_pair_that_is_known_keeps_the_interval_of_its_last_round(costs):
    looks = Looks([5, 8], 20)
    early = costs[:8].copy()
    early.loc[5:, "a"] = math.nan
    found = paired_gains(early, TWINS, looks)
    alone = paired_gains(costs[:5], TWINS, looks)[0]
    assert (found[0].gain, *ends(found[0])) == pytest.approx((alone.gain, *ends(alone)), rel=0.001)
    assert found[1] == paired_gains(costs[:8], TWINS, looks)[1]


@pytest.mark.parametrize(
    ("failing", "failed", "outcome"),
    [("a", (4, 0), "not known"), ("a0", (0, 4), "helped")],
)
def test_a_dropout_that_fails_more_often_has_not_helped(costs, failing, failed, outcome):
    costs = costs.assign(a=costs["a"] - 3.0)
    costs.loc[2:5, failing] = math.inf
    (gain,) = paired_gains(costs, TWINS[:1], Looks([20], 20))
    assert (gain.trainings, gain.seeds, gain.failed) == (16, 20, failed)
    assert gain.low > 0
    assert gain.outcome == outcome
    (turned,) = paired_gains(costs, [("a0", "a")], Looks([20], 20))
    assert turned.outcome == {"helped": "hurt"}.get(outcome, outcome)


def test_equal_scores_prove_nothing():
    same = pd.DataFrame({"a": [0.1 + 0.2] * 9, "a0": [0.3] * 9})
    (gain,) = paired_gains(same, TWINS[:1])
    assert gain.outcome == "not known"
    assert math.isnan(gain.low)


@pytest.mark.parametrize(("seeds", "outcome"), [(2, "not known"), (12, "helped")])
def test_an_accuracy_is_rounded(seeds, outcome):
    """On 50 rows it can be better by the same for each seed, which has no spread but that of rounding."""
    accuracies = pd.DataFrame({"a": [0.82, 0.84] * 6, "a0": [0.80, 0.82] * 6})[:seeds]
    (gain,) = paired_gains(-accuracies, TWINS[:1])
    assert gain.outcome == outcome
    assert gain.high - gain.low > 0.005


@pytest.mark.parametrize(("margin", "outcome"), [(0.5, "not known"), (2.0, "no difference")])
def test_no_difference_that_matters(margin, outcome):
    costs = drawn(np.random.default_rng(1))
    gains = paired_gains(costs, TWINS, Looks(LOOKS, 20), margin)
    assert {gain.outcome for gain in gains} == {outcome}


@pytest.mark.parametrize("pairs", [1, 3])
def test_the_last_round_tests_a_margin_from_either_side(pairs):
    """As two one-sided tests at 5 %, divided over the pairs: the intervals would need more seeds."""
    costs = drawn(np.random.default_rng(1))
    difference = costs["a0"] - costs["a"]
    bound = max(
        abs(each)
        for each in stats.ttest_1samp(difference, 0.0).confidence_interval(1 - 0.1 / pairs)
    )
    for margin, outcome in ((bound * 1.001, "no difference"), (bound * 0.999, "not known")):
        gain, *_ = paired_gains(costs, TWINS[:pairs], Looks(LOOKS, 20), margin)
        assert gain.outcome == outcome
        assert max(map(abs, ends(gain))) > margin
        decided = None if gain.tested is None else max(map(abs, gain.tested))
        assert decided == (pytest.approx(bound) if outcome == "no difference" else None)
    (early,) = paired_gains(costs, TWINS[:1], Looks(LOOKS, 40), bound * 1.001)
    assert early.outcome == "not known"


@pytest.mark.parametrize(
    ("worth", "done", "begun", "margin"),
    [
        *[(1.0, 5, 5, 0.0), (0.8, 5, 5, 0.0), (0.1, 5, 5, 0.9), (0.6, 20, 20, 0.0)],
        *[(0.5, 20, 0, 0.0), (0.5, 20, 0, 0.5), (0.0, 20, 0, 0.5)],
    ],
)
def test_the_seeds_that_an_open_answer_names_decide(worth, done, begun, margin):
    """In about 90 of 100 cases, where the true gain and spread are those seen."""
    generator, looks = np.random.default_rng(0), Looks(rounds(5, done), 20)

    def found(differences, looks):
        pair = pd.DataFrame({"a": -differences, "a0": 0.0})
        return paired_gains(pair, TWINS[:1], looks, margin, 3)[0]

    seen = generator.normal(size=done)
    seen = (seen - seen.mean()) / seen.std(ddof=1) + worth
    gain = found(seen, looks)
    seeds = seeds_to_decide(gain, gain.gain, looks, margin, 3, begun)
    plan, planned = rounds(5, seeds, looks.seeds if begun else ()), 20 if begun else seeds
    decided, times = 0, 200
    for _ in range(times):
        drawn = np.concatenate([seen[:begun], generator.normal(worth, 1.0, seeds - begun)])
        later = (found(drawn[:n], Looks([k for k in plan if k <= n], planned)) for n in plan)
        decided += any(each.outcome != "not known" for each in later if each.seeds > begun)
    assert 0.8 < decided / times <= 0.97


def test_a_seed_far_from_the_others_is_told():
    """More than seven times as far from their median as the others are on average: here 0.35."""

    def far_off(*differences):
        costs = pd.DataFrame({"a0": differences}).assign(a=0.0)
        (gain,) = paired_gains(costs, TWINS[:1])
        return gain.far_off

    assert far_off(0.9, 1.0, 1.1, 1.0, 1.3) is None
    assert far_off(0.9, 1.0, 1.1, 1.0, 1.4) == 4
    assert far_off(0.6, 1.0, 1.1, 1.0, 0.9) == 0
    assert far_off(1.0, 1.0, 1.0, 2.0) is None  # The others do not differ at all.
