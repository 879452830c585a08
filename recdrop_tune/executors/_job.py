"""What the processes of a search are given: how to make its tuner, and its data, put into Ray once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.tracking import Tracking, TrainingReporter

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
        settings: Keras's own settings.
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
            reason = str(error).strip().partition("\n")[0]
            raise invalid_argument(
                name,
                expected="what can be pickled, to be sent to the workers",
                received=type(value).__name__,
                fix=(
                    f"Pass a function that makes it: each worker calls it once, `{name}=lambda: ...`. "
                    f"({type(error).__name__}: {reason})"
                ),
            ) from error
    return references


def get_parts(ray: Any, references: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parts that `put_parts` has put."""
    return dict(zip(references, ray.get(list(references.values())), strict=True))


def keras_settings() -> dict[str, Any]:
    """Returns the settings of Keras that models depend on."""
    return {
        "floatx": keras.config.floatx(),
        "image_data_format": keras.config.image_data_format(),
        "dtype_policy": keras.config.dtype_policy(),
    }


def apply_settings(settings: Mapping[str, Any]) -> None:
    """Sets Keras as it was set where the search was begun."""
    for name, value in settings.items():
        getattr(keras.config, f"set_{name}")(value)
