"""`to_plain`: the same model in stock layers, with the same predictions."""

import keras
import numpy as np
import pytest

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.models import to_plain, walk
from recdrop_tune.wrappers import EmbeddingDropout, LockedDropout, RecurrentDropoutWrapper, wrap
from tests.backends import array

X = np.random.default_rng(0).normal(size=(4, 5, 2)).astype("float32")


def sequential(*stack):
    return keras.Sequential([keras.Input((5, 2)), *stack])


def dropping(layer, rate=0.3, **options):
    return RecurrentDropoutWrapper(layer, rate, **options)


def assert_same(model, plain, x=X):
    assert not [part for part in walk(plain) if type(part).__module__.startswith("recdrop_tune")]
    expected, found = (keras.tree.map_structure(array, each(x)) for each in (model, plain))
    np.testing.assert_equal(found, expected)
    mine = {id(variable) for variable in model.variables}
    assert not [variable for variable in plain.variables if id(variable) in mine]


def names_of(model):
    return [layer.name for layer in model.layers]


@pytest.mark.parametrize(
    ("wrapper", "bidirectional"),
    [("variational", "no"), ("native", "inside"), ("weight_drop", "outside"), ("concrete", "no")],
)
def test_every_wrapper(wrapper, bidirectional):
    layer = keras.layers.GRU(3, name="rnn")
    if bidirectional == "inside":
        layer = keras.layers.Bidirectional(layer, merge_mode="sum")
    layer = wrap(layer, wrapper, rate=0.3, name="drops")
    if bidirectional == "outside":
        layer = keras.layers.Bidirectional(layer, name="drops")
    model = sequential(layer, keras.layers.Dense(1))
    model.compile("adam", "mse")
    plain = to_plain(model)
    assert (model.compiled, plain.compiled) == (True, False)
    assert_same(model, plain)
    assert type(plain.get_layer("drops")).__module__.startswith("keras.")
    assert names_of(plain) == names_of(model)


class Scale(keras.layers.Layer):
    """A layer that is not registered."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="random_normal")

    def call(self, inputs):
        return inputs * self.factor


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.rnn = dropping(keras.layers.LSTM(3))

    def call(self, inputs):
        return self.rnn(inputs)


def named(name, slope):
    def function(x):
        return slope * x

    function.__name__ = name
    return function


NAMED = [("relu", 2.0), ("bent", 2.0), ("bent", 3.0)]


@pytest.mark.backends
@pytest.mark.parametrize(
    "make",
    [
        lambda: sequential(Scale(), dropping(keras.layers.LSTM(3))),
        # Keras saves the first function as its own, and confuses the other two.
        lambda: sequential(*(keras.layers.Dense(2, named(*each)) for each in NAMED)),
        lambda: keras.Sequential([dropping(keras.layers.LSTM(3))]),
    ],
    ids=["own layer", "functions", "no input"],
)
def test_a_copy_predicts_the_same(make):
    model = make()
    model(X)
    assert_same(model, to_plain(model))


def nested_model():
    inner_in = keras.Input((None, 3))
    inner_out = dropping(keras.layers.GRU(3, return_sequences=True))(inner_in)
    inner = keras.Model(inner_in, inner_out, name="inner")
    tokens = keras.Input((4, 5), dtype="int32", name="tokens")
    embedding = EmbeddingDropout(keras.layers.Embedding(9, 3, mask_zero=True), 0.1, name="words")
    ids = keras.Input((5,), dtype="int32")
    each = keras.Sequential([ids, embedding, wrap(keras.layers.LSTM(3), "native", rate=0.3)])
    hidden = keras.layers.TimeDistributed(each)(tokens)
    hidden = keras.layers.Add()([inner(hidden), inner(inner(hidden))])
    state = dropping(keras.layers.LSTM(3, return_state=True))(hidden)
    outputs = {"sum": keras.layers.Add()(list(state)), "first": keras.layers.Dense(2)(state[0])}
    return keras.Model({"tokens": tokens}, outputs)


@pytest.mark.backends
def test_nested_shared_and_time_distributed():
    model = nested_model()
    plain = to_plain(model)
    assert_same(model, plain, {"tokens": np.random.default_rng(0).integers(0, 9, (2, 4, 5))})
    assert len(plain.weights) == len(model.weights)
    assert len(plain.layers) == len(model.layers)
    assert isinstance(plain.get_layer("inner"), keras.Model)


@pytest.mark.backends
def test_decays_are_left_out():
    inputs = keras.Input((None, 2))
    hidden = keras.layers.Masking()(inputs)
    decays = {"activity_decay": 2.0, "temporal_decay": 1.0}
    for wrapper, rate in (("none", {}), ("recurrent", {"rate": 0.2})):
        hidden = wrap(keras.layers.GRU(3, return_sequences=True), wrapper, **rate, **decays)(hidden)
    both = keras.layers.Bidirectional(wrap(keras.layers.LSTM(2), "none", activity_decay=1.0))
    hidden = LockedDropout(0.2, activity_decay=2.0)(hidden)
    model = keras.Model(inputs, both(hidden))
    plain = to_plain(model)
    kinds = [type(layer).__name__ for layer in plain.layers]
    assert kinds[-4:] == ["GRU", "GRU", "Identity", "Bidirectional"]
    x = np.where(np.arange(4)[None, :, None] < 2, 0.0, X[:, :4]).astype("float32")
    assert_same(model, plain, x)
    assert plain(x, training=True) is not None
    assert plain.losses == []


def test_names_that_were_given_are_kept():
    lstm, gru = keras.layers.LSTM, keras.layers.GRU
    side = dropping(lstm(3, return_sequences=True, name="side"))
    model = sequential(
        dropping(lstm(3, return_sequences=True, name="of_layer")),
        dropping(lstm(3, return_sequences=True), name="of_wrapper"),
        dropping(gru(3, return_sequences=True, name="inner"), name="outer"),
        keras.layers.Bidirectional(side, name="both"),
        LockedDropout(0.2),
    )
    plain = to_plain(model)
    names = ["of_layer", "of_wrapper", "outer", "both", model.layers[-1].name]
    assert names_of(plain) == names_of(model) == names
    assert plain.get_layer("both").forward_layer.name == "forward_side"
    assert_same(model, plain)


def test_names_are_unique_and_a_functional_model_is_connected_by_the_new_ones():
    """Two wrapped layers and a plain one are called alike, as after `clear_session`; one is shared."""
    inputs = keras.Input((None, 2), name="x")
    plain_one = keras.layers.LSTM(2, return_sequences=True, name="lstm_1")
    shared = dropping(keras.layers.LSTM(2, return_sequences=True))
    other = dropping(keras.layers.LSTM(2, return_state=True))
    shared.layer.name = other.layer.name = "lstm"
    first = shared(inputs)
    second = shared(plain_one(first))
    last, *states = other(second)
    model = keras.Model({"x": inputs}, {"all": second, "states": states, "last": [last]})
    plain = to_plain(model)
    assert names_of(plain) == ["x", "lstm", "lstm_1", "lstm_2"]
    assert plain.get_layer("lstm").return_sequences
    assert plain.get_layer("lstm_2").return_state
    assert_same(model, plain, {"x": X})


@pytest.mark.backends
def test_a_single_layer():
    built = dropping(keras.layers.LSTM(3, go_backwards=True), name="w")
    built(X)
    plain = to_plain(built)
    assert type(plain) is keras.layers.LSTM
    assert (plain.name, plain.go_backwards) == ("w", True)
    assert_same(built, plain)
    assert not to_plain(dropping(keras.layers.GRU(3))).built
    assert type(to_plain(keras.layers.Dense(2))) is keras.layers.Dense


def expecting(technique, rate):
    return sequential(wrap(keras.layers.LSTM(3), technique, rate=rate, name="z"))


@pytest.mark.backends
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Subclassed, "Subclassed is a subclassed model"),
        (lambda: expecting("zoneout", 0.1), r"Expected a model without `zoneout`.*model='z'"),
        (lambda: expecting("update", 0.1), r"Expected a model without `update`.*model='z'"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        to_plain(make())


def test_zoneout_that_is_switched_off_is_no_obstacle():
    model = expecting("zoneout", 0.0)
    np.testing.assert_allclose(array(model(X)), array(to_plain(model)(X)), rtol=1e-5, atol=1e-6)
