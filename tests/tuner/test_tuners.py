"""Tests for `recdrop_tune.tuner.tuners`: what they mend in Keras Tuner's own oracles."""

import time

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.search import tune
from recdrop_tune.tuner import as_objective
from recdrop_tune.tuner.tuners import BayesianOptimizationOracle, GridSearchOracle, initial_points
from tests.oracle.test_optuna_oracle import Formula, dropout_space, values
from tests.small_search import build, data


def grid(directory, max_trials):
    oracle = GridSearchOracle(
        kt.Objective("score", "min"), max_trials, hyperparameters=dropout_space()
    )
    oracle.verbose = 0
    tuner = Formula(oracle, directory=directory, project_name="project")
    tuner.search()
    return values(tuner)


def test_a_grid_searched_in_parts_is_the_grid_searched_at_once(tmp_path):
    whole = grid(tmp_path / "whole", 20)
    # 1 without dropout, 5 rates for lambda, 5 rates x 2 for recurrent.
    assert len(whole) == 16
    for max_trials in (1, 2, 7, 20):
        part = grid(tmp_path / "parts", max_trials)
        assert part == whole[:max_trials]


@pytest.mark.parametrize(
    ("searched", "max_trials", "points"),
    [(5, 20, 5), (12, 20, 10), (1, 20, 3), (4, 3, 1), (2, 1, 1)],
)
def test_half_of_a_bayesian_search_is_left_for_its_model(searched, max_trials, points):
    assert initial_points(searched, max_trials) == points


def plain(hp):
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    hp.Fixed("units", 2)
    rate = hp.Float("learning_rate", 1e-3, 1e-1)
    model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=True)
    return model


def test_a_bayesian_search_fits_its_model(tmp_path):
    options = {"model": plain, "tuner": "bayesian", "epochs": 1, "verbose": 0, "seed": 0}
    options |= {
        "directory": tmp_path / "p",
        "tracking": rdt.MLflow(uri=f"sqlite:///{tmp_path}/mlflow.db"),
    }
    result = tune(data(), data(), **options, max_trials=4)
    assert result.tuner.oracle.num_initial_points == 2
    # Two were drawn at random; the fourth was proposed from the first three.
    assert len(result.tuner.oracle.gpr.X_train_) == 3
    # Nothing in this search is about dropout.
    assert "Gain" not in result.summary()


class Sum(kt.Tuner):
    """Searches for the least sum of the values, without a model."""

    def run_trial(self, trial, *args, **kwargs):
        return float(sum(map(float, trial.hyperparameters.values.values())))


def bayesian(tmp_path, declare, max_trials):
    """The configurations of a Bayesian search."""
    hp = kt.HyperParameters()
    declare(hp)
    oracle = BayesianOptimizationOracle(
        kt.Objective("sum", "min"), max_trials, hyperparameters=hp, seed=1
    )
    oracle.verbose = 0
    tuner = Sum(oracle, directory=tmp_path, project_name="p")
    tuner.search()
    return [trial.hyperparameters.values for trial in oracle.trials.values()]


def steps(hp):
    hp.Choice("a", [1, 2])
    hp.Float("b", 0.1, 0.5, step=0.2)  # Keras Tuner computes 0.30000000000000004.
    with hp.conditional_scope("a", [2]):
        hp.Boolean("c")


@pytest.mark.parametrize(
    ("declare", "size"),
    [
        pytest.param(lambda hp: hp.Choice("a", [1, 2, 3]), 3, id="choice"),
        pytest.param(steps, 9, id="conditions", marks=pytest.mark.heavy),
    ],
)
def test_a_bayesian_search_tries_a_small_space_once_and_ends(tmp_path, declare, size):
    found = bayesian(tmp_path, declare, max_trials=size + 3)
    tried = {tuple((n, round(float(v), 9)) for n, v in sorted(each.items())) for each in found}
    assert len(found) == len(tried) == size


@pytest.mark.heavy
def test_a_bayesian_search_of_a_range_goes_on_where_its_model_sits_at_the_end(tmp_path):
    # The best is where both ranges begin: their model proposes that very point again and again.
    def ranges(hp):
        hp.Float("a", 0.0, 1.0)
        hp.Float("b", 0.0, 1.0)

    found = bayesian(tmp_path, ranges, max_trials=8)
    assert (
        len({tuple(round(value, 6) for value in each.values()) for each in found})
        == len(found)
        == 8
    )


class Slow(kt.HyperModel):
    """Trials of a third of a second, of which those with dropout are the best."""

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, **kwargs):
        time.sleep(0.3)
        return 0.5 if hp["wrapper"] == "none" else 0.1 * hp["rate"]


@pytest.mark.parametrize(
    "tuner",
    [
        "random",
        *(
            pytest.param(name, marks=pytest.mark.heavy)
            for name in ("bayesian", "hyperband", "grid")
        ),
    ],
)
def test_no_trial_is_begun_after_the_timeout(tmp_path, tuner):
    options = {"tuner": tuner, "max_trials": 12, "epochs": 9, "seed": 0, "verbose": 0}
    options |= {"tracking": rdt.MLflow(uri=f"sqlite:///{tmp_path}/mlflow.db")}
    result = tune(data(), data(), Slow(), timeout=0.8, directory=tmp_path / "p", **options)
    states = result.trials.sort_values("number")
    # Three fit into the time; the twin of the best one comes after it.
    assert 1 <= len(states) <= 4
    assert set(states["state"]) == {"COMPLETE"}
    if tuner in ("random", "bayesian") and (states["wrapper"] != "none").any():
        assert result.twin_gain is not None
    # The time is that of a session: the search goes on.
    more = tune(data(), data(), Slow(), directory=tmp_path / "p", **{**options, "max_trials": 7})
    assert len(more.trials) == 7


# Whether more is better is seen from a prediction that is right and one that is wrong.
@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        (keras.metrics.F1Score(threshold=0.5), "max"),
        (keras.metrics.FBetaScore(threshold=0.5), "max"),
        (keras.metrics.R2Score(), "max"),
        (keras.metrics.PearsonCorrelation(), "max"),
        (keras.metrics.ConcordanceCorrelation(), "max"),
        (keras.metrics.CosineSimilarity(), "max"),
        (keras.metrics.BinaryIoU(), "max"),
        (keras.metrics.PrecisionAtRecall(0.5), "max"),
        (keras.metrics.SensitivityAtSpecificity(0.5), "max"),
        (keras.metrics.AUC(), "max"),
        (keras.metrics.MeanSquaredError(), "min"),
        (keras.metrics.BinaryCrossentropy(), "min"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_directions_of_metrics(metric, direction):
    truth = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], "float32")
    scores = []
    for prediction in (0.8 * truth + 0.1, 0.9 - 0.8 * truth):
        metric.reset_state()
        metric.update_state(truth, prediction.astype("float32"))
        scores.append(float(np.mean(metric.result())))
    assert (scores[0] > scores[1]) == (direction == "max")
    assert as_objective(f"val_{metric.name}").direction == direction
