"""A search as an Optuna study, whichever tuner proposed its trials, and what that says of hyperparameters.

The study that proposes trials is the oracle's own, and is not this one.
"""

from __future__ import annotations

import math
import warnings
from datetime import datetime

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune import states
from recdrop_tune.errors import RecdropError
from recdrop_tune.optuna_forms import quiet_optuna, to_optuna
from recdrop_tune.records import Records, TrialRecord

ID = "keras_tuner_id"
"""User attribute of Optuna's trials: Keras Tuner's id."""

FEWEST = 10
"""The fewest complete trials: importances compare the best five with the others."""

_STATES = {
    states.TrialState.COMPLETE: TrialState.COMPLETE,
    states.TrialState.PRUNED: TrialState.PRUNED,
    states.TrialState.FAILED: TrialState.FAIL,
    states.TrialState.INTERRUPTED: TrialState.RUNNING,
    states.TrialState.RUNNING: TrialState.RUNNING,
}

# Optuna advises at least five trials among the best; in larger searches these are the best tenth.
_BEST, _BEST_SHARE = 5, 0.1


def study_of(records: Records, name: str = "search") -> optuna.Study:
    """Makes a study in memory from the trials of a search, in the order in which they began."""
    direction = StudyDirection.MAXIMIZE if records.direction == "max" else StudyDirection.MINIMIZE
    trials = sorted(records.trials.values(), key=lambda trial: trial.number)
    with quiet_optuna():
        study = optuna.create_study(study_name=name, direction=direction)
        study.add_trials(_frozen(records, trial) for trial in trials)
    return study


def _frozen(records: Records, trial: TrialRecord) -> FrozenTrial:
    params, distributions = to_optuna(records.space, trial.active)
    curve, state, value = trial.curve(records.objective), _STATES[trial.state], None
    if state == TrialState.PRUNED and curve:
        value = curve[max(curve)]  # As Optuna does for a trial that is pruned.
    if state == TrialState.COMPLETE and trial.ended:
        value = trial.ended.score
        if value is None or math.isnan(value):  # Optuna takes no NaN.
            state, value = TrialState.FAIL, None
    made = optuna.trial.create_trial(
        state=state,
        value=value,
        params=params,
        distributions=distributions,
        intermediate_values=curve,
        user_attrs={ID: trial.trial_id},
    )
    made.datetime_start = datetime.fromtimestamp(trial.started)
    if made.state.is_finished() and trial.ended_at is not None:
        made.datetime_complete = datetime.fromtimestamp(trial.ended_at)
    return made


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
    # The shares of one key add up: PED-ANOVA sums over the conditions under which a hyperparameter has
    # different ranges, and a `placement` for each group of wrappers is such a hyperparameter.
    parts = [(row.key, shares[row.name]) for row in records.space if row.name in shares]
    table = pd.DataFrame(parts, columns=["hyperparameter", "importance"]).astype(
        {"importance": float}
    )
    sums = table.groupby("hyperparameter", sort=False)["importance"].sum()
    return sums.sort_values(ascending=False, kind="stable")


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
