"""The order of the samples in each epoch of `recdrop_tune.models.fit`, the same on each backend."""

import keras
import numpy as np
import pytest
from keras import ops

from recdrop_tune import models
from tests.backends import array

pytestmark = pytest.mark.backends

# numpy.random.default_rng([7, epoch]).permutation(7)
ORDERS = [[0, 5, 6, 2, 4, 1, 3], [3, 0, 2, 1, 4, 6, 5], [5, 0, 2, 3, 6, 1, 4]]
X, Y = np.arange(7.0).reshape(7, 1), np.array([0, 1, 0, 1, 1, 0, 1])


class Batches(keras.layers.Layer):
    """Passes numbers of samples on, and records in which batch each came."""

    def build(self, shape):
        options = {"initializer": "zeros", "dtype": "int32", "trainable": False}
        self.count = self.add_weight(shape=(), **options)
        self.batches = self.add_weight(shape=(len(X),), **options)

    def call(self, inputs, training=False):
        if training:
            samples = ops.cast(inputs, "int32")
            updates = ops.repeat(self.count, ops.shape(samples)[0])
            self.batches.assign(ops.scatter_update(self.batches, samples, updates))
            self.count.assign_add(1)
        return inputs


class Epochs(keras.callbacks.Callback):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.seen = layer, []

    def on_epoch_begin(self, epoch, logs=None):
        self.layer.count.assign(0)

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(array(self.layer.batches).tolist())


def model(named=False):
    keras.utils.set_random_seed(7)
    inputs, layer = keras.Input((1,), name="x"), Batches()
    outputs = keras.layers.Dense(1, "sigmoid")(layer(inputs))
    made = keras.Model({"x": inputs} if named else inputs, outputs)
    models.compile_model(made, optimizer="adam", loss="binary_crossentropy")
    return made, Epochs(layer)


def batches(orders):
    """Returns the number of the batch of each sample, if a batch has two."""
    return [(np.argsort(order) // 2).tolist() for order in orders]


@pytest.mark.parametrize(
    "form",
    [
        {},
        pytest.param({"x": {"x": X}}, marks=pytest.mark.heavy),
        pytest.param({"sample_weight": np.linspace(0.5, 1.5, 7)}, marks=pytest.mark.heavy),
        pytest.param({"class_weight": {0: 1.0, 1: 2.0}}, marks=pytest.mark.heavy),
        {"x": np.append(X, [[0.0], [1.0]], 0), "y": np.append(Y, [0, 1]), "validation_split": 0.2},
    ],
    ids=lambda form: ", ".join(form) or "arrays",
)
def test_a_seed_and_the_number_of_the_epoch_decide_the_order(form):
    given = {"x": X, "y": Y, "batch_size": 2, "verbose": 0, **form}
    whole, epochs = model(named=isinstance(given["x"], dict))
    models.fit(whole, **given, epochs=3, callbacks=[epochs])
    assert epochs.seen == batches(ORDERS)
    resumed, epochs = model(named=isinstance(given["x"], dict))
    models.fit(resumed, **given, epochs=1)
    models.fit(resumed, **given, epochs=3, initial_epoch=1, callbacks=epochs)
    assert epochs.seen == batches(ORDERS[1:])
    np.testing.assert_equal(resumed.get_weights(), whole.get_weights())
