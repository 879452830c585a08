"""Search spaces: the key `schedule`, and under which wrappers it is offered."""

from __future__ import annotations

import keras_tuner as kt
import pytest

from recdrop_tune.catalog import SCHEDULE_NAMES, TECHNIQUES
from recdrop_tune.models import SCHEDULES
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.spaces import SearchSpace
from tests.spaces.test_hyperparameters import OBJECTIVE, walk

SPACE = {
    "wrapper": ["none", "zoneout", "recurrent", "lambda"],
    "placement": ["recurrent", "input"],
    "rate": [0.1, 0.3],
    "schedule": ["constant", "annealed", "curriculum"],
}
MOVING = ("recurrent", "lambda")


def test_the_catalog_names_the_schedules_there_are():
    assert tuple(SCHEDULES) == SCHEDULE_NAMES


def test_reading(tmp_path):
    assert SearchSpace.load(SPACE).schedule == ("constant", "annealed", "curriculum")
    assert SearchSpace(wrapper="native", schedule=["ramp"]).schedule == "ramp"
    assert SearchSpace(wrapper="none", schedule="ramp").grid_size() == 1  # as with any rate
    (tmp_path / "s.yaml").write_text("wrapper: native\nschedule: [constant, linear]\n")
    space = SearchSpace.load(tmp_path / "s.yaml")
    assert space.to_yaml() == "wrapper: native\nschedule: [constant, linear]\n"


def test_left_out_it_is_no_hyperparameter():
    hp = kt.HyperParameters()
    assert SearchSpace(wrapper="recurrent").sample(hp).schedule == "constant"
    assert "schedule" not in hp.values


def test_it_is_offered_where_inference_reads_no_rate():
    hp = kt.HyperParameters()
    SearchSpace.load(SPACE).sample_dropout(hp, "rnn")
    (schedule,) = (each for each in hp.space if each.name == "rnn/schedule")
    assert schedule.values == ["constant", "annealed", "curriculum"]
    (condition,) = schedule.conditions
    assert (condition.name, tuple(condition.values)) == ("rnn/wrapper", MOVING)


def test_a_schedule_that_stays_suits_every_wrapper():
    hp = kt.HyperParameters()
    assert SearchSpace(wrapper="zoneout", schedule="constant").sample(hp).schedule == "constant"
    assert hp.values["schedule"] == "constant"


def test_inside_an_inactive_scope_of_the_user_no_rate_moves():
    hp = kt.HyperParameters()
    hp.Choice("model", ["mlp", "rnn"])
    with hp.conditional_scope("model", ["rnn"]):
        sample = SearchSpace(wrapper="recurrent", schedule="ramp").sample(hp)
    assert (sample.wrapper, sample.schedule) == ("none", "constant")


@pytest.mark.parametrize(
    "oracle",
    [
        lambda: kt.oracles.GridSearchOracle(OBJECTIVE),
        lambda: OptunaOracle(OBJECTIVE, max_trials=60, sampler="random", seed=0),
    ],
    ids=["grid", "optuna"],
)
def test_oracles_walk_it(oracle, tmp_path):
    walker = walk(SPACE, oracle(), tmp_path)
    # none; zoneout x rate; recurrent x placement x rate x schedule; lambda x rate x schedule
    assert SearchSpace.load(SPACE).grid_size() == 1 + 2 + 2 * 2 * 3 + 2 * 3
    assert len(walker.samples) == len({repr(sample) for sample in walker.samples}) == 21
    trials = [trial.hyperparameters.values for trial in walker.oracle.trials.values()]
    assert {values["wrapper"] for values in trials if "schedule" in values} == set(MOVING)
    assert all(("schedule" in values) == (values["wrapper"] in MOVING) for values in trials)
    for sample in walker.samples:
        assert sample.schedule in (TECHNIQUES[sample.wrapper].schedules or ("constant",))
    assert {sample.schedule for sample in walker.samples} == set(SPACE["schedule"])
