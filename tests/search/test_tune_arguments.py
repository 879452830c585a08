"""Tests for what `recdrop_tune.search` refuses before anything is started."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError
from recdrop_tune.search.checks import check_fit_arguments
from recdrop_tune.search.data_arguments import Data
from recdrop_tune.search.model_checks import check_model_data
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
        ({"max_trials": 0}, r"`max_trials`.*max_trials=0"),
        ({"objective": "val_f1"}, r"`objective`.*keras_tuner\.Objective\('val_f1', direction"),
        ({"objective": ["loss", "loss"]}, "`objective`.*different metrics"),
        ({"model": 3}, r"`model`.*a Keras model, a function that builds one.*HyperModel"),
        ({"model": Failing}, r"`model`.*Pass an instance: Failing\(\.\.\.\)"),
        ({"model": keras.Sequential()}, r"`model`.*at least one LSTM or GRU layer.*`sequential"),
        (fit(steps_per_epochs=3), r"`steps_per_epochs`.*Did you mean `steps_per_epoch`\?"),
        (fit(epochs=3), r"`epochs` received in `fit`.*Give `epochs` to `tune`"),
        (fit(validation_data=data()), r"`validation_data` received.*Give `validation` to `tune`"),
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
        pytest.raises(RecdropError, match="NaN or infinity in the data have") as caught,
    ):
        rdt.tune((x, y), data(), max_trials=1, epochs=1, verbose=0, **options)
    assert str(caught.value).count("NaN or infinity in the data") == 1


def own(units=3, loss="sparse_categorical_crossentropy", steps=False, inputs=(5, 3)):
    """A compiled model of the caller's own."""
    layer = keras.layers.LSTM(2, return_sequences=steps)
    model = keras.Sequential([keras.Input(inputs), layer, keras.layers.Dense(units)])
    model.compile("sgd", loss)
    return model


def without_input():
    """One that is built when it is trained."""
    model = keras.Sequential([keras.layers.LSTM(2), keras.layers.Dense(3)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def stateful():
    """One that takes batches of 10."""
    layers = [keras.layers.GRU(2, stateful=True), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((5, 3), batch_size=10), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


X, Y = data()
MISSING = np.where(Y, np.nan, 0.0)
SINGLE = tf.data.Dataset.from_tensor_slices((X, Y))
ROWS = keras.utils.to_categorical(Y, 3)


@pytest.mark.parametrize(
    ("make", "train", "message"),
    [
        (
            own,
            (X, Y + 2),
            r"`train`.*labels 0 \.\.\. 2, for the model has 3 outputs.*labels 2, 3'\.",
        ),
        (own, (X, Y * 3), r"np\.unique.*; 4 classes need as many outputs"),
        (lambda: rdt.ExistingModel(own()), (X, Y + 2), r"`train`.*the model has 3 outputs"),
        (without_input, (X, Y + 2), r"`train`.*the model has 3 outputs"),
        (own, (X, MISSING), r"a label for each sequence.*\d+ that are"),
        (own, (X, ROWS), r"one-hot rows.*'categorical_crossentropy'.*y\.argmax"),
        (
            lambda: own(loss="categorical_crossentropy"),
            (X, Y),
            r"one-hot rows.*to_categorical\(y, 3\)",
        ),
        (
            lambda: own(1, keras.losses.BinaryCrossentropy()),
            (X, 2 * Y - 1),
            r"0 and 1.*labels -1, 1",
        ),
        (own, (X[..., :2], Y), r"with 3 features.*shape \(24, 5, 2\)"),
        (own, (X[:, 0], Y), r"\(24, 3\).*one long series, cut windows"),
        (stateful, (X, Y), r"`batch_size`.*10, for the model is stateful.*batch_size=32"),
        (
            own,
            (X, np.array(["cat", "dog"])[Y]),
            r"numbers in y.*<U3, such as '(cat|dog)'.*np\.unique",
        ),
        (own, (np.where(X > 0, X.astype(object), "none"), Y), r"numbers in x.*such as 'none'"),
        (own, (X.astype(str), Y), r"numbers in x.*text.*astype"),
        (own, ([X, X[:20]], Y), r"as many targets.*\[\(24, 5, 3\), \(20, 5, 3\)\]"),
        (own, (list(X), Y), r"one for each sample make an array: `np\.stack\(x\)`"),
        (own, SINGLE.batch(8).repeat(), r"`train`.*that ends, for an epoch.*steps_per_epoch"),
        (own, SINGLE, r"`train`.*shape \(5, 3\)'\. Batch the dataset"),
        (lambda: stateful, (X, Y), r"`model`.*which takes no argument.*with brackets"),
    ],
    ids=[
        *(
            "labels",
            "more labels",
            "options",
            "no input",
            "no label",
            "rows",
            "no rows",
            "signs",
            "features",
            "no windows",
        ),
        *(
            "batches",
            "words",
            "objects",
            "text",
            "inputs",
            "list",
            "endless",
            "unbatched",
            "function",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value received for argument `(train|validation)`")
def test_what_a_model_of_ones_own_does_not_take(options, tmp_path, make, train, message):
    with pytest.raises(InvalidArgumentError, match=message):
        rdt.tune(train, train, **{**options, "model": make()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "y", "said"),
    [
        (own(1, "mse", steps=True), X[:, 0, 0], "for one target a sequence"),
        (own(1, "mse"), X[:, 0], r"for 3 numbers a sequence the last layer is `Dense\(3\)`"),
        (own(1, "mse"), X[:, 0, :1], None),
        (own(1, "mse", steps=True), X[..., 0], None),
        (own(3, "mse"), X[:, 0], None),
        (own(1, lambda y, p: p), X[:, 0], None),
    ],
    ids=["each step", "several", "one", "steps", "as many", "own loss"],
)
def test_targets_that_keras_repeats_until_they_fit(model, y, said):
    def check():
        check_model_data(model, {"training": (X, y), "validation": None}, 32, {})

    if said is None:
        check()
    else:
        with pytest.warns(UserWarning, match=f"(?i){said}"):
            check()


@pytest.mark.parametrize(
    ("model", "x", "y", "weight"),
    [
        (own(steps=True), X, np.full((24, 5), -1), np.zeros((24, 5))),
        (
            own(loss=keras.losses.SparseCategoricalCrossentropy(ignore_class=7), steps=True),
            X,
            np.full((24, 5), 7),
            None,
        ),
        (own(), X[:, :4], Y, None),
        (own(inputs=(5, 1)), X[..., 0], Y, None),
    ],
    ids=["weight 0", "ignored", "fewer steps", "an axis of 1"],
)
def test_what_a_model_of_ones_own_takes(model, x, y, weight):
    check_model_data(model, {"training": (x, y, weight)}, 32, {})


def test_targets_of_a_model_of_ones_own_that_are_not_finite():
    values = np.array([0.5, np.inf, np.nan, 0.5])
    with pytest.warns(UserWarning, match=r"`train`.*2 that are .* first at y\['price'\]\[1\]"):
        Data((X[:4], {"price": values})).check()


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
        (*data(), r"`train`.*x and y go in together, as one argument: `\(x, y\)` and"),
        (build(kt.HyperParameters()), data(), r"`train`.*The model comes third"),
        (data(), 0.2, r"`validation`.*'validation_split': 0\.2"),
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
