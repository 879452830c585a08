"""Tests that a project folder of an earlier version loads, and that its search goes on."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.results import TuneResult
from tests.small_search import data

PROJECT = Path(__file__).parent / "projects" / "without_twins"
"""Five trials and a confirmation of two configurations, from before there were twins; without weights."""

OPTIONS = {
    "space": {
        "cell": "lstm",
        "units": 2,
        "wrapper": ["none", "native", "recurrent"],
        "placement": "recurrent",
        "rate": [0.1, 0.3],
        "learning_rate": [0.001, 0.01],
    },
    "epochs": 12,
    "batch_size": 8,
    "seed": 0,
    "verbose": 0,
}


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(PROJECT, tmp_path / "project"))


def test_it_loads(folder):
    result = TuneResult.load(folder)
    assert len(result.trials) == 5
    assert (result.trials["state"] == "PRUNED").any()
    # What a pruned trial had reached is read from its epochs.
    assert result.trials["val_loss"].notna().all()
    confirmation = result.confirmation
    assert set(confirmation.runs["kind"]) == {"found"}
    assert confirmation.outcome in ("helped", "hurt", "not known")
    assert result.context is None
    assert confirmation.verdict in result.summary()
    assert result.report(folder / "report.html").exists()


def test_a_confirmation_that_has_no_twin_yet_is_shown(folder):
    confirmation = TuneResult.load(folder).confirmation
    table = confirmation.table.assign(gain=np.nan, gain_low=np.nan, gain_high=np.nan)
    shown = dataclasses.replace(confirmation, table=table)
    assert "found_gain" in shown.text()


def test_its_search_goes_on(folder, planted_uri):
    before = TuneResult.load(folder)
    saved = {path: path.read_text() for path in folder.glob("trial_*/trial.json")}
    journal = (folder / "optuna.journal").read_bytes()  # The study was a file of its own then.
    result = rdt.tune(
        data(),
        data(16),
        max_trials=6,
        confirm=rdt.Confirm(1, seeds=2, test=data(32)),
        directory=folder,
        tracking=rdt.MLflow(uri=planted_uri),
        **OPTIONS,
    )
    assert len(result.trials) == 6
    assert (folder / "optuna.journal").read_bytes() == journal
    assert len(result.tuner.oracle.study.trials) == 6
    for path, text in saved.items():
        assert json.loads(path.read_text()) == json.loads(text)
    old = before.confirmation.runs
    runs = result.confirmation.runs
    kept = runs.merge(old[["trial_id", "kind", "repeat", "val_loss"]])
    assert len(kept) == len(old)  # None of them was trained again.
    dropping = result.confirmation.table.set_index("trial_id").loc[result.confirmation.dropping_id]
    gains = dropping["gain"] if dropping.ndim == 1 else dropping["gain"].max()
    assert gains == gains  # It has been trained without its dropout.
