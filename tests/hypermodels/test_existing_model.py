"""`ExistingModel` and `dropout_model`: copies of any model with dropout in its recurrent layers."""

import os
import pickle
import re

import keras
import keras_tuner as kt
import numpy as np
import pytest
from keras import layers

import recdrop_tune as rdt
from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import InvalidArgumentError

DROPS = {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.3}
PLAIN = {"wrapper": "none"}
X = np.random.default_rng(0).normal(size=(8, 5, 3)).astype("float32")
Y = (X.sum((1, 2)) > 0).astype("float32")


def compiled(model):
    """Compiles a model that runs eagerly: a graph would take longer to trace than to run."""
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    return model


def functional(stack):
    inputs = keras.Input((5, 3))
    return compiled(keras.Model(inputs, layers.Dense(1)(stack(inputs))))


def sequential(*stack):
    return compiled(keras.Sequential([keras.Input((5, 3)), *stack, layers.Dense(1)]))


def encoder_decoder(inputs):
    encoded, *states = layers.LSTM(4, return_state=True, return_sequences=True)(inputs)
    return layers.LSTM(4, name="decoder")(encoded, initial_state=states)


def nested(inputs):
    inner = keras.Sequential([keras.Input((5, 3)), layers.GRU(4, return_sequences=True)])
    return layers.GRU(4)(inner(inner(inputs)[..., :3]))


def masked(inputs):
    return layers.LSTM(4)(layers.Masking(0.0)(inputs * keras.ops.cast(inputs > -1, "float32")))


def images(inputs):
    return layers.GRU(4)(layers.TimeDistributed(layers.LSTM(3))(inputs[..., None]))


def wrapped(inputs):
    first = rdt.wrap(layers.LSTM(4, return_sequences=True, name="first"), "weight_drop", rate=0.5)
    second = rdt.wrap(layers.Bidirectional(layers.GRU(3)), "zoneout", rate=0.1)
    return second(first(inputs))


@keras.saving.register_keras_serializable(package="tests")
class OwnLSTM(layers.LSTM):
    """A subclass that computes what its base does."""


FORMS = {
    "sequential": (lambda: sequential(layers.LSTM(4, name="memory")), ["memory"]),
    "bidirectional": (lambda: sequential(layers.Bidirectional(layers.GRU(4))), ["bidirectional"]),
    "cell": (lambda: sequential(layers.RNN(layers.LSTMCell(4))), ["lstm"]),
    "cells both ways": (
        lambda: sequential(layers.Bidirectional(layers.RNN(layers.GRUCell(4)))),
        ["bidirectional"],
    ),
    "states": (lambda: functional(encoder_decoder), ["lstm", "decoder"]),
    "nested and shared": (lambda: functional(nested), ["gru", "gru_1"]),
    "masked": (lambda: functional(masked), ["lstm"]),
    "time distributed": (lambda: functional(images), ["lstm", "gru"]),
    "wrapped before": (lambda: functional(wrapped), ["first", "bidirectional"]),
    "own dropout": (
        lambda: sequential(layers.LSTM(4, dropout=0.2, recurrent_dropout=0.1)),
        ["lstm"],
    ),
    "own class": (lambda: sequential(OwnLSTM(4)), ["ownlstm"]),
}
LOSES_DROPOUT = {"wrapped before": "first (WeightDropWrapper), ", "own dropout": "(dropout=0.2, "}


def existing(form, *args, **kwargs):
    model = FORMS[form][0]()
    if form in LOSES_DROPOUT:
        with pytest.warns(UserWarning, match=re.escape(LOSES_DROPOUT[form])) as caught:
            made = rdt.ExistingModel(model, *args, **kwargs)
        (warning,) = [each for each in caught if "is taken off in each" in str(each.message)]
        assert os.path.samefile(warning.filename, __file__)
        return model, made
    return model, rdt.ExistingModel(model, *args, **kwargs)


@pytest.mark.backends
@pytest.mark.parametrize("form", FORMS)
def test_every_recurrent_layer_drops_and_the_model_stays_what_it_is(form):
    model, made = existing(form, DROPS, per_layer=True, keep_weights=True)
    before = [np.array(weight) for weight in model.get_weights()]
    hp = kt.HyperParameters()
    copy = made.build(hp)
    assert [name for name in hp.values if name.endswith("wrapper")] == [
        f"{name}/wrapper" for name in FORMS[form][1]
    ]
    assert {row.technique for row in rdt.explain(copy).rows} == {"recurrent"}
    if form != "wrapped before":  # There zoneout scales what it does not drop at inference.
        assert np.allclose(copy.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6)
    copy.fit(X, Y, verbose=0)
    for weight, same in zip(model.get_weights(), before, strict=True):
        assert np.array_equal(weight, same)


@pytest.mark.parametrize("wrapper", TECHNIQUES)
def test_one_choice_holds_for_all_layers_of_either_cell(wrapper):
    model = sequential(layers.LSTM(3, return_sequences=True), layers.GRU(3))
    hp = kt.HyperParameters()
    space = {
        "wrapper": wrapper,
        **({} if TECHNIQUES[wrapper].learns_rate else {"rate": 0.2}),
        **({"hidden_rate": 0.1} if wrapper == "zoneout" else {}),
    }
    copy = rdt.ExistingModel(model, space).build(hp)
    assert {row.technique for row in rdt.explain(copy).rows} == {wrapper}
    assert "hidden_rate" not in hp.values  # Which a GRU has not.
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]


@pytest.mark.backends
@pytest.mark.parametrize("space", [DROPS, PLAIN], ids=["dropout", "none"])
def test_the_last_layer_has_the_decays(space):
    model = sequential(layers.LSTM(3, return_sequences=True), layers.GRU(3))
    space = {**space, "activity_decay": 2.0}
    before = model.get_weights()
    hypermodel = rdt.ExistingModel(model, space, keep_weights=True)
    made = hypermodel.build(kt.HyperParameters())
    assert [row.decay for row in rdt.explain(made).rows] == ["", "activity 2"]
    assert np.array_equal(made.predict(X, verbose=0), model.predict(X, verbose=0))
    hp = kt.HyperParameters()
    made = rdt.ExistingModel(model, space, per_layer=True, keep_weights=True).build(hp)
    assert [row.decay for row in rdt.explain(made).rows] == ["activity 2"] * 2
    assert (hp["lstm/activity_decay"], hp["gru/activity_decay"]) == (2.0, 2.0)
    for weight, same in zip(made.get_weights(), before, strict=True):
        assert np.array_equal(weight, same)
    space["temporal_decay"] = 1.0
    with pytest.raises(InvalidArgumentError, match="returns only its last step"):
        rdt.ExistingModel(model, space).build(kt.HyperParameters())
    hp = kt.HyperParameters()
    made = rdt.ExistingModel(model, space, per_layer=True).build(hp)
    decays = [row.decay for row in rdt.explain(made).rows]
    assert decays == ["activity 2, temporal 1", "activity 2"]
    assert "gru/temporal_decay" not in hp.values
    alone = sequential(layers.GRU(3))
    with pytest.raises(InvalidArgumentError, match="returns only its last step"):
        rdt.ExistingModel(alone, space, per_layer=True).build(kt.HyperParameters())


def test_decays_that_the_model_has_are_taken_off():
    def make(inputs):
        return rdt.wrap(layers.GRU(3, name="encoder"), "none", activity_decay=1.0)(inputs)

    with pytest.warns(UserWarning, match=r"encoder \(ActivityDecay\).*the decays of an"):
        existing = rdt.ExistingModel(functional(make), PLAIN)
    made = existing.build(kt.HyperParameters())
    (row,) = rdt.explain(made).rows
    assert (row.name, row.decay, type(made.layers[1])) == ("encoder", "", layers.GRU)


# What the model was compiled with, and its weights


def scaled_error(y_true, y_pred):
    return 10 * keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


class CountedError(keras.metrics.MeanAbsoluteError):
    """A metric of a class that nobody registered."""


def test_a_copy_trains_as_the_model_does():
    def local_loss(y_true, y_pred):
        return 3 * scaled_error(y_true, y_pred)

    inputs = keras.Input((5, 3))
    hidden = layers.LSTM(4)(inputs)
    heads = {"a": layers.Dense(1)(hidden), "b": layers.Dense(1)(hidden)}
    model = keras.Model(inputs, heads)

    def local_metric(y_true, y_pred):
        return keras.ops.max(y_pred)

    decay = keras.optimizers.schedules.ExponentialDecay(0.02, 1, 0.5)
    model.compile(
        keras.optimizers.SGD(decay, momentum=0.9),
        {"a": local_loss, "b": keras.losses.Huber(0.3)},
        loss_weights={"a": 1.0, "b": 2.0},
        metrics={
            "a": ["mae", local_metric, CountedError()],
            "b": keras.metrics.RootMeanSquaredError("rmse"),
        },
    )
    copy = rdt.ExistingModel(model, PLAIN, keep_weights=True).build(kt.HyperParameters())
    target = {"a": Y, "b": -Y}
    histories = [
        each.fit(X, target, epochs=3, shuffle=False, verbose=0).history for each in (model, copy)
    ]
    assert "b_rmse" in histories[0]
    assert histories[0] == histories[1]
    again = rdt.ExistingModel(model, PLAIN, keep_weights=True).build(kt.HyperParameters())
    assert int(again.optimizer.iterations) == 0
    assert np.array_equal(again.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("scaled", [True, False])
def test_what_keras_does_not_write_down_of_an_optimizer(policy, scaled):
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=50.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "recurrent"])
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = keras.Sequential([keras.Input((5, 3)), layers.LSTM(3), layers.Dense(1)])
        model.compile(optimizer, "mse", auto_scale_loss=scaled)
        copy = rdt.ExistingModel(model, PLAIN, keep_weights=True).build(kt.HyperParameters())
        histories = [each.fit(X, Y, epochs=2, shuffle=False, verbose=0) for each in (model, copy)]
    finally:
        keras.config.set_dtype_policy(before)
    assert histories[0].history == histories[1].history
    for one, other in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert type(copy.optimizer) is type(model.optimizer)


@pytest.mark.backends
@pytest.mark.parametrize("given", ["auto", True, False])
def test_how_a_model_is_compiled_to_machine_code_is_chosen_anew(given):
    model, usual = (keras.Sequential([keras.Input((5, 3)), layers.LSTM(3)]) for _ in range(2))
    model.compile("adam", "mse", jit_compile=given)
    usual.compile("adam", "mse")
    read = rdt.ExistingModel(model, PLAIN).blueprint.compiled["jit_compile"]
    assert read == ("auto" if given in ("auto", usual.jit_compile) else given)


def test_weights_are_fresh_unless_they_are_kept():
    model = sequential(layers.LSTM(4))
    fresh = rdt.ExistingModel(model, DROPS)
    first, second = (fresh.build(kt.HyperParameters()).get_weights()[0] for _ in range(2))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, model.get_weights()[0])
    keras.utils.set_random_seed(3)
    one = fresh.build(kt.HyperParameters()).get_weights()
    keras.utils.set_random_seed(3)
    assert all(map(np.array_equal, one, fresh.build(kt.HyperParameters()).get_weights()))


@pytest.mark.backends
@pytest.mark.parametrize("wrapper", ["recurrent", "variational", "native", "zoneout"])
def test_trials_differ_in_their_dropout_alone(wrapper):
    """Also in what the layers after a wrapper draw: else a twin would begin with other weights."""
    model = sequential(layers.LSTM(3, return_sequences=True), layers.GRU(3))
    initial = []
    for chosen in ("none", wrapper):
        made = rdt.ExistingModel(model, {"wrapper": chosen, "rate": 0.3})
        keras.utils.set_random_seed(5)
        initial.append(made.build(kt.HyperParameters()).get_weights())
    for without, with_dropout in zip(*initial, strict=True):
        assert np.array_equal(without, with_dropout)


@pytest.mark.parametrize("keep_weights", [False, True])
def test_what_is_frozen_stays_what_it_is(keep_weights):
    model = sequential(layers.LSTM(4, return_sequences=True), layers.LSTM(4))
    model.layers[0].trainable = False
    compiled(model)
    copy = rdt.ExistingModel(model, DROPS, keep_weights=keep_weights).build(kt.HyperParameters())
    assert len(copy.trainable_weights) == len(model.trainable_weights) == 5
    copy.fit(X, Y, verbose=0)
    assert np.array_equal(copy.layers[0].get_weights()[0], model.layers[0].get_weights()[0])
    assert not np.array_equal(copy.layers[1].get_weights()[0], model.layers[1].get_weights()[0])


@pytest.mark.parametrize("keep_weights", [False, True])
def test_what_layers_have_learned_of_data_is_kept(keep_weights):
    scaled = layers.Normalization()
    scaled.adapt(100 + 7 * X)
    words = layers.StringLookup()
    words.adapt(np.array(["a", "b", "b", "c"]))
    text = keras.Input((5,), dtype="string")
    numbers = keras.Input((5, 3))
    embedded = layers.Embedding(5, 3)(words(text))
    outputs = layers.Dense(1)(layers.LSTM(3)(embedded + scaled(numbers)))
    model = compiled(keras.Model([text, numbers], outputs))
    made = rdt.ExistingModel(model, DROPS, keep_weights=keep_weights)
    copy = pickle.loads(pickle.dumps(made)).build(kt.HyperParameters())
    found = {type(layer): layer for layer in copy.layers}
    assert found[layers.StringLookup].get_vocabulary() == words.get_vocabulary()
    normalized = np.array(found[layers.Normalization](100 + 7 * X))
    assert np.allclose(normalized, np.array(scaled(100 + 7 * X)), atol=1e-4)
    assert abs(normalized.mean()) < 0.01


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.01 * keras.ops.minimum(1.0, (keras.ops.cast(step, "float32") + 1) / 4)

    def get_config(self):
        return {}


class Small(keras.regularizers.Regularizer):
    def __call__(self, weights):
        return 0.1 * keras.ops.sum(keras.ops.square(weights))

    def get_config(self):
        return {}


def bent(x):
    return keras.ops.where(x > 0, x, 0.1 * x)


def test_parts_of_a_model_that_nobody_registered():
    stack = [
        layers.LSTM(3, kernel_regularizer=Small()),
        layers.Lambda(bent),
        layers.Activation(bent),
    ]
    stack += [layers.Lambda(lambda x: 2 * x), layers.Lambda(lambda x: x + 1)]
    model = keras.Sequential([keras.Input((5, 3)), *stack, layers.Dense(1, activation=bent)])
    model.compile(keras.optimizers.Adam(Warmup()), "mse")
    copy = rdt.ExistingModel(model, PLAIN, keep_weights=True).build(kt.HyperParameters())
    histories = [
        each.fit(X, Y, epochs=2, shuffle=False, verbose=0).history for each in (model, copy)
    ]
    assert histories[0] == histories[1]


class Level(keras.metrics.Metric):
    """A metric without a `get_config`."""

    def __init__(self, scale=1.0, name="level", **kwargs):
        super().__init__(name=name, **kwargs)
        self.scale = scale

    def update_state(self, y_true, y_pred, sample_weight=None):
        pass

    def result(self):
        return keras.ops.convert_to_tensor(self.scale)


class High(Level):
    """A metric that chooses the argument of the class above it, and has one more that it writes down."""

    def __init__(self, more=0, **kwargs):
        super().__init__(scale=7.0, **kwargs)
        self.more = more

    def get_config(self):
        return {**super().get_config(), "more": self.more}


class Leaves(Level):
    """A metric that hands the argument of the class above it on, and writes its own one down."""

    def __init__(self, more=0, **kwargs):
        super().__init__(**kwargs)
        self.more = more

    def get_config(self):
        return {**super().get_config(), "more": self.more}


class Told(Level):
    def __init__(self, scale, name="told"):
        super().__init__(scale, name)


class ScaledError(keras.metrics.MeanMetricWrapper):
    def __init__(self, by=1.0, name="scaled"):
        super().__init__(scaled_error, name=name)
        self.by = by


class PowerError(keras.metrics.MeanMetricWrapper):
    """A metric that writes down what Keras's own ones do: not what its function takes."""

    def __init__(self, power=1.0, name="power", dtype=None):
        super().__init__(self.error, name, dtype, power=power)

    @staticmethod
    def error(y_true, y_pred, power):
        return keras.ops.abs(y_true - y_pred) ** power

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


class Nervous(keras.optimizers.SGD):
    def __init__(self, nerves=1.0, **kwargs):
        super().__init__(**kwargs)
        self._nerves = nerves


class Forgets(keras.optimizers.SGD):
    """An optimizer that does not write down what Keras's own one does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def get_config(self):
        return {}


class Bare(keras.initializers.Constant):
    """An initializer that has nothing that Keras's own one could write down."""

    def __init__(self):
        pass

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, 0.5, dtype)

    def get_config(self):
        return {}


class Halves(layers.Dense):
    """A layer that does not either, and that chooses some of it."""

    def __init__(self, units, **kwargs):
        super().__init__(units, use_bias=False, kernel_initializer=Bare(), **kwargs)

    def get_config(self):
        return {"units": self.units}


class Falls(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, start, by=0.5):
        self.start = start
        self.by = by

    def __call__(self, step):
        return self.start * self.by ** keras.ops.cast(step, "float32")

    def get_config(self):
        return {"start": self.start}


class Start(keras.initializers.Initializer):
    def __init__(self, value=0.1):
        self.value = value

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, self.value, dtype)


class Times(layers.Layer):
    """A layer that writes one of two arguments down, and keeps the other one under another name."""

    def __init__(self, factor, more=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.second = more

    def call(self, inputs):
        return self.factor * self.second * inputs

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Within(layers.Layer):
    """A layer that makes such a layer by itself, and so makes the same one in each copy."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.times = Times(2.0, more=5.0)

    def build(self, shape):
        self.times.build(shape)

    def call(self, inputs):
        return self.times(inputs)


def with_metric(metric, loss="mse"):
    model = keras.Sequential([keras.Input((5, 3)), layers.LSTM(3), layers.Dense(1)])
    model.compile("sgd", loss, metrics=[metric], run_eagerly=True)
    return model


def with_optimizer(optimizer):
    model = keras.Sequential([keras.Input((5, 3)), layers.LSTM(3)])
    model.compile(optimizer, "mse")
    return model


MeanMetric = keras.metrics.MeanMetricWrapper
KEPT = {
    "the default": lambda: with_metric(Level()),
    "chosen by the class": lambda: with_metric(High(more=3)),
    "a function": lambda: with_metric(MeanMetric(scaled_error, name="scaled_error")),
    "a lambda": lambda: with_metric(MeanMetric(lambda y, p: keras.ops.abs(y - p), name="x")),
    "of a function": lambda: with_metric(PowerError(3.0)),
    "a loss": lambda: with_metric(MeanMetric(keras.losses.Huber(0.01))),
    "a loss of a model": lambda: with_metric("mae", keras.losses.Huber(0.01)),
    "the default of a layer": lambda: sequential(Times(3.0), layers.LSTM(3)),
    "chosen by a layer": lambda: sequential(Halves(3), layers.LSTM(3)),
    "made by a layer": lambda: sequential(Within(), layers.LSTM(3)),
}


@pytest.mark.backends
@pytest.mark.parametrize("what", KEPT)
def test_arguments_that_a_configuration_lacks_and_that_are_kept(what):
    model = KEPT[what]()
    copy = rdt.ExistingModel(model, PLAIN, keep_weights=True).build(kt.HyperParameters())
    scores = [each.evaluate(X, Y, verbose=0, return_dict=True) for each in (model, copy)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def started_alike():
    start = Start(0.4)
    return sequential(
        layers.LSTM(3, return_sequences=True, kernel_initializer=start),
        layers.Dense(3, kernel_initializer=start),
        layers.LSTM(3),
    )


LOST = {
    "of a metric": (
        lambda: with_metric(Level(7.0)),
        "`Level`, whose configuration lacks `scale`: a copy would have another value'. Define "
        '`get_config` in `Level`: `return {**super().get_config(), "scale": self.scale}`.',
    ),
    "of the class above": (lambda: with_metric(Leaves(more=3, scale=7.0)), "lacks `scale`"),
    "without a default": (
        lambda: with_metric(Told(1.0)),
        "`Told`, whose configuration lacks `scale`: no copy can be made",
    ),
    "that Keras writes down and the class does not take": (
        lambda: with_metric(ScaledError(3.0)),
        "unexpected keyword argument 'dtype'\". Define `get_config` in `ScaledError`: "
        '`return {"by": self.by, "name": self.name}`.',
    ),
    "of an optimizer": (lambda: with_optimizer(Nervous(3.0)), '"nerves": self._nerves}'),
    "of a scaled one": (
        lambda: with_optimizer(keras.optimizers.LossScaleOptimizer(Nervous(3.0))),
        "`Nervous`, whose configuration lacks `nerves`",
    ),
    "of a schedule": (
        lambda: with_optimizer(keras.optimizers.SGD(Falls(0.1, by=0.9))),
        "`Falls`, whose configuration lacks `by`",
    ),
    "of Keras's own optimizer": (
        lambda: with_optimizer(Forgets(learning_rate=0.5)),
        "`Forgets`, whose configuration lacks `learning_rate`: a copy would have another value'. "
        "Define `get_config` in `Forgets`: `return {**super().get_config(), ...}`.",
    ),
    "of an initializer": (started_alike, "`Start`, whose configuration lacks `value`"),
    "of a layer": (
        lambda: sequential(layers.TimeDistributed(Times(3.0, more=4.0)), layers.LSTM(3)),
        "`Times`, whose configuration lacks `more`",
    ),
}


@pytest.mark.backends
@pytest.mark.parametrize("what", LOST)
def test_arguments_that_copies_would_lose_are_refused(what):
    make, said = LOST[what]
    with pytest.raises(InvalidArgumentError, match=re.escape(said)):
        rdt.ExistingModel(make(), PLAIN)


class Attends(layers.LSTM):
    """Computes something else than its base."""

    def call(self, sequences, initial_state=None, mask=None, training=False):
        return 2 * super().call(sequences, initial_state, mask, training)


def test_a_layer_that_cannot_be_wrapped_keeps_its_dropout():
    model = sequential(Attends(3, dropout=0.4, return_sequences=True), layers.LSTM(3))
    copy = rdt.ExistingModel(model, DROPS).build(kt.HyperParameters())
    assert copy.layers[0].dropout == 0.4
    assert copy.layers[1].rate == 0.3


def test_layers_are_named_the_same_however_many_were_made_before():
    names = []
    for made_before in range(2):
        [layers.LSTM(2) for _ in range(made_before)]
        made = rdt.ExistingModel(sequential(layers.LSTM(2, return_sequences=True), layers.LSTM(2)))
        names.append([each.name for each in made.blueprint.layers])
    assert names == [["lstm", "lstm_1"]] * 2


def test_it_goes_to_another_process():
    made = rdt.ExistingModel(sequential(layers.LSTM(4)), DROPS, keep_weights=True)
    sent = pickle.loads(pickle.dumps(made))
    pair = [each.build(kt.HyperParameters()).predict(X, verbose=0) for each in (made, sent)]
    assert np.array_equal(*pair)


# `dropout_model`


def test_dropout_model_in_a_build_function(tmp_path, recwarn):
    def build(hp):
        units = hp.Choice("units", [2, 3])
        recurrent = layers.GRU(units, dropout=units / 10)
        model = keras.Sequential([keras.Input((5, 3)), recurrent, layers.Dense(1)])
        model = rdt.dropout_model(hp, model, {"wrapper": ["none", "recurrent"], "rate": 0.2})
        assert not model.compiled
        return compiled(model)

    tuner = kt.GridSearch(build, "val_loss", directory=tmp_path)
    tuner.search(X, Y, validation_data=(X, Y), verbose=0)
    (warning,) = [each for each in recwarn if "is taken off" in str(each.message)]
    assert os.path.samefile(warning.filename, __file__)
    combinations = {
        (values["units"], values["wrapper"])
        for values in (trial.hyperparameters.values for trial in tuner.oracle.trials.values())
    }
    assert len(combinations) == 4


def test_a_schedule_is_carried_out(tmp_path):
    model, seen = sequential(layers.LSTM(3)), []

    class Rates(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(float(self.model.layers[0].rates["recurrent"]))

    made = rdt.ExistingModel(model, {**DROPS, "schedule": "linear"})
    with pytest.raises(InvalidArgumentError, match="no `schedule`: a build function alone"):
        made.build(kt.HyperParameters())
    rdt.tune(
        (X, Y),
        (X, Y),
        made,
        max_trials=1,
        epochs=3,
        verbose=0,
        directory=tmp_path / "search",
        tracking=rdt.MLflow(uri=f"sqlite:///{tmp_path}/mlflow.db"),
        training=rdt.Training(callbacks=Rates),
    )
    assert len(set(seen)) > 1


# What cannot be copied


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.lstm = layers.LSTM(3)
        self.dense = layers.Dense(1)

    def call(self, inputs):
        return self.dense(self.lstm(inputs))


class Hides(layers.Layer):
    def build(self, shape):
        self.lstm = layers.LSTM(3)
        self.lstm.build(shape)

    def call(self, inputs):
        return self.lstm(inputs)


class OwnCompile(keras.Sequential):
    def compile(self, optimizer="adam"):
        super().compile(optimizer, "mse")


def own_compile():
    model = OwnCompile([keras.Input((5, 3)), layers.LSTM(3)])
    model.compile()
    return model


def shared_between_models():
    """Keras writes such a layer down twice, as two."""
    lstm, inputs = layers.LSTM(3), keras.Input((5, 3))
    inner = keras.Model(inputs, lstm(inputs))
    outer = keras.Input((5, 3))
    return compiled(keras.Model(outer, inner(outer) + lstm(outer)))


def excludes_variables():
    model = keras.Sequential([keras.Input((5, 3)), layers.LSTM(3)])
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_list=model.trainable_variables[:1])
    model.compile(optimizer, "mse")
    return model


def two_of_one_name():
    def kind(factor):
        class Own(layers.Layer):
            def call(self, inputs):
                return factor * inputs

        return Own()

    return sequential(kind(2), kind(3), layers.LSTM(3))


class Rigid(layers.Layer):
    def __init__(self):
        super().__init__()

    def call(self, inputs):
        return inputs


def subclassed():
    model = compiled(Subclassed())
    model(X)
    return model


@pytest.mark.parametrize(
    ("make", "kwargs", "said"),
    [
        (
            lambda: sequential(layers.SimpleRNN(3)),
            {},
            "one LSTM or GRU layer. Received: model='`sequ",
        ),
        (lambda: layers.LSTM(3), {}, "Expected a Keras model"),
        (lambda: keras.Sequential([layers.LSTM(3)]), {}, "which is not compiled'. Compile it:"),
        (
            lambda: compiled(keras.Sequential([layers.LSTM(3)])),
            {"keep_weights": True},
            "`keep_weights`",
        ),
        (excludes_variables, {}, 'Name them: `exclude_from_weight_decay(var_names=["bias"])`.'),
        (subclassed, {}, "whose configuration lacks some of its layers'. Describe it as a Seq"),
        (lambda: sequential(Hides()), {}, "whose configuration lacks some of its layers"),
        (
            own_compile,
            {},
            "Keras's own `compile`, whose arguments can be copied. Received: model='OwnCompile'",
        ),
        (
            lambda: sequential(layers.LSTM(3)),
            {"space": {"wrapper": "none", "units": [16, 32]}},
            "received: space='one with units'. Leave out these keys.",
        ),
    ],
)
def test_what_cannot_be_copied_is_refused(make, kwargs, said):
    model = make()
    with pytest.raises(InvalidArgumentError, match=f"(?i){re.escape(said)}"):
        rdt.ExistingModel(model, **kwargs).build(kt.HyperParameters())
