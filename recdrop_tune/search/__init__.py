"""`tune`: one call from data to result; `distribute` and `track` for a tuner; and their settings.

What loads Keras is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recdrop_tune.lazy import imported_on_use
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
    known_names,
    names_of,
    settings_class,
    settings_of,
)

if TYPE_CHECKING:
    from recdrop_tune.search.compared_models import compare_models
    from recdrop_tune.search.distributed import Distributed, distribute
    from recdrop_tune.search.hypermodel_of import ObjectiveNotReportedError
    from recdrop_tune.search.tuner_tracking import track
    from recdrop_tune.search.tuning import run_search, tune

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
    "compare_models",
    "distribute",
    "known_names",
    "names_of",
    "run_search",
    "settings_class",
    "settings_of",
    "track",
    "tune",
]

_HOME = {
    "Distributed": "distributed",
    "ObjectiveNotReportedError": "hypermodel_of",
    "compare_models": "compared_models",
    "distribute": "distributed",
    "run_search": "tuning",
    "track": "tuner_tracking",
    "tune": "tuning",
}
__getattr__ = imported_on_use(__name__, _HOME)
