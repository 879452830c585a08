"""Tests for `recdrop_tune.oracle`, with real Keras Tuner tuners and real Optuna studies."""

import time
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from recdrop_tune.errors import InvalidArgumentError, ProjectError
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.oracle.conditions import distribution, parents_first


def dropout_space() -> kt.HyperParameters:
    hp = kt.HyperParameters()
    hp.Fixed("cell", "lstm")
    hp.Choice("wrapper", ["none", "recurrent", "lambda"])
    with hp.conditional_scope("wrapper", ["recurrent", "lambda"]):
        hp.Float("rate", 0.1, 0.5, step=0.1)
    with hp.conditional_scope("wrapper", ["recurrent"]):
        hp.Boolean("per_step")
    return hp


class Formula(kt.Tuner):
    """A tuner whose trials are a formula: no model, so that hundreds of trials take a second."""

    def run_trial(self, trial, *args, **kwargs):
        hp = trial.hyperparameters
        if kwargs.get("fail"):
            raise kt.errors.FailedTrialError("as asked")
        return abs((hp.get("rate") if "rate" in hp else 0.6) - 0.3) + 0.01 * (
            hp.get("wrapper") == "lambda"
        )


def make_tuner(directory: Path, space: kt.HyperParameters | None = None, **kwargs) -> Formula:
    kwargs = {"max_trials": 12, "seed": 0, **kwargs}
    oracle = OptunaOracle(
        kt.Objective("score", "min"), hyperparameters=space or dropout_space(), **kwargs
    )
    oracle.verbose = 0
    return Formula(oracle, directory=directory, project_name="project")


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
    assert all(
        other == {"cell": "lstm", "wrapper": "recurrent", "per_step": False} for other in others
    )


def test_each_trial_is_told_to_optuna(searched):
    told = {
        trial.user_attrs["keras_tuner_id"]: trial
        for trial in searched.oracle.study.trials
        if trial.state == TrialState.COMPLETE
    }
    assert set(told) == set(searched.oracle.trials)
    for id, trial in searched.oracle.trials.items():
        assert told[id].value == trial.score
        assert told[id].params["wrapper"] == trial.hyperparameters.values["wrapper"]
        assert "cell" not in told[id].params
    assert TrialState.RUNNING not in states(searched.oracle)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_proposes_the_same_trials_and_another_one_others(tmp_path, searched, seed):
    first, second = make_tuner(tmp_path / "a", seed=seed), make_tuner(tmp_path / "b", seed=seed)
    first.search()
    second.search()
    assert first.oracle.seed == seed
    assert values(first) == values(second)
    assert (values(first) == values(searched)) == (seed == 0)


def test_a_sampler_by_name_in_a_conditional_space(tmp_path):
    tuner = make_tuner(tmp_path, sampler="qmc", max_trials=3)
    tuner.search()
    assert len(tuner.oracle.trials) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout": 0}, "seconds, more than 0"),
        ({"sampler": "gradient"}, "`sampler`.*one of cmaes, gp.*'gradient'"),
        # Keras Tuner takes any direction, and the study would minimize.
        *(
            ({"objective": ["loss", kt.Objective("x", direction)]}, "`direction`.*'min' or 'max'")
            for direction in ("maximize", "MAX", "up", None)
        ),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        OptunaOracle(**{"objective": "val_loss", **arguments})


def test_an_objective_is_a_name_with_a_direction():
    goal = {"name": "val_f1", "direction": "max"}
    oracle = OptunaOracle(goal)
    assert (oracle.objective.name, oracle.objective.direction) == ("val_f1", "max")
    assert OptunaOracle({"name": "val_accuracy"}).objective.direction == "max"
    several = OptunaOracle(["val_loss", goal]).objective.objectives
    assert [(each.name, each.direction) for each in several] == [
        ("val_loss", "min"),
        ("val_f1", "max"),
    ]


def test_a_storage_is_opened_by_the_first_trial(tmp_path):
    tuner = make_tuner(tmp_path, storage=f"sqlite:///{tmp_path}/studies.db")
    assert not (tmp_path / "studies.db").exists()
    tuner.oracle.create_trial("tuner0")
    assert (tmp_path / "studies.db").exists()


def test_the_time_in_which_a_storage_is_opened_does_not_count(tmp_path):
    class Slow(optuna.storages.InMemoryStorage):
        def create_new_study(self, *args, **kwargs):
            time.sleep(1.0)
            return super().create_new_study(*args, **kwargs)

    tuner = make_tuner(tmp_path, storage=Slow(), timeout=1.0)
    assert tuner.oracle.create_trial("t").status == "RUNNING"


def test_a_study_without_a_storage_leaves_no_file(searched):
    names = {path.name for path in Path(searched.project_dir).iterdir()}
    assert {name for name in names if not name.startswith("trial_")} == {
        "oracle.json",
        "tuner0.json",
    }


def test_a_finite_space_ends_the_search_when_all_of_it_is_tried(tmp_path):
    tuner = make_tuner(tmp_path, max_trials=100)
    tuner.search()
    # 1 without dropout, 5 rates for lambda, 5 rates x 2 for recurrent.
    assert len(tuner.oracle.trials) == 16
    assert TrialState.RUNNING not in states(tuner.oracle)


def test_three_failures_in_a_row_leave_nothing_running(tmp_path):
    tuner = make_tuner(tmp_path)
    with pytest.raises(RuntimeError, match="consecutive failures"):
        tuner.search(fail=True)
    assert states(tuner.oracle) == [TrialState.FAIL] * 3


def test_a_trial_left_running_in_a_storage_is_settled(tmp_path):
    storage = f"sqlite:///{tmp_path}/studies.db"
    crashed = make_tuner(tmp_path, storage=storage)
    crashed.oracle.create_trial("tuner0")
    again = make_tuner(tmp_path, max_trials=2, storage=storage)
    again.search()
    assert states(again.oracle) == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


def test_a_study_of_another_search_is_refused(tmp_path):
    storage = f"sqlite:///{tmp_path}/studies.db"
    make_tuner(tmp_path / "a", storage=storage, max_trials=1).search()
    with pytest.raises(ProjectError, match=r"named `project` of another search, with 1 trials"):
        make_tuner(tmp_path / "b", storage=storage, max_trials=1).search()


def test_a_storage_failure_is_raised_and_keeps_no_lock(tmp_path):
    path = tmp_path / "study.log"
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    tuner = make_tuner(tmp_path, storage=optuna.storages.JournalStorage(backend))
    tuner.oracle.create_trial("tuner0")
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=r"study\.log"):
        tuner.oracle.create_trial("tuner1")
    assert list(tuner.oracle.trials) == ["00"]


def build(hp):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(hp.Int("units", 1, 9))])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-4, 1e-2, sampling="log")), "mse")
    return model


def test_in_a_plain_keras_tuner(tmp_path):
    x, y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")
    oracle = OptunaOracle(objective="val_loss", max_trials=2, seed=0)
    tuner = kt.Tuner(oracle, build, directory=tmp_path)
    tuner.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
    best = tuner.get_best_hyperparameters()[0]
    assert 1 <= best["units"] <= 9
    assert oracle.study.best_value == tuner.oracle.get_best_trials()[0].score


def test_children_are_drawn_after_their_parents():
    space = dropout_space().space
    assert [hp.name for hp in parents_first(space[::-1])] == ["wrapper", "per_step", "rate", "cell"]
    assert parents_first(space) == space


@pytest.mark.parametrize(
    ("declare", "expected"),
    [
        (lambda hp: hp.Int("x", 1, 10, step=4), {1, 5, 9}),
        (lambda hp: hp.Int("x", 2, 33, step=2, sampling="log"), {2, 4, 8, 16, 32}),
        (lambda hp: hp.Float("x", 0.1, 10, step=10, sampling="log"), {0.1, 1.0, 10.0}),
        (lambda hp: hp.Float("x", 0.0, 0.7, step=0.3), {0.0, 0.3, 0.6}),
        (lambda hp: hp.Boolean("x"), {True, False}),
        (lambda hp: hp.Choice("x", [1, 2]), {1, 2}),
    ],
)
def test_every_kind_of_hyperparameter(tmp_path, declare, expected):
    hp = kt.HyperParameters()
    declare(hp)
    oracle = OptunaOracle("val_loss", hyperparameters=hp, storage=optuna.storages.InMemoryStorage())
    oracle._set_project_dir(str(tmp_path), "p")
    found = {oracle.populate_space(str(n))["values"]["x"] for n in range(40)}
    assert found == expected


@pytest.mark.parametrize("sampling", ["linear", "log", "reverse_log"])
def test_ranges_without_a_step(tmp_path, sampling):
    hp = kt.HyperParameters()
    hp.Float("x", 1e-3, 1.0, sampling=sampling)
    tuner = make_tuner(tmp_path, hp, max_trials=20, try_first=[{"x": 0.25}])
    tuner.oracle.create_trial("t")
    found = [tuner.oracle.populate_space(str(n))["values"]["x"] for n in range(20)]
    assert values(tuner)[0]["x"] == pytest.approx(0.25)
    assert all(1e-3 <= x <= 1.0 for x in found)
    middle = {"linear": 0.5, "log": 0.03, "reverse_log": 0.97}[sampling]
    assert np.median(found) == pytest.approx(middle, rel=1.0)


def test_whole_ranges_in_logarithmic_steps_are_one_distribution():
    hp = kt.HyperParameters()
    hp.Int("x", 1, 100, sampling="log")
    assert distribution(hp.space[0]) == optuna.distributions.IntDistribution(1, 100, log=True)
