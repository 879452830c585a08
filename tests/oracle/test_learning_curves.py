"""Tests for what is predicted from learning curves, and for the order of what is trained next."""

import math

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from recdrop_tune.oracle import learning_curves
from recdrop_tune.oracle.learning_curves import LearningCurves, read_curve, seen_of

END = 27
X = FloatDistribution(0.0, 1.0)


def value(x, epoch):
    """Best at 0.7, and slower to get there from larger ones."""
    return 0.2 + (x - 0.7) ** 2 + (0.5 + x) / epoch


def process(seen, scale=1.0, seed=0):
    """Curves of configurations that have been trained until the given epochs."""
    rows = [
        (x, number, epoch, scale * value(x, epoch))
        for number, (x, last) in enumerate(seen)
        for epoch in (1, 3, 9, 27)
        if epoch <= last
    ]
    xs, numbers, epochs, values = zip(*rows, strict=True)
    random = np.random.default_rng(seed)
    owners = np.zeros(1, int)
    return LearningCurves(np.array(xs)[:, None], owners, epochs, numbers, values, END, random)


SEEN = [(0.0, 27), (0.2, 9), (0.4, 27), (0.6, 9), (0.8, 27), (1.0, 3)]


def test_a_training_is_known_better_the_longer_it_has_run():
    found = process(SEEN)
    deviations = [
        found.predict(np.array([[x]]), [number])[1][0] for number, (x, _) in enumerate(SEEN)
    ]
    assert max(deviations[0], deviations[2], deviations[4]) < min(deviations[1], deviations[3])
    assert deviations[1] < deviations[5]
    # Nothing is known of a new one, but what the others say.
    assert found.predict(np.array([[0.2]]), [-1])[1][0] > deviations[1]


def test_the_end_is_predicted_from_the_beginnings():
    found = process([*SEEN, (0.7, 1)])
    places = np.linspace(0, 1, 21)
    mean, _ = found.predict(places[:, None], [-1] * 21)
    assert places[np.argmin(mean)] == pytest.approx(0.7, abs=0.15)
    # After one epoch, 0.0 is the best.
    assert value(0.0, 1) < value(0.7, 1)


def misses(seed):
    """How far the predicted ends of six trainings are from the planted ones, in predicted deviations."""
    random = np.random.default_rng(seed)
    points, speed = random.random((30, 2)), random.uniform(0.2, 2.0, 30)
    last = [27] * 4 + [9] * 6 + [3] * 8 + [1] * 12
    seen = [(n, epoch) for n in range(30) for epoch in (1, 3, 9, 27) if epoch <= last[n]]
    numbers, epochs = zip(*seen, strict=True)
    values = [np.exp(-speed[n] * epoch / END + random.normal(0, 0.003)) for n, epoch in seen]
    owners = np.arange(2)
    process = LearningCurves(points[list(numbers)], owners, epochs, numbers, values, END, random)
    mean, deviation = process.predict(points[4:10], range(4, 10))
    away = process.unit * (mean - mean.mean()) + (speed[4:10] - speed[4:10].mean())
    return np.mean((away / process.unit / deviation) ** 2) ** 0.5


def test_it_is_less_sure_where_trainings_begin_alike(monkeypatch):
    """What they differ by grows with the epochs, and so does what is not known of the end."""
    ours = np.median([misses(seed) for seed in range(20)])
    monkeypatch.setattr(learning_curves, "_GROWTH", (0.0, 0.0))
    assert ours < 0.8 * np.median([misses(seed) for seed in range(20)])


def test_the_unit_is_the_spread_of_the_last_values():
    """What a search gains by going on is told in it."""
    random = np.random.default_rng(0)
    seen = [(n, epoch) for n in range(30) for epoch in (1, 3, 9, 27)]
    numbers, epochs = zip(*seen, strict=True)
    apart = random.normal(0, 0.1, 30)
    values = [math.exp(apart[n] * (epoch / END) ** 0.25) for n, epoch in seen]
    points = random.random((30, 1))[list(numbers)]
    found = LearningCurves(points, np.zeros(1, int), epochs, numbers, values, END, random)
    assert found.unit == pytest.approx(apart.std(), rel=0.2)


def test_the_scale_of_a_loss_does_not_matter():
    places = np.linspace(0, 1, 5)[:, None]
    one, other = (process(SEEN, scale).predict(places, [-1] * 5) for scale in (1.0, 1e6))
    np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("values", [[-1.0, -3.0, math.inf], [0.0, 2.0, math.inf], [math.inf] * 3])
def test_values_without_a_logarithm_and_failures(values):
    points, random = np.array([[0.1], [0.5], [0.9]]), np.random.default_rng(0)
    found = LearningCurves(points, np.zeros(1, int), [END] * 3, [0, 1, 2], values, END, random)
    mean, deviation = found.predict(points, [0, 1, 2])
    assert np.isfinite([mean, deviation]).all()
    assert mean[2] >= mean[:2].max() - 1e-9


def test_what_is_under_way_is_not_proposed_again():
    found = process(SEEN)
    place = np.array([[0.7]])
    before = found.predict(place, [-1])[1]
    found.suppose(place, [99])
    assert found.predict(place, [-1])[1] < before


def trial(x, last, state=TrialState.RUNNING):
    curve = {epoch: value(x, epoch + 1) for epoch in range(last)}
    done = {"value": curve[last - 1]} if state == TrialState.COMPLETE else {}
    return create_trial(
        state=state, params={"x": x}, distributions={"x": X}, intermediate_values=curve, **done
    )


def test_a_curve_counts_with_its_best_so_far_at_few_epochs():
    read = read_curve(trial(0.7, 14), 1.0)
    assert [epoch for epoch, _ in seen_of(read)] == [1, 3, 9, 14]
    flat = create_trial(
        state=TrialState.PRUNED,
        params={"x": 0.1},
        distributions={"x": X},
        intermediate_values={1: 0.5, 2: 0.9, 3: math.nan, 4: 0.7},
    )
    assert seen_of(read_curve(flat, 1.0)) == [(3, 0.5), (5, 0.5)]
    assert read_curve(flat, -1.0).value == -0.9
