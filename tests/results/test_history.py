"""Tests for `TuneResult.history`, against the journal of the search."""

import pandas as pd

from recdrop_tune.events import EpochEnded, TrialStarted
from recdrop_tune.journal import Journal
from recdrop_tune.records import Records
from recdrop_tune.results.frames import history_frame

KEYS = ["trial_id", "execution", "epoch"]


def journal_epochs(result) -> list[EpochEnded]:
    events = Journal(result.tracking.journal_path).read()
    return [event for event in events if isinstance(event, EpochEnded)]


def test_columns_have_types(planted):
    assert {name: str(kind) for name, kind in planted.history.dtypes.items()} == {
        "trial_id": "string",
        "number": "Int64",
        "execution": "Int64",
        "epoch": "Int64",
        "loss": "Float64",
        "val_loss": "Float64",
        "ms_per_step": "Float64",
        "seconds": "Float64",
    }


def test_every_epoch_of_the_journal_is_a_row_in_the_order_of_starts(planted):
    epochs = journal_epochs(planted)
    assert {epoch.execution for epoch in epochs} == {0, 1}
    rows = planted.history.set_index(KEYS)
    assert len(rows) == len(epochs) > 0
    for epoch in epochs:
        row = rows.loc[(epoch.trial_id, epoch.execution, epoch.epoch)]
        assert {name: row[name] for name in epoch.metrics} == epoch.metrics
        assert row["seconds"] == epoch.seconds
    order = ["number", "execution", "epoch"]
    assert planted.history[order].equals(planted.history[order].sort_values(order))
    numbers = planted.trials.set_index("trial_id")["number"]
    assert (planted.history["trial_id"].map(numbers) == planted.history["number"]).all()


def test_the_score_is_the_value_at_the_best_epoch(planted):
    first = planted.history[planted.history["execution"] == 0]
    complete = planted.trials[planted.trials["state"] == "COMPLETE"]
    best = complete.merge(
        first,
        left_on=["trial_id", "best_epoch"],
        right_on=["trial_id", "epoch"],
        suffixes=("", "_"),
    )
    assert len(best) == len(complete)
    # Both trainings of a configuration follow the same formula.
    assert best["val_loss"].tolist() == best["val_loss_"].tolist()


def epoch(number: int, execution: int = 0, **metrics: float) -> EpochEnded:
    return EpochEnded(trial_id="0", epoch=number, metrics=metrics, seconds=0.5, execution=execution)


def test_metrics_named_like_columns_and_missing_ones():
    records = Records([TrialStarted(trial_id="0", number=0, hyperparameters={})])
    for event in (epoch(0, epoch=3.0, seconds=9.0), epoch(1, loss=float("nan")), epoch(0, 1)):
        records.on_event(event)
    frame = history_frame(records)
    assert frame["epoch"].tolist() == [0, 1, 0]
    assert frame["execution"].tolist() == [0, 0, 1]
    assert frame["seconds"].tolist() == [0.5] * 3
    assert frame["metric/epoch"].tolist() == [3.0, pd.NA, pd.NA]
    assert frame["metric/seconds"].tolist() == [9.0, pd.NA, pd.NA]
    assert frame["loss"].isna().all()
    assert len(records.trials["0"].epochs) == 2


def test_before_the_first_epoch_the_columns_are_there():
    frame = history_frame(Records())
    assert list(frame.columns) == ["trial_id", "number", "execution", "epoch", "seconds"]
    assert frame.empty
