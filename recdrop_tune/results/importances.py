"""How much each hyperparameter decides whether a trial is among the best."""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.trial import TrialState

from recdrop_tune.errors import RecdropError
from recdrop_tune.hyperparameters import Space
from recdrop_tune.optuna_forms import quiet_optuna
from recdrop_tune.records import Records
from recdrop_tune.results.study import study_of

FEWEST = 10
"""The fewest complete trials: importances compare the best five with the others."""

_SHUFFLES = 99
"""How often scores are shuffled: so many that one more or less hardly matters, and a second or two."""

# Optuna advises at least five trials among the best; in larger searches these are the best tenth.
_BEST, _BEST_SHARE = 5, 0.1


def importances(records: Records) -> pd.DataFrame:
    """Computes Optuna's PED-ANOVA importances; see `TuneResult.importances`.

    Reference:
        Watanabe, Bansal and Hutter 2023, arXiv 2304.10255; its conditional form arXiv 2601.20800.
    """
    study = study_of(records)
    trials = study.get_trials(states=[TrialState.COMPLETE])
    trials = [trial for trial in trials if np.isfinite(trial.values[0])]
    # Best first, so that the shuffles do not depend on the order of starts.
    trials.sort(key=lambda trial: records.cost(trial.values[0]))
    if len(trials) < FEWEST:
        raise RecdropError(
            f"Importances need {FEWEST} complete trials or more, to compare the best {_BEST} with the "
            f"others. This search has {len(trials)}. Run it again with a larger `max_trials`."
        )
    scores = np.array([trial.values[0] for trial in trials])
    quantile = _target_quantile(records, scores)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)

    def evaluate(scores: npt.NDArray[np.float64]) -> pd.Series[float]:
        drawn = optuna.create_study(direction=study.direction)
        for trial, value in zip(trials, scores.tolist(), strict=True):
            trial.value = value
        drawn.add_trials(trials)
        return _by_key(evaluator.evaluate(drawn), records.space)

    random = np.random.default_rng(0)
    with warnings.catch_warnings(), quiet_optuna():
        # Most searches try some wrapper only once or twice.
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        measured = evaluate(scores)
        larger = measured * 0
        # The shares sum to 1 even where nothing matters, so they are compared with those of shuffled scores.
        for _ in range(_SHUFFLES if len(measured) else 0):
            larger += evaluate(random.permutation(scores)).reindex(measured.index) >= measured
    # Optuna too has equal shares where nothing matters.
    total = measured.sum()
    shares = measured / total if total else measured + 1 / max(1, len(measured))
    return pd.DataFrame({"importance": shares, "above_chance": larger < 0.05 * (_SHUFFLES + 1)})


def _target_quantile(records: Records, scores: npt.NDArray[np.float64]) -> float:
    """Returns the share of the trials that counts as the best ones."""
    costs = records.cost(scores)
    # Many trials can tie with the worst, as accuracies do: with the ties, all would be among the best.
    better = int((costs != costs.max()).sum())
    if not better:
        raise RecdropError(
            f"All {len(scores)} complete trials have the same {records.objective}, so no hyperparameter "
            "matters."
        )
    best = min(max(_BEST, math.ceil(_BEST_SHARE * len(scores))), better)
    # Optuna rounds the number of trials up.
    return (best - 0.5) / len(scores)


def _by_key(shares_by_name: dict[str, float], space: Space) -> pd.Series[float]:
    """Adds up the importances of hyperparameters that share one key."""
    shares: dict[str, float] = {}
    # The sum is exact: PED-ANOVA sums over the conditions under which a hyperparameter has different ranges,
    # and a `placement` for each group of wrappers is such a hyperparameter.
    for row in space:
        if row.name in shares_by_name:
            shares[row.key] = shares.get(row.key, 0.0) + shares_by_name[row.name]
    series = pd.Series(shares, dtype="float64")
    return series.rename_axis("hyperparameter").sort_values(ascending=False, kind="stable")
