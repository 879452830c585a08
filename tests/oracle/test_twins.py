"""Tests for twins: the same configuration without dropout, and the trial of it at a search's end."""

import tempfile
import time
from functools import partial

import keras_tuner as kt

from recdrop_tune.events import Configuration
from recdrop_tune.hyperparameters import drops, offers_none
from recdrop_tune.oracle import active_values, read_space, trial_of, twin_of
from recdrop_tune.oracle.translation import configuration
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.tuner import readable, trial_seed
from recdrop_tune.tuner.trainings import seed_values
from tests.oracle import finish, open_oracle

FULL = SearchSpace.load(
    {
        "cell": "lstm",
        "units": [8, 16],
        "layers": 2,
        "wrapper": ["none", "recurrent", "variational", "zoneout"],
        "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
        "tied_gates": [True, False],
        "hidden_rate": [0.0, 0.1],
        "locked_rate": {"min": 0.1, "max": 0.5, "step": 0.1},
        "embedding_rate": {"min": 0.1, "max": 0.5, "step": 0.1},
        "learning_rate": [0.001, 0.01],
    }
)


def sampled(space, **values):
    """Hyperparameters of a space, as an oracle knows them: with some values."""
    oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=1)
    with tempfile.TemporaryDirectory() as folder:
        # It samples under every condition.
        kt.Tuner(oracle, lambda hp: space.sample(hp, embedding=True), directory=folder)
    oracle.hyperparameters.values = values
    return oracle.hyperparameters


DROPPING = {
    "cell": "lstm",
    "units": 16,
    "layers": 2,
    "wrapper": "variational",
    "placement.recurrent-variational": "input",
    "placement.variational": "input+recurrent",
    "rate": 0.3,
    "tied_gates": False,
    "locked_rate": 0.2,
    "embedding_rate": 0.1,
    "learning_rate": 0.01,
}


def test_a_twin_has_no_dropout_of_any_kind_and_all_else_the_same():
    hp = sampled(FULL, **DROPPING, **{"tuner/epochs": 4})
    twin = twin_of(hp)
    assert twin.values["tuner/epochs"] == 4  # Added by a tuner for itself.
    kept = {k: v for k, v in readable(twin).items() if v is not None}
    same = {"cell": "lstm", "units": 16, "layers": 2, "learning_rate": 0.01}
    assert kept == {**same, "wrapper": "none"}
    built = FULL.sample(twin, embedding=True)
    assert (built.wrapper, built.locked_rate, built.embedding_rate) == ("none", {}, None)
    assert (built.units, built.learning_rate) == (16, 0.01)
    assert drops(configuration(hp))
    assert not drops(configuration(twin))
    assert active_values(twin_of(twin)) == active_values(twin)
    assert hp.values["wrapper"] == "variational"  # The trial's own are as they were.


def test_a_twin_has_the_same_decays():
    decays = {"activity_decay": [0.0, 2.0], "temporal_decay": [0.0, 1.0]}
    space = SearchSpace.load({**FULL.to_dict(), **decays})
    given = {"activity_decay": 2.0, "temporal_decay": 1.0}
    twin = twin_of(sampled(space, **DROPPING, **given))
    built = space.sample(twin, embedding=True)
    assert (built.wrapper, built.decays) == ("none", given)
    assert space.sample(sampled(space, **DROPPING, **given), embedding=True).decays == given


def test_a_space_without_none_has_twins_outside_of_it():
    space = SearchSpace(units=8, wrapper="recurrent", rate=0.3, placement="recurrent")
    hp = sampled(space, units=8, wrapper="recurrent", placement="recurrent", rate=0.3)
    assert not offers_none(read_space(hp.space))
    assert space.sample(twin_of(hp)).wrapper == "none"


def test_each_layer_with_a_wrapper_of_its_own_loses_it():
    hp = kt.HyperParameters()
    space = SearchSpace(wrapper=["none", "recurrent"], placement="input", rate=0.3)
    for layer in ("encoder", "decoder"):
        space.sample_dropout(hp, layer)
    hp.values |= {"encoder/wrapper": "recurrent", "decoder/wrapper": "none"}
    assert active_values(twin_of(hp)) == {"encoder/wrapper": "none", "decoder/wrapper": "none"}
    assert drops(configuration(hp))


def test_a_search_without_dropout_has_no_twins():
    """Also if a hyperparameter has the name of a wrapper."""
    hp = kt.HyperParameters()
    hp.Choice("units", [8, 16])
    hp.Choice("wrapper", ["bidirectional", "plain"])
    hp.Boolean("other/wrapper")
    assert not drops(configuration(hp))
    assert twin_of(hp) is None
    assert not offers_none(read_space(hp.space))
    assert seed_values(hp) == hp.values


def test_a_trial_and_its_twin_have_the_same_seed_and_others_have_not():
    hp, other = sampled(FULL, **DROPPING), sampled(FULL, **{**DROPPING, "learning_rate": 0.001})
    seeds = [trial_seed(0, seed_values(each)) for each in (hp, twin_of(hp), other)]
    assert seeds[0] == seeds[1] != seeds[2]


opened = partial(open_oracle, space=FULL, twin_last=True)


def test_a_configuration_takes_the_dropout_of_another_one(tmp_path):
    oracle = opened(tmp_path, 9)
    oracle.hyperparameters = sampled(FULL)
    none = {**DROPPING, "wrapper": "none", "learning_rate": 0.001, "units": 8}
    for name, values in (("0", DROPPING), ("1", none)):
        oracle.trials[name] = kt.engine.trial.Trial(sampled(FULL, **values), name)
    combined = trial_of(oracle, Configuration("1", dropout_of="0"))
    values = active_values(combined.hyperparameters)
    dropping = active_values(sampled(FULL, **DROPPING))
    assert values == {**dropping, "learning_rate": 0.001, "units": 8}
    assert combined.trial_id == "1_with_0"
    plain = active_values(oracle.trials["1"].hyperparameters)
    assert active_values(twin_of(combined.hyperparameters)) == plain


def test_the_last_of_several_workers_waits_until_the_best_is_known(tmp_path):
    oracle = opened(tmp_path, 3, seed=0)
    first, second = oracle.create_trial("a"), oracle.create_trial("b")
    finish(oracle, first, 0.5)
    assert oracle.create_trial("a").status == "IDLE"  # `b` may find something better.
    finish(oracle, second, 0.4)
    last = oracle.create_trial("a")
    assert last.status == "RUNNING"
    assert not drops(configuration(last.hyperparameters))
    assert active_values(last.hyperparameters) == active_values(twin_of(second.hyperparameters))


def test_the_twin_is_not_pruned_where_dropout_helps_most(tmp_path):
    oracle = opened(tmp_path, 8, seed=0)
    for number in range(8):
        trial = oracle.create_trial("a")
        dropping = drops(configuration(trial.hyperparameters))
        for epoch in range(20):
            value = (0.1 if dropping else 0.9) + number / 1000 - epoch / 10_000
            answer = oracle.update_trial(trial.trial_id, {"val_loss": value}, step=epoch)
            if answer.status == "STOPPED":
                break
        trial.status = "COMPLETED" if answer.status != "STOPPED" else "STOPPED"
        oracle.end_trial(trial)
    assert not drops(configuration(trial.hyperparameters))
    assert trial.status == "COMPLETED"


def test_when_the_time_is_up_the_twin_is_tried_and_nothing_else(tmp_path):
    oracle = opened(tmp_path, 100, seed=1, timeout=0.4)
    oracle.enqueue({"wrapper": "recurrent"})
    finish(oracle, oracle.create_trial("a"), 0.5)
    time.sleep(0.5)
    twin = oracle.create_trial("a")
    assert twin.status == "RUNNING"
    assert not drops(configuration(twin.hyperparameters))
    finish(oracle, twin, 0.6)
    assert oracle.create_trial("a").status == "STOPPED"
    # The time is that of a session.
    assert opened(tmp_path, 100, timeout=100).create_trial("a").status == "RUNNING"
