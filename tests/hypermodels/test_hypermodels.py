"""Hypermodels and `dropout_rnn`: the models that they build, and the arguments that they refuse."""

import re

import keras
import keras_tuner as kt
import numpy as np
import pytest

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hypermodels import (
    AbstractSequenceModel,
    LanguageModel,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    dropout_rnn,
)
from recdrop_tune.wrappers import AbstractDropoutWrapper, ActivityDecay, RecurrentDropoutWrapper

DECAYS = {"activity_decay": 2.0, "temporal_decay": 1.0}
RECURRENT = {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.3, "units": 4}


def build(space, num_classes=3, input_shape=(None, 2), **kwargs):
    return SequenceClassifier(num_classes, input_shape, space, **kwargs).build(kt.HyperParameters())


def data(count=8, steps=5, features=2, classes=3):
    x = np.random.default_rng(0).normal(size=(count, steps, features)).astype("float32")
    return x, np.arange(count) % classes


# Models


def test_the_stack_follows_the_space():
    space = {**RECURRENT, "cell": "gru", "layers": 3, "bidirectional": True, "learning_rate": 0.02}
    model = build(space, mask_value=-1.0)
    layers = [layer for layer in model.layers if isinstance(layer, AbstractDropoutWrapper)]
    assert [layer.layer.return_sequences for layer in layers] == [True, True, False]
    assert all(isinstance(layer.layer, keras.layers.Bidirectional) for layer in layers)
    assert all(isinstance(layer.layer.forward_layer, keras.layers.GRU) for layer in layers)
    assert all((layer.placement, layer.rate) == ("recurrent", 0.3) for layer in layers)
    assert [type(layer) for layer in model.layers[:2]] == [
        keras.layers.InputLayer,
        keras.layers.Masking,
    ]
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
    assert model(data()[0]).shape == (8, 3)


@pytest.mark.parametrize("wrapper", ["none", "recurrent"])
def test_gradients_are_clipped_with_dropout_and_without(wrapper):
    space = {**RECURRENT, "wrapper": ["none", "recurrent"], "global_clipnorm": [0.25, 1.0]}
    hp = kt.HyperParameters()
    hp.values |= {"wrapper": wrapper, "global_clipnorm": 0.25}
    clipped = SequenceClassifier(3, (None, 2), space).build(hp)
    assert (clipped.optimizer.global_clipnorm, hp.is_active("global_clipnorm")) == (0.25, True)
    assert build(RECURRENT).optimizer.global_clipnorm is None


class OwnMetric(keras.metrics.MeanMetricWrapper):
    """A class that nobody registered."""


def test_copies_of_a_metric_measure_the_same():
    def distance(y_true, y_pred):
        return 10.0 * keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)

    metrics = [
        OwnMetric(distance, name="distance"),
        keras.metrics.MeanMetricWrapper(keras.losses.Huber(0.01), name="huber"),
    ]
    hypermodel = SequenceClassifier(3, (5, 2), RECURRENT, one_hot=True, metrics=metrics)
    x, y = data()
    y = keras.utils.to_categorical(y)
    for _ in range(2):  # A metric object cannot serve two models.
        model = hypermodel.build(kt.HyperParameters())
        model.run_eagerly = True
        scores = model.evaluate(x, y, verbose=0, return_dict=True)
        for metric in metrics:
            metric.reset_state()
            metric.update_state(y, model(x))
            assert scores[metric.name] == pytest.approx(float(metric.result()), rel=1e-5)


@pytest.mark.parametrize(
    "hypermodel",
    [
        SequenceClassifier(3, (None, 2), RECURRENT),
        SequenceTagger(3, (None, 2), RECURRENT),
        SequenceRegressor((3, 2), (None, 2), RECURRENT),
        LanguageModel(9, RECURRENT),
        LanguageModel(9, RECURRENT, tie_weights=True),
    ],
)
def test_outputs_stay_in_float32_under_a_mixed_policy(hypermodel):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert hypermodel.build(kt.HyperParameters()).output.dtype == "float32"
    finally:
        keras.config.set_dtype_policy(before)


def test_a_custom_hypermodel_has_a_head_and_a_loss():
    class Regressor(AbstractSequenceModel):
        loss = "mse"

        def head(self, features):
            return keras.layers.Dense(1)(features)

    model = Regressor((None, 2), RECURRENT).build(kt.HyperParameters())
    assert model.output_shape == (None, 1)


@pytest.mark.parametrize(
    ("kind", "arguments", "text"),
    [
        (SequenceClassifier, {"num_classes": 1}, "an integer of at least 2."),
        (SequenceClassifier, {"input_shape": (2,)}, "Expected (time, features) without the batch"),
        (SequenceTagger, {"input_shape": (None, None)}, "`input_shape[1]`. Expected an integer of"),
        (SequenceTagger, {"mask_value": True}, "`mask_value`. Expected a number or None."),
        (SequenceRegressor, {"target_shape": (1, 2, 3)}, "Expected (), (values,), (horizon,) or"),
        (LanguageModel, {"vocab_size": 1}, "`vocab_size`. Expected an integer of at least 2."),
        (LanguageModel, {"space": {"bidirectional": [False, True]}}, "Expected no `bidirectional`"),
    ],
)
def test_bad_arguments(kind, arguments, text):
    usual = {
        LanguageModel: {"vocab_size": 9},
        SequenceRegressor: {"target_shape": (), "input_shape": (None, 2)},
    }
    labels = {"num_classes": 3, "input_shape": (None, 2)}
    with pytest.raises(InvalidArgumentError, match=re.escape(text)):
        kind(**{**usual.get(kind, labels), **arguments})


def test_a_model_of_the_last_step_has_no_temporal_decay():
    expected = r"`space`\. Expected no `temporal_decay`.*Received.*\[0\.0, 1\.0\].*`SequenceTagger`"
    for make in (SequenceClassifier, SequenceRegressor):
        with pytest.raises(InvalidArgumentError, match=expected):
            make(3, (None, 2), {"temporal_decay": [0, 1]})
        assert make(3, (None, 2), {"temporal_decay": 0, "activity_decay": 1}).space
    assert SequenceRegressor(3, (None, 2), {"temporal_decay": 1}, each_step=True).space


# dropout_rnn


def test_dropout_rnn_has_the_decays_of_the_space_without_dropout_too():
    space = {"wrapper": ["none", "recurrent"], "rate": 0.3, **DECAYS}
    hp = kt.HyperParameters()
    layer = dropout_rnn(hp, keras.layers.GRU(4, return_sequences=True), "a", space)
    assert (type(layer), hp["a/activity_decay"]) == (ActivityDecay, 2.0)
    hp.values["a/wrapper"] = "recurrent"
    hp.ensure_active_values()
    layer = dropout_rnn(hp, keras.layers.GRU(4, return_sequences=True), "a", space)
    assert isinstance(layer, RecurrentDropoutWrapper)
    assert (layer.activity_decay, layer.temporal_decay) == (2.0, 1.0)
    # Also if this trial has none: another one can have it.
    some = {"wrapper": "none", "temporal_decay": [0, 1]}
    with pytest.raises(InvalidArgumentError, match="returns only its last step"):
        dropout_rnn(kt.HyperParameters(), keras.layers.GRU(4), space=some)


def test_dropout_rnn_wraps_as_the_hyperparameters_say():
    hp = kt.HyperParameters()
    layer = dropout_rnn(hp, keras.layers.GRU(4), name="rnn", space=RECURRENT)
    assert isinstance(layer, RecurrentDropoutWrapper)
    assert (layer.placement, layer.rate) == ("recurrent", 0.3)
    assert hp.values == {"rnn/wrapper": "recurrent", "rnn/placement": "recurrent", "rnn/rate": 0.3}
    rates = {"input": 0.1, "recurrent": 0.4}
    space = {"wrapper": "recurrent", "placement": "input+recurrent", "rate": rates}
    assert dropout_rnn(kt.HyperParameters(), keras.layers.LSTM(4), space=space).rate == rates
    plain = keras.layers.LSTM(4)
    assert dropout_rnn(kt.HyperParameters(), plain, space={"wrapper": "none"}) is plain


@pytest.mark.parametrize("wrapper", ["none", "recurrent"])
def test_dropout_rnn_refuses_a_layer_with_dropout(wrapper):
    """Also under `none`, or the trials without dropout would have some."""
    both = keras.layers.Bidirectional(keras.layers.LSTM(4, dropout=0.2))
    for layer in (keras.layers.GRU(4, recurrent_dropout=0.1), both):
        with pytest.raises(InvalidArgumentError, match="Expected a layer without its own"):
            dropout_rnn(kt.HyperParameters(), layer, space={"wrapper": wrapper, "rate": 0.3})
