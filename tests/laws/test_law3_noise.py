"""Law 3: each call draws new noise, shared as documented, which preserves the mean."""

from itertools import combinations, product

import keras
import numpy as np
import pytest
from keras import ops

from recdrop_tune.rewrites import KernelCall
from recdrop_tune.wrappers import (
    EmbeddingDropout,
    LambdaDropoutWrapper,
    LockedDropout,
    RecurrentDropoutWrapper,
    wrap,
)
from tests.backends import array, on_tensorflow
from tests.laws.cases import (
    ALONE,
    WIDEST,
    WRAPPERS,
    arrays,
    make_inputs,
    make_layer,
    make_wrapper,
    over,
    wrapper_id,
)

RATE = 0.3
SHAPE = BATCH, TIME, UNITS = 64, 20, 32
# Standard error of the mean of n draws of 0 or 1 / (1 - rate); per_step=False has one draw a sequence.
FOUR_SIGMA = 4 * np.sqrt(RATE / (1 - RATE) / (BATCH * UNITS))

# A tied variational mask has one draw a unit.
WEIGHTS_SIGMA = 4 * np.sqrt(RATE / (1 - RATE) / UNITS)


@over(
    ("wrapper", "cell"),
    product(WRAPPERS, ["lstm", "gru"]),
    among=lambda wrapper, cell: wrapper in (*WIDEST, *ALONE),
    backends=lambda wrapper, cell: wrapper in WIDEST,
)
def test_each_call_draws_anew(wrapper, cell):
    layer = make_layer(cell, return_sequences=True)
    wrapped = make_wrapper(layer, wrapper)
    sequences = ops.array(make_inputs(cell)[0])
    (plain,), (first,), (second,) = (
        arrays(result)
        for result in (
            layer(sequences),
            wrapped(sequences, training=True),
            wrapped(sequences, training=True),
        )
    )
    assert not np.allclose(first, plain)
    assert not np.allclose(first, second)


def kernel_call():
    return KernelCall(
        "lstm",
        ops.ones(SHAPE),
        (ops.ones((BATCH, UNITS)),) * 2,
        ops.ones((UNITS, 4 * UNITS)),
        ops.ones((UNITS, 4 * UNITS)),
        ops.ones((4 * UNITS,)),
    )


def check_soft_factors(factors, draws):
    """They lie between 0 and 1 / (1 - rate), most of them close to one of the two, and their mean is 1."""
    largest = 1 / (1 - RATE)
    assert factors.min() >= 0.0
    assert factors.max() <= largest * (1 + 1e-6)
    # At the temperature t between 0.1 and 0.9 where the sum of the logits is within log(9) t of 0.
    between = (factors > 0.1 * largest) & (factors < 0.9 * largest)
    expected = 2 * np.log(9) * 0.1 * RATE * (1 - RATE)
    assert abs(between.mean() - expected) < 4 * np.sqrt(expected / draws)
    bias = -(0.1**2) * np.pi**2 / 6 * RATE * (1 - 2 * RATE)
    assert abs(factors.mean() - 1.0 - bias) < 4 * np.sqrt(RATE / (1 - RATE) / draws)


def check_factors(factors, mean_tolerance=FOUR_SIGMA):
    """Survivors are 1 / (1 - rate), the rest 0, and the mean is 1."""
    np.testing.assert_allclose(np.unique(factors), [0.0, 1 / (1 - RATE)], rtol=1e-6)
    assert abs(factors.mean() - 1.0) < mean_tolerance


def check_concrete(wrapped, site, draws):
    """Its masks are soft, and hard where they are asked to be."""
    for hard in (False, True):
        wrapped.hard_masks = hard
        if site == "recurrent":
            factors = array(wrapped.rewrite(kernel_call()).recurrent_kernel)
        else:
            factors = array(wrapped.noise(site, ops.ones(SHAPE)))
        if hard:
            check_factors(factors, 4 * np.sqrt(RATE / (1 - RATE) / draws))
        else:
            check_soft_factors(factors, draws)


@pytest.mark.backends
@pytest.mark.parametrize("wrapper", [w for w in WRAPPERS if "+" not in w[1]], ids=wrapper_id)
def test_mean_is_preserved(wrapper):
    technique, site, options = wrapper
    layer = keras.layers.LSTM(UNITS, return_sequences=True)
    wrapped = make_wrapper(layer, (technique, site, options), RATE, seed=0)
    if technique == "concrete":
        check_concrete(wrapped, site, UNITS if site == "recurrent" else BATCH * UNITS)
    elif (technique, site) == ("weight_drop", "input"):
        check_factors(array(wrapped.rewrite(kernel_call()).kernel))
    elif site in ("input", "output"):
        check_factors(array(wrapped.noise(site, ops.ones(SHAPE))))
    elif technique in ("zoneout", "update"):
        bits = array(wrapped.rewrite(kernel_call()).forcings[0].bits)
        assert set(np.unique(bits)) == {0.0, 1.0}  # forced or not: nothing is scaled
        assert abs(bits.mean() - RATE) < FOUR_SIGMA
    elif technique in ("variational", "weight_drop"):
        check_factors(array(wrapped.rewrite(kernel_call()).recurrent_kernel), WEIGHTS_SIGMA)
    elif technique == "native":
        check_factors(array(wrapped.rewrite(kernel_call()).state_noise))
    else:
        call = wrapped.rewrite(kernel_call())
        kept = 1.0 - array(call.forcings[0].bits)[:, :-1]  # the last step feeds nothing back
        scale = array(call.recurrent_kernel)[0, 0]
        check_factors(kept * scale)
        np.testing.assert_allclose(array(call.output_scale)[0, :-1], 1 / (1 - RATE), rtol=1e-6)
        np.testing.assert_array_equal(array(call.output_scale)[0, -1], 1.0)


@pytest.mark.backends
def test_gaussian_noise_has_the_moments_of_dropout():
    wrapped = LambdaDropoutWrapper(keras.layers.LSTM(UNITS), RATE, seed=0, function="gaussian")
    noise = array(wrapped.noise("input", ops.ones(SHAPE)))
    assert abs(noise.mean() - 1.0) < FOUR_SIGMA
    assert noise.var() == pytest.approx(RATE / (1 - RATE), rel=0.05)


@pytest.mark.backends
@pytest.mark.parametrize("seed", [0, None])
def test_a_seed_draws_the_same_masks_again_but_others_in_each_layer(seed):
    def streams(seed):
        keras.utils.set_random_seed(5)
        layers = [keras.layers.LSTM(4, name=name) for name in ("encoder", "decoder")]
        first, second = (RecurrentDropoutWrapper(layer, RATE, seed=seed) for layer in layers)
        both = keras.layers.Bidirectional(first)
        drawing = [
            first,
            second,
            both.backward_layer,
            LockedDropout(RATE, seed=seed, name="locked"),
        ]
        return [int(array(layer.seed_generator.state)[0]) for layer in drawing]

    assert streams(seed) == streams(seed)
    assert len({*streams(seed), *streams(1)}) == 8


def wrapped_afterwards():
    layers = [keras.layers.LSTM(4, seed=42) for _ in range(3)]
    return [RecurrentDropoutWrapper(layer, RATE) for layer in layers]


def one_layer_in_two_wrappers():
    layer = keras.layers.LSTM(4, name="shared")
    return [RecurrentDropoutWrapper(layer, RATE, name=name, seed=1) for name in "ab"]


def towers():
    """Models whose layers have the same names and one seed."""
    made = []
    for name in ("user", "item"):
        given = keras.Input((6, 4))
        encoder = RecurrentDropoutWrapper(keras.layers.LSTM(4, name="encoder"), RATE, seed=1)
        dropped = LockedDropout(RATE, seed=1, name="locked")(encoder(given))
        made.append(keras.Model(given, dropped, name=name))
    return made


def embeddings():
    layers = [keras.layers.Embedding(64, 4) for _ in range(2)]
    return [EmbeddingDropout(layer, RATE) for layer in layers]


@pytest.mark.backends
@pytest.mark.parametrize(
    "make", [wrapped_afterwards, one_layer_in_two_wrappers, towers, embeddings]
)
def test_each_layer_of_a_model_has_its_own_masks(make):
    """Layers with the same weights and inputs, the same at each step, differ by their masks alone."""
    x = np.arange(64)[np.newaxis] if make is embeddings else np.ones((2, 6, 4))

    def results():
        keras.utils.set_random_seed(5)
        given = keras.Input(x.shape[1:])
        model = keras.Model(given, [layer(given) for layer in make()])
        first = {}
        model.set_weights(
            [first.setdefault(weight.shape, weight) for weight in model.get_weights()]
        )
        return arrays(model(ops.array(x), training=True))

    found = results()
    for one, other in combinations(found, 2):
        assert not np.allclose(one, other)
    np.testing.assert_equal(found, results())


@on_tensorflow
@pytest.mark.parametrize("technique", ["recurrent", "lambda", "concrete"])
def test_masks_are_the_same_with_xla(technique):
    import tensorflow as tf

    options = {"lambda": {"function": "gaussian"}, "concrete": {"samples": 20}}.get(technique, {})
    wrapped = wrap(make_layer("lstm", use_cudnn=False), technique, rate=RATE, seed=1, **options)
    x = tf.constant(make_inputs("lstm")[0])

    def result(jit_compile):
        wrapped.seed_generator.state.assign([1, 0])
        return tf.function(lambda: wrapped(x, training=True), jit_compile=jit_compile)()

    np.testing.assert_allclose(result(True), result(False), rtol=1e-5)
