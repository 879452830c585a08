"""`Job`: a search as it goes to other processes; the tasks that follow it; and how its processes answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import keras

from recdrop_tune.errors import exception_line, invalid_argument
from recdrop_tune.events import Event, Listener
from recdrop_tune.mlflow_store import Tracking
from recdrop_tune.tuner import TrainingReporter

DATA = ("train", "validation", "test", "x", "y", "sample_weight", "validation_data")
"""The arguments in whose place a function that makes them may be given."""

Task = Mapping[str, Any]


class FollowUp(Protocol):
    """Trainings that come after the search, such as its confirmation."""

    def tasks(self, tuner: Any, tracking: Tracking) -> Sequence[Task]:
        """Lists what is still to be done; called where the oracle is."""

    def run(
        self,
        tuner: Any,
        task: Task,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        reporter: TrainingReporter,
        offer: Callable[..., None],
    ) -> None:
        """Does one of them, in a worker; `offer` hands its result to `keep`."""

    def keep(self, tuner: Any, tracking: Tracking, *result: Any) -> None:
        """Takes a result; called where the oracle is."""

    def failed(self, tracking: Tracking, task: Task, reason: str) -> None:
        """Takes note of one that cannot be done; called where the oracle is."""


WAIT = "wait"
"""In the place of a task: others are still at work on theirs, and may be lost over it."""


class Tasks:
    """The tasks of a follow-up, where the oracle is.

    Args:
        follow_up: What comes after the search, or `None`.
        tuner: The tuner with the oracle.
        tracking: Its tracking.
        losses: How many workers may be lost over one task.

    Attributes:
        over: Whether a worker has asked for a task and there was none left.
    """

    def __init__(
        self, follow_up: FollowUp | None, tuner: Any, tracking: Tracking, losses: int
    ) -> None:
        self._follow_up = follow_up
        self._tuner = tuner
        self._tracking = tracking
        self._limit = losses
        self._left: list[Task] | None = None
        self._busy: dict[str, Task] = {}
        self._losses: list[Task] = []
        self.over = False

    def next(self, tuner_id: str) -> Task | str | None:
        """Returns the next task, `WAIT`, or `None` at the end.

        Args:
            tuner_id: The worker, which is done with its task before.
        """
        self._busy.pop(tuner_id, None)
        if self._left is None:
            follow_up = self._follow_up
            tasks = () if follow_up is None else follow_up.tasks(self._tuner, self._tracking)
            self._left = list(tasks)
        if self._left:
            self._busy[tuner_id] = self._left.pop(0)
            return self._busy[tuner_id]
        self.over = not self._busy
        return None if self.over else WAIT

    def cancel(self) -> None:
        """Leaves out what has not begun."""
        self._left = []

    def is_busy(self, tuner_id: str) -> bool:
        """Says whether a worker has a task."""
        return tuner_id in self._busy

    def keep(self, *result: Any) -> None:
        """Takes the result of a task."""
        if self._follow_up is not None:
            self._follow_up.keep(self._tuner, self._tracking, *result)

    def give_up(self, tuner_id: str, reason: str) -> bool:
        """Hands the task of a dead worker to another one, unless it has cost several of them.

        Returns:
            Whether it had one.
        """
        task = self._busy.pop(tuner_id, None)
        if task is None or self._left is None or self._follow_up is None:
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
        """Whether what is compiled is kept for other processes, or where."""

    def new_tuner(self, directory: Path | None = None) -> Any:
        """Makes the tuner, in the project folder or, for a worker, in another one."""

    def track(self, tuner: Any, listeners: Iterable[Listener] = ()) -> Tracking:
        """Tracks the tuner; called where the oracle is."""

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Makes the arguments of `search`; called where trials run, once in each process."""

    def follow_up(self) -> FollowUp | None:
        """Makes what comes after the search."""


@dataclass(frozen=True)
class Parcel:
    """A job on its way to other processes.

    Attributes:
        kind: The class of the job.
        values: References to the job's values in Ray's object store, by their names. Each lies there once
            for all processes; those on the same machine do not copy its arrays again.
        settings: What a process is set to, to be like the one that sends the job.
    """

    kind: Callable[..., Job]
    values: Mapping[str, Any]
    settings: Mapping[str, Any]

    def changed(self, ray: Any, **values: Any) -> Parcel:
        """Returns the same job with other values for some names."""
        sent = {name: ray.put(value) for name, value in values.items()}
        return replace(self, values={**self.values, **sent})

    def unpacked(self, ray: Any) -> Job:
        """Returns the job, in a process that is now set as the one which has sent it."""
        apply_settings(self.settings)
        values = ray.get(list(self.values.values()))
        return self.kind(**dict(zip(self.values, values, strict=True)))


def pack(ray: Any, job: Any) -> Parcel:
    """Puts the values of a job into Ray's object store.

    Args:
        ray: Ray.
        job: A `Job`, which is a dataclass.

    Raises:
        InvalidArgumentError: One cannot be pickled.
    """
    references = {
        name: _put(ray, name, value, _parts(value)) for name, value in _values(job).items()
    }
    return Parcel(type(job), references, process_settings())


def _put(ray: Any, name: str, value: Any, parts: Mapping[str, Any]) -> Any:
    try:
        return ray.put(value)
    except Exception as error:  # Whatever a value raises when it is to be pickled.
        for inner, part in parts.items():
            _put(ray, inner, part, {})  # The caller knows a part by its own name.
        raise invalid_argument(
            name,
            expected="what can be pickled, to be sent to the workers",
            received=type(value).__name__,
            fix=_remedy(name, error),
        ) from error


def _parts(value: Any) -> Mapping[str, Any]:
    """Returns the arguments, by their names, that a value of a job consists of."""
    own = type(value).__module__.partition(".")[0] == __name__.partition(".")[0]
    if own and is_dataclass(value):  # The fields of a class of the user's are no arguments.
        return _values(value)
    return value if isinstance(value, Mapping) else {}


def _values(value: Any) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _remedy(name: str, error: Exception) -> str:
    reason = f"({type(error).__name__}: {exception_line(str(error).strip())})"
    if name in DATA:
        return f"Pass a function that makes it, which each process calls: `{name}=lambda: ...`. {reason}"
    return f"It may hold no lock, no open file and nothing of TensorFlow's. {reason}"


def process_settings() -> dict[str, Any]:
    """Returns what another process is set to, to be like this one: the folder, and Keras."""
    return {
        "folder": os.getcwd(),
        "keras": {
            "floatx": keras.config.floatx(),
            "image_data_format": keras.config.image_data_format(),
            "dtype_policy": keras.config.dtype_policy(),
        },
    }


def apply_settings(settings: Mapping[str, Any]) -> None:
    """Sets this process as it was set where the search was begun."""
    with suppress(OSError):  # Another machine may not have the folder.
        os.chdir(settings["folder"])
    for name, value in settings["keras"].items():
        getattr(keras.config, f"set_{name}")(value)


NOT_OPEN = "not open"
"""The answer of a process that has just been started again."""


@dataclass(frozen=True)
class State:
    """What is new in a search, for the process that began it.

    Attributes:
        events: The events that it has not seen.
        overdue: The workers whose trial takes too long.
        over: Whether there is nothing left to do.
        warnings: All that the tracking has warned of.
    """

    events: list[Event]
    overdue: list[str]
    over: bool
    warnings: list[str]


@dataclass(frozen=True)
class Closed:
    """What is known at the end of a search.

    Attributes:
        experiment_id: MLflow's experiment, if it has all of the search.
        failure: Why MLflow has not.
        stopped_by: The failures that ended the search.
        run_ids: MLflow's run of each trial.
        unsaved: Why what was found could not be saved.
    """

    experiment_id: str | None = None
    failure: str | None = None
    stopped_by: str | None = None
    run_ids: Mapping[str, str] = field(default_factory=dict)
    unsaved: str | None = None


MARK = "several-workers"
"""File in the project folder while several workers are at work there."""
