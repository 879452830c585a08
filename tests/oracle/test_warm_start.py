"""Tests of a search whose sampler learns from the trials of other searches."""

import math
import shutil
from statistics import median

import keras_tuner as kt
import pytest

from recdrop_tune import track
from recdrop_tune.errors import InvalidArgumentError, ProjectError
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.spaces import SearchSpace
from tests.oracle.test_optuna_oracle import Formula, values

SPACE = {
    "wrapper": ["none", "recurrent", "zoneout"],
    "placement": "recurrent",
    "rate": {"min": 0.05, "max": 0.6, "step": 0.05},
    "learning_rate": {"min": 1e-4, "max": 1e-1, "log": True},
}
OBJECTIVE = kt.Objective("score", "min")


def formula(hp):
    """Best at a learning rate of 0.01 and a rate of 0.3."""
    values = hp.values
    away = values.get("rate", 0.0) - 0.3
    return (math.log10(values["learning_rate"]) + 2.0) ** 2 + 4 * away**2


def make(folder, name, max_trials, space=SPACE, objective=OBJECTIVE, **options):
    options = {"seed": 0, "pruner": "none", **options}
    oracle = OptunaOracle(objective, max_trials, **options)
    oracle.verbose = 0
    searched = SearchSpace.load(space)
    tuner = Formula(oracle, lambda hp: searched.sample(hp), directory=folder, project_name=name)
    tuner.formula = formula
    return tuner


def search(*args, **options):
    tuner = make(*args, **options)
    if "warm_start" not in options:  # Another search reads its journal.
        track(tuner, tracking=None)
    tuner.search()
    return tuner


def scores(tuner):
    return [tuner.oracle.trials[id].score for id in tuner.oracle.start_order]


def warm(oracle):
    return [trial for trial in oracle.study.trials if "warm_start" in trial.user_attrs]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    search(folder, "old", 60, sampler="random")
    return folder / "old"


@pytest.mark.parametrize("sampler", ["surrogate", "tpe"])
def test_the_sampler_begins_near_the_best_that_is_known(tmp_path, old, sampler):
    cold = search(tmp_path, "cold", 8, sampler=sampler, seed=1)
    warmed = search(tmp_path, "warm", 8, sampler=sampler, seed=1, warm_start=old)
    assert len(warmed.oracle.trials) == 8
    assert median(scores(warmed)) < 0.4 * median(scores(cold))


def test_what_another_search_has_tried_can_be_tried_again(tmp_path):
    space = {**SPACE, "rate": [0.1, 0.3], "learning_rate": 0.01}
    every = search(tmp_path, "every", 9, space=space)
    assert len(every.oracle.trials) == 5  # The whole space.
    for seed in range(2):
        options = {"space": space, "seed": seed, "warm_start": tmp_path / "every"}
        assert scores(search(tmp_path, f"again {seed}", 1, **options)) == [0.0]


def test_a_resumed_search_proposes_as_one_that_did_not_stop(tmp_path, old):
    whole = search(tmp_path, "whole", 8, warm_start=old)
    search(tmp_path, "parts", 3, warm_start=old)
    parts = search(tmp_path, "parts", 8, warm_start=[old, str(old)])
    assert values(parts) == values(whole)
    assert len(warm(parts.oracle)) == 60
    assert [parts.oracle.number_of(id) for id in parts.oracle.start_order] == list(range(60, 68))


def test_they_prune_nothing(tmp_path, old):
    oracle = make(tmp_path, "p", 1, warm_start=old, pruner="median", sampler="tpe").oracle
    trial = oracle.create_trial("tuner0")
    for epoch in range(10):
        answer = oracle.update_trial(trial.trial_id, {"score": 9.0 + epoch}, step=epoch)
        assert answer.status == "RUNNING"


def test_trials_outside_of_the_space_are_left_out_and_counted(tmp_path, old, capsys):
    """Other wrappers make other groups of placements, with other names for the same hyperparameter."""
    wider = {
        **SPACE,
        "wrapper": ["none", "recurrent", "lambda"],
        "placement": ["recurrent", "output"],
        "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True},
    }
    known = [
        each
        for each in values(make(old.parent, "old", 60))
        if each["wrapper"] != "zoneout" and each["learning_rate"] >= 1e-3
    ]
    tuner = make(tmp_path, "p", 1, space=wider, warm_start=old)
    tuner.oracle.verbose = 1
    tuner.search()
    line = f"Warm start: {len(known)} of 60 complete trials of {old}; {60 - len(known)} outside"
    assert line in capsys.readouterr().out
    params = [each.params for each in warm(tuner.oracle)]
    assert [each["learning_rate"] for each in params] == [each["learning_rate"] for each in known]
    dropping = [each for each in params if each["wrapper"] == "recurrent"]
    assert all(each["placement.recurrent"] == "recurrent" for each in dropping)


def test_only_full_trials_of_hyperband_are_used(tmp_path):
    class Rounds(Formula):
        def run_trial(self, trial, *args, **kwargs):
            return {"score": 10.0 - trial.hyperparameters.values["tuner/epochs"]}

    searched = SearchSpace.load(SPACE)
    oracle = kt.oracles.HyperbandOracle(OBJECTIVE, max_epochs=9, factor=3, seed=0)
    options = {"directory": tmp_path, "project_name": "rounds"}
    tuner = Rounds(oracle, lambda hp: searched.sample(hp), **options)
    track(tuner, tracking=None)
    tuner.search()
    epochs = [each.hyperparameters.values["tuner/epochs"] for each in oracle.trials.values()]
    assert set(epochs) == {1, 3, 9}
    warmed = make(tmp_path, "p", 1, warm_start=tmp_path / "rounds").oracle
    assert [each.value for each in warm(warmed)] == [1.0] * epochs.count(9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": {**SPACE, "units": 3}}, "0 of 60 .* 60 outside the search space"),
        ({"objective": kt.Objective("val_loss", "min")}, r"objective there is score \(min\)"),
        ({"objective": kt.Objective("score", "max")}, r"objective there is score \(min\)"),
        ({"folder": "nowhere"}, "It has no `events.jsonl`"),
        ({"folder": "p"}, "resumes with its own trials"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, old, options, message):
    folder = tmp_path / options.pop("folder") if "folder" in options else old
    tuner = make(tmp_path, "p", 1, warm_start=folder, **options)
    with pytest.raises(InvalidArgumentError, match=f"`warm_start`.*{message}"):
        tuner.search()
    assert not tuner.oracle.trials


def test_a_sampler_that_learns_from_no_other_trials_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="`warm_start`"):
        OptunaOracle(OBJECTIVE, 1, sampler="random", warm_start=tmp_path)


def test_a_link_in_a_folder_is_not_followed(tmp_path, old):
    shutil.copytree(old, tmp_path / "theirs")
    (tmp_path / "theirs" / "link").symlink_to("/etc")
    with pytest.raises(ProjectError, match="link that leads out"):
        search(tmp_path, "p", 1, warm_start=tmp_path / "theirs")
