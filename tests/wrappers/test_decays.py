"""The decays of activations: their values, against a loop over steps, and that they are added in training."""

from itertools import product

import keras
import numpy as np
import pytest

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.wrappers import (
    ActivityDecay,
    LockedDropout,
    TimeDistributedDropoutWrapper,
    wrap,
)
from tests.backends import JIT_COMPILE, array
from tests.expected import slope
from tests.laws.cases import WRAPPERS, over

LSTM, GRU, Bidirectional = keras.layers.LSTM, keras.layers.GRU, keras.layers.Bidirectional
X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
HOLED = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
DECAYS = {"activity_decay": 2.0, "temporal_decay": 1.5}


def expected(raw, dropped=None, mask=None, activity=2.0, temporal=1.5):
    """The decays of outputs `(batch, time, units)`, a step at a time."""
    dropped = raw if dropped is None else dropped
    mask = np.ones(raw.shape[:2], bool) if mask is None else mask
    squares, moves = [], []
    for of_sample, kept, counts in zip(raw, dropped, mask, strict=True):
        for step in range(len(of_sample)):
            if counts[step]:
                squares.append(np.mean(kept[step] ** 2))
            if step and counts[step] and counts[step - 1]:
                moves.append(np.mean((of_sample[step] - of_sample[step - 1]) ** 2))
    return activity * np.mean(squares) + temporal * np.mean(moves)


def only(layer):
    (loss,) = layer.losses
    return float(array(loss))


# Values.

LAYERS = {
    "lstm": lambda: LSTM(4, return_sequences=True),
    "backwards": lambda: GRU(4, return_sequences=True, go_backwards=True),
    "states": lambda: LSTM(4, return_sequences=True, return_state=True),
    "both": lambda: Bidirectional(GRU(4, return_sequences=True)),
    "halves": lambda: Bidirectional(
        GRU(4, return_sequences=True, return_state=True), merge_mode=None
    ),
}


@pytest.mark.backends
@pytest.mark.parametrize(
    ("kind", "mask"),
    [
        ("lstm", None),
        ("backwards", HOLED),
        ("states", HOLED[..., None]),  # Keras takes masks with an axis of features too.
        ("both", HOLED),
        ("halves", HOLED),
    ],
    ids=LAYERS,
)
def test_values_are_those_of_a_loop_over_steps(kind, mask):
    layer = LAYERS[kind]()
    dropping = TimeDistributedDropoutWrapper(layer, 0.5, placement="output", **DECAYS)
    plain = ActivityDecay(layer, **DECAYS)
    given = None if mask is None else keras.ops.convert_to_tensor(mask)
    outputs = {each: each(X, mask=given, training=True) for each in (dropping, plain)}

    def emitted(result):
        if kind == "halves":
            return np.concatenate([array(half) for half in result[:2]], axis=-1)
        return array(result[0] if isinstance(result, tuple) else result)

    steps = None if mask is None else mask.reshape(4, 5)
    steps = steps[:, ::-1] if kind == "backwards" else steps
    raw, dropped = emitted(outputs[plain]), emitted(outputs[dropping])
    assert not np.allclose(raw, dropped)
    assert only(plain) == pytest.approx(expected(raw, None, steps), rel=1e-5)
    assert only(dropping) == pytest.approx(expected(raw, dropped, steps), rel=1e-5)


@pytest.mark.backends
def test_a_training_step_follows_their_gradient():
    layer = ActivityDecay(GRU(3, return_sequences=True), **DECAYS)
    made = keras.Sequential([keras.Input((5, 3)), layer])
    # The task's loss is 0.
    made.compile(keras.optimizers.SGD(1.0), lambda y, out: 0.0 * out, jit_compile=JIT_COMPILE[0])
    before = made.get_weights()
    moved = [np.array(weight) for weight in before]

    def loss():
        made.set_weights(moved)
        return expected(array(made.predict_on_batch(X)).astype("float64"))

    generator = np.random.default_rng(1)
    directions = [generator.normal(size=weight.shape) for weight in before]
    slopes = [slope(loss, *each, step=0.01) for each in zip(moved, directions, strict=True)]
    value = loss()
    trained = float(array(made.train_on_batch(X, np.zeros((4, 5, 3)))))
    assert trained == pytest.approx(value, rel=1e-5)
    gradients = [old - new for old, new in zip(before, made.get_weights(), strict=True)]
    along = [np.sum(g * d) for g, d in zip(gradients, directions, strict=True)]
    np.testing.assert_allclose(along, slopes, rtol=1e-2, atol=1e-3)


@pytest.mark.backends
def test_every_sample_counts_in_a_last_step():
    """As in a `LockedDropout` after the layer, which gets no mask from Keras."""
    decaying = ActivityDecay(GRU(4), activity_decay=2.0)
    for mask in (HOLED, None):
        last = array(decaying(X, mask=mask, training=True))
        assert only(decaying) == pytest.approx(2 * np.mean(last**2), rel=1e-5)


@pytest.mark.parametrize("mask", [None, np.zeros((4, 1), bool)], ids=["no pair", "no step"])
def test_nothing_to_count_is_0(mask):
    layer = ActivityDecay(
        GRU(4, return_sequences=True), activity_decay=float(mask is not None), temporal_decay=1.0
    )
    given = None if mask is None else keras.ops.convert_to_tensor(mask)
    layer(X[:, :1], mask=given, training=True)
    assert only(layer) == 0


@pytest.mark.backends
def test_half_precision_is_summed_in_single():
    layer = ActivityDecay(
        LSTM(4, return_sequences=True, dtype="mixed_float16"),
        activity_decay=2e7,
        temporal_decay=1.5e7,
    )
    raw = array(keras.ops.cast(layer(X, training=True), "float32"))
    (loss,) = layer.losses
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    # More than float16 can hold.
    assert float(array(loss)) == pytest.approx(1e7 * expected(raw), rel=1e-4)
    assert float(array(loss)) > 65504


@pytest.mark.backends
def test_locked_dropout_after_a_stack_has_the_activity_decay():
    layer = LockedDropout(0.5, activity_decay=2.0)
    dropped = array(layer(X, mask=keras.ops.convert_to_tensor(HOLED), training=True))
    assert only(layer) == pytest.approx(expected(X, dropped, HOLED, temporal=0.0), rel=1e-5)
    layer(X)
    assert layer.losses == []
    again = LockedDropout.from_config(layer.get_config())
    assert (again.rate, again.activity_decay) == (0.5, 2.0)


# Not techniques whose cell, and so their states, are not those of the plain layer.
INSIDE = [
    w
    for w in WRAPPERS
    if "recurrent" in w[1] and "input" not in w[1] and w[0] not in ("zoneout", "update")
]
FORCED = next(w for w in INSIDE if w[0] == "recurrent")
MERGED = {
    "lstm": LAYERS["lstm"],
    "backwards": lambda: LSTM(4, return_sequences=True, go_backwards=True),
    **{
        str(mode): lambda mode=mode: Bidirectional(LSTM(4, return_sequences=True), merge_mode=mode)
        for mode in ("concat", "sum", "mul", None)
    },
}


@over(
    ("wrapper", "kind", "masked"),
    product(INSIDE, MERGED, [False, True]),
    few=[(w, "lstm", False) for w in INSIDE] + [(FORCED, kind, True) for kind in MERGED],
    backends=lambda wrapper, kind, masked: wrapper == FORCED and masked,
)
def test_temporal_decay_does_not_see_the_masks(wrapper, kind, masked):
    """Without recurrent weights, what is fed back does not count: activations are the plain layer's."""
    x = np.random.default_rng(1).normal(size=(2000, 5, 3)).astype("float32")
    layer = MERGED[kind]()
    layer.build(x.shape)
    for weight in layer.weights:
        if weight.name == "recurrent_kernel":
            weight.assign(0.0 * weight)
    mask = keras.ops.convert_to_tensor(np.tile(HOLED, (500, 1))) if masked else None
    plain = ActivityDecay(layer, temporal_decay=1.0)
    technique, placement, options = wrapper
    dropping = wrap(layer, technique, placement=placement, rate=0.3, temporal_decay=1.0, **options)
    for each in (plain, dropping):
        each(x, mask=mask, training=True)
    decay = float(array(dropping.losses[-1]))  # `concrete` has its prior before.
    assert decay == pytest.approx(only(plain), rel=0.1)


# When they are added.


@pytest.mark.backends
@pytest.mark.usefixtures("eagerly")
def test_decays_are_added_in_training_only():
    x = np.where(HOLED[..., None], X, 0.0)
    inner = LSTM(4, return_sequences=True)
    layers = [keras.layers.Masking(), ActivityDecay(inner, **DECAYS), keras.layers.Dense(1)]
    made = keras.Sequential([keras.Input((5, 3)), *layers])
    made.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=JIT_COMPILE[0])
    y = np.ones((4, 5, 1))
    history = made.fit(x, y, validation_data=(x, y), batch_size=4, epochs=2, verbose=0).history
    raw = array(inner(x, mask=keras.ops.convert_to_tensor(HOLED)))
    added = expected(raw, None, HOLED)
    assert history["val_loss"][0] == pytest.approx(made.evaluate(x, y, verbose=0))
    for trained, validated in zip(history["loss"], history["val_loss"], strict=True):
        assert trained - validated == pytest.approx(added, rel=1e-4)


@pytest.mark.backends
@pytest.mark.parametrize("technique", ["none", "concrete"])
@pytest.mark.usefixtures("eagerly")
def test_a_layer_at_two_places_of_a_model_adds_their_mean(technique):
    options = {} if technique == "none" else {"rate": 1e-6, "samples": 1, "tau": 1e12}
    layer = wrap(GRU(4, return_sequences=True), technique, **options, **DECAYS)
    given = [keras.Input((5, 3)) for _ in range(3)]
    made = keras.Model(given, keras.layers.concatenate([layer(each) for each in given]))
    made.compile(keras.optimizers.SGD(0.0), lambda y, out: 0.0 * out, jit_compile=JIT_COMPILE[0])
    inputs = [X, X + 1, 2 * X]
    outputs = np.split(array(made(inputs)), 3, axis=-1)
    trained = float(array(made.train_on_batch(inputs, np.zeros((4, 5, 12)))))
    assert trained == pytest.approx(np.mean([expected(each) for each in outputs]), rel=1e-4)


@pytest.mark.parametrize("trainable", [True, False])
def test_other_losses_of_the_layer_stay(trainable):
    inner = GRU(
        4,
        return_sequences=True,
        activity_regularizer=keras.regularizers.L2(0.1),
        kernel_regularizer=keras.regularizers.L2(0.1),
    )
    layer = ActivityDecay(inner, **DECAYS, trainable=trainable)
    for _ in range(2):
        raw = array(layer(X, training=True))
        own, *others = (float(array(loss)) for loss in layer.losses)
        assert own == pytest.approx(expected(raw), rel=1e-5)
        assert len(others) == 1 + trainable  # Frozen weights have no loss.


# Which layers have them.


@pytest.mark.parametrize("technique", ["none", "concrete", "zoneout"])
def test_files_keep_them(technique, tmp_path):
    rate = {} if technique == "none" else {"rate": 0.2}
    layer = wrap(GRU(4, return_sequences=True), technique, **rate, **DECAYS)
    made = keras.Sequential([keras.Input((5, 3)), layer])
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").layers[0]
    for each in (
        loaded,
        keras.layers.deserialize(keras.layers.serialize(layer)),
        keras.models.clone_model(made).layers[0],
    ):
        assert (each.activity_decay, each.temporal_decay) == (2.0, 1.5)
        assert type(each) is type(layer)
    np.testing.assert_array_equal(array(loaded(X)), array(layer(X)))


def test_inside_a_bidirectional_each_direction_has_its_own():
    both = Bidirectional(wrap(GRU(4, return_sequences=True), "none", **DECAYS))
    raw = array(both(X, training=True))
    losses = [float(array(loss)) for loss in both.losses]
    assert losses == pytest.approx([expected(raw[..., :4]), expected(raw[..., 4:])], rel=1e-5)


def test_without_dropout_and_without_decays_it_is_the_layer_itself():
    layer = LSTM(4, name="encoder")
    assert wrap(layer, "none", activity_decay=0, temporal_decay=0.0) is layer
    decaying = wrap(layer, "none", activity_decay=1)
    assert (type(decaying), decaying.name, decaying.layer) == (ActivityDecay, "encoder", layer)
    assert wrap(LSTM(4), "none", activity_decay=1, name="mine").name == "mine"
    with pytest.raises(InvalidArgumentError, match=r"Remove .*'rate': 0\.2"):
        wrap(layer, "none", rate=0.2, activity_decay=1.0)
