"""MLflow's pages of a search: its description, their addresses and command, and the view of its trials."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sysconfig
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from recdrop_tune.addresses import absolute, is_server, sqlite_path
from recdrop_tune.errors import HIDDEN
from recdrop_tune.events import EXHAUSTED, STOPPED, TIMEOUT, SearchStarted
from recdrop_tune.markdown import NOTE_LENGTH, harmless, quoted
from recdrop_tune.mlflow_store.runs import clean
from recdrop_tune.records import QUESTIONS, Records, dropout_settings
from recdrop_tune.states import SearchOutcome
from recdrop_tune.terminal import (
    counts,
    format_best,
    format_best_gain,
    format_ending,
    trainings,
    wording,
)

_ENDS = {
    SearchOutcome.FINISHED: "**Over**, ",
    SearchOutcome.FAILED: "**Failed**, ",
    SearchOutcome.KILLED: "**Interrupted**, ",
}

_MARK = "*Written by recdrop-tune ({}). What you write here yourself stays as it is.*"
"""The last line of a description, with a digest of the rest of it."""


def command(*words: str) -> str:
    """Returns a command of this package, such as `recdrop-tune sync DIR`."""
    program = Path(sysconfig.get_path("scripts"), "recdrop-tune")
    found = shutil.which("recdrop-tune")
    # `.venv/bin/recdrop-tune` works where the environment is not activated.
    if found != str(program) and program.is_relative_to(Path.cwd()) and program.exists():
        return shlex.join([str(program.relative_to(Path.cwd())), *words])
    return shlex.join(["recdrop-tune", *words])


def ui_command(uri: str, directory: str | Path, elsewhere: bool = False) -> str | None:
    """Returns the command that opens MLflow's pages on a search.

    With `elsewhere`, the runs are in another store than the folder records, and the command names it. `None`
    if a server shows the pages, if the runs are in memory, or if the command would need credentials.
    """
    uri = absolute(uri)
    in_memory = uri.startswith("sqlite") and sqlite_path(uri) is None
    if is_server(uri) or in_memory or HIDDEN in uri:
        return None
    place = ["--tracking-uri", uri] if elsewhere else []
    return command("ui", str(Path(directory).resolve()), *place)


def leaderboard_url(
    uri: str, experiment_id: str | None, search_id: str, ascending: bool, has_view: bool = False
) -> str | None:
    """Returns the address of a table of the trials, best first; with the `view`, if the experiment has it.

    Its parameters are those that MLflow's pages use (3.17), not a documented interface. `None` without an
    experiment, if MLflow has failed, and for Databricks, which has other pages.
    """
    if experiment_id is None or (is_server(uri) and not uri.startswith("http")):
        return None
    host = uri.replace(f"{HIDDEN}@", "").rstrip("/") if is_server(uri) else "http://127.0.0.1:5000"
    query = {"workflowType": "machine_learning"}
    if has_view:  # With a filter or an order in the address, the page would ignore the view.
        query["viewStateShareKey"] = f"recdrop-{search_id}"
    else:
        query |= _trials_by_score(search_id) | {"orderByAsc": str(ascending).lower()}
    words = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
    return f"{host}/#/experiments/{experiment_id}/runs?{words}"


def run_name(number: int, trial_id: str, hyperparameters: Mapping[str, Any]) -> str:
    """Names a trial's run after its dropout, such as `0012 variational input 0.3`.

    MLflow's table shows little else at first.
    """
    dropout = " ".join(
        " ".join([*([layer] if layer else []), *map(str, values.values())])
        for layer, values in dropout_settings(hyperparameters).items()
    )
    return f"{number:04d} {dropout or trial_id}"


def searched(trials: Iterable[Mapping[str, object]]) -> list[str]:
    """Lists the hyperparameters that differ between trials, this package's own first."""
    values: dict[str, set[object]] = {}
    for trial in trials:
        for name, value in trial.items():
            values.setdefault(name, set()).add(value)
    differing = [name for name, distinct in values.items() if len(distinct) > 1]
    return sorted(differing, key=lambda name: name.rpartition("/")[2] not in QUESTIONS)


def view_tag(search_id: str) -> str:
    """Returns the name of the experiment's tag with the view of a search."""
    return f"mlflow.sharedViewState.recdrop-{search_id}"


def view(
    search_id: str, objective: str, ascending: bool, trials: Iterable[Mapping[str, object]]
) -> str:
    """Makes the view of a search's trials on MLflow's runs page: best first, with columns and charts.

    By default, the page shows no parameters, no metrics, and the charts of ten runs. A shared view is kept in
    a tag of the experiment, with its key in the address. The format of that tag is that of MLflow 3.17, not a
    documented interface.
    """
    parameters = [clean(name) for name in searched(trials)]
    columns = [f"params.`{name}`" for name in parameters]
    name, score, best_epoch = "attributes.`Run Name`", "metrics.`objective`", "metrics.`best_epoch`"
    charts: list[dict[str, Any]] = [
        {
            "type": "PARALLEL",
            "metricSectionId": "search",
            "selectedParams": parameters,
            "selectedMetrics": ["objective"],  # The last metric colours the lines.
            "showAllRuns": True,
        },
        {
            "type": "LINE",
            "metricSectionId": "training",
            "metricKey": objective,
            "selectedMetricKeys": [objective],
            "lineSmoothness": 0,
            "scaleType": "linear",
            "xAxisKey": "step",
            "xAxisScaleType": "linear",
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "selectedXAxisMetricKey": "",
            "useGlobalLineChartConfig": True,
            "useGlobalXaxisKey": True,
        },
        {
            "type": "SCATTER",
            "metricSectionId": "training",
            "xaxis": {"key": "train_seconds", "type": "METRIC"},
            "yaxis": {"key": "objective", "type": "METRIC"},
        },
    ]
    shared = {"deleted": False, "isGenerated": False, "runsCountToCompare": 100}
    sections = [("search", "Hyperparameters and scores", 1), ("training", "Training", 2)]
    state = {
        **_trials_by_score(search_id),
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [score, best_epoch, *columns],
        "columnOrder": [name, score, *columns, best_epoch, "runDateAndNestInfo", "duration"],
        "columnWidths": {name: 300, **dict.fromkeys(columns, 130)},
        "compareRunSections": [
            {"uuid": uuid, "name": title, "display": True, "isReordered": True, "columns": number}
            for uuid, title, number in sections
        ],
        "compareRunCharts": [
            {**chart, **shared, "uuid": chart["type"].lower()} for chart in charts
        ],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "runsHiddenMode": "SHOW_ALL",
    }
    return json.dumps(state)


def _trials_by_score(search_id: str) -> dict[str, str]:
    """Selects the trials of a search on MLflow's runs page, ordered by their objective."""
    return {
        "searchFilter": f"tags.`recdrop.search_id` = '{search_id}' AND tags.`recdrop.kind` = 'trial'",
        "orderByKey": "metrics.`objective`",
    }


def description(
    records: Records,
    end: tuple[SearchOutcome, float] | None,
    summary: str | None,
    links: Sequence[str],
    folder: Path | None = None,
) -> str:
    """Describes a search on the page of its run: its state, or its result.

    `end` is MLflow's status and the time of the end, if the search is over; `summary` the result, once it is
    saved. Only `links` has links: all other text can be anybody's. `folder` is the project folder if it can
    be a stranger's, whose way to resume could be any command.
    """
    body = harmless(_state(records, end) if summary is None else summary)
    # Links come first, for the page folds all but the first lines.
    top, bottom = " · ".join(links), _resuming(records, end, folder)
    room = NOTE_LENGTH - len(top) - len(bottom) - len(_MARK) - 30
    if len(body) > room:
        body = body[: max(room, 0)].rpartition("\n")[0]
    text = "\n\n".join(filter(None, [top, body.strip(), bottom]))
    return f"{text}\n\n{_mark_of(text)}"


def links_of(
    uri: str, experiment_id: str, run_id: str, search: SearchStarted, report: bool
) -> list[str]:
    """Links from the page of a search's run to its trials and, if it is an artifact, to its report."""
    # They start with `#`, because a page can be reached under several addresses. Databricks has other pages.
    trials = leaderboard_url(uri, experiment_id, search.search_id, search.direction != "max")
    if trials is None:
        return []
    page = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/result/report.html"
    links = [f"[Report with figures]({page}?workflowType=machine_learning)"] if report else []
    return [*links, f"[All trials, best first](#{trials.partition('#')[2]})"]


def _mark_of(text: str) -> str:
    return _MARK.format(hashlib.sha256(text.encode()).hexdigest()[:8])


def is_the_users(note: str | None) -> bool:
    """Returns whether somebody else has written a description, or changed one of ours."""
    text, _, last = (note or "").strip().rpartition("\n\n")
    return bool(last) and last != _mark_of(text)


def _state(records: Records, end: tuple[SearchOutcome, float] | None) -> str:
    """Describes the state of a search that has no result yet."""
    search = records.search
    assert search is not None
    most = "" if search.max_trials is None else f" of at most {search.max_trials}"
    numbers = [f"{len(records.trials)}{most} trials started"]
    if records.models:
        numbers = [f"comparing {', '.join(records.models.values())}"]
    numbers += [f"{number} {state}" for state, number in counts(records).items()]
    if end is None:
        when = max([search.time, *(record.last_sign for record in records.trials.values())])
        word = "**Running**, as of "
        if records.confirming is not None:
            done, total = trainings(records)
            numbers.append(f"{done} of {total} trainings of the confirmation done")
    else:
        when = end[1]
        word = _ENDS[end[0]]
    clock = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))
    state = f"{word}{clock}: {', '.join(numbers)}."
    if best := format_best(records):
        state += f" Best so far: {'; '.join(filter(None, (best, format_best_gain(records))))}."
    return "\n\n".join(filter(None, [state, format_ending(records)]))


def _resuming(
    records: Records, end: tuple[SearchOutcome, float] | None, folder: Path | None
) -> str:
    """Writes how to resume a search; nothing if its space is exhausted, or that is unknown."""
    search, reason = records.search, records.no_more and records.no_more.reason
    over = end is not None and end[0] == SearchOutcome.FINISHED
    if search is None or search.resume_hint is None or (over and reason == EXHAUSTED):
        return ""
    how = quoted(search.resume_hint)
    if folder is not None:
        how = f"run it again with the folder {quoted(str(folder.absolute()))}"
    is_limited = over and reason not in (STOPPED, TIMEOUT)
    more = f", with a larger `{wording(records).limit}`" if is_limited else ""
    return f"To resume{more}: {how}"
