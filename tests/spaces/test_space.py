"""Search spaces: what they accept, and where they are found."""

from __future__ import annotations

import pickle
import subprocess
import sys

import keras_tuner as kt
import numpy as np
import pytest

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.spaces import Range, SearchSpace
from recdrop_tune.spaces import sources as _sources

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


def test_a_bare_value_is_fixed_a_list_is_a_choice_a_mapping_is_a_range():
    space = SearchSpace.load(FULL)
    assert space.cell == ("lstm", "gru")
    assert space.units == Range(min=16, max=64, step=16)
    assert space.bidirectional == (False, True)
    assert SearchSpace(rate=0.3).rate == 0.3
    assert SearchSpace(wrapper="recurrent").wrapper == "recurrent"


def test_numbers_take_the_type_of_their_field():
    space = SearchSpace(units=np.int64(8), rate=[0, 0.3], learning_rate=1)
    assert [type(value) for value in (space.units, *space.rate, space.learning_rate)] == [
        int,
        float,
        float,
        float,
    ]


def test_a_placement_is_put_in_the_order_of_the_sites():
    space = SearchSpace(wrapper="recurrent", placement=["output + recurrent+input", "input"])
    assert space.placement == ("input+recurrent+output", "input")


def test_a_list_of_one_is_that_one():
    assert SearchSpace(wrapper=["lambda"], units=[8]) == SearchSpace(wrapper="lambda", units=8)


def test_everything_may_be_left_out():
    space = SearchSpace.load({})
    assert space.wrapper == tuple(name for name in TECHNIQUES if name != "concrete")
    hp = kt.HyperParameters()
    sample = space.sample(hp)
    assert (sample.cell, sample.units, sample.layers) == ("lstm", 64, 1)
    assert (sample.bidirectional, sample.learning_rate) == (False, 1e-3)
    assert not {"cell", "units", "layers", "bidirectional", "learning_rate"} & set(hp.values)


def test_a_space_is_frozen_hashable_and_picklable():
    space = SearchSpace.load(FULL)
    with pytest.raises(ValueError, match="frozen"):
        space.units = 3
    assert hash(space) == hash(SearchSpace.load(FULL))
    assert pickle.loads(pickle.dumps(space)) == space


@pytest.mark.parametrize("raw", [{}, FULL, PER_SITE, {"wrapper": "none", "rate": [0.1, 0.2]}])
def test_round_trips(raw, tmp_path):
    space = SearchSpace.load(raw)
    assert SearchSpace.load(space) is space
    assert SearchSpace.load(space.to_dict()) == space
    (tmp_path / "space.yaml").write_text(space.to_yaml())
    assert SearchSpace.load(tmp_path / "space.yaml") == space
    assert SearchSpace.load(str(tmp_path / "space.yaml")) == space


def test_to_yaml_is_what_a_user_would_write():
    assert SearchSpace.load(PER_SITE).to_yaml() == (
        "wrapper: [native, recurrent, time_distributed, none, lambda]\n"
        "placement: [recurrent, input+recurrent, input, output]\n"
        "rate:\n"
        "  input: {min: 0.1, max: 0.5, step: 0.1}\n"
        "  recurrent: [0.1, 0.2]\n"
        "  output: 0.5\n"
    )


def test_yaml_reads_1e_3_as_a_number(tmp_path):
    # YAML 1.1, which PyYAML follows, makes a string of it.
    path = tmp_path / "s.yml"
    path.write_text("learning_rate: {min: 1e-4, max: 1E-2, log: true}\nrate: 5e-1\n")
    space = SearchSpace.load(path)
    assert space.learning_rate == Range(min=1e-4, max=1e-2, log=True)
    assert space.rate == 0.5


def test_presets_are_there_and_valid():
    assert {"quick", "three_ways", "lstm", "gru"} <= set(SearchSpace.presets())
    for name in SearchSpace.presets():
        text = (_sources.preset_folder() / f"{name}.yaml").read_text(encoding="utf-8")
        assert text.startswith("# ")
        assert SearchSpace.load(name).sample(kt.HyperParameters()).wrapper in TECHNIQUES
    assert SearchSpace.load("gru").cell == "gru"
    assert SearchSpace.load("quick").grid_size() is not None


def test_presets_are_found_in_an_installed_package(tmp_path, monkeypatch):
    folder = tmp_path / "search_spaces"
    folder.mkdir()
    (folder / "shipped.yaml").write_text("wrapper: lambda\n")
    monkeypatch.setattr(_sources.resources, "files", lambda package: tmp_path)
    assert SearchSpace.presets() == ("shipped",)
    assert SearchSpace.load("shipped").wrapper == "lambda"


def test_reading_a_space_imports_neither_keras_nor_keras_tuner():
    code = (
        "import sys; from recdrop_tune import SearchSpace; SearchSpace.load('quick'); "
        "print(sorted({'keras', 'keras_tuner', 'tensorflow', 'optuna', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
