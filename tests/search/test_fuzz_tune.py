"""`tune` accepts random data, or refuses them with its own error and leaves nothing behind."""

import math
import os
import warnings

import keras
import numpy as np
import pandas as pd
from hypothesis import strategies as st

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError
from tests.fuzzing import OddEquality, hold, profiles, refused
from tests.small_search import data

junk = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.builds(OddEquality),
    st.builds(np.array, st.sampled_from([1, [], [1, 2], ["x"], [[None]]])),
    st.sampled_from([1j, print, object, Exception("x"), keras.layers.Dense(1), keras.Sequential()]),
    st.builds(lambda: pd.DataFrame({"a": [1]})),
    st.builds(lambda: iter([1])),
    st.lists(st.none() | st.integers(), max_size=2),
)


@st.composite
def arrays(draw):
    """Arrays, most of which no search can use."""
    sizes = st.lists(st.integers(0, 5), max_size=4)
    shape = tuple(draw(sizes | st.sampled_from([[8, 5, 3], [8], [8, 2], [8, 5]])))
    kind = draw(st.sampled_from(["float32", "float64", "int64", "bool", "U3", "O", "M8[s]"]))
    filling = draw(st.sampled_from([0, 1, -1, "nan", math.nan, math.inf, None]))
    try:
        with np.errstate(all="ignore"):
            return np.full(shape, filling).astype(kind)
    except (TypeError, ValueError, OverflowError):
        return np.zeros(shape, kind)


@profiles
def test_data(profile, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")  # No search can start there.
    monkeypatch.chdir(tmp_path)
    parts = st.lists(arrays() | junk, min_size=0, max_size=4).map(tuple)
    near = st.tuples(
        st.builds(lambda: data(8)[0]) | arrays(), st.builds(lambda: data(8)[1]) | arrays()
    )

    def check(pair):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            options = {"directory": "file", "verbose": 0, "max_trials": 1, "epochs": 1}
            error = refused(lambda: rdt.tune(*pair, space="quick", **options))
        assert isinstance(error, InvalidArgumentError | ProjectError)
        assert os.listdir(tmp_path) == ["file"]

    hold(profile, 30, st.tuples(parts | near, near | parts | st.none()), check)
