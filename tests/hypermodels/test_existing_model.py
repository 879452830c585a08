"""`ExistingModel` and `dropout_model`: what would fail silently in a copy."""

import os
import pickle

import keras
import keras_tuner as kt
import numpy as np
import pytest
from keras import layers

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.kernels import KERAS_PASSES_MASKS
from recdrop_tune.models import to_plain
from recdrop_tune.wrappers import wrap
from tests.backends import BACKEND, array

DROPS = {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.3}
NONE = {"wrapper": "none"}
X = np.random.default_rng(0).normal(size=(8, 5, 3)).astype("float32")
Y = X.sum((1, 2))


def compiled(model, *args, **kwargs):
    model.compile(*(args or ("adam", "mse")), run_eagerly=True, **kwargs)
    return model


def sequential(*stack):
    return compiled(keras.Sequential([keras.Input((5, 3)), *stack, layers.Dense(1)]))


def functional(stack):
    inputs = keras.Input((5, 3))
    return compiled(keras.Model(inputs, layers.Dense(1)(stack(inputs))))


def build(model, space=DROPS, **kwargs):
    return rdt.ExistingModel(model, space, **kwargs).build(kt.HyperParameters())


def nested(inputs):
    inner = keras.Sequential([keras.Input((5, 3)), layers.GRU(3, return_sequences=True)])
    return layers.GRU(4)(inner(inner(inputs)[..., :3]))


def shared_between_models(inputs):
    lstm, inner = layers.LSTM(3), keras.Input((5, 3))
    return keras.Model(inner, lstm(inner))(inputs) + lstm(inputs)


def masked(inputs):
    return layers.LSTM(4)(layers.Masking(0.0)(inputs * keras.ops.cast(inputs > 0, "float32")))


def states(inputs):
    encoded, *state = layers.LSTM(4, return_state=True, return_sequences=True)(inputs)
    return layers.LSTM(4, name="decoder")(encoded, initial_state=state)


def images(inputs):
    each = keras.Sequential([keras.Input((3, 1)), layers.LSTM(2)])
    return layers.GRU(4)(layers.TimeDistributed(each)(inputs[..., None]))


def tanh(x):
    return 0.1 * x


# Keras 3.16 does not make a `Bidirectional` with a function that nobody registered.
BOTH_WAYS = tanh if KERAS_PASSES_MASKS else "tanh"


class OwnLSTM(layers.LSTM):
    """Computes what its base does."""


def wrapped(inputs):
    first = wrap(layers.LSTM(4, return_sequences=True, name="first"), "weight_drop", rate=0.5)
    return wrap(layers.Bidirectional(layers.GRU(3)), "variational", rate=0.1)(first(inputs))


FORMS = {
    "both ways": (
        lambda: sequential(layers.Bidirectional(layers.GRU(4, activation=BOTH_WAYS))),
        ["bidirectional"],
    ),
    "cells": (
        lambda: sequential(layers.Bidirectional(layers.RNN(layers.LSTMCell(4)))),
        ["bidirectional"],
    ),
    "cell": (lambda: sequential(layers.RNN(layers.GRUCell(4))), ["gru"]),
    "user's tanh": (
        lambda: sequential(layers.LSTM(4, activation=tanh), layers.Lambda(lambda x: 2 * x)),
        ["lstm"],
    ),
    "own class": (lambda: sequential(OwnLSTM(4)), ["ownlstm"]),
    "nested": (lambda: functional(nested), ["gru", "gru_1"]),
    "masked": (lambda: functional(masked), ["lstm"]),
    "states": (lambda: functional(states), ["lstm", "decoder"]),
    "images": (lambda: functional(images), ["lstm", "gru"]),
    "shared": (lambda: functional(shared_between_models), ["lstm"]),
    "wrapped": (lambda: functional(wrapped), ["first", "bidirectional"]),
}

FEWER = ("both ways", "states", "wrapped")
"""Forms that JAX compiles too: the models are made of layers by Keras alone."""


@pytest.mark.backends
@pytest.mark.filterwarnings("ignore:The model has dropout in its recurrent layers")
@pytest.mark.parametrize("form", FORMS if BACKEND == "tensorflow" else FEWER)
def test_a_copy_predicts_the_same_and_the_model_does_not_change(form):
    make, names = FORMS[form]
    model, hp = make(), kt.HyperParameters()
    before = [np.array(weight) for weight in model.get_weights()]
    copy = rdt.ExistingModel(model, DROPS, per_layer=True, keep_weights=True).build(hp)
    assert {row.technique for row in rdt.explain(copy).rows} == {"recurrent"}
    named = [name.removesuffix("/wrapper") for name in hp.values if name.endswith("wrapper")]
    assert named == names
    assert len(copy.weights) == len(before)
    for same in (copy, to_plain(copy)):
        np.testing.assert_allclose(array(same(X)), array(model(X)), atol=1e-6)
    copy.train_on_batch(X, Y)
    assert all(map(np.array_equal, model.get_weights(), before))
    if form == "masked" and KERAS_PASSES_MASKS:  # The layers belong to the graph of the copy alone.
        assert keras.Model(copy.input, copy.layers[-2].output)(X).shape == (8, 4)


def test_names_of_layers_do_not_depend_on_earlier_models():
    names = []
    for made_before in range(2):
        _ = [layers.LSTM(2) for _ in range(made_before)]
        model = sequential(layers.LSTM(2, return_sequences=True), layers.LSTM(2))
        names.append(rdt.ExistingModel(model, NONE).template.names)
    assert names == [["lstm", "lstm_1"]] * 2


@pytest.mark.parametrize(
    "space", [{"wrapper": "concrete"}, {"wrapper": "zoneout", "rate": 0.2, "hidden_rate": 0.1}]
)
def test_one_choice_holds_for_all_layers_of_either_cell(space):
    model = sequential(layers.LSTM(3, return_sequences=True), layers.GRU(3))
    hp = kt.HyperParameters()
    copy = rdt.ExistingModel(model, space).build(hp)
    assert {row.technique for row in rdt.explain(copy).rows} == {space["wrapper"]}
    assert "hidden_rate" not in hp.values  # A GRU has none.
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]


@pytest.mark.backends
@pytest.mark.parametrize("space", [DROPS, NONE], ids=["dropout", "none"])
def test_the_last_layer_has_the_decays(space):
    model = sequential(layers.LSTM(3, return_sequences=True), layers.GRU(3))
    space = {**space, "activity_decay": 2.0}

    def decays(per_layer=False):
        hp = kt.HyperParameters()
        made = rdt.ExistingModel(model, space, per_layer, keep_weights=True).build(hp)
        assert all(map(np.array_equal, made.get_weights(), model.get_weights()))
        return [row.decay for row in rdt.explain(made).rows], hp.values

    assert decays()[0] == ["", "activity 2"]
    found, values = decays(per_layer=True)
    assert found == ["activity 2"] * 2
    assert (values["lstm/activity_decay"], values["gru/activity_decay"]) == (2.0, 2.0)
    space["temporal_decay"] = 1.0
    with pytest.raises(InvalidArgumentError, match="returns only its last step"):
        decays()
    found, values = decays(per_layer=True)
    assert found == ["activity 2, temporal 1", "activity 2"]
    assert "gru/temporal_decay" not in values
    model = sequential(layers.GRU(3))
    with pytest.raises(InvalidArgumentError, match="returns only its last step"):
        decays(per_layer=True)


class Attends(layers.LSTM):
    """Computes something else than its base."""

    def call(self, sequences, initial_state=None, mask=None, training=False):
        return 2 * super().call(sequences, initial_state, mask, training)


def test_a_layer_that_cannot_be_wrapped_keeps_its_dropout():
    model = sequential(Attends(3, dropout=0.4, return_sequences=True), layers.LSTM(3))
    copy = rdt.ExistingModel(model, DROPS).build(kt.HyperParameters())
    assert copy.layers[0].dropout == 0.4
    assert copy.layers[1].rate == 0.3


def test_frozen_layers_and_adapted_layers_keep_their_state():
    words = layers.TextVectorization(output_sequence_length=5)
    weighed = layers.TextVectorization(output_mode="tf_idf")
    scaled = layers.Normalization()
    texts = np.array(["good day", "bad day", "fine"])
    words.adapt(texts), weighed.adapt(texts), scaled.adapt(100 + 7 * X)
    text, numbers = keras.Input((), dtype="string"), keras.Input((5, 3))
    embedding = layers.Embedding(9, 3, mask_zero=True, trainable=False)
    hidden = layers.LSTM(3)(embedding(words(text)) + scaled(numbers))
    model = compiled(keras.Model([text, numbers], layers.Concatenate()([hidden, weighed(text)])))
    hypermodel = rdt.ExistingModel(model, DROPS)
    for made in (hypermodel, pickle.loads(pickle.dumps(hypermodel))):
        copy = made.build(kt.HyperParameters())
        kinds = {type(layer): layer for layer in copy.layers}
        assert np.array_equal(kinds[layers.Embedding].get_weights()[0], embedding.get_weights()[0])
        assert abs(np.mean(kinds[layers.Normalization](100 + 7 * X))) < 0.01
        data = [keras.ops.convert_to_tensor(each) for each in (["good bad", "day"], X[:2])]
        np.testing.assert_allclose(copy(data)[:, 3:], model(data)[:, 3:], rtol=1e-5)
    kept = build(model, keep_weights=True)
    np.testing.assert_allclose(kept(data), model(data), rtol=1e-5)
    np.testing.assert_allclose(to_plain(kept)(data), model(data), rtol=1e-5)


def test_trainable_layers_of_a_frozen_model_are_trainable_in_the_copy():
    stack = [layers.LSTM(3, return_sequences=True), layers.GRU(3), layers.Dense(2)]
    base = keras.Sequential([keras.Input((5, 3)), *stack])
    base.trainable, base.layers[-1].trainable = False, True
    made = build(functional(base))
    shapes = [tuple(each.shape) for each in made.trainable_variables]
    assert shapes == [(3, 2), (2,), (2, 1), (1,)]


def test_a_layer_shared_between_models_is_not_pickled():
    hypermodel = rdt.ExistingModel(functional(shared_between_models), NONE)
    with pytest.raises(InvalidArgumentError, match="share it, which workers cannot load"):
        pickle.dumps(hypermodel)


class Scaled(keras.losses.Loss):
    """A user-defined loss without `get_config`. It has no state, so it is not copied."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def call(self, y_true, y_pred):
        return self.by * keras.ops.mean(keras.ops.square(y_true - y_pred), -1)


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("loss", "policy"),
    [
        (keras.losses.Huber(0.01), "float32"),
        (Scaled(3.0), "float32"),
        (lambda y, p: keras.ops.abs(y - p), "float32"),
        ("mse", "mixed_float16"),
    ],
    indirect=["policy"],
)
@pytest.mark.usefixtures("policy")
def test_a_copy_trains_as_the_model(loss):
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.ExponentialDecay(0.02, 1, 0.5), 50.0
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "recurrent"])
    if keras.config.dtype_policy().name == "mixed_float16":
        # As Keras does, but with a scale at which no step is left out.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0)
    error = keras.metrics.MeanMetricWrapper(keras.losses.Huber(0.1), name="error")
    model = compiled(sequential(layers.LSTM(3)), optimizer, loss, metrics=["mae", error])
    copy = build(model, NONE, keep_weights=True)
    one, other = (
        each.fit(X, Y, epochs=3, shuffle=False, verbose=0).history for each in (model, copy)
    )
    assert one == other
    assert all(map(np.array_equal, model.get_weights(), copy.get_weights()))
    assert type(copy.optimizer) is type(model.optimizer)


def bent(x):
    return keras.ops.where(x > 0, x, 0.1 * x)


def test_losses_and_functions_are_pickled():
    stack = [
        layers.Bidirectional(layers.LSTM(3, activation=BOTH_WAYS)),
        layers.Dense(3, activation=bent),
    ]
    model = compiled(sequential(*stack), "sgd", keras.losses.Huber(0.01))
    sent = pickle.loads(pickle.dumps(rdt.ExistingModel(model, NONE, keep_weights=True)))
    scores = [each.evaluate(X, Y, verbose=0) for each in (model, sent.build(kt.HyperParameters()))]
    assert scores[0] == pytest.approx(scores[1])


def test_dropout_of_the_model_is_removed_with_a_warning():
    first = wrap(layers.LSTM(4, return_sequences=True, name="first"), "weight_drop", rate=0.5)
    model = sequential(first, layers.Bidirectional(layers.GRU(3, dropout=0.2, name="second")))
    with pytest.warns(UserWarning, match=r"first \(WeightDropWrapper\), second \(dropout=0.2\)"):
        copy = build(model, NONE)
    assert [type(layer) for layer in copy.layers[:2]] == [layers.LSTM, layers.Bidirectional]
    assert copy.layers[1].backward_layer.dropout == 0


@pytest.mark.backends
@pytest.mark.parametrize("given", ["auto", False])
def test_jit_compile_is_chosen_again_for_the_copy(given):
    model, usual = (keras.Sequential([keras.Input((5, 3)), layers.LSTM(3)]) for _ in range(2))
    model.compile("adam", "mse", jit_compile=given)
    usual.compile("adam", "mse")
    found = rdt.ExistingModel(model, NONE).template.compiled["jit_compile"]
    assert found == ("auto" if given in ("auto", usual.jit_compile) else given)


def test_dropout_model_in_a_build_function(recwarn):
    def build(hp):
        units = hp.Choice("units", [2, 3])
        recurrent = layers.GRU(units, dropout=units / 10)
        model = keras.Sequential([keras.Input((5, 3)), recurrent, layers.Dense(1)])
        return rdt.dropout_model(hp, model, {"wrapper": ["none", "recurrent"], "rate": 0.2})

    for units, wrapper in ((2, "none"), (3, "recurrent")):
        hp = kt.HyperParameters()
        hp.values |= {"units": units, "wrapper": wrapper}
        model = build(hp)
        assert not model.compiled
        assert rdt.explain(model).rows[0].technique == wrapper
    # Every trial calls it: one warning is enough.
    (warning,) = [each for each in recwarn if "It is removed" in str(each.message)]
    assert os.path.samefile(warning.filename, __file__)


# What cannot be copied.


class Trains(keras.Sequential):
    def train_step(self, data):
        return {"loss": 0.0}


class Hides(layers.Layer):
    def build(self, shape):
        self.lstm = layers.LSTM(3)
        self.lstm.build(shape)

    def call(self, inputs):
        return self.lstm(inputs)


def excludes_variables():
    model, optimizer = sequential(layers.LSTM(3)), keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_list=model.trainable_variables[:1])
    return compiled(model, optimizer, "mse")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: compiled(Trains([keras.Input((5, 3)), layers.LSTM(3)])), "is a subclassed model"),
        (lambda: sequential(Hides()), "hides a recurrent layer"),
        (lambda: sequential(layers.SimpleRNN(3)), "at least one LSTM or GRU layer"),
        (lambda: keras.Sequential([layers.LSTM(3)]), "not compiled"),
        (excludes_variables, "Use names instead"),
    ],
)
def test_what_cannot_be_copied_is_refused(make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.ExistingModel(make(), NONE)


def test_a_space_of_more_than_dropout_and_missing_weights_are_refused():
    with pytest.raises(InvalidArgumentError, match="one with units"):
        build(sequential(layers.LSTM(3)), {"wrapper": "none", "units": [16, 32]})
    with pytest.raises(InvalidArgumentError, match="a model that has weights"):
        build(compiled(keras.Sequential([layers.LSTM(3)])), NONE, keep_weights=True)
