"""`tune` accepts random arguments, or refuses them with its own error and leaves nothing behind."""

import dataclasses
import decimal
import fractions
import inspect
import math
import os
import warnings
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError
from tests.fuzzing import OddEquality, OddTruth, hold, profiles, refused
from tests.small_search import build, data

# The folder is tested below, and workers would start Ray.
ARGUMENTS = [
    name for name in inspect.signature(rdt.tune).parameters if name not in ("directory", "workers")
]
SETTINGS = [
    (kind, each.name)
    for kind in (rdt.Optuna, rdt.Training, rdt.Confirm, rdt.Workers, rdt.MLflow)
    for each in dataclasses.fields(kind)
]

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, 2**31, 2**32 - 1, -1, 0, 1, 2]),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(
        ["x" * 5000, "a/b", "a\nb", "\0", "\ud800", "../x", "no", "inf", "1", "val_loss"]
    ),
    st.sampled_from(
        ["http://[", "http://a:b:c", "sqlite:///", "sqlite:///x.db", "file:///x", "://"]
    ),
    st.binary(max_size=5),
    st.builds(OddEquality),
    st.builds(OddTruth),
    st.builds(np.array, st.sampled_from([1, [], [1, 2], ["x"], [[None]]])),
    st.sampled_from([np.float64("nan"), np.int64(1), decimal.Decimal(1), fractions.Fraction(1, 2)]),
    st.sampled_from([1j, range(3), print, object, Path("x"), Exception("x"), ..., NotImplemented]),
    st.builds(lambda: pd.DataFrame({"a": [1]})),
    st.builds(lambda: iter([1])),
    st.sampled_from([keras.layers.Dense(1), keras.callbacks.Callback(), keras.Sequential()]),
    st.lists(st.none() | st.integers() | st.sampled_from(["val_loss", "loss"]), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Checks arguments of a search that cannot start in any case: its folder is a file."""
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.chdir(tmp_path)
    common = {"directory": "file", "model": build, "verbose": 0, "max_trials": 1, "epochs": 1}

    def check(arguments):
        given = {"train": data(8), "validation": data(8), **common, **arguments}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            error = refused(lambda: rdt.tune(given.pop("train"), given.pop("validation"), **given))
        assert isinstance(error, InvalidArgumentError | ProjectError)
        assert os.listdir(tmp_path) == ["file"]

    return check


@profiles
def test_one_argument(profile, nowhere):
    one = st.tuples(st.sampled_from(ARGUMENTS), junk)
    hold(profile, 400, one, lambda pair: nowhere(dict([pair])))


@profiles
def test_several_arguments(profile, nowhere):
    several = st.dictionaries(st.sampled_from(ARGUMENTS), junk, min_size=2, max_size=4)
    hold(profile, 50, several, nowhere)


@profiles
def test_one_setting(profile):
    def check(given):
        (kind, name), value = given
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refused(lambda: kind(**{name: value}))

    hold(profile, 400, st.tuples(st.sampled_from(SETTINGS), junk), check)


dtypes = [
    "float32",
    "float64",
    "float16",
    "int64",
    "uint8",
    "bool",
    "U3",
    "S3",
    "O",
    "complex64",
    "M8[s]",
]
sizes = st.lists(st.integers(0, 5), max_size=4)


@st.composite
def arrays(draw):
    """Arrays, most of which no search can use."""
    shape = tuple(draw(sizes | st.sampled_from([[8, 5, 3], [8], [8, 2], [8, 5]])))
    kind = draw(st.sampled_from(dtypes))
    filling = draw(st.sampled_from([0, 1, -1, "nan", math.nan, math.inf, None]))
    try:
        with np.errstate(all="ignore"):
            return np.full(shape, filling).astype(kind)
    except (TypeError, ValueError, OverflowError):
        return np.zeros(shape, kind)


@profiles
def test_data(profile, nowhere):
    parts = st.lists(arrays() | junk, min_size=0, max_size=4).map(tuple)
    near = st.tuples(
        st.builds(lambda: data(8)[0]) | arrays(), st.builds(lambda: data(8)[1]) | arrays()
    )
    pairs = st.tuples(parts | near, near | parts | st.none())

    def check(pair):
        train, validation = pair
        with np.errstate(all="ignore"):
            nowhere({"train": train, "validation": validation, "model": None, "space": "quick"})

    hold(profile, 250, pairs, check)


@profiles
def test_folders(profile, tmp_path, monkeypatch):
    """A search that cannot be set up leaves no folder, not even a parent."""
    monkeypatch.chdir(tmp_path)
    paths = st.text(max_size=8) | st.sampled_from(
        ["a/b/c", "x" * 5000, "a\0b", "\ud800", "~x", ".", " "]
    )

    def fail(hp):
        raise ValueError("no model")

    def check(path):
        there = sorted(os.listdir(tmp_path))
        if os.path.isabs(path) or ".." in path:
            return
        error = refused(lambda: rdt.tune(data(8), data(8), directory=path, model=fail, verbose=0))
        assert isinstance(error, RecdropError)
        assert sorted(os.listdir(tmp_path)) == there

    hold(profile, 40, paths, check)
