"""Which of Keras's backends a process has: how it is chosen, and what is said where it cannot be."""

import os
import subprocess
import sys

import keras
import pytest

import recdrop_tune as rdt
from recdrop_tune.backends import BackendWarning, choose, chosen
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.events import SearchStarted
from tests.commands import refusal_of
from tests.small_search import data, tuned
from tests.tracked_events import events_of

HERE = keras.backend.backend()
OTHER = "torch" if HERE == "jax" else "jax"


def said_by(code, **environment):
    """The output of a new process without `jax` and `torch`, before Keras is imported."""
    code = f"import sys\nsys.modules |= {{'jax': None, 'torch': None}}\n{code}"
    rest = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**rest, **environment}
    )
    return done.stdout.strip(), done.stderr.strip().splitlines()[-1:]


def test_an_unknown_backend_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"one of tensorflow, jax, torch.*'theano'"):
        choose("theano")
    _, (error,) = said_by("import recdrop_tune; recdrop_tune.tune", KERAS_BACKEND="jaxx")
    assert "`KERAS_BACKEND`. Expected one of tensorflow, jax, torch" in error


def test_a_backend_that_is_not_installed_is_refused():
    _, (error,) = said_by("from recdrop_tune.backends import choose; choose('jax')")
    assert "Expected an installed backend (tensor" in error
    assert "pip install 'recdrop-tune[jax]'" in error
    # Before Keras fails halfway through its import.
    code = "import recdrop_tune as rdt; rdt.SearchSpace; print('light'); rdt.explain"
    said, (error,) = said_by(code, KERAS_BACKEND="torch")
    assert said == "light"
    assert "`KERAS_BACKEND`. Expected an installed backend" in error


def test_where_a_backend_is_set(tmp_path):
    code = "from recdrop_tune.backends import chosen; print(chosen(), 'keras' in sys.modules)"
    home = {"KERAS_HOME": str(tmp_path)}
    assert said_by(code, **home) == ("tensorflow False", [])
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    assert said_by(code, **home) == ("torch False", [])
    assert said_by(code, **home, KERAS_BACKEND="jax") == ("jax False", [])
    assert chosen() == HERE


def test_a_backend_that_comes_too_late(monkeypatch):
    with pytest.raises(
        InvalidArgumentError, match=f"Expected '{HERE}', the backend of the imported"
    ):
        choose(OTHER)
    choose(HERE)
    monkeypatch.setenv("KERAS_BACKEND", OTHER)
    for call in (
        lambda: rdt.tune(data(), data()),
        lambda: rdt.distribute(None, workers=2),
        lambda: rdt.track(None),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            call()
        assert f"Received: KERAS_BACKEND='{OTHER}'. Set KERAS_BACKEND before" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "options", "said"),
    [
        (f"backend: {OTHER}\n", [], "search.yaml, line 2: Invalid value received for argument `ba"),
        ("", ["--backend", OTHER], f"argument `backend`. Expected '{HERE}'"),
    ],
)
def test_the_command_line(tmp_path, monkeypatch, line, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search.yaml").write_text(f"data: nowhere:load\n{line}")
    assert said in refusal_of("run", "search.yaml", *options)


@pytest.mark.heavy
def test_a_search_goes_on_with_another_backend(tmp_path):
    """It was begun here, and its journal is made to say that it was begun elsewhere."""
    tuned(tmp_path, None, max_trials=1)
    journal = tmp_path / "events.jsonl"
    text = journal.read_text()
    journal.write_text(text.replace(f'"backend": "{HERE}"', f'"backend": "{OTHER}"'))
    assert journal.read_text() != text
    with pytest.warns(BackendWarning) as caught:
        result = tuned(tmp_path, None)
    (text,) = [str(each.message) for each in caught if each.category is BackendWarning]
    assert f"ran on Keras's {OTHER} backend and continues on {HERE}" in text
    assert f"or set KERAS_BACKEND={OTHER}." in text
    assert len(result.trials) == 2
    begun = events_of(tmp_path, SearchStarted)
    assert [each.info["backend"] for each in begun] == [OTHER, HERE]
    assert f"Run on several backends: {OTHER}, then {HERE}." in result.summary()
