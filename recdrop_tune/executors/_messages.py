"""What the oracle's process says to the one that began the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recdrop_tune.tracking import Event

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
