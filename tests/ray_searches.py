"""Searches with several workers in which something goes wrong in the middle of a trial."""

import contextlib
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner as kt
import psutil

import recdrop_tune as rdt
from recdrop_tune.events import TrialEnded, TrialStarted, WorkerLost
from recdrop_tune.states import TrialState
from tests.agreement import check_runs, check_study
from tests.small_search import build, tuned
from tests.tracked_events import events_of

EPOCHS = 4


FAULTS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(600),
    "memory": lambda: (_ for _ in ()).throw(MemoryError("as asked")),
}


@dataclass(frozen=True)
class Mishap:
    """One of `FAULTS`, once in a search; its sign is a file that names the process it happened to."""

    fault: str
    sign: Path

    def happen_once(self) -> None:
        """Happens to whichever process comes first."""
        with contextlib.suppress(FileExistsError):
            with self.sign.open("x") as file:
                file.write(str(os.getpid()))
            FAULTS[self.fault]()


class Epochs(keras.callbacks.Callback):
    """Takes its time over each epoch, and the second one has the mishaps."""

    def __init__(self, mishaps: tuple[Mishap, ...], seconds: float):
        super().__init__()
        self.mishaps = mishaps
        self.seconds = seconds

    def on_epoch_begin(self, epoch, logs=None):
        time.sleep(self.seconds)
        for mishap in self.mishaps if epoch == 1 else ():
            mishap.happen_once()


class Faulty(kt.HyperModel):
    """The small model, with mishaps."""

    def __init__(self, *mishaps: Mishap, seconds: float = 0.1):
        super().__init__()
        self.mishaps = mishaps
        self.seconds = seconds

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        epochs = Epochs(self.mishaps, self.seconds)
        return model.fit(*args, callbacks=[epochs, *callbacks], **kwargs)


def search(folder: Path, hypermodel, **kwargs):
    """A search by two workers."""
    tracking = rdt.MLflow(uri=f"sqlite:///{folder.parent}/mlflow.db")
    given = {"max_trials": 6, "workers": 2, "epochs": EPOCHS, **kwargs}
    return tuned(folder, tracking, hypermodel, **given)


def processes(name: str, driver: int | None = None) -> list[psutil.Process]:
    """Finds the processes of a driver's own Ray, such as `ray::OracleHost`; by default of this process's."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # It has just ended.
            if " ".join(process.cmdline()).startswith(name):
                found.append(process)
    return found


def check_agreement(result, trials: int, failed: int = 0) -> None:
    """Checks the number of trials, and that frame, journal, study and MLflow agree on them."""
    frame = result.trials
    assert sorted(frame["number"]) == list(range(trials))
    assert (frame["state"] == "FAILED").sum() == failed
    # No trial has two ends, and none has an epoch twice.
    ends = [event.trial_id for event in ends_of_trials(result.directory)]
    assert sorted(ends) == sorted(frame["trial_id"])
    for record in result.tracking.records.trials.values():
        epochs = [each.epoch for each in record.epochs]
        assert epochs == list(range(len(epochs)))
        assert len(epochs) == EPOCHS or record.state != "COMPLETE"
    check_study(result)
    runs = check_runs(result)
    assert {run.info.run_id for run in runs.values()} == set(frame["mlflow_run_id"])
    assert not (result.directory / "several-workers").exists()


def attempts(folder: Path) -> Counter[str]:
    """How many times each trial was started."""
    return Counter(event.trial_id for event in events_of(folder, TrialStarted))


def ends_of_trials(folder: Path) -> list[TrialEnded]:
    """The ends of trials, which those that were interrupted with the search do not have."""
    return [e for e in events_of(folder, TrialEnded) if e.status != TrialState.INTERRUPTED]


def losses(result) -> list[WorkerLost]:
    """The workers that were lost."""
    return events_of(result.directory, WorkerLost)


def some_events(folder: Path, kind, count: int) -> list:
    """The events of a kind so far, once there are enough."""
    found = events_of(folder, kind)
    return found if len(found) >= count else []
