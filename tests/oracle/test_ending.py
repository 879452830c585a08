"""Tests for searches with `max_trials=None`, which end by themselves, and for the gain that they expect."""

import math
from functools import partial

import pytest

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.events import CONVERGED, MAX_TRIALS
from recdrop_tune.hyperparameters import drops
from recdrop_tune.oracle import active_values, twin_of
from recdrop_tune.oracle.translation import configuration
from recdrop_tune.spaces import SearchSpace
from tests.oracle import finish, open_oracle

SPACE = SearchSpace.load(
    {
        "units": [8, 16, 32],
        "wrapper": ["none", "recurrent", "variational"],
        "rate": {"min": 0.05, "max": 0.6, "step": 0.05},
        "learning_rate": {"min": 1e-4, "max": 1e-1, "log": True},
    }
)


opened = partial(open_oracle, space=SPACE, seed=0, twin_last=True, min_gain=0.03)


def loss(hp):
    """Best with a learning rate of 0.01 and a rate of 0.3."""
    values = active_values(hp)
    away = math.log10(values["learning_rate"]) + 2
    return 0.3 + 0.1 * away**2 + (values.get("rate", 0.0) - 0.3) ** 2


def run(oracle, most=300, score=loss):
    """Runs trials one after the other; returns the last one."""
    for _ in range(most):
        trial = oracle.create_trial("a")
        if trial.status != "RUNNING":
            break
        finish(oracle, trial, score(trial.hyperparameters))
    return oracle.trials[oracle.start_order[-1]]


def values_of(oracle):
    return [active_values(oracle.trials[id].hyperparameters) for id in oracle.start_order]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    oracle = opened(tmp_path_factory.mktemp("searched"))
    run(oracle)
    return oracle


def test_a_search_ends_by_itself_and_the_twin_of_the_best_comes_last(searched):
    assert 8 <= len(searched.trials) < 30
    assert searched.ended_by() == CONVERGED
    assert 0 < searched.expected_gain() < searched.min_gain
    *others, last = (searched.trials[id] for id in searched.start_order)
    best = min(others, key=lambda each: each.score)
    assert drops(configuration(best.hyperparameters))
    assert active_values(last.hyperparameters) == active_values(twin_of(best.hyperparameters))


@pytest.mark.parametrize("done", [4, 10, 300])
def test_a_resumed_search_ends_at_the_same_trial(tmp_path, searched, done):
    run(opened(tmp_path), done)
    resumed = opened(tmp_path)
    assert len(resumed.trials) == min(done, len(searched.trials))
    run(resumed)
    assert values_of(resumed) == values_of(searched)
    assert resumed.ended_by() == CONVERGED


def test_a_search_that_has_ended_continues_up_to_more_trials(tmp_path, searched):
    run(opened(tmp_path))
    more = opened(tmp_path, len(searched.trials) + 3)
    run(more)
    assert values_of(more)[:-3] == values_of(searched)
    assert more.ended_by() == MAX_TRIALS
    assert more.expected_gain() != searched.expected_gain()


def test_two_workers_wait_for_each_other_before_the_search_ends(tmp_path):
    oracle, running, statuses = opened(tmp_path), {}, []
    for turn in range(100):
        worker = "ab"[turn % 2]
        if worker in running:
            ended = running.pop(worker)
            finish(oracle, ended, loss(ended.hyperparameters))
        trial = oracle.create_trial(worker)
        statuses.append(trial.status)
        if trial.status == "RUNNING":
            running[worker] = trial
        elif trial.status == "STOPPED":
            break
    assert "IDLE" in statuses
    assert not running
    assert 8 <= len(oracle.trials) < 30
    assert oracle.ended_by() == CONVERGED
    *_, last = oracle.start_order
    assert not drops(configuration(oracle.trials[last].hyperparameters))
    assert last not in oracle.get_state()["promises"]["made"]


def test_of_an_accuracy_the_error_rate_counts(tmp_path, searched):
    oracle = opened(tmp_path, metric="val_accuracy")
    run(oracle, score=lambda hp: 1 - loss(hp))
    assert values_of(oracle) == values_of(searched)
    assert oracle.expected_gain() == pytest.approx(searched.expected_gain())


def test_nothing_is_expected_if_all_trials_are_alike_or_perfect(tmp_path):
    alike, perfect = opened(tmp_path / "a"), opened(tmp_path / "b", metric="val_accuracy")
    run(alike, score=lambda hp: 0.5)
    run(perfect, score=lambda hp: 1.0 if hp.get("units") > 8 else 0.9)
    for oracle in (alike, perfect):
        assert len(oracle.trials) <= 9 + 1
        assert oracle.expected_gain() == pytest.approx(0, abs=1e-9)


def test_where_a_gain_has_no_part_the_number_of_trials_is_asked_for(tmp_path):
    for metric, score in (("val_loss", -1.0), ("val_accuracy", 30.0)):
        oracle = opened(tmp_path / metric, metric=metric)
        with pytest.raises(InvalidArgumentError, match=f"max_trials.*None for {metric}"):
            run(oracle, score=lambda hp, score=score: score)
        assert len(oracle.trials) == 1
        known = opened(tmp_path / metric, 8, metric=metric)
        run(known, score=lambda hp, score=score: score)
        assert known.expected_gain() is None


def test_an_objective_without_gains_is_refused_also_while_another_trial_runs(tmp_path):
    oracle = opened(tmp_path)
    trial, _ = oracle.create_trial("a"), oracle.create_trial("b")
    finish(oracle, trial, -1.0)
    with pytest.raises(InvalidArgumentError, match="max_trials"):
        oracle.create_trial("a")


def test_a_trial_that_was_killed_before_its_retry_runs_once(tmp_path):
    def resumed():
        return open_oracle(tmp_path, 2, space=SPACE, max_retries_per_trial=1)

    oracle = resumed()
    trial = oracle.create_trial("a")
    trial.status = "INVALID"
    oracle.end_trial(trial)  # Keras Tuner has saved it as waiting, and as still under way.
    oracle = resumed()
    oracle.reload()
    run(oracle)
    assert sorted(oracle.start_order) == sorted(oracle.end_order)
    assert len(oracle.end_order) == 2
