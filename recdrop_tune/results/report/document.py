"""The report as one HTML document: its sections and the page around them."""

from __future__ import annotations

import json
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import plotly.io as pio
from plotly.offline import get_plotlyjs

from recdrop_tune.errors import exception_line
from recdrop_tune.mlflow_store import command
from recdrop_tune.oracle import objectives
from recdrop_tune.results.confirmation import FOUND
from recdrop_tune.results.frames import hyperparameter_columns, pareto_front, wrapper_columns
from recdrop_tune.results.gain import coverage_text, gain_line, shown_wrappers, spread_words
from recdrop_tune.results.report import document as sections
from recdrop_tune.results.report.html import Search, prose, read_search, safe, shown, table, terms
from recdrop_tune.results.text import context_lines

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


# The sections of the report.

# The end of a traceback tells the most.
_LONGEST_ERROR = 20_000


def section(identifier: str, title: str, body: str) -> str:
    """Writes a section.

    Args:
        identifier: Its id.
        title: Its heading, as HTML.
        body: What it holds, as HTML.
    """
    return f'<section id="{identifier}"><h2>{title}</h2>\n{body}\n</section>'


def outcome(result: TuneResult) -> str:
    """Writes what was found: the numbers, the best configuration, the gain."""
    counts = result.trials["state"].value_counts()
    states = ", ".join(f"{count} {str(state).lower()}" for state, count in counts.items())
    cards = [_card("trials", len(result.trials), states)]
    cards.append(_card("time in trials", _duration(float(result.trials["seconds"].sum())), ""))
    goals = objectives(result.tuner.oracle.objective) if counts.get("COMPLETE") else []
    firsts = [(each.name, pareto_front(result.trials, [each]).iloc[0]) for each in goals]
    best = [
        _card(
            f"best {name}",
            shown(row[name]),
            spread_words(result, row["trial_id"]).strip() if name == result.objective else "",
        )
        for name, row in firsts
    ]
    found = _one_best(result) if len(best) == 1 else _front(result) if best else ""
    about = "".join(f"<p>{safe(line)}</p>" for line in context_lines(result))
    return section(
        "outcome", "Outcome", f'<div class="cards">{"".join(best + cards)}</div>{about}{found}'
    )


def _one_best(result: TuneResult) -> str:
    oracle = result.tuner.oracle
    gain = gain_line(oracle) if wrapper_columns(oracle) else ""
    gain = result.confirmation.verdict if result.confirmation else gain
    best = f"<h3>Best configuration</h3>{terms(result.best_hyperparameters)}"
    return f"{best}<p>{prose(gain)}</p>"


def _front(result: TuneResult) -> str:
    note = "These trials are beaten by no other trial in every objective."
    rows = table(_columns(result, result.pareto))
    return f'<h3>Pareto front</h3><p class="caption">{note}</p>{rows}'


def confirmation(result: TuneResult) -> str:
    """Writes what the confirmation showed; nothing if there was none."""
    if result.confirmation is None:
        return ""
    confirmed = result.confirmation
    note = (
        "Trained again after the search, each with the same fresh seeds. `gain` is over the twin, the same "
        "settings without dropout; `found_gain` over the best without dropout that the search found. Both "
        "are paired by seed; their 95 % intervals hold for all configurations together."
    )
    best = confirmed.table.index[
        (confirmed.table["kind"] == FOUND) & (confirmed.table["trial_id"] == confirmed.best_id)
    ]
    body = f'<p>{prose(confirmed.verdict)}</p><p class="caption">{prose(note)}</p>'
    rows = table(confirmed.brief(), best)
    return section("confirmation", "Confirmation", body + rows)


def wrappers(result: TuneResult) -> str:
    """Writes the best of each wrapper, and which of them were never tried; nothing where there are none."""
    frame = result.wrappers
    if frame.empty:
        return ""
    missed = coverage_text(result.tuner.oracle)
    note = (
        "`gain` is that of the best trial whose twin, the same settings without dropout, was trained too; "
        "one training each."
    )
    said = f"<p>{safe(missed)}</p>" if missed else ""
    caption = f'<p class="caption">{prose(note)}</p>'
    body = f"{caption}{table(shown_wrappers(frame))}{said}"
    return section("wrappers", "Best of each wrapper", body)


def trials(result: TuneResult) -> str:
    """Writes the table of trials."""
    frame, columns = result.trials, hyperparameter_columns(result.tuner.oracle).values()
    same = {name: frame[name].head(1).dropna() for name in columns if _is_constant(frame[name])}
    known = {name: value.iloc[0] for name, value in same.items() if len(value)}
    words = ", ".join(f"{safe(name)} = {shown(value)}" for name, value in known.items())
    note = f'<p class="caption">The same in all trials: {words}.</p>' if words else ""
    best = frame.index[frame["trial_id"].isin(result.pareto["trial_id"])]
    hint = '<p class="caption">Best first. Click a column to sort by it.</p>'
    return section("trials", "Trials", hint + note + table(_columns(result, frame), best))


def failures(result: TuneResult) -> str:
    """Writes what went wrong; nothing if nothing did."""
    ended = {each.number: each.ended for each in result.tracking.records.trials.values()}
    messages = {number: end.message for number, end in sorted(ended.items()) if end is not None}
    # A trial that was stopped early may say why; that is no failure.
    fine = set(result.trials["number"][result.trials["state"].isin(["COMPLETE", "PRUNED"])])
    items = [
        _failure(number, message)
        for number, message in messages.items()
        if message and number not in fine
    ]
    return section("failures", "Trials that failed", "\n".join(items)) if items else ""


def setup(result: TuneResult, search: Search) -> str:
    """Writes how the search was set up."""
    space = f"<h3>Search space</h3><pre>{safe(search.space)}</pre>" if search.space else ""
    settings = {**search.settings, "folder": result.directory}
    return section("setup", "Setup", f"{space}<h3>Settings and versions</h3>{terms(settings)}")


def mlflow(result: TuneResult) -> str:
    """Writes where to look at the search in MLflow."""
    if result.tracking.failure:
        text = (
            f"Not all is recorded ({result.tracking.failure}). When MLflow is back, this writes it:"
        )
        then = command("sync", str(result.directory))
        return section("mlflow", "MLflow", f"<p>{safe(text)}</p><pre>{safe(then)}</pre>")
    pages = result.ui_command
    body = f"<p>Start its pages with</p><pre>{safe(pages)}</pre>" if pages else ""
    body = body or f"<p>The runs are at {safe(result.tracking_uri)}.</p>"
    url = result.ui_url
    verb, what = "Then open" if pages else "Open", "the trials of this search, best first"
    link = f'{verb} <a href="{safe(url)}">{what}</a>.'
    return section("mlflow", "MLflow", f"{body}<p>{link}</p>" if url else body)


def _columns(result: TuneResult, frame: Any) -> Any:
    """Leaves out what a reader of the table has no use for."""
    names = hyperparameter_columns(result.tuner.oracle).values()
    constant = [name for name in names if _is_constant(result.trials[name])]
    return frame.drop(columns=["trial_id", "mlflow_run_id", *constant])


def _is_constant(values: Any) -> bool:
    return bool(values.nunique(dropna=False) <= 1)


def _card(name: str, value: object, note: str) -> str:
    return (
        f'<div class="card"><div class="name">{safe(name)}</div><div class="value">{safe(value)}</div>'
        f'<div class="name">{safe(note)}</div></div>'
    )


def _failure(number: int, message: str) -> str:
    whole = message.strip()[-_LONGEST_ERROR:]
    return (
        f"<details><summary>trial {number}: <code>{safe(exception_line(message))}</code></summary>"
        f"<pre>{safe(whole)}</pre></details>"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


# Puts the page together from its sections, its style, its script and plotly.js.

_CAPTIONS = {
    "history": "One point a trial. Hollow: stopped early, at the best value until then.",
    "score_by_dropout": "A panel for each placement. The dashed line is the best score without "
    "dropout, at whatever other settings it has: what dropout is worth is told by twins alone. Points are "
    "moved aside a little, so that none hides another.",
    "parallel_coordinates": "One line a complete trial, coloured by rank: blue the best, orange the "
    "worst. Drag along an axis to pick trials, drag a name to move its axis.",
    "importances": "PED-ANOVA on the complete trials. Of few trials it is a hint, not a finding.",
    "curves": "One line a trial, the best one thick with a star at its best epoch. Click a name in "
    "the legend to hide its trials.",
    "pareto": "What one objective costs in the other. Blue trials are beaten by no other trial in "
    "every objective.",
}


def page(result: TuneResult) -> str:
    """Writes the whole page."""
    search = read_search(result)
    parts = [
        sections.outcome(result),
        sections.confirmation(result),
        sections.wrappers(result),
        *_figures(result),
        sections.trials(result),
        sections.failures(result),
        sections.setup(result, search),
        sections.mlflow(result),
    ]
    assets = files(__package__)
    template = Template(assets.joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=safe(search.name),
        heading=_heading(result, search),
        style=assets.joinpath("report.css").read_text(encoding="utf-8"),
        script=assets.joinpath("report.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        templates=_json({name: _template(name) for name in ("light", "dark")}),
        body="\n".join(parts),
    )


def _heading(result: TuneResult, search: Search) -> str:
    goals = " and ".join(
        f"the {'smallest' if each.direction == 'min' else 'largest'} {each.name}"
        for each in objectives(result.tuner.oracle.objective)
    )
    words = [search.tuner, f"for {goals}", f"experiment {result.experiment}"]
    return safe(", ".join(word for word in [*words, search.when] if word))


def _figures(result: TuneResult) -> list[str]:
    drawn = result.plots()
    return [_figure(name, figure, _CAPTIONS[name]) for name, figure in drawn.items()]


def _figure(name: str, figure: Any, caption: str) -> str:
    """Writes a figure as data, which the script draws in the colours of the page."""
    data = json.loads(figure.to_json())
    # Plotly's own text is escaped already.
    title = data["layout"].pop("title")["text"]
    data["layout"].pop("template", None)
    data["layout"]["margin"]["t"] = max(30, data["layout"]["margin"]["t"] - 40)
    data["layout"]["height"] -= 30
    return sections.section(
        name.replace("_", "-"),
        title,
        f'<p class="caption">{safe(caption)}</p>'
        f'<div class="figure" style="height:{data["layout"]["height"]}px">'
        f'<script type="application/json">{_json(data)}</script></div>',
    )


def _template(name: str) -> dict[str, Any]:
    data: dict[str, Any] = pio.templates[
        f"plotly_{name.replace('light', 'white')}"
    ].to_plotly_json()
    # The page's own colour shines through.
    data["layout"] |= {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    return data


def _json(data: object) -> str:
    """Writes JSON in which nothing can end the script that holds it."""
    text = json.dumps(data, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
