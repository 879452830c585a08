"""Tests for `TuneResult.history` and `pareto_front`."""

import keras_tuner as kt
import numpy as np
import pandas as pd
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.events import EpochEnded, TrialStarted
from recdrop_tune.journal import Journal
from recdrop_tune.records import Records
from recdrop_tune.results.frames import history_frame, pareto_front
from tests.planted_search import planted_result


def test_every_epoch_of_the_journal_is_a_row_in_the_order_of_starts(planted):
    events = Journal(planted.tracking.journal_path).read()
    epochs = [event for event in events if isinstance(event, EpochEnded)]
    assert {epoch.execution for epoch in epochs} == {0, 1}
    rows = planted.history.set_index(["trial_id", "execution", "epoch"])
    assert len(rows) == len(epochs) > 0
    for epoch in epochs:
        row = rows.loc[(epoch.trial_id, epoch.execution, epoch.epoch)]
        assert {name: row[name] for name in epoch.metrics} == epoch.metrics
        assert row["seconds"] == epoch.seconds
    order = ["number", "execution", "epoch"]
    assert planted.history[order].equals(planted.history[order].sort_values(order))
    numbers = planted.trials.set_index("trial_id")["number"]
    assert (planted.history["trial_id"].map(numbers) == planted.history["number"]).all()


def epoch(number: int, execution: int = 0, **metrics: float) -> EpochEnded:
    return EpochEnded(trial_id="0", epoch=number, metrics=metrics, seconds=0.5, execution=execution)


def test_metrics_that_are_missing_or_named_like_columns():
    records = Records([TrialStarted(trial_id="0", number=0, hyperparameters={})])
    assert history_frame(records).empty
    for event in (epoch(0, epoch=3.0, seconds=9.0), epoch(1, loss=float("nan")), epoch(0, 1)):
        records.on_event(event)
    frame = history_frame(records)
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "trial_id": "string",
        **dict.fromkeys(("number", "execution", "epoch"), "Int64"),
        **dict.fromkeys(("loss", "seconds"), "Float64"),
    }
    assert frame["epoch"].tolist() == [0, 1, 0]
    assert frame["execution"].tolist() == [0, 0, 1]
    assert frame["seconds"].tolist() == [0.5] * 3
    assert frame["loss"].isna().all()


def by_definition(costs) -> list[bool]:
    """No other point is as good everywhere and better somewhere."""
    return [
        not any(
            all(a <= b for a, b in zip(other, point, strict=True))
            and any(a < b for a, b in zip(other, point, strict=True))
            for other in costs
        )
        for point in costs
    ]


@pytest.mark.parametrize(("objectives", "values"), [(1, 3), (2, 3), (3, 1000)])
def test_the_front_is_that_of_the_definition(objectives, values):
    random = np.random.default_rng(objectives)
    for points in (0, 1, 60):
        # With three values per objective most points tie with others.
        costs = pd.DataFrame(random.integers(values, size=(points, objectives)).astype(float))
        found = pareto_front(costs.assign(state="COMPLETE"), dict.fromkeys(costs, "min"))
        expected = costs.loc[by_definition(costs.to_numpy().tolist())].sort_values(0, kind="stable")
        assert found[[*costs]].to_numpy().tolist() == expected.to_numpy().tolist()


def test_directions_states_and_missing_values():
    trials = pd.DataFrame(
        {
            "accuracy": [0.9, 0.8, 0.7, 0.99, pd.NA],
            "cost": [3.0, 2.0, 2.5, 1.0, 0.5],
            "state": ["COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"],
        }
    )
    goals = {"accuracy": "max", "cost": "min"}
    assert pareto_front(trials, goals)["accuracy"].tolist() == [0.9, 0.8]
    assert pareto_front(trials, {"cost": "min", "accuracy": "max"})["cost"].tolist() == [2.0, 3.0]


def test_the_front_of_any_columns(planted):
    complete = planted.trials[planted.trials["state"] == "COMPLETE"]
    costs = complete[["val_loss", "ms_per_step"]].to_numpy(dtype=float).tolist()
    expected = complete[by_definition(costs)]
    assert len(expected) > 1
    traded = planted.pareto_front("val_loss", "ms_per_step")
    assert set(traded["trial_id"]) == set(expected["trial_id"])
    assert traded["val_loss"].is_monotonic_increasing
    # By the objective alone, it is the best trial.
    assert planted.pareto_front("val_loss")["trial_id"].tolist() == [planted.best_id]
    front = planted.pareto_front("val_loss", "n_params")
    # Models of either size: the best of each, unless the small one is the best of all.
    best = planted.trials.groupby("n_params")["val_loss"].min()
    small, large = best[800], best[1600]
    assert front["val_loss"].tolist() == ([small] if small <= large else [large, small])
    slowest = planted.pareto_front(kt.Objective("ms_per_step", "max"))
    assert slowest["ms_per_step"].tolist() == [planted.trials["ms_per_step"].max()]
    with pytest.raises(InvalidArgumentError, match="a metric with a known direction"):
        planted.pareto_front("val_loss", "wrapper")
    for metrics in ((), ("val_loss", "val_accuracy")):
        with pytest.raises(InvalidArgumentError, match=r"`metrics`.*columns of `trials`"):
            planted.pareto_front(*metrics)


def test_keras_tuners_summed_objective_is_the_score(tmp_path):
    goals = [kt.Objective("val_loss", "min"), kt.Objective("ms_per_step", "min")]
    oracle = kt.oracles.RandomSearchOracle(goals, max_trials=8, seed=1)
    result = planted_result(oracle, tmp_path)
    complete = result.trials[result.trials["state"] == "COMPLETE"]
    sums = complete["val_loss"] + complete["ms_per_step"]
    assert complete["multi_objective"].tolist() == pytest.approx(sums.tolist())
    assert complete["multi_objective"].is_monotonic_increasing
    assert (result.search.objective, result.search.direction) == ("multi_objective", "min")
    loaded = rdt.TuneResult.load(result.directory)
    assert loaded.trials["multi_objective"].equals(result.trials["multi_objective"])
