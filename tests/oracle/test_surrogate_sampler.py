"""Tests for `recdrop_tune.oracle.SurrogateSampler` in plain Optuna studies, without Keras Tuner."""

import copy
import pickle
from collections import Counter
from functools import partial

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from scipy import stats

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.oracle import HalvingPruner, SurrogateSampler, surrogate
from recdrop_tune.oracle.learning_curves import normal_scores

WRAPPERS = ["none", "recurrent", "variational"]
SPACE = [
    Hyperparameter("rate", low=0.0, high=1.0, when={"wrapper": WRAPPERS[1:]}),
    Hyperparameter("wrapper", choices=WRAPPERS),
    Hyperparameter("x", low=-5.0, high=5.0),
]


def quadratic(trial):
    """Best without noise at `x` of 1 and a rate of 0.3, in the second of three branches."""
    found = (trial.suggest_float("x", -5, 5) - 1) ** 2
    wrapper = trial.suggest_categorical("wrapper", WRAPPERS)
    if wrapper == "none":
        return found + 1
    rate = trial.suggest_float("rate", 0.0, 1.0)
    return found + 4 * (rate - 0.3) ** 2 + (wrapper == "variational") * 0.5


def searched(sampler, objective=quadratic, trials=25, **kwargs):
    study = optuna.create_study(sampler=sampler, **kwargs)
    study.optimize(objective, n_trials=trials)
    return study


def proposed(study):
    return [trial.params for trial in study.trials]


@pytest.mark.heavy
def test_it_beats_random_search_by_more_than_chance():
    random, ours = (
        [searched(kind(seed=seed), trials=30).best_value for seed in range(10)]
        for kind in (optuna.samplers.RandomSampler, partial(SurrogateSampler, SPACE))
    )
    # The values are squares: a factor between them says more than a difference.
    gains = np.log(random) - np.log(ours)
    half = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
    assert gains.mean() - half > 0


def test_the_same_seed_proposes_the_same_trials_also_after_a_break():
    whole = searched(SurrogateSampler(SPACE, 0), trials=12)
    parts = searched(SurrogateSampler(SPACE, 0), trials=3)
    for more in (4, 5):
        parts.sampler = SurrogateSampler(SPACE, 0)
        parts.optimize(quadratic, n_trials=more)
    assert proposed(whole) == proposed(parts)
    assert proposed(searched(SurrogateSampler(SPACE, 1), trials=3)) != proposed(whole)[:3]
    assert proposed(searched(SurrogateSampler(SPACE), trials=3)) != proposed(whole)[:3]


def test_one_sampler_serves_several_studies():
    sampler = SurrogateSampler(SPACE, 0)
    first = searched(sampler, trials=8, study_name="a")
    searched(sampler, lambda trial: -quadratic(trial), 8, study_name="a")
    assert proposed(searched(sampler, trials=8, study_name="a")) == proposed(first)
    for each in (copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        assert proposed(searched(each, trials=8)) == proposed(first)


def small(trial):
    if trial.suggest_categorical("wrapper", ["none", "recurrent"]) == "none":
        return 1.0
    return trial.suggest_float("rate", 0.1, 0.5, step=0.1)


def test_nothing_is_tried_twice_while_a_small_space_has_more():
    space = [
        Hyperparameter("wrapper", choices=["none", "recurrent"]),
        Hyperparameter("rate", low=0.1, high=0.5, step=0.1, when={"wrapper": ["recurrent"]}),
    ]
    for seed in range(5):
        study = searched(SurrogateSampler(space, seed), small, trials=6)
        tried = {tuple(params.values()) for params in proposed(study)}
        assert len(tried) == 6
    study.optimize(small, n_trials=2)  # All has been tried: it draws at random.
    assert len(study.trials) == 8


def test_a_configuration_that_fails_is_not_tried_again():
    def fails_below(trial):
        if trial.suggest_int("units", 1, 30) < 20:
            raise MemoryError("too large")
        return 1.0

    space = [Hyperparameter("units", low=1, high=30)]
    study = optuna.create_study(sampler=SurrogateSampler(space, 0))
    study.optimize(fails_below, n_trials=25, catch=MemoryError)
    tried = Counter(trial.params["units"] for trial in study.trials)
    assert max(tried.values()) == 1
    # Where it fails is learnt of: the eleven good ones are found before the nineteen others are through.
    assert sum(units >= 20 for units in tried) == 11


def test_several_at_a_time_look_at_several_places():
    study = searched(SurrogateSampler(SPACE, 0), trials=8)
    for _ in range(6):
        asked = study.ask()
        quadratic(asked)
    running = [trial.params for trial in study.trials if trial.state == TrialState.RUNNING]
    assert len({tuple(params.items()) for params in running}) == 6
    threads = optuna.create_study(sampler=SurrogateSampler(SPACE, 0))
    threads.optimize(quadratic, n_trials=16, n_jobs=4)
    assert len(threads.get_trials(states=[TrialState.COMPLETE])) == 16


def test_pruned_trials_are_learnt_from():
    def curve(trial):
        at_last = quadratic(trial)
        for epoch in range(12):
            trial.report(at_last + (11 - epoch) / 4, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return at_last

    study = searched(SurrogateSampler(SPACE, 1), curve, trials=30, pruner=HalvingPruner(3))
    states = Counter(trial.state for trial in study.trials)
    assert states[TrialState.PRUNED] >= 5
    assert states[TrialState.COMPLETE] >= 5
    assert study.best_value < 0.5
    assert len({tuple(params.items()) for params in proposed(study)}) == 30


def test_parameters_that_the_space_lacks_are_drawn_at_random():
    def objective(trial):
        return quadratic(trial) + trial.suggest_float("more", 0, 1)

    study = searched(SurrogateSampler(SPACE, 0), objective, trials=8)
    assert len({trial.params["more"] for trial in study.trials}) == 8


@pytest.mark.parametrize("log", [False, True])
def test_ranges_without_a_step(log):
    given = Hyperparameter("p", low=1e-4, high=1.0, log=log)
    assert given.at(0.0) == pytest.approx(1e-4)
    assert given.at(0.5) == pytest.approx(1e-2 if log else 0.5, rel=0.01)
    assert given.at(1 - 1e-12) <= 1.0
    whole = Hyperparameter("p", low=1, high=100, log=True)
    places = [whole.at(place) for place in np.linspace(0, 1, 1000, endpoint=False)]
    assert (min(places), max(places)) == (1, 100)
    assert np.median(places) == pytest.approx(10, abs=3)


def test_outliers_and_failures_do_not_matter():
    calm = normal_scores([1.0, 2.0, 3.0, 4.0])
    wild = normal_scores([1.0, 2.0, 1e9, np.inf])
    np.testing.assert_array_equal(calm, wild)
    assert normal_scores([5.0]).tolist() == [0.0]


def test_only_so_many_trials_are_fitted():
    """Else their number, cubed, would be what a proposal costs."""
    ranked = np.random.default_rng(0).permutation(1000).tolist()
    kept = surrogate.choose_fitted(ranked, range(1001), [1000])
    assert len(kept) == len(set(kept)) == 101
    assert {*ranked[:50], 999} <= set(kept)
    # With a thousand workers, the last trials count.
    assert surrogate.choose_fitted([0, 1], range(1002), range(2, 1002)) == [0, 1, *range(902, 1002)]


def test_a_space_without_what_its_conditions_name_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"`space`.*\['rate'\].*Add 'wrapper'"):
        SurrogateSampler(SPACE[:1], 0)
