"""The report: one HTML page with everything about a search, which opens without a network."""

from __future__ import annotations

import json
import platform
import re
import time
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd
import plotly.io as pio
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from recdrop_tune.errors import exception_line, invalid_argument
from recdrop_tune.files import write_atomically
from recdrop_tune.mlflow_store import command
from recdrop_tune.oracle import objectives
from recdrop_tune.results.confirmation import FOUND
from recdrop_tune.results.frames import (
    hyperparameter_columns,
    pareto_front,
    shown,
)
from recdrop_tune.results.gain import coverage_text, shown_wrappers, spread_words
from recdrop_tune.results.text import context_lines, early_lines, gain_words, learned_by_best

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult

__all__ = ["report_page", "write_report"]

# The end of a traceback tells the most.
_LONGEST_ERROR = 20_000

_CAPTIONS = {
    "history": "One point a trial. Hollow: stopped early, at the best value until then.",
    "score_by_dropout": "A panel for each placement. The dashed line is the best score without "
    "dropout, at whatever other settings it has: only twins show what dropout is worth. Points are "
    "moved aside a little, so that none hides another.",
    "parallel_coordinates": "One line a complete trial, coloured by rank: blue the best, orange the "
    "worst. Drag along an axis to pick trials, drag a name to move its axis.",
    "importances": "PED-ANOVA on the complete trials. Of few trials it is a hint, not a finding.",
    "curves": "One line a trial, the best one thick with a star at its best epoch. Click a name in "
    "the legend to hide its trials.",
    "pareto": "What one objective costs in the other. Blue trials are beaten by no other trial in "
    "every objective.",
}


def write_report(result: TuneResult, path: Path) -> Path:
    """Writes the report, whole or not at all; see `TuneResult.report`."""
    page = report_page(result)
    try:
        if path.is_dir():
            raise invalid_argument("path", expected="a file", received=str(path), fix="Add a name.")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page)
    except OSError as error:
        raise invalid_argument(
            "path",
            expected="a file that can be written",
            received=str(path),
            fix=f"{error}. Give another path.",
        ) from error
    return path


def report_page(result: TuneResult) -> str:
    """Writes the whole page."""
    template = _environment().get_template("report.html")
    frame = result.wrappers
    return template.render(
        _outcome(result)
        | _trials(result)
        | _setup(result)
        | {
            "context": [*early_lines(result), *context_lines(result)],
            "confirmation": result.confirmation,
            "wrappers": frame if frame.empty else shown_wrappers(frame),
            "missed": coverage_text(frame),
            "figures": [_figure(name, drawn) for name, drawn in result.plots().items()],
            "failures": _failures(result),
            "style": _asset("report.css"),
            "script": _asset("report.js"),
            "plotly": Markup(get_plotlyjs()),
            "templates": {name: _template(name) for name in ("light", "dark")},
        }
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."),
        autoescape=True,
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"prose": _prose, "shown": partial(shown, missing="–"), "zip": zip}
    environment.tests |= {"missing": pd.isna, "number_column": pd.api.types.is_numeric_dtype}
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment


def _asset(name: str) -> Markup:
    return Markup(files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _prose(text: str) -> Markup:
    """Writes a text of the package's own, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _outcome(result: TuneResult) -> dict[str, Any]:
    """Describes what was found: the numbers, the best configuration, the gain."""
    oracle, confirmed = result.search.oracle, result.confirmation
    counts = result.trials["state"].value_counts()
    goals = objectives(oracle.objective) if counts.get("COMPLETE") else []
    firsts = [(each.name, pareto_front(result.trials, [each]).iloc[0]) for each in goals]
    found = {
        "bests": [
            (
                name,
                row[name],
                spread_words(result, row["trial_id"]).strip() if name == result.objective else "",
            )
            for name, row in firsts
        ],
        "states": ", ".join(f"{count} {str(state).lower()}" for state, count in counts.items()),
        "duration": _duration(float(result.trials["seconds"].sum())),
        "pareto": _columns(result, result.pareto),
    }
    if len(goals) == 1:
        found["gain"] = "".join(gain_words(result))
        found["best_hyperparameters"] = result.best_hyperparameters | learned_by_best(result)
    if confirmed:
        of_best = confirmed.table["trial_id"] == confirmed.best_id
        found["confirmed_best"] = set(
            confirmed.table.index[of_best & (confirmed.table["kind"] == FOUND)]
        )
    return found


def _trials(result: TuneResult) -> dict[str, Any]:
    frame = result.trials
    names = hyperparameter_columns(result.search.oracle).values()
    same = {name: frame[name].head(1).dropna() for name in names if _is_constant(frame[name])}
    return {
        "trials": _columns(result, frame),
        "same": {name: value.iloc[0] for name, value in same.items() if len(value)},
        "best_trials": set(frame.index[frame["trial_id"].isin(result.pareto["trial_id"])]),
    }


def _failures(result: TuneResult) -> list[tuple[int, str, str]]:
    """Lists what went wrong: the number of a trial, the line of its error that tells most, all of it."""
    ended = {each.number: each.ended for each in result.search.records.trials.values()}
    messages = {number: end.message for number, end in sorted(ended.items()) if end is not None}
    # A trial that was stopped early may say why; that is no failure.
    fine = set(result.trials["number"][result.trials["state"].isin(["COMPLETE", "PRUNED"])])
    return [
        (number, exception_line(message), message.strip()[-_LONGEST_ERROR:])
        for number, message in messages.items()
        if message and number not in fine
    ]


def _setup(result: TuneResult) -> dict[str, Any]:
    """Describes how the search was set up, and where it is in MLflow."""
    last, began = result.search.last, result.search.records.began
    goals = " and ".join(
        f"the {'smallest' if each.direction == 'min' else 'largest'} {each.name}"
        for each in objectives(result.search.oracle.objective)
    )
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(began))
    here = {"mlflow": version("mlflow"), "plotly": version("plotly")}
    here |= {"python": platform.python_version(), "platform": platform.platform()}
    return {
        "name": last.name,
        "heading": f"{last.tuner}, for {goals}, experiment {last.experiment}, {when}",
        "space": last.space,
        "settings": {
            "max_trials": last.max_trials,
            **last.info,
            **here,
            "folder": result.directory,
        },
        "mlflow": {
            "failure": result.failure,
            "sync": command("sync", str(result.directory)),
            "pages": result.ui_command,
            "uri": result.tracking_uri,
            "url": result.ui_url,
        },
    }


def _columns(result: TuneResult, frame: Any) -> Any:
    """Leaves out what a reader of the table has no use for."""
    names = hyperparameter_columns(result.search.oracle).values()
    constant = [name for name in names if _is_constant(result.trials[name])]
    return frame.drop(columns=["trial_id", "mlflow_run_id", *constant])


def _is_constant(values: Any) -> bool:
    return bool(values.nunique(dropna=False) <= 1)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _figure(name: str, figure: Any) -> dict[str, Any]:
    """Returns a figure as data, which the script draws in the colours of the page."""
    data = json.loads(figure.to_json())
    layout = data["layout"]
    title = Markup(layout.pop("title")["text"])  # Plotly's own text is escaped already.
    layout.pop("template", None)
    layout["margin"]["t"] = max(30, layout["margin"]["t"] - 40)
    layout["height"] -= 30
    return {
        "id": name.replace("_", "-"),
        "title": title,
        "caption": _CAPTIONS[name],
        "height": layout["height"],
        "data": data,
    }


def _template(name: str) -> dict[str, Any]:
    white = name.replace("light", "white")
    data: dict[str, Any] = pio.templates[f"plotly_{white}"].to_plotly_json()
    # The page's own colour shines through.
    data["layout"] |= {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    return data
