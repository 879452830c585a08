"""`SequenceTagger`: a label for each step, and padded steps that do not count."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

from recdrop_tune import SequenceTagger
from recdrop_tune.kernels import KERAS_PASSES_MASKS
from tests.hypermodels.test_hypermodels import RECURRENT

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 5, 2)).astype("float32")
Y = RNG.integers(0, 3, (8, 5))


def build(space=RECURRENT, classes=3, **options):
    return SequenceTagger(classes, (None, 2), space, **options).build(kt.HyperParameters())


def padded(x, y, label):
    """Two more steps of zeros, in the middle of training as at its end."""
    more = np.full((len(y), 2, *y.shape[2:]), label, y.dtype)
    return np.concatenate([x, np.zeros((len(x), 2, 2), x.dtype)], 1), np.concatenate([y, more], 1)


def loss_and_gradient(model, x, y):
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    return float(loss), [np.array(tf.convert_to_tensor(gradient)) for gradient in gradients]


@pytest.mark.parametrize(
    ("wrapper", "classes", "one_hot"),
    [("recurrent", 3, False), ("zoneout", 3, True), ("variational", 2, False)],
)
def test_padded_steps_do_not_change_gradients(wrapper, classes, one_hot):
    space = {"wrapper": wrapper, "rate": 0.0, "units": 4, "layers": 2, "locked_rate": 0.0}
    model = build(space, classes, mask_value=0.0, one_hot=one_hot)
    y = Y % classes
    y = keras.utils.to_categorical(y, classes) if one_hot else y
    loss, gradients = loss_and_gradient(model, X, y)
    for label in (0, 1):  # For any labels of padded steps.
        other_loss, others = loss_and_gradient(model, *padded(X, y, label))
        assert other_loss == pytest.approx(loss, rel=1e-5)
        for gradient, other in zip(gradients, others, strict=True):
            np.testing.assert_allclose(other, gradient, atol=1e-6)


@pytest.mark.parametrize("column", [pytest.param(False, marks=pytest.mark.heavy), True])
def test_padded_steps_of_two_classes_do_not_count(column, tmp_path):
    y = RNG.integers(0, 2, (8, 5))
    weights = RNG.random((8, 7)).astype("float32")
    saved = build(classes=2, mask_value=0.0)
    saved.optimizer.build(saved.trainable_variables)
    saved.save(tmp_path / "tagger.keras")
    loaded = keras.models.load_model(tmp_path / "tagger.keras")
    # Files keep the loss. From Keras 3.16 on, they do not keep the mask of an output.
    for model in (saved, *[loaded][:KERAS_PASSES_MASKS]):
        model.run_eagerly = True
        p = model.predict(X, verbose=0)[..., 0]
        losses = -np.where(y == 1, np.log(p), np.log(1 - p))
        for label in (0, 1):
            more_x, more_y = padded(X, y, label)
            more_y = more_y[..., None] if column else more_y
            loss, accuracy = model.evaluate(more_x, more_y, verbose=0)
            assert loss == pytest.approx(losses.mean(), rel=1e-5)
            assert accuracy == pytest.approx(((p > 0.5) == y).mean(), rel=1e-5)
            found = model.evaluate(more_x, more_y, sample_weight=weights, verbose=0)[0]
            assert found == pytest.approx((losses * weights[:, :5]).mean(), rel=1e-5)
