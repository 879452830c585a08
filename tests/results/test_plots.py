"""Tests for `TuneResult.plots`: what the figures show is what the frames hold."""

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.io as pio
import pytest

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.events import TrialEnded
from recdrop_tune.records import Records
from recdrop_tune.results.plots import figures, focus, looks
from recdrop_tune.standing import ranked
from recdrop_tune.states import TrialState
from tests.planted_search import with_frames, with_records


@pytest.fixture(scope="module")
def view(planted):
    return planted.view


@pytest.fixture(scope="module")
def plots(view):
    return figures(view)


def traces(figure, **wanted):
    return [
        trace for trace in figure.data if all(trace[key] == each for key, each in wanted.items())
    ]


def points(found):
    return sorted((x, y) for trace in found for x, y in zip(trace.x, trace.y, strict=True))


def changed(view, **columns):
    frames = {name: vars(view)[name] for name in ("columns", "offered") if name in vars(view)}
    return with_frames(view, trials=view.trials.assign(**columns), **frames)


def maximized(records):
    records.search = replace(records.search, direction="max")
    for each in records.trials.values():
        each.cost = -each.cost if each.score is not None else each.cost


def test_history_has_a_point_for_each_trial_with_a_score(planted, plots):
    scored = planted.trials.dropna(subset=["val_loss"])
    assert 0 < len(scored) < len(planted.trials)
    found = traces(plots["history"], mode="markers")
    assert points(found) == sorted(zip(scored["number"], scored["val_loss"], strict=True))
    numbers = {name: sorted(rows["number"]) for name, rows in scored.groupby("wrapper")}
    assert {trace.name: sorted(trace.x) for trace in found} == numbers
    by_number = scored.set_index("number")
    texts = {x: text for trace in found for x, text in zip(trace.x, trace.hovertext, strict=True)}
    for number, text in texts.items():
        row, lines = by_number.loc[number], text.split("<br>")
        assert lines[0] == f"<b>trial {number}</b>, complete"
        assert f"val_loss: {row['val_loss']:.4g}" in lines
        assert ("placement" in text) == (row["wrapper"] != "none")


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_best_so_far_and_the_best_line(view, direction):
    wanted = with_records(view, maximized) if direction == "max" else view
    drawn = figures(wanted)
    (line,) = traces(drawn["history"], mode="lines")
    complete = wanted.trials[wanted.trials["state"] == "COMPLETE"].sort_values("number")
    best = np.minimum if direction == "min" else np.maximum
    expected = best.accumulate(complete["val_loss"].to_numpy(dtype=float))
    assert list(line.y) == expected.tolist()


def test_trials_that_are_not_complete_are_hollow_and_never_the_best(view):
    def prune_the_best(records):
        best = ranked(records)[0]
        best.ended = replace(best.ended, status=TrialState.PRUNED)

    pruned = with_records(view, prune_the_best)
    drawn = figures(pruned)
    symbols = [each.marker.symbol for each in traces(drawn["history"], mode="markers")]
    assert sum(each.endswith("-open") for several in symbols for each in several) == 1
    (line,) = traces(drawn["history"], mode="lines")
    assert min(line.y) == pruned.complete["val_loss"].min() > view.complete["val_loss"].min()
    number = pruned.complete["number"].iloc[0]
    assert traces(drawn["curves"], name=f"best: trial {number}")


def test_score_by_dropout_has_every_trial_that_drops_in_the_panel_of_its_placement(planted, plots):
    figure = plots["score_by_dropout"]
    dropped = planted.trials.dropna(subset=["placement", "val_loss"])
    panels = [note.text for note in figure.layout.annotations]
    for placement, rows in dropped.groupby("placement"):
        panel = panels.index(placement)
        found = traces(figure, mode="markers", xaxis=f"x{panel + 1}" if panel else "x")
        assert points(found) == sorted(zip(rows["rate"], rows["val_loss"], strict=True))
    best = planted.trials[planted.trials["wrapper"] == "none"]["val_loss"].min()
    assert {y for line in traces(figure, mode="lines") for y in line.y} == {best}
    names = [trace.name for trace in traces(figure, mode="markers", showlegend=True)]
    assert sorted(names) == sorted(set(dropped["wrapper"]))


def test_learned_rates_are_drawn_as_they_were_at_the_best_epoch(view):
    learns = view.trials["wrapper"] == "recurrent"
    wrapper, rate = view.trials["wrapper"].mask(learns, "concrete"), view.trials["rate"]
    learning = {"wrapper": wrapper, "rate": rate.mask(learns)}
    learned = {"a/learned_rate.input": 0.003, "a/learned_rate.recurrent": 0.005}
    own = {name: rate.mask(~learns) + added for name, added in learned.items()}
    figure = figures(changed(view, **learning, **own))["score_by_dropout"]
    rates = view.trials.set_index("val_loss")["rate"]
    found = traces(figure, mode="markers", name="concrete")
    assert sum(len(trace.y) for trace in found) > 2
    for trace in found:
        np.testing.assert_allclose(list(trace.x), rates[list(trace.y)].to_numpy() + 0.004)
        assert "a/learned_rate.input: " in trace.hovertext[0]
    unknown = figures(changed(view, **learning))["score_by_dropout"]
    assert not traces(unknown, mode="markers", name="concrete")


@pytest.mark.heavy
def test_layers_with_their_own_dropout_have_their_own_panels(view):
    ours = {f"enc/{name}": view.trials[name] for name in ("wrapper", "placement", "rate")}
    ours |= {f"dec{name[3:]}": values.shift(1) for name, values in ours.items()}
    wrappers = ["enc/wrapper", "dec/wrapper"]
    offered = dict.fromkeys(wrappers, ())
    own = {"columns": {each: each for each in ours}, "offered": offered}
    both = with_frames(view, trials=view.trials.assign(**ours), **own)
    titles = {note.text for note in figures(both)["score_by_dropout"].layout.annotations}
    assert {"enc/input", "dec/input", "enc/recurrent", "dec/recurrent"} <= titles
    pairs = both.trials[wrappers].fillna("n/a")
    assert both.kinds.tolist() == [" / ".join(pair) for pair in pairs.itertuples(index=False)]
    assert set(both.without_dropout[wrappers].fillna("none").to_numpy().ravel()) <= {"none"}
    # Each layer is drawn at the rate that it has learned itself.
    learned = {"enc/learned_rate.input": 0.1, "dec/learned_rate.input": 0.4}
    both = changed(both, **dict.fromkeys(wrappers, "concrete"), **learned)
    columns = dict(zip(wrappers, wrappers, strict=True))
    both = with_frames(both, columns=columns, offered=offered)
    drawn = traces(figures(both)["score_by_dropout"], mode="markers")
    assert [set(trace.x) for trace in drawn] == [{0.4}, {0.1}]


def test_curves_are_the_mean_of_the_trainings(planted, view, plots):
    number = planted.trials["number"].iloc[0]
    *found, best = plots["curves"].data
    drawn = sorted(y for trace in found for y in trace.y if y is not None)
    means = planted.history.groupby(["trial_id", "epoch"])["val_loss"].mean()
    assert drawn == pytest.approx(sorted(means))
    assert any(trace.line.dash == "dot" for trace in found)
    assert best.name == f"best: trial {number}"
    (star,) = [x for x, size in zip(best.x, best.marker.size, strict=True) if size]
    assert star == planted.trials["best_epoch"].iloc[0]
    values = planted.history["val_loss"].mask(planted.history["epoch"] == 1)
    gaps = with_frames(view, history=planted.history.assign(val_loss=values))
    *found, _ = figures(gaps)["curves"].data
    at_one = [y for trace in found for x, y in zip(trace.x, trace.y, strict=True) if x == 1]
    assert set(at_one) == {None}


def test_importances(view, plots):
    (bars,) = plots["importances"].data
    shares = view.importances
    assert dict(zip(bars.y, bars.x, strict=True)) == shares.to_dict()
    assert bars.y[-1] == shares.index[0]  # On top.


def test_what_there_is_no_data_for_is_left_out(view):
    def fail_all(records):
        for trial in records.trials.values():
            trial.epochs, trial.repeats = [], []
            trial.ended = TrialEnded(trial_id=trial.trial_id, status=TrialState.FAILED)

    assert figures(with_records(view, fail_all)) == {}

    def keep_the_best(records):
        best = ranked(records)[0]
        best.epochs, best.repeats = [], []
        records.trials = {best.trial_id: best}

    assert set(figures(with_records(view, keep_the_best))) <= {"history", "score_by_dropout"}
    unasked = with_frames(view, columns={"units": "units"}, offered={})
    assert "score_by_dropout" not in figures(unasked)
    assert {trace.name for trace in figures(unasked)["history"].data} == {"best so far", "trials"}


@pytest.mark.parametrize("display", ["show", "_ipython_display_"])
@pytest.mark.parametrize("default", ["plotly_mimetype", "json"])
def test_figures_have_html_for_an_exported_notebook(plots, monkeypatch, capsys, display, default):
    """Without a notebook, IPython prints the forms. A renderer that the user has chosen is enough."""
    monkeypatch.setattr(pio.renderers, "default", default)
    getattr(plots["score_by_dropout"], display)()
    shown = capsys.readouterr().out
    assert ("cdn.plot.ly" in shown) == (default == "plotly_mimetype")
    forms = ("application/json", "application/vnd.plotly.v1+json")
    assert [form in shown for form in forms] == [default == "json", default != "json"]


def test_names_and_values_cannot_be_markup(view):
    nasty = "<b>x</b><script>alert('&')</script>"
    wrappers = view.trials["wrapper"].mask(view.trials["wrapper"] == "recurrent", nasty)
    trials = view.trials.assign(wrapper=wrappers).rename(columns={"units": nasty})
    columns = {**view.columns, "units": nasty}
    drawn = figures(with_frames(view, trials=trials, columns=columns))
    # JSON has angle brackets as \u003c; the tags are those written here.
    texts = "".join(figure.to_json() for figure in drawn.values()).replace("\\u003c", "<")
    assert "&lt;script" in texts
    assert "<script" not in texts


def test_each_technique_has_a_colour_and_a_symbol_of_its_own():
    found = looks(["none / recurrent", "a / b"])
    for part in zip(*map(found.get, TECHNIQUES), strict=True):
        assert len(set(part)) == len(TECHNIQUES)
    # Another search has the same ones.
    assert {name: found[name] for name in TECHNIQUES} == looks([])
    assert len({found[each][0] for each in ("none / recurrent", "a / b", "none")}) == 3


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_few_trials_far_off_do_not_take_the_axis(view, sign):
    records = Records()
    if sign < 0:
        records.search = replace(view.search, direction="max")
    scores = pd.Series(sign * np.array([*np.linspace(1.0, 2.0, 20), 50.0, 60.0]))
    low, high = focus(scores, records)
    assert scores[scores.between(low, high)].tolist() == scores.head(20).tolist()
    for near in ([1.0], [1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], [1.0, 50.0]):
        assert focus(sign * pd.Series(near), records) is None
    spread = [*scores[: len(view.complete) - 2], *scores[20:], *scores[:9]][: len(view.trials)]
    found = changed(view, val_loss=pd.array(spread, "Float64"))
    if sign < 0:
        found = with_frames(with_records(view, maximized), trials=found.trials)
    drawing = figures(found)["history"]
    assert drawing.layout.yaxis.range is not None
    assert "double-click" in drawing.layout.annotations[0].text


def test_scores_over_decades_have_a_logarithmic_axis(view):
    scores = pd.array(np.geomspace(1e-4, 1.0, len(view.trials)), "Float64")
    axis = figures(changed(view, val_loss=scores))["history"].layout.yaxis
    assert (axis.type, axis.title.text) == ("log", "val_loss (log scale)")
    texts = dict(zip(axis.tickvals, axis.ticktext, strict=True))
    assert all(float(text) == pytest.approx(value) for value, text in texts.items())
    assert sum(1e-4 <= value <= 1.0 for value in texts) > 3
