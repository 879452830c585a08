"""`EmbeddingDropout`: whole word types, the same ones throughout a batch."""

import keras
import numpy as np
import pytest

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.wrappers import EmbeddingDropout, WeightDropWrapper
from tests.backends import array, gradients

pytestmark = pytest.mark.backends
WORDS, UNITS = 50, 3
TOKENS = np.random.default_rng(0).integers(0, WORDS, (6, 20))


def built(rate=0.4, **options):
    layer = EmbeddingDropout(keras.layers.Embedding(WORDS, UNITS, **options), rate, seed=1)
    layer(TOKENS)
    return layer


def test_whole_word_types_are_dropped_throughout_the_batch():
    layer = built()
    plain, noisy = array(layer(TOKENS)), array(layer(TOKENS, training=True))
    factors = np.full(WORDS, np.nan)
    for word in np.unique(TOKENS):
        at = np.equal(TOKENS, word)
        ratio = noisy[at] / plain[at]
        assert np.ptp(ratio) < 1e-5
        factors[word] = ratio.flat[0]
    seen = factors[np.unique(TOKENS)]
    assert set(np.round(seen, 4)) == {0.0, np.round(np.float64(1 / 0.6), 4)}


def test_drawn_anew_and_the_mean_is_kept():
    layer = built()
    draws = np.stack([array(layer(TOKENS, training=True)) for _ in range(200)])
    assert not np.allclose(draws[0], draws[1])
    np.testing.assert_allclose(draws.mean(axis=0), array(layer(TOKENS)), atol=0.015)


def test_inference_and_rate_0_are_the_plain_embedding():
    layer = built()
    np.testing.assert_array_equal(array(layer(TOKENS)), array(layer.layer(TOKENS)))
    layer.rate = 0.0
    np.testing.assert_array_equal(array(layer(TOKENS, training=True)), array(layer.layer(TOKENS)))


def test_the_gradient_of_a_dropped_word_is_zero():
    layer = built()
    state = layer.seed_generator.state
    before = array(state)
    noisy = array(layer(TOKENS, training=True))
    state.assign(before)

    def loss(factor):
        return factor * keras.ops.sum(layer(TOKENS, training=True))

    _, gradient = gradients(loss, np.ones((), "float32"), [layer.embeddings])
    counts = np.bincount(TOKENS.ravel(), minlength=WORDS)
    kept = np.unique(TOKENS[noisy.any(axis=-1)])
    dropped = [word for word in np.unique(TOKENS) if word not in kept]
    assert dropped
    assert not gradient[dropped].any()
    np.testing.assert_allclose(gradient[kept, 0], counts[kept] / 0.6, rtol=1e-5)


def make_model(wrapped=True):
    embedding = keras.layers.Embedding(WORDS, UNITS, mask_zero=True)
    first = EmbeddingDropout(embedding, 0.4) if wrapped else embedding
    return keras.Sequential(
        [keras.Input((None,), dtype="int32"), first, keras.layers.LSTM(4), keras.layers.Dense(1)]
    )


def test_saving_cloning_and_weights_of_the_plain_embedding(tmp_path):
    model = make_model()
    model.layers[0].rate = 0.2
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    assert (loaded.layers[0].rate, loaded.layers[0].seed) == (0.2, None)
    np.testing.assert_array_equal(array(model(TOKENS)), array(loaded(TOKENS)))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(array(model(TOKENS)), array(clone(TOKENS)))
    plain = make_model(wrapped=False)
    plain.set_weights(model.get_weights())
    np.testing.assert_array_equal(array(model(TOKENS)), array(plain(TOKENS)))
    again = EmbeddingDropout.from_config(built().get_config())
    assert (again.rate, again.seed, again.layer.input_dim) == (0.4, 1, WORDS)


def test_tokens_as_floats_are_not_rounded():
    embedding = keras.layers.Embedding(3000, 2, dtype="mixed_float16")
    layer = EmbeddingDropout(embedding, 0.0)
    tokens = np.array([[2049.0, 2051.0]], "float32")  # float16 has no odd numbers above 2048
    expected = array(embedding(tokens.astype("int32")))
    np.testing.assert_array_equal(array(layer(tokens)), expected)
    np.testing.assert_array_equal(array(layer(tokens, training=True)), expected)


@pytest.mark.parametrize(
    ("layer", "rate", "expected"),
    [
        (keras.layers.LSTM(2), 0.1, r"a `keras\.layers\.Embedding`"),
        (keras.layers.Embedding(3, 2), 1.0, "0 <= rate < 1"),
    ],
)
def test_what_is_refused(layer, rate, expected):
    with pytest.raises(InvalidArgumentError, match=f"Expected {expected}"):
        EmbeddingDropout(layer, rate)


def test_a_reversible_embedding_can_be_called_in_reverse():
    layer = EmbeddingDropout(keras.layers.ReversibleEmbedding(WORDS, 4, mask_zero=True), 0.5)
    tokens = keras.Input((None,), dtype="int32")
    words = layer(tokens)
    features = WeightDropWrapper(keras.layers.GRU(4, return_sequences=True), 0.3)(words)
    model = keras.Model(tokens, [words, features, layer(features, reverse=True)])
    assert [output.shape[-1] for output in model.outputs] == [4, 4, WORDS]
    padded = np.concatenate([TOKENS, np.zeros((6, 2), TOKENS.dtype)], 1)
    noisy = [array(output) for output in model(padded, training=True)]
    # Logits are products with the vectors of all words, the dropped ones as well.
    expected = noisy[1] @ array(layer.embeddings).T
    np.testing.assert_allclose(noisy[2], expected, atol=1e-6)
    # The mask gets past the noise: at padded steps the features stay what they were.
    np.testing.assert_array_equal(noisy[1][:, 20:], np.repeat(noisy[1][:, 19:20], 2, axis=1))
    np.testing.assert_allclose(array(model(padded)[2])[:, :20], array(model(TOKENS)[2]), atol=1e-6)


def test_a_call_in_reverse_does_not_change_later_masks():
    layer = built(mask_zero=True)
    with pytest.raises(TypeError, match="'reverse'"):
        layer(np.ones((6, 20, UNITS), "float32"), reverse=True)
    np.testing.assert_array_equal(array(layer.compute_mask(TOKENS)), TOKENS != 0)


def test_one_vector_for_each_sequence_has_no_mask():
    layer = EmbeddingDropout(keras.layers.ReversibleEmbedding(WORDS, 4, mask_zero=True), 0.5)
    tokens = keras.Input((None,), dtype="int32")
    logits = layer(keras.layers.GRU(4)(layer(tokens)), reverse=True)
    model = keras.Model(tokens, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)
    found = model.evaluate(TOKENS, TOKENS[:, 0], verbose=0)
    assert found == pytest.approx(
        float(loss(TOKENS[:, 0], model.predict(TOKENS, verbose=0))), rel=1e-5
    )
