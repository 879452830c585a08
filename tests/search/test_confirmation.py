"""The confirmation: paired trainings with fresh seeds, their table and the verdict."""

import dataclasses
import json
import re
import shutil
import zlib

import keras
import keras_tuner as kt
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError
from recdrop_tune.results import paired_gains
from recdrop_tune.results.verdict import Judgement, verdict
from recdrop_tune.search.confirm import confirmation_seed
from tests.small_search import data

SPACE = {
    "cell": "lstm",
    "units": 3,
    "wrapper": ["none", "native", "recurrent"],
    "placement": ["recurrent"],
    "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
    "learning_rate": [0.001, 0.01, 0.03],
}
SEEDS = 2

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def options(tmp_path_factory, new_store):
    folder = tmp_path_factory.mktemp("confirmed")
    return {
        "space": SPACE,
        "max_trials": 5,
        "epochs": 2,
        "batch_size": 32,
        "seed": 0,
        "verbose": 0,
        "directory": folder / "p",
        "tracking": rdt.MLflow(uri=new_store(folder)),
        "confirm": rdt.Confirm(2, seeds=SEEDS, test=data(32)),
    }


@pytest.fixture(scope="module")
def result(running_eagerly, options):
    with running_eagerly():
        return rdt.tune(data(), data(16), **options)


@pytest.mark.heavy
def test_the_best_their_twins_and_the_baselines_are_trained_with_the_same_seeds(result):
    confirmation = result.confirmation
    table, runs = confirmation.table, confirmation.runs
    found = table[table["kind"] == "found"]
    assert {"none", "native"} <= set(found["wrapper"])
    top = set(result.trials["trial_id"][:2])
    assert top <= set(found["trial_id"])
    assert len(runs) == SEEDS * len(table)
    seeds = runs.groupby(["trial_id", "kind"])["seed"].apply(list)
    assert all(each == seeds.iloc[0] for each in seeds)
    assert len(set(seeds.iloc[0])) == SEEDS


def twin_row(table, row):
    """Finds the twin of a row: without dropout, and with the same learning rate."""
    same = table[(table["wrapper"] == "none") & (table["learning_rate"] == row.learning_rate)]
    assert len(same) == 1  # Trained once, however many configurations have it for a twin.
    return same.iloc[0]


def test_each_configuration_with_dropout_is_compared_with_its_twin(result):
    runs, table = result.confirmation.runs, result.confirmation.table
    runs = runs.assign(key=runs["trial_id"] + runs["kind"])
    dropping = table[table["wrapper"] != "none"]
    assert (dropping["kind"] == "found").all()
    for metric, prefix in (("val_loss", ""), ("test_loss", "test_")):
        scores = runs.pivot(index="repeat", columns="key", values=metric).astype(float)
        pairs = [
            (f"{row.trial_id}found", twin_row(table, row).trial_id + twin_row(table, row).kind)
            for row in dropping.itertuples()
        ]
        joint = paired_gains(scores, pairs, "min")
        for row, (own, twin), gain in zip(dropping.to_dict("records"), pairs, joint, strict=True):
            mean = (scores[twin] - scores[own]).mean()
            assert row[f"{prefix}gain"] == pytest.approx(mean)
            assert row[f"{prefix}gain_low"] == pytest.approx(gain.low)
            assert row[f"{prefix}gain_high"] == pytest.approx(gain.high)
    without = table[table["wrapper"] == "none"]
    assert without[["gain", "found_gain"]].isna().all(axis=None)


def test_a_twin_has_the_same_settings_but_for_its_dropout(result):
    table = result.confirmation.table
    twins = table[table["kind"] == "twin"]
    found = table[table["kind"] == "found"].set_index("trial_id")
    for twin in twins.itertuples():
        owner = found.loc[twin.trial_id]
        assert twin.learning_rate == owner["learning_rate"]
        assert (twin.wrapper, owner["wrapper"] != "none") == ("none", True)
    assert twins[["placement", "rate", "search"]].isna().all(axis=None)


def test_the_gain_over_the_best_found_without_dropout_is_another_one(result):
    table, runs = result.confirmation.table, result.confirmation.runs
    plain = result.trials[result.trials["wrapper"] == "none"]
    best = plain.loc[plain["val_loss"].idxmin(), "trial_id"]
    own = runs[runs["kind"] == "found"].pivot(index="repeat", columns="trial_id", values="val_loss")
    for row in table[table["wrapper"] != "none"].itertuples():
        mean = (own[best] - own[row.trial_id]).astype(float).mean()
        assert row.found_gain == pytest.approx(mean)


def test_the_means_and_spreads_are_those_of_the_trainings(result):
    runs, table = result.confirmation.runs, result.confirmation.table
    for row in table.itertuples():
        own = runs[(runs["trial_id"] == row.trial_id) & (runs["kind"] == row.kind)]
        assert row.n == SEEDS
        for metric, mean, std in (
            ("val_loss", row.mean, row.std),
            ("test_loss", row.test_loss, row.test_loss_std),
        ):
            assert mean == pytest.approx(own[metric].mean())
            assert std == pytest.approx(own[metric].std(ddof=1))
        assert row.test_accuracy == pytest.approx(own["test_accuracy"].mean())
    assert list(table["mean"]) == sorted(table["mean"])
    assert "test_loss" not in result.trials


def test_the_verdict_is_read_on_the_test_data(result):
    confirmation = result.confirmation
    row = confirmation.row(confirmation.dropping_id)
    low, high = row["test_gain_low"], row["test_gain_high"]
    expected = "helped" if low > 0 else "hurt" if high < 0 else "not known"
    assert confirmation.outcome == expected
    assert "test_loss" in confirmation.verdict


def test_the_best_model_is_the_confirmed_one_with_its_best_weights(result):
    table = result.confirmation.table
    best = table[table["kind"] == "found"].iloc[0]
    assert result.best_trial.trial_id == best["trial_id"]
    runs = result.confirmation.runs
    runs = runs[runs["kind"] == "found"]
    of_best = runs[runs["trial_id"] == best["trial_id"]].sort_values("val_loss").iloc[0]
    model = result.best_model()
    scores = model.evaluate(*data(16), batch_size=8, verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(of_best["val_loss"], rel=1e-5)
    tested = model.evaluate(*data(32), batch_size=8, verbose=0, return_dict=True)
    assert tested["loss"] == pytest.approx(of_best["test_loss"], rel=1e-5)


def test_the_best_models_are_first_those_that_were_confirmed(result):
    """With the weights of their best confirmed training; then the others, with those of the search."""
    table, runs = result.confirmation.table, result.confirmation.runs
    confirmed = list(table["trial_id"][table["kind"] == "found"])
    others = [each for each in result.trials["trial_id"] if each not in confirmed]
    models = result.best_models(len(confirmed) + 1)
    losses = [model.evaluate(*data(16), batch_size=8, verbose=0)[0] for model in models]
    best = runs[runs["kind"] == "found"].groupby("trial_id")["val_loss"].min()
    found = result.trials.set_index("trial_id")["val_loss"]
    expected = [*best[confirmed], *found[others[:1]]]
    assert losses == pytest.approx([float(value) for value in expected], rel=1e-5)


def test_a_seed_starts_anew_from_what_the_search_did_not_see(result):
    seeds = {confirmation_seed(0, repeat) for repeat in range(100)}
    assert len(seeds) == 100
    assert set(result.confirmation.runs["seed"]) <= seeds
    assert confirmation_seed(1, 0) not in seeds


def test_the_summary_has_the_verdict(result):
    text = result.summary()
    assert result.confirmation.verdict in text
    for line in result.confirmation.text().splitlines():
        assert line in text
    assert "test_gain" in text


def test_the_report_has_it(result, tmp_path):
    page = result.report(tmp_path / "report.html").read_text()
    assert "<h2>Confirmation</h2>" in page
    assert result.confirmation.verdict.split("`")[0] in page


def test_an_interrupted_confirmation_resumes(result, options):
    journal = options["directory"] / "events.jsonl"
    lines = journal.read_text().splitlines()
    kept = [line for line in lines if '"ConfirmationEnded"' not in line]
    confirmed = [line for line in lines if '"ConfirmationEnded"' in line]
    # As if it had been killed after two trainings.
    shutil.rmtree(options["directory"] / "result")
    journal.write_text("\n".join([*kept, *confirmed[:2]]) + "\n")
    again = rdt.tune(data(), data(16), **options)
    assert len(again.confirmation.runs) == len(result.confirmation.runs)
    same = ["trial_id", "kind", "repeat", "seed", "val_loss", "test_loss"]
    pd.testing.assert_frame_equal(again.confirmation.runs[same], result.confirmation.runs[same])
    after = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sum(each["event"] == "ConfirmationEnded" for each in after) == len(confirmed)


def killed(journal):
    """Leaves what a search has that was killed before it saved a result, but no journal."""
    shutil.rmtree(journal.parent / "result")
    journal.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        killed,
        lambda path: path.write_text(""),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_text(path.read_text().rpartition('{"event": "Confirmation')[0]),
        lambda path: path.write_text(re.sub('"seed": [0-9]+', '"seed": "x"', path.read_text())),
    ],
    ids=["gone", "gone after a kill", "empty", "half", "without the last", "wrong types"],
)
def test_what_the_journal_has_lost_is_not_trained_again(result, options, tmp_path, damage):
    folder = shutil.copytree(options["directory"], tmp_path / "p")
    damage(folder / "events.jsonl")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ProjectError, match=re.escape(f"`{folder / 'events.jsonl'}` is damaged")):
        rdt.tune(data(), data(16), **{**options, "directory": folder})
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_in_mlflow(result):
    client = MlflowClient(result.tracking_uri)
    for row in result.confirmation.table.itertuples():
        run = result.tracking.mlflow.run_ids[row.trial_id]
        name = "confirmed_twin" if row.kind == "twin" else "confirmed"
        curve = {each.step: each.value for each in client.get_metric_history(run, name)}
        assert np.mean(list(curve.values())) == pytest.approx(row.mean)


LEVELS = {0.001: 1.0, 0.01: 0.7, 0.03: 0.65, 0.1: 0.4}


class LearningRateAlone(kt.HyperModel):
    """Trainings whose planted score depends on learning rate and seed, and not on dropout."""

    def build(self, hp):
        wrapper = hp.Choice("wrapper", ["none", "recurrent", "variational"])
        with hp.conditional_scope("wrapper", ["recurrent", "variational"]):
            hp.Float("rate", 0.1, 0.5, step=0.1)
        hp.Choice("learning_rate", list(LEVELS))
        self.wrapper = wrapper
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def fit(self, hp, model, *args, **kwargs):
        noise = np.random.normal(scale=0.02)  # The tuner has set the seed.
        own = np.random.default_rng(zlib.crc32(repr((hp.values, noise)).encode()))
        return {"val_loss": LEVELS[hp["learning_rate"]] + noise + own.normal(scale=0.01)}


def test_what_the_learning_rate_did_is_not_credited_to_dropout(tmp_path, planted_uri):
    flat = np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32")
    found = {
        "model": LearningRateAlone(),
        "max_trials": 6,
        "epochs": 1,
        "verbose": 0,
        "tracking": rdt.MLflow(uri=planted_uri),
    }
    credited = []
    for seed in range(2):
        folder = tmp_path / str(seed)
        confirmation = rdt.tune(
            flat, flat, seed=seed, confirm=1, directory=folder, **found
        ).confirmation
        row = confirmation.row(confirmation.dropping_id)
        assert abs(row["gain"]) < 0.02
        assert row["gain_low"] <= 0.0 <= row["gain_high"]
        assert confirmation.outcome == "not known"
        credited.append(row["found_gain"])
    assert max(credited) > 0.2  # What was called the gain of dropout before.
    searched = rdt.tune(flat, flat, seed=0, directory=tmp_path / "search", **found)
    assert abs(searched.twin_gain.value) < 0.06


SCORES = pd.DataFrame(
    {
        "a": [0.20, 0.25, 0.18, 0.22, 0.24],
        "a twin": [0.23, 0.28, 0.20, 0.26, 0.27],
        "b": [0.31, 0.33, 0.30, 0.34, 0.29],
    }
)


def judged(scores=SCORES, best="a", dropping="a", pairs=(("a", "a twin"),), failure=None):
    found = [(each[0], "b") for each in pairs]
    return Judgement(
        objective="val_loss",
        metric="val_loss",
        direction="min",
        scores=scores,
        pairs=pairs,
        gains={p[0]: g for p, g in zip(pairs, paired_gains(scores, pairs, "min"), strict=True)},
        found_gains={
            p[0]: g for p, g in zip(found, paired_gains(scores, found, "min"), strict=True)
        },
        best_id=best,
        dropping_id=dropping,
        without_id="b",
        failure=failure,
    )


SWAPPED = SCORES.rename(columns={"a": "a twin", "a twin": "a"})
# Seeds that disagree: the mean of their gains proves nothing in either direction.
NOISE = np.array([0.2, -0.15, 0.12, -0.1, 0.08])
FAILED = SCORES.assign(**{"a twin": SCORES["a twin"].mask([False, True, False, True, False])})
FAILED = FAILED.assign(a=FAILED["a twin"].fillna(0.25) + np.array([0.1, -0.2, -0.12, 0.1, -0.05]))


@pytest.mark.parametrize(
    ("judgement", "outcome", "words"),
    [
        (
            judged(),
            "helped",
            r"^Dropout helped: val_loss is better by 0\.0300 than .* \(5 trainings each, fresh seeds\)\. "
            "Over the best configuration without dropout that the search found",
        ),
        (
            judged(SWAPPED, best="b"),
            "hurt",
            r"^The best confirmed configuration has no dropout\. Dropout hurt: .* worse by 0\.0300",
        ),
        *(
            (
                judged(SCORES.assign(a=SCORES["a twin"] - sign * NOISE)),
                "not known",
                r"^Whether dropout helped is not known: gain .*\d+ more seeds \(`Confirm\(seeds=\d+\)`\)",
            )
            for sign in (1.0, -1.0)
        ),
        (judged(SCORES.assign(a=SCORES["a twin"])), "not known", "no gain in val_loss over"),
        # Fewer than six seeds would train nothing that has not been tried.
        (judged(FAILED), "not known", r"\(3 trainings each.*seeds=([6-9]|\d\d+)\)"),
        (judged(SCORES.head(1)), "not known", "in one paired training, which proves nothing"),
        (
            judged(pairs=(), failure="ValueError: no\nsuch wrapper"),
            "not known",
            r"could not be trained \(ValueError: no",
        ),
        (judged(best="b", dropping=None, pairs=()), "not known", "no configuration with dropout"),
    ],
    ids=["helped", "hurt", "noisy", "noisy too", "equal", "failed", "one", "no twin", "no dropout"],
)
def test_verdicts(judgement, outcome, words):
    said, found = verdict([judgement])
    assert (found, bool(re.search(words, said))) == (outcome, True), said


def test_each_objective_has_a_sentence_that_names_it():
    other = dataclasses.replace(
        judged(SCORES.rename(columns={"a": "a twin", "a twin": "a"}), best="b"),
        objective="ms_per_step",
    )
    said, outcome = verdict([judged(), other])
    first, second = said.splitlines()
    assert outcome == "helped"
    assert first.startswith("Dropout helped")
    assert second.startswith("By ms_per_step the best confirmed configuration has no dropout.")


@pytest.mark.heavy
def test_cross_validation_pareto_and_confirmation_together(tmp_path):
    result = rdt.tune(
        data(),
        space={**SPACE, "wrapper": ["none", "recurrent"]},
        objective=["val_loss", "ms_per_step"],
        training=rdt.Training(cv=2),
        max_trials=3,
        epochs=1,
        seed=0,
        confirm=rdt.Confirm(1, seeds=2),
        verbose=0,
        directory=tmp_path / "p",
        tracking=rdt.MLflow(uri=f"sqlite:///{tmp_path}/mlflow.db"),
    )
    assert len(result.trials) == 3
    assert result.trials[["val_loss", "ms_per_step"]].notna().all(axis=None)
    assert set(result.confirmation.runs["repeat"]) == {0, 1}
    assert result.best_model().predict(data()[0], verbose=0).shape == (24, 1)
