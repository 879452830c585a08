"""Search spaces: what is accepted, what is refused, and where spaces are read from."""

from __future__ import annotations

import pickle

import keras_tuner as kt
import numpy as np
import pytest

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import SearchSpaceError
from recdrop_tune.spaces import Range, SearchSpace

FULL = {
    "cell": ["lstm", "gru"],
    "units": {"min": 16, "max": 64, "step": 16},
    "layers": [1, 2],
    "bidirectional": [False, True],
    "wrapper": ["none", "native", "recurrent", "time_distributed", "lambda"],
    "placement": ["input", "recurrent", "input+recurrent", "output"],
    "rate": {"min": 0.05, "max": 0.6, "step": 0.05},
    "learning_rate": {"min": 1e-4, "max": 1e-2, "log": True},
}
PER_SITE = {
    "wrapper": ["native", "recurrent", "time_distributed", "none", "lambda"],
    "placement": ["recurrent", "input+recurrent", "input", "output"],
    "rate": {
        "input": {"min": 0.1, "max": 0.5, "step": 0.1},
        "recurrent": [0.1, 0.2],
        "output": 0.5,
    },
}
OPTIONS = {
    "wrapper": ["none", "recurrent", "variational", "zoneout", "lambda", "concrete"],
    "placement": ["input", "recurrent", "input+recurrent"],
    "rate": [0.1, 0.2],
    "per_step": [True, False],
    "tied_gates": [True, False],
    "mask_groups": [1, 2],
    "elements": [False, True],
    "hidden_rate": [0.0, 0.1],
    "samples": [90, 180],
    "tau": [0.5, 2.0],
    "function": ["bernoulli", "gaussian"],
}
LOCKED = {
    "layers": [2, 3],
    "wrapper": ["none", "weight_drop"],
    "placement": "recurrent",
    "rate": 0.5,
    "locked_rate": {"input": [0.1, 0.2], "between": [0.3, 0.4, 0.5], "output": 0.6},
    "embedding_rate": [0.0, 0.1],
}
DECAYS = {
    "wrapper": ["none", "zoneout"],
    "rate": 0.1,
    "activity_decay": [0, 2],
    "temporal_decay": {"min": 0.5, "max": 1.0, "step": 0.5},
}
SPACES = {
    "empty": {},
    "full": FULL,
    "per_site": PER_SITE,
    "options": OPTIONS,
    "locked": LOCKED,
    "decays": DECAYS,
    "none": {"wrapper": "none", "rate": [0.1, 0.2]},
}


@pytest.mark.parametrize(
    ("raw", "key", "value"),
    [
        ({}, "wrapper", tuple(t for t in TECHNIQUES if t not in ("concrete", "update"))),
        ({"bidirectional": [False, True]}, "bidirectional", (False, True)),
        ({"wrapper": ["recurrent"]}, "wrapper", "recurrent"),
        ({"units": Range(min=16, max=64, step=16)}, "units", Range(min=16, max=64, step=16)),
        ({"units": np.int64(8)}, "units", 8),
        ({"rate": [0, 0.2, np.float64(0.2)]}, "rate", (0.0, 0.2)),
        ({"wrapper": "lambda", "rate": {"input": [0.1]}}, "rate", {"input": 0.1}),
        ({"wrapper": "lambda", "placement": "output + input"}, "placement", "input+output"),
        ({"wrapper": "none", "placement": "recurrent", "rate": 0.3}, "rate", 0.3),
    ],
    ids=repr,
)
def test_accepted(raw, key, value):
    found = getattr(SearchSpace(**raw), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"rate": 1}, r"`rate`. Expected less than 1. Received: rate=1"),
        ({"rate": "0.1"}, "a valid number. Received: rate='0.1'"),
        ({"rate": []}, "at least one value"),
        ({"rate": {"min": 0.1}}, "`rate.max`. Expected a value"),
        ({"rate": {"min": 0.5, "max": 0.1}}, "`rate`. Expected a range with min < max"),
        ({"rate": {"min": 0.1, "max": 0.2, "step": 0.3}}, "step <= max - min"),
        ({"tau": {"min": 0.1, "max": 0.2, "step": 0.1, "log": True}}, "`step` or with `log`"),
        ({"rate": {"min": 0, "max": 0.2, "log": True}}, "min > 0, because of `log`"),
        ({"rate": {"input": {"min": 0.1, "max": 3}}}, "`rate.input.max`. Expected less than 1"),
        ({"units": True}, "a valid integer"),
        ({"learning_rate": float("inf")}, "a finite number"),
        ({"activity_decay": -1}, "greater than or equal to 0"),
        ({"wrapper": ["none", "recurent"]}, r"`wrapper\[1\]`.*Did you mean `recurrent`?"),
        ({"placement": "input+input"}, "'input\\+recurrent'.*placement='input\\+input'"),
        ({"wraper": "none"}, "There is no `wraper`. Did you mean `wrapper`?"),
        ({"rate": {"min": 0.1, "max": 0.3, "stpe": 0.1}}, "no `rate.stpe`. Did you mean `step`?"),
        ({"locked_rate": {"recurrent": 0.2}}, "'input', 'between' or 'output'"),
        # Keys that contradict each other.
        (
            {"wrapper": ["none", "lambda"], "placement": "recurrent"},
            "`lambda` has: input, output, ",
        ),
        ({"wrapper": "lambda", "rate": {"recurrent": 0.1}}, "`rate`. Expected a placement"),
        ({"wrapper": "lambda", "placement": "input+output", "rate": {"input": 0.1}}, "for output"),
        ({"wrapper": ["none", "concrete"], "rate": 0.2}, "no rate, because the wrapper concrete"),
        ({"wrapper": ["recurrent", "zoneout"], "schedule": "linear"}, "`schedule`.*`zoneout`"),
        ({"cell": ["lstm", "gru"], "hidden_rate": 0.1}, "`cell`. Expected only lstm"),
        ({"cell": ["lstm", "gru"], "wrapper": ["none", "update"]}, "a GRU has.*`zoneout`"),
        ({"locked_rate": {"between": 0.1}}, "`layers`. Expected 2 or more"),
        ({"layers": {"min": 1, "max": 3}, "locked_rate": {"between": 0.1}}, "2 or more"),
    ],
    ids=repr,
)
def test_refused(raw, message):
    with pytest.raises(SearchSpaceError, match=message):
        SearchSpace.load(raw)


def test_one_error_has_a_line_for_each_problem(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("unit: 3\nrate:\n  {min: -1,\n   max: 2}\ncell: rnn\n")
    with pytest.raises(SearchSpaceError) as caught:
        SearchSpace.load(path)
    found = {line.split(": ")[0]: line for line in str(caught.value).splitlines()}
    assert set(found) == {f"{path}, line {number}" for number in (1, 3, 4, 5)}
    assert "Did you mean `units`?" in found[f"{path}, line 1"]
    assert "`rate.max`" in found[f"{path}, line 4"]
    path.write_text("cell: lstm\nwrapper: lambda\nplacement: recurrent\n")
    with pytest.raises(SearchSpaceError, match=f"{path}, line 3: .*`placement`"):
        SearchSpace.load(path)


@pytest.mark.parametrize("raw", SPACES.values(), ids=SPACES)
def test_round_trips(raw, tmp_path):
    space = SearchSpace.load(raw)
    assert SearchSpace.load(space) is space
    assert SearchSpace.load(space.to_dict()) == space
    assert pickle.loads(pickle.dumps(space)) == space
    (tmp_path / "space.yaml").write_text(space.to_yaml())
    assert SearchSpace.load(tmp_path / "space.yaml") == space
    assert SearchSpace.load(str(tmp_path / "space.yaml")) == space
    with pytest.raises(ValueError, match="frozen"):
        space.units = 3


def test_to_yaml_is_what_a_user_would_write():
    assert SearchSpace.load(PER_SITE).to_yaml() == (
        "wrapper: [native, recurrent, time_distributed, none, lambda]\n"
        "placement: [recurrent, input+recurrent, input, output]\n"
        "rate:\n"
        "  input: {min: 0.1, max: 0.5, step: 0.1}\n"
        "  recurrent: [0.1, 0.2]\n"
        "  output: 0.5\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "learning_rate: {min: 1e-4, max: 1E-2, log: true}\nrate: 5e-1\n",  # Text in YAML 1.1.
        "\ufefflearning_rate: {min: 0.0001, max: 0.01, log: true}\r\nrate: &r 0.5\r\n",
    ],
)
def test_yaml_that_is_read(tmp_path, text):
    (tmp_path / "s.yml").write_text(text)
    space = SearchSpace.load(tmp_path / "s.yml")
    assert space == SearchSpace(learning_rate=Range(min=1e-4, max=1e-2, log=True), rate=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: 0.1\nrate: 0.2\n", "the key `rate` is given twice"),
        ("rate: [0.1\n", "line 2, column 1"),
        ("rate: &a [*a]\n", "aliases are not supported"),
        ("rate: 2020-13-45", "month must be in 1..12"),
        ("[" * 50_000, "recursion"),
        ("!!python/object/apply:os.system [touch ran]", "could not determine a constructor"),
        ("- none\n", "Expected a mapping"),
    ],
    ids=lambda value: value[:30],
)
def test_yaml_that_is_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SearchSpaceError, match=rf"(?s){path}.*({message})"):
        SearchSpace.load(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no.yaml", r"no\.yaml cannot be read: \[Errno 2\]"),
        ("quik", "Expected a dict.*awd_lstm.*Received: space='quik'. Did you mean `quick`?"),
    ],
)
def test_sources_that_are_refused(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchSpaceError, match=message):
        SearchSpace.load(source)


def test_presets_are_found_in_an_installed_package(tmp_path, monkeypatch):
    folder = tmp_path / "search_spaces"
    folder.mkdir()
    (folder / "shipped.yaml").write_text("wrapper: lambda\n")
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    assert SearchSpace.presets() == ("shipped",)
    assert SearchSpace.load("shipped").wrapper == "lambda"


def test_constants_are_used_for_keys_that_are_left_out():
    hp = kt.HyperParameters()
    sample = SearchSpace.load({}).sample(hp)
    assert (sample.cell, sample.units, sample.layers) == ("lstm", 64, 1)
    assert (sample.bidirectional, sample.learning_rate) == (False, 1e-3)
    assert {name.split(".")[0] for name in hp.values} <= {"wrapper", "placement", "rate"}
