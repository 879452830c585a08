"""Runs the trials of a search: a `keras_tuner.Tuner` that reports epochs, prunes, and reuses models."""

from recdrop_tune.tuner._checkpoints import load as load_weights
from recdrop_tune.tuner._checkpoints import save as save_weights
from recdrop_tune.tuner._factory import ORACLES as ORACLES
from recdrop_tune.tuner._factory import SearchPlan as SearchPlan
from recdrop_tune.tuner._factory import as_objective as as_objective
from recdrop_tune.tuner._factory import as_objectives as as_objectives
from recdrop_tune.tuner._factory import make_tuner as make_tuner
from recdrop_tune.tuner._reports import MILLISECONDS as MILLISECONDS
from recdrop_tune.tuner._reports import StepTimer as StepTimer
from recdrop_tune.tuner._results import numbers as numbers
from recdrop_tune.tuner._retrain import Retraining as Retraining
from recdrop_tune.tuner._retrain import retrain as retrain
from recdrop_tune.tuner._seeds import trial_seed as trial_seed
from recdrop_tune.tuner._tuner import Tuner as Tuner

__all__ = [
    "MILLISECONDS",
    "ORACLES",
    "Retraining",
    "SearchPlan",
    "StepTimer",
    "Tuner",
    "as_objective",
    "as_objectives",
    "load_weights",
    "make_tuner",
    "numbers",
    "retrain",
    "save_weights",
    "trial_seed",
]
