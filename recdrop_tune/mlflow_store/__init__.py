"""A reader of events: MLflow, live, after an outage, and with `sync`."""

from recdrop_tune.mlflow_store.background import MLflowStore
from recdrop_tune.mlflow_store.pages import command, leaderboard_url, ui_command, view_tag
from recdrop_tune.mlflow_store.stores import in_context, reason
from recdrop_tune.mlflow_store.synchronization import SyncReport, sync
from recdrop_tune.mlflow_store.writer import MLflowWriter

__all__ = [
    "MLflowStore",
    "MLflowWriter",
    "SyncReport",
    "command",
    "in_context",
    "leaderboard_url",
    "reason",
    "sync",
    "ui_command",
    "view_tag",
]
