"""Trainings that pause: what they leave on disk, and how they go on."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import ProjectError, warn_caller
from recdrop_tune.files import write_atomically
from recdrop_tune.oracle import drop_states, paused_epoch, state_path
from recdrop_tune.tuner.reports import TrialReport

Curve = dict[int, dict[str, float]]
"""The metrics of a training by epoch."""

# What belongs to a process: callbacks find it again when their training begins.
_OF_PROCESS = (keras.layers.Layer, keras.Variable, keras.optimizers.Optimizer)
_NOT_KEPT = ("_model", "params")


@dataclass
class PausedTraining:
    """One training of a trial.

    Attributes:
        curve: Its epochs so far.
        variables: The values of the model's and the optimizer's variables; None if it is over.
        callbacks: The pickled attributes of each of the user's callbacks.
    """

    curve: Curve
    variables: list[Any] | None = None
    callbacks: list[bytes] = field(default_factory=list)


@dataclass
class PausedTrial:
    """All trainings of a trial.

    Attributes:
        epoch: The number of epochs so far.
        best: The objective at the best epoch so far, whose weights are in the trial's checkpoint.
        trainings: One for each execution and fold.
    """

    epoch: int = 0
    best: float | None = None
    trainings: list[PausedTraining] = field(default_factory=list)

    def training(self, number: int) -> PausedTraining | None:
        """Returns one of the trainings, or None before the first pause."""
        return self.trainings[number] if self.epoch else None

    def save(self, folder: Path) -> None:
        """Writes the file of the trial, all of it or nothing, and deletes the one before."""
        path = state_path(folder, self.epoch)
        write_atomically(path, pickle.dumps(self, pickle.HIGHEST_PROTOCOL))
        drop_states(folder, before=self.epoch)


def load(folder: Path) -> PausedTrial:
    """Reads what a paused trial has left; without a file, it begins anew.

    Raises:
        ProjectError: The file is damaged.
    """
    epoch = paused_epoch(folder)
    if not epoch:
        return PausedTrial()
    path = state_path(folder, epoch)
    try:
        held = pickle.loads(path.read_bytes())
        if not isinstance(held, PausedTrial) or held.epoch != epoch:
            raise ValueError("not a paused trial")
    except Exception as error:  # A damaged pickle can raise anything.
        raise ProjectError(
            f"`{path}` is damaged ({type(error).__name__}: {error}). Delete it, and its trial begins anew."
        ) from error
    return held


class Pause(keras.callbacks.Callback):
    """Stops a training where its report says so, and lets it go on from there. Has to be the last callback.

    Each part of a training is a `fit` of its own, paused or not, with seeds of its own: so its numbers do not
    depend on pauses. The callbacks of the user begin each time, and then get their attributes back, but for
    functions and what belongs to the process.

    Args:
        report: The report of the trial.
        callbacks: The callbacks of the user.
        before: What the training left when it paused, or None.

    Attributes:
        after: What it leaves now; None if it is over.
        failure: Why it could not pause, or None.
    """

    counts_steps = True  # It has no methods for batches.

    def __init__(
        self, report: TrialReport, callbacks: Sequence[Any], before: PausedTraining | None
    ) -> None:
        super().__init__()
        self._report, self._callbacks, self._before = report, list(callbacks), before
        self.after: PausedTraining | None = None
        self.failure: str | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Restores variables and callbacks."""
        before = self._before
        if before is None or before.variables is None:
            return
        for variable, value in zip(_variables(self.model), before.variables, strict=True):
            variable.assign(value)
        for callback, held in zip(self._callbacks, before.callbacks, strict=True):
            vars(callback).update(pickle.loads(held))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keeps variables and callbacks, and stops."""
        at = self._report.paused_at
        if at is None or epoch + 1 < at or self.model.stop_training:
            return
        try:
            kept = [_pickled(callback) for callback in self._callbacks]
        except Exception as error:  # Pickling can raise anything.
            self.failure = f"{type(error).__name__}: {error}"
            return
        values = [keras.ops.convert_to_numpy(each) for each in _variables(self.model)]
        self.after = PausedTraining({}, [np.array(value) for value in values], kept)
        self.model.stop_training = True


def _variables(model: Any) -> list[Any]:
    """Lists the weights and the optimizer's variables. Seeds are new after each pause, and metrics too."""
    optimizer = model.optimizer
    if optimizer is None:
        return list(model.weights)
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return [*model.weights, *optimizer.variables]


class _OfProcess(Exception):
    """An attribute belongs to the process."""


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> None:
        if isinstance(value, _OF_PROCESS):
            raise _OfProcess


def _pickled(callback: Any) -> bytes:
    """Pickles the attributes of a callback, but for functions and what belongs to the process."""
    kept = {}
    for name, value in vars(callback).items():
        if name in _NOT_KEPT or callable(value):
            continue
        try:
            _Pickler(io.BytesIO()).dump(value)
        except _OfProcess:
            continue
        except Exception:
            # Files and the like, which Keras's own callbacks open when they begin.
            if type(callback).__module__.partition(".")[0] != "keras":
                raise
            continue
        kept[name] = value
    if isinstance(callback, keras.callbacks.CSVLogger):
        kept["append"] = True
    return pickle.dumps(kept)


def warn_of_failure(failure: str) -> None:
    """Warns that a search does not pause its trials."""
    warn_caller(
        "This search trains each trial without a pause, because a callback cannot be pickled: "
        f"{failure}. Its attributes that are neither functions nor Keras's have to be."
    )


def before_fit(callbacks: Sequence[Any], before: PausedTraining | None) -> None:
    """Lets the callbacks of a training that goes on append to their files."""
    for callback in callbacks if before is not None else ():
        if isinstance(callback, keras.callbacks.CSVLogger):
            callback.append = True


def joined(before: PausedTraining | None, curve: Mapping[int, dict[str, float]]) -> Curve:
    """Returns the epochs of a training before and after a pause."""
    return {**(before.curve if before else {}), **curve}
