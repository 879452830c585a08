"""Searches side by side, read from their journals: no TensorFlow, and a moment each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recdrop_tune import standing
from recdrop_tune.errors import ProjectError
from recdrop_tune.events import SearchStarted
from recdrop_tune.files import JOURNAL, RUNS
from recdrop_tune.journal import Journal
from recdrop_tune.records import Records
from recdrop_tune.states import FINAL

if TYPE_CHECKING:
    import pandas as pd

_TYPES = (
    dict.fromkeys(("folder", "experiment", "data", "objective"), "string")
    | dict.fromkeys(("best", "confirmed", "gain"), "Float64")
    | dict.fromkeys(("wrapper", "placement", "rate"), "string")
    | dict.fromkeys(("trials", "complete", "pruned", "failed"), "Int64")
    | {"seconds": "Float64"}
)


def compare(*folders: str | Path) -> pd.DataFrame:
    """Lists searches, one row each, for each objective the best first.

    It reads only their journals, so it takes a moment. A search may still be running, or have been
    interrupted. Scores compare only where the data and the objective are the same; this is not checked.

    Columns: `folder`, `experiment`, `data` (in words), `objective`, `best` (score of the best complete
    trial), `confirmed` (mean of the recommended configuration), `gain` (of the best dropout over its twin, as
    the summary states it; a plain difference while the search runs), `wrapper`, `placement` and `rate` of
    the best trial (as text, several joined by `/`), `trials`, `complete`, `pruned`, `failed`, `seconds`
    (breaks left out), `began` (local time). After a confirmation, the best trial is the recommended one.

    Args:
        *folders: Project folders, or folders that contain some; by default `recdrop_runs`.

    Raises:
        ProjectError: A folder contains no search, or its journal is damaged.

    Example:
        >>> recdrop_tune.compare("recdrop_runs")[["folder", "best", "wrapper", "gain"]]
        >>> recdrop_tune.compare("recdrop_runs/speech", "recdrop_runs/music")
    """
    import pandas as pd

    rows = []
    for project in (
        path for folder in folders or (RUNS,) for path in _projects(Path(folder).expanduser())
    ):
        records = Records(Journal(project / JOURNAL).read(epochs=False))
        # One that was killed at its start has no first event, and a comparison of models has no trials.
        if records.search and not records.models:
            rows.append(_row(project, records, records.search))
    frame = pd.DataFrame(rows, columns=[*_TYPES, "began", "rank"]).astype(_TYPES)
    frame["began"] = pd.to_datetime(frame["began"].map(datetime.fromtimestamp))
    frame = frame.sort_values(["objective", "rank"], kind="stable", ignore_index=True)
    return frame.drop(columns="rank")


def _projects(folder: Path) -> list[Path]:
    if (folder / JOURNAL).exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{JOURNAL}"))
    if not found:
        raise ProjectError(
            f"`{folder}` contains no search: it and its folders have no `{JOURNAL}`."
        )
    return found


def _row(folder: Path, records: Records, search: SearchStarted) -> dict[str, Any]:
    best, gain, result = standing.best(records), standing.gain(records), records.result
    score, values = (best.score, best.active) if best else (None, {})
    value, metrics = (gain.value if gain else None), {}
    if result:  # It knows the confirmation.
        values, metrics = result.best, result.metrics
        names = ("confirmed_test_gain", "confirmed_gain", "gain")
        value = next((v for n in names if (v := metrics.get(n)) is not None), None)
    states = [each.state for each in records.trials.values()]
    return {
        "folder": str(folder),
        "experiment": search.experiment,
        "data": (search.context and search.context.words) or None,
        "objective": search.objective,
        "best": score,
        "confirmed": metrics.get("confirmed"),
        "gain": value,
        **{name: _joined(values, name) for name in ("wrapper", "placement", "rate")},
        "trials": len(states),
        **{state.lower(): states.count(state) for state in FINAL},
        "seconds": records.seconds,
        "began": records.began,
        "rank": best.cost if best else None,
    }


def _joined(values: Mapping[str, Any], question: str) -> str | None:
    """Joins the values of all layers and sites: `enc/rate` and `dec/rate.input` are both a `rate`."""
    found = [
        f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
        if name.rpartition("/")[2].partition(".")[0] == question
    ]
    return " / ".join(found) or None
