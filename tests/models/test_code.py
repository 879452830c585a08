"""`model_code`: source that, run, gives the same model."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, RecdropError
from recdrop_tune.kernels import KERAS_HANDS_ON_MASKS
from recdrop_tune.models import model_code
from recdrop_tune.wrappers import EmbeddingDropout, LockedDropout, wrap

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
TOKENS = np.random.default_rng(0).integers(0, 9, (4, 5))


def run(code):
    names = {}
    exec(compile(code, "model.py", "exec"), names)
    return names["model"]


def described(value):
    """A configuration without the names that Keras makes, and without what follows from the data."""
    if isinstance(value, dict):
        kept = {
            k: described(v) for k, v in value.items() if k not in ("build_config", "keras_history")
        }
        return {k: v for k, v in kept.items() if k != "name"}
    if isinstance(value, list | tuple):
        if [type(part) for part in value] == [str, int, int]:
            return list(value[1:])
        return [described(part) for part in value]
    return value


def assert_same(model, x):
    """The code gives the same layers with the same arguments and, with the weights, the same predictions."""
    code = model_code(model)
    made = run(code)
    assert described(made.get_config()) == described(model.get_config()), code
    assert described(made.get_compile_config()) == described(model.get_compile_config())
    assert max(map(len, code.splitlines())) <= 88
    made.set_weights(model.get_weights())
    outputs = zip(*(keras.tree.flatten(each(x)) for each in (model, made)), strict=True)
    for one, other in outputs:
        np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(each) for each in (one, other)))
    return code


SPACES = {
    "plain": {"wrapper": "none", "units": 4},
    "masked": {
        "wrapper": "variational",
        "placement": "input+recurrent",
        "rate": {"input": 0.1, "recurrent": 0.25},
        "units": 4,
        "layers": 2,
        "bidirectional": True,
        "locked_rate": 0.2,
    },
    "options": {"wrapper": "recurrent", "rate": 0.3, "per_step": False, "cell": "gru", "units": 4},
    "decays": {"wrapper": "none", "units": 4, "activity_decay": 2.0, "bidirectional": True},
    "zoneout": {"wrapper": "zoneout", "rate": 0.1, "hidden_rate": 0.05, "units": 4},
}


@pytest.mark.parametrize("space", SPACES)
def test_classifiers(space):
    mask = 0.0 if space == "masked" else None
    options = {"mask_value": mask, "metrics": ["accuracy"]}
    space = {**SPACES[space], "learning_rate": 0.00123}
    model = rdt.SequenceClassifier(3, (5, 3), space, **options).build(kt.HyperParameters())
    code = assert_same(model, X)
    assert "learning_rate=0.00123)" in code
    assert ", mask=" not in code or not KERAS_HANDS_ON_MASKS
    assert "zero_output_for_mask" not in code  # A Bidirectional sets it.


def test_a_regressor_and_a_tagger():
    for hypermodel in (
        rdt.SequenceRegressor((4, 2), (None, 3), SPACES["options"], loss="huber"),
        rdt.SequenceTagger(3, (5, 3), SPACES["masked"], mask_value=0.0),
    ):
        assert_same(hypermodel.build(kt.HyperParameters()), X)


@pytest.mark.parametrize("tied", [False, True])
def test_language_models(tied):
    space = {**SPACES["options"], "embedding_rate": 0.1, "locked_rate": {"output": 0.2}}
    space |= {"activity_decay": 2.0, "temporal_decay": 1.5}
    made = rdt.LanguageModel(9, space, tie_weights=tied, mask_zero=True, embedding_units=3)
    code = assert_same(made.build(kt.HyperParameters()), TOKENS)
    assert "from recdrop_tune.hypermodels import Perplexity\n" in code
    assert "ignore_class=0" in code
    assert "temporal_decay=1.5" in code
    assert "LockedDropout(0.2, activity_decay=2.0)(x)" in code


@pytest.mark.backends
def test_the_code_of_a_sequential_model():
    """As a person would write it: to the letter."""
    layer = wrap(keras.layers.LSTM(8, return_sequences=True), "recurrent", rate=0.3)
    side = wrap(keras.layers.GRU(4), "variational", rate=0.2, placement="input+recurrent")
    layers = [keras.Input((None, 3)), LockedDropout(0.1), layer, keras.layers.Bidirectional(side)]
    model = keras.Sequential([*layers, keras.layers.Dense(1, "tanh", name="score")], name="mine")
    model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.1), "mse", metrics=["mae"])
    assert assert_same(model, X) == (
        """\
import keras
from recdrop_tune.wrappers import (
    LockedDropout,
    RecurrentDropoutWrapper,
    VariationalDropoutWrapper,
)

model = keras.Sequential(
    [
        keras.Input((None, 3)),
        LockedDropout(0.1),
        RecurrentDropoutWrapper(keras.layers.LSTM(8, return_sequences=True), rate=0.3),
        keras.layers.Bidirectional(
            VariationalDropoutWrapper(
                keras.layers.GRU(4),
                rate=0.2,
                placement="input+recurrent",
            ),
        ),
        keras.layers.Dense(1, activation="tanh", name="score"),
    ],
    name="mine",
)
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=0.01, weight_decay=0.1),
    loss="mse",
    metrics=["mae"],
)
"""
    )


def test_a_graph():
    """Several inputs and outputs, a shared layer, states, a nested model, operations and slices."""
    inner_in = keras.Input((5, 4))
    inner = keras.Sequential([keras.Input((5, 4)), keras.layers.Dense(4, "relu")], name="inner")
    deep = keras.Model(inner_in, inner(inner_in) * 2.0, name="class")
    sequences, tokens = (
        keras.Input((5, 3), name="x"),
        keras.Input((5,), dtype="int32", name="tokens"),
    )
    words = EmbeddingDropout(keras.layers.Embedding(9, 3), 0.2)(tokens)
    shared = wrap(keras.layers.LSTM(4, return_sequences=True), "recurrent", rate=0.3)
    one, other = shared(sequences), shared(words)
    encoder = keras.layers.LSTM(4, return_state=True, return_sequences=True, name="encoder")
    encoded, *states = encoder(one)
    decoder = wrap(keras.layers.LSTM(4), "native", rate=0.1, name="decoder")
    decoded = decoder(deep(other), initial_state=states)
    inputs = {"x": sequences, "tokens": tokens}
    outputs = {"a": decoded, "b": [keras.ops.sum(encoded[:, 1:-1], axis=1), encoded[..., 0]]}
    model = keras.Model(inputs, outputs)
    code = assert_same(model, {"x": X, "tokens": TOKENS})
    assert "encoder[0][:, 1:-1]" in code
    assert "initial_state=[encoder[1], encoder[2]]" in code


def test_what_is_used_twice_keeps_its_name():
    inputs = keras.Input((3,))
    one = keras.layers.Dense(3, name="one")(inputs)
    two = keras.layers.Dense(3, name="two")(one)
    three = keras.layers.Dense(3, name="three")(two)
    model = keras.Model(inputs, [keras.layers.Add(name="sum")([one, two]), three])
    assert_same(model, X[:, 0])
    assert_same(keras.Model(inputs, [one, three]), X[:, 0])


def test_what_is_no_default():
    """Objects as arguments, a learning rate that decays, losses with weights."""
    inputs = keras.Input(batch_shape=(4, 5, 3), name="input", dtype="float64")
    hidden = keras.layers.Dense(
        2,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.2, seed=1),
        kernel_regularizer=keras.regularizers.L2(1e-4),
        dtype="float64",
    )(inputs)
    scaled = keras.layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 4.0])(hidden)
    model = keras.Model(inputs, [keras.layers.Dense(1, name="a")(scaled), scaled])
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9)
    model.compile(
        keras.optimizers.SGD(decay, momentum=0.9),
        ["mse", keras.losses.Huber(delta=2.0)],
        loss_weights=[1.0, 0.5],
        steps_per_execution=2,
    )
    code = assert_same(model, X)
    assert "batch_shape=(4, 5, 3)" in code
    assert "L2(0.0001)" in code or "L2(l2=0.0001)" in code


def attention():
    inputs = keras.Input((5, 3))
    hidden = wrap(keras.layers.GRU(4, return_sequences=True), "time_distributed", rate=0.2)(
        keras.layers.Masking()(inputs)
    )
    mixed = keras.layers.MultiHeadAttention(2, 4)(hidden, hidden)
    normal = keras.layers.LayerNormalization()(mixed + hidden)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(normal))


def residual():
    inputs = keras.Input((5, 3))
    x = keras.layers.Conv1D(4, 3, padding="same", activation="gelu")(inputs)
    y = keras.layers.BatchNormalization()(keras.layers.Dropout(0.3)(x))
    both = keras.ops.concatenate([keras.layers.add([x, y]), inputs], axis=-1)
    return keras.Model(inputs, -(1.0 - keras.ops.mean(both, axis=1)) / 2)


def stacked():
    cells = [keras.layers.LSTMCell(3), keras.layers.GRUCell(2)]
    rnn = keras.layers.RNN(cells, return_sequences=True)
    each = keras.layers.TimeDistributed(keras.layers.Dense(2))
    return keras.Sequential([keras.Input((5, 3)), rnn, each, keras.layers.Flatten()])


def two_directions():
    sides = [keras.layers.LSTM(3, return_sequences=True, activation=a) for a in ("relu", "tanh")]
    back = keras.layers.LSTM(3, return_sequences=True, go_backwards=True, activation="sigmoid")
    layer = keras.layers.Bidirectional(sides[0], merge_mode="sum", backward_layer=back)
    same = keras.layers.Bidirectional(sides[1])
    return keras.Sequential([keras.Input((5, 3)), layer, same])


@pytest.mark.parametrize("make", [attention, residual, stacked, two_directions])
def test_models_of_many_kinds(make):
    code = assert_same(make(), X)
    assert code.count("backward_layer=") == (make is two_directions)
    assert "zero_output_for_mask" not in code


def test_dropout_that_is_always_on_stays_on():
    inputs = keras.Input((5, 3))
    always = keras.layers.Dropout(0.5, seed=1)(inputs, training=True)
    code = model_code(keras.Model(inputs, [always, keras.layers.Dropout(0.5)(inputs)]))
    assert "keras.layers.Dropout(0.5, seed=1)(inputs, training=True)" in code
    assert "keras.layers.Dropout(0.5)(inputs)\n" in code


def test_what_is_not_compiled_or_built():
    model = keras.Sequential([wrap(keras.layers.LSTM(2), "lambda", rate=0.3, placement="output")])
    code = model_code(model)
    assert "compile" not in code
    assert "Input" not in code
    assert run(code)(X).shape == (4, 2)


def test_arguments_that_keras_does_not_write_down():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(
        "adam", keras.losses.Huber(0.01), metrics=[keras.metrics.CosineSimilarity(axis=0)]
    )
    code = model_code(model)
    assert "loss=keras.losses.Huber(delta=0.01)" in code
    assert "keras.metrics.CosineSimilarity(axis=0)" in code


def test_names_that_are_those_of_classes():
    inputs = keras.Input((4, 3))
    dropped = LockedDropout(0.1, name="LockedDropout")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, name="x²")(dropped + keras.ops.abs(dropped)))
    names = {}
    exec(model_code(model), names)
    assert names["model"].output_shape == model.output_shape


def test_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        code = model_code(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    finally:
        keras.config.set_dtype_policy("float32")
    assert 'keras.config.set_dtype_policy("mixed_float16")' in code.splitlines()


class Mine(keras.layers.Layer):
    """A layer that can be imported from here."""

    def __init__(self, times, **kwargs):
        super().__init__(**kwargs)
        self.times = times

    def call(self, inputs):
        return inputs * self.times

    def get_config(self):
        return {**super().get_config(), "times": self.times}


def test_a_custom_layer_is_imported():
    code = assert_same(keras.Sequential([keras.Input((5, 3)), Mine(3)]), X)
    assert "from tests.models.test_code import Mine\n" in code
    assert "        Mine(3),\n" in code or "Mine(3)]" in code


def local_layer():
    class Hidden(Mine):
        pass

    return keras.Sequential([keras.Input((5, 3)), Hidden(3)])


class Unconfigured(keras.layers.Layer):
    def __init__(self, times):
        super().__init__()
        self.times = times

    def call(self, inputs):
        return inputs


def local_noise():
    def noise(shape, rate, seed):
        return keras.ops.ones(shape)

    layer = wrap(keras.layers.GRU(3), "lambda", rate=0.3, function=noise)
    return keras.Sequential([keras.Input((5, 3)), layer])


def local_loss():
    def loss(y, predicted):
        return keras.ops.mean(predicted)

    model = keras.Sequential([keras.Input((5, 3)), keras.layers.Dense(1)])
    model.compile("adam", loss)
    return model


class Sub(keras.Model):
    def call(self, inputs):
        return inputs


def a_lambda():
    return keras.Sequential([keras.Input((5, 3)), keras.layers.Lambda(lambda x: 2 * x)])


def relu(x):
    return 2 * x


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (a_lambda, "for a lambda: Keras cannot make it"),
        (
            lambda: keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(2, relu)]),
            "for `relu`: Keras takes it for its own",
        ),
        (local_layer, r"for `local_layer\.<locals>\.Hidden`: it cannot be imported from"),
        (
            lambda: keras.Sequential([Unconfigured(object())]),
            "for `Unconfigured`: it has no `get_config`",
        ),
        (local_noise, "noise"),
        (local_loss, "for `local_loss.<locals>.loss`: it cannot be imported"),
        (
            lambda: keras.Sequential([keras.Input((5, 3)), Sub(name="sub")]),
            "for the model `sub`: it is a subclass",
        ),
        (
            lambda: keras.Sequential(
                [
                    keras.Input((99,)),
                    keras.layers.Normalization(mean=[1.0] * 99, variance=[1.0] * 99),
                ]
            ),
            "for a list of 99: it is data",
        ),
    ],
    ids=["lambda", "function", "layer", "no configuration", "noise", "loss", "model", "numbers"],
)
def test_what_cannot_be_written(make, what):
    with pytest.raises(RecdropError, match=what):
        model_code(make())


@pytest.mark.parametrize("model", [Sub(), keras.layers.Dense(1), "lstm"], ids=str)
def test_no_such_model(model):
    with pytest.raises(InvalidArgumentError, match="a Sequential or functional Keras model"):
        model_code(model)


def inner_models():
    sequential = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(2)])
    inputs = keras.Input((2,), name="steps")
    functional = keras.Model(inputs, keras.layers.Dense(2)(inputs), name="functional")
    inputs = keras.Input((5, 3))
    x = keras.layers.TimeDistributed(functional)(keras.layers.TimeDistributed(sequential)(inputs))
    return keras.Model(inputs, keras.layers.LSTM(4)(x))


def test_models_in_a_wrapper():
    code = assert_same(inner_models(), X)
    assert "x = keras.layers.TimeDistributed(functional)(x)\n" in code


def test_layers_that_learn_from_data_say_so():
    known = keras.layers.Normalization(mean=1.0, variance=4.0)
    learning = keras.layers.Normalization(name="scaled")
    learning.adapt(X)
    model = keras.Sequential([keras.Input((5, 3)), known, learning, keras.layers.LSTM(2)])
    comment = "# Call `{}.adapt(...)` first: what it has learned of data is not here.\n"
    code = model_code(model)
    assert f"\n{comment.format('model.layers[1]')}model = keras.Sequential(\n" in code
    assert code.count("#") == 1
    run(code).layers[1].adapt(X)
    inputs = keras.Input((5, 3))
    code = model_code(keras.Model(inputs, keras.layers.LSTM(2)(learning(known(inputs)))))
    assert f"\n{comment.format('scaled')}scaled = keras.layers.Normalization(" in code
    names = {}
    exec(code, names)
    names["scaled"].adapt(X)
    np.testing.assert_allclose(np.array(names["scaled"](X)), np.array(learning(X)), rtol=1e-5)
