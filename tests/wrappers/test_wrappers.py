"""Wrappers in models, as Keras users use recurrent layers, and the errors for bad arguments."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.kernels import call_layer
from recdrop_tune.rewrites import drop_gate_inputs
from recdrop_tune.wrappers import (
    LambdaDropoutWrapper,
    NativeDropoutWrapper,
    RecurrentDropoutWrapper,
    ZoneoutWrapper,
    wrap,
)
from tests.backends import TRACES_EACH_STEP, Traced, array
from tests.laws.cases import (
    ONE_EACH,
    SLOWLY,
    WIDEST,
    learns_rates,
    make_wrapper,
    over,
    wrapper_id,
)

X = np.random.default_rng(0).normal(size=(8, 5, 2)).astype("float32")
Y = X.sum(axis=(1, 2), keepdims=False)[:, None]
KINDS = (keras.layers.LSTM, keras.layers.GRU)


# XLA takes 20 seconds. Without it each wrapper trains in law 6, and on JAX all are compiled by it.
@pytest.mark.heavy
@over(("wrapper",), [(w,) for w in WIDEST], few=[(w,) for w in ONE_EACH if w[0] == "recurrent"])
def test_xla_compiles_a_model_of_unknown_batch_and_length(wrapper):
    wrapped = make_wrapper(keras.layers.LSTM(3), wrapper)
    model = keras.Sequential([keras.Input((None, 2)), wrapped, keras.layers.Dense(1)])
    model.compile("adam", "mse", jit_compile=True)
    # XLA compiles each size of batch anew, which takes seconds.
    given = {"x": X[:6], "y": Y[:6], "batch_size": 3, "verbose": 0}
    assert np.isfinite(model.fit(**given, epochs=2).history["loss"]).all()
    model.optimizer.learning_rate = 0.0
    again = model.fit(**given, epochs=3, shuffle=False).history["loss"]
    assert len(set(again)) == 3  # New masks in each step.
    assert model(X[:, :3]).shape == (8, 1)


EACH_WIDEST = over(
    ("wrapper", "kind"),
    itertools.product(WIDEST, KINDS),
    backends=lambda wrapper, kind: wrapper in ONE_EACH,
    few=zip(WIDEST, itertools.cycle(KINDS)),
)


@EACH_WIDEST
def test_a_sample_without_a_valid_step_keeps_its_states(wrapper, kind):
    layer = make_wrapper(kind(4, return_state=True), wrapper)
    states = [ops.ones((8, 4)) for _ in range(2 if kind is keras.layers.LSTM else 1)]
    mask = np.arange(8)[:, None] % 2 == np.zeros(5)
    _, *kept = layer(X, mask=mask, initial_state=states, training=True)
    for state in kept:
        np.testing.assert_array_equal(array(state)[1::2], 1)


@EACH_WIDEST
def test_a_mask_may_have_an_axis_of_features(wrapper, kind):
    layer, mask = kind(4, return_sequences=True), X[..., 0] > -0.5
    first, second = (
        array(make_wrapper(layer, wrapper)(X, mask=each, training=True))
        for each in (mask, mask[..., None])
    )
    np.testing.assert_array_equal(first, second)


@EACH_WIDEST
def test_integers_are_dropped_and_scaled_as_floats_are(wrapper, kind):
    layer, counts = kind(4), np.round(3 * X).astype("int32")
    first, second = (
        array(make_wrapper(layer, wrapper)(each, training=True))
        for each in (counts, counts.astype("float32"))
    )
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.backends
@pytest.mark.parametrize("wrapper", SLOWLY, ids=wrapper_id)
def test_a_new_rate_needs_no_new_trace(wrapper):
    technique_id, placement, options = wrapper
    options = {name: value for name, value in options.items() if name != "hidden_rate"}  # quiet
    rate = 1e-9 if learns_rates(wrapper) else 0.0
    layer = wrap(keras.layers.LSTM(4), technique_id, placement=placement, rate=rate, **options)
    traced = Traced()
    model = keras.Sequential([keras.Input((5, 2)), layer, traced, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    quiet = [model.train_on_batch(X, Y) for _ in range(2)]
    traced.times = 0
    layer.rate = 0.6
    noisy = [model.train_on_batch(X, Y) for _ in range(2)]
    assert traced.times == (2 if TRACES_EACH_STEP else 0)
    assert quiet[0] == pytest.approx(quiet[1], rel=1e-6)
    assert noisy[0] != pytest.approx(quiet[0], rel=1e-4)
    assert noisy[0] != pytest.approx(noisy[1], rel=1e-4)


def test_native_has_the_equations_of_keras():
    """The same masks, given to Keras's own layer and to the wrapper, give the same result."""
    for kind, gates in ((keras.layers.LSTM, 4), (keras.layers.GRU, 3)):
        own = kind(4, dropout=0.3, recurrent_dropout=0.4, return_sequences=True, seed=1)
        own(X)
        plain = kind(4, return_sequences=True)
        plain.build(X.shape)
        plain.set_weights(own.get_weights())
        inputs = own.cell.get_dropout_mask(ops.array(X[:, 0]))
        states = own.cell.get_recurrent_dropout_mask(ops.zeros((8, 4)))
        wrapped = NativeDropoutWrapper(plain, rate=0.5, placement="input+recurrent")
        assert len(inputs) == len(states) == gates
        got = call_layer(
            wrapped.layer,
            X,
            rewrite=lambda c, i=inputs, s=states: drop_gate_inputs(c, ops.stack(i), ops.stack(s)),
        )
        own.cell.get_dropout_mask(ops.array(X[:, 0]))  # the cell keeps its masks until a call ends
        np.testing.assert_allclose(array(own(X, training=True)), array(got), rtol=1e-5, atol=1e-6)


def test_activity_regularizer_counts_in_training_too():
    layer = keras.layers.LSTM(4, activity_regularizer=keras.regularizers.L2(0.1))
    wrapped = RecurrentDropoutWrapper(layer, rate=0.0)
    losses = []
    for training in (False, True):
        model = keras.Sequential([wrapped])
        model(X, training=training)
        losses.append([float(array(loss)) for loss in model.losses])
    assert len(losses[0]) == 1
    assert losses[0] == pytest.approx(losses[1])


class OddLSTM(keras.layers.LSTM):
    def call(self, sequences, **kwargs):
        return super().call(sequences, **kwargs) + 1


class OddCell(keras.layers.GRUCell):
    def call(self, sequences, states, training=False):
        output, states = super().call(sequences, states, training=training)
        return output + 1, states


@keras.saving.register_keras_serializable("tests")
class OddGRU(keras.layers.GRU):
    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.cell = OddCell(units)


class OddBidirectional(keras.layers.Bidirectional):
    def call(self, sequences, **kwargs):
        return super().call(sequences, **kwargs) + 1


LSTM, GRU, Bidirectional = keras.layers.LSTM, keras.layers.GRU, keras.layers.Bidirectional
RNN = keras.layers.RNN
RATE = r"argument `rate`\. Expected 0 <= rate < 1.*Received: rate="
LAYER = r"argument `layer`\. Expected a `keras\.layers\.LSTM`, a "
UNKNOWN = "with its own `call`, `inner_loop` or cell is unknown"
UNSAFE = {"class_name": "function", "module": "os", "config": "system", "registered_name": "x"}
WRAPPED = RecurrentDropoutWrapper(LSTM(4), 0.3)


@pytest.mark.parametrize(
    ("layer", "wrapper", "options", "message"),
    [
        (LSTM(4), "recurrent", {"rate": 1.0}, RATE),
        (LSTM(4), "recurrent", {"rate": {"input": 0.1}, "placement": "input+output"}, "one rate"),
        (LSTM(4), "time_distributed", {"placement": "recurrent"}, "`placement`.*input, output"),
        (LSTM(4), "recurrent", {"placement": "input+input"}, "`placement`"),
        (keras.layers.SimpleRNN(4), "recurrent", {}, LAYER),
        (Bidirectional(keras.layers.SimpleRNN(4)), "recurrent", {}, LAYER),
        (OddLSTM(4), "recurrent", {}, UNKNOWN),
        (Bidirectional(OddGRU(4)), "recurrent", {}, UNKNOWN),
        (OddBidirectional(LSTM(4)), "recurrent", {}, UNKNOWN),
        (LSTM(4, dropout=0.2), "recurrent", {}, "Expected a layer without its own dropout"),
        (WRAPPED, "time_distributed", {}, "One wrapper can drop at several sites"),
        (LSTM(4), "zonout", {}, r"one of none, native, .*Did you mean `zoneout`\?"),
        (LSTM(4), "Gal", {}, r"Did you mean `variational`\?"),
        (LSTM(4), "recurrent", {"rate": None}, "0 <= rate < 1 for the wrapper `recurrent`"),
        (LSTM(4), "none", {}, "Expected a wrapper that drops"),
        (LSTM(4), "recurrent", {"seed": -1}, "argument `seed`"),
        (LSTM(4), "native", {"per_step": False}, "the wrapper `native` some of placement, seed, "),
        (LSTM(4), "recurrent", {"perstep": False}, r"Did you mean `per_step`\?"),
        (RNN(keras.layers.GRUCell(4)), "recurrent", {}, r"Pass a `keras\.layers\.GRU`:"),
        (LSTM(4), "variational", {"mask_groups": 0}, "argument `mask_groups`"),
        (GRU(4), "zoneout", {"hidden_rate": 0.1}, r"`hidden_rate`\. Expected 0 for a GRU"),
        (GRU(4), "update", {}, r"one that a GRU has\. Received: wrapper='update'.*`zoneout`"),
        (Bidirectional(GRU(4)), "update", {"placement": "input"}, "`zoneout`"),
        (LSTM(4), "zoneout", {"hidden_rate": 1.0}, r"`hidden_rate`\. Expected 0 <= rate < 1"),
        (LSTM(4), "concrete", {"rate": 0.0}, r"`rate`\. Expected 0 < rate < 1"),
        (LSTM(4), "concrete", {"samples": 0}, r"`samples`\. Expected an integer of at least 1"),
        (LSTM(4), "concrete", {"tau": -1}, r"`tau`\. Expected a number from 1e-12 to 1e\+12"),
        (LSTM(4), "recurrent", {"activity_decay": -0.1}, "`activity_decay`.*a number >= 0"),
        (LSTM(4), "recurrent", {"activity_decay": np.float32("inf")}, "`activity_decay`.*a number"),
        (LSTM(4), "recurrent", {"temporal_decay": np.nan}, "`temporal_decay`.*a number >= 0"),
        (LSTM(4), "recurrent", {"temporal_decay": 1.0}, "`return_sequences=True` to the layer"),
        (Bidirectional(GRU(4)), "recurrent", {"temporal_decay": 1.0}, "`return_sequences=True`"),
        (LSTM(4), "lambda", {"function": "poisson"}, "one of bernoulli, gaussian, or a function"),
    ],
)
def test_what_is_refused(layer, wrapper, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        wrap(layer, wrapper, **{"rate": 0.3, **options})


def test_a_saved_configuration_names_no_function_of_other_packages():
    with pytest.raises(TypeError, match="Could not locate function 'system'"):
        LambdaDropoutWrapper(LSTM(4), 0.3, function=UNSAFE)


def test_numbers_of_numpy_are_numbers():
    given = {"rate": np.float32(0.25), "seed": np.int64(1), "mask_groups": np.int64(2)}
    made = wrap(LSTM(2), "variational", **given, tied_gates=np.bool_(True))
    kinds = [type(made.get_config()[name]) for name in (*given, "tied_gates")]
    assert kinds == [float, int, int, bool]


def test_a_rate_that_is_set_later():
    layer = RecurrentDropoutWrapper(LSTM(4), rate=0.3)
    with pytest.raises(InvalidArgumentError, match=RATE):
        layer.rate = 1.5
    assert layer.rate == 0.3
    assert float(array(layer.rates["recurrent"])) == pytest.approx(0.3)
    layer = ZoneoutWrapper(LSTM(4), rate=0.3, hidden_rate=0.1)
    layer.hidden_rate = 0.2
    assert float(array(layer.rates["hidden"])) == pytest.approx(0.2)
    assert layer.get_config()["hidden_rate"] == 0.2
    with pytest.raises(InvalidArgumentError, match="Whether it is 0 decides the kernel"):
        layer.hidden_rate = 0.0


@pytest.mark.parametrize(
    ("layer", "count", "expected"), [(LSTM(4), 1, 2), (GRU(4), 2, 1), (Bidirectional(GRU(4)), 1, 2)]
)
@pytest.mark.parametrize("training", [True, False])
def test_a_wrong_number_of_initial_states(layer, count, expected, training):
    states = [np.zeros((2, 4), "float32")] * count
    wrapped = RecurrentDropoutWrapper(layer, 0.3)
    with pytest.raises(
        InvalidArgumentError, match=f"a list of {expected}. Received: .*{count} state"
    ):
        wrapped(np.zeros((2, 3, 5), "float32"), initial_state=states, training=training)


def test_initial_state_by_position_as_in_keras():
    layer = keras.layers.LSTM(5)  # as many units as steps: a state could pass for a mask
    states = [ops.full((8, 5), 0.3), ops.full((8, 5), -0.2)]
    wrapped = RecurrentDropoutWrapper(layer, rate=0.0)
    for training in (False, True):
        got = wrapped(X, states, training=training)
        np.testing.assert_allclose(array(layer(X, states)), array(got), rtol=1e-4, atol=1e-6)
