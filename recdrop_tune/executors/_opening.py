"""Opens a search in the oracle's process: makes what serves it, and checks the folder."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recdrop_tune.errors import ProjectError, invalid_argument
from recdrop_tune.executors._job import FollowUp, Job, apply_settings, get_parts
from recdrop_tune.executors._ray import import_ray
from recdrop_tune.oracle import supervised
from recdrop_tune.tracking import Event, SearchStarted, Tracking, TrackingWarning, WorkerLost

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
