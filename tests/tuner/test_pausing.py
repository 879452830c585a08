"""Trainings that pause and go on: their numbers, their callbacks, and what they leave on disk."""

import keras
import numpy as np
import pytest

from recdrop_tune.errors import ProjectError
from recdrop_tune.tuner import pausing
from tests.backends import on_tensorflow

pytestmark = pytest.mark.backends

EPOCHS = 6
X = np.random.default_rng(0).normal(size=(24, 5, 3)).astype("float32")
Y = X[:, :, 0].sum(axis=1, keepdims=True)


def build():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    return model


def train(folder, at=None, callbacks=(), make=build, **fit):
    """Trains a new model from where the folder's trial has paused, until the next pause or to the end.

    Returns the validation losses of its epochs, by number.
    """
    paused = pausing.load(folder)
    before = paused.training(0)
    pausing.before_fit(callbacks, before)
    pause = pausing.Pause(at, callbacks, before)
    fit = {"epochs": EPOCHS, "validation_data": (X, Y), "batch_size": 8, "verbose": 0, **fit}
    # In one order, so that a part of a training has the numbers of the whole one.
    history = make().fit(
        X, Y, shuffle=False, initial_epoch=paused.epoch, callbacks=[*callbacks, pause], **fit
    )
    assert pause.failure is None, pause.failure
    if pause.after is not None:
        pausing.PausedTrial(at, trainings=[pause.after]).save(folder)
    return dict(zip(history.epoch, history.history.get("val_loss", ()), strict=False))


def callbacks():
    return [
        keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=0.5),
        keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True),
    ]


@pytest.mark.heavy
def test_the_numbers_do_not_depend_on_pauses(tmp_path):
    whole = train(tmp_path, callbacks=callbacks())
    assert len(whole) > 3
    parts = {}
    for at in (1, 3, None):
        part = train(tmp_path, at, callbacks())
        assert not parts.keys() & part.keys()
        parts |= part
    assert list(parts) == list(whole)
    np.testing.assert_allclose(list(parts.values()), list(whole.values()), rtol=1e-5)


def test_callbacks_and_the_optimizer_go_on_where_they_paused(tmp_path):
    seen = []

    class Watch(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.epochs, self.told = 0, print

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1
            seen.append((epoch, self.epochs, int(self.model.optimizer.iterations)))

    for at in (1, 3, None):
        patient = keras.callbacks.EarlyStopping(patience=4, min_delta=100.0)
        log = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
        train(tmp_path, at, [Watch(), patient, log])
    # The first epoch counts as the best, so that the training ends four epochs later.
    assert seen == [(epoch, epoch + 1, 3 * (epoch + 1)) for epoch in range(5)]
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", *map(str, range(5))]


def test_a_training_can_go_on_with_other_callbacks(tmp_path):
    patient, plateau = (
        keras.callbacks.EarlyStopping(patience=9),
        keras.callbacks.ReduceLROnPlateau(),
    )
    assert list(train(tmp_path, 3, [patient, plateau])) == [0, 1, 2]
    assert list(train(tmp_path, callbacks=[plateau])) == [3, 4, 5]


def test_a_training_with_tensorboard_pauses(tmp_path):
    pytest.importorskip("tensorflow")
    board = keras.callbacks.TensorBoard(str(tmp_path / "board"))
    assert list(train(tmp_path, 1, [board])) == [0]
    assert pausing.paused_epoch(tmp_path) == 1


@on_tensorflow  # Elsewhere Keras builds every model before it is trained.
def test_a_model_that_its_first_batch_builds_does_not_pause(tmp_path):
    def make():
        late = keras.Sequential([keras.layers.LSTM(4), keras.layers.Dense(1)])
        late.compile(keras.optimizers.Adam(0.02), "mse")
        return late

    with pytest.raises(AssertionError, match="weights only after its first batch"):
        train(tmp_path, 1, make=make)
    assert not list(tmp_path.iterdir())


class Locked(keras.callbacks.Callback):
    """Has something that is not plain data."""

    def on_train_begin(self, logs=None):
        self.numbers = (number for number in range(3))


def test_with_a_callback_of_other_data_nothing_pauses(tmp_path):
    with pytest.raises(AssertionError, match=r"`Locked.numbers` has a generator"):
        train(tmp_path, 1, [Locked()])


def test_only_the_last_state_is_kept_and_dropped_at_the_end(tmp_path):
    for at in (1, 3):
        train(tmp_path, at)
    assert [path.name for path in tmp_path.iterdir()] == ["paused-3.npz"]
    pausing.drop_states(tmp_path)
    assert pausing.paused_epoch(tmp_path) == 0
    assert list(train(tmp_path)) == list(range(EPOCHS))  # It begins anew.


def test_a_damaged_state_is_named(tmp_path):
    train(tmp_path, 3)
    pausing.state_path(tmp_path, 3).write_bytes(b"damaged")
    with pytest.raises(ProjectError, match=r"paused-3\.npz` is damaged.*Delete it"):
        train(tmp_path)


def test_weights_in_bfloat16_are_kept(tmp_path):
    weights = [keras.ops.convert_to_numpy(keras.ops.full((2,), 0.5, "bfloat16"))]
    pausing.PausedTrial(3, 1.0, weights).save(tmp_path)
    np.testing.assert_array_equal(pausing.load(tmp_path).weights, [[0.5, 0.5]])
