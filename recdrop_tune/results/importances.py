"""How much each hyperparameter decides whether a trial is among the best."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras_tuner as kt
import numpy as np
import optuna
import pandas as pd
from optuna.study import StudyDirection

from recdrop_tune.errors import RecdropError
from recdrop_tune.oracle import as_optuna, quiet_optuna
from recdrop_tune.spaces import plain_names

FEWEST = 10
"""The fewest complete trials: importances compare the best five with the others."""

_SHUFFLES = 99
"""How often scores are shuffled: so many that one more or less hardly matters, and a second or two."""

# Optuna advises at least five trials among the best; in larger searches these are the best tenth.
_BEST, _BEST_SHARE = 5, 0.1


def importances(
    oracle: Any, trials: pd.DataFrame, objectives: Sequence[kt.Objective]
) -> pd.DataFrame:
    """Computes Optuna's PED-ANOVA importances; any tuner can have proposed the trials.

    The shares sum to 1 even where nothing matters. So the importances are computed again with the scores
    shuffled among the trials.

    Args:
        oracle: The oracle of the search.
        trials: The frame of trials.
        objectives: The objectives of the search.

    Returns:
        A row for each key of the search space, the most important first. Columns: `importance`, shares that
        sum to 1, and `above_chance`: whether it is larger than 95 % of those with shuffled scores.

    Raises:
        RecdropError: There are too few complete trials, or all have the same score.

    Reference:
        Watanabe, Bansal and Hutter 2023, arXiv 2304.10255; its conditional form arXiv 2601.20800.
    """
    names = [objective.name for objective in objectives]
    scores = trials[trials["state"] == "COMPLETE"].set_index("trial_id")[names].astype(float)
    complete = scores.loc[np.isfinite(scores.to_numpy()).all(axis=1)]
    if len(complete) < FEWEST:
        raise RecdropError(
            f"Importances need {FEWEST} complete trials or more, to compare the best {_BEST} with the "
            f"others. This search has {len(complete)}. Run it again with a larger `max_trials`."
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=_target_quantile(complete, objectives)
    )
    with warnings.catch_warnings(), quiet_optuna():
        # Most searches try some wrapper only once or twice.
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        random, names = np.random.default_rng(0), [hp.name for hp in oracle.hyperparameters.space]

        study = as_study(oracle, complete, objectives)
        found = _by_key(evaluator.evaluate(study), names)
        larger = found * 0
        if found.empty:
            return pd.DataFrame({"importance": found, "above_chance": larger > 0})
        drawn = study.trials
        for _ in range(_SHUFFLES):
            for trial, values in zip(drawn, random.permutation(complete.to_numpy()), strict=True):
                trial.values = values.tolist()
            shuffled = optuna.create_study(directions=study.directions)
            shuffled.add_trials(drawn)
            larger += _by_key(evaluator.evaluate(shuffled), names).reindex(found.index) >= found
    # As Optuna does it.
    shares = found / found.sum() if found.sum() else found + 1 / len(found)
    return pd.DataFrame({"importance": shares, "above_chance": larger < 0.05 * (_SHUFFLES + 1)})


def as_study(oracle: Any, scores: pd.DataFrame, objectives: Sequence[kt.Objective]) -> optuna.Study:
    """Makes an Optuna study in memory of the trials in `scores`."""
    directions = [
        StudyDirection.MAXIMIZE if each.direction == "max" else StudyDirection.MINIMIZE
        for each in objectives
    ]
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), directions=directions)
    for trial_id, row in scores.iterrows():
        hyperparameters = oracle.get_trial(trial_id).hyperparameters
        # Without values outside of their range, such as a default between the steps.
        params, ranges = as_optuna(hyperparameters.space, hyperparameters.values)
        several = {name: each for name, each in ranges.items() if not each.single()}
        study.add_trial(
            optuna.create_trial(
                values=[float(value) for value in row],
                params={name: params[name] for name in several},
                distributions=several,
            )
        )
    return study


def _target_quantile(scores: pd.DataFrame, objectives: Sequence[kt.Objective]) -> float:
    """Returns the share of the trials that counts as the best ones.

    If many trials tie with the worst, as accuracies do, only better ones count: with the ties, all trials
    would be among the best.
    """
    best = max(_BEST, math.ceil(_BEST_SHARE * len(scores)))
    if len(objectives) == 1:
        values = scores.iloc[:, 0].to_numpy(dtype=float)
        worst = np.max(values) if objectives[0].direction == "min" else np.min(values)
        better = int((values != worst).sum())
        if not better:
            raise RecdropError(
                f"All {len(scores)} complete trials have the same {objectives[0].name}, so no "
                "hyperparameter matters."
            )
        best = min(best, better)
    # Optuna rounds the number of trials up.
    return (best - 0.5) / len(scores)


def _by_key(found: dict[str, float], order: list[str]) -> pd.Series[float]:
    """Adds up the importances of hyperparameters that share one key of the search space.

    The sum is exact: PED-ANOVA sums over the conditions under which a hyperparameter has different ranges,
    and a `placement` for each group of wrappers is such a hyperparameter.
    """
    shares: dict[str, float] = {}
    for name in order:
        if name in found:
            (key,) = plain_names({name: None})
            shares[key] = shares.get(key, 0.0) + found[name]
    series = pd.Series(shares, dtype="float64")
    return series.rename_axis("hyperparameter").sort_values(ascending=False, kind="stable")
