"""A result shown: by `print`, and in a notebook's cell without a network."""

import re
from xml.etree import ElementTree

from recdrop_tune.oracle import OptunaOracle
from tests.planted_search import Planted, planted_result

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "</pre><script>alert(1)</script>\x1b[2J"


def picture_of(html):
    """The picture; it has to be well-formed."""
    return ElementTree.fromstring(re.search(r"<svg.*</svg>", html, re.DOTALL)[0])


def points_of(picture):
    return {point[0].text.split(",")[0]: point for point in picture.iter(f"{SVG}circle")}


def test_what_print_writes(planted):
    assert str(planted) == planted.summary()
    assert repr(planted) == f"<TuneResult of 30 trials in {planted.directory}>"


def test_the_page(planted):
    html = planted._repr_html_()
    assert len(html) < 20_000
    assert "<script" not in html
    assert not re.search(r"(?:src|href)=|url\(", html)
    assert html.count("30 trials, ") == 1
    assert str(planted.directory) in html
    first, *_ = re.findall(r"<tbody>\s*<tr>(.*?)</tr>", html, re.DOTALL)
    cells = re.findall(r"<td>(.*?)</td>", first)
    assert cells[:2] == [str(planted.trials["number"][0]), "COMPLETE"]
    assert html.count("<tr>") == 5


def test_the_picture(planted):
    """A point for each trial with a score, the better the lower where less is better."""
    picture = picture_of(planted._repr_html_())
    points = points_of(picture)
    ordered = [f"trial {number}" for number in planted.trials["number"]]
    shown = [points[name] for name in ordered if name in points]
    hidden = re.search(r"(\d+) worse trials", planted._repr_html_())
    assert len(shown) + int(hidden[1] if hidden else 0) == planted.trials["val_loss"].count()
    heights = [float(point.get("cy")) for point in shown]
    assert heights == sorted(heights, reverse=True)
    assert all(0 < float(point.get("cy")) < float(picture.get("height")) for point in shown)
    assert len({point.get("stroke") for point in shown}) == planted.trials["wrapper"].nunique()


def test_several_objectives(traded):
    html = traded._repr_html_()
    assert "val_loss of each trial" in html
    assert "<th>ms_per_step</th>" not in html  # As in the summary, the first objective.
    assert len(points_of(picture_of(html))) > 5


def search(folder, uri, hypermodel, trials):
    oracle = OptunaOracle("val_loss", max_trials=trials, sampler="random", seed=1)
    return planted_result(oracle, folder, uri, hypermodel)


def test_one_trial(tmp_path, planted_uri):
    (point,) = points_of(picture_of(search(tmp_path, planted_uri, None, 1)._repr_html_())).values()
    assert point.get("fill") == point.get("stroke")


def test_no_trial_is_complete(tmp_path, planted_uri):
    space = {"wrapper": "recurrent", "placement": "input", "rate": [0.1, 0.2], "units": 16}
    failing = Planted(space | {"learning_rate": 0.01}, failing="recurrent", error=NASTY)
    result = search(tmp_path, planted_uri, failing, 2)
    assert str(result) == "No trial is complete: 2 failed."
    html = result._repr_html_()
    assert "No trial is complete: 2 failed." in html
    assert "<svg" not in html


class Nasty(Planted):
    """A search whose values are markup, and obeyed by terminals."""

    def build(self, hp):
        hp.Choice("<b>", [f"{NASTY}1", f"{NASTY}2"])
        return super().build(hp)


def test_nothing_of_a_search_becomes_a_tag(tmp_path, planted_uri):
    html = search(tmp_path, planted_uri, Nasty(), 4)._repr_html_()
    assert "alert(1)" in html
    assert "<script" not in html
    assert "<b>" not in html
    assert "\x1b" not in html
