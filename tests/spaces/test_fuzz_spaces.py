"""Any input is either a valid search space, or a `SearchSpaceError` names the problem."""

import decimal
import fractions
import string

import keras_tuner as kt
import numpy as np
import yaml
from hypothesis import strategies as st

from recdrop_tune.errors import SearchSpaceError, shown
from recdrop_tune.spaces import SearchSpace, preset_folder
from tests.fuzzing import OddEquality, OddTruth, hold, profiles, refused

KEYS = list(SearchSpace.model_fields)
PRESETS = {name: (preset_folder() / f"{name}.yaml").read_text() for name in SearchSpace.presets()}


def check_valid(space):
    """A space that was accepted comes back from YAML, can be counted and sampled."""
    assert SearchSpace.load(yaml.safe_load(space.to_yaml())) == space
    size = space.grid_size()
    assert size is None or size >= 1
    hp = kt.HyperParameters()
    space.sample(hp, embedding=True)
    for each in hp.space:
        hp.values[each.name] = each.random_sample(seed=0)
    space.sample(hp, embedding=True)


def check_source(source, where=""):
    loaded = []
    error = refused(lambda: loaded.append(SearchSpace.load(source)), SearchSpaceError)
    if error is None:
        check_valid(*loaded)
    else:
        assert where in str(error)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 300),
    st.floats(),
    st.floats(0, 1),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.dates(),
    st.sampled_from(["none", "recurrent", "zoneout", "lstm", "input+recurrent", "constant"]),
    st.sampled_from([10**400, -(10**400), 2**31, 2**53 + 1, 5e-324, 1e308, float("nan")]),
)
objects = st.one_of(
    st.builds(OddEquality),
    st.builds(OddTruth),
    st.sampled_from([np.float32(0.3), np.int64(3), np.array([0.1, 0.2]), print, object, range(3)]),
    st.sampled_from([decimal.Decimal("0.3"), fractions.Fraction(1, 3), 1j, "x" * 10**6, "\ud800"]),
)
ranges = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("min", "max", "step", "log", "minimum"), scalars)
)
sites = st.dictionaries(st.sampled_from(["input", "recurrent", "output", "between", "x"]), scalars)
values = st.recursive(
    scalars | objects | ranges | sites,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=3),
    max_leaves=8,
)
spaces = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), values, max_size=5)


@profiles
def test_dicts(profile):
    hold(profile, 150, spaces, check_source)


@st.composite
def changed_presets(draw):
    """A preset with one key dropped, misspelt, added or given another value."""
    space = dict(yaml.safe_load(draw(st.sampled_from(sorted(PRESETS.values())))))
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(sorted(space) or KEYS))
        change = draw(st.sampled_from(["drop", "misspell", "add", "value", "inside"]))
        value = space.pop(key, None)
        if change == "misspell":
            space[key[:-1]] = value
        elif change == "add":
            space |= {key: value, draw(st.sampled_from(KEYS)): draw(values)}
        elif change == "value":
            space[key] = draw(values)
        elif change == "inside" and isinstance(value, dict) and value:
            inner = draw(st.sampled_from(list(value)))
            space[key] = {**value, inner: draw(values)}
    return space


@profiles
def test_changed_presets(profile):
    hold(profile, 80, changed_presets(), check_source)


@st.composite
def torn_texts(draw):
    """The text of a preset with some bytes cut out, doubled or put in."""
    text = draw(st.sampled_from(sorted(PRESETS.values()))).encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 40, len(text))))
        put = draw(
            st.binary(max_size=4)
            | st.text(string.punctuation + " \n\t", max_size=4).map(str.encode)
            | st.just(text[start:end] * 2)
            | st.sampled_from([b"\0", b"\xef\xbb\xbf", b"\r\n", b"\t", b"&a ", b"*a", b"!!float "])
        )
        text = text[:start] + put + text[end:]
    return text


@profiles
def test_torn_files(profile, tmp_path):
    path = tmp_path / "space.yaml"

    def check(content):
        path.write_bytes(content)
        check_source(path, str(path))

    hold(profile, 80, torn_texts(), check)


class Broken:
    def __len__(self):
        raise RuntimeError("no length")

    __repr__ = __len__


def test_errors_show_any_value_in_a_few_lines():
    endless = []
    endless.append(endless)
    for value in [
        endless,
        OddEquality(),
        Broken(),
        "x" * 10**6,
        10**5000,
        {0: Broken()},
        [[0] * 99] * 99,
    ]:
        assert 0 < len(shown(value)) <= 1003
    assert shown({"b": 1, "a": [0.1, None]}) == "{'b': 1, 'a': [0.1, None]}"
