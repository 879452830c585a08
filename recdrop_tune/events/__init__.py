"""The truth about what happened in a search: its events, the journal that keeps them, and records.

What records them loads Keras and Keras Tuner, and is imported on first use: reading takes neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recdrop_tune.events.events import (
    COMPLETE,
    EXHAUSTED,
    FAILED,
    INTERRUPTED,
    KILLED,
    PRUNED,
    RETRY,
    STATES,
    STOPPED,
    ConfirmationEnded,
    ConfirmationStarted,
    Context,
    EpochEnded,
    Event,
    Listener,
    ModelBuilt,
    NoMoreTrials,
    Process,
    ResultSaved,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
    WorkerLost,
)
from recdrop_tune.events.journal import (
    FILE,
    Dispatcher,
    Journal,
    TrackingWarning,
    has_locks,
    lock_alone,
)
from recdrop_tune.events.records import (
    QUESTIONS,
    Records,
    TrialRecord,
    asked,
    has_wrapper,
    is_twin,
)
from recdrop_tune.events.stopping import ask_to_stop, forget_stop, is_asked_to_stop
from recdrop_tune.files import SEARCH
from recdrop_tune.lazy import imported_on_use

if TYPE_CHECKING:
    from recdrop_tune.events.hooks import ReportsEpochs, TrackedOracle
    from recdrop_tune.events.recording import (
        TrainingReporter,
        TrialReporter,
        about_proposals,
        about_trainings,
        readable,
        search_id,
        versions,
    )

_HOME = {
    "ReportsEpochs": "hooks",
    "TrackedOracle": "hooks",
    "TrainingReporter": "recording",
    "TrialReporter": "recording",
    "about_proposals": "recording",
    "about_trainings": "recording",
    "readable": "recording",
    "search_id": "recording",
    "versions": "recording",
}

__all__ = [
    "COMPLETE",
    "EXHAUSTED",
    "FAILED",
    "FILE",
    "INTERRUPTED",
    "KILLED",
    "PRUNED",
    "QUESTIONS",
    "RETRY",
    "SEARCH",
    "STATES",
    "STOPPED",
    "ConfirmationEnded",
    "ConfirmationStarted",
    "Context",
    "Dispatcher",
    "EpochEnded",
    "Event",
    "Journal",
    "Listener",
    "ModelBuilt",
    "NoMoreTrials",
    "Process",
    "Records",
    "ReportsEpochs",
    "ResultSaved",
    "SearchEnded",
    "SearchStarted",
    "TrackedOracle",
    "TrackingWarning",
    "TrainingReporter",
    "TrialEnded",
    "TrialRecord",
    "TrialReporter",
    "TrialStarted",
    "WorkerLost",
    "about_proposals",
    "about_trainings",
    "ask_to_stop",
    "asked",
    "forget_stop",
    "has_locks",
    "has_wrapper",
    "is_asked_to_stop",
    "is_twin",
    "lock_alone",
    "readable",
    "search_id",
    "versions",
]

__getattr__ = imported_on_use(__name__, _HOME)
