"""Tests for what `recdrop_tune.search` refuses before anything is started."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError
from recdrop_tune.search.checks import check_fit_arguments
from tests.small_search import Batches, Failing, build, data

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
        ({"max_trials": 0}, r"`max_trials`.*at least 1.*max_trials=0"),
        ({"epochs": 2.0}, r"`epochs`.*integer of at least 1.*epochs=2\.0"),
        ({"batch_size": True}, r"`batch_size`.*batch_size=True"),
        ({"seed": -1}, r"`seed`.*at least 0 or None.*seed=-1"),
        ({"tuner": "evolution"}, r"`tuner`.*optuna, random.*'evolution'"),
        ({"objective": "val_f1"}, r"`objective`.*keras_tuner\.Objective\('val_f1', direction"),
        ({"objective": ["loss", 3]}, r"`objective`.*known direction"),
        (
            {"objective": ["loss", kt.Objective("val_accuracy", "maximize")]},
            r"`direction`.*'min' or 'max'.*mean Objective\('val_accuracy', direction='max'\)\?",
        ),
        (
            {
                "tracking": rdt.MLflow(uri="sqlite:///m.db"),
                "tuner": rdt.Optuna(storage="sqlite+pysqlite:///./m.db"),
            },
            r"`storage`.*another database than MLflow's",
        ),
        ({"model": 3}, r"`model`.*a Keras model, a function that builds one.*HyperModel"),
        ({"model": Failing}, r"`model`.*Pass an instance: Failing\(\.\.\.\)"),
        ({"model": keras.Sequential()}, r"`model`.*at least one LSTM or GRU layer.*`sequential"),
        ({"training": {"executions": 2}}, r"`training`.*rdt\.Training"),
        ({"workers": "four"}, r"`workers`.*rdt\.Workers.*workers='four'"),
        ({"confirm": 1.5}, r"`confirm`.*rdt\.Confirm.*confirm=1\.5"),
        ({"max_trial": 3}, r"no argument `max_trial`\. Did you mean `max_trials`\?"),
        (fit(steps_per_epochs=3), r"`steps_per_epochs`.*Did you mean `steps_per_epoch`\?"),
        (fit(epochs=3), r"`epochs` received in `fit`.*Give `epochs` to `tune`"),
        (fit(validation_data=data()), r"`validation_data` received.*Give `validation` to `tune`"),
        ({"y": data()[1]}, r"no argument `y`: give `train=\.\.\.`"),
        ({"directory": 3}, r"`directory`.*a path or None.*directory=3"),
        ({"directory": ""}, r"`directory`.*a path or None"),
        ({"verbose": "auto"}, r"`verbose`.*0, 1 or 2.*verbose='auto'"),
        ({"tracking": None}, r"`tracking`.*name of an experiment.*tracking=None"),
        ({"tracking": ""}, r"`tracking`.*a name"),
        ({"space": SPACE}, r"`space`.*beside a function or a hypermodel"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_arguments_are_checked_before_anything_starts(options, tmp_path, wrong, message):
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.tune(data(), data(), **{**options, **wrong})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argument", ["train", "validation"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_make_every_trial_fail(options, tmp_path, argument, value):
    x, y = data()
    bad = x.copy()
    bad[3, 1, 2] = value
    given = {"train": (x, y), "validation": (x, y), argument: (bad, y)}
    options |= {"model": None, "space": SPACE}
    message = rf"`{argument}`.*finite inputs.*1 that are .* the first at x\[3, 1, 2\]'\. Replace"
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.tune(**given, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_ones_own_may_know_what_to_do_with_them(options):
    x, y = data()
    x[3, 1, 2] = np.nan
    with (
        pytest.warns(UserWarning, match=r"`train`.*x\[3, 1, 2\].*every trial fails"),
        pytest.raises(RecdropError, match="NaN or infinity in the data do the same"),
    ):
        rdt.tune((x, y), data(), max_trials=1, epochs=1, verbose=0, **options)


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        (data(), None, r"`validation`.*the objective is val_loss.*validation_split"),
        (data()[0], data(), r"`train`.*\(x, y\).*ndarray"),
        ((data()[0],), data(), r"`train`.*\(x, y\)"),
        ((data()[0], data()[1][:5]), data(), r"`train`.*as many targets.*\(24, 5, 3\), \(5,\)"),
        (data(), (data()[0], None), r"`validation`.*\(x, y\)"),
        ((data()[0].tolist(), data()[1]), data(), r"`train`.*np\.asarray"),
        ((pair for pair in [data()]), data(), r"`train`.*generator cannot serve"),
    ],
)
def test_data_are_checked_before_anything_starts(options, tmp_path, train, validation, message):
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.tune(train, validation, **options)
    assert list(tmp_path.iterdir()) == []


def changed(x=None, y=None):
    """The data with other features or other labels."""
    return (data()[0] if x is None else x, data()[1] if y is None else y)


def dataset(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


class WideBatches(Batches):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return np.repeat(x, 2, axis=-1), y


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (changed(x=np.zeros((24, 5, 4))), r"`validation`.*3 features.*\(24, 5, 4\)"),
        (dataset(*changed(x=np.zeros((24, 5, 4)))), r"`validation`.*3 features.*\(None, 5, 4\)"),
        (WideBatches(), r"`validation`.*3 features.*\(8, 5, 6\)"),
        (changed(y=np.arange(24) % 4), r"`validation`.*labels 0 \.\.\. 1.*labels \[2, 3\]"),
        (changed(y=np.eye(2)[data()[1]]), r"`validation`.*integer labels.*shape \(24, 2\)"),
    ],
    ids=["features", "dataset", "PyDataset", "labels", "one-hot"],
)
def test_validation_data_of_another_task(options, tmp_path, validation, message):
    options["model"] = None
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.tune(data(), validation, space=SPACE, **options)
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
