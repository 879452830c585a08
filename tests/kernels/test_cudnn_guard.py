"""With a GPU in sight: masks that cuDNN does not take, and what happens where it declines a call.

Keras is made to see a GPU. Called eagerly, the step loop runs without one.
"""

from itertools import product

import keras
import numpy as np
import pytest

from recdrop_tune.errors import InvalidArgumentError
from tests.cudnn import see_a_gpu
from tests.expected import Draws, expect
from tests.laws.cases import ONE_EACH, WIDEST, arrays, is_exact_at_inference, make_wrapper, over

if keras.backend.backend() != "tensorflow":
    pytest.skip("only TensorFlow's cuDNN takes masks", allow_module_level=True)

RATE, SEED = 0.4, 7
X = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")
MASKS = {
    "left_holed_and_empty": np.array(
        [[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]], bool
    ),
    "nothing_valid": np.zeros((4, 6), bool),
}

KINDS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
LAYERS = {
    **KINDS,
    "bidirectional": lambda *args, **kwargs: keras.layers.Bidirectional(
        keras.layers.LSTM(*args, **kwargs)
    ),
}


def make_layer(kind, **options):
    layer = LAYERS[kind](3, return_sequences=True, return_state=True, **options)
    layer.build(X.shape)
    return layer


@over(
    ("wrapper", "kind", "mask"),
    product(WIDEST, LAYERS, MASKS),
    among=lambda wrapper, kind, mask: wrapper in ONE_EACH or "mask_groups" in wrapper[2],
)
def test_a_mask_that_cudnn_does_not_take(monkeypatch, wrapper, kind, mask):
    layer = make_layer(kind)
    plain = arrays(layer(X, mask=MASKS[mask]))
    wrapped = make_wrapper(layer, wrapper, RATE, SEED)
    see_a_gpu(monkeypatch)
    weights = [np.array(weight, "float64") for weight in layer.get_weights()]
    draws = Draws(wrapper, layer, X.shape, RATE, SEED)
    wanted = expect(draws, weights, X.astype("float64"), mask=MASKS[mask])
    got = arrays(wrapped(X, mask=MASKS[mask], training=True))
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    if is_exact_at_inference(wrapper):
        for one, other in zip(arrays(wrapped(X, mask=MASKS[mask])), plain, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_cudnn_may_decline(monkeypatch, kind):
    """As it does here, where there is no such kernel: `"auto"` takes the loop, `True` insists."""
    see_a_gpu(monkeypatch)
    wrapper = ("recurrent", "recurrent", {})
    wrapped = make_wrapper(make_layer(kind, use_cudnn="auto"), wrapper)
    assert arrays(wrapped(X, training=True))[0].shape == (4, 6, 3)
    wrapped = make_wrapper(make_layer(kind, use_cudnn=True), wrapper)
    with pytest.raises(InvalidArgumentError, match="argument `use_cudnn`"):
        wrapped(X, training=True)
