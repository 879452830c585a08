"""Opens a search in the oracle's process: makes what serves it, and checks the folder."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import keras

from recdrop_tune.errors import ProjectError, exception_line, invalid_argument
from recdrop_tune.events import Event, SearchStarted, TrackingWarning, TrainingReporter, WorkerLost
from recdrop_tune.mlflow_store import Tracking
from recdrop_tune.oracle import supervised
from recdrop_tune.ray_workers.cluster import import_ray

# What the processes of a search are given: how to make its tuner, and its data, put into Ray once.

DATA = ("train", "validation", "test", "x", "y", "sample_weight", "validation_data")
"""The arguments in whose place a function that makes them may be given."""

Parts = Mapping[str, Any]
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


@dataclass(frozen=True)
class Job:
    """A search as each of its processes gets it.

    Attributes:
        parts: References to what is large or not known to pickle, by the names of arguments.
        make_tuner: Makes the tuner of the parts, in the folder given or, for `None`, in its own.
        track: Makes the tracking of a tuner of the parts; called where the oracle is.
        arguments: Makes the arguments of `search` of the parts; called in each worker, once.
        follow_up: Makes what comes after the search of the parts, or returns `None`.
        settings: What processes are set to; see `process_settings`.
    """

    parts: Mapping[str, Any]
    make_tuner: Callable[[Parts, Path | None], Any]
    track: Callable[[Parts, Any], Tracking]
    arguments: Callable[[Parts], tuple[tuple[Any, ...], dict[str, Any]]]
    follow_up: Callable[[Parts], FollowUp | None]
    settings: Mapping[str, Any]


def put_parts(ray: Any, parts: Parts) -> dict[str, Any]:
    """Puts each part into Ray's object store, once for all processes.

    Arrays are not copied again by processes on the same machine.

    Args:
        ray: Ray.
        parts: The parts by the names of arguments.

    Raises:
        InvalidArgumentError: One cannot be pickled.
    """
    references = {}
    for name, value in parts.items():
        try:
            references[name] = ray.put(value)
        except Exception as error:  # Whatever the part raises when it is to be pickled.
            raise invalid_argument(
                name,
                expected="what can be pickled, to be sent to the workers",
                received=type(value).__name__,
                fix=_remedy(name, error),
            ) from error
    return references


def _remedy(name: str, error: Exception) -> str:
    reason = f"({type(error).__name__}: {exception_line(str(error).strip())})"
    if name in DATA:
        return f"Pass a function that makes it, which each process calls: `{name}=lambda: ...`. {reason}"
    return f"It may hold no lock, no open file and nothing of TensorFlow's. {reason}"


def get_parts(ray: Any, references: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parts that `put_parts` has put."""
    return dict(zip(references, ray.get(list(references.values())), strict=True))


def process_settings() -> dict[str, Any]:
    """Returns what a process has to be set to, to be like this one: its folder, and Keras."""
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


def open_search(job: Job, folder: Path) -> Opened:
    """Makes the tuner, the oracle and the tracking of a search; where it has begun already it goes on.

    Args:
        job: The search.
        folder: The project folder as whoever began the search sees it; it holds the file `MARK`.

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
    apply_settings(job.settings)
    parts = get_parts(import_ray(), job.parts)
    tuner = job.make_tuner(parts, None)
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
    tracking = job.track(parts, tuner)
    tracking.goes_on_after_search = True
    return Opened(tuner, oracle, tracking, job.follow_up(parts))


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
