"""Schedules of rates: of a space, and as a callback."""

import keras
import keras_tuner as kt
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hypermodels import SequenceClassifier, dropout_rnn
from recdrop_tune.models import SCHEDULES, dropout_layers
from tests.small_search import data

ONE = {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.4}
EPOCHS = 3


def classifier(**more):
    return SequenceClassifier(2, (None, 3), {**ONE, "units": 3, **more})


def plain():
    layers = [keras.layers.GRU(3), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential([keras.Input((None, 3)), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def rates(model):
    """The rates of the dropout layers, as they would use them now."""
    return [float(layer.rates["recurrent"]) for layer in dropout_layers(model)]


def fit(hypermodel, callbacks=()):
    """Trains a model; returns it, and the rates in each epoch."""
    hp, seen = kt.HyperParameters(), []
    model = hypermodel.build(hp)
    model.run_eagerly = True
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(rates(model)))
    hypermodel.fit(hp, model, *data(), epochs=EPOCHS, verbose=0, callbacks=[*callbacks, note])
    return model, seen


def moved(name, layers=1):
    return [
        [pytest.approx(SCHEDULES[name](epoch / (EPOCHS - 1), 0.4))] * layers
        for epoch in range(EPOCHS)
    ]


@pytest.mark.parametrize(
    ("hypermodel", "layers"),
    [
        (classifier(schedule="ramp", layers=2), 2),
        (rdt.ExistingModel(plain(), {**ONE, "schedule": "ramp"}), 1),
    ],
    ids=["classifier", "existing"],
)
def test_a_hypermodel_changes_its_rate_and_restores_it(hypermodel, layers):
    model, seen = fit(hypermodel)
    assert seen == moved("ramp", layers)
    assert rates(model) == pytest.approx([0.4] * layers)


def test_two_schedules_for_one_rate_are_refused():
    message = r"argument `callbacks`\. Expected no RateSchedule, because the search space"
    with pytest.raises(InvalidArgumentError, match=message):
        fit(classifier(schedule="annealed"), [rdt.RateSchedule("linear")])
    assert fit(classifier(), [rdt.RateSchedule("annealed")])[1] == moved("annealed")


def test_a_build_function_cannot_apply_the_schedule_of_its_space():
    space = {**ONE, "schedule": "linear"}
    message = r"`space`.*no `schedule`.*RateSchedule\(\"linear"
    with pytest.raises(InvalidArgumentError, match=message):
        dropout_rnn(kt.HyperParameters(), keras.layers.GRU(3), space=space)
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.dropout_model(kt.HyperParameters(), plain(), space)
