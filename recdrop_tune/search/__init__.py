"""`tune`: one call from data to result; `distribute` and `track` for any tuner; and their settings.

The names below are imported on first use: the settings are light, and `tune` loads Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recdrop_tune.lazy import imported_on_use

if TYPE_CHECKING:
    from recdrop_tune.search.distributed import Distributed, distribute
    from recdrop_tune.search.hypermodel_of import ObjectiveNotReportedError
    from recdrop_tune.search.references import UserCodeError, call
    from recdrop_tune.search.settings import (
        CLASSES,
        Confirm,
        MLflow,
        Optuna,
        Reference,
        SearchConfig,
        Task,
        Training,
        Workers,
        checked_values,
        known_names,
        names_of,
        settings_class,
    )
    from recdrop_tune.search.tuner_tracking import track
    from recdrop_tune.search.tuning import run_search, tune

_HOME = {
    "CLASSES": "settings",
    "Confirm": "settings",
    "Distributed": "distributed",
    "MLflow": "settings",
    "ObjectiveNotReportedError": "hypermodel_of",
    "Optuna": "settings",
    "Reference": "settings",
    "SearchConfig": "settings",
    "Task": "settings",
    "Training": "settings",
    "UserCodeError": "references",
    "Workers": "settings",
    "call": "references",
    "checked_values": "settings",
    "distribute": "distributed",
    "known_names": "settings",
    "names_of": "settings",
    "run_search": "tuning",
    "settings_class": "settings",
    "track": "tuner_tracking",
    "tune": "tuning",
}

__all__ = [
    "CLASSES",
    "Confirm",
    "Distributed",
    "MLflow",
    "ObjectiveNotReportedError",
    "Optuna",
    "Reference",
    "SearchConfig",
    "Task",
    "Training",
    "UserCodeError",
    "Workers",
    "call",
    "checked_values",
    "distribute",
    "known_names",
    "names_of",
    "run_search",
    "settings_class",
    "track",
    "tune",
]

__getattr__ = imported_on_use(__name__, _HOME)
