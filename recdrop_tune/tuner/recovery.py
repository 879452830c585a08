"""Saves trainings while they run, so that a trial that was interrupted continues where it was."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from recdrop_tune.errors import ProjectError, is_disk_failure
from recdrop_tune.files import replacing
from recdrop_tune.kernels import random_states, set_random_states
from recdrop_tune.models import variables_of, walk
from recdrop_tune.tuner.checkpoints import build_like
from recdrop_tune.tuner.reports import BestWeights, Curve, EpochReporter, TrialReport

SNAPSHOT = "snapshot.npy"
"""The file in the folder of a trial, while it trains."""

_NOT_KEPT = {
    keras.callbacks.Callback: ("_model", "params"),
    # They change the sign when the first epoch ends.
    keras.callbacks.EarlyStopping: ("min_delta",),
    keras.callbacks.ReduceLROnPlateau: ("min_delta",),
    # It looks at its file when the training begins.
    keras.callbacks.CSVLogger: ("append", "append_header", "keys"),
}


class SnapshotError(ProjectError, kt.errors.FatalError):
    """A snapshot is of another model; the search ends, so that it can be mended."""


class _UnsavableError(Exception):
    """A training cannot be saved."""


@dataclass
class Snapshot:
    """The trainings of a trial at the end of an epoch. The last one is running, the others are over.

    Attributes:
        curves: The epochs of each training.
        best: The best objective and its weights: of the trainings that are over, and of the last one.
        tests: The metrics on test data, for each training that is over.
        build: The build configuration of the model.
        variables: The values of `variables_of` the model.
        random: The states of `random_states`.
        callbacks: The class and the attributes of each callback of the user.
    """

    curves: list[Curve]
    best: list[tuple[float | None, list[Any] | None]]
    tests: list[dict[str, float]]
    build: Any
    variables: list[Any]
    random: list[Any]
    callbacks: list[tuple[str, dict[str, Any]]]

    def save(self, path: Path) -> None:
        """Writes the file, all of it or nothing.

        Raises:
            _UnsavableError: It contains something else than plain data.
        """
        arrays: list[Any] = []
        about = np.array(json.dumps(_encoded(vars(self), arrays)))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not in a zip file, which takes twice as long.
        with replacing(path) as fresh, fresh.open("wb") as file:
            for array in (about, *arrays):
                np.save(file, array)

    @classmethod
    def load(cls, path: Path) -> Snapshot | None:
        """Reads the file; None, with a warning, if it is damaged."""
        if not path.exists():
            return None
        try:
            # Without pickles: anybody may have put a file into the folder.
            with path.open("rb") as file:
                about, arrays = np.load(file), list[Any]()
                while file.peek(1):
                    arrays.append(np.load(file))
            return cls(**_decoded(json.loads(str(about)), arrays))
        except Exception as error:  # A damaged file can raise anything.
            warnings.warn(
                f"`{path}` is damaged, so its trial begins anew ({type(error).__name__}: {error}).",
                stacklevel=2,
            )
            return None


class Recovery:
    """Saves the trainings of a trial in turn, and continues those of an interrupted process.

    Args:
        path: The file, which exists if the trial was interrupted.
        every: Seconds between two snapshots; None takes none.
        obstacle: Why the trial cannot be saved, or None.
        on_save: Called after each snapshot.

    Attributes:
        snapshot: What the interrupted process has left of the training that comes next, or None.
        finished: The epochs of the trainings that are over.
        best: The best weights of these.
        tests: The metrics on test data of these.
    """

    def __init__(
        self,
        path: Path,
        every: float | None,
        obstacle: str | None = None,
        on_save: Callable[[], None] = lambda: None,
    ) -> None:
        self.path, self._every, self._obstacle, self._on_save = path, every, obstacle, on_save
        self.snapshot = Snapshot.load(path) if obstacle is None else None
        self.finished: list[Curve] = []
        self.best, self.tests = BestWeights(), list[dict[str, float]]()
        if self.snapshot is not None:
            self.finished = self.snapshot.curves[:-1]
            self.best, self.tests = BestWeights(*self.snapshot.best[0]), self.snapshot.tests
        self._saved_at = time.monotonic()

    def repeat(self, number: int, report: TrialReport) -> Any:
        """Reports a training that is over to the oracle; returns its history, or None if it is not over."""
        if number >= len(self.finished):
            return None
        report.repeat(self.finished[number])
        return _fill(keras.callbacks.History(), self.finished[number])

    def begin(
        self, report: TrialReport, callbacks: Sequence[Any]
    ) -> tuple[EpochReporter, list[Any], dict[str, int]]:
        """Begins a training.

        Args:
            report: The report of the trial.
            callbacks: The callbacks of the user.

        Returns:
            What reports the epochs; the last callbacks of the training; and further arguments of `Model.fit`.
        """
        reporter, arguments = EpochReporter(report, self.snapshot), {}
        if self.snapshot is not None:
            arguments["initial_epoch"] = self.snapshot.curves[-1][-1][0] + 1
            for each in callbacks:
                if isinstance(each, keras.callbacks.CSVLogger):
                    each.append = True
        return reporter, [reporter, _Saver(self, callbacks, reporter)], arguments

    def end(self, reporter: EpochReporter) -> None:
        """Ends a training."""
        self.finished.append(reporter.curve)
        self.snapshot = None

    @contextmanager
    def until_over(self) -> Iterator[None]:
        """Deletes the file at the end of the block, unless that was interrupted."""
        try:
            yield
        except Exception as error:
            if not is_disk_failure(error):
                self.path.unlink(missing_ok=True)
            raise
        self.path.unlink(missing_ok=True)

    def save_if_due(self, make: Callable[[], Snapshot]) -> None:
        """Writes the snapshot that a function makes, if the last one is old enough."""
        if self._every is None or time.monotonic() - self._saved_at < self._every:
            return
        try:
            if self._obstacle is not None:
                raise _UnsavableError(self._obstacle)
            make().save(self.path)
        except _UnsavableError as error:
            self._every = None
            warnings.warn(f"A trial that is interrupted will begin anew: {error}.", stacklevel=2)
            return
        self._on_save()
        self._saved_at = time.monotonic()


class _Saver(keras.callbacks.Callback):
    """Continues a training from a snapshot, and takes the next ones. Has to be the last callback."""

    def __init__(
        self, recovery: Recovery, callbacks: Sequence[Any], reporter: EpochReporter
    ) -> None:
        super().__init__()
        self._recovery, self._callbacks, self._reporter = recovery, callbacks, reporter
        self._texts: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Restores variables and callbacks."""
        self._texts = [_texts(each) for each in self._callbacks]
        snapshot = self._recovery.snapshot
        if snapshot is None:
            return
        build_like(self.model, snapshot.build)
        variables = variables_of(self.model)
        if [tuple(each.shape) for each in variables] != [each.shape for each in snapshot.variables]:
            raise SnapshotError(
                f"`{self._recovery.path}` was saved by a training of another model. Delete it, and its "
                "trial begins anew."
            )
        for variable, value in zip(variables, snapshot.variables, strict=True):
            variable.assign(value)
        set_random_states(snapshot.random)
        waiting = list(snapshot.callbacks)
        for callback, texts in zip(self._callbacks, self._texts, strict=True):
            # A search can be resumed with other callbacks.
            state = next((each for each in waiting if each[0] == type(callback).__name__), None)
            if state is not None:
                waiting.remove(state)
                for name, value in state[1].items():
                    if name not in texts and not isinstance(value, str):
                        vars(callback)[name] = value

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Takes a snapshot if it is due."""
        if not self.model.stop_training:
            self._recovery.save_if_due(self._snapshot)

    def on_train_end(self, logs: Any = None) -> None:
        """Gives Keras's history all epochs."""
        if self._recovery.snapshot is not None:
            _fill(self.model.history, self._reporter.curve)

    def _snapshot(self) -> Snapshot:
        variables, recovery = variables_of(self.model), self._recovery
        best = recovery.best, self._reporter.best_weights
        parts = {id(part) for part in (*variables, *walk(self.model), self.model.optimizer)}
        return Snapshot(
            curves=[*recovery.finished, self._reporter.curve],
            best=[(each.value, each.weights) for each in best],
            tests=recovery.tests,
            build=self.model.get_build_config(),
            variables=[keras.ops.convert_to_numpy(each) for each in variables],
            random=random_states(),
            callbacks=[
                (type(each).__name__, _attributes(each, texts, parts))
                for each, texts in zip(self._callbacks, self._texts, strict=True)
            ],
        )


def _fill(history: Any, curve: Curve) -> Any:
    """Writes the epochs of a training into a history of Keras."""
    history.epoch = [epoch for epoch, *_ in curve]
    history.history = {}
    for _, metrics, _ in curve:
        for name, value in metrics.items():
            history.history.setdefault(name, []).append(value)
    return history


def _encoded(value: Any, arrays: list[Any]) -> Any:
    """Returns a value for JSON, with numbers for its arrays, which are added to a list.

    Raises:
        _UnsavableError: It is not a number, text, an array, or a list, tuple or dict of them.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.name == "bfloat16":
        value = value.astype("float32")  # NumPy's files have no bfloat16.
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_encoded(each, arrays) for each in value]}
    if type(value) is dict:
        pairs = value.items()
        return {"dict": [[_encoded(k, arrays), _encoded(v, arrays)] for k, v in pairs]}
    raise _UnsavableError(f"a {type(value).__name__} cannot be saved")


def _decoded(value: Any, arrays: Sequence[Any]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content][()]  # A number that was NumPy's is one again.
    if kind == "dict":
        return {_decoded(k, arrays): _decoded(v, arrays) for k, v in content}
    values = [_decoded(each, arrays) for each in content]
    return values if kind == "list" else tuple(values)


def _texts(callback: Any) -> dict[str, Any]:
    """Returns the attributes that are text.

    They are not restored: a stranger's folder must not say where a callback writes.
    """
    own = vars(callback).items()
    return {name: value for name, value in own if isinstance(value, str | os.PathLike)}


def _attributes(callback: Any, texts: dict[str, Any], parts: set[int]) -> dict[str, Any]:
    """Returns the attributes of a callback that its beginning does not restore.

    Args:
        callback: The callback.
        texts: Its attributes that were text when the training began.
        parts: The ids of the parts of the model.

    Raises:
        TypeError: One of them cannot be kept.
    """
    left_out = {
        name for kind in _NOT_KEPT if isinstance(callback, kind) for name in _NOT_KEPT[kind]
    }
    package, name_of = type(callback).__module__.partition(".")[0], type(callback).__name__
    attributes = {}
    for name, value in vars(callback).items():
        held = value if isinstance(value, list | tuple) and value else [value]
        is_part = all(id(each) in parts for each in held)
        if name in left_out or name in texts or callable(value) or is_part:
            continue
        try:
            _encoded(value, [])
        except _UnsavableError as error:
            # Such as a file, which it opens when its training begins.
            if package in ("keras", "tensorboard", "recdrop_tune"):
                continue
            raise _UnsavableError(f"`{name_of}.{name}`: {error}") from None
        attributes[name] = value
    if _texts(callback) != texts:
        raise _UnsavableError(f"`{name_of}`: a text that changes cannot be saved")
    return attributes
