"""`LanguageModel`: the next token, tied weights, padding, dropout of word types."""

import re

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

from recdrop_tune import LanguageModel, LockedDropout, explain, mc_predict, to_plain
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hypermodels import Perplexity
from recdrop_tune.models import renew, structure

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(1, 9, (8, 7))
AWD = {
    "wrapper": "weight_drop",
    "placement": "recurrent",
    "rate": 0.3,
    "units": 6,
    "layers": 2,
    "locked_rate": {"input": 0.2, "between": 0.25, "output": 0.3},
    "embedding_rate": 0.1,
}
PLAIN = {"wrapper": "none", "units": 6}


DECAYS = {"activity_decay": 2.0, "temporal_decay": 1.0}


def build(space=AWD, **options):
    return LanguageModel(9, space, **options).build(kt.HyperParameters())


def pairs(tokens=TOKENS):
    return LanguageModel.shift(tokens)


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


# The layers


LOCKED = "LockedDropout"
STACK = ["EmbeddingDropout", LOCKED, "WeightDropWrapper", LOCKED, "WeightDropWrapper", LOCKED]


@pytest.mark.parametrize(
    ("space", "layers"),
    [
        (AWD, [*STACK, "Dense"]),
        ({**AWD, "wrapper": "none"}, ["Embedding", "LSTM", "LSTM", "Dense"]),
        (PLAIN, ["Embedding", "LSTM", "Dense"]),
        ({**PLAIN, **DECAYS}, ["Embedding", "ActivityDecay", "Dense"]),
        ({**PLAIN, **dict.fromkeys(DECAYS, 0)}, ["Embedding", "LSTM", "Dense"]),
    ],
    ids=["dropout", "no dropout", "plain", "decays", "decays of 0"],
)
def test_layers(space, layers):
    assert kinds(build(space)) == ["InputLayer", *layers]


def test_the_rates_of_awd_lstm():
    model = build()
    locked = [layer for layer in model.layers if isinstance(layer, LockedDropout)]
    assert [layer.rate for layer in locked] == [0.2, 0.25, 0.3]
    assert model.layers[1].rate == 0.1
    assert [row.technique for row in explain(model).rows] == ["weight_drop", "weight_drop"]


@pytest.mark.parametrize(
    ("space", "decays"),
    [
        (AWD, [("WeightDropWrapper", 0.0, 1.0), ("LockedDropout", 2.0, 0.0)]),
        ({**AWD, "locked_rate": {"between": 0.2}}, [("WeightDropWrapper", 2.0, 1.0)]),
        ({**AWD, "wrapper": "none"}, [("ActivityDecay", 2.0, 1.0)]),
    ],
    ids=["locked", "unlocked", "no dropout"],
)
def test_the_last_layer_has_the_decays(space, decays):
    """The temporal decay applies to its output, the activity decay after locked dropout."""
    found = [
        (type(layer).__name__, layer.activity_decay, getattr(layer, "temporal_decay", 0.0))
        for layer in build({**space, **DECAYS}).layers
        if hasattr(layer, "activity_decay")
    ]
    assert [each for each in found if any(each[1:])] == decays


@pytest.mark.parametrize("space", [AWD, PLAIN], ids=["dropout", "plain"])
@pytest.mark.parametrize("size", [None, 4])
def test_tied_weights_are_one_matrix(space, size):
    model = build(space, tie_weights=True, embedding_units=size)
    assert ("projection" in [layer.name for layer in model.layers]) == (size == 4)
    matrices = [weight for weight in model.trainable_weights if 9 in weight.shape]
    assert [tuple(matrix.shape) for matrix in matrices] == [(9, size or 6)]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(TOKENS[:, :3]) ** 2)
    # As an output layer, the matrix has a gradient for words that are not in the input as well.
    gradient = tape.gradient(loss, matrices[0].value)
    assert np.all(np.abs(np.array(gradient)).sum(axis=1) > 0)


def test_tied_logits_are_products_with_the_word_vectors():
    model = build(PLAIN, tie_weights=True)
    features = keras.Model(model.input, model.layers[2].output)(TOKENS)
    matrix = np.array(model.layers[1].embeddings)
    np.testing.assert_allclose(model(TOKENS), np.array(features) @ matrix.T, atol=1e-5)


def test_it_learns_the_next_token():
    cycle = np.arange(1, 9)
    tokens = np.stack([np.roll(cycle, shift) for shift in range(8)] * 4)
    model = build({**PLAIN, "units": 16, "learning_rate": 0.03}, tie_weights=True)
    history = model.fit(*pairs(tokens), epochs=25, verbose=0).history
    assert history["perplexity"][-1] < 2 < 6 < history["perplexity"][0]


# Saved, cloned, made plain


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_model_is_saved_cloned_and_made_plain(tied, tmp_path):
    model = build(tie_weights=tied, embedding_units=4, mask_zero=True)
    model.run_eagerly = True
    model.fit(*pairs(), epochs=1, verbose=0)
    expected = np.array(model(TOKENS))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(TOKENS), expected, atol=1e-6)
    assert len(loaded.weights) == len(model.weights)
    x, y = pairs()
    losses = [float(one.compute_loss(x, y, one(x))) for one in (model, loaded)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert loaded.get_compile_config() == model.get_compile_config()
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(clone(TOKENS), expected, atol=1e-6)
    plain = to_plain(model)
    np.testing.assert_allclose(plain(TOKENS), expected, atol=1e-6)
    assert all(type(layer).__module__.startswith("keras.") for layer in plain.layers)
    assert len(plain.weights) == len(model.weights)


def test_monte_carlo_predictions():
    assert mc_predict(build(tie_weights=True), TOKENS, samples=3).std.max() > 0


def test_a_schedule_changes_every_rate():
    hypermodel = LanguageModel(9, {**AWD, "schedule": "linear"})
    hp = kt.HyperParameters()
    model = hypermodel.build(hp)
    model.run_eagerly = True
    layers = [layer for layer in model.layers if hasattr(layer, "rates")]
    seen = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append([float(rate) for layer in layers for rate in layer.rates.values()])

    hypermodel.fit(hp, model, *pairs(), epochs=2, verbose=0, callbacks=[Note()])
    assert seen[0] == [0.0] * 6
    assert seen[1] == pytest.approx([0.1, 0.2, 0.3, 0.25, 0.3, 0.3])


def test_trials_that_differ_in_rates_share_one_traced_model():
    def built(rate):
        keras.utils.clear_session(free_memory=False)
        return build({**AWD, "rate": rate, "locked_rate": rate, "embedding_rate": rate})

    one, other = built(0.1), built(0.3)
    assert structure(one) == structure(other) is not None
    renew(one, other)
    assert [layer.rate for layer in one.layers if hasattr(layer, "rates")] == [0.3] * 6


# Padding


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_padding_changes_neither_loss_nor_perplexity(tied):
    model = build({**AWD, "cell": "gru"}, tie_weights=tied, mask_zero=True)
    x, y = pairs()
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    zeros = np.zeros((8, 3), x.dtype)
    padded = np.concatenate([x, zeros], 1), np.concatenate([y, zeros], 1)
    found = model.evaluate(*padded, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]), rel=1e-5)
    rates = {"rate": 0.0, "locked_rate": 0.0, "embedding_rate": 0.0}
    silent = build({**AWD, **rates}, tie_weights=tied, mask_zero=True)
    losses = [
        float(silent.compute_loss(x, y, silent(x, training=True))) for x, y in ((x, y), padded)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_mask_zero_token_0_is_a_word():
    model = build(PLAIN)
    x, y = pairs()
    loss, perplexity = model.evaluate(x, np.where(y == 1, 0, y), verbose=0)
    logits = model.predict(x, verbose=0)
    expected = keras.losses.sparse_categorical_crossentropy(
        np.where(y == 1, 0, y), logits, from_logits=True
    )
    assert loss == pytest.approx(float(keras.ops.mean(expected)), rel=1e-5)
    assert perplexity == pytest.approx(np.exp(loss), rel=1e-5)


# Perplexity


def test_perplexity_is_exp_of_the_mean_over_all_steps_that_count():
    y, logits = RNG.integers(0, 5, (6, 4)), RNG.normal(size=(6, 4, 5)).astype("float32")
    losses = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, y[..., None], -1)[..., 0]
    for ignored, counts in ((None, np.ones_like(y)), (0, y != 0)):
        for weights in (None, RNG.uniform(size=6), RNG.uniform(size=(6, 4))):
            metric = Perplexity(ignore_class=ignored)
            for part in (slice(0, 1), slice(1, 6)):
                part_weights = None if weights is None else weights[part]
                metric.update_state(y[part], logits[part], part_weights)
            factor = np.ones(6) if weights is None else weights
            each = counts * (factor if factor.ndim == 2 else factor[:, None])
            expected = np.exp((losses * each).sum() / each.sum())
            assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 1.0
    again = Perplexity.from_config(Perplexity(ignore_class=3, name="ppl").get_config())
    assert (again.ignore_class, again.name) == (3, "ppl")


# From data


def test_from_data_counts_the_words():
    assert LanguageModel.from_data(TOKENS).vocab_size == TOKENS.max() + 1


def test_the_last_target_is_counted_too():
    assert LanguageModel.from_data((np.array([[1, 2]]), np.array([[2, 7]]))).vocab_size == 8


@pytest.mark.parametrize(
    ("train", "options", "text"),
    [
        (TOKENS / 2, {}, "`x`. Expected integer tokens >= 0 of shape (batch, time)."),
        (TOKENS.ravel(), {}, "Cut a text into pieces of equal length: `tokens[: len(tokens)"),
        (TOKENS - 2, {}, "`x`. Expected integer tokens >= 0"),
        ((TOKENS, TOKENS[:, 1:]), {}, "Make both from one array of tokens: `LanguageModel."),
        ((TOKENS, TOKENS[:, 0]), {}, "`y`. Expected integer tokens >= 0 of shape (batch, time)."),
        (
            np.array([[0, 0, 1], [1, 2, 3]]),
            {"mask_zero": True},
            "`x`. Expected padding on the right, with mask_zero=True.",
        ),
        (
            tf.data.Dataset.from_tensor_slices(pairs()).batch(4).repeat(),
            {},
            "Expected a dataset that ends, for the words are counted.",
        ),
    ],
    ids=["floats", "1-D", "negative", "lengths", "classes", "left", "endless"],
)
def test_from_data_refuses_other_data(train, options, text):
    with pytest.raises(InvalidArgumentError, match=re.escape(text)):
        LanguageModel.from_data(train, **options)
