"""Schedules of rates in a search: of a space, and as a callback of a build function."""

from typing import ClassVar

import keras
import keras_tuner as kt
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hypermodels import SequenceClassifier, dropout_rnn
from recdrop_tune.models import SCHEDULES, dropout_layers
from tests.small_search import data

ONE = {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.4, "units": 3}
EPOCHS = 3


class Rates(keras.callbacks.Callback):
    """Records the rates of each epoch, in one list for Keras Tuner's copies too."""

    seen: ClassVar[list] = []

    def on_train_begin(self, logs=None):
        self.seen.append([])

    def on_epoch_end(self, epoch, logs=None):
        self.seen[-1].append(rates(self.model))


@pytest.fixture(autouse=True)
def _nothing_seen():
    Rates.seen.clear()


def rates(model):
    """The rate of the first site of each dropout layer, as the layer would use it now."""
    return [
        float(keras.ops.convert_to_numpy(next(iter(layer.rates.values()))))
        for layer in dropout_layers(model)
    ]


def moved(name, rate=0.4):
    return [pytest.approx(SCHEDULES[name](epoch / (EPOCHS - 1), rate)) for epoch in range(EPOCHS)]


def fit(hypermodel, hp=None, callbacks=(), epochs=EPOCHS):
    hp = kt.HyperParameters() if hp is None else hp
    model = hypermodel.build(hp)
    model.run_eagerly = True
    x, y = data()
    hypermodel.fit(hp, model, x, y, epochs=epochs, verbose=0, callbacks=[*callbacks, Rates()])
    return model


def make(space=ONE):
    def build(hp):
        layer = dropout_rnn(hp, keras.layers.GRU(3), space=space)
        head = keras.layers.Dense(2, activation="softmax")
        model = keras.Sequential([keras.Input((None, 3)), layer, head])
        # That a trace reads the moved rate is tested in `models/test_rate_schedule`.
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        return model

    return build


def test_the_classifier_changes_its_rate_and_restores_it():
    model = fit(SequenceClassifier(2, (None, 3), {**ONE, "schedule": "ramp", "layers": 2}))
    assert Rates.seen[0] == [[rate, rate] for rate in moved("ramp")]
    assert rates(model) == pytest.approx([0.4, 0.4])
    assert [layer.rate for layer in dropout_layers(model)] == [0.4, 0.4]


def test_two_schedules_for_one_rate_are_refused():
    hypermodel = SequenceClassifier(2, (None, 3), {**ONE, "schedule": "annealed"})
    message = r"argument `callbacks`\. Expected no RateSchedule, because the search space"
    with pytest.raises(InvalidArgumentError, match=message):
        fit(hypermodel, callbacks=[rdt.RateSchedule("linear")])
    fit(SequenceClassifier(2, (None, 3), ONE), callbacks=[rdt.RateSchedule("annealed")])
    assert [rate for (rate,) in Rates.seen[0]] == moved("annealed")


def test_a_build_function_cannot_apply_the_schedule_of_its_space():
    build = make({**ONE, "schedule": "linear"})
    with pytest.raises(
        InvalidArgumentError, match=r"`space`.*no `schedule`.*RateSchedule\(\"linear"
    ):
        build(kt.HyperParameters())


@pytest.mark.heavy
@pytest.mark.parametrize("tuner", [kt.Tuner, rdt.Tuner])
def test_a_callback_moves_the_rates_of_every_trial_with_dropout(tuner, tmp_path):
    space = {**ONE, "wrapper": ["none", "recurrent"], "rate": [0.2, 0.4]}
    oracle = kt.oracles.GridSearchOracle(kt.Objective("loss", "min"), 3)
    tuner = tuner(oracle, make(space), directory=tmp_path)
    callbacks = [rdt.RateSchedule("annealed"), Rates()]
    tuner.search(*data(), epochs=EPOCHS, verbose=0, callbacks=callbacks)
    for trial, seen in zip(oracle.trials.values(), Rates.seen, strict=True):
        values = trial.hyperparameters.values
        drops = values["wrapper"] != "none"
        assert seen == [[rate] * drops for rate in moved("annealed", values.get("rate", 0.0))]
