"""What is said of a search: as text, in MLflow, in a notebook and in the report."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import keras_tuner as kt
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

import recdrop_tune as rdt
from recdrop_tune import standing
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.events import TrackingWarning
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.results.outline import best_trials, outline
from recdrop_tune.results.render import as_html, as_markdown, as_text
from recdrop_tune.terminal.status import format_configuration
from tests.planted_search import (
    Planted,
    Sized,
    description,
    page,
    planted_result,
    with_frames,
    with_records,
)
from tests.test_standing import NONE, SOME, records


class Page(HTMLParser):
    """Reads a page: its tags with their attributes, and the text of each kind of tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        for tag in self._open:
            self.texts.setdefault(tag, []).append(data)

    def text(self, tag):
        return "".join(self.texts.get(tag, []))


@pytest.fixture(scope="module")
def text(planted):
    return page(planted)


@pytest.fixture(scope="module")
def read(text):
    return Page(text)


def test_text_markdown_and_html_say_the_same(planted):
    sections = outline(planted.view, 5)
    pages = [write(sections) for write in (as_text, as_markdown, as_html)]
    counts = planted.trials["state"].value_counts()
    best = planted.trials.iloc[0]
    score = f"{best['val_loss']:.4f}"
    words = [
        f"30 trials, {counts['COMPLETE']} complete, {counts['FAILED']} failed. Best val_loss: {score}"
    ]
    words += ["its dropout is worth is not known: its twin", "Best of each wrapper", "Best trials"]
    words += [f"{name}={best[name]}" for name in ("units", "wrapper", "placement", "rate")]
    words += [f"{each:.4g}" for each in planted.wrappers["best"]]
    for each in pages:
        assert [word for word in words if word not in each] == []
    assert str(planted) == planted.summary()
    assert repr(planted) == f"<TuneResult of 30 trials in {planted.directory}>"
    lines = planted.summary(top=3).splitlines()
    table = lines[lines.index("Best trials:") + 1 :][:4]
    assert table[0].split()[:2] == ["number", "state"]
    assert [int(line.split()[0]) for line in table[1:]] == planted.trials["number"][:3].to_list()
    assert lines[-2:] == [f"Folder: {planted.directory}", f"MLflow: {planted.ui_command}"]


@pytest.mark.parametrize(
    ("trials", "expected", "words"),
    [
        ([(NONE, 2.0)], None, "not known: no trial with dropout was completed"),
        ([(SOME, 1.5)], None, "not known: its twin, the same settings without dropout, was not"),
        (
            [(NONE, 2.0), (SOME, 1.5)],
            0.2,
            "Best in the search: trial 1 (zoneout, rate 0.1), val_loss 1.5000; the same without dropout has "
            "2.0000 (trial 0). This gain, 0.5000, is from one training each. The best of many trials is "
            "partly lucky: with other seeds expect about 0.2000. `confirm=3` checks this.",
        ),
        ([(NONE, 2.0), (SOME, 1.5)], -0.2, "expect none."),
        ([(NONE, 2.0), (SOME, 1.5)], math.nan, "partly lucky. `confirm=3`"),
        (
            [(NONE, 1.0), (SOME, 1.5)],
            0.2,
            "The best trial in the search has no dropout. Best with dro",
        ),
        ([(NONE, 1.5), (SOME, 1.5)], 0.0, "No gain in one training each"),
        (
            [(NONE, 1.6, "COMPLETE", 0.2), (SOME, 1.5, "COMPLETE", 0.2)],
            0.05,
            "whose scores vary more (standard deviation 0.2000). The best of many",
        ),
    ],
)
def test_the_answer_of_a_search_comes_first(planted, trials, expected, words):
    """It says how much of the gain is luck."""
    own = records(*trials)
    gain = standing.gain(own)
    gain = gain and replace(gain, expected=expected)
    own.search = replace(own.search, objective="val_loss")
    own.space = planted.records.space
    found = with_frames(replace(planted.view, records=own, by_tune=True), gain=gain)
    assert words in outline(found)[0].lines[0]


def test_a_space_without_none_has_no_twins(planted):
    own, space = records((SOME, 1.0)), planted.records.space
    own.space = [replace(r, choices=["zoneout"]) if r.is_wrapper else r for r in space]
    found = replace(planted.view, records=own)
    assert "the space does not offer `none`" in outline(found)[0].lines[0]


def test_learned_rates_are_listed(planted):
    def learn(records):
        standing.ranked(records)[0].metrics["learned_rate.recurrent"] = 0.12345

    sections = outline(with_records(planted.view, learn))
    for write in (as_text, as_markdown, as_html):
        assert "Its learned rates: learned_rate.recurrent=0.1235" in write(sections)
    # The table does not look as if there were no rate.
    varying = {"wrapper": "wrapper", "rate": "rate"}
    trials = planted.trials.assign(wrapper="concrete", rate=pd.NA)
    trials.loc[0, ["wrapper", "rate"]] = "variational", 0.3
    table = best_trials(with_frames(planted.view, trials=trials, columns=varying), 2)
    assert table["rate"].to_list() == [0.3, "learned"]


def test_pages_need_nothing_from_elsewhere(planted, text, read):
    notebook = planted._repr_html_()  # Some allow neither scripts nor styles.
    assert not re.search(r"<script|<style|src=|href=|url\(", notebook)
    assert len(notebook) < 20_000
    for tag, attrs in read.tags:
        assert not {"src", "href"} & {*attrs}, tag
        assert tag not in ("link", "iframe", "object", "embed", "base", "img"), tag
    assert not re.search(r"url\(|@import", read.text("style"))
    assert text.count(get_plotlyjs()) == 1
    assert not re.search(r"https?://", text.replace(get_plotlyjs(), ""))


def section(text, title):
    (found,) = re.findall(rf"<section>\n<h2>{title}</h2>.*?</section>", text, flags=re.DOTALL)
    return found


def rows(text):
    found = re.findall(r"<tr>(?=<td).*?</tr>", text)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in found]


def test_the_report_has_a_section_for_everything(planted, text, read):
    figures = planted.plots()
    titles = [figure.layout.title.text for figure in figures.values()]
    last = ["Trials", "Trials that failed", "Search space", "Settings and versions"]
    assert read.texts["h2"] == [titles.pop(0), "Best of each wrapper in the search", *titles, *last]
    drawn = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    for each, figure in zip(drawn, figures.values(), strict=True):
        assert json.loads(each)["data"] == json.loads(figure.to_json())["data"]
    assert planted.search.space in read.texts["pre"]
    settings = dict(rows(section(text, "Settings and versions")))
    assert settings["epochs"] == "3"
    assert {"max_trials", "seed", "keras-tuner", "optuna", "python", "mlflow"} <= {*settings}


def test_the_report_has_every_trial_and_why_it_failed(planted, text):
    trials = section(text, "Trials")
    heads = re.findall(r"<th\b[^>]*>(.*?)</th>", trials)
    right = set(re.findall(r'<th align="right">(.*?)</th>', trials))
    assert right == {*heads} - {"state", "wrapper", "placement"}
    assert trials.count('<td align="right">') == len(right) * len(planted.trials)
    assert heads[:3] == ["number", "state", "wrapper"]
    scores = [row[heads.index("val_loss")] for row in rows(trials)]
    complete = planted.trials["state"] == "COMPLETE"
    expected = planted.trials["val_loss"].where(complete)
    assert scores == [f"{value:.4f}" for value in expected.dropna()] + ["-"] * (~complete).sum()
    failed = section(text, "Trials that failed")
    for number in planted.trials["number"][~complete]:
        line = f"trial {number}: <code>keras_tuner.src.errors.FailedTrialError: the loss went"
        assert line in failed
    assert failed.count("Traceback (most recent call last)") == (~complete).sum()
    assert str(Path(rdt.__file__).parent) not in failed


BAD = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\x1b[2J"


class Hostile(Planted):
    """A search whose names, values and errors are markup, and obeyed by terminals."""

    def build(self, hp):
        hp.Choice(BAD, [f"{BAD}1", f"{BAD}2"])
        hp.Fixed(f"{BAD} fixed", BAD)
        return super().build(hp)


def test_names_values_and_errors_stay_words(tmp_path, planted_uri):
    oracle = OptunaOracle("val_loss", max_trials=6, seed=0, max_consecutive_failed_trials=99)
    oracle.enqueue({"wrapper": "recurrent", "units": 16})  # It fails.
    hostile = Hostile(epochs=1, failing="recurrent", error=f"{BAD}\n</pre>{BAD}")
    result = planted_result(oracle, tmp_path, planted_uri, hostile)
    assert {*result.trials["state"]} == {"COMPLETE", "FAILED"}
    text = page(result)
    read = Page(text)
    assert "img" not in dict(read.tags)
    assert [tag for tag, _ in read.tags].count("script") == len(result.plots()) + 2
    shown = BAD.replace("\x1b", r"\x1b")
    assert shown in read.text("th")
    assert f"{shown}1" in read.text("td")
    assert shown in read.text("pre")
    assert f"{shown} fixed" in read.text("td")
    assert not re.search(r"<script|<img|\x1b", result._repr_html_())
    assert "\x1b" not in result.summary()
    assert not re.search(r"<|\[|://|\x1b", description(result))


class Named(Planted):
    """Asks for hyperparameters, some of which have names of the package's."""

    def __init__(self, **values):
        super().__init__(epochs=1, failing=None)
        self.values = values

    def build(self, hp):
        for name, values in self.values.items():
            hp.Choice(name, values)
        return Sized(8)

    def metrics(self, hp, epoch):
        return {"val_loss": len(str(hp.values)) / 100}


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ({"wrapper": ["bert", "gpt"], "rate": ["low", "high"]}, {"trials"}),
        (
            {"wrapper": ["none", "recurrent"], "placement": [1, 2], "rate": ["low", "high"]},
            {"none", "recurrent"},
        ),
    ],
    ids=["words", "a wrapper with other rates"],
)
def test_what_is_no_dropout_can_have_its_names(values, kinds, tmp_path):
    oracle = kt.oracles.GridSearchOracle("val_loss", max_trials=8)
    result = planted_result(oracle, tmp_path, hypermodel=Named(**values))
    assert len(result.trials) == math.prod(map(len, values.values()))
    assert {*values} <= {*Page(page(result)).texts["th"]}
    drawn = {trace.name for trace in result.plots()["history"].data}
    assert drawn == {"best so far", *kinds}
    assert result.wrappers.empty == (kinds == {"trials"})


def test_learning_rates_have_three_digits_and_frames_have_all(planted, text):
    rates = planted.trials["learning_rate"].head(5)
    table = section(text, "Trials")
    column = Page(table).texts["th"].index("learning_rate")
    texts = (
        str(planted),
        description(planted),
        # The seconds of a trial can look like a learning rate.
        " ".join(row[column] for row in rows(table)),
        format_configuration(standing.best(planted.view.records)),
    )
    for said in texts:
        assert f"{rates[0]:.3g}" in said
        assert not any(f"{rate:.4g}" in said for rate in rates)


@pytest.mark.usefixtures("impatient")
def test_nothing_completed_and_nothing_recorded(tmp_path):
    oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=2, seed=0)
    space = {"units": 16, "wrapper": "lambda", "rate": [0.1, 0.2], "learning_rate": 0.1}
    nobody = "http://127.0.0.1:9"
    with pytest.warns(TrackingWarning, match="MLflow at .* failed: "):
        result = planted_result(oracle, tmp_path, nobody, Planted(space, epochs=1))
    assert str(result) == "No trial is complete: 2 failed."
    assert "No trial is complete: 2 failed." in result._repr_html_()
    read = Page(page(result))
    titles = [
        "Best of each wrapper in the search",
        "val_loss over the epochs",
        "Trials",
        "Trials that failed",
    ]
    assert read.texts["h2"] == [*titles, "Search space", "Settings and versions"]
    assert "MLflow: not all is recorded (" in read.text("p")
    nothing = with_records(result.view, lambda records: records.trials.clear())
    assert as_text(outline(nothing)) == "No trial has started."


def test_the_report_is_written_where_it_is_asked_for(planted, tmp_path, monkeypatch):
    path = tmp_path / "new" / "folder" / "report.html"
    assert planted.report(str(path)) == path
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
    monkeypatch.chdir(planted.directory)
    here = rdt.TuneResult.load(".")
    assert "<h1>planted</h1>" in here.report(path).read_text(encoding="utf-8")
    assert here.study().study_name == "planted"
    monkeypatch.chdir(tmp_path)
    assert planted.report() == Path("report.html")
    Path("file").touch()
    for wrong in (".", "file/report.html"):
        with pytest.raises(InvalidArgumentError, match=f"path='{wrong}'.*Give another"):
            planted.report(wrong)
