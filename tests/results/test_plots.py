"""Tests for `TuneResult.plots`: what the figures show is what the frames hold."""

from dataclasses import replace

import keras_tuner as kt
import numpy as np
import pandas as pd
import pytest

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.results import plot_style as style
from recdrop_tune.results.plots import figures


@pytest.fixture(scope="module")
def view(planted):
    return planted.found


@pytest.fixture(scope="module")
def plots(planted):
    return planted.plots()


@pytest.fixture(scope="module")
def trade_offs(traded):
    return traded.plots()


def traces(figure, **wanted):
    return [
        trace for trace in figure.data if all(trace[key] == each for key, each in wanted.items())
    ]


def points(found):
    """All points of some traces, as pairs."""
    return sorted((x, y) for trace in found for x, y in zip(trace.x, trace.y, strict=True))


def changed(view, **columns):
    """The view with other values in columns of its trials."""
    return replace(view, trials=view.trials.assign(**columns))


def test_names(plots, trade_offs):
    expected = ["score_by_dropout", "history", "parallel_coordinates", "importances", "curves"]
    assert list(plots) == expected
    assert list(trade_offs) == [*expected, "pareto"]
    for figure in [*plots.values(), *trade_offs.values()]:
        assert figure.layout.title.text


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
    wanted = replace(view, objectives=[kt.Objective("val_loss", direction)])
    drawn = figures(wanted)
    (line,) = traces(drawn["history"], mode="lines")
    complete = wanted.trials[wanted.trials["state"] == "COMPLETE"].sort_values("number")
    best = np.minimum if direction == "min" else np.maximum
    expected = best.accumulate(complete["val_loss"].to_numpy(dtype=float))
    assert list(line.y) == expected.tolist()
    # Plotly draws the largest colour last.
    (values,) = (
        each["values"]
        for label, each in dimensions(drawn["parallel_coordinates"]).items()
        if label.startswith("val_loss")
    )
    colours = drawn["parallel_coordinates"].data[0].line.color
    assert values[np.argmax(colours)] == getattr(np, direction)(values)


def test_trials_that_are_not_complete_are_hollow_and_never_the_best(view):
    best = view.complete["trial_id"].iloc[0]
    states = view.trials["state"].mask(view.trials["trial_id"] == best, "PRUNED")
    pruned = changed(view, state=states)
    drawn = figures(pruned)
    hollow = sum(
        symbol.endswith("-open")
        for trace in traces(drawn["history"], mode="markers")
        for symbol in trace.marker.symbol
    )
    assert hollow == 1
    (line,) = traces(drawn["history"], mode="lines")
    assert min(line.y) == pruned.complete["val_loss"].min() > view.complete["val_loss"].min()
    number = pruned.complete["number"].iloc[0]
    assert traces(drawn["curves"], name=f"best: trial {number}")
    (dimension,) = [
        each for each in drawn["parallel_coordinates"].data[0].dimensions if each.label == "wrapper"
    ]
    assert len(dimension["values"]) == len(view.complete) - 1


@pytest.mark.parametrize("direction", ["min", "max"])
def test_trials_under_way_are_shown_at_their_best_value(planted, direction):
    ids = planted.trials["trial_id"].head(3)
    states = planted.trials["state"].mask(planted.trials.index == 0, "RUNNING")
    states = states.mask(planted.trials.index == 1, "FAILED")
    scores = planted.trials["val_loss"].mask(planted.trials.index < 3)
    goal = [kt.Objective("val_loss", direction)]
    trials = planted.trials.assign(state=states, val_loss=scores)
    found = replace(planted.found, trials=trials, objectives=goal).scored
    of_first = planted.history[planted.history["trial_id"] == ids[0]]
    mean = of_first.groupby("epoch")["val_loss"].mean()
    assert found["val_loss"][0] == pytest.approx(getattr(mean, direction)())
    # Failed trials have none, nor complete ones without a score.
    expected = planted.trials.dropna(subset=["val_loss"])
    assert found["trial_id"].tolist() == [ids[0], *expected["trial_id"][3:]]
    assert found["val_loss"][1:].tolist() == expected["val_loss"][3:].tolist()


def test_score_by_dropout_has_every_trial_that_drops_in_the_panel_of_its_placement(planted, plots):
    figure = plots["score_by_dropout"]
    dropped = planted.trials.dropna(subset=["placement", "val_loss"])
    titles = {note.text for note in figure.layout.annotations}
    assert set(dropped["placement"]) <= titles
    found = traces(figure, mode="markers")
    assert sorted(y for trace in found for y in trace.y) == sorted(dropped["val_loss"])
    rates = dropped.set_index("val_loss")["rate"]
    for trace in found:
        # Moved aside by less than half of a step, so that it is clear which rate is meant.
        assert np.abs(np.array(trace.x) - rates[list(trace.y)].to_numpy()).max() < 0.025
    best = planted.trials[planted.trials["wrapper"] == "none"]["val_loss"].min()
    lines = traces(figure, mode="lines")
    assert {y for line in lines for y in line.y} == {best}


def learning(view, **columns):
    """The view with `concrete` in the place of the wrapper `recurrent`."""
    learns = view.trials["wrapper"] == "recurrent"
    wrapper, rate = view.trials["wrapper"].mask(learns, "concrete"), view.trials["rate"]
    rates = {name: rate.mask(~learns) + added for name, added in columns.items()}
    return changed(view, wrapper=wrapper, rate=rate.mask(learns), **rates)


def test_learned_rates_are_drawn_as_they_were_at_the_best_epoch(view):
    columns = {"a/learned_rate.input": 0.003, "a/learned_rate.recurrent": 0.005}
    learned = learning(view, **columns)
    figure = figures(learned)["score_by_dropout"]
    rates = view.trials.set_index("val_loss")["rate"]
    found = traces(figure, mode="markers", name="concrete")
    assert sum(len(trace.y) for trace in found) > 2
    for trace in found:
        np.testing.assert_allclose(list(trace.x), rates[list(trace.y)].to_numpy() + 0.004)
        assert "a/learned_rate.input: " in trace.hovertext[0]
    # However close together they are, the others are moved as the rates of the space ask for.
    others = [trace for trace in traces(figure, mode="markers") if trace not in found]
    assert max(abs(trace.x[0] - rates[trace.y[0]]) for trace in others) > 0.002
    title = "rate: share dropped, the mean of the sites; learned ones at the best epoch"
    assert title in {note.text for note in figure.layout.annotations}
    unknown = figures(learning(view))["score_by_dropout"]
    assert not traces(unknown, mode="markers", name="concrete")
    number = (view.scored["wrapper"] == "recurrent").sum()
    assert f"(trials left out, for their learned rate is not known: {number})" in (
        unknown.layout.title.text
    )


def test_layers_with_their_own_dropout_have_their_own_panels(view):
    ours = {f"enc/{name}": view.trials[name] for name in ("wrapper", "placement", "rate")}
    ours |= {f"dec{name[3:]}": values.shift(1) for name, values in ours.items()}
    wrappers = ["enc/wrapper", "dec/wrapper"]
    columns = {each: each for each in ours}
    both = replace(changed(view, **ours), columns=columns, wrappers=wrappers)
    titles = {note.text for note in figures(both)["score_by_dropout"].layout.annotations}
    assert {"enc/input", "dec/input", "enc/recurrent", "dec/recurrent"} <= titles
    pairs = both.trials[wrappers].fillna("n/a")
    assert both.kinds.tolist() == [" / ".join(pair) for pair in pairs.itertuples(index=False)]
    assert set(both.without_dropout[wrappers].fillna("none").to_numpy().ravel()) <= {"none"}
    # Each layer is drawn at the rate that it has learned itself.
    learned = {"enc/learned_rate.input": 0.1, "dec/learned_rate.input": 0.4}
    both = changed(both, **dict.fromkeys(wrappers, "concrete"), **learned)
    drawn = traces(figures(replace(both, columns={}))["score_by_dropout"], mode="markers")
    assert [set(trace.x) for trace in drawn] == [{0.4}, {0.1}]


def dimensions(figure):
    return {each.label: each for each in figure.data[0].dimensions}


def test_parallel_coordinates_hold_the_complete_trials(planted, plots):
    complete = planted.trials[planted.trials["state"] == "COMPLETE"]
    found = dimensions(plots["parallel_coordinates"])
    assert list(found) == [
        "wrapper",
        "placement",
        "rate: share dropped",
        "units",
        "learning_rate (log scale)",
        next(name for name in found if name.startswith("val_loss")),
    ]
    words = found["wrapper"]
    shown = [words.ticktext[int(value)] for value in words["values"]]
    assert shown == complete["wrapper"].tolist()
    rates = np.array(found["learning_rate (log scale)"]["values"])
    assert rates == pytest.approx(np.log10(complete["learning_rate"].to_numpy(dtype=float)))
    rate = found["rate: share dropped"]
    inactive = complete["rate"].isna().to_numpy()
    below = np.array(rate["values"]) == rate.tickvals[0]
    assert rate.ticktext[0] == found["placement"].ticktext[0] == "n/a"
    assert (below == inactive).all()
    assert inactive.any()
    for each in found.values():
        low, high = each.range
        assert all(low <= value <= high for value in (*each["values"], *each.tickvals))


def test_curves_are_the_mean_of_the_trainings(planted, plots):
    found = [trace for trace in plots["curves"].data if trace.showlegend is False]
    drawn = sorted(y for trace in found for y in trace.y if y is not None)
    means = planted.history.groupby(["trial_id", "epoch"])["val_loss"].mean()
    assert drawn == pytest.approx(sorted(means))
    assert any(trace.line.dash == "dot" for trace in found)
    number = planted.trials["number"].iloc[0]
    (best,) = traces(plots["curves"], name=f"best: trial {number}")
    (star,) = [x for x, size in zip(best.x, best.marker.size, strict=True) if size]
    assert star == planted.trials["best_epoch"].iloc[0]
    values = planted.history["val_loss"].mask(planted.history["epoch"] == 1)
    gaps = replace(planted.found, history=planted.history.assign(val_loss=values))
    found = [trace for trace in figures(gaps)["curves"].data if trace.showlegend is False]
    at_one = [y for trace in found for x, y in zip(trace.x, trace.y, strict=True) if x == 1]
    assert set(at_one) == {None}


def test_importances_and_the_pareto_front(planted, plots, traded, trade_offs):
    (bars,) = plots["importances"].data
    shares = planted.importances()["importance"]
    assert dict(zip(bars.y, bars.x, strict=True)) == shares.to_dict()
    assert bars.y[-1] == shares.index[0]  # On top.
    (front,) = traces(trade_offs["pareto"], name="not dominated")
    (others,) = traces(trade_offs["pareto"], name="dominated")
    pairs = traded.pareto[["val_loss", "ms_per_step"]].itertuples(index=False, name=None)
    assert points([front]) == sorted(pairs)
    assert len(front.x) + len(others.x) == (traded.trials["state"] == "COMPLETE").sum()


def test_what_there_is_no_data_for_is_left_out(view):
    failed = changed(view, state="FAILED", val_loss=pd.array([pd.NA] * len(view.trials), "Float64"))
    left = replace(
        failed, importances_of=pd.DataFrame, history=view.history.drop(columns="val_loss")
    )
    assert figures(left) == {}
    one = replace(
        view, trials=view.trials.head(1), history=view.history.head(0), importances_of=pd.DataFrame
    )
    assert set(figures(one)) <= {"history", "score_by_dropout"}
    unasked = replace(view, columns={"units": "units"}, wrappers=[])
    assert "score_by_dropout" not in figures(unasked)
    assert {trace.name for trace in figures(unasked)["history"].data} == {"best so far", "trials"}


def test_names_and_values_cannot_be_markup(view):
    nasty = "<b>x</b><script>alert('&')</script>"
    wrappers = view.trials["wrapper"].mask(view.trials["wrapper"] == "recurrent", nasty)
    trials = view.trials.assign(wrapper=wrappers).rename(columns={"units": nasty})
    columns = {**view.columns, "units": nasty}
    drawn = figures(replace(view, trials=trials, columns=columns))
    # JSON has angle brackets as \u003c; the tags are those written here.
    texts = "".join(figure.to_json() for figure in drawn.values()).replace("\\u003c", "<")
    assert "&lt;script" in texts
    assert "<script" not in texts


def test_each_technique_has_a_colour_and_a_symbol_of_its_own():
    looks = style.looks(["none / recurrent", "a / b"])
    assert len({colour for colour, _ in map(looks.get, TECHNIQUES)}) == len(TECHNIQUES)
    assert len({symbol for _, symbol in map(looks.get, TECHNIQUES)}) == len(TECHNIQUES)
    # Another search has the same ones.
    assert {name: looks[name] for name in TECHNIQUES} == style.looks([])
    assert looks["none / recurrent"] != looks["a / b"]
    assert looks["none"][0] not in (looks["none / recurrent"][0], looks["a / b"][0])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_few_trials_far_off_do_not_take_the_axis(sign):
    direction = "min" if sign > 0 else "max"
    scores = pd.Series(sign * np.array([*np.linspace(1.0, 2.0, 20), 50.0, 60.0]))
    low, high = style.focus(scores, direction)
    inside = scores[scores.between(low, high)]
    assert inside.tolist() == scores.head(20).tolist()
    drawing = style.figure("scores").add_scatter(y=scores)
    style.show_scores(drawing, scores, kt.Objective("score", direction))
    assert drawing.layout.yaxis.range == (low, high)
    (note,) = drawing.layout.annotations
    assert note.text.startswith("2 worse trials")
    for near in ([1.0], [1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], [1.0, 50.0]):
        assert style.focus(sign * pd.Series(near), direction) is None


def test_scores_over_decades_have_a_logarithmic_axis():
    scores = pd.Series(np.geomspace(1e-4, 1.0, 30))
    drawing = style.figure("scores").add_scatter(y=scores)
    style.show_scores(drawing, scores, kt.Objective("mse", "min"))
    assert drawing.layout.yaxis.type == "log"
    assert drawing.layout.yaxis.title.text == "mse (log scale)"
    low, high = 10.0 ** np.array(drawing.layout.yaxis.range or (-4.0, 0.0))
    assert low <= 1e-4
    texts = dict(zip(drawing.layout.yaxis.tickvals, drawing.layout.yaxis.ticktext, strict=True))
    assert all(float(text) == pytest.approx(value) for value, text in texts.items())
    assert sum(low <= value <= high for value in texts) > 3


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize(("low", "high"), [(1e-4, 1e-1), (0.25, 0.31), (8.0, 512.0), (3.0, 3.0)])
def test_ticks_lie_inside(low, high, logarithmic):
    found = style.ticks(low, high, logarithmic)
    assert 1 <= len(found) <= 9
    assert found == sorted(set(found))
    assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in found)
    assert len(found) > 1 or low == high
