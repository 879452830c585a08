"""MLflow's pages of a search: their addresses, the command that opens them, and the view of its trials."""

from __future__ import annotations

import json
import shlex
import shutil
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from recdrop_tune.addresses import absolute, is_server, sqlite_path
from recdrop_tune.credentials import HIDDEN
from recdrop_tune.mlflow_store.names import clean
from recdrop_tune.records import QUESTIONS, dropout_settings


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
