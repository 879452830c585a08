"""How many steps a call of `recdrop_tune.models.fit` runs, on each backend."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune import models
from recdrop_tune.wrappers import LockedDropout
from tests.backends import BACKEND, Traced

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(size=(70, 5, 3)).astype("float32")
Y = (X.sum((1, 2)) > 0).astype("float32")
# 18 batches; the last one has 2 samples. Keras shuffles in another order.
GIVEN = {"batch_size": 4, "epochs": 2, "verbose": 0, "shuffle": False}
# On PyTorch, Keras runs one step a call, and refuses more.
SEVERAL, THREE = (1, 1) if BACKEND == "torch" else (4, 3)


def locked():
    return LockedDropout(0.3)


def recurrent():
    return rdt.wrap(keras.layers.LSTM(4), "recurrent", rate=0.3)


def compiled(compile_model=models.compile_model, make=locked, **arguments):
    keras.utils.set_random_seed(1)
    stack = [make(), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((5, 3)), *stack, keras.layers.Dense(1)])
    compile_model(model, optimizer="adam", loss="mse", metrics=["mae"], **arguments)
    return model


class Calls(keras.callbacks.Callback):
    """Notes the number of the last batch of each call."""

    counts_steps = True

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(batch)

    @property
    def of_first_call(self):
        return self.ends[0] + 1


@pytest.mark.heavy
def test_the_numbers_do_not_depend_on_the_steps_of_a_call():
    histories, ends = [], []
    for fit in (keras.Model.fit, models.fit):
        model, calls = compiled(make=recurrent), Calls()
        given = {
            **GIVEN,
            "validation_data": (X, Y),
            "validation_batch_size": 4,
            "callbacks": [calls],
        }
        histories.append(fit(model, X, Y, **given).history)
        ends.append(calls.ends)
    assert histories[0] == histories[1]
    assert ends[0] == 2 * list(range(18))
    assert ends[1] == ends[0] if BACKEND == "torch" else 2 * [3, 7, 11, 15, 19]


def hypermodel():
    return rdt.SequenceRegressor((), (5, 3), {"wrapper": "none"})


def existing(**arguments):
    model = compiled(keras.Model.compile, lambda: keras.layers.GRU(2), **arguments)
    return rdt.ExistingModel(model, {"wrapper": "none"})


def dropped(hp):
    plain = compiled(keras.Model.compile, lambda: keras.layers.GRU(2))
    return rdt.dropout_model(hp, plain, {"wrapper": "none"})


def compiled_anew(hp):
    model = dropped(hp)
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize(
    ("build", "steps"),
    [
        (hypermodel().build, SEVERAL),
        pytest.param(existing().build, SEVERAL, marks=pytest.mark.heavy),
        (dropped, SEVERAL),
        pytest.param(existing(steps_per_execution=THREE).build, THREE, marks=pytest.mark.heavy),
        (lambda hp: compiled(keras.Model.compile), 1),
        pytest.param(compiled_anew, 1, marks=pytest.mark.heavy),
    ],
    ids=["own", "existing", "dropped", "existing has it", "user", "compiled anew"],
)
def test_only_models_that_this_package_compiles_run_several_steps(build, steps):
    model = build(kt.HyperParameters())
    models.fit(model, X, Y, batch_size=4, verbose=0)
    assert model.steps_per_execution == steps


@pytest.mark.heavy
def test_callbacks_can_use_the_model_between_epochs():
    class Predicts(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.found = (
                self.model.predict(X, 4, verbose=0),
                self.model.evaluate(X, Y, 4, verbose=0),
            )

    found = []
    for fit in (keras.Model.fit, models.fit):
        predicts = Predicts()
        fit(compiled(), X, Y, callbacks=[predicts], **GIVEN)
        found.append(predicts.found)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_another_fit_does_not_trace_again():
    traced = Traced()
    model = compiled(make=lambda: traced)
    models.fit(model, X, Y, **GIVEN)
    traced.times = 0
    models.fit(model, X[:46], Y[:46], **GIVEN)  # Three steps a call would do.
    assert traced.times == 0 or BACKEND == "torch"
    assert model.steps_per_execution == SEVERAL


@pytest.mark.heavy
def test_a_callback_that_follows_batches_sees_each_in_a_later_fit_too():
    seen, model = [], compiled()
    models.fit(model, X, Y, **GIVEN)
    follows = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch)
    )
    models.fit(model, X, Y, batch_size=4, verbose=0, callbacks=[follows])
    assert seen == list(range(18))
