"""`RateSchedule`: the published curves, applied to the rates of wrappers, without a new trace."""

import math
import pickle

import keras
import numpy as np
import pytest

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.models import SCHEDULES, RateSchedule
from recdrop_tune.wrappers import (
    EmbeddingDropout,
    LockedDropout,
    RecurrentDropoutWrapper,
    ZoneoutWrapper,
)
from tests.backends import BACKEND, TRACES_EACH_STEP, Traced

X = np.random.default_rng(0).normal(size=(8, 5, 2)).astype("float32")
Y = X.sum(axis=(1, 2))[:, None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.4, 0.4, 0.4, 0.4, 0.4]),
        ("linear", [0.0, 0.08, 0.2, 0.3, 0.4]),
        ("curriculum", [0.4 * (1 - math.exp(-10 * t)) for t in (0, 0.2, 0.5, 0.75, 1)]),
        ("annealed", [0.4, 0.32, 0.2, 0.1, 0.0]),
        ("ramp", [0.0, 0.0, 0.4, 0.2, 0.0]),
        ("early", [0.4, 0.0, 0.0, 0.0, 0.0]),
        ("late", [0.0, 0.4, 0.4, 0.4, 0.4]),
    ],
)
def test_the_curves(name, expected):
    schedule = pickle.loads(pickle.dumps(SCHEDULES[name]))  # On the way to other processes.
    got = [schedule(t, 0.4) for t in (0.0, 0.2, 0.5, 0.75, 1.0)]
    assert got == pytest.approx(expected)
    assert SCHEDULES["ramp"](0.35, 0.4) == pytest.approx(0.2)
    assert [SCHEDULES[each](1 / 12, 0.4) for each in ("early", "late")] == pytest.approx([0.2, 0.0])


class Rates(keras.callbacks.Callback):
    def __init__(self, *layers):
        super().__init__()
        self.layers, self.seen = layers, []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append([rate_of(layer) for layer in self.layers])


def rate_of(layer, site=None):
    variable = layer.rates[site] if site else next(iter(layer.rates.values()))
    return round(float(keras.ops.convert_to_numpy(variable)), 5)


def compiled(*layers, learning_rate=0.0, eager=True):
    model = keras.Sequential([keras.Input(X.shape[1:]), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    model.run_eagerly = eager and BACKEND != "jax"
    return model


def fit(model, schedule, epochs=5, **options):
    rates = Rates(*options.pop("watch", [model.layers[0]]))
    arguments = {"batch_size": 4, "verbose": 0, "shuffle": False, **options}
    history = model.fit(X, Y, epochs=epochs, callbacks=[schedule, rates], **arguments)
    return [seen[0] if len(seen) == 1 else seen for seen in rates.seen], history.history["loss"]


@pytest.mark.backends
@pytest.mark.parametrize("per", ["epoch", "batch"])
def test_the_noise_follows_without_a_new_trace(per):
    """With a learning rate of 0, only noise changes the loss: at rate 0 it stays the same."""

    def first_epochs(progress, rate):
        return rate if progress > 0.5 else 0.0

    layer = RecurrentDropoutWrapper(keras.layers.GRU(4), 0.6)
    traced = Traced()
    model = compiled(layer, traced, eager=False)
    model.fit(X, Y, batch_size=4, verbose=0)
    traced.times = 0
    _, losses = fit(model, RateSchedule(first_epochs, per=per), epochs=6)
    assert traced.times == (12 if TRACES_EACH_STEP else 0)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] == pytest.approx(losses[2], rel=1e-6)
    for epoch in (3, 4, 5):
        assert losses[epoch] != pytest.approx(losses[0], rel=1e-5)
    assert losses[4] != pytest.approx(losses[5], rel=1e-5)


@pytest.mark.backends
def test_the_trainers_updates_are_kept():
    """With the constant schedule, training is the same as without."""
    finals = []
    for callbacks in ([], [RateSchedule("constant", per="batch")]):
        keras.utils.set_random_seed(3)
        layers = LockedDropout(0.4, seed=1, name="locked"), keras.layers.BatchNormalization()
        model = compiled(*layers, learning_rate=0.1, eager=False)
        model.fit(
            X, X[..., :1], epochs=3, batch_size=2, verbose=0, shuffle=False, callbacks=callbacks
        )
        finals.append(model.get_weights())
    for without, other in zip(*finals, strict=True):
        np.testing.assert_allclose(without, other, rtol=1e-5, atol=1e-6)


def test_from_batch_to_batch():
    asked = []

    def note(progress, rate):
        asked.append(round(progress, 4))
        return rate * progress

    layer = RecurrentDropoutWrapper(keras.layers.LSTM(4), 0.4)
    fit(compiled(layer), RateSchedule(note, per="batch"), epochs=3)
    assert asked == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_every_dropout_layer_is_found():
    words = EmbeddingDropout(keras.layers.Embedding(9, 2), 0.1)
    rates = {"input": 0.2, "recurrent": 0.6}
    layer = keras.layers.LSTM(3, return_sequences=True)
    both = keras.layers.Bidirectional(
        RecurrentDropoutWrapper(layer, rates, placement="input+recurrent")
    )
    locked = LockedDropout(0.4)
    zoneout = ZoneoutWrapper(keras.layers.LSTM(3), 0.2, hidden_rate=0.1)
    nested = keras.Sequential([keras.Input((5, 6)), locked, zoneout])
    model = keras.Sequential([keras.Input((5,)), words, both, nested, keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    found, at_the_end = [words, both.forward_layer, both.backward_layer, locked, zoneout], []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            at_the_end.append([rate_of(layer, site) for layer in found for site in layer.rates])

    note, schedule = Note(), RateSchedule("linear", epochs=3)
    x = np.random.default_rng(0).integers(0, 9, (8, 5))
    model.fit(x, Y, epochs=2, verbose=0, callbacks=[schedule, note])
    note.on_epoch_end(2)
    whole = [0.1, 0.2, 0.6, 0.2, 0.6, 0.4, 0.2, 0.1]
    half, put_back = [rate / 2 for rate in whole], whole
    assert at_the_end == [[0.0] * 8, pytest.approx(half), pytest.approx(put_back)]


def test_chosen_layers():
    one = RecurrentDropoutWrapper(keras.layers.LSTM(3, return_sequences=True), 0.4, name="one")
    two = RecurrentDropoutWrapper(keras.layers.LSTM(3), 0.4, name="two")
    model = compiled(one, two)
    for chosen in (["two"], [two]):
        seen, _ = fit(model, RateSchedule("annealed", layers=chosen), epochs=2, watch=[one, two])
        assert seen[1] == pytest.approx([0.4, 0.0])
    with pytest.raises(InvalidArgumentError, match=r"dropout layers of the model \(one, two\)"):
        fit(model, RateSchedule("annealed", layers=["two", "three"]))


def test_fewer_epochs_than_fit_has_and_a_later_start():
    layer = RecurrentDropoutWrapper(keras.layers.LSTM(4), 0.4)
    model = compiled(layer)
    seen, _ = fit(model, RateSchedule("annealed", epochs=3))
    assert seen == pytest.approx([0.4, 0.2, 0.0, 0.0, 0.0])
    seen, _ = fit(model, RateSchedule("annealed"), initial_epoch=3)
    assert seen == pytest.approx([0.1, 0.0])
    seen, _ = fit(model, RateSchedule("annealed"), epochs=1)
    assert seen == pytest.approx([0.4])


@pytest.mark.backends
def test_validation_and_saving_during_training(tmp_path):
    layer = RecurrentDropoutWrapper(keras.layers.LSTM(4), 0.4)
    model = compiled(layer, learning_rate=0.05)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    schedule = RateSchedule("linear")
    model.fit(X, Y, epochs=3, verbose=0, validation_data=(X, Y), callbacks=[schedule, checkpoint])
    for epoch in (1, 3):
        loaded = keras.models.load_model(tmp_path / f"{epoch}.keras").layers[0]
        assert loaded.rate == 0.4
        assert rate_of(loaded) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "cosine"}, "Expected one of constant, linear, curriculum, annealed, ramp,"),
        ({"schedule": "linear", "per": "step"}, "Expected 'epoch' or 'batch'"),
        ({"schedule": "linear", "epochs": 0}, "Expected an integer of at least 1"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        RateSchedule(**arguments)


def test_a_rate_out_of_range():
    model = compiled(RecurrentDropoutWrapper(keras.layers.LSTM(4), 0.4))
    with pytest.raises(InvalidArgumentError, match="Expected a function whose rates are in 0 <="):
        fit(model, RateSchedule(lambda progress, rate: 3 * rate))


def test_batches_of_unknown_number():
    def batches():
        while True:
            yield X, Y

    model = compiled(RecurrentDropoutWrapper(keras.layers.LSTM(4), 0.4))
    schedule = RateSchedule("linear", per="batch")
    options = {"epochs": 1, "verbose": 0, "shuffle": False, "callbacks": [schedule]}
    model.fit(batches(), steps_per_epoch=2, **options)
    with pytest.raises(InvalidArgumentError, match="Pass steps_per_epoch to fit, or per='epoch'"):
        model.fit(batches(), **options)
