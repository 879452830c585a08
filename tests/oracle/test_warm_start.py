"""Tests of a search whose sampler is told of the trials of other searches."""

import json
import math
import shutil
from statistics import median

import keras_tuner as kt
import optuna
import pytest

from recdrop_tune.errors import InvalidArgumentError, ProjectError, ProjectWarning
from recdrop_tune.oracle import OptunaOracle, best_points
from recdrop_tune.oracle.study import warm_trials
from recdrop_tune.spaces import SearchSpace

SPACE = {
    "wrapper": ["none", "recurrent", "zoneout"],
    "placement": "recurrent",
    "rate": {"min": 0.05, "max": 0.6, "step": 0.05},
    "learning_rate": {"min": 1e-4, "max": 1e-1, "log": True},
}
OBJECTIVE = kt.Objective("score", "min")


class Formula(kt.Tuner):
    """A tuner whose trials are a formula, with its best at a learning rate of 0.01 and a rate of 0.3."""

    def run_trial(self, trial, *args, **kwargs):
        values = trial.hyperparameters.values
        rate = values.get("rate", 0.0)
        score = (math.log10(values["learning_rate"]) + 2.0) ** 2 + 4 * (rate - 0.3) ** 2
        return {name: sign * score for name, sign in kwargs.get("metrics", {"score": 1}).items()}


def make(folder, name, max_trials, space=SPACE, objective=OBJECTIVE, **options):
    options = {"seed": 0, "pruner": "none", **options}
    oracle = OptunaOracle(objective, max_trials, **options)
    oracle.verbose = 0
    searched = SearchSpace.load(space)
    return Formula(oracle, lambda hp: searched.sample(hp), directory=folder, project_name=name)


def search(*args, **options):
    tuner = make(*args, **options)
    tuner.search()
    return tuner


def values(tuner):
    return [tuner.oracle.trials[id].hyperparameters.values for id in tuner.oracle.start_order]


def scores(tuner):
    return [tuner.oracle.trials[id].score for id in tuner.oracle.start_order]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder of a search that has looked everywhere."""
    folder = tmp_path_factory.mktemp("old")
    search(folder, "old", 60, sampler="random")
    return folder / "old"


@pytest.mark.parametrize("sampler", ["surrogate", "tpe", "gp"])
def test_the_sampler_begins_near_the_best_that_is_known(tmp_path, old, sampler):
    if sampler == "gp":
        pytest.importorskip("torch")
    cold = search(tmp_path, "cold", 8, sampler=sampler, seed=1)
    warm = search(tmp_path, "warm", 8, sampler=sampler, seed=1, warm_start=old)
    assert len(warm.oracle.trials) == 8
    assert median(scores(warm)) < 0.4 * median(scores(cold))


@pytest.mark.parametrize(("told", "generation"), [(True, 1), (False, 0)])
def test_a_genetic_algorithm_has_them_for_its_first_population(tmp_path, old, told, generation):
    """By an attribute of Optuna's own; its population is 50 trials."""
    oracle = search(tmp_path, "p", 3, sampler="nsga2", warm_start=old if told else ()).oracle
    own = [trial.system_attrs for trial in oracle.study.trials[-3:]]
    assert {attributes["NSGAIISampler:generation"] for attributes in own} == {generation}


def test_what_another_search_has_tried_is_tried_again_where_it_is_the_best(tmp_path):
    """The result of a search has its own trials alone."""
    space = {**SPACE, "rate": [0.1, 0.3], "learning_rate": 0.01}
    every = search(tmp_path, "every", 9, space=space)
    assert len(every.oracle.trials) == 5  # All that the space has.
    for seed in range(4):
        told = {"space": space, "seed": seed, "warm_start": tmp_path / "every"}
        assert scores(search(tmp_path, f"again {seed}", 1, **told)) == [0.0]


def test_it_goes_on_the_same_whatever_has_become_of_the_folder(tmp_path, old):
    whole = search(tmp_path, "whole", 8, warm_start=old)
    shutil.copytree(old, tmp_path / "gone")
    search(tmp_path, "parts", 1, warm_start=tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    search(tmp_path, "parts", 4, warm_start=str(tmp_path / "gone"))
    parts = search(tmp_path, "parts", 8)  # Not said again, they are known all the same.
    assert values(parts) == values(whole)
    trials = parts.oracle.study.trials
    assert len(warm_trials(parts.oracle.study)) == 60
    assert len(trials) == 68
    assert [parts.oracle.number_of(id) for id in parts.oracle.start_order] == list(range(60, 68))


def test_a_search_that_goes_on_may_be_told_of_another_folder(tmp_path, old):
    search(tmp_path, "p", 2)
    told = search(tmp_path, "p", 3, warm_start=[old, old])
    assert told.oracle.warm_start.counts == {str(old): (60, 60)}
    again = make(tmp_path, "p", 4, warm_start=old)
    assert len(again.oracle.study.trials) == 63
    search(tmp_path, "q", 3)
    again = make(tmp_path, "p", 4, warm_start=[old, tmp_path / "q"])
    assert len(again.oracle.study.trials) == 66


def test_a_storage_has_them_once(tmp_path, old):
    storage = f"sqlite:///{tmp_path}/studies.db"
    for trials in (1, 2):
        tuner = search(tmp_path, "p", trials, warm_start=old, storage=storage)
        assert len(tuner.oracle.study.trials) == 60 + trials
    study = optuna.load_study(study_name="p", storage=storage)
    assert len(warm_trials(study)) == 60
    shutil.copytree(old, tmp_path / "gone")
    search(tmp_path, "q", 1, warm_start=tmp_path / "gone", storage=storage)
    shutil.rmtree(tmp_path / "gone")
    search(tmp_path, "q", 2, warm_start=tmp_path / "gone", storage=storage)
    # Of a new storage nothing is known but the search's own trials.
    other = make(tmp_path, "q", 3, warm_start=tmp_path / "gone", storage=f"{storage}2")
    with pytest.raises(InvalidArgumentError, match="There is no folder there"):
        other.search()


def test_a_search_is_told_of_once_by_whatever_name(tmp_path, old):
    shutil.copytree(old, tmp_path / "theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    names = ["link", "theirs", "nowhere/../theirs"]
    oracle = make(tmp_path, "p", 1, warm_start=[tmp_path / name for name in names]).oracle
    assert oracle.warm_start.folders == [str(tmp_path / "theirs")]
    assert len(oracle.study.trials) == 60


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_a_folder_that_was_moved_is_not_told_of_again(tmp_path, named, stored):
    """But its new trials are; also where nothing but Keras Tuner's files are in it."""
    other = {"storage": f"sqlite:///{tmp_path}/studies.db"} if stored else {}
    search(tmp_path, "first", 3)
    if named:
        (tmp_path / "first" / "search.json").write_text('{"id": "a1"}')
    search(tmp_path, "p", 1, warm_start=tmp_path / "first", **other)
    shutil.move(tmp_path / "first", tmp_path / "moved")
    told = search(tmp_path, "p", 2, warm_start=tmp_path / "moved", **other)
    assert len(told.oracle.study.trials) == 3 + 2
    shutil.move(tmp_path / "moved", tmp_path / "again")
    told = search(tmp_path, "p", 3, warm_start=tmp_path / "moved", **other)  # It is gone.
    assert len(told.oracle.study.trials) == 3 + 3
    search(tmp_path, "again", 5)
    told = search(tmp_path, "p", 4, warm_start=tmp_path / "again", **other)
    assert len(told.oracle.study.trials) == 5 + 4


def test_a_storage_that_has_nothing_else_yet_is_no_other_search(tmp_path, old):
    """The study is opened before the folder is written."""
    options = {"warm_start": old, "storage": f"sqlite:///{tmp_path}/studies.db"}
    assert len(make(tmp_path, "p", 1, **options).oracle.study.trials) == 60  # And killed.
    assert len(search(tmp_path, "p", 1, **options).oracle.study.trials) == 61


class SecondPruner(optuna.pruners.BasePruner):
    """Stops each trial but the first at once."""

    def prune(self, study, trial):
        return len(study.trials) > 1


@pytest.mark.parametrize(
    ("pruner", "epochs"),
    [
        ("asha", 10),
        (optuna.pruners.HyperbandPruner(2, 2, bootstrap_count=0), 2),
        (SecondPruner(), 0),
        (optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=3), 3),
    ],
)
def test_a_pruner_prunes_as_it_would_without_them(tmp_path, old, pruner, epochs):
    """The second trial is worse in every epoch."""
    for options in ({}, {"warm_start": old}):
        told = make(tmp_path, str(len(options)), 3, pruner=pruner, sampler="tpe", **options).oracle
        stopped = []
        for loss in (1.0, 2.0):
            trial = told.create_trial("tuner0")
            for epoch in range(25):
                score = {"score": loss + epoch / 100}
                answer = told.update_trial(trial.trial_id, score, step=epoch)
                if answer.status == "STOPPED":
                    stopped.append(epoch)
                    break
            trial.status = "COMPLETED" if answer.status == "RUNNING" else "STOPPED"
            told.end_trial(trial)
        assert stopped == [epochs]


@pytest.mark.parametrize("pruner", ["halving", "median", "patient_median", "percentile"])
def test_no_pruner_compares_with_them(tmp_path, old, pruner):
    """The second and the third trial are worse in every epoch, and there are too few to tell."""
    told = make(tmp_path, "p", 3, warm_start=old, pruner=pruner, sampler="tpe").oracle
    statuses = []
    for loss in (1.0, 2.0, 3.0):
        trial = told.create_trial("tuner0")
        for epoch in range(25):
            answer = told.update_trial(trial.trial_id, {"score": loss + epoch / 100}, step=epoch)
            statuses.append(answer.status)
            if answer.status == "STOPPED":
                break
        trial.status = "COMPLETED" if answer.status == "RUNNING" else "STOPPED"
        told.end_trial(trial)
    # The halving pruner stops nothing before two trials of this search are complete.
    expected = ["RUNNING"] * 50 + (
        ["RUNNING"] * 10 + ["STOPPED"] if pruner == "halving" else ["RUNNING"] * 25
    )
    assert statuses == expected


def test_what_lies_outside_the_space_is_left_out_and_counted(tmp_path, old, capsys):
    """Other wrappers make other groups of placements, whose names differ; the words for them do not."""
    wider = {
        **SPACE,
        "wrapper": ["none", "recurrent", "lambda"],
        "placement": ["recurrent", "output"],
    }
    known = [
        each
        for each in values(make(old.parent, "old", 60))
        if each["wrapper"] != "zoneout" and each["learning_rate"] >= 1e-3
    ]
    wider["learning_rate"] = {"min": 1e-3, "max": 1e-1, "log": True}
    tuner = make(tmp_path, "p", 1, space=wider, warm_start=old)
    tuner.oracle.verbose = 1
    tuner.search()
    outside = f"; {60 - len(known)} lie outside the space.\n"
    assert (
        f"Warm start: {len(known)} of 60 complete trials of {old}{outside}"
        in capsys.readouterr().out
    )
    told = [each.values for each in warm_trials(tuner.oracle.study).values()]
    assert [each["learning_rate"] for each in told] == [each["learning_rate"] for each in known]
    dropping = [each for each in told if each["wrapper"] == "recurrent"]
    assert all(each["placement.recurrent"] == "recurrent" for each in dropping)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({**SPACE, "units": 3}, "The hyperparameters differ: units only here"),
        (
            {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.3, "units": 3},
            "differ: units only here, learning_rate only there. Search the same ones",
        ),
        # Fixed otherwise.
        ({**SPACE, "wrapper": "recurrent", "placement": "output"}, "The values differ: widen"),
    ],
)
def test_nothing_to_be_used_is_an_error(tmp_path, old, space, words):
    tuner = make(tmp_path, "p", 1, space=space, warm_start=old)
    with pytest.raises(
        InvalidArgumentError, match=rf"0 of 60 .* 60 lie outside the space. .*{words}"
    ):
        tuner.search()
    assert not tuner.oracle.trials


def test_no_complete_trial_is_an_error(tmp_path):
    search(tmp_path, "q", 1)
    (path,) = (tmp_path / "q").glob("trial_*/trial.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "FAILED"}))
    with pytest.raises(InvalidArgumentError, match=r"0 of 0 .* None is complete yet: go on with"):
        search(tmp_path, "p", 1, warm_start=tmp_path / "q")


class Rounds(Formula):
    """Its trials get better by their epochs."""

    def run_trial(self, trial, *args, **kwargs):
        return {"score": 10.0 - trial.hyperparameters.values["tuner/epochs"]}


@pytest.mark.parametrize("damaged", [False, True])
def test_of_hyperband_the_trials_of_all_epochs_are_used(tmp_path, damaged):
    """What it adds to their values for itself is no hyperparameter."""
    searched = SearchSpace.load(SPACE)
    oracle = kt.oracles.HyperbandOracle(OBJECTIVE, max_epochs=9, factor=3, seed=0)
    options = {"directory": tmp_path, "project_name": "rounds"}
    Rounds(oracle, lambda hp: searched.sample(hp), **options).search()
    epochs = [each.hyperparameters.values["tuner/epochs"] for each in oracle.trials.values()]
    assert set(epochs) == {1, 3, 9}
    if damaged:
        (tmp_path / "rounds" / "oracle.json").unlink()
    told = make(tmp_path, "p", 1, warm_start=tmp_path / "rounds").oracle
    assert [each.scores for each in warm_trials(told.study).values()] == [[1.0]] * epochs.count(9)
    (point, *_) = best_points(tmp_path / "rounds", told.hyperparameters.space, maximize=False)
    assert set(point) <= set(SPACE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": kt.Objective("val_loss", "min")}, "What its trials report is score"),
        ({"objective": kt.Objective("score", "max")}, "Its direction there is min"),
    ],
)
def test_another_objective_is_an_error(tmp_path, old, options, message):
    with pytest.raises(InvalidArgumentError, match=f"`warm_start`.*{message}"):
        search(tmp_path, "p", 1, warm_start=old, **options)


def test_a_metric_that_was_not_the_objective_is_an_error(tmp_path, old):
    metrics = {"score": 1, "other": 2}
    make(tmp_path, "both", 2).search(metrics=metrics)
    with pytest.raises(
        InvalidArgumentError, match="report other, and were scored by something else"
    ):
        search(
            tmp_path, "p", 1, warm_start=tmp_path / "both", objective=kt.Objective("other", "min")
        )


def test_several_objectives(tmp_path):
    goals = [kt.Objective("score", "min"), kt.Objective("speed", "max")]
    metrics = {"score": 1, "speed": -2, "multi_objective": 3}  # The last one is Keras Tuner's own.
    make(tmp_path, "first", 12, objective=goals).search(metrics=metrics)
    second = make(tmp_path, "second", 1, objective=goals, warm_start=tmp_path / "first")
    second.search(metrics=metrics)
    told = warm_trials(second.oracle.study)
    assert len(told) == 12
    assert all(trial.scores[1] == -2 * trial.scores[0] for trial in told.values())


@pytest.mark.parametrize("name", ["none", "empty", "p"])
def test_a_folder_without_another_search_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    search(tmp_path, "p", 1)
    words = {"none": "no folder there", "empty": "no search there", "p": "by itself: leave it out"}
    tuner = make(tmp_path, "p", 2, warm_start=tmp_path / name)
    with pytest.raises(InvalidArgumentError, match=words[name]):
        tuner.search()


@pytest.mark.parametrize("sampler", ["random", "qmc", "cmaes"])
def test_samplers_that_learn_nothing_from_it_are_refused(old, sampler):
    with pytest.raises(InvalidArgumentError, match=f"`warm_start`.*{sampler}.*`try_first`"):
        OptunaOracle(OBJECTIVE, 1, sampler=sampler, warm_start=old)


@pytest.mark.parametrize("folders", [3, [3], [""], {"a": "b"}])
def test_what_is_no_folder_is_refused(folders):
    with pytest.raises(
        InvalidArgumentError, match=r"`warm_start`\. Expected the project folder of"
    ):
        OptunaOracle(OBJECTIVE, 1, warm_start=folders)


def test_a_link_in_a_folder_of_somebody_else_is_not_followed(tmp_path, old):
    shutil.copytree(old, tmp_path / "theirs")
    (tmp_path / "theirs" / "link").symlink_to("/etc")
    with pytest.raises(ProjectError, match="symbolic link"):
        search(tmp_path, "p", 1, warm_start=tmp_path / "theirs")


@pytest.mark.parametrize(
    "kept", [[], ["1"], [1, 2], {"scores": [1.0, 2.0]}, {"scores": [math.nan]}]
)
def test_notes_that_make_no_sense_are_made_anew(tmp_path, old, kept):
    """A folder may come from somebody else."""
    search(tmp_path, "p", 2, warm_start=old)
    path = tmp_path / "p" / "oracle.json"
    state = json.loads(path.read_text())
    if isinstance(kept, dict):
        state["optuna"]["warm"]["0"] |= kept
    else:
        state["optuna"]["warm"]["0"] = kept
    path.write_text(json.dumps(state))
    with pytest.warns(ProjectWarning, match="was damaged or missing"):
        again = make(tmp_path, "p", 3, warm_start=old)
    again.search()
    assert len(again.oracle.study.trials) == 63


def test_the_best_configurations_as_the_next_search_takes_them(tmp_path, old):
    space = make(tmp_path, "space", 1).oracle.hyperparameters.space
    points = best_points(old, space, maximize=False, number=2)
    assert [set(point) for point in points] == [{"wrapper", "rate", "learning_rate"}] * 2
    tuner = search(tmp_path, "p", 2, try_first=points)
    assert scores(tuner) == sorted(scores(make(old.parent, "old", 60)))[:2]
    assert best_points(old, space, maximize=True) != points
    assert best_points(tmp_path / "nowhere", space, maximize=True) == []
    none = make(tmp_path, "none", 1, space={**SPACE, "wrapper": "none"}).oracle.hyperparameters
    assert all(set(each) == {"learning_rate"} for each in best_points(old, none.space, False))
