"""Every wrapper and placement of every preset is sampled and built; some are trained."""

from __future__ import annotations

import keras
import keras_tuner as kt
import numpy as np
import pytest

from recdrop_tune.catalog import LOCKED_SITES, TECHNIQUES
from recdrop_tune.hypermodels import LanguageModel, SequenceClassifier, dropout_rnn
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.wrappers import AbstractDropoutWrapper
from tests.spaces.test_sampling import assert_valid

PRESETS = SearchSpace.presets()
X = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")


def words(value):
    """The words of a key, of which there may be one."""
    return (value,) if isinstance(value, str) else value


def small(name):
    """A preset with few units: what is searched of the dropout is the same."""
    return SearchSpace.load({**SearchSpace.load(name).to_dict(), "units": 3})


def configurations(space):
    """One random configuration of each wrapper and placement that a space offers."""
    declared = kt.HyperParameters()
    space.sample(declared)
    for wrapper in words(space.wrapper):
        under = filled(declared, {"wrapper": wrapper})
        offered = [p for p in under.space if p.name.startswith("placement") and under.is_active(p)]
        for placement in [value for p in offered for value in p.values] or [None]:
            given = {p.name: placement for p in offered}
            yield filled(declared, {"wrapper": wrapper, **given}), wrapper, placement


def filled(declared, values):
    """Gives hyperparameters values, and random ones to those that are left."""
    hp = declared.copy()
    hp.values = dict(values)
    hp.ensure_active_values()
    return hp


def test_the_presets_there_are():
    assert PRESETS == (
        "awd_lstm",
        "full",
        "gru",
        "lstm",
        "quick",
        "three_ways",
        "variational",
        "zoneout",
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_wrapper_and_placement_of_a_preset_is_sampled_and_built(name):
    space, seen = small(name), set()
    hypermodel = SequenceClassifier(2, (None, 2), space)
    for hp, wrapper, placement in configurations(space):
        sample = space.sample(hp)
        assert (sample.wrapper, sample.placement) == (wrapper, placement)
        assert_valid(sample)
        model = hypermodel.build(hp)
        layers = [layer for layer in model.layers if isinstance(layer, AbstractDropoutWrapper)]
        assert len(layers) == (0 if wrapper == "none" else sample.layers)
        for layer in layers:
            assert (layer.technique_id, layer.placement) == (wrapper, placement)
            assert {name: layer.get_config()[name] for name in sample.options} == sample.options
        seen.add((wrapper, placement))
    assert {wrapper for wrapper, _ in seen} == set(words(space.wrapper))
    if name == "full":
        # Where it drops, `time_distributed` is what `recurrent` is there.
        searched = [
            t for t in TECHNIQUES.values() if not t.learns_rate and t.id != "time_distributed"
        ]
        everything = {(t.id, p) for t in searched for p in t.placements}
        assert seen == {*everything, ("none", None)}


@pytest.mark.parametrize("name", ["full", "variational"])
def test_a_configuration_takes_a_training_step(name):
    hp, _, _ = list(configurations(small(name)))[-1]
    model = SequenceClassifier(2, (None, 2), small(name)).build(hp)
    assert np.isfinite(model.train_on_batch(X, np.arange(4) % 2)).all()


def test_awd_lstm_drops_in_three_ways():
    hp = kt.HyperParameters()
    hp.values["wrapper"] = "weight_drop"
    sample = small("awd_lstm").sample(hp, embedding=True)
    assert (sample.wrapper, sample.placement) == ("weight_drop", "recurrent")
    assert tuple(sample.locked_rate) == LOCKED_SITES
    assert sample.embedding_rate is not None
    model = LanguageModel(7, small("awd_lstm"), tie_weights=True).build(hp)
    tokens = np.random.default_rng(0).integers(0, 7, (4, 6))
    assert np.isfinite(model.train_on_batch(tokens[:, :-1], tokens[:, 1:])).all()


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_build_function_takes_every_preset_for_either_cell(cell):
    for name in PRESETS:
        for wrapper in words(SearchSpace.load(name).wrapper):
            hp = kt.HyperParameters()
            hp.values["wrapper"] = wrapper
            layer = dropout_rnn(hp, getattr(keras.layers, cell)(3), space=name)
            assert layer(X, training=True).shape == (4, 3)
