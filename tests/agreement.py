"""Whether what others read of a search agrees with the table of its trials."""

import pytest
from mlflow.entities import Run

from recdrop_tune.results import TuneResult
from tests.tracked_events import runs_of

STATES = {"COMPLETE": "COMPLETE", "PRUNED": "PRUNED", "FAILED": "FAIL"}
"""Ours and Optuna's."""


def check_study(result: TuneResult) -> None:
    """Compares the Optuna study of a search with the table of its trials."""
    trials, frame = result.study().trials, result.trials
    told = {each.user_attrs["keras_tuner_id"]: each for each in trials}
    assert len(trials) == len(told) == len(frame)
    for row in frame.to_dict("records"):
        trial = told[row["trial_id"]]
        assert (trial.number, trial.state.name) == (row["number"], STATES[row["state"]])
        if row["state"] == "COMPLETE":
            assert trial.value == row["val_loss"]
        names = ("wrapper", "placement", "rate")
        params = {name.split(".")[0]: value for name, value in trial.params.items()}
        found = {name: params[name] for name in names if name in params}
        assert ("rate" in found) == (row["wrapper"] != "none")
        # Optuna has the steps of a range without their rounding.
        assert found == pytest.approx({name: row[name] for name in found})


def check_runs(result: TuneResult) -> dict[str, Run]:
    """Compares MLflow with the table of trials; returns the runs of trials by their ids."""
    about, frame = result.search, result.trials
    runs = runs_of(about.tracking_uri, about.experiment, search_id=about.search_id)
    assert "RUNNING" not in {run.info.status for run in runs}
    kinds = [run.data.tags["recdrop.kind"] for run in runs]
    assert (kinds.count("search"), kinds.count("trial")) == (1, len(frame))
    assert runs[kinds.index("search")].info.status == "FINISHED"
    found = {
        run.data.tags["recdrop.trial_id"]: run
        for run, kind in zip(runs, kinds, strict=True)
        if kind == "trial"
    }
    for row in frame.itertuples():
        run = found[row.trial_id]
        assert run.info.status == ("FAILED" if row.state == "FAILED" else "FINISHED")
        assert run.data.params["wrapper"] == row.wrapper
        if row.state == "COMPLETE":
            assert run.data.metrics["objective"] == row.val_loss
            assert run.data.metrics["epochs_run"] == row.epochs
    return found
