"""MLflow's pages of a search: their addresses, the command that opens them, and the view of its trials."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from recdrop_tune.addresses import absolute, is_server, sqlite_path
from recdrop_tune.credentials import HIDDEN
from recdrop_tune.records import QUESTIONS, dropout_settings

_LOCAL = "http://127.0.0.1:5000"


def command(*words: str) -> str:
    """Returns a command of this package as one line that works in any folder.

    Example:
        >>> command("sync", "recdrop_runs/speech")
        'recdrop-tune sync recdrop_runs/speech'
    """
    found = shutil.which("recdrop-tune")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return shlex.join(["recdrop-tune", *words])
    # `-P`, because `-m` alone looks for modules in the current folder first.
    return shlex.join([sys.executable, "-P", "-m", "recdrop_tune.cli", *words])


def ui_command(uri: str, directory: str | Path, elsewhere: bool = False) -> str | None:
    """Returns the command that opens MLflow's pages on a search.

    Args:
        uri: Tracking URI, without credentials.
        directory: The project folder.
        elsewhere: Whether that is another store than the one recorded in the folder.

    Returns:
        The command; `None` if a server shows the pages, if the runs are in memory, or if the command would
        need the credentials.
    """
    uri = absolute(uri)
    if is_server(uri) or HIDDEN in uri:
        return None
    if uri.startswith("sqlite") and sqlite_path(uri) is None:
        return None
    place = ["--tracking-uri", uri] if elsewhere else []
    return command("ui", str(Path(directory).resolve()), *place)


def leaderboard_url(
    uri: str, experiment_id: str | None, search_id: str, ascending: bool
) -> str | None:
    """Returns the address of a table of the trials, best first.

    By default, MLflow's table shows the search's run, folded. The parameters of the address are those that
    its pages use (MLflow 3.17), not a documented interface.

    Args:
        uri: Tracking URI, without credentials.
        experiment_id: The experiment; `None` if MLflow has failed.
        search_id: The search.
        ascending: Whether the smallest objective is the best.

    Returns:
        The address; `None` without an experiment, and for Databricks, which has other pages.
    """
    if experiment_id is None or (is_server(uri) and not uri.startswith("http")):
        return None
    host = uri.replace(f"{HIDDEN}@", "").rstrip("/") if is_server(uri) else _LOCAL
    query = {
        "workflowType": "machine_learning",
        "searchFilter": f"tags.`recdrop.search_id` = '{search_id}' AND tags.`recdrop.kind` = 'trial'",
        "orderByKey": "metrics.`objective`",
        "orderByAsc": str(ascending).lower(),
    }
    words = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
    return f"{host}/#/experiments/{experiment_id}/runs?{words}"


def run_name(number: int, trial_id: str, hyperparameters: Mapping[str, Any]) -> str:
    """Names a trial's run after its hyperparameters: MLflow's table shows little else at first.

    Example:
        >>> run_name(12, "a7", {"units": 8, "wrapper": "variational", "placement": "input", "rate": 0.3})
        '0012 variational input 0.3'
    """
    shown = " ".join(
        " ".join([*([layer] if layer else []), *map(str, values.values())])
        for layer, values in dropout_settings(hyperparameters).items()
    )
    return f"{number:04d} {shown or trial_id}"


# The view of a search on MLflow's runs page: columns, order and charts, stored as a tag of the experiment.
#
# By default, the page shows no parameters, no metrics, and the charts of ten runs. Its settings are kept in
# the browser. But a shared view is kept in a tag of the experiment, with its key in the address. The format
# of that tag is that of MLflow 3.17, not a documented interface.

_TAG = "mlflow.sharedViewState."
_SECTIONS = {"search": "Hyperparameters and scores", "training": "Training"}
_SHARED = {"deleted": False, "isGenerated": False, "runsCountToCompare": 100}


def view_tag(
    search_id: str,
    objective: str,
    ascending: bool,
    parameters: Sequence[str],
) -> tuple[str, str]:
    """Makes the view of a search's trials: best first, with hyperparameters and charts.

    Args:
        search_id: The search.
        objective: Name of the objective, whose curves are drawn.
        ascending: Whether the smallest objective is the best.
        parameters: The searched hyperparameters, as MLflow names them, the important ones first.

    Returns:
        Key and value of a tag for the search's experiment.
    """
    state = {
        **_table(search_id, ascending, parameters),
        "compareRunSections": [
            {"uuid": uuid, "name": name, "display": True, "isReordered": True, "columns": columns}
            for (uuid, name), columns in zip(_SECTIONS.items(), (1, 2), strict=True)
        ],
        "compareRunCharts": _charts(objective, parameters),
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "runsHiddenMode": "SHOW_ALL",
    }
    return _TAG + _key(search_id), json.dumps(state)


def view_url(
    uri: str, experiment_id: str, search_id: str, ascending: bool, charts: bool = False
) -> str | None:
    """Returns the address of a search's view.

    Args:
        uri: Tracking URI of the server, without credentials.
        experiment_id: The experiment.
        search_id: The search.
        ascending: Whether the smallest objective is the best.
        charts: Whether to show the charts instead of the table.
    """
    plain = leaderboard_url(uri, experiment_id, search_id, ascending)
    if plain is None:
        return None
    # With a filter or an order in the address, the page would ignore the view.
    page = plain.partition("?")[0]
    mode = "&compareRunsMode=CHART" if charts else ""
    return f"{page}?workflowType=machine_learning&viewStateShareKey={_key(search_id)}{mode}"


def searched(parameters: Iterable[Mapping[str, object]]) -> list[str]:
    """Lists the hyperparameters that differ between trials, this package's own first.

    Args:
        parameters: The hyperparameters of each trial.

    Example:
        >>> searched([{"cell": "lstm", "units": 8, "rate": 0.1}, {"cell": "lstm", "units": 16, "rate": 0.2}])
        ['rate', 'units']
    """
    values: dict[str, set[object]] = {}
    for trial in parameters:
        for name, value in trial.items():
            values.setdefault(name, set()).add(value)
    differing = [name for name, each in values.items() if len(each) > 1]
    asked = [name for name in differing if name.rpartition("/")[2] in QUESTIONS]
    asked.sort(key=lambda name: (name.rpartition("/")[0], QUESTIONS.index(name.rpartition("/")[2])))
    return asked + sorted(set(differing) - set(asked))


def _key(search_id: str) -> str:
    return f"recdrop-{search_id}"


def _table(search_id: str, ascending: bool, parameters: Sequence[str]) -> dict[str, Any]:
    metrics = ["metrics.`objective`", "metrics.`best_epoch`"]
    columns = [f"params.`{name}`" for name in parameters]
    order = ["attributes.`Run Name`", metrics[0], *columns, metrics[1]]
    kind = f"tags.`recdrop.search_id` = '{search_id}' AND tags.`recdrop.kind` = 'trial'"
    return {
        "searchFilter": kind,
        "orderByKey": metrics[0],
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [*metrics, *columns],
        "columnOrder": [*order, "runDateAndNestInfo", "duration"],
        "columnWidths": {"attributes.`Run Name`": 300, **dict.fromkeys(columns, 130)},
    }


def _charts(objective: str, parameters: Sequence[str]) -> list[dict[str, Any]]:
    # The last metric colours the lines.
    parallel = {"selectedParams": list(parameters), "selectedMetrics": ["objective"]}
    curves = {"metricKey": objective, "selectedMetricKeys": [objective]}
    price = {"xaxis": _axis("train_seconds"), "yaxis": _axis("objective")}
    return [
        _chart("PARALLEL", "search", {**parallel, "showAllRuns": True}),
        _chart("LINE", "training", {**curves, **_LINE}),
        _chart("SCATTER", "training", price),
    ]


def _chart(kind: str, section: str, options: dict[str, Any]) -> dict[str, Any]:
    uuid = f"{section}-{kind.lower()}"
    return {"type": kind, "uuid": uuid, "metricSectionId": section, **_SHARED, **options}


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}


_LINE = {
    "lineSmoothness": 0,
    "scaleType": "linear",
    "xAxisKey": "step",
    "xAxisScaleType": "linear",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "selectedXAxisMetricKey": "",
    "useGlobalLineChartConfig": True,
    "useGlobalXaxisKey": True,
}
