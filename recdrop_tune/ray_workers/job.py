"""The description of a search that goes to other processes, and what the oracle's process makes of it."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import keras

from recdrop_tune.errors import ProjectError, exception_line, invalid_argument
from recdrop_tune.events import (
    Event,
    Listener,
    SearchStarted,
    TrackingWarning,
    TrainingReporter,
    WorkerLost,
)
from recdrop_tune.mlflow_store import Tracking
from recdrop_tune.oracle import supervised
from recdrop_tune.ray_workers.cluster import import_ray

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


class Job(Protocol):
    """A search as each of its processes gets it: a frozen dataclass, whose values are sent by `pack`."""

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
        name: _put(ray, name, value, _parts(value)) for name, value in _parts(job).items()
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
    """Returns what a job, or a value of it, consists of: arguments by their names."""
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return value if isinstance(value, Mapping) else {}


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


# What the oracle's process says to the one that began the search.

NOT_OPEN = "not open"
"""In the place of an answer: the process has just been started again."""


@dataclass(frozen=True)
class State:
    """What the driver is told of a search.

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
"""File in the project folder while several workers are at it."""


@dataclass(frozen=True)
class Opened:
    """A search that is open.

    Attributes:
        tuner: Its tuner; what it calls its oracle is tracked.
        oracle: The oracle itself, which outlives workers.
        tracking: Its tracking.
        follow_up: What comes after the search, or `None`.
    """

    tuner: Any
    oracle: Any
    tracking: Tracking
    follow_up: FollowUp | None


def open_search(parcel: Parcel, folder: Path) -> Opened:
    """Makes the tuner, the oracle and the tracking of a search; where it has begun already it goes on.

    Args:
        parcel: The search.
        folder: The project folder as the process sees it that began the search; it holds the file `MARK`.

    Raises:
        ProjectError: The folder is not the same here.
        InvalidArgumentError: The tuner deletes its folder.
    """
    mark = folder / MARK
    if not mark.exists():
        raise ProjectError(
            f"The folder `{folder}` cannot be seen where Ray runs the oracle. Give a `directory` on a "
            "file system that this machine and the head of the cluster share."
        )
    job = parcel.unpacked(import_ray())
    tuner = job.new_tuner()
    if not mark.exists():
        raise invalid_argument(
            "make_tuner",
            expected="a function that makes a tuner without `overwrite=True`",
            received="a tuner that deletes its project folder",
            fix="It is called in each process, and would delete the search that is under way.",
        )
    _check_folder(tuner, folder)
    plain = tuner.oracle
    oracle = tuner.oracle = supervised(plain)
    oracle.hosted, oracle.verbose = True, 0
    # What Keras Tuner's own oracle has loaded may not add up.
    if oracle is not plain and Path(tuner.project_dir, f"{tuner.tuner_id}.json").exists():
        tuner.reload()
    tracking = job.track(tuner)
    tracking.goes_on_after_search = True
    return Opened(tuner, oracle, tracking, job.follow_up())


def losses_of(history: Iterable[Event]) -> Counter[str | None]:
    """Counts the workers that were lost over each trial since the search was last begun."""
    found: Counter[str | None] = Counter()
    for event in history:
        if isinstance(event, SearchStarted):
            found.clear()
        elif isinstance(event, WorkerLost):
            found[event.trial_id] += 1
    return found


def keep_warnings(kept: list[str]) -> None:
    """Adds to a list what the tracking warns of.

    It changes how this process shows warnings, and is for one that does nothing but serve a search.
    """
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, TrackingWarning):
            kept.append(str(message))
        shown(message, category, *where, **more)

    warnings.showwarning = show


def _check_folder(tuner: Any, folder: Path) -> None:
    there = Path(tuner.project_dir).resolve()
    if there != folder.resolve():
        raise ProjectError(
            f"The tuner's folder is `{there}` where Ray runs the oracle, and `{folder}` where the search "
            "was begun. Make the tuner with an absolute `directory`."
        )
