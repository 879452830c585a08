"""Finds the events of a search that were written to the journal and, for a kill, not to MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recdrop_tune.tracking._events import ConfirmationEnded, Event, TrialEnded, TrialStarted


def unwritten(history: Iterable[Event], runs: Mapping[str, Any], finished: bool) -> list[Event]:
    """Picks the events to write again; writing one twice does no harm, for each bears its time.

    Args:
        history: The events of earlier sessions, in order.
        runs: MLflow's run of each trial, by Keras Tuner's id, as far as there is one.
        finished: Whether the last session came to its end, so that MLflow has all of it.

    Returns:
        Whole trials, from their start to their end, and then the confirmations. A trial that has not
        ended is left out: it will be run again.
    """
    attempts: dict[str, list[Event]] = {}
    confirmations: list[Event] = []
    for event in history:
        trial_id = getattr(event, "trial_id", None)
        if isinstance(event, TrialStarted):
            attempts[event.trial_id] = [event]
        elif isinstance(event, ConfirmationEnded):
            confirmations.append(event)
        elif trial_id in attempts:
            attempts[trial_id].append(event)
    missing = [
        event
        for trial_id, events in attempts.items()
        if isinstance(events[-1], TrialEnded) and not _is_whole(runs.get(trial_id), events[0])
        for event in events
    ]
    return missing if finished else [*missing, *confirmations]


def is_of(run: Any, event: Event) -> bool:
    """Says whether a run is that of the attempt at a trial which an event started."""
    return run is not None and int(run.info.start_time) == milliseconds(event.time)


def milliseconds(time: float) -> int:
    """Turns seconds since 1970 into MLflow's unit."""
    return int(time * 1000)


def _is_whole(run: Any, started: Event) -> bool:
    return is_of(run, started) and run.info.status != "RUNNING"
