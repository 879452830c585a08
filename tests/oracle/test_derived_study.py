"""Tests of the Optuna study that is made of Keras Tuner's trials when a search is opened."""

import json
import math

import keras_tuner as kt
import optuna
import pytest
from optuna.trial import TrialState

from recdrop_tune.oracle import HalvingPruner, OptunaOracle

OBJECTIVE = kt.Objective("score", "min")
EPOCHS = 6


class Killed(Exception):
    """Ends a search as a kill does: nothing more is written."""


def space(hp):
    """Fixed, conditional and continuous hyperparameters."""
    hp.Fixed("cell", "lstm")
    hp.Float("lr", 1e-4, 1e-1, sampling="log")
    wrapper = hp.Choice("wrapper", ["none", "recurrent", "lambda"])
    with hp.conditional_scope("wrapper", ["recurrent", "lambda"]):
        hp.Float("rate", 0.1, 0.5, step=0.1)
    return wrapper


class Oracle(OptunaOracle):
    """Is killed at a number of operations that a tuner asks of it."""

    def __init__(self, *args, kill_at=math.inf, **kwargs):
        super().__init__(*args, **kwargs)
        self.left = kill_at

    def _operate(self):
        self.left -= 1
        if self.left < 0:
            raise Killed

    def _save_trial(self, trial):
        self._operate()
        super()._save_trial(trial)
        self._operate()

    def save(self):
        super().save()
        self._operate()


def make(folder, max_trials=12, objective=OBJECTIVE, hyperparameters=None, **options):
    hp = kt.HyperParameters()
    space(hp)
    options = {"seed": 0, "pruner": HalvingPruner(2), "max_retries_per_trial": 1, **options}
    oracle = Oracle(objective, max_trials, hyperparameters=hyperparameters or hp, **options)
    oracle.verbose = 0
    oracle._set_project_dir(str(folder), "project")
    path = folder / "project" / "oracle.json"
    if path.exists():
        oracle.reload()
    return oracle


def loss(trial, epoch):
    values = trial.hyperparameters.values
    return (
        abs(math.log10(values["lr"]) + 2.5) + abs(values.get("rate", 0.6) - 0.3) + 1 / (epoch + 1)
    )


def train(oracle, trial, worker="w"):
    """Runs a trial as a tuner does; every fifth one fails at first."""
    trial.metrics = type(trial.metrics)()
    number, status = int(trial.trial_id), "COMPLETED"
    for epoch in range(EPOCHS):
        metrics = {"score": loss(trial, epoch), "other": float(epoch)}
        answer = oracle.update_trial(trial.trial_id, metrics, step=epoch)
        if answer.status == "STOPPED":
            status = "STOPPED"
            break
        if number % 5 == 4 and trial.trial_id not in oracle.failed:
            oracle.failed.add(trial.trial_id)
            status = "INVALID"
            break
    if number == 7:
        status = "FAILED"
    trial.status = status
    oracle.end_trial(trial)


def search(oracle, failed=None):
    oracle.failed = set() if failed is None else failed
    while (trial := oracle.create_trial("w")).status == "RUNNING":
        train(oracle, trial)
    return oracle


def tried(oracle):
    return {id: trial.hyperparameters.values for id, trial in sorted(oracle.trials.items())}


def images(oracle):
    """What a sampler or a pruner can see of each trial; nobody looks at the epochs of one that failed."""
    left_out = ("relative_params", "optimizer", "fixed_params")
    found = []
    for t in oracle.study.trials:
        noted = {n: v for n, v in t.system_attrs.items() if not any(part in n for part in left_out)}
        epochs = {} if t.state == TrialState.FAIL else t.intermediate_values
        params = {n: round(v, 12) if isinstance(v, float) else v for n, v in t.params.items()}
        found.append((t.number, t.state, t.values, params, epochs, t.user_attrs, noted))
    return found


@pytest.mark.parametrize("sampler", ["surrogate", "tpe", "qmc"])
def test_the_study_is_the_same_after_it_was_made_anew(tmp_path, sampler):
    live = search(make(tmp_path, sampler=sampler))
    ends = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    assert {t.state for t in live.study.trials} == set(ends)
    assert any("retry_of" in t.user_attrs for t in live.study.trials)
    assert images(make(tmp_path, sampler=sampler)) == images(live)


def test_several_objectives(tmp_path):
    goals = [OBJECTIVE, kt.Objective("other", "max")]
    live = search(make(tmp_path, objective=goals, sampler="nsga2"))
    again = make(tmp_path, objective=goals, sampler="nsga2")
    assert images(again) == images(live)
    assert {len(t.values) for t in again.study.trials if t.state == TrialState.COMPLETE} == {2}
    # Generations go on where they were, and are not counted anew.
    assert [t for t in again.study.trials if "NSGAIISampler:generation" in t.system_attrs]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that was not killed."""
    return search(make(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("kill_at", range(1, 60, 4))
def test_a_killed_search_proposes_what_one_that_was_not_killed_does(tmp_path, whole, kill_at):
    killed, failed = make(tmp_path / "killed", kill_at=kill_at), set()
    with pytest.raises(Killed):
        search(killed, failed)
    folder = tmp_path / "killed" / "project"
    ended = {
        p: p.read_text() for p in folder.glob("trial_*/trial.json") if "COMPLETED" in p.read_text()
    }
    done = {
        id
        for id in failed
        if json.loads((folder / f"trial_{id}/trial.json").read_text())["message"]
    }
    again = search(make(tmp_path / "killed"), done or failed)
    assert tried(again) == tried(whole)
    assert {path: path.read_text() for path in ended} == ended
    assert [t.state for t in again.study.trials if t.state == TrialState.RUNNING] == []


def test_a_quasi_random_sequence_goes_on(tmp_path):
    hp = kt.HyperParameters()
    hp.Float("lr", 1e-4, 1e-1, sampling="log")
    options = {"sampler": "qmc", "hyperparameters": hp}
    whole = search(make(tmp_path / "whole", 9, **options))
    search(make(tmp_path / "again", 4, **options))
    again = search(make(tmp_path / "again", 9, **options))
    assert tried(again) == tried(whole)


def test_a_rung_that_a_trial_was_judged_at_is_remembered(tmp_path):
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    live = search(make(tmp_path, 8, pruner=pruner))
    judged = [sorted(t.system_attrs) for t in live.study.trials]
    assert any("completed_rung_0" in names for names in judged)
    assert [sorted(t.system_attrs) for t in make(tmp_path, 8, pruner=pruner).study.trials] == judged


def test_what_the_user_has_enqueued_in_the_study_waits(tmp_path):
    live = make(tmp_path, 1)
    search(live)
    wanted = {"lr": 0.01, "wrapper": "recurrent", "rate": 0.4}
    live.study.enqueue_trial(wanted, user_attrs={"by": "hand"})
    live.save()
    again = search(make(tmp_path, 2))
    assert tried(again)["1"] == {"cell": "lstm", **wanted}
    assert again.study.trials[1].user_attrs == {"by": "hand", "keras_tuner_id": "1"}


def test_the_trials_of_other_workers_are_under_way_for_the_sampler(tmp_path):
    oracle = make(tmp_path)
    oracle.hosted = True
    trials = [oracle.create_trial(worker) for worker in "abc"]
    under_way = oracle.study.get_trials(states=[TrialState.RUNNING])
    assert [t.user_attrs["keras_tuner_id"] for t in under_way] == [t.trial_id for t in trials]
    again = make(tmp_path)
    again.hosted = True
    again.take_back()
    under_way = again.study.get_trials(states=[TrialState.RUNNING])
    assert [t.params["lr"] for t in under_way] == [t.hyperparameters.values["lr"] for t in trials]
    assert [t.number for t in under_way] == [0, 1, 2]


def test_a_trial_whose_worker_outlived_the_oracle_keeps_its_epochs(tmp_path):
    oracle = make(tmp_path)
    trial = oracle.create_trial("w")
    for epoch in range(2):
        oracle.update_trial(trial.trial_id, {"score": 1.0 - epoch}, step=epoch)
    again = make(tmp_path)
    assert again.study.trials[0].intermediate_values == {}  # It would run again.
    again.take_back()
    assert again.study.trials[0].intermediate_values == {0: 1.0, 1: 0.0}


def test_a_worker_that_is_lost_costs_a_number(tmp_path):
    oracle = make(tmp_path)
    oracle.hosted = True
    trial = oracle.create_trial("lost")
    oracle.give_up("lost")
    assert oracle.create_trial("other").trial_id == trial.trial_id
    assert oracle.number_of(trial.trial_id) == 1
    assert make(tmp_path).number_of(trial.trial_id) == 1


def test_a_study_that_was_in_memory_moves_to_a_storage_and_back(tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    first = search(make(tmp_path, 3))
    second = search(make(tmp_path, 5, storage=url))
    assert [t.value for t in second.study.trials[:3]] == [t.value for t in first.study.trials[:3]]
    third = search(make(tmp_path, 6))
    states = [t.state for t in third.study.trials]
    assert len(states) == 6
    assert TrialState.RUNNING not in states


@pytest.mark.parametrize(
    "kept", [{"attempts": 3}, {"attributes": []}, {"study": 1}, {"queued": "x"}]
)
def test_notes_that_make_no_sense_are_made_anew(tmp_path, kept):
    search(make(tmp_path, 3))
    path = tmp_path / "project" / "oracle.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "optuna": {**state["optuna"], **kept}}))
    with pytest.warns(UserWarning, match=r"oracle\.json` was damaged"):
        again = make(tmp_path, 3)
    assert len([t for t in again.study.trials if t.state == TrialState.COMPLETE]) == 3


def end(oracle, trial, **metrics):
    """Completes a trial of one epoch."""
    oracle.update_trial(trial.trial_id, metrics, step=0)
    trial = oracle.get_trial(trial.trial_id)
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


@pytest.mark.filterwarnings("ignore:All-NaN axis")  # Keras Tuner's
def test_a_second_objective_that_is_no_number(tmp_path):
    """Optuna makes a failed trial of it; Keras Tuner goes by the first objective."""
    goals = [OBJECTIVE, kt.Objective("other", "min")]
    oracle = make(tmp_path, objective=goals)
    for other in (1.0, math.nan):
        end(oracle, oracle.create_trial("w"), score=0.5, other=other)
    states = [trial.state.name for trial in oracle.study.trials]
    assert states == ["COMPLETE", "FAIL"]
    again = make(tmp_path, objective=goals)
    assert again.create_trial("w").status == "RUNNING"
    assert [trial.state.name for trial in again.study.trials] == [*states, "RUNNING"]


def test_a_default_beside_the_steps(tmp_path):
    """Keras Tuner gives it to a hyperparameter that is found after the trial was begun."""

    def late(hp):
        hp.Float("late", 0.0, 1.0, step=0.1, default=0.25)

    oracle = make(tmp_path)
    trial = oracle.create_trial("w")
    late(trial.hyperparameters)
    oracle.update_space(trial.hyperparameters)
    end(oracle, trial, score=0.5)
    again = make(tmp_path)
    assert again.create_trial("w").status == "RUNNING"
    assert "late" not in again.study.trials[0].params
    assert again.study.trials[0].value == 0.5


def test_what_a_sampler_notes_of_the_last_trial_is_kept(tmp_path):
    def sampler():
        with pytest.warns(FutureWarning, match="deprecated"):
            return optuna.samplers.TPESampler(seed=0, constraints_func=lambda trial: (1.0,))

    oracle = make(tmp_path, sampler=sampler())
    for _ in range(3):
        end(oracle, oracle.create_trial("w"), score=0.5)
    noted = [trial.system_attrs["constraints"] for trial in oracle.study.trials]
    again = make(tmp_path, sampler=sampler())
    told = [trial.system_attrs.get("constraints") for trial in again.study.trials]
    assert [list(each) for each in told] == [list(each) for each in noted]


@pytest.mark.parametrize(
    ("name", "value"), [("lr", "0.01"), ("lr", None), ("rate", math.inf), ("lr", [1])]
)
def test_a_value_that_somebody_has_changed(tmp_path, name, value):
    oracle = make(tmp_path, try_first=[{"wrapper": "recurrent", "rate": 0.2}])
    end(oracle, oracle.create_trial("w"), score=0.5)
    path = tmp_path / "project" / "trial_00" / "trial.json"
    saved = json.loads(path.read_text())
    saved["hyperparameters"]["values"][name] = value
    path.write_text(json.dumps(saved))
    again = make(tmp_path)
    assert name not in again.study.trials[0].params
    assert again.create_trial("w").status == "RUNNING"


def test_what_waits_and_is_no_configuration_is_left_out(tmp_path):
    oracle = make(tmp_path)
    end(oracle, oracle.create_trial("w"), score=0.5)
    path = tmp_path / "project" / "oracle.json"
    saved = json.loads(path.read_text())
    saved["optuna"]["waiting"] = [3, {"wrapper": "lambda", "rate": 0.4}]
    path.write_text(json.dumps(saved))
    assert make(tmp_path).create_trial("w").hyperparameters.values["wrapper"] == "lambda"


def test_a_crash_brings_back_nothing_of_an_attempt_that_was_given_up(tmp_path):
    oracle = make(tmp_path)
    oracle.hosted = True
    trial = oracle.create_trial("first")
    for step in range(2):
        oracle.update_trial(trial.trial_id, {"score": 0.5}, step)
    oracle.give_up("first")
    assert oracle.create_trial("second").trial_id == trial.trial_id
    again = make(tmp_path)
    again.hosted = True
    again.take_back()
    again.update_trial(trial.trial_id, {"score": 0.1}, 0)
    history = again.trials[trial.trial_id].metrics.get_history("score")
    assert [(each.step, each.value) for each in history] == [(0, [0.1])]
