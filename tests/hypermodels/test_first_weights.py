"""A trial and its twin have the same initial weights, independent of the dropout."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.hypermodels import LanguageModel, SequenceClassifier
from recdrop_tune.models.layers import plain_weights
from recdrop_tune.oracle import OptunaOracle

pytestmark = pytest.mark.backends

SIZE = {"units": 3, "layers": 2, "learning_rate": 0.01}
DECAYS = {"activity_decay": 2.0, "temporal_decay": 1.0}


def classifier(**dropout):
    return SequenceClassifier(3, (4, 2), {**SIZE, **dropout})


def weights(hypermodel, seed=5):
    keras.utils.set_random_seed(seed)
    model = hypermodel.build(kt.HyperParameters())
    if not model.built:
        model.build((None, 4, 2))
    return [keras.ops.convert_to_numpy(weight) for weight in plain_weights(model)]


def unbuilt(**dropout):
    """A model without an `Input`, whose weights are drawn when it is trained, with a built one inside."""
    return existing([], dropout)


def built(**dropout):
    return existing([keras.Input((4, 2))], dropout)


def existing(start, dropout):
    inner = keras.Sequential([keras.Input((4, 2)), keras.layers.LSTM(2, return_sequences=True)])
    sides = keras.layers.Bidirectional(keras.layers.LSTM(1, return_sequences=True))
    model = keras.Sequential([*start, sides, inner, keras.layers.GRU(3), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return rdt.ExistingModel(model, dropout)


@pytest.mark.heavy
@pytest.mark.parametrize("model", [unbuilt, built])
def test_every_technique_has_the_initial_weights_of_its_twin(model):
    plain = weights(model(wrapper="none"))
    assert not np.array_equal(plain[0], weights(model(wrapper="none"), seed=6)[0])
    for wrapper, technique in TECHNIQUES.items():
        if technique.class_name is not None and technique.cell is None:  # They have a GRU.
            rate = {} if technique.learns_rate else {"rate": 0.3}
            np.testing.assert_equal(weights(model(wrapper=wrapper, **rate)), plain)


@pytest.mark.parametrize(
    "dropout",
    [
        {"wrapper": "recurrent", "rate": 0.1, "embedding_rate": 0.1, "locked_rate": 0.2},
        {"wrapper": "weight_drop", "rate": 0.3, "locked_rate": {"output": 0.2}, **DECAYS},
        {"wrapper": "none", **DECAYS},
    ],
    ids=["locked", "decays", "decays alone"],
)
def test_what_is_around_the_layers_does_not_change_their_initial_weights(dropout):
    twin = LanguageModel(9, {**SIZE, "wrapper": "none"})
    dropping = LanguageModel(9, {**SIZE, **dropout})
    np.testing.assert_equal(weights(dropping), weights(twin))


@pytest.mark.heavy
@pytest.mark.usefixtures("eagerly")
def test_a_tiny_rate_scores_like_its_twin(tmp_path):
    """They differ in the dropout only, not in weights, the order of the data or batches."""
    x = np.random.default_rng(0).normal(size=(24, 4, 2)).astype("float32")
    y = (x[:, :, 0].sum(1) > 0).astype("int64")
    dropout = {"wrapper": ["none", "recurrent"], "placement": "recurrent", "rate": 1e-4}
    hypermodel = classifier(**dropout, cell="gru", layers=1, activity_decay=2.0)
    oracle = OptunaOracle("val_loss", max_trials=2, seed=0, sampler="random")
    tuner = rdt.Tuner(oracle, hypermodel, directory=tmp_path, seed=0)
    tuner.search(x, y, validation_data=(x, y), epochs=2, batch_size=8, verbose=0)
    scores = {trial.hyperparameters["wrapper"]: trial.score for trial in oracle.trials.values()}
    assert scores["recurrent"] == pytest.approx(scores["none"], rel=1e-4)
