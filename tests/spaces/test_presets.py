"""Every wrapper and placement of every preset is sampled and built; some are trained."""

from __future__ import annotations

import keras
import keras_tuner as kt
import numpy as np
import pytest

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.hypermodels import SequenceClassifier, dropout_rnn
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.wrappers import AbstractDropoutWrapper
from tests.spaces.test_sampling import assert_valid

PRESETS = SearchSpace.presets()


def words(value):
    return (value,) if isinstance(value, str) else value


def configurations(space):
    """One random configuration of each wrapper and placement of a space."""
    declared = kt.HyperParameters()
    space.sample(declared)
    for wrapper in words(space.wrapper):
        under = filled(declared, {"wrapper": wrapper})
        offered = [p for p in under.space if p.name.startswith("placement") and under.is_active(p)]
        for placement in [value for p in offered for value in p.values] or [None]:
            given = {p.name: placement for p in offered}
            yield filled(declared, {"wrapper": wrapper, **given}), wrapper, placement


def filled(declared, values):
    hp = declared.copy()
    hp.values = dict(values)
    hp.ensure_active_values()
    return hp


@pytest.mark.parametrize("name", PRESETS)
def test_every_wrapper_and_placement_of_a_preset_is_sampled_and_built(name):
    space, seen = SearchSpace.load({**SearchSpace.load(name).to_dict(), "units": 3}), set()
    hypermodel = SequenceClassifier(2, (None, 2), space)
    for hp, wrapper, placement in configurations(space):
        sample = space.sample(hp)
        assert (sample.wrapper, sample.placement) == (wrapper, placement)
        assert_valid(sample)
        seen.add((wrapper, placement))
        if name != "full" and len(seen) > 2:
            continue  # `full` builds all of them.
        model = hypermodel.build(hp)
        layers = [layer for layer in model.layers if isinstance(layer, AbstractDropoutWrapper)]
        assert len(layers) == (0 if wrapper == "none" else sample.layers)
        for layer in layers:
            assert (layer.technique_id, layer.placement) == (wrapper, placement)
            assert {key: layer.get_config()[key] for key in sample.options} == sample.options
    assert {wrapper for wrapper, _ in seen} == set(words(space.wrapper))
    if name == "full":
        # `time_distributed` would repeat `recurrent`.
        searched = [
            t for t in TECHNIQUES.values() if not t.learns_rate and t.id != "time_distributed"
        ]
        everything = {(t.id, p) for t in searched for p in t.placements}
        assert seen == {*everything, ("none", None)}


def test_a_build_function_takes_a_preset_for_a_gru():
    """Although some of its options, and the wrapper `update`, are an LSTM's only."""
    for wrapper in words(SearchSpace.load("full").of_cell("gru").wrapper):
        hp = kt.HyperParameters()
        hp.values["wrapper"] = wrapper
        layer = dropout_rnn(hp, keras.layers.GRU(3), space="full")
        assert layer(np.ones((4, 3, 2)), training=True).shape == (4, 3)
