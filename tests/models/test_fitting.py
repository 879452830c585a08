"""`models.fit` on TensorFlow: Keras's numbers for the same batches, and what is left to Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.callbacks import Callback

import recdrop_tune as rdt
from recdrop_tune import models
from recdrop_tune.models.training_batches import with_training_batches
from recdrop_tune.tuner.reports import StepTimer
from recdrop_tune.wrappers import LockedDropout
from tests.models.test_steps_per_execution import Calls

SAMPLES = 70  # 18 batches of 4; the last one has 2.


def model(inputs=1, **compiled):
    """A model that draws noise and is quickly traced; a recurrent one is in `test_steps_per_execution`."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(1)
    taken = [keras.Input((5, 3), name=f"x{number}") for number in range(inputs)]
    features = keras.layers.Concatenate()(taken) if inputs > 1 else taken[0]
    features = keras.layers.Flatten()(LockedDropout(0.3)(features))
    made = keras.Model(taken if inputs > 1 else taken[0], keras.layers.Dense(2)(features))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compiled |= {"optimizer": "adam", "loss": loss, "weighted_metrics": ["accuracy"]}
    models.compile_model(made, **compiled)
    return made


X = np.random.default_rng(0).normal(size=(SAMPLES, 5, 3)).astype("float32")
Y = (X.sum((1, 2)) > 0).astype("int64")
WEIGHTS = np.linspace(0.5, 1.5, SAMPLES)
FORMS = {
    "plain": {"x": X, "y": Y, "validation_data": (X[:9], Y[:9])},
    "large": {"x": X, "y": Y, "validation_data": (X, Y)},
    "full batches": {"x": X[:64], "y": Y[:64], "validation_data": (X[:8], Y[:8])},
    "in order": {"x": X, "y": Y, "shuffle": False},
    "weights": {
        "x": X,
        "y": Y,
        "sample_weight": WEIGHTS,
        "validation_data": (X, Y, WEIGHTS),
        "validation_batch_size": 7,
        "validation_freq": 2,
    },
    "double precision": {"x": X.astype("float64"), "y": Y.astype("int32")},
    "weights of classes": {"x": X, "y": Y, "class_weight": {0: 1.0, 1: 3.0}},
    "a split": {"x": X, "y": Y, "validation_split": 0.25},
    "shuffled batches": {"x": X, "y": Y, "shuffle": "batch"},
    "tensors": {"x": tf.constant(X), "y": tf.constant(Y)},
    "names": {"x": {"x0": X, "x1": X[::-1].copy()}, "y": Y},
}


def by_keras(made, given):
    """Trains a model by Keras, on samples that are in the order of the epoch already; returns the history."""
    keras.utils.set_random_seed(5)
    if given.get("shuffle", True) is not True or tf.is_tensor(given["x"]):
        return made.fit(**given).history
    history = {}
    for epoch in range(given["epochs"]):
        samples = len(given["y"])
        kept = int(samples * (1.0 - given.get("validation_split", 0.0)))
        order = [*np.random.default_rng([5, epoch]).permutation(kept), *range(kept, samples)]
        arrays = {name: given[name] for name in ("x", "y", "sample_weight") if name in given}
        arrays = keras.tree.map_structure(lambda array, order=order: array[order], arrays)
        epochs = {"initial_epoch": epoch, "epochs": epoch + 1}
        for name, values in made.fit(
            **{**given, **arrays, **epochs}, shuffle=False
        ).history.items():
            history.setdefault(name, []).extend(values)
    return history


QUICK = ("plain",)


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=() if form in QUICK else pytest.mark.heavy) for form in FORMS]
)
def test_the_numbers_are_those_of_keras(form, monkeypatch):
    given = {"batch_size": 4, "validation_batch_size": 4, "epochs": 2, "verbose": 0} | FORMS[form]
    if form == "large":
        monkeypatch.setattr("recdrop_tune.models.training_batches.MOST_BYTES", X.nbytes)
    inputs = len(given["x"]) if isinstance(given["x"], list | dict) else 1
    expected, found = model(inputs=inputs), model(inputs=inputs)
    history = by_keras(expected, given)
    keras.utils.set_random_seed(5)
    calls = Calls()
    assert models.fit(found, **given, callbacks=[calls]).history == history
    assert calls.of_first_call == (1 if form == "tensors" else 3 if form == "a split" else 4)
    np.testing.assert_equal(found.get_weights(), expected.get_weights())


@pytest.mark.heavy
def test_datasets_are_not_changed():
    def batches():
        return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(99, seed=3).batch(4)

    given = {"epochs": 2, "verbose": 0, "shuffle": False}
    by_keras = model().fit(batches(), validation_data=batches(), **given).history
    calls = Calls()
    given |= {"validation_data": batches(), "callbacks": [calls]}
    assert models.fit(model(), batches(), **given).history == by_keras
    assert calls.of_first_call == 4


@pytest.mark.heavy
def test_a_number_of_steps_is_kept():
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat()
    made = model()
    models.fit(made, endless, steps_per_epoch=13, epochs=2, verbose=0, shuffle=False)
    assert int(made.optimizer.iterations.numpy()) == 26
    given = {"batch_size": 4, "verbose": 0, "shuffle": False}
    given |= {"validation_data": endless, "validation_steps": 3}
    by_keras = model().fit(X, Y, **given).history
    assert models.fit(model(), X, Y, **given).history == by_keras


def test_without_a_seed_the_order_is_left_to_keras(monkeypatch):
    monkeypatch.setattr("recdrop_tune.models.training_batches.global_seed", lambda: None)
    given = {"x": X, "y": Y}
    assert with_training_batches(given) is given


class Batches(Calls):
    counts_steps = False


class Evaluated(Callback):
    def on_test_batch_begin(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callbacks", "steps"),
    [
        ([StepTimer(), keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)], 4),
        (Batches(), 1),
        ([Evaluated()], 1),
        ([keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)], 1),
        ([rdt.RateSchedule("curriculum")], 4),
        ([rdt.RateSchedule("curriculum", per="batch")], 1),
    ],
)
def test_a_callback_that_follows_batches_sees_each(callbacks, steps):
    calls = Calls()
    every = [*keras.tree.flatten(callbacks), calls]
    models.fit(model(), X, Y, batch_size=4, verbose=0, callbacks=every)
    assert calls.of_first_call == steps
    if isinstance(callbacks, Batches):
        assert callbacks.ends == list(range(18))


def test_callbacks_in_a_callback_list_count():
    made, follows = model(), Batches()
    callbacks = keras.callbacks.CallbackList([follows], add_history=True, model=made)
    models.fit(made, X, Y, batch_size=4, verbose=0, callbacks=callbacks)
    assert follows.ends == list(range(18))


def test_a_model_compiled_for_several_steps_keeps_them():
    made, follows = model(steps_per_execution=3), Batches()
    models.fit(made, X, Y, batch_size=4, verbose=0, callbacks=[follows])
    assert follows.ends == [2, 5, 8, 11, 14, 17]
    assert made.steps_per_execution == 3


def test_a_model_with_its_own_fit_gets_arrays():
    class Own(keras.Sequential):
        def fit(self, x, y, **kwargs):
            return type(x), type(y), kwargs

    made = Own([keras.layers.Dense(1)])
    made.compile("adam", "mse")
    assert models.fit(made, X, Y, epochs=2) == (np.ndarray, np.ndarray, {"epochs": 2})


def test_a_layer_that_needs_the_batch_size():
    made = keras.Sequential([keras.layers.SimpleRNN(1, stateful=True)])
    made.compile("adam", "mse")
    models.fit(made, X[:64], Y[:64], batch_size=4, shuffle=False, verbose=0)
    assert made.built


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"y": Y[:-1]}, "cardinality"),
        ({"y": Y, "epoch": 3}, "epoch"),
        ({"y": [Y, Y], "sample_weight": (WEIGHTS,)}, "did not match"),
    ],
)
def test_errors_are_those_of_keras(given, words):
    with pytest.raises((ValueError, TypeError), match=words):
        models.fit(model(), X, **given, verbose=0)


@pytest.mark.parametrize(
    ("ends", "batches", "expected"),
    [
        # Keras's number of the last batch of each call. A call takes a second, the first one three.
        ([0, 1, 2], 3, 1000.0),
        ([9, 19, 29], 25, 2 / 15 * 1000.0),
        ([15], 10, 3 / 10 * 1000.0),
    ],
)
def test_the_time_of_a_step_if_a_call_runs_several(ends, batches, expected, monkeypatch):
    times = iter([0.0, *(3.0 + number for number in range(len(ends)))])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    timer, logs = StepTimer(), {}
    timer.set_params({"steps": batches})
    timer.on_epoch_begin(0)
    for end in ends:
        timer.on_train_batch_end(end)
    timer.on_epoch_end(0, logs)
    assert logs["ms_per_step"] == pytest.approx(expected)
