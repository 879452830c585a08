"""The epochs of a search as a data frame."""

from __future__ import annotations

from typing import Any

import pandas as pd

from recdrop_tune.tracking import EpochEnded, Records

_LEADING = {"trial_id": "string", "number": "Int64", "execution": "Int64", "epoch": "Int64"}
_CLOSING = {"seconds": "Float64"}


def history_frame(records: Records) -> pd.DataFrame:
    """Returns one row an epoch, in the order of trials, trainings and epochs.

    A column for each metric, not a row: what one epoch reports belongs together, the columns are
    called as those of the frame of trials, and `frame.plot(x="epoch", y=["loss", "val_loss"])` works
    as it is. `frame.melt(["trial_id", "number", "execution", "epoch"])` gives the long form.

    Args:
        records: The records of the trials.
    """
    trials = sorted(records.trials.values(), key=lambda record: record.number)
    rows = [
        _row(record.number, event)
        for record in trials
        for event in sorted([*record.epochs, *record.repeats], key=lambda each: each.execution)
    ]
    metrics = [name for name in _names(rows) if name not in {**_LEADING, **_CLOSING}]
    types = {**_LEADING, **dict.fromkeys(metrics, "Float64"), **_CLOSING}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def _row(number: int, event: EpochEnded) -> dict[str, Any]:
    return {
        "trial_id": event.trial_id,
        "number": number,
        "execution": event.execution,
        "epoch": event.epoch,
        **{metric_column(name): value for name, value in event.metrics.items()},
        "seconds": event.seconds,
    }


def metric_column(name: str) -> str:
    """Names the column of a metric: `metric/name` where `name` is a column of another kind."""
    return f"metric/{name}" if name in {**_LEADING, **_CLOSING} else name


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
