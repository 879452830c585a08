"""Learned rates: their term in the loss, the number of targets, and where they are logged."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.models import LearnedRates, fit, learned_rates, renew
from recdrop_tune.wrappers import ConcreteDropoutWrapper, LockedDropout, wrap
from tests.backends import BACKEND, JIT_COMPILE, array, on_tensorflow

LSTM = keras.layers.LSTM
X = np.random.default_rng(0).normal(size=(24, 5, 3)).astype("float32")
Y = (X.sum((1, 2)) > 0).astype("int64")
EACH = (X.sum(2) > 0).astype("int64")


def classifier(samples=None, sequences=False, rate=0.2, eager=True, **options):
    options = {"placement": "input+recurrent", "seed": 3, **options}
    layer = LSTM(4, return_sequences=sequences)
    wrapped = ConcreteDropoutWrapper(layer, rate, samples=samples, **options)
    head = keras.layers.Dense(2, "softmax")
    made = keras.Sequential([keras.Input((5, 3)), wrapped, head])
    loss = "sparse_categorical_crossentropy"
    made.compile(keras.optimizers.Adam(0.05), loss, jit_compile=JIT_COMPILE[0])
    # Most of these trainings are shorter than tracing one, but JAX would compile each op by itself.
    made.run_eagerly = eager and BACKEND != "jax"
    return made


def entropy(rate):
    return -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)


# The number of targets.


@pytest.mark.backends
@pytest.mark.parametrize(
    ("targets", "samples", "options", "expected"),
    [
        (Y, 7, {}, 7),
        (Y[:, None], None, {"validation_split": 0.25}, 18),
        (EACH, None, {}, 24 * 5),
    ],
    ids=["given", "a split", "each step"],
)
def test_targets_are_counted(targets, samples, options, expected):
    model = classifier(samples, sequences=np.shape(targets)[1:2] == (5,))
    fit(model, X, targets, verbose=0, **options)
    assert model.layers[0].training_samples == expected
    assert model.layers[0].get_config()["samples"] == samples


@pytest.mark.heavy
@pytest.mark.backends
def test_another_number_takes_effect_in_a_traced_model():
    model = classifier(rate=0.4, eager=False)
    losses = [fit(model, X[:n], Y[:n], verbose=0).history["loss"][0] for n in (24, 1)]
    assert losses[1] < -2 < losses[0]


@pytest.mark.backends
def test_without_a_number_rates_are_not_learned():
    model = classifier()
    assert model.predict(X, verbose=0).shape == (24, 2)
    expected = r"`samples`\. Expected the number of targets.*Pass `samples=len\(y\)`"
    with pytest.raises(InvalidArgumentError, match=expected):
        model.fit(X, Y, verbose=0)


@on_tensorflow
def test_a_dataset_is_not_counted():
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    with pytest.raises(InvalidArgumentError, match="`samples`"):
        fit(classifier(), data, verbose=0, shuffle=False)
    fit(classifier(samples=24), data, verbose=0, shuffle=False)


# The loss.


@pytest.mark.backends
def test_the_prior_is_added_in_training_only():
    model = classifier(samples=50, rate={"input": 0.2, "recurrent": 0.1})
    plain = keras.Sequential([keras.Input((5, 3)), model.layers[0].layer, model.layers[1]])
    plain.compile("sgd", model.loss)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(plain.evaluate(X, Y, verbose=0))
    model(X, training=True)
    (added,) = model.losses
    weights = [array(weight) for weight in model.layers[0].layer.weights]
    squares = [np.sum(weights[0] ** 2) / 0.8, np.sum(weights[1] ** 2) / 0.9]
    expected = (0.5e-8 * sum(squares) - 3 * entropy(0.2) - 4 * entropy(0.1)) / 50
    assert float(array(added)) == pytest.approx(expected, rel=1e-5)
    # A cross-entropy alone is not below 0.
    assert fit(classifier(samples=1, rate=0.4), X, Y, verbose=0).history["loss"][0] < -2


@pytest.mark.backends
def test_a_layer_that_is_called_several_times_adds_the_prior_once():
    inner = LSTM(4, kernel_regularizer=keras.regularizers.L2(0.1))
    layer = ConcreteDropoutWrapper(inner, 0.2, samples=2)
    given = [keras.Input((5, 3)), keras.Input((5, 3))]
    model = keras.Model(given, layer(given[0]) - layer(given[1]))
    data, targets = [X, X], np.zeros((24, 4))
    model(data, training=True)
    own = [float(array(each)) for each in model.losses if float(array(each)) < 0]
    assert own == pytest.approx([float(array(layer.regularization()))])
    model.compile("sgd", lambda y_true, y_pred: 0.0 * y_pred, jit_compile=JIT_COMPILE[0])
    regular = 0.1 * float(np.sum(array(inner.cell.kernel) ** 2))
    loss = float(array(model.train_on_batch(data, targets)))
    assert loss == pytest.approx(own[0] + regular, rel=1e-4)
    assert float(array(model.evaluate(data, targets, verbose=0))) > 0


@pytest.mark.backends
@pytest.mark.parametrize(("mode", "masked"), [("concat", 8), ("sum", 4), (None, 8)])
def test_the_prior_of_two_directions(mode, masked):
    both = keras.layers.Bidirectional(LSTM(4, return_sequences=True), merge_mode=mode)
    layer = ConcreteDropoutWrapper(both, 0.2, placement="recurrent+output", samples=1)
    layer(X, training=True)
    (added,) = layer.losses
    assert float(array(added)) == pytest.approx(-(8 + masked) * entropy(0.2), rel=1e-4)


@pytest.mark.backends
@pytest.mark.parametrize("excluded", [False, True])
def test_rates_have_no_weight_decay(excluded):
    """Neither the data nor the prior (divided by 2**30 samples) changes the rates here."""
    model = classifier(samples=2**30, rate=0.05)
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=1.0)
    if excluded:  # The user's exclusions stay.
        optimizer.exclude_from_weight_decay(var_list=[model.layers[1].bias])
    model.compile(optimizer, "mse", jit_compile=JIT_COMPILE[0])
    model.run_eagerly = BACKEND != "jax"
    model.set_weights([array(each) * (each.shape == ()) for each in model.weights])
    fit(model, X * 0, np.full((24, 2), 0.5), epochs=3, batch_size=24, verbose=0)
    moved = max(abs(rate - 0.05) for rate in model.layers[0].learned_rates.values())
    assert moved > 0.005 if excluded else moved < 1e-4


def test_setting_the_rate_resets_the_learned_one():
    layer = ConcreteDropoutWrapper(LSTM(4), 0.2)
    layer.rate = 0.4
    assert layer.rate == 0.4
    with pytest.raises(InvalidArgumentError, match="0 < rate < 1"):
        layer.rate = 0
    assert layer.learned_rates == pytest.approx({"recurrent": 0.4})


# Where they are logged.


@pytest.mark.backends
def test_rates_are_metrics_of_each_epoch():
    model = classifier()
    history = fit(model, X, Y, epochs=2, verbose=0, callbacks=[LearnedRates()]).history
    assert len(history["learned_rate.input"]) == len(history["learned_rate.recurrent"]) == 2
    last = {name: history[name][-1] for name in history if name.startswith("learned_rate")}
    assert last == learned_rates(model)
    assert history["learned_rate.input"][0] != pytest.approx(history["learned_rate.input"][1])


def test_several_layers_have_their_names_in_the_metrics():
    layers = [ConcreteDropoutWrapper(LSTM(4, return_sequences=True, name=name)) for name in "ab"]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    assert list(learned_rates(model)) == ["a/learned_rate.recurrent", "b/learned_rate.recurrent"]
    assert learned_rates(keras.Sequential([keras.Input((5, 3)), LSTM(4)])) == {}
    assert learned_rates(object()) == {}  # A user-defined `fit` can train anything.


@pytest.mark.backends
def test_monte_carlo_draws_hard_masks_at_the_learned_rates():
    layer = ConcreteDropoutWrapper(LSTM(200), 0.2, placement="output")
    model = keras.Sequential([keras.Input((5, 3)), layer])
    layer.logits["output"].assign(np.log(0.3 / 0.7))
    factors = rdt.mc_predict(model, X, passes=1, seed=0).mean / array(model(X))
    dropped = np.isclose(factors, 0.0)
    assert np.isclose(factors[~dropped], 1 / 0.7, rtol=1e-3).all()
    assert abs(dropped.mean() - 0.3) < 4 * np.sqrt(0.21 / dropped.size)
    assert not layer.hard_masks


def test_a_schedule_does_not_change_learned_rates():
    model = keras.Sequential([keras.Input((5, 3)), LockedDropout(0.2, name="locked")])
    model.add(classifier(samples=24).layers[0])
    model.compile("sgd", "mse", run_eagerly=True)
    expected = r"`layers`\. Expected layers whose rates are not learned"
    with pytest.raises(InvalidArgumentError, match=expected):
        model.fit(X, X[:, 0], verbose=0, callbacks=[rdt.RateSchedule("linear")])
    schedule = rdt.RateSchedule("linear", layers=["locked"])
    model.fit(X, np.zeros((24, 4)), verbose=0, callbacks=[schedule])


# Copies.


@pytest.mark.backends
def test_a_renewed_model_has_the_rates_of_the_fresh_one():
    """The fresh model can have weights already, for example those that Hyperband continues with."""
    used, fresh = classifier(), classifier(rate=0.4)
    fit(used, X, Y, verbose=0)
    fresh.layers[0].logits["input"].assign(-1.0)
    renew(used, fresh)
    assert used.layers[0].rate == 0.4
    assert used.layers[0].learned_rates == pytest.approx(fresh.layers[0].learned_rates)
    assert np.isfinite(used.fit(X, Y, verbose=0).history["loss"][0])


def test_a_copy_that_learns_starts_with_the_weights_of_the_model():
    given = wrap(LSTM(4), "concrete", samples=24, rate=0.3)
    model = keras.Sequential([keras.Input((5, 3)), given, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="It is removed"):
        found = rdt.ExistingModel(
            model, {"wrapper": "concrete", "placement": "input"}, keep_weights=True
        )
    copy = found.build(kt.HyperParameters())
    assert copy.layers[0].learned_rates == pytest.approx({"input": 0.1})
    np.testing.assert_allclose(array(copy(X)), array(model(X)), rtol=1e-5)


# A search.

SPACE = {"wrapper": ["none", "concrete"], "placement": "recurrent", "units": 3}


@pytest.mark.heavy
@pytest.mark.backends
@pytest.mark.usefixtures("eagerly")
def test_a_search_learns_and_records_rates(tmp_path):
    result = rdt.tune(
        (X, Y), (X, Y), space=SPACE, max_trials=2, epochs=2, directory=tmp_path / "project",
        verbose=0, seed=0, tracking=None,
    )  # fmt: skip
    history = result.history.merge(result.trials[["trial_id", "wrapper"]], on="trial_id")
    rates = history[history["wrapper"] == "concrete"]["learned_rate.recurrent"]
    assert len(rates) == 2
    assert rates.nunique() == 2
    assert history[history["wrapper"] == "none"]["learned_rate.recurrent"].isna().all()
