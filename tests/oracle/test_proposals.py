"""Tests for the default proposals and the default pruner, in the searches of an `OptunaOracle`."""

import keras_tuner as kt
import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from recdrop_tune.encoding import Encoding
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hyperparameters import key_of
from recdrop_tune.oracle import HalvingPruner, OptunaOracle, SurrogateSampler
from recdrop_tune.oracle.candidates import Candidates
from recdrop_tune.oracle.translation import read_space
from tests.oracle.test_optuna_oracle import dropout_space, make_tuner, values

OBJECTIVE = kt.Objective("score", "min")


def large_space() -> kt.HyperParameters:
    hp = dropout_space()
    hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    hp.Int("units", 8, 256, step=8)
    return hp


def test_samplers_by_name(tmp_path):
    def sampler(name=None):
        oracle = OptunaOracle(OBJECTIVE, 3, sampler=name, seed=0, hyperparameters=dropout_space())
        kt.Tuner(oracle, lambda hp: None, directory=tmp_path / str(name))
        return type(oracle.study.sampler)

    assert sampler() is sampler("surrogate") is SurrogateSampler
    assert sampler("tpe") is optuna.samplers.TPESampler


def test_several_objectives_are_refused():
    goals = [OBJECTIVE, kt.Objective("seconds", "min")]
    for several in (goals, kt.Oracle(goals, seed=0).objective):
        with pytest.raises(InvalidArgumentError, match=r"`objective`.*one metric.*pareto_front"):
            OptunaOracle(several)


def test_a_given_sampler_gets_the_space_of_the_search(tmp_path):
    sampler = SurrogateSampler((), seed=0)
    tuner = make_tuner(tmp_path, sampler=sampler, max_trials=100)
    tuner.search()
    assert [each.name for each in sampler.space] == ["cell", "wrapper", "rate", "per_step"]
    # All of it once, and then no more.
    assert len(tuner.oracle.trials) == 16


def test_what_the_user_enqueues_in_the_study_comes_first(tmp_path):
    tuner = make_tuner(tmp_path, max_trials=8)
    wanted = {"wrapper": "recurrent", "rate": 0.4, "per_step": True}
    run = tuner.run_trial

    def enqueue_after_six(trial, *args, **kwargs):
        if len(tuner.oracle.trials) == 6:
            tuner.oracle.study.enqueue_trial(wanted, skip_if_exists=True)
        return run(trial, *args, **kwargs)

    tuner.run_trial = enqueue_after_six
    tuner.search()
    tried = values(tuner)
    assert {"cell": "lstm", **wanted} in tried


def test_like_configurations_are_close():
    encoding = Encoding(read_space(large_space().space))
    base = {"cell": "lstm", "wrapper": "none", "learning_rate": 1e-4, "units": 8}
    named = {**base, "wrapper": "lambda", "rate": 0.3}
    points = encoding([base, {**base, "units": 256}, {**base, "learning_rate": 1e-1}, named])
    distance = [np.linalg.norm(points[0] - other) for other in points[1:]]
    assert distance == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)
    near = encoding([{**base, "units": 16}])[0]
    assert np.linalg.norm(points[0] - near) < 0.05
    assert encoding.size == 5


def test_ordered_choices_are_spread_over_their_axis():
    hp = kt.HyperParameters()
    hp.Choice("units", [64, 16, 32])
    points = Encoding(read_space(hp.space))([{"units": units} for units in (16, 32, 64)])
    assert points.tolist() == [[0.0], [0.5], [1.0]]


def test_candidates_are_all_that_is_untried_or_some_near_the_best():
    offered, random = Candidates(read_space(dropout_space().space)), np.random.default_rng(0)
    everything = offered.untried(set(), [], random)
    assert len(everything) == 1 + 5 * 2 + 5
    assert offered.untried({key_of(everything[0])}, [], random) == everything[1:]
    space = read_space(large_space().space)
    best = {"cell": "lstm", "wrapper": "none", "learning_rate": 0.003, "units": 64}
    several = Candidates(space).untried(set(), [best], random)
    for found in several:
        assert set(found) == {row.key for row in space if row.is_active(found)}
        assert 8 <= found["units"] <= 256
        assert 1e-4 <= found["learning_rate"] <= 1e-1
    assert sum(len(set(found.items()) & set(best.items())) >= 3 for found in several) >= 60


def halving_study(curves, direction="minimize", state=TrialState.COMPLETE):
    study = optuna.create_study(direction=direction)
    for curve in curves:
        study.add_trial(
            create_trial(
                state=state,
                value=curve[-1] if state == TrialState.COMPLETE else None,
                params={"rate": 0.5},
                distributions={"rate": FloatDistribution(0, 1)},
                intermediate_values=dict(enumerate(curve)),
            )
        )
    return study


def stopped_at(study, pruner, curve):
    study.pruner = pruner
    asked = study.ask()
    for step, value in enumerate(curve):
        asked.report(value, step)
        if asked.should_prune():
            return step
    return None


LEVELS = [[level] * 10 for level in (1.0, 2.0, 3.0)]
SLOW = [[3.0] * 3 + [1.0] * 7, [3.0] * 3 + [1.1] * 7, [3.0] * 10]


@pytest.mark.parametrize(
    ("curves", "curve", "stopped"),
    [
        (LEVELS, [2.5] * 10, 2),
        (LEVELS, [1.5] * 10, None),
        (LEVELS, [0.5] * 4 + [1.2] * 6, None),  # Its best counts.
        (LEVELS, [np.nan] + [2.5] * 9, 2),
        (SLOW, [2.0] * 10, 4),  # It keeps up until the first rung only.
    ],
)
def test_the_worse_half_is_stopped_at_each_rung(curves, curve, stopped):
    assert stopped_at(halving_study(curves), HalvingPruner(2), curve) == stopped
    grows = halving_study([[-value for value in each] for each in curves], "maximize")
    assert stopped_at(grows, HalvingPruner(2), [-value for value in curve]) == stopped


def test_nothing_is_stopped_before_two_are_complete():
    study = halving_study([[1.0] * 5] * 3, state=TrialState.PRUNED)
    assert stopped_at(study, HalvingPruner(2), [9.0] * 10) is None
    assert stopped_at(study, HalvingPruner(2, startup_trials=0), [9.0] * 10) == 2


def test_a_trial_that_is_not_validated_each_epoch_is_judged_at_its_next_one():
    study = halving_study([[1.0] * 10] * 3)
    study.pruner = HalvingPruner(2)
    asked = study.ask()
    asked.report(9.0, 1)
    assert not asked.should_prune()
    asked.report(9.0, 3)
    assert asked.should_prune()


def test_ranges_too_long_to_be_written_down(tmp_path):
    hp = kt.HyperParameters()
    hp.Int("seed", 0, 2**40)
    hp.Float("rate", 0.0, 1.0)

    tuner = make_tuner(tmp_path, hp, lambda hp: hp["rate"] + hp["seed"] / 2**40)
    tuner.search()
    assert len({tuple(each.items()) for each in values(tuner)}) == 12
    scores = [each.score for each in tuner.oracle.trials.values()]
    assert min(scores[5:]) < min(scores[:5])


def cells_space(wrappers=("none", "recurrent", "lambda")) -> kt.HyperParameters:
    hp = kt.HyperParameters()
    hp.Choice("cell", ["lstm", "gru"])
    hp.Choice("wrapper", list(wrappers))
    hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    with hp.conditional_scope("wrapper", ["recurrent", "lambda"]):
        hp.Float("rate", 0.1, 0.5)
    return hp


def harm(hp):
    """A GRU without dropout is best."""
    distance = abs(np.log10(hp["learning_rate"]) + 2)
    return hp.values.get("rate", 0.0) + (hp["cell"] == "lstm") + 0.1 * distance


def harmful(folder, trials=16, space=None, **options):
    return make_tuner(folder, space or cells_space(), harm, max_trials=trials, **options)


def without(tuner):
    return [each["wrapper"] == "none" for each in values(tuner)]


@pytest.mark.parametrize("sampler", ["surrogate", "qmc"])
def test_a_quarter_of_the_trials_is_without_dropout_and_every_cell_is_tried(tmp_path, sampler):
    harmful(tmp_path, 7, sampler=sampler).search()
    resumed = harmful(tmp_path, sampler=sampler)
    for number in range(4):  # Workers that run at the same time.
        resumed.oracle.create_trial(f"worker{number}")
    resumed.search()
    none = without(resumed)
    assert len(none) == 16
    assert all(sum(none[:count]) <= count / 4 for count in range(1, 17))
    assert any(none)
    assert len({each["cell"] for each in values(resumed)[:3]}) == 2


@pytest.mark.parametrize(("share", "fewest", "most"), [(0.0, 0, 0), (1.0, 5, 16)])
def test_the_share_without_dropout_is_an_argument(tmp_path, share, fewest, most):
    tuner = harmful(tmp_path, max_none_share=share)
    tuner.search()
    assert fewest <= sum(without(tuner)) <= most


def test_what_the_user_or_the_oracle_asks_for_is_never_left_out(tmp_path):
    points = [{"wrapper": "none", "cell": "gru", "learning_rate": rate} for rate in (1e-4, 1e-3)]
    tuner = harmful(tmp_path, 8, try_first=points, twin_last=True)
    tuner.oracle.study.enqueue_trial({"cell": "gru", "wrapper": "none", "learning_rate": 1e-2})
    tuner.search()
    assert without(tuner) == [True, True, True, *[False] * 4, True]
    assert [each["cell"] for each in values(tuner)[:4]] == ["gru", "gru", "gru", "lstm"]


@pytest.mark.parametrize("sampler", ["surrogate", "tpe"])
def test_a_space_with_nothing_left_but_no_dropout_is_searched_on(tmp_path, sampler):
    alone = harmful(tmp_path / "none", 6, cells_space(["none"]), sampler=sampler)
    alone.search()
    assert len(without(alone)) == 6
    few = kt.HyperParameters()
    few.Choice("wrapper", ["none", "recurrent"])
    few.Choice("cell", ["gru"])
    few.Choice("learning_rate", [1e-4, 1e-3, 1e-2])
    small = harmful(tmp_path / "small", 9, few, sampler=sampler)
    small.search()
    assert sorted(without(small)) == [False] * 3 + [True] * 3
