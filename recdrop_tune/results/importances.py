"""How much each hyperparameter decides whether a trial is among the best."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.trial import TrialState

from recdrop_tune.errors import RecdropError
from recdrop_tune.oracle import quiet_optuna, study_of
from recdrop_tune.spaces import plain_names

FEWEST = 10
"""The fewest complete trials: importances compare the best five with the others."""

_SHUFFLES = 99
"""How often scores are shuffled: so many that one more or less hardly matters, and a second or two."""

# Optuna advises at least five trials among the best; in larger searches these are the best tenth.
_BEST, _BEST_SHARE = 5, 0.1


def importances(oracle: Any) -> pd.DataFrame:
    """Computes Optuna's PED-ANOVA importances; see `TuneResult.importances`.

    The shares sum to 1 even where nothing matters. So the importances are computed again with the scores
    shuffled among the trials.

    Reference:
        Watanabe, Bansal and Hutter 2023, arXiv 2304.10255; its conditional form arXiv 2601.20800.
    """
    study = study_of(oracle, "search", {})
    trials = study.get_trials(states=[TrialState.COMPLETE])
    trials = [each for each in trials if np.isfinite(each.values[0])]
    objective = oracle.objective
    # Best first, so that the shuffles do not depend on the order of starts.
    trials.sort(key=lambda each: each.values[0], reverse=objective.direction == "max")
    if len(trials) < FEWEST:
        raise RecdropError(
            f"Importances need {FEWEST} complete trials or more, to compare the best {_BEST} with the "
            f"others. This search has {len(trials)}. Run it again with a larger `max_trials`."
        )
    for each in trials:
        several = {name: own for name, own in each.distributions.items() if not own.single()}
        each.params = {name: each.params[name] for name in several}
        each.distributions = several
    scores = np.array([each.values[0] for each in trials])
    quantile = _target_quantile(scores, objective)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    names = [hp.name for hp in oracle.hyperparameters.space]

    def evaluate(scores: npt.NDArray[np.float64]) -> pd.Series[float]:
        drawn = optuna.create_study(direction=study.direction)
        for each, value in zip(trials, scores.tolist(), strict=True):
            each.value = value
        drawn.add_trials(trials)
        return _by_key(evaluator.evaluate(drawn), names)

    random = np.random.default_rng(0)
    with warnings.catch_warnings(), quiet_optuna():
        # Most searches try some wrapper only once or twice.
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        found = evaluate(scores)
        larger = found * 0
        for _ in range(_SHUFFLES if len(found) else 0):
            larger += evaluate(random.permutation(scores)).reindex(found.index) >= found
    # Optuna too has equal shares where nothing matters.
    shares = found / found.sum() if found.sum() else found + 1 / max(1, len(found))
    return pd.DataFrame({"importance": shares, "above_chance": larger < 0.05 * (_SHUFFLES + 1)})


def _target_quantile(scores: npt.NDArray[np.float64], objective: Any) -> float:
    """Returns the share of the trials that counts as the best ones.

    If many trials tie with the worst, as accuracies do, only better ones count: with the ties, all trials
    would be among the best.
    """
    worst = scores.max() if objective.direction == "min" else scores.min()
    better = int((scores != worst).sum())
    if not better:
        raise RecdropError(
            f"All {len(scores)} complete trials have the same {objective.name}, so no hyperparameter "
            "matters."
        )
    best = min(max(_BEST, math.ceil(_BEST_SHARE * len(scores))), better)
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
