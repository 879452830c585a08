"""`LanguageModel`: the next token, tied weights, padding, dropout of word types."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

from recdrop_tune import LanguageModel, to_plain
from recdrop_tune.wrappers import LockedDropout, Perplexity

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
    ],
    ids=["dropout", "no dropout", "plain", "decays"],
)
def test_layers(space, layers):
    model = build(space)
    assert [type(layer).__name__ for layer in model.layers] == ["InputLayer", *layers]
    if space is AWD:
        locked = [layer for layer in model.layers if isinstance(layer, LockedDropout)]
        assert [layer.rate for layer in locked] == [0.2, 0.25, 0.3]
        assert model.layers[1].rate == 0.1


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


@pytest.mark.parametrize("size", [None, 4])
def test_tied_weights_are_one_matrix(size):
    model = build(tie_weights=True, embedding_units=size)
    assert ("projection" in [layer.name for layer in model.layers]) == (size == 4)
    matrices = [weight for weight in model.trainable_weights if 9 in weight.shape]
    assert [tuple(matrix.shape) for matrix in matrices] == [(9, size or 6)]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(TOKENS[:, :3]) ** 2)
    # As an output layer, the matrix has a gradient for words that are not in the input as well.
    gradient = tape.gradient(loss, matrices[0].value)
    assert np.all(np.abs(np.array(gradient)).sum(axis=1) > 0)


# Saved, made plain


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_model_is_saved_and_made_plain(tied, tmp_path):
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
    plain = to_plain(model)
    np.testing.assert_allclose(plain(TOKENS), expected, atol=1e-6)
    assert all(type(layer).__module__.startswith("keras.") for layer in plain.layers)
    assert len(plain.weights) == len(model.weights)


# Padding


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_padding_changes_neither_loss_nor_perplexity(tied):
    model = build({**AWD, "cell": "gru"}, tie_weights=tied, mask_zero=True)
    model.run_eagerly = True
    x, y = pairs()
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    zeros = np.zeros((8, 3), x.dtype)
    padded = np.concatenate([x, zeros], 1), np.concatenate([y, zeros], 1)
    found = model.evaluate(*padded, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]), rel=1e-5)
    rates = {"rate": 0.0, "locked_rate": 0.0, "embedding_rate": 0.0}
    decays = dict.fromkeys(DECAYS, 1e5)  # As large as the loss, before training.
    silent = build({**AWD, **rates, **decays}, tie_weights=tied, mask_zero=True)
    losses = [
        float(silent.compute_loss(x, y, silent(x, training=True))) for x, y in ((x, y), padded)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_mask_zero_token_0_is_a_word():
    model = build(PLAIN)
    model.run_eagerly = True
    x, y = pairs()
    y = np.where(y == 1, 0, y)
    loss, perplexity = model.evaluate(x, y, verbose=0)
    expected = keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True)
    assert loss == pytest.approx(float(keras.ops.mean(expected)), rel=1e-5)
    assert perplexity == pytest.approx(np.exp(loss), rel=1e-5)


# Perplexity


def test_perplexity_is_exp_of_the_mean_over_all_steps_that_count():
    y, logits = RNG.integers(0, 5, (6, 4)), RNG.normal(size=(6, 4, 5)).astype("float32")
    losses = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, y[..., None], -1)[..., 0]
    for ignored, targets in ((None, y), (0, y), (-1, np.where(y == 2, -1, y))):
        counts = np.ones_like(y) if ignored is None else targets != ignored
        for weights in (None, RNG.uniform(size=6), RNG.uniform(size=(6, 4))):
            metric = Perplexity(ignore_class=ignored)
            for part in (slice(0, 1), slice(1, 6)):
                part_weights = None if weights is None else weights[part]
                metric.update_state(targets[part], logits[part], part_weights)
            factor = np.ones(6) if weights is None else weights
            each = counts * (factor if factor.ndim == 2 else factor[:, None])
            expected = np.exp((losses * each).sum() / each.sum())
            assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_perplexity_in_half_precision_counts_all_steps():
    metric = Perplexity(dtype="bfloat16")
    for _ in range(300):
        metric.update_state(np.zeros((32, 20), int), np.zeros((32, 20, 50), "float32"))
    assert float(metric.result()) == pytest.approx(50, rel=0.03)
