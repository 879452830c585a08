"""Tests for what a configuration does not say: models that differ in it are not taken for one another."""

import keras
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.models import renew, spare_rates, structure

dense = keras.layers.Dense
strength = 1.0
strengths = [1.0]


def relu(x):
    return 2 * x


def model(*layers, loss="mse", optimizer="sgd", metrics=None):
    keras.utils.clear_session(free_memory=False)
    made = keras.Sequential([keras.Input((3,)), *layers, dense(1)])
    made.compile(optimizer, loss, metrics=metrics)
    return made


class Bare(keras.losses.Loss):
    def call(self, y, prediction):
        return keras.ops.mean(keras.ops.abs(prediction - y), -1)


class Hidden(Bare):
    def __init__(self, power=1.0, **options):
        super().__init__(**options)
        self.power = power


class Told(Hidden):
    def get_config(self):
        return {**super().get_config(), "power": self.power}


class HiddenAgain(Told):
    def __init__(self, more=1.0, **options):
        super().__init__(**options)
        self.more = more


class Listed(Bare):
    def __init__(self, powers=(1.0,), **options):
        super().__init__(**options)
        self.powers = [*powers]


class HandsOn(Listed):
    """Its configuration lacks an argument of the class above it."""

    def __init__(self, more=1.0, **options):
        super().__init__(**options)
        self.more = more

    def get_config(self):
        return {**super().get_config(), "more": self.more}


class Unnamed(Bare):
    def __init__(self, **options):
        self.power = options.pop("power")
        super().__init__(**options)


class Clip(keras.constraints.Constraint):
    def __init__(self, most):
        self.most = most

    def __call__(self, w):
        return keras.ops.clip(w, -self.most, self.most)


class Penalty(keras.regularizers.L2):
    def __init__(self, exponent):
        super().__init__(0.1)
        self.exponent = exponent

    def __call__(self, w):
        return super().__call__(w) ** self.exponent


class Filled(keras.initializers.Initializer):
    def __init__(self, value):
        self.value = value

    def __call__(self, shape, dtype=None, **options):
        return keras.ops.full(shape, self.value, dtype)


class Level(keras.metrics.Metric):
    def __init__(self, threshold, name="level"):
        super().__init__(name=name)
        self.threshold = threshold

    def update_state(self, y, prediction, sample_weight=None):
        pass

    def result(self):
        return self.threshold


def _power_error(y, prediction, power):
    return keras.ops.abs(prediction - y) ** power


class PowerError(keras.metrics.MeanMetricWrapper):
    """Keras keeps its argument for the function, and writes it down nowhere."""

    def __init__(self, power, name="power_error", dtype=None):
        super().__init__(_power_error, name, dtype, power=power)

    def get_config(self):
        return {"name": self.name}


class Slow(keras.optimizers.SGD):
    def __init__(self, slowness, **options):
        super().__init__(**options)
        self.slowness = slowness


class Decay(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, step):
        return self.factor

    def get_config(self):
        return {}


class Scale(keras.layers.Layer):
    """Keras writes down its argument by itself."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return self.factor * x


class Scaled(keras.layers.Dense):
    """Here it does not, for `Dense` has a `get_config`."""

    def __init__(self, units, factor, **options):
        super().__init__(units, **options)
        self.factor = factor


class Forgets(keras.layers.Dense):
    """Its configuration lacks what that of `Dense` has."""

    def __init__(self, units, **options):
        super().__init__(units, **options)

    def get_config(self):
        return {"name": self.name, "units": self.units}


class ReadsNumber(keras.layers.Layer):
    def call(self, x):
        return _times(x)


class ReadsList(keras.layers.Layer):
    def call(self, x):
        return strengths[0] * x


def _times(x):
    return strength * x


def adapted(factor):
    layer = keras.layers.Normalization()
    layer.adapt(factor * np.arange(12.0).reshape(4, 3))
    return model(layer)


def excluding(**excluded):
    optimizer = keras.optimizers.AdamW(0.1)
    made = model(dense(3), optimizer=optimizer)
    if "var_list" in excluded:
        excluded["var_list"] = [made.trainable_variables[excluded["var_list"]]]
    optimizer.exclude_from_weight_decay(**excluded)
    return made


def having(thing, name, value):
    setattr(thing, name, value)
    return thing


def restrained(kind, value):
    made = model(dense(3))
    having(made.layers[0].kernel, kind, value)
    return made


def closing_over(factor):
    return model(keras.layers.Lambda(lambda x: factor * x))


@pytest.mark.parametrize(
    "build",
    [
        lambda: model(loss=Hidden(2.0)),
        lambda: model(loss=[HiddenAgain()]),
        lambda: model(loss=HandsOn(powers=[2.0])),
        lambda: model(loss=Unnamed(power=1.0)),
        lambda: model(metrics=[Level(0.5)]),
        lambda: model(optimizer=Slow(3.0, learning_rate=0.1)),
        lambda: model(optimizer=keras.optimizers.SGD(Decay(0.1))),
        lambda: model(dense(2, kernel_constraint=Clip(0.5))),
        lambda: model(dense(2, bias_regularizer=Penalty(0.5))),
        lambda: model(dense(2, kernel_initializer=Filled(0.5))),
        lambda: model(Scaled(2, 0.5)),
        lambda: model(keras.Sequential([keras.Input((3,)), Scaled(2, 0.5)])),
        lambda: model(ReadsList()),
        lambda: model(keras.layers.Lambda(lambda x: strengths[0] * x)),
        lambda: closing_over(np.ones(3, "float32")),
        lambda: restrained("constraint", Clip(0.5)),
    ],
)
def test_what_may_be_hidden_is_not_shared(build):
    assert structure(build()) is None


@pytest.mark.parametrize(
    ("build", "one", "other"),
    [
        (lambda delta: model(loss=keras.losses.Huber(delta)), 0.1, 1.0),
        (lambda dtype: model(loss=keras.losses.MeanSquaredError(dtype=dtype)), "float16", None),
        (lambda axis: model(metrics=[keras.metrics.CosineSimilarity(axis=axis)]), -1, 0),
        (lambda power: model(metrics=[PowerError(power)]), 1.0, 2.0),
        (lambda power: model(loss=Told(power)), 1.0, 2.0),
        (lambda factor: model(Scale(factor)), 1.0, 2.0),
        (lambda activation: model(Forgets(2, activation=activation)), "relu", "tanh"),
        (lambda activation: model(dense(2, activation)), "relu", relu),
        (closing_over, 1.0, 2.0),
        (lambda kind: model(loss=kind()), Bare, keras.losses.MeanSquaredError),
        (lambda power: model(loss=having(Bare(), "power", power)), 1.0, 2.0),
        (lambda cast: model(dense(3, autocast=cast)), True, False),
        (lambda name: excluding(var_names=[name]), "bias", "kernel"),
        (lambda number: excluding(var_list=number), 0, 1),
        (lambda factor: restrained("regularizer", keras.regularizers.L2(factor)), 0.1, 0.2),
        (adapted, 1.0, 10.0),
    ],
)
def test_what_can_be_found_is_structure(build, one, other):
    assert None is not structure(build(one)) == structure(build(one)) != structure(build(other))


@pytest.mark.parametrize("layer", [ReadsNumber, lambda: keras.layers.Lambda(lambda x: _times(x))])
def test_values_that_functions_read_are_structure(layer, monkeypatch):
    one, same = structure(model(layer())), structure(model(layer()))
    monkeypatch.setitem(globals(), "strength", 2.0)
    assert None is not one == same != structure(model(layer()))


def test_a_name_of_something_own_is_not_shared(monkeypatch):
    monkeypatch.setitem(keras.saving.get_custom_objects(), "mine", Hidden(2.0))
    assert structure(model(loss="mine")) is None


def test_the_learning_rate_of_an_own_class_is_structure():
    class Own(keras.optimizers.SGD):
        pass

    one, other = (structure(model(optimizer=Own(rate))) for rate in (0.1, 0.2))
    assert None is not one != other


def test_learned_rates_are_left_out_of_the_decay_before_and_after_a_training():
    layer = rdt.wrap(keras.layers.LSTM(2), "concrete", samples=9)
    made = keras.Sequential([keras.Input((5, 3)), layer])
    made.compile(keras.optimizers.AdamW(0.1), "mse")
    before = structure(made)
    spare_rates(made)
    assert structure(made) == before is not None


@pytest.mark.backends
@pytest.mark.parametrize(
    "layers",
    [
        [keras.layers.Bidirectional, keras.layers.LSTM],
        [keras.layers.TimeDistributed, keras.layers.Dense],
    ],
)
def test_models_of_layers_of_keras_are_shared(layers):
    def build(rate):
        keras.utils.clear_session(free_memory=False)
        outer, inner = layers
        given = keras.Input((5, 4))
        inside = outer(inner(3, kernel_constraint="max_norm", bias_regularizer="l2"))(given)
        inside = keras.layers.BatchNormalization()(inside)
        inside = keras.layers.GlobalAveragePooling1D()(keras.layers.Flatten()(inside)[:, None])
        last = keras.layers.Lambda(lambda x: keras.ops.tanh(x))(2.0 * inside)
        made = keras.Model(given, dense(2, "softmax")(last))
        optimizer = keras.optimizers.AdamW(rate, clipnorm=1.0)
        made.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
        return made

    one, other = build(0.1), build(0.2)
    assert None is not structure(one) == structure(other)
    assert renew(one, other)
