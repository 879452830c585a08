"""`tune`: one call from data to result."""

from recdrop_tune.facade._track import track as track
from recdrop_tune.facade._trials import ObjectiveNotReportedError as ObjectiveNotReportedError
from recdrop_tune.facade._tune import tune as tune

__all__ = ["ObjectiveNotReportedError", "track", "tune"]
