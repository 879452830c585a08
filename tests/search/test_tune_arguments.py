"""Tests for what `recdrop_tune.search` refuses before anything is started."""

import keras
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError
from recdrop_tune.search import SearchConfig, names_of, tuning
from tests.small_search import build, data

X, Y = data()
BAD = X.copy()
BAD[3, 1, 2] = np.nan
SPACE = {"units": 4, "wrapper": ["none", "recurrent"], "rate": 0.2}


def fit(**arguments):
    """The argument of `tune` that hands these on to `Model.fit`."""
    return {"training": rdt.Training(fit=arguments)}


@pytest.fixture
def options(tmp_path):
    return {
        "tracking": rdt.MLflow(uri=f"sqlite:///{tmp_path}/mlflow.db"),
        "directory": tmp_path / "project",
        "model": build,
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"objective": "val_f1", "training": rdt.Training(callbacks=[keras.callbacks.History])},
            "`objective`.*'name': 'val_f1', 'direction': 'max'",
        ),
        ({"model": 3}, r"`model`.*a Keras model, a function that builds one.*HyperModel"),
        (
            {"model": keras.Sequential([keras.Input((5, 3)), keras.layers.Dense(1)])},
            "`model`.*at least one LSTM or GRU layer.*`sequential",
        ),
        (fit(epochs=3), r"`epochs` received in `fit`.*Give `epochs` to `tune`"),
        ({"space": SPACE}, r"`space`.*None with a function or a hypermodel"),
        ({"confirm": rdt.Confirm(1, test=3)}, "`test`"),
        ({"training": rdt.Training(cv=3)}, "`validation`.*None with `cv`"),
        (
            {"validation": None, "training": rdt.Training(cv=2, groups=lambda: [0] * len(Y))},
            "`groups`.*number of groups: 1",
        ),
        ({"validation": None}, "`validation`.*the objective is val_loss.*validation_split"),
        ({"validation": (BAD, Y)}, "`validation`.*finite loss.*infinity in x"),
        ({"directory": "a\0b"}, "cannot be written to: .*null"),
        ({"directory": "file/project"}, "file/project` cannot be written to: .*Give another"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_arguments_are_checked_before_anything_starts(
    options, tmp_path, monkeypatch, wrong, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    given = {"validation": data(), **options, **wrong}
    with pytest.raises((InvalidArgumentError, ProjectError), match=message):
        rdt.tune(data(), **given)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_argument_reaches_the_search(monkeypatch):
    monkeypatch.setattr(tuning, "SearchConfig", dict)
    monkeypatch.setattr(tuning, "run_search", lambda *arguments: arguments)
    values = {name: object() for name in names_of(SearchConfig)}
    assert rdt.tune(1, 2, **values) == (values, 1, 2)
