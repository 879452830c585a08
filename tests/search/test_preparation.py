"""Tasks and their models, padding in searches, class weights, groups and early stopping."""

import itertools

import keras
import keras_tuner
import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hypermodels import ExistingModel, SequenceRegressor, SequenceTagger, task_in_words
from recdrop_tune.search.data import Data
from recdrop_tune.search.data_check import complete_training
from recdrop_tune.search.hypermodel_of import as_hypermodel, check_hypermodel_data
from recdrop_tune.search.settings import Task, Training
from recdrop_tune.tuner.trainings import folds
from tests.small_search import tuned
from tests.tracked_events import journaled, started

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(2, 7, 24)
LISTS = [RNG.normal(size=(length, 2)).astype("float32") for length in LENGTHS]
LABELS = np.array([int(each.sum() > 0) for each in LISTS])
X = RNG.normal(size=(24, 5, 2)).astype("float32")
SPACE = {"wrapper": "none", "units": 3}

pytestmark = pytest.mark.usefixtures("eagerly")


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return X[:8], LABELS[:8]


@pytest.fixture
def search(tmp_path):
    """A search of one trial."""

    def run(train, validation, model=None, **given):
        options = {"space": SPACE, "max_trials": 1, "epochs": 2, **given}
        data = {"train": train, "validation": validation}
        return tuned(tmp_path / "search", None, model, **data, **options)

    return run


def hypermodel(train, task):
    data = Data(train, None, None, task)
    return as_hypermodel(data.prepared_task, data.parts["training"], SPACE)[0]


# Sequences of unequal lengths


def by_hand(lists):
    return keras.utils.pad_sequences(lists, dtype="float32", padding="post", value=0.0)


def test_padding_that_a_model_reads_as_data_is_a_warning():
    def check(model, train=(LISTS, LABELS)):
        model.compile("adam", "binary_crossentropy")
        data = Data(train)
        hypermodel = ExistingModel(model, {"wrapper": "none"})
        check_hypermodel_data(hypermodel, data.parts, 8, {}, data.padding)

    layers = keras.Input((None, 2)), keras.layers.GRU(3), keras.layers.Dense(1, "sigmoid")
    with pytest.warns(UserWarning, match=r"Begin it with `keras.layers.Masking\(0\)`"):
        check(keras.Sequential([*layers]))
    with pytest.warns(UserWarning, match=r"Masking\(-3\)"):
        check(
            keras.Sequential([*layers]), ([np.append(each, [[0, 0]], 0) for each in LISTS], LABELS)
        )
    check(keras.Sequential([*layers]), (X, LABELS))
    inputs, *stack = layers
    check(keras.Sequential([inputs, keras.layers.Masking(), *stack]))
    mask = keras.ops.any(keras.ops.not_equal(inputs, 0.0), axis=-1)
    check(keras.Model(inputs, stack[1](stack[0](inputs, mask=mask))))


def test_a_language_model_skips_padding_without_a_mask():
    """Its loss and its metrics leave out token 0."""
    texts = [RNG.integers(1, 9, length) for length in (3, 5)]
    data = Data((texts, texts), task=Task("language_model"))
    made, _ = as_hypermodel(data.prepared_task, data.parts["training"], SPACE)
    assert check_hypermodel_data(made, data.parts, 2, {}, data.padding)


def test_numbers_for_each_step_in_lists_are_no_forecast():
    targets = [each.sum(axis=1) for each in LISTS]
    made = hypermodel((LISTS, targets), Task())
    assert (made.return_sequences, made.target_shape, made.mask_value) == (True, (1,), 0.0)
    with pytest.raises(InvalidArgumentError, match="Expected 'regression', because"):
        hypermodel((LISTS, targets), Task("forecast"))


# Outputs


@pytest.mark.heavy
def test_the_objective_of_one_output(search):
    """Keras begins its name with that of the output, and Keras Tuner knows its direction without that."""
    inputs = keras.Input((5, 2))
    hidden = keras.layers.GRU(3)(inputs)
    outputs = {
        "cls": keras.layers.Dense(2, "softmax")(hidden),
        "reg": keras.layers.Dense(1)(hidden),
    }
    model = keras.Model(inputs, outputs)
    losses = {"cls": "sparse_categorical_crossentropy", "reg": "mse"}
    model.compile("adam", losses, metrics={"cls": ["accuracy"], "reg": ["mae"]})
    dropout = {"wrapper": ["recurrent"]}
    train = X, {"cls": LABELS, "reg": X.mean((1, 2))}
    result = search(train, train, model, space=dropout, objective="val_cls_accuracy")
    assert result.search.direction == "max"
    assert len(result.trials) == 1


# Tasks


def test_a_value_for_each_step_or_a_forecast():
    y = X.sum(axis=-1)
    for name in ("forecast", "regression"):  # The same model, under the name that it was given.
        made = hypermodel((X, y[:, :3]), Task(name))
        assert task_in_words(made, X, y[:, :3], name) == name
    assert hypermodel((X, y), Task("forecast")).target_shape == (5,)
    each = hypermodel((X, y), Task("regression", loss="huber", metrics="mse"))
    assert (each.target_shape, each.return_sequences) == ((1,), True)
    assert (each.loss, each.metrics) == ("huber", ("mse",))
    assert isinstance(hypermodel((X, (y > 0).astype(int)), Task()), SequenceTagger)


@pytest.mark.parametrize(
    ("given", "padding", "expected"),
    [
        (
            [[0.5, 1.5], [2.5]],
            {"value": -1.0, "dtype": "float32"},
            [[[0.5], [1.5]], [[2.5], [-1.0]]],
        ),
        ([[5, 6], [7]], {"value": 0.0, "dtype": "int64"}, [[5, 6], [7, 0]]),
        (X, {"value": 0.0, "dtype": "float32"}, X),
        (LISTS, None, LISTS),
    ],
    ids=["one feature", "tokens", "an array", "nothing was padded"],
)
def test_new_sequences_are_padded_as_those_of_the_search(given, padding, expected, tmp_path):
    journaled(tmp_path, started(info={} if padding is None else {"padding": padding}))
    prepared = rdt.TuneResult.load(tmp_path).prepare(given)
    if isinstance(expected, list) and given is not expected:
        assert (prepared.dtype, prepared.tolist()) == (padding["dtype"], expected)
    else:
        assert prepared is given


@pytest.mark.heavy
@pytest.mark.backends
def test_padded_steps_count_in_no_number_of_a_regression(search):
    targets = [each.sum(axis=1) + 3 for each in LISTS]
    result = search((LISTS, targets), (LISTS, targets), "regression")
    model = result.best_model()
    prepared = rdt.TuneResult.load(result.directory).prepare(LISTS)
    np.testing.assert_array_equal(prepared, by_hand(LISTS))
    predicted = model.predict(prepared, verbose=0)[..., 0]
    errors = [np.square(line[: len(y)] - y) for line, y in zip(predicted, targets, strict=True)]
    best = result.trials.iloc[0]
    assert best["val_loss"] == pytest.approx(np.mean(np.concatenate(errors)), rel=1e-4)
    mean = np.concatenate(targets).mean()
    assert f"targets of mean {mean:.3g} and" in result.context.words
    assert "2 to 6 steps" in result.context.words


def test_a_regressor_for_each_step_asks_for_a_last_axis():
    """Without it, Keras applies no mask to the errors."""
    with pytest.raises(InvalidArgumentError, match="Add the missing axis with `y"):
        SequenceRegressor.from_data((X, X[..., 0]), each_step=True, mask_value=9.0)


class OwnF1(keras.metrics.F1Score):
    pass


@pytest.mark.heavy
@pytest.mark.backends
def test_metrics_of_two_classes():
    """They are those of the predictions, rounded."""
    accuracies = ["accuracy", "BinaryAccuracy", "sparse_categorical_accuracy"]
    metrics = [*accuracies, "AUC", "Precision", "Recall", "F1Score"]
    metrics += [OwnF1("macro", name="own_f1")]
    metrics += [keras.metrics.SparseCategoricalAccuracy(name="own_accuracy")]
    data = Data((X, LABELS), (X, LABELS), None, Task(metrics=metrics))
    made, _ = as_hypermodel(data.prepared_task, data.parts["training"], SPACE)
    model = made.build(keras_tuner.HyperParameters())
    scores = model.evaluate(*data.parts["validation"], verbose=0, return_dict=True)
    positive = model.predict(X, verbose=0)[:, 0] > 0.5
    truth, found = LABELS == 1, {}
    both = (positive & truth).sum()
    assert 0 < both < len(X)
    found["Precision"], found["Recall"] = both / positive.sum(), both / truth.sum()
    found["F1Score"] = found["own_f1"] = 2 * both / (positive.sum() + truth.sum())
    found |= dict.fromkeys([*accuracies, "own_accuracy"], (positive == truth).mean())
    assert {name: scores[name] for name in found} == pytest.approx(found, abs=1e-5)
    assert 0 < scores["AUC"] <= 1


def test_only_a_regression_or_a_forecast_takes_a_loss():
    with pytest.raises(InvalidArgumentError, match=r"`loss`.*only a regression or a forecast"):
        hypermodel((X, LABELS), Task("classification", loss="mse"))


# How trials are trained


def test_classes_are_weighted():
    y = np.repeat([0, 1, 2], [16, 6, 2])
    balanced = {0: 0.5, 1: 24 / 18, 2: 4.0}
    training = Training(class_weight="balanced")
    for train in ((X, y), (X, y[:, None]), (X, np.eye(3)[y])):
        assert complete_training(training, train, None).fit["class_weight"] == balanced


@pytest.mark.parametrize(
    ("training", "train", "said"),
    [
        ({"class_weight": {5: 2.0}}, (X, LABELS), r"training data: 0, 1\. Received: .*5"),
        ({"class_weight": "balanced"}, (X, X[..., 0] > 0), r"\(x, y, weights\[y\]\)"),
        ({"class_weight": "balanced"}, (X, {"one": LABELS, "other": LABELS}), "one label for each"),
        ({"class_weight": "balanced"}, Endless(), "a dataset that ends.*class weights"),
        ({"groups": LABELS}, (X, LABELS), "None without `cv`"),
        ({"groups": LABELS, "cv": 3}, (X, LABELS), "`groups`.*that can be split into folds"),
        ({"groups": LABELS, "cv": KFold(2)}, (X, LABELS), "`cv`.*splitter that takes groups"),
        ({"groups": LABELS[:5], "cv": 2}, (X, LABELS), "`groups`.*inconsistent numbers"),
    ],
)
def test_settings_that_do_not_fit_the_data(training, train, said):
    labelled = isinstance(train, tuple) and getattr(train[1], "ndim", 3) < 3
    with pytest.raises(InvalidArgumentError, match=said):
        complete_training(
            Training(**training), train, hypermodel(train, Task()) if labelled else None
        )


def test_no_group_is_on_both_sides_of_a_fold():
    groups = np.arange(24) % 4
    x = np.repeat(groups, 10).reshape(24, 5, 2).astype("float32")
    for y, cv in itertools.product((LABELS, groups / 4 + 0.1), (2, GroupKFold(2))):
        training = complete_training(Training(cv=cv, groups=list(groups)), (x, y), None)
        parts = list(folds(training.cv, 0, {"x": x, "y": y}))
        assert len(parts) == 2
        for part in parts:
            held_out = np.unique(part["validation_data"][0])
            assert held_out.size
            assert not np.isin(held_out, part["x"]).any()


@pytest.mark.heavy
def test_a_training_ends_when_it_gets_no_better(search):
    training = Training(early_stopping=2)
    trial = search((X, LABELS), (X, 1 - LABELS), epochs=60, training=training).trials.iloc[0]
    assert trial["epochs"] == trial["best_epoch"] + 3 < 60
