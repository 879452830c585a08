"""What a search lets one expect of dropout, on scores whose truth is known."""

import math

import numpy as np
import pytest

from recdrop_tune.results.expected import expected_gain


def search(random, worth, trials=14, spread=0.05):
    """Draws a search: the best trial with dropout, its twin, and what the two differ by.

    The score depends on a learning rate, dropout is worth `worth` spreads, and a trial shares a third of its
    noise with its twin.
    """
    rates = random.random(trials)
    dropping = random.random(trials) < 0.75
    dropping[:2] = False, True
    level = 1 + spread * 8 * (rates - 0.6) ** 2 - spread * worth * dropping
    shared = random.normal(size=trials)
    scores = level + spread * (
        math.sqrt(0.3) * shared + math.sqrt(0.7) * random.normal(size=trials)
    )
    best = int(np.argmin(np.where(dropping, scores, np.inf)))
    luck = math.sqrt(0.3) * shared[best] + math.sqrt(0.7) * random.normal()
    twin = level[best] + spread * (worth + luck)
    points = np.stack([np.sqrt(0.5) * dropping, np.sqrt(0.5) * ~dropping, rates], axis=1)
    without = [math.sqrt(0.5) * each for each in (0, 1)]
    points = np.vstack([points, [*without, rates[best]]])
    scores, dropping = np.append(scores, twin), np.append(dropping, False)
    gain = expected_gain(points, scores, list(dropping), best, trials, 2)
    return (twin - scores[best]) / spread - worth, gain / spread - worth


@pytest.mark.parametrize("worth", [0.0, 1.0, 2.0])
def test_it_is_right_on_average(worth):
    """The difference of the two is not: the trial is the best of ten, by luck too."""
    random = np.random.default_rng(0)
    found = np.array([search(random, worth) for _ in range(300)])
    plain, expected = found.mean(axis=0)
    error = found.std(axis=0)[1] / math.sqrt(len(found))
    assert plain > 0.6
    assert abs(expected) < 0.1 + 2 * error


def test_a_training_that_diverged_changes_little():
    random = np.random.default_rng(0)
    points, scores = random.random((12, 2)), random.normal(size=12)
    dropping = [False, *[True] * 11]
    best = 1 + int(np.argmin(scores[1:]))
    worst = 1 + int(np.argmax(scores[1:]))
    gains = []
    for each in (10.0, 1e6):
        scores[worst] = each
        gains.append(expected_gain(points, scores, dropping, best, 0, 2))
    assert gains[0] == pytest.approx(gains[1])


def test_where_little_is_known():
    points = np.eye(5)
    assert math.isnan(expected_gain(points[:4], np.arange(4.0), [False, True, True, True], 1, 0, 1))
    same = expected_gain(points, np.ones(5), [False, *[True] * 4], 1, 0, 1)
    assert same == pytest.approx(0.0)
