"""Runs the trials of a search: a `keras_tuner.Tuner` that reports epochs, prunes, and reuses models."""

from recdrop_tune.tuner.callbacks import copy_callbacks
from recdrop_tune.tuner.checkpoints import load as load_weights
from recdrop_tune.tuner.checkpoints import save as save_weights
from recdrop_tune.tuner.recording import (
    TrackedOracle,
    TrialReporter,
    describe_search,
    readable,
)
from recdrop_tune.tuner.recovery import SNAPSHOT, SnapshotError
from recdrop_tune.tuner.reports import ReportsEpochs, TrainingReporter
from recdrop_tune.tuner.same_search import differences, space_of
from recdrop_tune.tuner.trainings import GroupedFolds, check_folds, retrain, trial_seed
from recdrop_tune.tuner.tuner import Tuner

__all__ = [
    "SNAPSHOT",
    "GroupedFolds",
    "ReportsEpochs",
    "SnapshotError",
    "TrackedOracle",
    "TrainingReporter",
    "TrialReporter",
    "Tuner",
    "check_folds",
    "copy_callbacks",
    "describe_search",
    "differences",
    "load_weights",
    "readable",
    "retrain",
    "save_weights",
    "space_of",
    "trial_seed",
]
