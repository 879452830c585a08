"""Stock Keras Tuner keeps working: its tuners with the hypermodels, `dropout_rnn` and user-defined models."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from tests.small_search import data

SPACE = {
    "cell": "gru",
    "units": 4,
    "wrapper": ["none", "recurrent", "variational"],
    "placement": ["recurrent", "input+recurrent"],
    "rate": {"min": 0.1, "max": 0.5, "step": 0.2},
}


def head(hp, sequence):
    """The rest of a user-defined model around its recurrent layer."""
    model = keras.Sequential([keras.Input((5, 3)), sequence, keras.layers.Dense(2, "softmax")])
    model.compile(
        keras.optimizers.SGD(hp.Float("learning_rate", 0.01, 0.1, sampling="log")),
        "sparse_categorical_crossentropy",
        run_eagerly=True,  # Tracing would take longer than the trainings.
    )
    return model


def build(hp):
    """A user's build function."""
    units = hp.Int("units", 3, 5)
    return head(hp, rdt.dropout_rnn(hp, keras.layers.LSTM(units), name="rnn", space=SPACE))


class Own(kt.HyperModel):
    """A user's hypermodel that overrides `fit`, with two recurrent layers of one name."""

    def build(self, hp):
        forward = keras.layers.Bidirectional(keras.layers.GRU(3))
        return head(hp, rdt.dropout_rnn(hp, forward, space=SPACE))

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, batch_size=hp.Choice("batch_size", [8, 12]), **kwargs)


def bayesian(**where):
    model = rdt.SequenceClassifier.from_data(data(), space=SPACE)
    return kt.BayesianOptimization(
        model, "val_loss", max_trials=2, num_initial_points=1, seed=1, **where
    )


def grid(**where):
    return kt.GridSearch(build, "val_loss", max_trials=2, seed=1, **where)


def hyperband(**where):
    """A bracket of 2 trials, the better of which resumes, and one of 2."""
    return kt.Hyperband(Own(), "val_loss", max_epochs=2, factor=2, seed=1, **where)


# A model that has not been trained has no slots for Adam's state yet, which Keras says; here it is an error.
ADAM = "ignore:Skipping variable loading for optimizer"


@pytest.mark.filterwarnings(ADAM, "ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("make", "number"),
    [
        (grid, 2),
        pytest.param(bayesian, 2, marks=pytest.mark.heavy),
        pytest.param(hyperband, 5, marks=pytest.mark.heavy),
    ],
)
@pytest.mark.usefixtures("eagerly")
def test_stock_tuners(tmp_path, make, number):
    tuner = make(directory=tmp_path, project_name="p")
    x, y = data()
    tuner.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
    trials = tuner.oracle.trials.values()
    assert {trial.status for trial in trials} == {"COMPLETED"}
    assert len(trials) == number
    values = [trial.hyperparameters.values for trial in trials]
    assert len({str(each) for each in values}) == len(values)
    loss = tuner.get_best_models()[0].evaluate(x, y, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(loss, tuner.oracle.get_best_trials()[0].score, rtol=1e-5)
