"""A reader of events: MLflow, live, after an outage, and with `sync`."""

from recdrop_tune.mlflow_store.artifacts import CODE, MODEL, MODEL_CARD, RESULT, load_flavor
from recdrop_tune.mlflow_store.description import NOTE_LENGTH, harmless, markdown_table
from recdrop_tune.mlflow_store.pages import command, leaderboard_url, ui_command, view_tag
from recdrop_tune.mlflow_store.stores import in_context, reason
from recdrop_tune.mlflow_store.synchronization import SyncReport, sync
from recdrop_tune.mlflow_store.tracking import Tracking, track

__all__ = [
    "CODE",
    "MODEL",
    "MODEL_CARD",
    "NOTE_LENGTH",
    "RESULT",
    "SyncReport",
    "Tracking",
    "command",
    "harmless",
    "in_context",
    "leaderboard_url",
    "load_flavor",
    "markdown_table",
    "reason",
    "sync",
    "track",
    "ui_command",
    "view_tag",
]
