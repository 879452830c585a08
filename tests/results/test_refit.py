"""`refit` trains the best configuration on all data, as `fit` would by hand."""

import keras
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import RecdropError
from tests.small_search import Batches, data, tuned

X, Y = data(24)
SPACE = {"units": 4, "wrapper": "recurrent", "placement": "input", "rate": [0.3, 0.5]}


def batched():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


class OneBatch(Batches):
    """Keras shuffles the batches of a `PyDataset`, and by Python's own random state."""

    def __len__(self):
        return 1


class Started(keras.callbacks.Callback):
    """Keeps the state in which a training begins: weights, and the random states of the masks."""

    def on_train_begin(self, logs=None):
        self.state = [keras.ops.convert_to_numpy(each) for each in state(self.model)]


def state(model):
    apart = {id(each) for each in model.metrics_variables}
    return [each for each in model.variables if id(each) not in apart]


@pytest.fixture
def search(tmp_path, running_eagerly):

    def run(train, **given):
        options = {"space": SPACE, "max_trials": 1, "epochs": 2, **given}
        with running_eagerly():
            return tuned(tmp_path / "p", None, None, train=train, **options)

    return run


WEIGHTS = {0: 1.0, 1: 5.0}
CASES = {
    "schedule": (
        (X, Y),
        {
            "space": {**SPACE, "schedule": "linear"},
            "batch_size": 6,
            # The code leaves shuffling to Keras.
            "training": rdt.Training(class_weight=WEIGHTS, fit={"shuffle": False}),
        },
    ),
    "dataset": (batched, {"training": rdt.Training(class_weight="balanced")}),
    "PyDataset": (OneBatch, {}),
}


def by_hand(best):
    layer = rdt.wrap(keras.layers.LSTM(4), "recurrent", placement="input", rate=best["rate"])
    inputs = keras.Input(X.shape[1:])
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(layer(inputs)))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.heavy
@pytest.mark.parametrize("case", CASES)
def test_it_trains_as_fit_does(search, case, running_eagerly):
    make, given = CASES[case]
    train = make if isinstance(make, tuple) else make()
    result = search(train, **given)
    begun = Started()
    parts = train if isinstance(train, tuple) else (train,)
    with running_eagerly():
        model = result.refit(*parts, callbacks=[begun])
        epochs = int(result.trials["best_epoch"][0]) + 1
        assert model.history.epoch == [*range(epochs)]
        same = by_hand(result.best_hyperparameters)
        keras.utils.set_random_seed(0)
        # The search draws other random numbers before the training begins.
        for variable, value in zip(state(same), begun.state, strict=True):
            variable.assign(value)
        weights = result.search.info.get("class_weight") or {}
        weights = {int(label): weight for label, weight in weights.items()} or None
        fit = {"class_weight": weights, "shuffle": False}
        if case == "schedule":  # It goes over the epochs of the search.
            fit |= {"callbacks": [rdt.RateSchedule("linear", epochs=2)], "batch_size": 6}
        same.fit(*parts, epochs=epochs, verbose=0, **fit)
    assert bool(weights) == ("training" in given)
    text = f"class_weight={{0: {weights[0]}, 1: {weights[1]}}}" if weights else "class_weight"
    assert (text in rdt.TuneResult.load(result.directory).best_code()) is bool(weights)
    for one, other in zip(same.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.heavy
def test_arguments_of_fit_replace_those_of_the_search(search, running_eagerly):
    stops = [keras.callbacks.EarlyStopping("val_loss", patience=1), Started]
    training = rdt.Training(class_weight=WEIGHTS, early_stopping=1, callbacks=stops)
    result = search((X, Y), epochs=1, training=training, seed=None)  # It draws one.
    plain = {"class_weight": None}
    given = ({}, plain, {**plain, "sample_weight": 1 + 4 * Y})
    with running_eagerly():
        weighted, plain, sampled = (
            result.refit(X, Y, epochs=2, **each).get_weights() for each in given
        )
    np.testing.assert_allclose(weighted[0], sampled[0], atol=1e-6)
    assert not np.allclose(weighted[0], plain[0], atol=1e-6)
    with pytest.raises(RecdropError, match="cannot build its models"):
        rdt.TuneResult.load(result.directory).refit(X, Y)
