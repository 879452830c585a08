"""Any input is either a valid search space, or a `SearchSpaceError` names the problem."""

import string
from datetime import timedelta

import keras_tuner as kt
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recdrop_tune.errors import SearchSpaceError, format_repr
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.spaces.space import preset_folder

KEYS = list(SearchSpace.model_fields)
PRESETS = sorted((preset_folder() / f"{name}.yaml").read_text() for name in SearchSpace.presets())

LONGEST = 20_000
"""The longest readable error message, with fifty problems, in characters."""

tried = settings(
    derandomize=True,  # Random inputs can fail today and pass tomorrow.
    database=None,
    deadline=timedelta(seconds=5),
    suppress_health_check=[*HealthCheck],
)


class OddEquality:
    """Cannot be compared or shown."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    def __repr__(self):
        raise RuntimeError("no representation")


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
    try:
        space = SearchSpace.load(source)
    except SearchSpaceError as error:
        assert 0 < len(str(error)) < LONGEST  # noqa: PT017
        assert where in str(error)  # noqa: PT017
    else:
        check_valid(space)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(),
    st.floats(0, 1),
    st.text(max_size=20),
    st.dates(),
    st.sampled_from(["none", "recurrent", "zoneout", "lstm", "input+recurrent", "constant"]),
    st.sampled_from([10**400, 2**31, 5e-324, 1e308]),
)
ranges = st.fixed_dictionaries({}, optional=dict.fromkeys(("min", "max", "step", "log"), scalars))
sites = st.dictionaries(st.sampled_from(["input", "recurrent", "output", "between", "x"]), scalars)
values = st.recursive(
    scalars | ranges | sites | st.builds(OddEquality),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=3),
    max_leaves=8,
)
spaces = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), values, max_size=5)


@settings(tried, max_examples=60)
@given(spaces)
def test_dicts(source):
    check_source(source)


@st.composite
def torn_texts(draw):
    """The text of a preset with some bytes cut out, doubled or put in."""
    text = draw(st.sampled_from(PRESETS)).encode()
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


@settings(tried, max_examples=80)
@given(content=torn_texts())
def test_torn_files(content, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_bytes(content)
    check_source(path, str(path))


def test_errors_show_any_value_in_a_few_lines():
    endless = []
    endless.append(endless)
    for value in (endless, OddEquality(), "x" * 10**6, 10**400, [[0] * 99] * 99):
        assert 0 < len(format_repr(value)) <= 1003
    assert format_repr({"a": 1, "b": [0.1, None]}) == "{'a': 1, 'b': [0.1, None]}"
