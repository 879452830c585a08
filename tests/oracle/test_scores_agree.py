"""One number for a trial everywhere: on the terminal, in the frame, in MLflow and in Optuna's study."""

import io
import math
import re
import statistics

import keras
import keras_tuner as kt
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from optuna.pruners import BasePruner
from rich.console import Console

import recdrop_tune as rdt
from recdrop_tune.events import TrialEnded
from recdrop_tune.journal import Journal
from recdrop_tune.records import Records
from recdrop_tune.results import TuneResult
from recdrop_tune.terminal import Progress
from recdrop_tune.tuner.outcomes import TrialPrunedError
from tests.planted_search import description, page
from tests.small_search import Curves, data


def outcome(result):
    return re.search(r"<section>.*?</section>", page(result), re.DOTALL)[0]


def search(
    folder,
    uri,
    curves,
    objective="val_loss",
    max_trials=1,
    pruner=None,
    fit=None,
    kind=rdt.Tuner,
    **how,
):
    """Runs a tracked search in a separate folder; returns its result and its output."""
    oracle = rdt.OptunaOracle(objective, max_trials, seed=0, pruner=pruner)
    oracle.verbose = 0
    tuner = kind(oracle, curves, directory=folder, project_name="p", seed=0, **how)
    out = io.StringIO()
    lines = Progress(Console(file=out, width=300))
    tracking = rdt.track(tuner, rdt.MLflow(folder.name, uri=uri), listeners=[lines])
    x, y = data()
    tuner.search(x, y, **{"epochs": 2, "batch_size": len(x), "verbose": 0} | (fit or {}))
    assert tracking.failure is None
    return TuneResult(tuner, tracking), out.getvalue()


def run_of(result, number=0):
    row = result.trials.set_index("number").loc[number]
    return MlflowClient(result.search.tracking_uri).get_run(row["mlflow_run_id"])


@pytest.mark.parametrize(
    ("curves", "direction", "how", "fit", "best_epoch", "values"),
    [
        ([[None, math.nan, None, 0.5, None, 0.4]], "max", {}, {"validation_freq": 2}, 3, [0.5]),
        # A training that ends before the best epoch counts with its best one.
        pytest.param(
            *([[0.5, 0.3], [0.5, 0.5, 0.5, 0.1]], "min", {"cv": 2}, {}, 3, [0.3, 0.1]),
            marks=pytest.mark.heavy,
        ),
    ],
    ids=["NaN and validation_freq", "folds"],
)
def test_a_trial_has_one_number(
    tmp_path, planted_uri, request, curves, direction, how, fit, best_epoch, values
):
    objective = kt.Objective("val_loss", direction)
    folder = tmp_path / re.sub(r"\W", "-", request.node.callspec.id)
    result, printed = search(folder, planted_uri, Curves(*curves), objective, fit=fit, **how)
    row, run = result.trials.iloc[0], run_of(result)
    (told,) = result.tuner.oracle.study.trials
    expected = statistics.mean(values)
    numbers = {
        "frame": row["val_loss"],
        "MLflow": run.data.metrics["objective"],
        "MLflow's compare page": run.data.metrics["val_loss"],
        "Optuna": told.value,
    }
    assert numbers == dict.fromkeys(numbers, pytest.approx(expected))
    assert f"val_loss {expected:.4f}  best so far" in printed
    assert f"Best val_loss: {expected:.4f}" in result.summary()
    assert row["best_epoch"] == run.data.metrics["best_epoch"] == best_epoch
    # All metrics are those of one epoch.
    assert run.data.metrics["loss"] == pytest.approx(row["loss"])
    check_spread(result, run, how, values)
    check_loaded(result)


def check_spread(result, run, how, values):
    """Checks the standard deviation over the trainings, which one training does not have."""
    loaded = TuneResult.load(result.directory)
    texts = [result.summary(), loaded.summary(), description(result), outcome(result)]
    if not how:
        assert "val_loss_std" not in result.trials
        assert "objective_std" not in run.data.metrics
        assert not any("±" in text or "best fold" in text for text in texts)
        return
    std = statistics.stdev(values)
    assert result.trials["val_loss_std"][0] == pytest.approx(std)
    assert run.data.metrics["objective_std"] == pytest.approx(std)
    for text in texts:
        assert f"± {std:.4f} over 2 folds" in text
    for text in texts[:3]:
        assert "The best model has the weights of its best fold, which was not trained" in text
    parent = MlflowClient(result.search.tracking_uri).get_run(result.tracking.mlflow.parent_run_id)
    assert parent.data.params["cv"] == "2"


def check_loaded(result):
    loaded = TuneResult.load(result.directory).trials.drop(columns="mlflow_run_id")
    pd.testing.assert_frame_equal(loaded, result.trials.drop(columns="mlflow_run_id"))


class Undefined(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["val_auc"] = [0.5, math.nan, 0.9][epoch]


def test_a_metric_that_is_no_number_at_the_best_epoch_has_none(tmp_path, planted_uri):
    result, _ = search(
        tmp_path, planted_uri, Curves([0.5, 0.1, 0.4]), fit={"callbacks": [Undefined()]}
    )
    assert result.trials["best_epoch"].tolist() == [1]
    assert result.trials["val_auc"].isna().all()
    assert math.isnan(run_of(result).data.metrics["val_auc"])
    check_loaded(result)


CURVES = [
    *(np.linspace(1.0, end, 6).tolist() for end in (0.1, 0.11, 0.12)),
    [0.05, 1.0, 1.0, 1.0, 1.0, 1.0],  # Better than every complete one, and pruned all the same.
]


class StopsWorse(BasePruner):
    def prune(self, study, trial):
        return trial.number >= 2 and trial.last_step >= 2


@pytest.fixture(scope="module")
def pruned(tmp_path_factory, planted_uri):
    """Two complete trials, then two that were stopped after three epochs of six."""
    folder = tmp_path_factory.mktemp("pruned")
    return search(folder, planted_uri, Curves(*CURVES), max_trials=4, pruner=StopsWorse())


def test_a_pruned_trial_keeps_what_it_reached(pruned):
    result, printed = pruned
    frame = result.trials
    assert frame["state"].tolist() == ["COMPLETE"] * 2 + ["PRUNED"] * 2
    for state in ("COMPLETE", "PRUNED"):
        assert frame[frame["state"] == state]["val_loss"].is_monotonic_increasing
    lines = [line for line in printed.splitlines() if line.startswith("trial ")]
    told = result.tuner.oracle.study.trials
    for row in frame[frame["state"] == "PRUNED"].itertuples():
        curve = CURVES[row.number][:3]
        assert row.val_loss == pytest.approx(min(curve))
        assert row.best_epoch == int(np.argmin(curve))
        assert row.epochs == 3
        run = run_of(result, row.number)
        assert "objective" not in run.data.metrics
        assert run.data.metrics["objective_at_prune"] == pytest.approx(row.val_loss)
        assert run.data.metrics["val_loss"] == pytest.approx(row.val_loss)
        assert run.data.metrics["loss"] == pytest.approx(row.loss)
        assert run.data.tags["recdrop.state"] == "PRUNED"
        # By Optuna's own rule it is the last epoch's.
        assert told[row.number].value == pytest.approx(curve[-1])
        assert f"pruned after 3 epochs at val_loss {row.val_loss:.4f}" in lines[row.number]
    events = Journal(result.tracking.journal_path).read()
    ended = [event for event in events if isinstance(event, TrialEnded)]
    numbers = {event.trial_id: (event.score, event.metrics["val_loss"]) for event in ended}
    scores = frame.set_index("trial_id")["val_loss"]
    assert numbers == {trial_id: (value, value) for trial_id, value in scores.items()}
    assert Records(events).to_csv() == result.tracking.records.to_csv()
    check_loaded(result)


def test_a_pruned_trial_is_never_the_best(pruned):
    result, printed = pruned
    best = result.trials.iloc[0]
    assert result.trials["val_loss"].min() < best["val_loss"]
    assert result.best_id == best["trial_id"]
    assert result.pareto_front("val_loss")["trial_id"].tolist() == [best["trial_id"]]
    assert f"Best val_loss: {best['val_loss']:.4f}" in result.summary()
    assert f"{best['val_loss']:.4g}" in outcome(result)
    assert "0.05" not in re.sub(r"\.\d{5,}", "", outcome(result))
    first, second = [line for line in printed.splitlines() if line.startswith("trial ")][:2]
    assert "best 0.1000 (trial" in second, first
    assert "best 0.0500" not in printed
    parent = result.tracking.mlflow.parent_run_id
    client = MlflowClient(result.search.tracking_uri)
    curve = client.get_metric_history(parent, "best_val_loss")
    assert [point.step for point in curve] == [0, 1]


def test_a_trial_pruned_without_a_number_has_none(tmp_path, planted_uri):
    """As one whose objective was never validated until then, or never a number."""

    class Never(rdt.Tuner):
        def run_trial(self, trial, *args, **kwargs):
            raise TrialPrunedError

    result, printed = search(tmp_path, planted_uri, Curves(), kind=Never)
    assert "pruned after 0 epochs  " in printed
    assert result.trials["val_loss"].isna().all()
    assert "objective_at_prune" not in run_of(result).data.metrics
