"""The confirmation: paired trainings with fresh seeds, their table and the verdict."""

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
from recdrop_tune.errors import ProjectError, RecdropError
from recdrop_tune.journal import Journal
from recdrop_tune.results import Looks, paired_gains
from recdrop_tune.search.confirm import confirmation_seed
from tests import small_search
from tests.small_search import contents

SPACE = {
    "cell": "lstm",
    "units": 3,
    "wrapper": ["none", "native", "recurrent"],
    "placement": ["recurrent"],
    "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
    "learning_rate": [0.001, 0.01, 0.03],
}
SEEDS = 2


def data(samples=24):
    """Sequences of two steps, which train quickly."""
    x, y = small_search.data(samples)
    return x[:, :2], y


pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def options(tmp_path_factory, new_store):
    folder = tmp_path_factory.mktemp("confirmed")
    return {
        "space": SPACE,
        "max_trials": 5,
        "epochs": 2,
        "batch_size": 32,
        "seed": 7,  # The twin of a trial has the best mean, and no outcome is known.
        "verbose": 0,
        "directory": folder / "p",
        "tracking": rdt.MLflow(uri=new_store(folder)),
        "confirm": rdt.Confirm(2, seeds=SEEDS, max_seeds=SEEDS, margin=1e-9, test=data(32)),
    }


@pytest.fixture(scope="module")
def result(running_eagerly, options):
    with running_eagerly():
        return rdt.tune(data(), data(16), **options)


def test_the_best_their_twins_and_the_baselines_are_trained_with_the_same_seeds(result):
    table, runs = result.confirmation.table, result.confirmation.runs
    found = table[~table["twin"]].set_index("trial_id")
    assert {"none", "native"} <= set(found["wrapper"])
    assert set(result.trials["trial_id"][:2]) <= set(found.index)
    assert len(runs) == SEEDS * len(table)
    seeds = runs.groupby(["trial_id", "twin"])["seed"].apply(list)
    assert all(each == seeds.iloc[0] for each in seeds)
    assert seeds.iloc[0] == [confirmation_seed(7, repeat) for repeat in range(SEEDS)]
    assert len({confirmation_seed(seed, repeat) for seed in (1, 2) for repeat in range(50)}) == 100
    for twin in table[table["twin"]].itertuples():
        owner = found.loc[twin.trial_id]
        assert twin.learning_rate == owner["learning_rate"]
        assert (twin.wrapper, owner["wrapper"] != "none") == ("none", True)


def twin_row(table, row):
    """Finds the twin of a row: without dropout, and with the same learning rate."""
    same = table[(table["wrapper"] == "none") & (table["learning_rate"] == row.learning_rate)]
    assert len(same) == 1  # Trained once, however many configurations have it for a twin.
    return same.iloc[0]


def test_each_configuration_with_dropout_is_compared_with_its_twin(result):
    runs, table = result.confirmation.runs, result.confirmation.table
    runs = runs.assign(key=runs["trial_id"] + runs["twin"].map({True: "_twin", False: ""}))
    dropping = table[table["wrapper"] != "none"]
    assert not dropping["twin"].any()
    for metric, prefix in (("val_loss", ""), ("test_loss", "test_")):
        scores = runs.pivot(index="repeat", columns="key", values=metric).astype(float)
        pairs = []
        for row in dropping.itertuples():
            other = twin_row(table, row)
            pairs.append((row.trial_id, other.trial_id + ("_twin" if other.twin else "")))
        joint = paired_gains(scores, pairs, Looks([SEEDS], SEEDS))
        for row, (own, twin), gain in zip(dropping.to_dict("records"), pairs, joint, strict=True):
            mean = (scores[twin] - scores[own]).mean()
            assert row[f"{prefix}gain"] == pytest.approx(mean)
            assert row[f"{prefix}gain_low"] == pytest.approx(gain.low)
            assert row[f"{prefix}gain_high"] == pytest.approx(gain.high)
            if prefix:  # The verdict is about these.
                differences = scores[twin] - scores[own]
                assert row["worst"] == pytest.approx(differences.min())
                assert row["better"] == (differences > 0).mean()
    without = table[table["wrapper"] == "none"]
    assert without[["gain", "outcome"]].isna().all(axis=None)
    for row in table.itertuples():
        own = runs[(runs["trial_id"] == row.trial_id) & (runs["twin"] == row.twin)]
        assert row.n == SEEDS
        assert (row.mean, row.std) == pytest.approx((own["val_loss"].mean(), own["val_loss"].std()))
        assert row.test_loss == pytest.approx(own["test_loss"].mean())
        assert row.test_loss_std == pytest.approx(own["test_loss"].std())
        assert row.test_accuracy == pytest.approx(own["test_accuracy"].mean())
    assert table["mean"].is_monotonic_increasing
    assert set(table["epochs"]) == {2}
    assert set(result.confirmation.brief()["epochs"]) == {"2"}


def test_the_verdict_is_read_on_the_test_data_and_shown(result, tmp_path):
    confirmation = result.confirmation
    row = confirmation.row(confirmation.dropping_id)
    assert row["test_gain_low"] < row["test_gain"] < row["test_gain_high"]
    assert confirmation.outcome == row["outcome"] == "not known"  # Two seeds prove little.
    assert "test_loss" in confirmation.verdict
    assert {confirmation.verdict, *confirmation.brief().to_string(index=False).splitlines()} <= set(
        result.summary().splitlines()
    )
    page = result.report(tmp_path / "report.html").read_text()
    assert confirmation.verdict in page.partition("<h2>")[0]
    (points,) = result.plots()["gains"].data
    paired = confirmation.table.dropna(subset="test_gain")
    assert list(points.x) == pytest.approx(list(paired["test_gain"]))
    low = list(np.subtract(points.x, points.error_x.arrayminus))
    assert low == pytest.approx(list(paired["test_gain_low"]))


def test_the_best_models_are_first_those_that_were_confirmed(result):
    """With the weights of their best confirmed training; then the others, with those of the search."""
    best = result.confirmation.best
    assert best["twin"]
    assert result.best_id == result.confirmation.best_id == f"{best['trial_id']}_twin"
    assert result.best_hyperparameters["wrapper"] == "none"
    runs, confirmed = result.confirmation.runs, result.confirmation.ids
    others = [each for each in result.trials["trial_id"] if each not in confirmed]
    models = result.best_models(len(confirmed) + 1)
    # A row of the table stands for the twin of its trial too.
    models += [result.model_of(row) for row in result.confirmation.table.itertuples()]
    losses = [model.evaluate(*data(16), batch_size=8, verbose=0)[0] for model in models]
    names = runs["trial_id"] + runs["twin"].map({True: "_twin", False: ""})
    lowest = runs.groupby(names)["val_loss"].min()
    found = result.trials.set_index("trial_id")["val_loss"]
    expected = [*lowest[confirmed], *found[others[:1]], *lowest[confirmed]]
    assert losses == pytest.approx([float(value) for value in expected], rel=1e-5)
    (of_best,) = runs[runs["val_loss"] == lowest[confirmed[0]]].itertuples()
    tested = models[0].evaluate(*data(32), batch_size=8, verbose=0, return_dict=True)
    assert tested["loss"] == pytest.approx(of_best.test_loss, rel=1e-5)


def test_the_best_is_trained_anew_for_the_median_of_its_epochs(result):
    best, runs = result.confirmation.best, result.confirmation.runs
    own = runs[(runs["trial_id"] == best["trial_id"]) & runs["twin"]]
    epochs = int(own["best_epoch"].median()) + 1
    model, code = result.refit(*data()), result.best_code()
    assert len(model.history.epoch) == epochs
    assert f", epochs={epochs}" in code
    assert "rdt.wrap" not in code  # A twin is the best.


@pytest.mark.heavy
def test_a_result_is_confirmed_further(result, options, tmp_path, planted_uri, monkeypatch):
    folder = shutil.copytree(options["directory"], tmp_path / "p")
    monkeypatch.chdir(tmp_path)
    place = {"directory": "p", "tracking": rdt.MLflow(uri=planted_uri)}
    before = rdt.tune(data(), data(16), **{**options, **place, "confirm": 0})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")  # Refused, but the search has its own.
    monkeypatch.chdir(tmp_path.parent)
    after = before.confirm(rdt.Confirm(2, seeds=2, max_seeds=3, margin=1e-9))
    runs, more = before.confirmation.runs, after.confirmation.runs
    assert list(more["repeat"].unique()) == [0, 1, 2]
    same = ["trial_id", "twin", "seed", "val_loss", "test_loss"]
    pd.testing.assert_frame_equal(more[same].head(len(runs)), runs[same])
    table = after.confirmation.table
    assert set(table["n"][table["outcome"].notna() | table["twin"]]) == {3}
    with pytest.raises(RecdropError, match="no data to train with"):
        rdt.TuneResult.load(folder).confirm()


def killed(journal):
    """Leaves what a search has that was killed before it saved a result, but no journal."""
    shutil.rmtree(journal.parent / "result")
    journal.unlink()


def without_trainings(journal):
    """The same with a journal that has everything but the trainings."""
    shutil.rmtree(journal.parent / "result")
    kept = [line for line in journal.read_text().splitlines() if "ConfirmationEnded" not in line]
    journal.write_text("\n".join(kept) + "\n")


def edited(kind, **values):
    """Changes the values of the first event of a kind."""

    def edit(journal):
        events = [json.loads(line) for line in journal.read_text().splitlines()]
        next(each for each in events if each["event"] == kind).update(values)
        journal.write_text("".join(f"{json.dumps(each)}\n" for each in events))

    return edit


DAMAGE = {
    "gone": killed,
    "trainings": without_trainings,
    "seeds": edited("ConfirmationStarted", max_seeds=0),
    "round": edited("ConfirmationStarted", configurations=["77_twin"]),
    "repeat": edited("ConfirmationEnded", repeat=10**9),
    "score": edited("ConfirmationEnded", score=None),
    "confirmed trial": edited("ConfirmationEnded", trial_id="77"),
    "trial": edited("TrialStarted", trial_id="77"),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "without the last": lambda path: path.write_text(
        path.read_text().rpartition('{"event": "Confirmation')[0]
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_journal_is_not_shown_and_nothing_is_trained(result, options, tmp_path, damage):
    folder = shutil.copytree(options["directory"], tmp_path / "p")
    DAMAGE[damage](folder / "events.jsonl")
    before = contents(folder)
    with pytest.raises(ProjectError, match=re.escape(f"`{folder / 'events.jsonl'}` is damaged")):
        rdt.tune(data(), data(16), **{**options, "directory": folder})
    with pytest.raises(ProjectError, match=r"events\.jsonl"):
        rdt.TuneResult.load(folder)
    assert contents(folder) == before


def test_a_search_that_runs_on_while_it_is_read_is_not_damaged(result, tmp_path, monkeypatch):
    folder = shutil.copytree(result.directory, tmp_path / "p")
    saved, journal = folder / "result", folder / "events.jsonl"
    saved.rename(tmp_path / "later")
    lines = journal.read_text().splitlines(keepends=True)
    last = max(n for n, line in enumerate(lines) if '"ConfirmationEnded"' in line)
    journal.write_text("".join(lines[:last]))
    read = Journal.read

    def read_then_save(self, **options):
        events = read(self, **options)
        (tmp_path / "later").rename(saved)
        return events

    monkeypatch.setattr(Journal, "read", read_then_save)
    assert len(rdt.TuneResult.load(folder).confirmation.runs) == len(result.confirmation.runs) - 1


def test_it_is_in_mlflow(result):
    client = MlflowClient(result.search.tracking_uri)
    for row in result.confirmation.table.itertuples():
        run = result.tracking.mlflow.run_ids[row.trial_id]
        name = "confirmed_twin" if row.twin else "confirmed"
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


class WorthSomething(LearningRateAlone):
    """The same, but `recurrent` is better by two and a half spreads."""

    def fit(self, hp, model, *args, **kwargs):
        scores = super().fit(hp, model, *args, **kwargs)
        return {"val_loss": scores["val_loss"] - 0.05 * (hp["wrapper"] == "recurrent")}


@pytest.fixture
def planted_search(tmp_path):
    def search(model, **options):
        flat = np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32")
        place = {"directory": tmp_path / "p", "tracking": None}
        options = {"max_trials": 6, "epochs": 1, "verbose": 0, **place, **options}
        return rdt.tune(flat, flat, model=model, **options)

    return search


class FailingAt(WorthSomething):
    """Fails in some of its trainings."""

    def __init__(self, *at):
        super().__init__()
        self.trainings, self.at = 0, at

    def fit(self, hp, model, *args, **kwargs):
        self.trainings += 1
        if self.trainings in self.at:
            raise ValueError("no luck")
        return super().fit(hp, model, *args, **kwargs)


@pytest.mark.heavy
def test_a_confirmation_that_fails_as_a_whole_says_so_and_can_be_repeated(planted_search):
    hypermodel = FailingAt(*range(7, 99))  # In all of its confirmation.
    options = {"seed": 1, "confirm": rdt.Confirm(2, margin=1e-9)}
    failed = planted_search(hypermodel, **options)
    assert failed.confirmation is None
    assert [each.seeds for each in failed.tracking.records.rounds] == [5]
    number = len(failed.tracking.records.confirmations)
    words = (
        f"All {number} trainings of the confirmation failed; the last one with: ValueError: no luck"
    )
    assert words in str(failed)
    hypermodel.at = ()
    assert planted_search(hypermodel, **options).confirmation.outcome == "helped"


def test_seeds_are_added_until_it_is_known_whether_dropout_helps(planted_search):
    options = {"seed": 1, "confirm": rdt.Confirm(2, margin=1e-9)}
    helped = planted_search(WorthSomething(), **options)
    rounds = helped.tracking.records.rounds
    assert helped.confirmation.outcome == "helped"
    assert [each.seeds for each in rounds] == [5, 8, 13, 20][: len(rounds)]
    assert len(rounds) < 4
    table = helped.confirmation.table
    assert table["n"].max() == rounds[-1].seeds
    # The best without dropout is in no pair: it is the twin of none.
    assert table["n"].min() == 5
    again = planted_search(WorthSomething(), **options).confirmation
    pd.testing.assert_frame_equal(again.table, table)


def test_a_training_that_failed_is_repeated_in_the_next_call(planted_search):
    """Also one of an earlier round. Nothing else is trained."""
    options = {"seed": 1, "confirm": rdt.Confirm(2, seeds=2, max_seeds=4, margin=1e-9)}
    failed = planted_search(FailingAt(8), **options)
    first, *_, last = failed.records.rounds
    assert first.seeds < last.seeds
    assert failed.confirmation.table["failed"].sum() == 1
    hypermodel = FailingAt(1)  # It fails again.
    again = planted_search(hypermodel, **options)
    assert (hypermodel.trainings, again.confirmation.table["failed"].sum()) == (1, 1)
    pd.testing.assert_frame_equal(again.confirmation.table, failed.confirmation.table)
    hypermodel = FailingAt()
    mended = planted_search(hypermodel, **options)
    assert (hypermodel.trainings, mended.confirmation.table["failed"].sum()) == (1, 0)
    assert len(mended.records.confirmations) == len(mended.confirmation.runs)
    assert mended.confirmation.runs["message"].isna().all()
    loaded = rdt.TuneResult.load(mended.directory).confirmation
    pd.testing.assert_frame_equal(loaded.runs, mended.confirmation.runs)


APART = [
    {"wrapper": "none", "learning_rate": 0.1},
    {"wrapper": "recurrent", "rate": 0.1, "learning_rate": 0.03},
]
"""The best has no dropout, and the dropout that helps has a worse learning rate."""


@pytest.mark.heavy
def test_rounds_go_on_until_the_outcome_of_the_best_mean_is_known(planted_search):
    options = {"max_trials": 5, "seed": 6, "tuner": rdt.Optuna(try_first=APART)}
    confirm = rdt.Confirm(3, max_seeds=8, margin=1e-9)
    result = planted_search(WorthSomething(), **options, confirm=confirm)
    table = result.confirmation.table
    assert table.set_index("wrapper")["outcome"].to_dict()["recurrent"] == "helped"
    assert (table["wrapper"][0], table["outcome"][0]) == ("variational", "not known")
    assert [each.seeds for each in result.tracking.records.rounds] == [5, 8]
    assert dict(zip(table["wrapper"], table["n"], strict=True))["recurrent"] == 5
    assert "It helped in trial 4 (recurrent, rate 0.1)." in result.confirmation.verdict


@pytest.mark.heavy
def test_the_best_settings_get_the_dropout_that_helped_elsewhere(planted_search, planted_uri):
    options = {"max_trials": 5, "seed": 4, "tuner": rdt.Optuna(try_first=APART)}
    options["tracking"] = rdt.MLflow(uri=planted_uri)
    result = planted_search(WorthSomething(), **options, confirm=rdt.Confirm(2, margin=1e-9))
    confirmation, (begun, *_) = result.confirmation, result.tracking.records.rounds
    *_, none, recurrent = result.tuner.oracle.start_order
    best = f"{none}_with_{recurrent}"
    assert best not in begun.configurations
    assert confirmation.best_id == confirmation.ids[0] == confirmation.dropping_id == best
    assert confirmation.verdict.startswith("Use trial 3 with the dropout of trial 4 (recurrent, ")
    expected = {"wrapper": "recurrent", "rate": 0.1, "learning_rate": 0.1}
    assert result.best_hyperparameters == expected
    loaded = rdt.TuneResult.load(result.directory)
    assert loaded.confirmation.best_id == best
    assert loaded.best_hyperparameters == expected
    assert rdt.compare(result.directory)["wrapper"].tolist() == ["recurrent"]
    assert result.best_model().count_params() == 2
    client = MlflowClient(result.search.tracking_uri)
    run = client.get_run(result.tracking.mlflow.run_ids[none])
    assert run.data.metrics[f"confirmed_with_{recurrent}"] < run.data.metrics["confirmed"]


@pytest.mark.heavy
def test_what_the_learning_rate_did_is_not_credited_to_dropout(planted_search):
    # A seed whose best configuration with dropout has another learning rate than the one without.
    confirm = rdt.Confirm(1, max_seeds=8)
    confirmation = planted_search(LearningRateAlone(), seed=0, confirm=confirm).confirmation
    row = confirmation.row(confirmation.dropping_id)
    assert abs(row["gain"]) < 0.02
    assert row["gain_low"] <= 0.0 <= row["gain_high"]
    assert confirmation.outcome == "not known"
    table = confirmation.table
    assert table["n"].max() == 8
    # What a comparison with any other configuration would call its gain.
    assert table["mean"].max() - row["mean"] > 0.2
