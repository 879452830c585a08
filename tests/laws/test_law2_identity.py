"""Law 2: at inference a wrapper equals the wrapped layer bit for bit; with rate 0, up to rounding."""

import keras
import numpy as np
import pytest
from keras import ops

from recdrop_tune.models.layers import plain_weights
from tests.laws.cases import (
    FEW,
    MASKS,
    ONE_EACH,
    SCENARIOS,
    SLOWLY,
    WIDEST,
    arrays,
    gru_for,
    in_matrix,
    is_exact_at_inference,
    learns_rates,
    make_inputs,
    make_layer,
    make_wrapper,
    wrapper_id,
)


def tolerance(wrapper):
    """The kernel can differ from the plain layer's, or run on parts of the batch."""
    technique, placement, _ = wrapper
    if technique in ("time_distributed", "lambda"):
        return {"rtol": 0}  # The plain layer itself runs.
    if technique == "native" and "recurrent" in placement:
        return {"rtol": 1e-6, "atol": 1e-7}  # As Keras's own cell: a product for each gate.
    return {"rtol": 1e-5, "atol": 1e-6}


def can_differ(wrapper, cell, scenario):
    """At inference only the technique counts; the noise of each option and placement is law 1's."""
    return wrapper in ONE_EACH or (wrapper in WIDEST and scenario in FEW)


@in_matrix(among=can_differ)
def test_identity(wrapper, cell, scenario):
    case = SCENARIOS[scenario]
    layer = make_layer(cell, dtype="float32", **case.layer)
    sequences, states = make_inputs(cell, case.initial_state)

    def run(called, **how):
        if layer.stateful:
            layer.reset_state()
        call = {"mask": MASKS[case.mask], "initial_state": states, **how}
        return arrays(called(ops.array(sequences, "float32"), **call))

    plain = run(layer)
    if not learns_rates(wrapper):
        quiet = run(make_wrapper(layer, wrapper, 0.0), training=True)
        for got, wanted in zip(quiet, plain, strict=True):
            np.testing.assert_allclose(got, wanted, **tolerance(wrapper))
    if is_exact_at_inference(wrapper):  # Zoneout's expectation is tested in law 1.
        np.testing.assert_equal(run(make_wrapper(layer, wrapper), training=False), plain)


def stack(wrapped, kinds):
    """A tagger of two layers, which pass on their mask or drop it as Keras's own do."""
    inputs = keras.Input((6, 3))
    features = keras.layers.Masking()(inputs)
    for kind in kinds:
        features = wrapped(kind(4, return_sequences=True))(features)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(features))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.mark.backends
@pytest.mark.parametrize("wrapper", SLOWLY, ids=wrapper_id)
@pytest.mark.usefixtures("eagerly")
def test_identity_in_a_masked_stack(wrapper):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6, 3)).astype("float32"), rng.integers(0, 3, (8, 6))
    x[::2, 4:] = 0.0
    learned = learns_rates(wrapper)  # Those are never 0: inference alone is the same.
    kinds = keras.layers.LSTM, gru_for(wrapper)
    plain = stack(lambda layer: layer, kinds)
    other = stack(lambda layer: make_wrapper(layer, wrapper, *([] if learned else [0.0])), kinds)
    for one, of_plain in zip(plain_weights(other), plain.weights, strict=True):
        # A copy: `evaluate` on JAX frees the arrays of a model, and a shared one would be gone.
        one.assign(ops.convert_to_numpy(of_plain))
    for training in (False,) if learned else (False, True):
        got, wanted = (arrays(model(x, training=training))[0] for model in (other, plain))
        np.testing.assert_allclose(got, wanted, **tolerance(wrapper))
    losses = [model.evaluate(x, y, verbose=0) for model in (other, plain)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
