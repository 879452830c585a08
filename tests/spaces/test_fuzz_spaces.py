"""Whatever is given as a search space either is one, or a `SearchSpaceError` says what is wrong and where."""

import decimal
import fractions
import os
import string

import keras_tuner as kt
import numpy as np
import pytest
import yaml
from hypothesis import strategies as st

from recdrop_tune.errors import SearchSpaceError, shown
from recdrop_tune.spaces import SearchSpace, preset_folder
from tests.fuzzing import LONGEST, OddEquality, OddTruth, hold, profiles, refused

KEYS = list(SearchSpace.model_fields)
PRESETS = {name: (preset_folder() / f"{name}.yaml").read_text() for name in SearchSpace.presets()}
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


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
    hold(profile, 150, spaces, lambda space: check_source(space, "the dict" if space else ""))


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


tags = ["int", "float", "bool", "null", "timestamp", "binary", "omap", "pairs", "set", "str", "seq"]


@profiles
def test_tags(profile, tmp_path):
    """PyYAML lets errors of Python's out where a value is not what its tag says."""
    path = tmp_path / "space.yaml"
    inner = st.sampled_from(["", "x", "''", "0x", "1__", "[1]", "{a: 1}", "2020-13-45", "xx=", "~"])

    def check(parts):
        key, tag, value = parts
        path.write_text(f"{key}: !!{tag} {value}\n")
        check_source(path, str(path))

    hold(
        profile, 60, st.tuples(st.sampled_from(KEYS), st.sampled_from([*tags, "map"]), inner), check
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: !!python/object/apply:os.system ['touch ran']", "could not determine a constr"),
        ("rate: !!python/name:os.system ''", "could not determine a constructor"),
        ("[" * 50_000, "valid YAML. Received: it is nested too deeply"),
        ("rate: " + "{a: " * 5_000, "valid YAML. Received: it is nested too deeply"),
        (LAUGHS, "aliases make it endless, or far too large"),
        (f"{LAUGHS}rate: *j\n", "aliases make it endless, or far too large"),
        ("rate: &a [*a]\n", "aliases make it endless"),
        ("units: 1" + "0" * 5000, "is no int"),
        ("units: 1" + "0" * 400, "`units`"),
        ("units: 1" + ":00" * 200 + ".5", "is no float"),  # To the base 60, as YAML 1.1 has it.
        ("rate: 2020-13-45", r"is no timestamp \(month must be in 1..12\)\n.*line 1, column 7"),
        ("rate: !!bool x", "is no bool"),
        ("!!map [1, 2]", "expected a mapping, but found a sequence"),
        ("rate: !!map x", "expected a mapping, but found a scalar"),
        ("rate: 0.3\0", "special characters are not allowed"),
        ("rate:\t0.3", "line 1, column 6"),
        ("rate: 0.1\n---\nrate: 0.2\n", "expected a single document"),
        ("rate: 0.1\n'rate': 0.2\n", "the key `rate` is there twice"),
        ("units: {min: 1, max: 100000000000000000000000000}", "`units.max`"),
        ("rate: {min: 0, max: 0.5, step: 1.0e-300}", r"`rate.step`.*>= 1e-09 \* \(max - min\)"),
        ("#" * 300_000, "it is larger than 200,000 bytes"),
        ("\n".join(f"k{number}: 1" for number in range(200)), r"\.\.\. and 150 more problems"),
    ],
    ids=lambda value: shown(value)[:40],
)
def test_files_that_are_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(SearchSpaceError, match=f"(?s){message}") as caught:
        SearchSpace.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < LONGEST
    assert os.listdir(tmp_path) == ["space.yaml"]


@pytest.mark.parametrize(
    "text", ["\ufeffrate: 0.3\n", "rate: 0.3\r\nunits: 8\r\n", "rate: &r 0.3\n"]
)
def test_files_that_are_read(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_bytes(text.encode())
    assert SearchSpace.load(path).rate == 0.3


def test_anchors_and_merged_keys_within_reason(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("rate: &r {min: 0.1, max: 0.4}\nlocked_rate: {<<: *r, max: 0.5}\n")
    space = SearchSpace.load(path)
    assert (space.rate.max, space.locked_rate.max) == (0.4, 0.5)


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "one.yaml").symlink_to(tmp_path / "two.yaml")
    (tmp_path / "two.yaml").symlink_to(tmp_path / "one.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"rate: 0.3 # \xe9\n")
    places = [tmp_path, tmp_path / "none.yaml", tmp_path / "one.yaml", tmp_path / "latin.yaml"]
    places += ["a\0.yaml", "a" * 5000 + ".yaml", "~nobody-here/a.yaml", "\ud800.yaml", "../quick"]
    for place in places:
        with pytest.raises(
            SearchSpaceError, match=r"Expected (a readable YAML file|one of the pres)"
        ):
            SearchSpace.load(place)


def test_a_long_list_is_read_in_time():
    rates = [number / 10_001 for number in range(10_000)]
    assert len(SearchSpace.load({"rate": rates}).rate) == 10_000


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
