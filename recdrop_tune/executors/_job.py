"""What the processes of a search are given: how to make its tuner, and its data, put into Ray once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras

from recdrop_tune.errors import exception_line, invalid_argument
from recdrop_tune.tracking import Tracking, TrainingReporter

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
