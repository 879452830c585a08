"""`tune`: one call from data to result; `distribute` and `track` for any tuner; and their settings.

The names below are imported on first use: the settings are light, and `tune` loads Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recdrop_tune.lazy import imported_on_use

if TYPE_CHECKING:
    from recdrop_tune.search.distributed import Distributed, distribute
    from recdrop_tune.search.hypermodel_of import ObjectiveNotReportedError
    from recdrop_tune.search.settings import (
        CLASSES,
        EXPERIMENT,
        Confirm,
        MLflow,
        Optuna,
        Task,
        Training,
        Workers,
        fields_of,
    )
    from recdrop_tune.search.tuner_tracking import track
    from recdrop_tune.search.tuning import tune
    from recdrop_tune.search.validation import by, checked

_HOME = {
    "CLASSES": "settings",
    "Confirm": "settings",
    "Distributed": "distributed",
    "EXPERIMENT": "settings",
    "MLflow": "settings",
    "ObjectiveNotReportedError": "hypermodel_of",
    "Optuna": "settings",
    "Task": "settings",
    "Training": "settings",
    "Workers": "settings",
    "by": "validation",
    "checked": "validation",
    "distribute": "distributed",
    "fields_of": "settings",
    "track": "tuner_tracking",
    "tune": "tuning",
}

__all__ = [
    "CLASSES",
    "EXPERIMENT",
    "Confirm",
    "Distributed",
    "MLflow",
    "ObjectiveNotReportedError",
    "Optuna",
    "Task",
    "Training",
    "Workers",
    "by",
    "checked",
    "distribute",
    "fields_of",
    "track",
    "tune",
]

__getattr__ = imported_on_use(__name__, _HOME)
