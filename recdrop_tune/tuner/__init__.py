"""Runs the trials of a search: a `keras_tuner.Tuner` that reports epochs, prunes, and reuses models."""

from recdrop_tune.tuner._factory import ORACLES as ORACLES
from recdrop_tune.tuner._factory import SearchPlan as SearchPlan
from recdrop_tune.tuner._factory import as_objective as as_objective
from recdrop_tune.tuner._factory import make_tuner as make_tuner
from recdrop_tune.tuner._seeds import trial_seed as trial_seed
from recdrop_tune.tuner._tuner import Tuner as Tuner

__all__ = ["ORACLES", "SearchPlan", "Tuner", "as_objective", "make_tuner", "trial_seed"]
