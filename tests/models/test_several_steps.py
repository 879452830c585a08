"""`recdrop_tune.models.fit` on each backend; the rest is in `test_fitting`."""

import keras
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune import models
from tests.backends import BACKEND

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(size=(70, 5, 3)).astype("float32")
Y = (X.sum((1, 2)) > 0).astype("float32")


def trained(fit, recurrent=False, **given):
    """Fits a model with a function; returns the history and the model."""
    keras.utils.set_random_seed(1)
    stack = [rdt.LockedDropout(0.3), keras.layers.Flatten()]  # Traced more quickly.
    if recurrent:
        stack = [rdt.wrap(keras.layers.LSTM(4), "recurrent", rate=0.3)]
    model = keras.Sequential([keras.Input((5, 3)), *stack, keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    found = fit(model, X, Y, batch_size=4, epochs=3, verbose=0, validation_data=(X, Y), **given)
    return found.history, model


class Calls(keras.callbacks.Callback):
    """Records the last batch of each call."""

    counts_steps = True

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(batch)


def test_one_call_runs_several_batches_with_the_numbers_of_keras():
    by_keras, _ = trained(keras.Model.fit, recurrent=True)
    calls = Calls()
    found, model = trained(models.fit, recurrent=True, callbacks=[calls])
    assert found == by_keras
    several = [3, 7, 11, 15, 19]
    assert calls.ends == 3 * (list(range(18)) if BACKEND == "torch" else several)
    assert model.steps_per_execution == 1


def test_a_model_is_as_it_was_compiled_between_the_epochs():
    """For what callbacks do with the model there, and after training."""

    class Looks(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.found = [self.model.steps_per_execution]

        def on_epoch_end(self, epoch, logs=None):
            self.found += [self.model.steps_per_execution, self.model.predict(X, 4, verbose=0)]

    looks = Looks()
    _, model = trained(models.fit, callbacks=[looks])
    assert looks.found[:2] == [1, 1]
    assert model.steps_per_execution == 1
    np.testing.assert_array_equal(looks.found[2], model.predict(X, 4, verbose=0))
    evaluated = model.evaluate(X, Y, 4, verbose=0)
    _, by_keras = trained(keras.Model.fit, callbacks=[Looks()])
    assert evaluated == by_keras.evaluate(X, Y, 4, verbose=0)


class CompilesAnew(keras.callbacks.Callback):
    """Compiles the model during training, like a callback that unfreezes layers."""

    def __init__(self, at):
        super().__init__()
        self.at, self.iterations = at, []

    def compile(self):
        self.model.compile(keras.optimizers.SGD(0.01), "mse")
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.make_train_function()

    def on_epoch_begin(self, epoch, logs=None):
        if (epoch, self.at) == (0, "begin"):
            self.compile()

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, self.at) == (0, "end"):
            self.compile()
        self.iterations.append(int(keras.ops.convert_to_numpy(self.model.optimizer.iterations)))


@pytest.mark.skipif(BACKEND == "torch", reason="Keras runs one step a call there")
@pytest.mark.parametrize("at", ["begin", "end"])
def test_a_model_that_is_compiled_during_training(at):
    expected, found = CompilesAnew(at), CompilesAnew(at)
    _, by_keras = trained(keras.Model.fit, callbacks=[expected])
    _, model = trained(models.fit, callbacks=[found])
    assert found.iterations == expected.iterations
    for ours, theirs in zip(model.get_weights(), by_keras.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_user_defined_train_function_is_used():
    called = []

    def fit(model, *args, **kwargs):
        model.make_train_function()
        usual = model.train_function

        def noted(*given):
            called.append(1)
            return usual(*given)

        model.train_function = noted
        return models.fit(model, *args, **kwargs)

    trained(fit)
    assert len(called) == 3 * 18


def test_another_fit_does_not_trace_again():
    traced = []

    class Noted(keras.layers.Layer):
        def call(self, inputs):
            traced.append(1)
            return inputs

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((5, 3)), Noted(), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    model.compile("adam", "mse")
    given = {"batch_size": 4, "epochs": 2, "verbose": 0}
    follows = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    target = np.zeros((70, 4), "float32")
    models.fit(model, X, target, **given)
    models.fit(model, X, target, callbacks=[follows], **given)
    if BACKEND == "torch":
        return
    before = len(traced)
    models.fit(model, X[:46], target[:46], **given)  # Three steps a call would do.
    models.fit(model, X, target, callbacks=[follows], **given)
    assert len(traced) == before
    model.compile("adam", "mae")
    models.fit(model, X, target, **given)
    assert len(traced) > before
