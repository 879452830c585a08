"""`mc_predict`: the right moments, dropout alone, and a model that is the same afterwards."""

import keras
import numpy as np
import pytest

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.kernels import random_states
from recdrop_tune.models import NoNoiseWarning, mc_predict
from recdrop_tune.wrappers import EmbeddingDropout, RecurrentDropoutWrapper, wrap
from tests.backends import BACKEND, array

X = np.random.default_rng(0).normal(size=(7, 5, 2)).astype("float32")


def small_model(*layers):
    return keras.Sequential([keras.Input(X.shape[1:]), *layers])


def values_of(variables):
    return [array(variable) for variable in variables]


def test_mean_and_spread_of_dropout():
    """One unit at rate p: mean 1, and standard deviation sqrt(p / (1 - p))."""
    model = keras.Sequential([keras.Input((200,)), keras.layers.Dropout(0.2)])
    result = mc_predict(model, np.ones((3, 200)), passes=100, batch_size=2, seed=0)
    assert result.passes == 100
    assert result.mean.shape == result.std.shape == (3, 200)
    assert result.mean.dtype == result.std.dtype == np.dtype("float32")
    assert result.mean.mean() == pytest.approx(1.0, abs=0.02)
    assert result.std.mean() == pytest.approx(0.5, abs=0.02)
    assert not np.allclose(result.mean[0], result.mean[2])


def test_without_noise_there_is_no_spread_and_a_warning():
    layer = RecurrentDropoutWrapper(keras.layers.LSTM(3), 0.0)
    model = small_model(layer)
    with pytest.warns(NoNoiseWarning, match=r"not mean that the model is certain.*Train it with"):
        result = mc_predict(model, X, passes=3, batch_size=3)
    np.testing.assert_array_equal(result.std, np.zeros((7, 3)))
    np.testing.assert_allclose(result.mean, array(model(X)), rtol=1e-5, atol=1e-6)
    layer.rate = 0.3
    mc_predict(model, X, passes=3)


@pytest.mark.backends
def test_the_passes_are_kept():
    model = small_model(RecurrentDropoutWrapper(keras.layers.LSTM(3), 0.5))
    assert mc_predict(model, X, passes=2, seed=0).draws is None
    result = mc_predict(model, X, passes=4, batch_size=3, seed=0, keep=True)
    assert result.draws.shape == (4, 7, 3)
    np.testing.assert_allclose(result.draws.mean(axis=0), result.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.draws.std(axis=0), result.std, rtol=1e-4, atol=1e-6)
    again = mc_predict(model, X, passes=4, batch_size=3, seed=0)
    np.testing.assert_array_equal(again.mean, result.mean)


@pytest.mark.backends
@pytest.mark.parametrize(
    "wrapper", ["recurrent", "variational", "weight_drop", "native", "zoneout"]
)
def test_all_samples_of_a_pass_get_the_same_masks(wrapper):
    layers = [wrap(keras.layers.LSTM(3), wrapper, rate=0.5), keras.layers.Dropout(0.5)]
    model, same = small_model(*layers), np.repeat(X[:1], 5, axis=0)
    given = {"passes": 3, "seed": 0, "keep": True, "same_masks": True}
    draws = mc_predict(model, same, batch_size=2, **given).draws
    np.testing.assert_array_equal(draws, np.repeat(draws[:, :1], 5, axis=1))
    assert np.ptp(draws, axis=0).max() > 0  # Each pass has its own.
    # They depend neither on the other samples nor on the batches.
    found = mc_predict(model, X, **given).draws
    np.testing.assert_array_equal(found[:, 2:], mc_predict(model, X[2:], **given).draws)
    np.testing.assert_array_equal(draws[:, 0], found[:, 0])
    apart = mc_predict(model, same, passes=3, seed=0, keep=True).draws
    assert np.ptp(apart, axis=1).max() > 0


def test_what_is_shown():
    inputs = keras.Input((2,))
    dropped = keras.layers.Dropout(0.5)(inputs)
    model = keras.Model(inputs, {"a": dropped, "<b>": [dropped * 2]})
    result = mc_predict(model, np.ones((40, 2)), passes=100, seed=0)
    first, *others = str(result).splitlines()
    assert first == "The mean of 100 forward passes with dropout on."
    names = {line.split(":")[0]: line for line in others}
    assert set(names) == {"a", "<b>/0"}
    assert f"on average {result.std['a'].mean():.4g}" in names["a"]
    assert "&lt;b&gt;/0: shape" in result._repr_html_()


def test_batch_normalization_stays_in_inference():
    inner = small_model(keras.layers.BatchNormalization(name="inside"))
    normalize = keras.layers.BatchNormalization()
    model = small_model(inner, keras.layers.LSTM(3), normalize)
    model.compile("adam", "mse", run_eagerly=True)
    model.fit(X, np.ones((7, 3)), epochs=2, verbose=0)
    before = values_of(model.variables)
    with pytest.raises(ValueError, match=r"\(7, 5, 1\)"):
        mc_predict(model, X[:, :, :1], passes=2)
    with pytest.warns(NoNoiseWarning):
        result = mc_predict(model, X, passes=3, batch_size=4)
    np.testing.assert_allclose(result.mean, array(model(X)), rtol=1e-4, atol=1e-5)
    assert result.std.max() == pytest.approx(0.0, abs=1e-6)
    assert normalize.trainable
    assert [variable.trainable for variable in normalize.variables] == [True, True, False, False]
    np.testing.assert_equal(values_of(model.variables), before)


@pytest.mark.backends
def test_nothing_is_changed():
    model = small_model(
        RecurrentDropoutWrapper(keras.layers.LSTM(3), 0.3),
        keras.layers.BatchNormalization(trainable=False),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1),
    )
    model.compile("adam", "mse", metrics=["mae"])
    model.run_eagerly = BACKEND != "jax"
    model.fit(X, np.ones((7, 1)), verbose=0)
    kept = [*model.variables, *model.metrics_variables]
    before, trainable = values_of(kept), [v.trainable for v in model.variables]
    generators = random_states()
    mc_predict(model, X, passes=3, seed=0)
    np.testing.assert_equal(random_states(), generators)
    np.testing.assert_equal(values_of(kept), before)
    assert [v.trainable for v in model.variables] == trainable
    assert not model.layers[1].trainable
    model.fit(X, np.ones((7, 1)), verbose=0)  # and it can be trained on


def test_stateful_layers_keep_their_states():
    layer = keras.layers.GRU(3, stateful=True)
    inputs = keras.Input(batch_shape=(7, 5, 2))
    model = keras.Model(inputs, RecurrentDropoutWrapper(layer, 0.3)(inputs))
    model(X)
    before = keras.ops.convert_to_numpy(layer.states[0]).copy()
    mc_predict(model, X, passes=2)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.states[0]), before)


def test_seeds():
    model = small_model(
        RecurrentDropoutWrapper(keras.layers.LSTM(3, return_sequences=True), 0.5),
        RecurrentDropoutWrapper(keras.layers.LSTM(3), 0.5),
    )
    means = [mc_predict(model, X, passes=2, seed=seed).mean for seed in (0, 0, 1, None, None)]
    np.testing.assert_array_equal(means[0], means[1])
    for one, other in ((0, 2), (0, 3), (3, 4)):
        assert not np.allclose(means[one], means[other])
    keras.utils.set_random_seed(5)
    first = mc_predict(model, X, passes=2).mean
    keras.utils.set_random_seed(5)
    np.testing.assert_array_equal(first, mc_predict(model, X, passes=2).mean)


def test_several_inputs_and_outputs():
    sequences, tokens = keras.Input((5, 2), name="x"), keras.Input((5,), dtype="int32", name="t")
    embedded = EmbeddingDropout(keras.layers.Embedding(4, 2, mask_zero=True), 0.5)(tokens)
    hidden = keras.layers.Concatenate()([sequences, embedded])
    state = RecurrentDropoutWrapper(keras.layers.GRU(3), 0.5)(hidden)
    model = keras.Model({"x": sequences, "t": tokens}, {"a": state, "b": [state * 2]})
    x = {"x": X, "t": np.random.default_rng(0).integers(0, 4, (7, 5))}
    result = mc_predict(model, x, passes=4, batch_size=3, seed=0)
    assert result.mean["a"].shape == result.std["b"][0].shape == (7, 3)
    np.testing.assert_allclose(result.mean["b"][0], 2 * result.mean["a"], rtol=1e-5)
    np.testing.assert_allclose(result.std["b"][0], 2 * result.std["a"], rtol=1e-4, atol=1e-6)
    draws = mc_predict(model, x, passes=2, same_masks=True, keep=True).draws
    assert draws["b"][0].shape == (2, 7, 3)


def test_datasets():
    tf = pytest.importorskip("tensorflow")
    model = small_model(RecurrentDropoutWrapper(keras.layers.LSTM(3), 0.5))
    data = tf.data.Dataset.from_tensor_slices(X).batch(4)
    array = mc_predict(model, X, passes=3, batch_size=4, seed=0)
    np.testing.assert_array_equal(mc_predict(model, data, passes=3, seed=0).mean, array.mean)
    labelled = tf.data.Dataset.from_tensor_slices((X, X[:, 0])).batch(4)
    np.testing.assert_array_equal(mc_predict(model, labelled, passes=3, seed=0).std, array.std)
    means = [mc_predict(model, x, passes=3, seed=0, same_masks=True).mean for x in (labelled, X)]
    np.testing.assert_array_equal(*means)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"passes": 0}, r"`passes`\. Expected an integer of at least 1\. Received: passes=0"),
        ({"x": [np.ones((2, 5, 2)), np.ones((3, 5, 2))]}, r"`x`.*\(3, 5, 2\)"),
        ({"keep": "all"}, r"`keep`\. Expected True or False"),
        ({"x": X[:0]}, r"`x`\. Expected at least one input"),
        ({"model": keras.layers.Dense(1)}, r"`model`\. Expected a Keras model"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, message):
    model = small_model(keras.layers.LSTM(3))
    with pytest.raises(InvalidArgumentError, match=message):
        mc_predict(**{"model": model, "x": X, **arguments})
