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

# Optuna advises at least five trials among the best; in larger searches these are the best tenth.
_BEST, _BEST_SHARE = 5, 0.1


def importances(records: Records) -> pd.Series[float]:
    """Computes Optuna's PED-ANOVA importances; see `TuneResult.importances`.

    Reference:
        Watanabe, Bansal and Hutter 2023, arXiv 2304.10255; its conditional form arXiv 2601.20800.
    """
    study = study_of(records)
    trials = study.get_trials(states=[TrialState.COMPLETE])
    scores = np.array([trial.values[0] for trial in trials if np.isfinite(trial.values[0])])
    if len(scores) < FEWEST:
        raise RecdropError(
            f"Importances need {FEWEST} complete trials or more, to compare the best {_BEST} with the "
            f"others. This search has {len(scores)}. Run it again with a larger `max_trials`."
        )
    quantile = _target_quantile(records, scores)
    with warnings.catch_warnings(), quiet_optuna():
        # Most searches try some wrapper only once or twice.
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return _by_key(shares, records.space)


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
    series = pd.Series(shares, name="importance", dtype="float64")
    return series.rename_axis("hyperparameter").sort_values(ascending=False, kind="stable")
