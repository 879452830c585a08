"""A reader of events: MLflow, live, after an outage, and with `sync`."""

from recdrop_tune.mlflow_store.artifacts import (
    CODE,
    MODEL,
    MODEL_CARD,
    RESULT,
    load_flavor,
    log_model,
    upload_result,
)
from recdrop_tune.mlflow_store.datasets import dataset_inputs, describe_data
from recdrop_tune.mlflow_store.description import NOTE_LENGTH, harmless, markdown_table
from recdrop_tune.mlflow_store.pages import (
    command,
    leaderboard_url,
    searched,
    ui_command,
    view_tag,
    view_url,
)
from recdrop_tune.mlflow_store.stores import prepare, reason
from recdrop_tune.mlflow_store.synchronization import Synced, sync
from recdrop_tune.mlflow_store.system_metrics import SystemMetrics
from recdrop_tune.mlflow_store.tracking import Tracking, track
from recdrop_tune.mlflow_store.writer import MLflowWriter

__all__ = [
    "CODE",
    "MODEL",
    "MODEL_CARD",
    "NOTE_LENGTH",
    "RESULT",
    "MLflowWriter",
    "Synced",
    "SystemMetrics",
    "Tracking",
    "command",
    "dataset_inputs",
    "describe_data",
    "harmless",
    "leaderboard_url",
    "load_flavor",
    "log_model",
    "markdown_table",
    "prepare",
    "reason",
    "searched",
    "sync",
    "track",
    "ui_command",
    "upload_result",
    "view_tag",
    "view_url",
]
