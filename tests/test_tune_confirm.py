"""Tests for the confirmation: paired trainings with fresh seeds, and what is said of them."""

import json

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from scipy import stats

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.facade._confirm import confirmation_seed
from recdrop_tune.results._confirmation import verdict
from tests.small_search import data

SPACE = {
    "cell": "lstm",
    "units": 3,
    "wrapper": ["none", "native", "recurrent"],
    "placement": ["recurrent"],
    "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
    "learning_rate": 0.01,
}
SEEDS = 3


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("confirmed")
    return {
        "space": SPACE,
        "max_trials": 4,
        "epochs": 2,
        "batch_size": 8,
        "seed": 0,
        "verbose": 0,
        "directory": folder / "p",
        "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        "confirm": 2,
        "confirm_seeds": SEEDS,
        "test": data(32),
    }


@pytest.fixture(scope="module")
def result(options):
    return rdt.tune(data(), data(16), **options)


def test_the_best_and_the_baselines_are_trained_with_the_same_seeds(result):
    confirmation = result.confirmation
    table, runs = confirmation.table, confirmation.runs
    assert {"none", "native"} <= set(table["wrapper"])
    top = set(result.trials["trial_id"][:2])
    assert top <= set(table["trial_id"])
    assert 2 <= len(table) <= 4
    assert len(runs) == SEEDS * len(table)
    seeds = runs.groupby("trial_id")["seed"].apply(list)
    assert all(each == seeds.iloc[0] for each in seeds)
    assert len(set(seeds.iloc[0])) == SEEDS


def test_the_numbers_are_those_of_the_trainings(result):
    runs, table = result.confirmation.runs, result.confirmation.table
    wide = runs.pivot(index="repeat", columns="trial_id", values="val_loss").astype(float)
    base = table.loc[table["wrapper"] == "none", "trial_id"].iloc[0]
    for row in table.itertuples():
        own = wide[row.trial_id]
        assert row.mean == pytest.approx(own.mean())
        assert row.std == pytest.approx(own.std(ddof=1))
        if row.trial_id == base:
            assert row.gain == row.gain_low == 0.0
            continue
        paired = stats.ttest_1samp(wide[base] - own, 0.0).confidence_interval(0.95)
        assert row.gain == pytest.approx((wide[base] - own).mean())
        assert (row.gain_low, row.gain_high) == pytest.approx((paired.low, paired.high))
    assert list(table["mean"]) == sorted(table["mean"])


def test_test_data_are_reported_beside(result):
    table = result.confirmation.table
    assert table["test_loss"].notna().all()
    assert "test_loss" not in result.trials
    by_trial = result.confirmation.runs.groupby("trial_id")["test_accuracy"].mean()
    for row in table.itertuples():
        assert row.test_accuracy == pytest.approx(by_trial[row.trial_id])


def test_the_best_model_is_the_confirmed_one_with_its_best_weights(result):
    best = result.confirmation.table.iloc[0]
    assert result.best_trial.trial_id == best["trial_id"]
    runs = result.confirmation.runs
    of_best = runs[runs["trial_id"] == best["trial_id"]].sort_values("val_loss").iloc[0]
    model = result.best_model()
    scores = model.evaluate(*data(16), batch_size=8, verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(of_best["val_loss"], rel=1e-5)
    tested = model.evaluate(*data(32), batch_size=8, verbose=0, return_dict=True)
    assert tested["loss"] == pytest.approx(of_best["test_loss"], rel=1e-5)


def test_a_seed_starts_anew_from_what_the_search_did_not_see(result):
    seeds = {confirmation_seed(0, repeat) for repeat in range(100)}
    assert len(seeds) == 100
    assert set(result.confirmation.runs["seed"]) <= seeds
    assert confirmation_seed(1, 0) not in seeds


def test_the_summary_says_it(result):
    text = result.summary()
    assert result.confirmation.verdict in text
    assert "gain_low" in text


def test_the_report_has_it(result, tmp_path):
    page = result.report(tmp_path / "report.html").read_text()
    assert 'id="confirmation"' in page
    assert result.confirmation.verdict in page


def test_it_goes_on_where_it_was_broken_off(result, options):
    journal = options["directory"] / "events.jsonl"
    lines = journal.read_text().splitlines()
    kept = [line for line in lines if '"ConfirmationEnded"' not in line]
    confirmed = [line for line in lines if '"ConfirmationEnded"' in line]
    # As if it had been killed after two trainings.
    journal.write_text("\n".join([*kept, *confirmed[:2]]) + "\n")
    again = rdt.tune(data(), data(16), **options)
    assert len(again.confirmation.runs) == len(result.confirmation.runs)
    same = ["trial_id", "repeat", "seed", "val_loss", "test_loss"]
    pd.testing.assert_frame_equal(again.confirmation.runs[same], result.confirmation.runs[same])
    after = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sum(each["event"] == "ConfirmationEnded" for each in after) == len(confirmed)


def test_it_is_in_mlflow(result):
    client = MlflowClient(result.tracking_uri)
    best = result.confirmation.table.iloc[0]
    run = result.tracking.mlflow.run_ids[best["trial_id"]]
    curve = [each.value for each in client.get_metric_history(run, "confirmed")]
    assert np.mean(curve[-SEEDS:]) == pytest.approx(best["mean"])


def table(**rows):
    columns = ["trial_id", "mean", "std", "gain", "gain_low", "gain_high", "n"]
    return pd.DataFrame([[name, *values, 5] for name, values in rows.items()], columns=columns)


NAN = float("nan")


@pytest.mark.parametrize(
    ("best", "without", "said"),
    [
        ((0.2, 0.01, 0.1, 0.05, 0.15), "b", "Dropout helped: paired gain over no dropout 0.1000"),
        ((0.2, 0.01, 0.1, -0.05, 0.25), "b", "No gain over no dropout is confirmed"),
        ((0.2, 0.01, 0.0, 0.0, 0.0), "a", "Dropout did not help"),
        ((0.2, 0.01, NAN, NAN, NAN), None, "not known: no trial without dropout"),
        ((0.2, NAN, 0.1, NAN, NAN), "b", "in one paired training, which proves nothing"),
    ],
)
def test_verdicts(best, without, said):
    assert said in verdict(table(a=best, b=(0.3, 0.01, 0.0, 0.0, 0.0)), without, "val_loss")


def test_one_training_has_no_spread():
    rows = table(a=(0.2, NAN, NAN, NAN, NAN)).assign(n=1)
    assert verdict(rows, None, "val_loss") == (
        "Confirmed: val_loss 0.2000 (one training with a fresh seed). Whether dropout helped is not known: "
        "no trial without dropout was confirmed."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confirm": -1}, "`confirm`"),
        ({"confirm": True}, "`confirm`"),
        ({"confirm_seeds": 0}, "`confirm_seeds`"),
        ({"test": (np.zeros(2), np.zeros(2))}, r"Pass confirm=3 as well"),
        ({"timeout": -1}, "`timeout`"),
        ({"pruner": "harsh"}, "one of asha, halving, hyperband, median, none"),
        ({"pruner": "median", "tuner": "random"}, "it is Optuna's"),
        ({"objective": ["val_loss", "ms_per_step"], "tuner": "grid"}, "would add them up"),
        ({"cv": 1}, "number of folds of at least 2"),
        ({"cv": 3}, "None beside `cv`"),
        ({"executions_per_trial": 0}, "`executions_per_trial`"),
    ],
)
def test_arguments_that_cannot_be_worked_with(tmp_path, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.tune(data(), data(16), space=SPACE, directory=tmp_path / "p", **options)
    assert not (tmp_path / "p").exists()


@pytest.mark.heavy
def test_cross_validation_pareto_and_confirmation_together(tmp_path):
    result = rdt.tune(
        data(),
        space={**SPACE, "wrapper": ["none", "recurrent"]},
        objective=["val_loss", "ms_per_step"],
        cv=2,
        max_trials=3,
        epochs=1,
        seed=0,
        confirm=1,
        confirm_seeds=2,
        verbose=0,
        directory=tmp_path / "p",
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
    )
    assert len(result.trials) == 3
    assert result.trials[["val_loss", "ms_per_step"]].notna().all(axis=None)
    assert set(result.confirmation.runs["repeat"]) == {0, 1}
    assert result.best_model().predict(data()[0], verbose=0).shape == (24, 2)
