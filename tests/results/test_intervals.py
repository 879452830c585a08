"""Tests for joint confidence intervals of paired gains: against known tests, tables and simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recdrop_tune.results import PairedGain, paired_gains, seeds_to_settle
from recdrop_tune.results.intervals import critical_value

TWINS = [("a", "a0"), ("b", "b0"), ("c", "c0")]
"""Three configurations with dropout and their twins without."""


def drawn(seed=0, seeds=5, levels=None, error=0.02):
    """Draws scores from the model: levels, a shift of each seed, errors."""
    levels = levels or {"a": 0.4, "a0": 0.5, "b": 0.45, "b0": 0.5, "c": 0.5, "c0": 0.5}
    generator = np.random.default_rng(seed)
    shift = generator.normal(scale=0.1, size=(seeds, 1))
    errors = generator.normal(scale=error, size=(seeds, len(levels)))
    return pd.DataFrame(np.array(list(levels.values())) + shift + errors, columns=list(levels))


def exact_scores(gain, spread, seeds):
    """Makes scores of a, a0, ..., c0 with just these gains of all pairs and this residual deviation."""
    generator = np.random.default_rng(0)
    errors = generator.normal(size=(seeds, 6))
    errors -= errors.mean(axis=0)
    errors -= errors.mean(axis=1, keepdims=True)
    errors *= spread / math.sqrt((errors**2).sum() / (5 * (seeds - 1)))
    levels = np.array([-gain, 0, -gain, 0, -gain, 0])
    return pd.DataFrame(levels + errors, columns=["a", "a0", "b", "b0", "c", "c0"])


def test_one_pair_is_the_paired_t_test():
    scores = drawn()[["a", "a0"]]
    (gain,) = paired_gains(scores, [("a", "a0")], "min", 0.9)
    known = stats.ttest_rel(scores["a0"], scores["a"])
    interval = known.confidence_interval(0.9)
    assert gain.gain == pytest.approx((scores["a0"] - scores["a"]).mean())
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ("treatments", "freedom", "tabulated"),
    # Dunnett, 1964, New tables for multiple comparisons with a control: two-sided, 95 %.
    [(1, 10, 2.23), (2, 5, 3.03), (2, 20, 2.38), (4, 10, 2.89), (9, 20, 2.95), (9, 60, 2.77)],
)
def test_comparisons_with_one_are_dunnetts(treatments, freedom, tabulated):
    shared = np.ones((treatments, treatments)) + np.eye(treatments)
    assert critical_value(shared, freedom, 0.95) == pytest.approx(tabulated, abs=0.008)


def test_critical_value_is_that_of_scipy():
    samples = np.random.default_rng(0).normal(size=(4, 6))
    known = stats.dunnett(*samples[1:], control=samples[0], rng=0)
    width = known.confidence_interval(0.95).high - known.confidence_interval(0.95).low
    deviation = math.sqrt(samples.var(axis=1, ddof=1).mean() * 2 / 6)
    own = critical_value(np.eye(3) + 1, 4 * 5, 0.95)
    assert own == pytest.approx(width[0] / 2 / deviation, rel=0.005)


def test_gains_that_share_nothing_are_sidaks_when_the_variance_is_known():
    expected = stats.norm.ppf((1 + 0.95 ** (1 / 6)) / 2)
    assert critical_value(np.eye(6), 10**6, 0.95) == pytest.approx(expected, rel=0.002)


def test_what_follows_from_other_pairs_costs_nothing():
    scores = drawn()
    once = paired_gains(scores, TWINS, "min")
    again = paired_gains(scores, [*TWINS, *TWINS, ("a0", "a"), ("a", "a")], "min")
    assert [gain.low for gain in again[:3]] == pytest.approx([gain.low for gain in once], rel=0.002)
    assert again[6].high == pytest.approx(-again[0].low)
    assert again[7] == PairedGain(0.0, 0.0, 0.0)
    assert again[7].outcome == "not known"


@pytest.mark.parametrize("spread", ["even", "uneven"])
def test_intervals_hold_together(spread):
    """In 95 % of all confirmations; where dropout has three times the spread of none, too."""
    times = 300
    generator = np.random.default_rng(0)
    deviations = np.ones(6) if spread == "even" else np.array([3.0, 1, 3, 1, 3, 1])
    held = single = 0
    for _ in range(times):
        table = generator.normal(size=(5, 1)) + deviations * generator.normal(size=(5, 6))
        scores = pd.DataFrame(table, columns=["a", "a0", "b", "b0", "c", "c0"])
        gains = paired_gains(scores, TWINS, "max")
        held += all(gain.low <= 0 <= gain.high for gain in gains)
        single += gains[0].low <= 0 <= gains[0].high
    low, high = (0.93, 0.97) if spread == "even" else (0.91, 0.97)
    assert low < held / times < high
    assert held < single


def test_direction_turns_the_signs():
    scores = drawn()
    lower, higher = (paired_gains(scores, TWINS, direction) for direction in ("min", "max"))
    for one, other in zip(lower, higher, strict=True):
        assert (one.gain, one.low, one.high) == pytest.approx(
            (-other.gain, -other.high, -other.low)
        )
    assert [gain.outcome for gain in lower][:1] == ["helped"]
    assert [gain.outcome for gain in higher][:1] == ["hurt"]
    assert lower[2].outcome == higher[2].outcome == "not known"


def test_a_failed_training_widens_the_intervals_of_its_pair():
    scores = drawn()
    whole = paired_gains(scores, TWINS, "min")
    scores.loc[2, "a"] = math.nan
    missing = paired_gains(scores, TWINS, "min")
    widths = [gain.high - gain.low for gain in missing]
    assert widths[0] > 1.05 * widths[1]
    assert widths[1] == pytest.approx(widths[2])
    assert missing[0].gain == pytest.approx(whole[0].gain, abs=0.03)
    # The seed's shift is known from the others, so that nothing is lost by it but one error.
    assert missing[0].outcome == "helped"


def test_missing_trainings_do_not_bias_what_seeds_shift():
    """The mean of what is there would: seed 0 is bad for all."""
    scores = pd.DataFrame({"a": [9.0, 1.0, 2.0, 4.0], "a0": [10.0, 2.0, 3.0, 5.0], "b": 1.0})
    scores["b"] = [9.5, 1.5, 2.5, math.nan]
    gains = paired_gains(scores, [("a", "a0"), ("b", "a0")], "min")
    assert [gain.gain for gain in gains] == pytest.approx([1.0, 0.5])
    # All residuals are 0: nothing is uncertain.
    assert gains[1].low == gains[1].high == gains[1].gain


def test_what_cannot_be_known_is_nan():
    scores = drawn()
    scores["c"] = math.nan
    gains = paired_gains(scores, [*TWINS, ("a", "elsewhere")], "min")
    assert gains[0].outcome == "helped"
    assert all(math.isnan(value) for each in gains[2:] for value in (each.gain, each.low))
    # Three configurations less, and as wide as if it had never been asked for.
    without = paired_gains(scores.drop(columns="c"), TWINS[:2], "min")
    assert gains[:2] == without

    (single,) = paired_gains(drawn(seeds=1)[["a", "a0"]], TWINS[:1], "min")
    assert single.gain > 0
    assert math.isnan(single.low)
    assert math.isnan(single.high)
    assert single.outcome == "not known"

    apart = pd.DataFrame({"a": [1.0, 2.0, math.nan], "a0": [math.nan, math.nan, 3.0]})
    (unpaired,) = paired_gains(apart, TWINS[:1], "min")
    assert math.isnan(unpaired.gain)
    (nothing,) = paired_gains(drawn()[["a"]] * math.nan, TWINS[:1], "min")
    assert math.isnan(nothing.gain)


def test_scores_that_never_vary():
    scores = pd.DataFrame({"a": [0.3] * 4, "a0": [0.1 + 0.2] * 4, "b": [0.2] * 4, "b0": [0.3] * 4})
    same, better = paired_gains(scores.astype("Float64"), TWINS[:2], "min")
    assert same == PairedGain(0.0, 0.0, 0.0)
    assert better.gain == better.low == better.high == pytest.approx(0.1)
    assert seeds_to_settle(scores, TWINS[:2], "min", TWINS[0]) is None
    assert seeds_to_settle(scores, TWINS[:2], "min", TWINS[1]) == 2


@pytest.mark.parametrize("gain", [0.03, 0.01, -0.006])
def test_seeds_to_settle(gain):
    wanted = seeds_to_settle(exact_scores(gain, 0.02, 5), TWINS, "min", TWINS[1])
    for seeds, outcome in ((wanted, "helped" if gain > 0 else "hurt"), (wanted - 1, "not known")):
        found = paired_gains(exact_scores(gain, 0.02, seeds), TWINS, "min")[1]
        assert found.gain == pytest.approx(gain)
        assert found.outcome == outcome
    assert seeds_to_settle(exact_scores(gain, 0.02, 9), TWINS, "min", TWINS[1]) == wanted


def test_some_questions_cannot_be_settled():
    assert seeds_to_settle(exact_scores(1e-4, 0.02, 5), TWINS, "min", TWINS[0]) is None
    assert seeds_to_settle(exact_scores(0.0, 0.02, 5), TWINS, "min", TWINS[0]) is None
    assert seeds_to_settle(drawn(seeds=1), TWINS, "min", TWINS[0]) is None
    assert seeds_to_settle(drawn(), TWINS, "min", ("a", "elsewhere")) is None


def test_the_same_scores_give_the_same_intervals():
    assert paired_gains(drawn(), TWINS, "min") == paired_gains(drawn(), TWINS, "min")
