"""Law 6: the dtype policy is kept under mixed precision, and everything stays finite."""

from itertools import cycle, product

import keras
import numpy as np
import pytest
from keras import ops

from tests.backends import JIT_COMPILE, POLICIES
from tests.laws.cases import MASKS, ONE_EACH, WIDEST, make_wrapper, over

X = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")

FEW = [
    ("mixed_float16", keras.layers.LSTM, "none"),
    ("mixed_bfloat16", keras.layers.GRU, "none"),
]


@over(
    ("wrapper", "policy", "kind", "mask"),
    product(WIDEST, POLICIES, [keras.layers.LSTM, keras.layers.GRU], ["none", "left"]),
    backends=lambda wrapper, policy, kind, mask: (policy, kind, mask) in FEW,
)
def test_compute_dtype(wrapper, policy, kind, mask):
    layer = kind(4, return_sequences=True, return_state=True, dtype=policy)
    wrapped = make_wrapper(layer, wrapper)
    assert wrapped.compute_dtype == layer.compute_dtype
    for training in (True, False):
        for part in wrapped(X, mask=MASKS[mask], training=training):
            assert keras.backend.standardize_dtype(part.dtype) == layer.compute_dtype
            assert bool(ops.all(ops.isfinite(ops.cast(part, "float32"))))
    assert all(weight.dtype == layer.variable_dtype for weight in wrapped.weights)
    assert all(rate.dtype == "float32" for rate in wrapped.rates.values())


MIXED = ["mixed_float16", "mixed_bfloat16"]
KINDS = [keras.layers.LSTM, keras.layers.GRU]
TRAINED = [w for w in WIDEST if w in ONE_EACH or {"mask_groups", "hidden_rate"} & set(w[2])]
"""Each technique, and the options that add kernel calls or masks of their own."""


@pytest.mark.heavy
@over(
    ("wrapper", "policy", "kind"),
    product(WIDEST, MIXED, KINDS),
    # Each wrapper once, with each pair of a policy and a kind in turn.
    few=[(wrapper, *pair) for wrapper, pair in zip(TRAINED, cycle(product(MIXED, KINDS)))],
    backends=lambda wrapper, policy, kind: (policy, kind) == FEW[0][:2] and wrapper in ONE_EACH,
)
def test_global_policy_trains(wrapper, policy, kind):
    keras.config.set_dtype_policy(policy)
    try:
        model = keras.Sequential(
            [
                keras.Input((None, 2)),
                make_wrapper(kind(4), wrapper),
                keras.layers.Dense(1, dtype="float32"),
            ]
        )
        model.compile("sgd", "mse", jit_compile=JIT_COMPILE[0])
        history = model.fit(X, np.ones((3, 1)), epochs=2, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history.history["loss"]).all()
