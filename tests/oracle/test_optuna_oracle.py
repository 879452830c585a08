"""Tests for `recdrop_tune.oracle`, with real Keras Tuner tuners and real Optuna studies."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras_tuner as kt
import optuna
import pytest
from optuna.trial import TrialState

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.search.tuner_tracking import open_session


def dropout_space() -> kt.HyperParameters:
    hp = kt.HyperParameters()
    hp.Fixed("cell", "lstm")
    hp.Choice("wrapper", ["none", "recurrent", "lambda"])
    with hp.conditional_scope("wrapper", ["recurrent", "lambda"]):
        hp.Float("rate", 0.1, 0.5, step=0.1)
    with hp.conditional_scope("wrapper", ["recurrent"]):
        hp.Boolean("per_step")
    return hp


def loss(hp: kt.HyperParameters) -> float:
    """Best with a rate of 0.3, and slightly worse with `lambda`."""
    return abs(hp.values.get("rate", 0.6) - 0.3) + 0.01 * (hp.values["wrapper"] == "lambda")


class Formula(kt.Tuner):
    """A tuner whose trials are a formula: no model, so that hundreds of trials take a second."""

    formula = staticmethod(loss)

    def run_trial(self, trial, *args, **kwargs):
        return self.formula(trial.hyperparameters)


def make_tuner(directory: Path, space=None, formula=loss, **kwargs) -> Formula:
    kwargs = {"max_trials": 12, "seed": 0, **kwargs}
    oracle = OptunaOracle(
        kt.Objective("score", "min"), hyperparameters=space or dropout_space(), **kwargs
    )
    oracle.verbose = 0
    tuner = Formula(oracle, directory=directory, project_name="project")
    tuner.formula = formula
    return tuner


def values(tuner: kt.Tuner) -> list[dict]:
    return [tuner.oracle.trials[id].hyperparameters.values for id in tuner.oracle.start_order]


def states(oracle: OptunaOracle) -> list[TrialState]:
    return [trial.state for trial in oracle.study.trials]


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Formula:
    tuner = make_tuner(tmp_path_factory.mktemp("searched"))
    tuner.search()
    return tuner


def test_only_active_hyperparameters_are_proposed_and_nothing_twice(searched):
    for found in values(searched):
        expected = {"cell", "wrapper"}
        expected |= {"rate"} if found["wrapper"] != "none" else set()
        expected |= {"per_step"} if found["wrapper"] == "recurrent" else set()
        assert set(found) == expected
    assert len({tuple(sorted(found.items())) for found in values(searched)}) == 12


def test_a_sampler_that_has_settled_gets_the_neighbours_of_what_it_wants(tmp_path):
    wanted = {"wrapper": "recurrent", "rate": 0.3, "per_step": False}
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        sampler = optuna.samplers.PartialFixedSampler(wanted, optuna.samplers.RandomSampler(seed=0))
    tuner = make_tuner(tmp_path, sampler=sampler, max_trials=5)
    tuner.search()
    first, *others = values(tuner)
    assert first == {"cell": "lstm", **wanted}
    # By their distance: one step of the rate, then two, and a name only after these.
    assert [other.pop("rate") for other in others] == [0.2, 0.4, 0.1, 0.5]
    del wanted["rate"]
    assert others == [{"cell": "lstm", **wanted}] * 4


def test_the_same_seed_proposes_the_same_trials_and_another_one_others(tmp_path, searched):
    same, other = make_tuner(tmp_path / "a", seed=0), make_tuner(tmp_path / "b", seed=7)
    same.search()
    other.search()
    assert values(same) == values(searched) != values(other)
    # Optuna's Hyperband assigns brackets by the name of the study, whatever the folder is.
    assert same.oracle.study.study_name == "search"


def test_a_grid_needs_steps(tmp_path):
    hp = kt.HyperParameters()
    hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    with pytest.raises(InvalidArgumentError, match=r"needs a `step`.*learning_rate"):
        make_tuner(tmp_path, hp, sampler="grid").search()


def units_of_layers(hp):
    for number in range(hp.Int("layers", 1, 2)):
        hp.Choice(f"units_{number}", [4, 8])
    return hp["units_0"]


def one_branch_has_more(hp):
    """3 configurations of one branch, and 3 x 3 of the other."""
    more = hp.Boolean("more")
    hp.Choice("second" if more else "first", [0, 1, 2])
    return 1.0


def all_in_scopes(hp):
    for name in ("one", "two"):
        chosen = hp.Boolean(name)
        for value in (True, False):
            with hp.conditional_scope(name, [value]):
                if chosen == value:
                    hp.Choice(f"{name}_{value}", [1, 2])
    return 1.0


@pytest.mark.parametrize(
    ("formula", "number"), [(units_of_layers, 6), (one_branch_has_more, 12), (all_in_scopes, 16)]
)
def test_a_grid_that_grows_is_that_of_keras_tuner(tmp_path, formula, number):
    ours = make_tuner(
        tmp_path, kt.HyperParameters(), formula, sampler="grid", max_trials=None, twin_last=True
    )
    oracle = kt.oracles.GridSearchOracle(kt.Objective("score", "min"))
    theirs = Formula(oracle, directory=tmp_path, project_name="theirs")
    theirs.formula = formula
    ours.search()
    theirs.search(verbose=0)
    assert len(values(ours)) == number
    assert values(ours) == sorted(values(theirs), key=values(ours).index)


def test_a_worker_waits_for_trials_that_can_make_a_grid_grow(tmp_path):
    """As in Keras Tuner's tests: each trial has a hyperparameter that appears only while it runs."""
    hp = kt.HyperParameters()
    hp.Boolean("early")
    oracle = make_tuner(tmp_path, hp, sampler="grid", max_trials=None).oracle

    def end(trial):
        trial.hyperparameters.Boolean("late")
        oracle.update_space(trial.hyperparameters)
        oracle.update_trial(trial.trial_id, {"score": 1.0})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)

    first, second, third = map(oracle.create_trial, "abc")
    assert (first.status, second.status, third.status) == ("RUNNING", "RUNNING", "IDLE")
    end(first)
    third, fourth = map(oracle.create_trial, "cd")
    assert (third.status, fourth.status) == ("RUNNING", "IDLE")
    end(second)
    fourth = oracle.create_trial("d")
    assert (fourth.status, oracle.create_trial("e").status) == ("RUNNING", "IDLE")
    end(third)
    end(fourth)
    assert oracle.create_trial("e").status == "STOPPED"


def test_a_trial_that_was_never_started(tmp_path):
    oracle = make_tuner(tmp_path, max_trials=1).oracle
    oracle.create_trial("a")
    stopped = oracle.create_trial("b")
    assert stopped.status == "STOPPED"
    words = r"trial_id.*that was started.*STOPPED.*max_trials=1"
    with pytest.raises(InvalidArgumentError, match=words):
        oracle.update_trial(stopped.trial_id, {"score": 1.0})
    with pytest.raises(InvalidArgumentError, match=words):
        oracle.end_trial(stopped)


def test_a_trial_is_ended_as_in_keras_tuner_1_1(tmp_path):
    class Old(Formula):
        def on_trial_end(self, trial):
            self.oracle.end_trial(trial.trial_id, "COMPLETE")

    oracle = OptunaOracle(kt.Objective("score", "min"), 3, hyperparameters=dropout_space(), seed=0)
    tuner = Old(oracle, directory=tmp_path, project_name="project")
    with open_session(tuner) as tracking:
        tuner.search(verbose=0)
    assert states(oracle) == [TrialState.COMPLETE] * 3
    scores = [each.score for each in tracking.records.trials.values()]
    assert scores == [loss(each.hyperparameters) for each in oracle.trials.values()]


class Broken(optuna.samplers.RandomSampler):
    def sample_independent(self, *args):
        raise OSError("disk full")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout": 0}, "seconds, more than 0"),
        ({"sampler": "gradient"}, "`sampler`.*one of cmaes, gp.*'gradient'"),
        ({"sampler": "tpe", "max_trials": None}, "`max_trials`.*the default sampler and 'grid'"),
        ({"sampler": Broken(), "max_trials": None}, "`max_trials`.*the default sampler"),
        ({"max_none_share": 25}, "`max_none_share`.*from 0 to 1"),
        # Keras Tuner takes any direction, and the study would minimize.
        ({"objective": kt.Objective("x", "maximize")}, "`direction`.*'min' or 'max'"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        OptunaOracle(**{"objective": "val_loss", **arguments})


def test_a_failure_of_the_sampler_is_raised_and_keeps_no_lock(tmp_path):
    oracle = make_tuner(tmp_path, sampler=Broken()).oracle
    # A thread that holds the lock could take it again: each of these is another one.
    for _ in range(2):
        with ThreadPoolExecutor(1) as pool, pytest.raises(OSError, match="disk full"):
            pool.submit(oracle.create_trial, "tuner0").result()
    assert oracle.trials == {}


@pytest.mark.parametrize(
    ("declare", "expected"),
    [
        (lambda hp: hp.Int("x", 1, 11, step=4), {1, 5, 9}),
        (lambda hp: hp.Int("x", 2, 33, step=2, sampling="log"), {2, 4, 8, 16, 32}),
        (lambda hp: hp.Int("x", 1, 4, sampling="log"), {1, 2, 3, 4}),
        (lambda hp: hp.Float("x", 0.1, 10, step=10, sampling="log"), {0.1, 1.0, 10.0}),
        (lambda hp: hp.Float("x", 0.0, 0.7, step=0.3), {0.0, 0.3, 0.6}),
        (lambda hp: hp.Float("x", 0.5, 0.5), {0.5}),
        (lambda hp: hp.Boolean("x"), {True, False}),
        (lambda hp: hp.Choice("x", [1, 2]), {1, 2}),
    ],
)
def test_every_kind_of_hyperparameter(tmp_path, declare, expected):
    hp = kt.HyperParameters()
    declare(hp)
    oracle = OptunaOracle("val_loss", hyperparameters=hp)
    oracle._set_project_dir(str(tmp_path), "p")
    found = {oracle.populate_space(str(n))["values"]["x"] for n in range(12)}
    assert found == expected
