"""Bidirectional, inside and outside a wrapper: each direction draws its own masks."""

from itertools import product

import keras
import numpy as np
import pytest

from tests.laws.cases import WIDEST, arrays, make_wrapper, over

X = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
KINDS = [keras.layers.LSTM, keras.layers.GRU]
SPARE = [w for w in WIDEST if w[0] in ("recurrent", "variational")]


def bidirectional(kind, merge_mode="concat", **options):
    layer = keras.layers.Bidirectional(kind(4, **options), merge_mode=merge_mode)
    layer.build((3, 5, 2))
    return layer


OPTIONS = [{}, {"return_sequences": True, "return_state": True}]


@over(
    ("wrapper", "kind", "options", "mode"),
    product(SPARE, KINDS, OPTIONS, ["concat", "sum", None]),
)
def test_inside_with_rate_0(wrapper, kind, options, mode):
    layer = bidirectional(kind, merge_mode=mode, **options)
    plain, wrapped = layer(X), make_wrapper(layer, wrapper, rate=0.0)(X, training=True)
    for one, other in zip(arrays(plain), arrays(wrapped), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.backends
@pytest.mark.parametrize("kind", KINDS)
def test_the_type_of_the_outputs_is_that_of_the_bidirectional(kind):
    """Also where the layer inside it has another."""
    layer = bidirectional(kind, dtype="mixed_bfloat16", return_state=True)
    wrapped = make_wrapper(layer, ("recurrent", "recurrent", {}))
    types = [
        [keras.backend.standardize_dtype(part.dtype) for part in wrapped(X, training=training)]
        for training in (False, True)
    ]
    assert types[1] == types[0]
    assert types[0][0] == "float32"
