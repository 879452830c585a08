"""`tune`: one call from data to result; `distribute` and `track` for any tuner; and their settings."""

from recdrop_tune.search.distributed import Distributed, distribute
from recdrop_tune.search.hypermodel_of import ObjectiveNotReportedError
from recdrop_tune.search.old_arguments import place_of
from recdrop_tune.search.settings import (
    CLASSES,
    EXPERIMENT,
    Confirm,
    MLflow,
    Optuna,
    Training,
    Workers,
    fields_of,
)
from recdrop_tune.search.tuner_tracking import track
from recdrop_tune.search.tuning import tune
from recdrop_tune.search.validation import checked, error_of, is_unknown_name

__all__ = [
    "CLASSES",
    "EXPERIMENT",
    "Confirm",
    "Distributed",
    "MLflow",
    "ObjectiveNotReportedError",
    "Optuna",
    "Training",
    "Workers",
    "checked",
    "distribute",
    "error_of",
    "fields_of",
    "is_unknown_name",
    "place_of",
    "track",
    "tune",
]
