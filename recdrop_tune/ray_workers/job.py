"""A search as it is sent to other processes, and the tasks that follow it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import keras

from recdrop_tune.errors import exception_line, invalid_argument
from recdrop_tune.session import SearchSession
from recdrop_tune.tuner import Tuner

DATA = ("train", "validation", "test", "x", "y", "sample_weight", "validation_data")
"""The arguments with data. Each can also be a function that makes them."""

Task = Mapping[str, Any]


FollowUp = Any
"""Trainings after the search: the `Confirmation` of `search`, which imports this folder."""

WAIT = "wait"
"""Returned instead of a task while other workers have theirs: one may die, and its task is due again."""


class Tasks:
    """The tasks of what follows the search, if anything, in the oracle's process.

    `losses` is the number of workers that can be lost over one task. `over` is whether a worker has asked
    for a task and none was left.
    """

    def __init__(
        self, follow_up: FollowUp | None, tuner: Tuner, tracking: SearchSession, losses: int
    ) -> None:
        self._follow_up = follow_up
        self._tuner = tuner
        self._tracking = tracking
        self._limit = losses
        self._left: list[Task] = []
        self._cancelled = False
        self._busy: dict[str, Task] = {}
        self._losses: list[Task] = []
        self.over = False

    def next(self, tuner_id: str) -> Task | str | None:
        """Returns the next task of a worker that has finished its last one; `WAIT`, or `None` at the end."""
        self._busy.pop(tuner_id, None)
        # A round begins when nothing of the one before is missing.
        if self._follow_up is not None and not (self._left or self._busy or self._cancelled):
            self._left = [*self._follow_up.tasks(self._tuner, self._tracking)]
        if self._left:
            self._busy[tuner_id] = self._left.pop(0)
            return self._busy[tuner_id]
        self.over = not self._busy
        return None if self.over else WAIT

    def cancel(self) -> None:
        """Drops the tasks that have not begun, and all further rounds."""
        self._left, self._cancelled = [], True

    def is_busy(self, tuner_id: str) -> bool:
        """Returns whether a worker has a task."""
        return tuner_id in self._busy

    def give_up(self, tuner_id: str, reason: str) -> bool:
        """Gives the task of a dead worker to another one, unless it has cost too many workers.

        Returns whether the worker had a task.
        """
        task = self._busy.pop(tuner_id, None)
        if task is None or self._follow_up is None:
            return False
        self._losses.append(task)
        if self._losses.count(task) < self._limit:
            self._left.insert(0, task)
        else:
            self._follow_up.failed(self._tracking, task, reason)
        return True


class Job(Protocol):
    """A search as each of its processes gets it: a frozen dataclass, whose values are sent by `pack`."""

    @property
    def compilation_cache(self) -> bool | Path:
        """Whether, or where, compiled programs are kept for other processes."""

    def new_tuner(self, directory: Path | None = None) -> Tuner:
        """Makes the tuner, in the project folder or, for a worker, in another one."""

    def track(self, tuner: Tuner) -> SearchSession:
        """Tracks the tuner; called in the oracle's process."""

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Makes the arguments of `search`; called once in each worker."""

    def follow_up(self) -> FollowUp | None:
        """Makes what follows the search."""


@dataclass(frozen=True)
class Parcel:
    """A job of a class `kind`, on its way to other processes.

    `values` are references to the job's values in Ray's object store, where processes on the same machine
    share arrays. `settings` are those of the sending process for the others; see `process_settings`.
    """

    kind: Callable[..., Job]
    values: Mapping[str, Any]
    settings: Mapping[str, Any]

    def changed(self, ray: Any, **values: Any) -> Parcel:
        """Returns the same job with other values for some names."""
        sent = {name: ray.put(value) for name, value in values.items()}
        return replace(self, values={**self.values, **sent})

    def unpacked(self, ray: Any) -> Job:
        """Returns the job, after it has set up this process like the sending one."""
        apply_settings(self.settings)
        values = ray.get(list(self.values.values()))
        return self.kind(**dict(zip(self.values, values, strict=True)))


def pack(ray: Any, job: Any) -> Parcel:
    """Puts the values of a job, which is a dataclass, into Ray's object store."""
    values = {name: _put(ray, name, value, _parts(value)) for name, value in _values(job).items()}
    return Parcel(type(job), values, process_settings())


def _put(ray: Any, name: str, value: Any, parts: Mapping[str, Any]) -> Any:
    try:
        return ray.put(value)
    except Exception as error:  # Pickling a value can raise anything.
        for inner, part in parts.items():
            # The user knows a part by its own name.
            _put(ray, inner, part, _parts(part) if is_dataclass(part) else {})
        reason = f"({type(error).__name__}: {exception_line(str(error).strip())})"
        raise invalid_argument(
            name,
            expected="a value that can be pickled, to be sent to the workers",
            received=type(value).__name__,
            fix=f"Pass a function that makes it, which each process calls: `{name}=lambda: ...`. {reason}"
            if name in DATA
            else f"It must not contain locks, open files or TensorFlow objects. {reason}",
        ) from error


def _parts(value: Any) -> Mapping[str, Any]:
    """Returns the arguments that a value of a job consists of, by name."""
    own = type(value).__module__.partition(".")[0] == __name__.partition(".")[0]
    if own and is_dataclass(value):  # The fields of a user-defined class are not arguments.
        return _values(value)
    return value if isinstance(value, Mapping) else {}


def _values(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def process_settings() -> dict[str, Any]:
    """Returns the settings that make another process like this one: the working directory, and Keras's."""
    return {
        "folder": os.getcwd(),
        "keras": {
            "floatx": keras.config.floatx(),
            "image_data_format": keras.config.image_data_format(),
            "dtype_policy": keras.config.dtype_policy(),
        },
    }


def apply_settings(settings: Mapping[str, Any]) -> None:
    """Applies the settings of the process that began the search."""
    with suppress(OSError):  # Another machine might not have the folder.
        os.chdir(settings["folder"])
    for name, value in settings["keras"].items():
        getattr(keras.config, f"set_{name}")(value)


MARK = "several-workers"
"""File in the project folder while several workers are running there."""
