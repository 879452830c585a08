"""Tests of what a search says before it begins of what is to come."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import keras_tuner as kt
import pytest
from sklearn.model_selection import LeaveOneGroupOut, TimeSeriesSplit

import recdrop_tune as rdt
from recdrop_tune.events import Journal
from recdrop_tune.events.events import (
    INTERRUPTED,
    ConfirmationEnded,
    EpochEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
)
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.search.outlook import outlook_line
from recdrop_tune.search.plan import Plan
from recdrop_tune.spaces import SearchSpace

PLAN = Plan(
    data=None,
    model=None,
    space="",
    goals=(),
    max_trials=20,
    epochs=30,
    batch_size=32,
    timeout=None,
    seed=0,
    tuner="optuna",
    optuna=rdt.Optuna(),
    training=rdt.Training(),
    confirm=None,
    workers=None,
    tracking=rdt.MLflow(),
    folder=Path("nowhere"),
    verbose=1,
    overwrite=False,
)


def oracle_of(folder, space=None, trials=20, **options):
    oracle = OptunaOracle(kt.Objective("val_loss", "min"), trials, **options)
    oracle.verbose = 0
    searched = SearchSpace.load(space or {"wrapper": ["none", "native", "recurrent"]})
    kt.Tuner(oracle, lambda hp: searched.sample(hp), directory=folder, project_name="p")
    return oracle


def said(folder, oracle=None, **changed):
    plan = replace(PLAN, **{"folder": folder / "p", **changed})
    return outlook_line(plan, oracle or oracle_of(folder))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "20 trials, of up to 30 epochs each: 600 in all."),
        ({"epochs": 1}, "20 trials, of up to 1 epoch each: 20 in all."),
        # Three, the best without dropout, that with Keras's own, and a twin of the four that drop.
        (
            {"confirm": rdt.Confirm(3, seeds=2)},
            "20 trials, then 18 trainings to confirm, of up to 30 epochs each: 1,140 in all.",
        ),
        (
            {"training": rdt.Training(2, cv=3), "confirm": rdt.Confirm(1, seeds=1)},
            "20 trials of 6 trainings, then 15 trainings to confirm, of up to 30 epochs each: 4,050 in all.",
        ),
        (
            {"training": rdt.Training(cv=TimeSeriesSplit(4))},
            "20 trials of 4 trainings, of up to 30 epochs each: 2,400 in all.",
        ),
        (
            {"training": rdt.Training(cv=LeaveOneGroupOut())},
            "20 trials, of up to 30 epochs for each fold.",
        ),
        (
            {"timeout": 90.0},
            "20 trials, of up to 30 epochs each: 600 in all; no trial begins after 1m30s.",
        ),
    ],
)
def test_before_the_first_trial_it_is_numbers(tmp_path, changed, words):
    assert said(tmp_path, **changed) == f"To come: at most {words}"


def test_a_small_space_has_fewer_trials(tmp_path):
    space = {"wrapper": ["none", "native"], "placement": "recurrent", "rate": [0.1, 0.2]}
    assert said(tmp_path, oracle_of(tmp_path, space)).startswith("To come: at most 3 trials, of")


def write(folder, *numbers, status="COMPLETE", seconds=20.0):
    """Writes a journal with trials of ten epochs."""
    folder.mkdir(exist_ok=True)
    names = dict.fromkeys(("search_id", "name", "experiment", "tuner"), "speech")
    with closing(Journal(folder / "events.jsonl")) as journal:
        journal.on_event(SearchStarted(**names, objective="val_loss", direction="min"))
        for number in numbers:
            id = str(number)
            journal.on_event(TrialStarted(trial_id=id, number=number, hyperparameters={}))
            for epoch in range(10):
                metrics = {"val_loss": 1.0}
                event = EpochEnded(
                    trial_id=id, execution=0, epoch=epoch, seconds=1.0, metrics=metrics
                )
                journal.on_event(event)
            ended = {"score": 1.0, "best_step": 0, "metrics": {}, "seconds": seconds}
            journal.on_event(TrialEnded(trial_id=id, status=status, **ended))


def end_trials(oracle, number):
    for _ in range(number):
        trial = oracle.create_trial("tuner0")
        oracle.update_trial(trial.trial_id, {"val_loss": 1.0}, step=0)
        trial.status = "COMPLETED"
        oracle.end_trial(trial)


def test_a_search_that_goes_on_knows_how_long_an_epoch_takes(tmp_path):
    oracle = oracle_of(tmp_path, seed=0)
    end_trials(oracle, 5)
    write(tmp_path / "p", 0, 1, 2)
    words = "450 in all, about 15m00s going by the trials before."
    expected = f"To come: at most 15 more trials, of up to 30 epochs each: {words}"
    assert said(tmp_path, oracle) == expected
    assert "about 7m30s" in said(tmp_path, oracle, workers=rdt.Workers(2))


def test_a_trial_that_was_broken_off_tells_no_time(tmp_path):
    write(tmp_path / "p", 0, status=INTERRUPTED)
    assert said(tmp_path).endswith("600 in all.")


def test_what_is_confirmed_is_not_to_come(tmp_path):
    oracle = oracle_of(tmp_path, trials=3, seed=0)
    end_trials(oracle, 3)
    assert said(tmp_path, oracle) is None
    confirm = {"confirm": rdt.Confirm(1, seeds=1)}
    words = "To come: at most 5 trainings to confirm, of up to 30 epochs each: 150 in all."
    assert said(tmp_path, oracle, **confirm) == words
    write(tmp_path / "p")
    with closing(Journal(tmp_path / "p" / "events.jsonl")) as journal:
        for number in range(5):
            done = {"trial_id": str(number), "repeat": 0, "seed": 1, "total": 5}
            journal.on_event(ConfirmationEnded(**done, score=1.0, seconds=1.0))
    assert said(tmp_path, oracle, **confirm) is None


def test_the_folders_that_it_is_told_of_tell_the_time(tmp_path):
    write(tmp_path / "old", 0, 1, seconds=5.0)
    oracle = oracle_of(tmp_path, warm_start=tmp_path / "old")
    words = "600 in all, about 5m00s going by the trials that it is told of."
    assert said(tmp_path, oracle).endswith(words)
