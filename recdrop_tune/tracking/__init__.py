"""Tracking: the events of a search, and who listens to them: the journal, MLflow, the terminal."""

from recdrop_tune.tracking._datasets import dataset_inputs as dataset_inputs
from recdrop_tune.tracking._datasets import describe_data as describe_data
from recdrop_tune.tracking._dispatch import TrackingWarning as TrackingWarning
from recdrop_tune.tracking._events import ConfirmationEnded as ConfirmationEnded
from recdrop_tune.tracking._events import ConfirmationStarted as ConfirmationStarted
from recdrop_tune.tracking._events import Context as Context
from recdrop_tune.tracking._events import EpochEnded as EpochEnded
from recdrop_tune.tracking._events import Event as Event
from recdrop_tune.tracking._events import Listener as Listener
from recdrop_tune.tracking._events import ModelBuilt as ModelBuilt
from recdrop_tune.tracking._events import ResultSaved as ResultSaved
from recdrop_tune.tracking._events import SearchEnded as SearchEnded
from recdrop_tune.tracking._events import SearchStarted as SearchStarted
from recdrop_tune.tracking._events import TrialEnded as TrialEnded
from recdrop_tune.tracking._events import TrialStarted as TrialStarted
from recdrop_tune.tracking._events import WorkerLost as WorkerLost
from recdrop_tune.tracking._hooks import TrackedHyperModel as TrackedHyperModel
from recdrop_tune.tracking._hooks import TrackedOracle as TrackedOracle
from recdrop_tune.tracking._journal import FILE as FILE
from recdrop_tune.tracking._journal import Journal as Journal
from recdrop_tune.tracking._live import live_display as live_display
from recdrop_tune.tracking._mlflow import MLflowTracker as MLflowTracker
from recdrop_tune.tracking._models import check_model_name as check_model_name
from recdrop_tune.tracking._models import load_flavor as load_flavor
from recdrop_tune.tracking._models import log_model as log_model
from recdrop_tune.tracking._progress import Progress as Progress
from recdrop_tune.tracking._records import Records as Records
from recdrop_tune.tracking._records import TrialRecord as TrialRecord
from recdrop_tune.tracking._records import has_wrapper as has_wrapper
from recdrop_tune.tracking._records import readable as readable
from recdrop_tune.tracking._reporter import TrainingReporter as TrainingReporter
from recdrop_tune.tracking._result_files import MODEL as MODEL
from recdrop_tune.tracking._result_files import MODEL_CARD as MODEL_CARD
from recdrop_tune.tracking._result_files import NOTE_LENGTH as NOTE_LENGTH
from recdrop_tune.tracking._result_files import RESULT as RESULT
from recdrop_tune.tracking._result_files import harmless as harmless
from recdrop_tune.tracking._result_files import upload_result as upload_result
from recdrop_tune.tracking._standing import amount as amount
from recdrop_tune.tracking._standing import gained as gained
from recdrop_tune.tracking._sync import Synced as Synced
from recdrop_tune.tracking._sync import sync as sync
from recdrop_tune.tracking._system_metrics import SystemMetrics as SystemMetrics
from recdrop_tune.tracking._system_metrics import check_system_metrics as check_system_metrics
from recdrop_tune.tracking._track import track as track
from recdrop_tune.tracking._tracking import Tracking as Tracking

__all__ = [
    "FILE",
    "MODEL",
    "MODEL_CARD",
    "NOTE_LENGTH",
    "RESULT",
    "ConfirmationEnded",
    "ConfirmationStarted",
    "Context",
    "EpochEnded",
    "Event",
    "Journal",
    "Listener",
    "MLflowTracker",
    "ModelBuilt",
    "Progress",
    "Records",
    "ResultSaved",
    "SearchEnded",
    "SearchStarted",
    "Synced",
    "SystemMetrics",
    "TrackedHyperModel",
    "TrackedOracle",
    "Tracking",
    "TrackingWarning",
    "TrainingReporter",
    "TrialEnded",
    "TrialRecord",
    "TrialStarted",
    "WorkerLost",
    "amount",
    "check_model_name",
    "check_system_metrics",
    "dataset_inputs",
    "describe_data",
    "gained",
    "harmless",
    "has_wrapper",
    "live_display",
    "load_flavor",
    "log_model",
    "readable",
    "sync",
    "track",
    "upload_result",
]
