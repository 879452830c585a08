"""Tracking: the events of a search, and who listens to them: the journal, MLflow, the terminal."""

from recdrop_tune.tracking._dispatch import TrackingWarning as TrackingWarning
from recdrop_tune.tracking._events import ConfirmationEnded as ConfirmationEnded
from recdrop_tune.tracking._events import EpochEnded as EpochEnded
from recdrop_tune.tracking._events import Event as Event
from recdrop_tune.tracking._events import Listener as Listener
from recdrop_tune.tracking._events import ModelBuilt as ModelBuilt
from recdrop_tune.tracking._events import SearchEnded as SearchEnded
from recdrop_tune.tracking._events import SearchStarted as SearchStarted
from recdrop_tune.tracking._events import TrialEnded as TrialEnded
from recdrop_tune.tracking._events import TrialStarted as TrialStarted
from recdrop_tune.tracking._journal import Journal as Journal
from recdrop_tune.tracking._mlflow import MLflowTracker as MLflowTracker
from recdrop_tune.tracking._progress import Progress as Progress
from recdrop_tune.tracking._records import Records as Records
from recdrop_tune.tracking._records import TrialRecord as TrialRecord
from recdrop_tune.tracking._records import has_wrapper as has_wrapper
from recdrop_tune.tracking._records import readable as readable
from recdrop_tune.tracking._sync import Synced as Synced
from recdrop_tune.tracking._sync import sync as sync
from recdrop_tune.tracking._track import Tracking as Tracking
from recdrop_tune.tracking._track import track as track

__all__ = [
    "ConfirmationEnded",
    "EpochEnded",
    "Event",
    "Journal",
    "Listener",
    "MLflowTracker",
    "ModelBuilt",
    "Progress",
    "Records",
    "SearchEnded",
    "SearchStarted",
    "Synced",
    "Tracking",
    "TrackingWarning",
    "TrialEnded",
    "TrialRecord",
    "TrialStarted",
    "has_wrapper",
    "readable",
    "sync",
    "track",
]
