"""Tests for `TuneResult.report`: one page, everything in it, nothing outside of it."""

import json
import math
import re
import threading
from html.parser import HTMLParser
from pathlib import Path

import keras_tuner as kt
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.events import TrackingWarning
from recdrop_tune.oracle import OptunaOracle
from tests.pages import blocks, run
from tests.planted_search import Planted, Sized, page, planted_result

VOID = {"meta", "br", "link", "img", "input", "hr"}


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
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        for tag in self._open:
            self.texts.setdefault(tag, []).append(data)

    def text(self, tag):
        return "".join(self.texts.get(tag, []))

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def text(planted):
    return page(planted)


@pytest.fixture(scope="module")
def read(text):
    return Page(text)


def figure_data(read):
    """The figures of a page, as Plotly gets them."""
    texts = [text for text in read.texts["script"] if text.startswith('{"data"')]
    return [json.loads(text) for text in texts]


def rows(read_text):
    return re.findall(r"<tr[^>]*>(?=<td)(.*?)</tr>", read_text)


def test_the_page_needs_nothing_from_elsewhere(read):
    for tag, attrs in read.tags:
        assert "src" not in attrs, tag
        assert tag not in ("link", "iframe", "object", "embed", "base", "img"), tag
        if "href" in attrs:
            # To be followed by the reader, not by the page.
            assert tag == "a"
    assert not re.search(r"url\(|@import", read.text("style"))
    own = [text for text in read.texts["script"] if len(text) < 1_000_000]
    assert not re.search(r"https?://", "".join(own))


def test_plotly_is_there_once(text, read):
    assert sum(len(each) > 1_000_000 for each in read.texts["script"]) == 1
    assert len(text) < 6_000_000


def test_there_is_a_section_for_everything(planted, read):
    found = [attrs["id"] for attrs in read.named("section")]
    drawn = [name.replace("_", "-") for name in planted.plots()]
    assert found == ["outcome", "wrappers", *drawn, "trials", "failures", "setup", "mlflow"]
    assert len(figure_data(read)) == len(drawn)
    headings = read.text("h2")
    assert "val_loss of each trial" in headings


def test_the_outcome(planted, read):
    words = read.text("section")
    assert f"{planted.best_trial.score:.4g}" in read.text("div")
    assert "30" in read.text("div")
    counts = planted.trials["state"].value_counts()
    assert f"{counts['COMPLETE']} complete, {counts['FAILED']} failed" in read.text("div")
    for name, value in planted.best_hyperparameters.items():
        assert name in read.text("dt")
        assert (f"{value:.4g}" if isinstance(value, float) else str(value)) in read.text("dd")
    assert "What dropout is worth is not known: its twin" in words


def part(text, name):
    """Cuts a section out of the page."""
    return re.search(rf'<section id="{name}">.*?</section>', text, flags=re.DOTALL)[0]


def test_the_best_of_each_wrapper(planted, text):
    table = part(text, "wrappers")
    assert len(rows(table)) == len(planted.wrappers)
    for wrapper, best in zip(planted.wrappers["wrapper"], planted.wrappers["best"], strict=True):
        (row,) = [row for row in rows(table) if f"<td>{wrapper}</td>" in row]
        assert f">{best:.4g}<" in row


def test_the_table_has_a_row_for_each_trial(planted, text):
    table = rows(part(text, "trials"))
    assert len(table) == len(planted.trials)
    heads = Page(part(text, "trials")).texts["button"]
    assert heads[:3] == ["number", "state", "wrapper"]
    assert "trial_id" not in heads
    number, score = heads.index("number"), heads.index("val_loss")
    for row, (_, trial) in zip(table, planted.trials.iterrows(), strict=True):
        cells = re.findall(r"<td.*?</td>", row)
        assert cells[number].endswith(f">{trial['number']}</td>")
        if trial["state"] == "COMPLETE":
            exact, short = float(trial["val_loss"]), f"{trial['val_loss']:.4g}"
            assert cells[score] == f'<td class="number" data-value="{exact!r}">{short}</td>'
        else:
            assert cells[score] == '<td class="missing">–</td>'
    assert text.count('<tr class="best">') == len(planted.pareto)


def test_failed_trials_with_their_errors(planted, read):
    failed = planted.trials[planted.trials["state"] == "FAILED"]
    summaries = read.text("summary")
    for number in failed["number"]:
        assert f"trial {number}: " in summaries
    assert summaries.count("FailedTrialError: the loss went to the moon") == len(failed)
    assert "Traceback (most recent call last)" in read.text("details")


def test_the_setup_and_where_mlflow_is(planted, read):
    assert planted.tracking.space in read.texts["pre"]
    words = read.text("dl")
    for name in ("max_trials", "epochs", "seed", "keras-tuner", "optuna", "python", "mlflow"):
        assert name in words
    assert str(planted.directory) in words
    assert planted.ui_command in read.texts["pre"]
    assert read.named("a") == [{"href": planted.ui_url}]


def test_figures_get_the_colours_of_the_page(read):
    for figure in figure_data(read):
        assert "template" not in figure["layout"]
        assert "title" not in figure["layout"]
    templates = json.loads(next(t for t in read.texts["script"] if t.startswith('{"light"')))
    assert templates["light"] != templates["dark"]


def test_several_objectives_have_a_front_instead_of_a_best_trial(traded):
    text = page(traded)
    read = Page(text)
    assert read.texts["h3"][0] == "Pareto front"
    assert "Best configuration" not in read.texts["h3"]
    listed = len(traded.trials) + len(traded.pareto) + len(traded.wrappers)
    assert len(rows(text)) == listed
    assert "the smallest val_loss and the smallest ms_per_step" in read.text("header")
    assert "pareto" in [attrs["id"] for attrs in read.named("section")]


BAD = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;"


class Hostile(Planted):
    """A search whose names, values and errors are markup."""

    def build(self, hp):
        hp.Choice(BAD, [f"{BAD}1", f"{BAD}2"])
        hp.Fixed(f"{BAD} fixed", BAD)
        return super().build(hp)


def test_names_values_and_errors_cannot_be_markup(tmp_path, planted_uri):
    oracle = OptunaOracle("val_loss", max_trials=14, seed=0, max_consecutive_failed_trials=99)
    oracle.enqueue({"wrapper": "recurrent", "units": 16})  # It fails.
    hostile = Hostile(epochs=1, failing="recurrent", error=f"{BAD}\n</pre>{BAD}")
    result = planted_result(oracle, tmp_path, planted_uri, hostile)
    assert set(result.trials["state"]) == {"COMPLETE", "FAILED"}
    text = page(result)
    read = Page(text)
    assert read.named("img") == []
    clean = [len(result.plots()) + 3, 0]
    assert [len(read.named("script")), text.count("<img")] == clean
    assert BAD in read.text("button")
    assert f"{BAD}1" in read.text("td")
    assert BAD in read.text("summary")
    assert f"{BAD} fixed = {BAD}" in read.text("p")
    importance = result.importances()
    assert BAD in importance.index


class Named(Planted):
    """Asks for hyperparameters of its own, some of which have names of the package's.

    Args:
        **values: Their values.
    """

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
        ({"wrapper": [True, False], "placement": [1, 2]}, {"trials"}),
        (
            {"wrapper": ["none", "recurrent"], "placement": [1, 2], "rate": ["low", "high"]},
            {"none", "recurrent"},
        ),
    ],
    ids=["words", "no words", "a wrapper with other rates"],
)
def test_what_is_no_dropout_may_have_its_names(values, kinds, tmp_path, planted_uri):
    oracle = kt.oracles.GridSearchOracle("val_loss", max_trials=8)
    result = planted_result(oracle, tmp_path, planted_uri, Named(**values))
    assert len(result.trials) == math.prod(map(len, values.values()))
    assert set(values) == set(result.trials) & {"wrapper", "placement", "rate"}
    cells = Page(page(result)).text("th")
    assert all(name in cells for name in values)
    drawn = {trace.name for trace in result.plots()["history"].data}
    assert drawn == {"best so far", *kinds}
    assert result.wrappers.empty == (kinds == {"trials"})


def test_the_file_is_written_whole(planted, tmp_path):
    path = tmp_path / "new" / "folder" / "report.html"
    assert planted.report(path) == path
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    path.write_text("old")
    seen = set()
    done = threading.Event()

    def watch():
        while not done.is_set():
            seen.add(len(path.read_bytes()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    planted.report(str(path))
    done.set()
    watcher.join()
    assert seen <= {3, path.stat().st_size}
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_by_default_the_report_goes_to_the_working_directory(planted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert planted.report().resolve() == tmp_path / "report.html"


def test_a_folder_is_no_file(planted, tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"`path`\. Expected a file"):
        planted.report(tmp_path)


@pytest.mark.parametrize("folder", ["file", "/proc"])
def test_a_folder_that_cannot_be_written_to_is_named(planted, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(InvalidArgumentError, match=f"path='{folder}/report.html'.*Give another"):
        planted.report(f"{folder}/report.html")


def test_the_examples_of_the_documentation_run(planted, tmp_path, monkeypatch):
    """On a planted search; `tests/test_docs.py` runs them on the search of the page."""
    monkeypatch.chdir(tmp_path)
    names = {"result": planted, "rdt": rdt}
    # A planted search knows nothing of its data, has no models, and is in no folder of searches.
    of_others = r"result\.(context|best_models|model_of|best_code)|compare\(\)"
    for block in blocks("docs/results.md", "python")[1:]:
        if not re.search(of_others, block.code):
            run(block, names)
    assert Page((tmp_path / "report.html").read_text(encoding="utf-8")).named("section")
    assert (tmp_path / "score.html").exists()


def test_nothing_completed_and_nothing_recorded_is_told(tmp_path):
    oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=2, seed=0)
    space = {"units": 16, "wrapper": "lambda", "rate": [0.1, 0.2], "learning_rate": 0.1}
    nobody = "http://127.0.0.1:9"
    with pytest.warns(TrackingWarning, match="MLflow at .* failed: "):
        result = planted_result(oracle, tmp_path, nobody, Planted(space, epochs=1))
    read = Page(page(result))
    found = [attrs["id"] for attrs in read.named("section")]
    assert found == ["outcome", "wrappers", "curves", "trials", "failures", "setup", "mlflow"]
    assert "2 failed" in read.text("div")
    assert "Not all is recorded (" in read.text("p")
    assert read.named("a") == []
