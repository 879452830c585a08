"""`tune`: one call from data to result; `distribute` and `track` for any tuner."""

from recdrop_tune.facade._distribute import Distributed as Distributed
from recdrop_tune.facade._distribute import distribute as distribute
from recdrop_tune.facade._track import track as track
from recdrop_tune.facade._trials import ObjectiveNotReportedError as ObjectiveNotReportedError
from recdrop_tune.facade._tune import tune as tune

__all__ = ["Distributed", "ObjectiveNotReportedError", "distribute", "track", "tune"]
