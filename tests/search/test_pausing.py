"""Whole searches by `tune` whose trials pause: what they show, what MLflow has, and how they resume."""

import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.events import NoMoreTrials, TrialEnded, TrialStarted
from recdrop_tune.journal import Journal
from tests.small_search import build, data


@pytest.fixture
def options(tmp_path, planted_uri):
    return {
        "model": build,
        "max_trials": 7,
        "epochs": 6,
        "seed": 0,
        "tuner": rdt.Optuna(pruner="pause"),
        "tracking": rdt.MLflow(f"pauses {tmp_path.name}", uri=planted_uri),
        "directory": tmp_path / "project",
    }


@pytest.mark.usefixtures("eagerly")
def test_a_search_that_stops_in_between_goes_on(options, planted_uri, capsys, monkeypatch):
    monkeypatch.setattr(rdt.OptunaOracle, "fewest", 2)
    options["max_trials"] = 5
    first = rdt.tune(data(), data(), **{**options, "max_trials": 3, "timeout": 0.5})
    result = rdt.tune(data(), data(), **options)
    out = capsys.readouterr().out
    assert "paused after epoch 1/6 at val_loss" in out

    frame = result.trials
    assert set(frame["state"]) == {"COMPLETE", "PAUSED"}
    assert frame["state"].is_monotonic_increasing
    assert set(first.trials["trial_id"]) <= set(frame["trial_id"])
    assert frame["epochs"].isin([1, 3, 6]).all()
    assert ((frame["epochs"] == 6) == (frame["state"] == "COMPLETE")).all()
    history = result.history.groupby("trial_id")["epoch"].apply(list)
    assert all(epochs == list(range(len(epochs))) for epochs in history)

    events = Journal(result.directory / "events.jsonl").read()
    starts = [each for each in events if isinstance(each, TrialStarted)]
    pauses = [e for e in events if isinstance(e, TrialEnded) and e.status == "PAUSED"]
    assert len(starts) > len(frame)
    assert len(pauses) == len(starts) - (frame["state"] == "COMPLETE").sum()
    assert events[-1].status == "FINISHED"
    reasons = {each.reason for each in events if isinstance(each, NoMoreTrials)}
    assert reasons <= {"SETTLED"}
    assert ("expected to improve the best by less than 0.1 %" in out) == bool(reasons)

    client = MlflowClient(planted_uri)
    experiment = client.get_experiment_by_name(result.experiment).experiment_id
    runs = client.search_runs([experiment], "tags.`recdrop.kind` = 'trial'")
    assert len(runs) == len(frame)  # One for each trial, over all its slices.
    for run in runs:
        row = frame[frame["trial_id"] == run.data.tags["recdrop.trial_id"]].iloc[0]
        assert (run.data.tags["recdrop.state"], run.info.status) == (row["state"], "FINISHED")
        points = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert {each.step for each in points} >= set(range(row["epochs"]))
        assert ("objective" in run.data.metrics) == (row["state"] == "COMPLETE")


@pytest.mark.parametrize("other", [{"sampler": "tpe"}, {"objective": ["val_loss", "ms_per_step"]}])
def test_only_the_default_sampler_with_one_objective_pauses(options, other):
    options["tuner"] = rdt.Optuna(other.get("sampler"), pruner="pause")
    options["objective"] = other.get("objective", "val_loss")
    with pytest.raises(InvalidArgumentError, match="the default sampler and one objective"):
        rdt.tune(data(), data(), **options)


@pytest.mark.heavy
def test_workers_hand_paused_trials_on(options, tmp_path):
    result = rdt.tune(data(), data(), **options, workers=2)
    assert set(result.trials["state"]) == {"COMPLETE", "PAUSED"}
    history = result.history.groupby("trial_id")["epoch"].apply(list)
    assert all(epochs == list(range(len(epochs))) for epochs in history)
    options |= {"tracking": None, "directory": tmp_path / "alone"}
    alone = rdt.tune(data(), data(), **options)
    # The same numbers for the same configuration, whoever trains it, and in how many slices.
    names = ["wrapper", "placement", "rate"]
    both = result.trials.merge(alone.trials, on=names, suffixes=("", "_alone"))
    same = both[both["epochs"] == both["epochs_alone"]]
    assert len(same)
    assert same["val_loss"].tolist() == pytest.approx(same["val_loss_alone"].tolist(), rel=1e-5)
