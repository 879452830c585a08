"""What the journal says about a search as a whole."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from recdrop_tune.tracking import Journal, SearchStarted

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


@dataclass(frozen=True)
class Search:
    """A search as its report describes it.

    Attributes:
        name: Its name.
        tuner: What proposed its trials.
        when: When it began; empty if that is not known.
        space: Its space as YAML, or words for it; empty if it is not known.
        settings: Number of trials, epochs, seed, versions.
    """

    name: str
    tuner: str
    when: str
    space: str
    settings: dict[str, Any]


def read_search(result: TuneResult) -> Search:
    """Reads a search's journal, and the versions that write its report."""
    events = Journal(result.tracking.journal_path).read()
    started = [event for event in events if isinstance(event, SearchStarted)]
    here = {"mlflow": version("mlflow"), "plotly": version("plotly")}
    here |= {"python": platform.python_version(), "platform": platform.platform()}
    if not started:
        return Search(result.directory.name, "", "", result.tracking.space or "", here)
    last = started[-1]
    return Search(
        name=last.name,
        tuner=last.tuner,
        when=time.strftime("%Y-%m-%d %H:%M", time.localtime(started[0].time)),
        space=last.space or "",
        settings={"max_trials": last.max_trials, **last.info, **here},
    )
