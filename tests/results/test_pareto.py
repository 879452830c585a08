"""Tests for `TuneResult.pareto` and `pareto_front`."""

import keras_tuner as kt
import numpy as np
import pandas as pd
import pytest

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.results.frames import non_dominated, pareto_front


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


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("values", [3, 1000])
def test_non_dominated_points_are_those_of_the_definition(objectives, values):
    random = np.random.default_rng(objectives)
    for points in (0, 1, 2, 60):
        # With three values per objective most points tie with others.
        costs = random.integers(values, size=(points, objectives)).astype(float)
        assert non_dominated(costs).tolist() == by_definition(costs.tolist())


def frame(**columns) -> pd.DataFrame:
    states = columns.pop("state", ["COMPLETE"] * len(next(iter(columns.values()))))
    return pd.DataFrame({"state": states, **columns})


def test_directions_states_and_missing_values():
    trials = frame(
        accuracy=[0.9, 0.8, 0.7, 0.99, pd.NA],
        cost=[3.0, 2.0, 2.5, 1.0, 0.5],
        state=["COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"],
    )
    front = pareto_front(trials, [kt.Objective("accuracy", "max"), kt.Objective("cost", "min")])
    assert front["accuracy"].tolist() == [0.9, 0.8]
    front = pareto_front(trials, [kt.Objective("cost", "min"), kt.Objective("accuracy", "max")])
    assert front["cost"].tolist() == [2.0, 3.0]


def test_with_one_objective_the_best_trials_are_the_front(planted):
    best = planted.trials["val_loss"].min()
    assert planted.pareto["val_loss"].tolist() == [best]
    assert planted.pareto["trial_id"][0] == planted.best_trial.trial_id
    tied = frame(loss=[2.0, 1.0, 1.0])
    assert pareto_front(tied, [kt.Objective("loss", "min")])["loss"].tolist() == [1.0, 1.0]


def test_the_front_of_a_search_with_several_objectives(traded):
    complete = traded.trials[traded.trials["state"] == "COMPLETE"]
    costs = complete[["val_loss", "ms_per_step"]].to_numpy(dtype=float).tolist()
    expected = complete[by_definition(costs)]
    assert len(expected) > 1
    assert set(traded.pareto["trial_id"]) == set(expected["trial_id"])
    assert traded.pareto["val_loss"].is_monotonic_increasing
    assert traded.pareto.columns.equals(traded.trials.columns)


def test_any_columns_can_be_traded_off(planted):
    front = planted.pareto_front("val_loss", "n_params")
    # Models of either size: the best of each, unless the small one is the best of all.
    best = planted.trials.groupby("n_params")["val_loss"].min()
    small, large = best[800], best[1600]
    assert front["val_loss"].tolist() == ([small] if small <= large else [large, small])
    slowest = planted.pareto_front(kt.Objective("ms_per_step", "max"))
    assert slowest["ms_per_step"].tolist() == [planted.trials["ms_per_step"].max()]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["val_loss", "wrapper"], "`objective`. Expected a metric with a known direction"),
        ([kt.Objective("wrapper", "min")], "`metrics`. Expected some of .*val_loss.*'wrapper'"),
        (["val_accuracy"], "`metrics`. Expected some of .*'val_accuracy'"),
        ([], "`metrics`. Expected at least one metric"),
    ],
)
def test_what_cannot_be_traded_off(planted, metrics, message):
    with pytest.raises(InvalidArgumentError, match=message):
        planted.pareto_front(*metrics)
