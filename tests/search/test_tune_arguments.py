"""Tests for what `recdrop_tune.search` refuses before anything is started."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError
from recdrop_tune.search.hypermodel_of import check_fit_arguments
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
        ({"objective": "val_f1"}, "`objective`.*'name': 'val_f1', 'direction': 'max'"),
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
        ({"space": np.array([1, 2])}, r"`space`.*None with a function or a hypermodel"),
        ({"objective": np.array([1, 2])}, "`objective`.*name of a metric"),
        ({"objective": ["val_loss", "ms_per_step"], "tuner": "grid"}, "would add them up"),
        ({"validation": (np.float32(0), np.zeros(8)), "model": None}, "`validation`"),
        ({"confirm": rdt.Confirm(1, test=3)}, "`test`"),
        ({"training": rdt.Training(cv=3)}, "`validation`.*None with `cv`"),
        ({"directory": "a\0b"}, "cannot be written to: .*null"),
        ({"directory": "x" * 5000}, "cannot be written to: .*too long"),
        ({"directory": "file/project"}, "file/project` cannot be written to: .*Give another"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_arguments_are_checked_before_anything_starts(
    options, tmp_path, monkeypatch, wrong, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    given = {"validation": data(), **options, **wrong}
    with pytest.raises((InvalidArgumentError, ProjectError), match=message):
        rdt.tune(data(), **given)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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


class Noisy(kt.HyperModel):
    """Has a `fit` with an argument that Keras does not have."""

    def fit(self, hp, model, x, y, noise=0.0, callbacks=()):
        return model.fit(x, y, callbacks=callbacks)


class Augmented(kt.HyperModel):
    """Has a `fit` that takes everything."""

    def fit(self, hp, model, *args, **others):
        others.pop("augment")
        return model.fit(*args, **others)


@pytest.mark.parametrize(
    ("model", "accepted", "refused"),
    [
        (Noisy(), {"noise": 0.1, "shuffle": False}, ["noises", "args", "hp"]),
        (Augmented(), {"augment": True}, ["epochs"]),
        (build, {"shuffle": False}, ["augment"]),
        (kt.HyperModel(), {"shuffle": False}, ["augment"]),
        (rdt.SequenceClassifier(2, (5, 3)), {"shuffle": False}, ["augment"]),
    ],
)
def test_arguments_of_fit_are_those_of_keras_and_of_the_hypermodel(model, accepted, refused):
    check_fit_arguments(accepted, model)
    for name in refused:
        with pytest.raises(InvalidArgumentError, match=f"`{name}` received in `fit`"):
            check_fit_arguments({**accepted, name: 1}, model)
