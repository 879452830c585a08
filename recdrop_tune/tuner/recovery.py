"""Saves trainings while they run, so that a trial that was interrupted continues where it was."""

from __future__ import annotations

import hashlib
import json
import pickle
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from recdrop_tune.errors import ProjectError, is_disk_failure
from recdrop_tune.files import replacing
from recdrop_tune.kernels import (
    CALLBACK_STATE,
    forget_initial_epoch,
    random_states,
    set_random_states,
)
from recdrop_tune.models import variables_of, walk
from recdrop_tune.tuner.checkpoints import build_like
from recdrop_tune.tuner.reports import BestWeights, Curve, EpochReporter, TrialReport

SNAPSHOT = "snapshot.npy"
"""The file in the folder of a trial, while it trains."""

_ARRAY = "__array__"
"""The key of an array's number in the text of a snapshot."""

_PACKAGES = ("keras", "tensorboard", "recdrop_tune")
"""Between two epochs, their callbacks have no other state than `CALLBACK_STATE`."""


class SnapshotError(ProjectError, kt.errors.FatalError):
    """A snapshot is of another model; the search ends, so that it can be mended."""


class _UnsavableError(Exception):
    """A training cannot be saved."""


@dataclass
class Snapshot:
    """The trainings of a trial at the end of an epoch. The last one is running, the others are over."""

    curves: list[Curve]
    best: list[
        tuple[float | None, list[Any] | None]
    ]  # Of those that are over, and of the last one.
    tests: list[dict[str, float]]  # For each training that is over.
    build: Any
    variables: list[Any]
    random: list[Any]
    callbacks: list[
        tuple[str, dict[str, Any]]
    ]  # The class and the `CALLBACK_STATE` of each known one.

    def save(self, path: Path) -> None:
        """Writes the file, all of it or nothing."""
        arrays: list[Any] = []

        def number_of(value: Any) -> dict[str, int]:
            array = np.asarray(value)
            if array.dtype.name == "bfloat16":  # NumPy's files do not have it.
                array = array.astype("float32")
            if array.dtype.kind not in "biuf":
                raise _UnsavableError(f"a {type(value).__name__} cannot be saved")
            arrays.append(array)
            return {_ARRAY: len(arrays) - 1}

        about = np.array(json.dumps(vars(self), default=number_of))
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

            def array_of(value: dict[str, Any]) -> Any:
                # A number that was NumPy's is one again.
                return arrays[value[_ARRAY]][()] if _ARRAY in value else value

            return cls(**json.loads(str(about), object_hook=array_of))
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
    """

    def __init__(
        self,
        path: Path,
        every: float | None,
        obstacle: str | None = None,
        on_save: Callable[[], None] = lambda: None,
    ) -> None:
        self.path, self.every, self._obstacle, self._on_save = path, every, obstacle, on_save
        # What the interrupted process has left of the training that comes next.
        self.snapshot = Snapshot.load(path) if obstacle is None else None
        # The curves, best weights and test metrics of the trainings that are over.
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
        """Returns what reports a training's epochs, its last callbacks, and further arguments of `fit`."""
        reporter, arguments = EpochReporter(report), dict[str, int]()
        if self.snapshot is not None:
            best = BestWeights(*self.snapshot.best[-1])
            reporter = EpochReporter(report, self.snapshot.curves, best)
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
        if self.every is None or time.monotonic() - self._saved_at < self.every:
            return
        try:
            if self._obstacle is not None:
                raise _UnsavableError(self._obstacle)
            make().save(self.path)
        except _UnsavableError as error:
            self.every = None
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
        self._recovery, self._reporter = recovery, reporter
        self._known = [each for each in callbacks if _package_of(each) in _PACKAGES]
        self._others = [each for each in callbacks if _package_of(each) not in _PACKAGES]
        self._begun: list[bytes | None] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Restores variables and callbacks."""
        if self._recovery.snapshot is not None:
            self._restore(self._recovery.snapshot)
        if self._recovery.every is not None:
            self._begun = [self._fingerprint(each) for each in self._others]

    def _restore(self, snapshot: Snapshot) -> None:
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
        forget_initial_epoch(self.model)
        waiting = list(snapshot.callbacks)
        for callback in self._known:
            # A search can be resumed with other callbacks.
            saved = next((each for each in waiting if each[0] == type(callback).__name__), None)
            if saved is not None:
                waiting.remove(saved)
                # Nothing else: a stranger's folder must not say where a callback writes.
                vars(callback).update(_state(saved[1]))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Takes a snapshot if it is due."""
        if not self.model.stop_training:
            self._recovery.save_if_due(self._snapshot)

    def on_train_end(self, logs: Any = None) -> None:
        """Gives Keras's history all epochs."""
        if self._recovery.snapshot is not None:
            _fill(self.model.history, self._reporter.curve)

    def _snapshot(self) -> Snapshot:
        for callback, begun in zip(self._others, self._begun, strict=True):
            if begun is None or begun != self._fingerprint(callback):
                name = type(callback).__name__
                raise _UnsavableError(f"the state of its callback `{name}` cannot be saved")
        recovery = self._recovery
        best = recovery.best, self._reporter.best_weights
        return Snapshot(
            curves=[*recovery.finished, self._reporter.curve],
            best=[(each.value, each.weights) for each in best],
            tests=recovery.tests,
            build=self.model.get_build_config(),
            variables=[keras.ops.convert_to_numpy(each) for each in variables_of(self.model)],
            random=random_states(),
            callbacks=[(type(each).__name__, _state(vars(each))) for each in self._known],
        )

    def _fingerprint(self, callback: Any) -> bytes | None:
        """Returns a hash of a callback's attributes without the model; None if one cannot be pickled."""
        try:
            pickler = _Hashing({id(each) for each in walk(self.model)})
            pickler.dump(vars(callback))
        except Exception:  # An object can raise anything.
            return None
        return pickler.hash.digest()


class _Hashing(pickle.Pickler):
    """Hashes an object, in which code and the objects with the given ids do not count."""

    def __init__(self, left_out: set[int]) -> None:
        self.hash, self._left_out = hashlib.sha256(), left_out
        super().__init__(SimpleNamespace(write=self.hash.update))

    def persistent_id(self, value: Any) -> int | None:
        is_code = isinstance(value, FunctionType | type | ModuleType)
        return id(value) if is_code or id(value) in self._left_out else None


def _package_of(callback: Any) -> str:
    return type(callback).__module__.partition(".")[0]


def _state(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: attributes[name] for name in CALLBACK_STATE if name in attributes}


def _fill(history: Any, curve: Curve) -> Any:
    """Writes the epochs of a training into a history of Keras."""
    history.epoch = [epoch for epoch, *_ in curve]
    history.history = {}
    for _, metrics, _ in curve:
        for name, value in metrics.items():
            history.history.setdefault(name, []).append(value)
    return history
