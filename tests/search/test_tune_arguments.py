"""Tests for what `recdrop_tune.search` refuses before anything is started."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError
from recdrop_tune.search.checks import check_fit_arguments
from tests.small_search import Failing, build, data

SPACE = {"units": 4, "wrapper": ["none", "recurrent"], "rate": 0.2}


def fit(**arguments):
    """The argument of `tune` that hands these on to `Model.fit`."""
    return {"training": rdt.Training(fit=arguments)}


@pytest.fixture
def options(tmp_path):
    return {
        "tracking": rdt.MLflow(uri=f"sqlite:///{tmp_path}/mlflow.db"),
        "directory": tmp_path / "project",
        "model": build,
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_trials": 0}, r"`max_trials`.*max_trials=0"),
        ({"objective": "val_f1"}, r"`objective`.*keras_tuner\.Objective\('val_f1', direction"),
        ({"objective": ["loss", "loss"]}, "`objective`.*different metrics"),
        ({"model": 3}, r"`model`.*a Keras model, a function that builds one.*HyperModel"),
        ({"model": Failing}, r"`model`.*Pass an instance: Failing\(\.\.\.\)"),
        (
            {"model": keras.Sequential([keras.Input((5, 3)), keras.layers.Dense(1)])},
            "`model`.*at least one LSTM or GRU layer.*`sequential",
        ),
        (fit(steps_per_epochs=3), r"`steps_per_epochs`.*Did you mean `steps_per_epoch`\?"),
        (fit(epochs=3), r"`epochs` received in `fit`.*Give `epochs` to `tune`"),
        (fit(validation_data=data()), r"`validation_data` received.*Give `validation` to `tune`"),
        ({"space": SPACE}, r"`space`.*None with a function or a hypermodel"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_arguments_are_checked_before_anything_starts(options, tmp_path, wrong, message):
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.tune(data(), data(), **{**options, **wrong})
    assert list(tmp_path.iterdir()) == []


X, Y = data()
BAD = X.copy()
BAD[3, 1, 2] = np.nan


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ((X, Y), None, "`validation`.*the objective is val_loss.*validation_split"),
        (X, (X, Y), r"`train`.*\(x, y\).*ndarray"),
        ((X, Y), (BAD, Y), "`validation`.*finite loss.*infinity in x"),
        ((X, Y), (X[..., :2], Y), r"`validation`.*\(\d, 5, 2\)"),
        ((X, Y), (X, Y + 2), r"`validation`.*label"),
    ],
)
@pytest.mark.parametrize("model", [None, build])
def test_data_are_checked_before_anything_starts(
    options, tmp_path, train, validation, message, model
):
    options |= {"model": model, "space": SPACE if model is None else None}
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.tune(train, validation, **options)
    assert list(tmp_path.iterdir()) == []


def test_arguments_of_a_fit_of_the_hypermodels_own():
    class Noisy(kt.HyperModel):
        def fit(self, hp, model, x, y, noise=0.0, callbacks=()):
            return model.fit(x, y, callbacks=callbacks)

    check_fit_arguments({"noise": 0.1, "shuffle": False}, Noisy())
    for arguments in ({"noises": 0.1}, {"args": 1}, {"hp": 1}):
        with pytest.raises(InvalidArgumentError, match=f"`{next(iter(arguments))}`"):
            check_fit_arguments(arguments, Noisy())


def test_a_fit_of_ones_own_that_takes_all_arguments():
    class Augmented(kt.HyperModel):
        def fit(self, hp, model, *args, **others):
            others.pop("augment")
            return model.fit(*args, **others)

    check_fit_arguments({"augment": True}, Augmented())
    with pytest.raises(InvalidArgumentError, match="Give `epochs` to `tune`"):
        check_fit_arguments({"augment": True, "epochs": 3}, Augmented())


@pytest.mark.parametrize("model", [build, kt.HyperModel(), rdt.SequenceClassifier(2, (5, 3))])
def test_without_one_the_arguments_are_those_of_keras(model):
    check_fit_arguments({"shuffle": False}, model)
    with pytest.raises(InvalidArgumentError, match="`augment` received in `fit`"):
        check_fit_arguments({"augment": True}, model)


def test_a_folder_that_cannot_be_written_to(options, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    options["directory"] = tmp_path / "file" / "project"
    with pytest.raises(ProjectError, match=r"file/project` cannot be written to: .*Give another"):
        rdt.tune(data(), data(), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
