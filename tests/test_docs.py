"""The documentation is true where that can be tested: its code runs, its commands and arguments exist.

A block of Python is executed as it stands on the page, after the ones before it and in one namespace
with them. At the start of a page that namespace holds what `given` makes. A block that cannot run here says
why in a comment directly before it, `<!-- not run: it needs a cluster -->`, and is counted in `NOT_RUN`.
"""

import functools
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import nullcontext

import pytest
from sklearn import datasets

import recdrop_tune
from recdrop_tune.cli import main
from recdrop_tune.spaces import SearchSpace
from tests.pages import PAGES, ROOT, blocks, have_fewer_digits, pages_with, run

HEAVY = {"docs/deploy.md", "docs/faq.md", "docs/prediction-intervals.md"} | {
    page
    for page in PAGES
    for block in blocks(page, "python")
    if block.reason is None and re.search(r"(tune|\.search|compare_models)\(", block.code)
}
"""Pages that search or train, and take some ten seconds or more."""

MOST = 2
"""The trials of a search."""

IN_GRAPHS = "docs/prediction-intervals.md"
"""The page that trains for hundreds of steps, on all digits. The others are quicker without graphs."""

IMAGES, ROWS = 64, 3
"""How many digits there are, except on that page, and how many rows, one a step, each has."""

INSTEAD = {
    # The parts of the digits: each is one batch.
    r"(?<=[\[:])(60|300)(?=[:\]])": "32",
    r"(?<=[\[:])(120|[69]00)(?=[:\]])": "48",
    r"8, 8(?=\))": f"{ROWS}, 8",
    r"(?<!_)epochs=\d+": "epochs=1",
    "max_epochs=30": "max_epochs=2",
    "max_trials=3": "max_trials=2",
    "max_trials=2(?=.*recdrop_runs)": "max_trials=1",  # It is resumed with one more.
    "max_trials=12": "max_trials=10",
    r"\(64, 6, 3\)": "(32, 2, 3)",
    "cv=3": "cv=2",
    "seeds=3": "seeds=2",
    "max_seeds=5": "max_seeds=2",
    # Sequences, and windows of a series.
    r"integers\(5, 12": "integers(2, 4",
    r"(?<=[\[:])40(?=[:\]])": "32",
    "steps, horizon = 10, 4": "steps, horizon = 3, 2",
    r"\(200, 3\)": "(60, 3)",
    r"(?<=[\[:])150(?=[:\]])": "36",
}
"""What is replaced on the pages: patterns, and what stands there instead."""

NOT_RUN = {"docs/deploy.md": 1, "docs/scaling.md": 3, "docs/search.md": 1}
"""How many blocks of a page are not run."""


def given():
    """The names that a page may use: some of the handwritten digits, and a build function.

    They are few, so that a search takes seconds: 32 images to train on, 16 each to validate and to test.
    Of each image there are the upper rows.
    """
    import keras

    images, labels = datasets.load_digits(return_X_y=True)
    x = (images.reshape(-1, 8, 8)[:, :ROWS] / 16.0).astype("float32")  # each row of 8 pixels a step

    def build(hp):
        layer = recdrop_tune.dropout_rnn(hp, keras.layers.LSTM(4), space="quick")
        model = keras.Sequential([keras.Input((ROWS, 8)), layer, keras.layers.Dense(10, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    parts = {"": slice(32), "_val": slice(32, 48), "_test": slice(48, 64)}
    data = {f"x{name}": x[part] for name, part in parts.items()}
    data |= {f"y{name}": labels[part] for name, part in parts.items()}
    return {"__name__": "__main__", "build": build, **data}


def by_page(*languages):
    """Parametrizes a test over the pages with such blocks."""
    heavy = (pytest.mark.heavy, pytest.mark.timeout(1800))
    params = [
        pytest.param(page, marks=heavy if page in HEAVY else ()) for page in pages_with(*languages)
    ]
    return pytest.mark.parametrize("page", params)


# Keras: a model that has not been trained has no slots for Adam's state yet. Scikit-learn: with few points
# the fit of Bayesian optimization does not converge. And the page that replaces Keras's own dropout.
@pytest.mark.filterwarnings(
    "ignore:The model has dropout in its recurrent layers",
    "ignore:Skipping variable loading for optimizer",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
@by_page("python")
def test_python_runs(page, tmp_path, monkeypatch, new_store, running_eagerly):
    names = given()
    tune = recdrop_tune.tune

    @functools.wraps(tune)
    def tune_briefly(*data, **options):
        return tune(*data, **{**options, "max_trials": min(MOST, options["max_trials"])})

    if page != "docs/results.md":  # It compares the trials of a small model, and wants ten.
        monkeypatch.setattr(recdrop_tune, "tune", tune_briefly)
    have_fewer_digits(monkeypatch, None if page == IN_GRAPHS else IMAGES, ROWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_store(tmp_path))
    with nullcontext() if page == IN_GRAPHS else running_eagerly():
        for block in blocks(page, "python"):
            if block.reason is None:
                run(block, names, INSTEAD)


def test_what_is_not_run():
    """Neither more blocks than these, nor ones that would be marked by a comment that is not understood."""
    marked = {page: sum(b.reason is not None for b in blocks(page, "python")) for page in PAGES}
    assert {page: count for page, count in marked.items() if count} == NOT_RUN
    for page, path in PAGES.items():
        comments = path.read_text(encoding="utf-8").count("<!-- not run:")
        assert comments == sum(b.reason is not None for b in blocks(page, "python", "yaml")), page


# The YAML of docs/cli.md is a whole search, which tests/cli/test_run_command.py runs.
@pytest.mark.parametrize("page", sorted({*pages_with("yaml")} - {"docs/cli.md"}))
def test_search_spaces_load(page, tmp_path):
    for block in blocks(page, "yaml"):
        if block.reason is None:
            (tmp_path / "space.yaml").write_text(block.code)
            SearchSpace.load(tmp_path / "space.yaml")


def test_every_key_and_preset_is_documented():
    text = PAGES["docs/search-spaces.md"].read_text()
    for name in (*SearchSpace.model_fields, *SearchSpace.presets()):
        assert re.search(rf"^\| .*`{name}`.* \|", text, re.MULTILINE), name


def test_every_page_is_listed_for_language_models():
    listed = re.findall(r"\]\(([\w/-]+\.md)\)", (ROOT / "docs/llms.txt").read_text())
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(listed) == sorted(pages)


def commands(page):
    """The commands of a page's shell blocks, as lists of words, without variables that are set before."""
    for block in blocks(page, "bash", "sh", "shell", "console"):
        for line in re.sub(r"\\\n", " ", block.code).splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            for between, part in itertools.groupby(words, {"&&", "||", ";", "|"}.__contains__):
                command = list(itertools.dropwhile(re.compile(r"\w+=").match, part))
                if command and not between:
                    yield command


@pytest.mark.parametrize("page", pages_with("bash", "sh", "shell", "console"))
def test_commands_exist(page):
    """Commands of this package, scripts and their options, files, extras: they are what a page says."""
    for command in commands(page):
        _check(command)


def _check(command):
    program, *words = command
    program = program.rpartition("/")[2]
    if program == "recdrop-tune" and words[:1] not in (["--help"], ["--version"]):
        own = main.commands[words[0]]  # click parses it, and nothing is carried out.
        with own.context_class(own, info_name=words[0]) as context:
            own.make_parser(context).parse_args([word for word in words[1:] if word != "--help"])
    for word in words:
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)+\.\w+", word.rpartition("=")[2]):
            assert (ROOT / word.rpartition("=")[2]).is_file(), word
        for extras in re.findall(r"^(?:recdrop-tune|\.)\[([\w,-]+)\]$", word):
            assert set(extras.split(",")) <= EXTRAS
    script = next((word for word in words if word.endswith(".py")), None)
    if program.startswith("python") and script and (ROOT / script).is_file():
        source = (ROOT / script).read_text()
        for option in words[words.index(script) + 1 :]:
            assert not option.startswith("-") or f'"{option.partition("=")[0]}"' in source, option


EXTRAS = set(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)


@pytest.mark.heavy
def test_the_site_builds_and_asks_nobody_else(tmp_path):
    """Strictly, without a warning; and a browser would fetch nothing from another server for it."""
    pytest.importorskip("mkdocs", reason="needs the extra `docs`")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = [path for path in (tmp_path / "site").rglob("*.html") if path.name != "404.html"]
    assert len(pages) == len(list(ROOT.glob("docs/**/*.md")))
    tags = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?([^\s\">]+)")
    for path in pages:
        fetched = tags.findall(path.read_text(encoding="utf-8"))
        assert fetched
        assert not [url for url in fetched if "//" in url], path
    # The docstrings are there.
    assert len((tmp_path / "site/api/search.html").read_text()) > 20_000
