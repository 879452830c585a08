"""`tune`: one call from data to result; `distribute` and `track` for any tuner."""

from recdrop_tune.search.distributed import Distributed, distribute
from recdrop_tune.search.hypermodel_of import ObjectiveNotReportedError
from recdrop_tune.search.tuner_tracking import track
from recdrop_tune.search.tuning import tune

__all__ = [
    "Distributed",
    "ObjectiveNotReportedError",
    "distribute",
    "track",
    "tune",
]
