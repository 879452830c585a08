"""Searches beside each other, read from their journals alone: no TensorFlow, and a moment for each.

`TuneResult` knows more of one search, and takes seconds to load.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recdrop_tune.errors import ProjectError, ProjectWarning, invalid_argument
from recdrop_tune.files import JOURNAL, RUNS

if TYPE_CHECKING:
    import pandas as pd

_TYPES = {
    "folder": "string",
    "experiment": "string",
    "data": "string",
    "objective": "string",
    "best": "Float64",
    "confirmed": "Float64",
    "gain": "Float64",
    "wrapper": "string",
    "placement": "string",
    "rate": "string",
    "trials": "Int64",
    "complete": "Int64",
    "pruned": "Int64",
    "failed": "Int64",
    "seconds": "Float64",
}


def compare(*folders: str | Path) -> pd.DataFrame:
    """Puts searches beside each other: one row each, for each objective the best first.

    Only their journals are read, so that it takes a moment. Searches may be running, or have been broken off.
    Scores can be compared where the data and the objective are the same, which this does not check.

    Columns: `folder`, `experiment`, `data` (in words), `objective`, `best` (score of the best complete
    trial), `confirmed` (the mean of its confirmed trainings), `gain` (of the best trial with dropout over its
    twin, confirmed or not; positive is better), `wrapper`, `placement` and `rate` of the best trial (as text;
    joined by `/` where there are several), `trials`, `complete`, `pruned`, `failed`, `seconds` (while it
    ran, breaks left out), `began` (in local time). After a confirmation the best trial is the one with the
    best mean.

    Args:
        *folders: Project folders, and folders that hold such; by default `recdrop_runs`.

    Raises:
        InvalidArgumentError: An argument is no path.
        ProjectError: There is no such folder, or no search in it.

    Example:
        >>> recdrop_tune.compare("recdrop_runs")[["folder", "best", "wrapper", "gain"]]
        >>> recdrop_tune.compare("recdrop_runs/speech", "recdrop_runs/music")
    """
    import pandas as pd

    searches = [search for folder in folders or (RUNS,) for search in _searches(folder)]
    searches.sort(key=_Search.rank)
    frame = pd.DataFrame([search.row() for search in searches], columns=list(_TYPES))
    began = [_moment(search.began) for search in searches]
    return frame.astype(_TYPES).assign(began=pd.to_datetime(pd.Series(began, dtype=object)))


def _moment(time: float) -> datetime | None:
    """Returns the local time; `None` where a damaged file has one that no calendar knows."""
    try:
        return datetime.fromtimestamp(time)
    except (ValueError, OverflowError, OSError):
        return None


def _searches(folder: str | Path) -> Iterator[_Search]:
    """Yields the search in a folder, or those in the folders in it.

    Raises:
        InvalidArgumentError: It is no path.
        ProjectError: There is none.
    """
    if not isinstance(folder, str | os.PathLike):
        raise invalid_argument("folders", expected="paths of folders", received=folder)
    folder = Path(folder)
    if not folder.is_dir():
        raise ProjectError(f"There is no folder `{folder}`.")
    if (folder / JOURNAL).exists():
        yield _read(folder)
        return
    found = sorted(path.parent for path in folder.glob(f"*/{JOURNAL}"))
    if not found:
        raise ProjectError(
            f"`{folder}` holds no search, and no folder of one: there is no `{JOURNAL}`. Give project "
            f"folders, or the folder in which they are, by default `{RUNS}`."
        )
    for each in found:
        try:
            search = _read(each)
            search.rank(), search.row()  # Now, for they are where a damaged file shows.
            yield search
        except (ProjectError, OSError, ValueError, TypeError, KeyError) as error:
            # The others can be compared all the same.
            warnings.warn(f"`{each}` is left out: {error}", ProjectWarning, stacklevel=4)


def _read(folder: Path) -> _Search:
    search = _Search(folder)
    for line in (folder / JOURNAL).read_text("utf-8", errors="replace").split("\n"):
        if '"EpochEnded"' in line[:40]:  # Most lines are epochs, and they say nothing here.
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):  # Cut short by a crash, or damaged.
            continue
        if isinstance(event, dict):
            search.take(event)
    if not search.started:
        raise ProjectError(f"`{folder / JOURNAL}` does not tell how a search began: it is damaged.")
    return search


class _Search:
    """What the journal tells of one search.

    Args:
        folder: The project folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: dict[str, Any] = {}
        self.began = math.nan
        self._trials: dict[str, dict[str, Any]] = {}
        self._confirmed: dict[tuple[str, bool], dict[int, float]] = {}
        self._sessions: list[list[float]] = []

    def take(self, event: dict[str, Any]) -> None:
        """Takes one event in."""
        kind, time, trial_id = (
            event.get("event"),
            _number(event.get("time")),
            str(event.get("trial_id")),
        )
        if kind == "SearchStarted":
            self.started = event
            self.began = time if math.isnan(self.began) else self.began
            self._sessions.append([time])
        elif kind == "TrialStarted":
            # One that runs again, after a crash, begins from nothing.
            self._trials[trial_id] = {"values": _mapping(event.get("hyperparameters"))}
        elif kind == "TrialEnded" and trial_id in self._trials:
            self._trials[trial_id] |= {
                "state": event.get("status"),
                "score": _number(event.get("score")),
            }
        elif kind == "ConfirmationEnded" and not math.isnan(_number(event.get("score"))):
            runs = self._confirmed.setdefault((trial_id, bool(event.get("twin"))), {})
            repeat = _number(event.get("repeat"))
            if math.isfinite(repeat):
                runs[int(repeat)] = _number(event["score"])
        if self._sessions:
            self._sessions[-1].append(time)

    @property
    def _sign(self) -> float:
        return -1.0 if self.started.get("direction") == "max" else 1.0

    def rank(self) -> tuple[str, float]:
        """Returns what orders searches: the objective, then the best score."""
        best = self._score(self._best())
        return str(self.started.get("objective")), math.inf if math.isnan(
            best
        ) else self._sign * best

    def row(self) -> dict[str, Any]:
        """Returns the row of the search, `None` where something is not known."""
        best, states = self._best(), [trial.get("state") for trial in self._trials.values()]
        values = self._trials[best]["values"] if best is not None else {}
        seconds = sum(max(0.0, max(times) - times[0]) for times in self._sessions)
        row = {
            "folder": str(self.folder),
            "experiment": self.started.get("experiment"),
            "data": _mapping(self.started.get("context")).get("words") or None,
            "objective": self.started.get("objective"),
            "best": self._score(best),
            "confirmed": self._mean(best, False),
            "gain": self._gain(),
            "wrapper": _joined(values, "wrapper"),
            "placement": _joined(values, "placement"),
            "rate": _joined(values, "rate"),
            "trials": len(states),
            **{state.lower(): states.count(state) for state in ("COMPLETE", "PRUNED", "FAILED")},
            "seconds": seconds,
        }
        return {name: _clean(value) for name, value in row.items()}

    def _best(self) -> str | None:
        """Returns the best complete trial; after a confirmation the one with the best mean."""
        complete = self._complete()
        confirmed = [each for each in complete if (each, False) in self._confirmed]
        if confirmed:
            return min(confirmed, key=lambda each: self._sign * self._mean(each, False))
        return complete[0] if complete else None

    def _complete(self) -> list[str]:
        """Lists the complete trials that have a score, best first."""
        found = [
            trial_id
            for trial_id, trial in self._trials.items()
            if trial.get("state") == "COMPLETE" and not math.isnan(trial["score"])
        ]
        return sorted(found, key=lambda each: self._sign * self._score(each))

    def _score(self, trial_id: str | None) -> float:
        return math.nan if trial_id is None else float(self._trials[trial_id]["score"])

    def _mean(self, trial_id: str | None, twin: bool) -> float:
        runs = self._confirmed.get((trial_id or "", twin))
        return statistics.fmean(runs.values()) if runs else math.nan

    def _gain(self) -> float:
        """Returns what dropout was worth: the best trial with dropout against its twin."""
        dropping = [
            each for each in self._complete() if not _drops_nothing(self._trials[each]["values"])
        ]
        confirmed = [each for each in dropping if (each, False) in self._confirmed]
        if confirmed:
            best = min(confirmed, key=lambda each: self._sign * self._mean(each, False))
            return self._confirmed_gain(best)
        twins = (self._twin(each) for each in dropping[:1])
        twin = next((each for each in twins if each is not None), None)
        return (
            math.nan
            if twin is None
            else self._sign * (self._score(twin) - self._score(dropping[0]))
        )

    def _confirmed_gain(self, trial_id: str) -> float:
        """Returns the mean difference over the seeds that both have been trained with."""
        own, twin = self._confirmed[trial_id, False], self._twin(trial_id)
        other = self._confirmed.get((trial_id, True)) or self._confirmed.get(
            (twin or "", False), {}
        )
        both = own.keys() & other.keys()
        if not both:
            return math.nan
        return self._sign * statistics.fmean(other[seed] - own[seed] for seed in both)

    def _twin(self, trial_id: str) -> str | None:
        """Finds the complete trial with the same settings without dropout."""
        values = self._trials[trial_id]["values"]
        for other in self._complete():
            without = self._trials[other]["values"]
            kept = {k: v for k, v in without.items() if v is not None and _last(k) != "wrapper"}
            same = all(values.get(name) == value for name, value in kept.items())
            if same and _drops_nothing(without):
                return other
        return None


def _last(name: str) -> str:
    """Takes the layer off the name of a hyperparameter, as in `encoder/wrapper`."""
    return name.rpartition("/")[2]


def _drops_nothing(values: Mapping[str, Any]) -> bool:
    wrappers = [each for name, each in values.items() if _last(name) == "wrapper"]
    return all(each == "none" for each in wrappers if each is not None)


def _joined(values: Mapping[str, Any], what: str) -> str | None:
    """Writes what layers and sites have of a hyperparameter."""
    found = [
        f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
        if value is not None and _last(name).partition(".")[0] == what
    ]
    return " / ".join(found) or None


def _number(value: Any) -> float:
    """Reads a number; NaN if it is none. JSON has no infinity, which is written as a word."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _clean(value: Any) -> Any:
    """Returns what a frame can hold: no NaN, and no half of a character."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return None if isinstance(value, float) and math.isnan(value) else value


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
