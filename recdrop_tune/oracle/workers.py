"""Lets an oracle outlive its workers, and its workers outlive the oracle's process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from recdrop_tune.oracle.trial_files import read_object, settled


def give_up(oracle: Any, tuner_id: str) -> None:
    """Gives a dead worker up, so that its trial runs again at the worker that asks next."""
    trial = oracle.ongoing_trials.pop(tuner_id, None)
    if trial is not None:
        oracle._retry_queue.append(trial.trial_id)
    oracle.save()


def take_back(oracle: Any) -> None:
    """Leaves the trials that were under way when the oracle's process died to their workers.

    For an oracle that was just loaded while its workers live on; else their trials run again.
    """
    state = read_object(Path(oracle._get_oracle_fname()))
    if state is None:
        return
    oracle.set_state(settled(state, oracle.trials))
    for trial in oracle.ongoing_trials.values():
        trial.status = TrialStatus.RUNNING
    oracle.save()
