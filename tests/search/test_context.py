"""Tests for what a search says of its data, and of a constant predictor."""

import itertools
import json
import pickle

import keras
import keras_tuner as kt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.events import Context
from recdrop_tune.files import JOURNAL
from recdrop_tune.search.context import context_of
from recdrop_tune.search.hypermodel_of import ObservedTrials, compiled_with
from recdrop_tune.tuner import as_objectives

OBJECTIVES = ("val_loss", "val_accuracy", "val_mae", "val_perplexity", "val_mean_absolute_error")


def context(model, train, validation=None, hypermodel=None):
    """The context of a search by a hypermodel, or by a build function that gives the model."""
    return context_of(train, validation, hypermodel, compiled_with(model), OBJECTIVES)


def of_hypermodel(hypermodel, train, validation=None):
    """The context of a search by a hypermodel of ours."""
    built = hypermodel.build(kt.HyperParameters())
    return context(built, train, validation, hypermodel), built


def sequences(samples, steps=5, features=3):
    """Sequences without a zero in them."""
    return np.random.default_rng(1).uniform(1, 2, (samples, steps, features)).astype("float32")


def model_of(loss, units=1, activation=None, metrics=(), per_step=False, **layer):
    """A compiled model with one dense layer at the end."""
    inputs = keras.Input((5, 3))
    hidden = inputs if per_step else keras.layers.Flatten()(inputs)
    outputs = keras.layers.Dense(units, activation, **layer)(hidden)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss, metrics=list(metrics))
    return model


def says(model, constant, *data, **more):
    """What Keras says of the model when its last dense layer gives the same for every sequence."""
    (*_, dense) = (each for each in model.layers if isinstance(each, keras.layers.Dense))
    kernel, bias = dense.get_weights()
    dense.set_weights([np.zeros_like(kernel), np.broadcast_to(constant, bias.shape)])
    found = model.evaluate(*data, batch_size=len(data[0]), verbose=0, return_dict=True, **more)
    return {f"val_{name}": value for name, value in found.items()}


def test_classes_by_hand():
    train = np.repeat([0, 1], [88, 12])
    check = np.repeat([0, 1], [45, 5])
    hypermodel = rdt.SequenceClassifier(2, (None, 3))
    found, _ = of_hypermodel(hypermodel, (sequences(100), train), (sequences(50), check))
    assert found.words == "2 classes, 12 % positive, 100 sequences of 5 steps, 3 features"
    losses = np.where(check == 0, -np.log(0.88), -np.log(0.12))
    assert found.constant == pytest.approx({"val_loss": losses.mean(), "val_accuracy": 0.9})
    hits = check == 0
    noise = {"val_loss": losses.std(ddof=1) / 50**0.5, "val_accuracy": hits.std(ddof=1) / 50**0.5}
    assert found.noise == pytest.approx(noise)
    assert found.predicts == {
        "val_loss": "the class frequencies of the training data",
        "val_accuracy": "the most frequent class",
    }


LABELS = np.random.default_rng(0).choice(3, 40, p=[0.2, 0.5, 0.3])
CHECK = np.random.default_rng(2).choice(3, 30, p=[0.2, 0.5, 0.3])
SHARES = np.bincount(LABELS) / 40
NUMBERS = np.random.default_rng(3).exponential(size=(40, 4))
OTHERS = np.random.default_rng(4).exponential(size=(30, 4))
WEIGHTS = np.random.default_rng(5).uniform(0, 2, 40), np.random.default_rng(6).uniform(0, 2, 30)
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    ("model", "train", "check", "constant"),
    [
        (("sparse_categorical_crossentropy", 3, "softmax"), LABELS, CHECK, np.log(SHARES)),
        ((LOGITS, 3), LABELS[:, None], CHECK[:, None], np.log(SHARES)),
        (
            ("categorical_crossentropy", 3, "softmax"),
            np.eye(3)[LABELS],
            np.eye(3)[CHECK],
            np.log(SHARES),
        ),
        (
            ("binary_crossentropy", 1, "sigmoid"),
            LABELS > 1,
            CHECK[:, None] > 1,
            np.log(SHARES[2] / (1 - SHARES[2])),
        ),
        (("mse", 4), NUMBERS, OTHERS, NUMBERS.mean(axis=0)),
        ((keras.losses.MeanSquaredError(), 1), NUMBERS[:, 0], OTHERS[:, :1], NUMBERS[:, 0].mean()),
    ],
    ids=["sparse", "logits", "one-hot", "binary", "forecast", "number"],
)
def test_keras_says_the_same(model, train, check, constant):
    metrics = ["mae"] if "mean_squared" in str(model[0]) or model[0] == "mse" else ["accuracy"]
    built = model_of(*model, metrics=metrics)
    found = context(built, (sequences(40), train), (sequences(30), check))
    expected = says(built, constant, sequences(30), check.astype("float32"))
    assert found.constant["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)
    if "val_accuracy" in expected:
        assert found.constant == pytest.approx(expected, rel=1e-5)
    else:  # Another constant than the mean suits it.
        absolute = np.abs(check.reshape(30, -1) - np.median(train.reshape(40, -1), axis=0))
        assert found.constant["val_mae"] == pytest.approx(absolute.mean())


@pytest.mark.parametrize(
    ("loss", "middle", "word"),
    [
        ("mae", np.median, "median"),
        ("huber", np.median, "median"),
    ],
)
def test_losses_that_the_median_suits(loss, middle, word):
    built = model_of(loss, 4)
    found = context(built, (sequences(40), NUMBERS), (sequences(30), OTHERS))
    expected = says(built, middle(NUMBERS, axis=0), sequences(30), OTHERS)
    assert found.constant == pytest.approx(expected, rel=1e-5)
    assert found.predicts == {"val_loss": f"the {word} of the training targets"}


def test_sample_weights_count_in_the_loss_alone():
    built = model_of("sparse_categorical_crossentropy", 3, "softmax", ["accuracy"])
    shares = np.bincount(LABELS, WEIGHTS[0]) / WEIGHTS[0].sum()
    train, check = (sequences(40), LABELS, WEIGHTS[0]), (sequences(30), CHECK, WEIGHTS[1])
    found = context(built, train, check)
    expected = says(built, np.log(shares), *check[:2], sample_weight=WEIGHTS[1])
    assert found.constant == pytest.approx(expected, rel=1e-5)
    wrong = (*check[:2], np.ones((30, 2)))
    assert "val_loss" not in context(built, train, wrong).constant


def test_labels_that_are_independent_of_each_other():
    labels = np.stack([LABELS > 0, LABELS > 1], axis=1)
    checked = np.stack([CHECK > 0, CHECK > 1], axis=1)
    built = model_of("binary_crossentropy", 2, "sigmoid", ["binary_accuracy"])
    found = context_of(
        (sequences(40), labels),
        (sequences(30), checked),
        None,
        compiled_with(built),
        ["val_loss", "val_binary_accuracy"],
    )
    share = labels.mean(axis=0)
    expected = says(built, np.log(share / (1 - share)), sequences(30), checked)
    assert found.constant == pytest.approx(expected, rel=1e-5)


def test_a_regressor():
    hypermodel = rdt.SequenceRegressor((2, 3), (None, 3), mask_value=0.0)
    train, check = (np.random.default_rng(i).normal(2, 3, (20, 2, 3)) for i in range(2))
    found, built = of_hypermodel(hypermodel, (sequences(20), train), (sequences(20), check))
    expected = says(built, train.mean(axis=0).ravel(), sequences(20), check)
    assert found.constant["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)
    absolute = np.abs(check - np.median(train, axis=0)).mean()
    assert found.constant["val_mean_absolute_error"] == pytest.approx(absolute)
    assert found.words.startswith(
        f"2 × 3 targets of mean {train.mean():.3g} and standard deviation {train.std():.3g}, 20"
    )


def padded(samples, lengths=(2, 5), front=False):
    """Sequences of a length in turn, the rest of their five steps zeros."""
    x = sequences(samples)
    for row, length in zip(x, itertools.cycle(lengths), strict=False):
        row[slice(0, 5 - length) if front else slice(length, 5)] = 0
    return x


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_tagger_leaves_padded_steps_out(one_hot):
    x, y = padded(20), np.random.default_rng(0).choice(3, (20, 5), p=[0.6, 0.3, 0.1])
    x_val, y_val = padded(10), np.random.default_rng(1).choice(3, (10, 5), p=[0.6, 0.3, 0.1])
    y[(x == 0).all(axis=-1)] = 2
    form = np.eye(3)[y] if one_hot else y
    form_val = np.eye(3)[y_val] if one_hot else y_val
    hypermodel = rdt.SequenceTagger(3, (None, 3), mask_value=0.0, one_hot=one_hot)
    found, built = of_hypermodel(hypermodel, (x, form), (x_val, form_val))
    shares = np.bincount(y[x.any(axis=-1)]) / x.any(axis=-1).sum()
    assert found.constant == pytest.approx(says(built, np.log(shares), x_val, form_val), rel=1e-5)
    largest = f"{100 * shares.max():.0f} %"
    assert found.words == (
        f"3 classes for each step, the largest {largest}, 20 sequences of 2 to 5 steps, 3 features"
    )


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_tagger_of_two_classes_has_one_constant_for_all_steps(column, weighted):
    x, x_val = padded(20), padded(10)
    y, y_val = (
        np.random.default_rng(i).choice(2, (n, 5), p=[0.7, 0.3]) for i, n in ((0, 20), (1, 10))
    )
    counts, checked = ((each != 0).any(axis=-1) for each in (x, x_val))
    y[~counts], y_val[~checked] = 1, 1
    hypermodel = rdt.SequenceTagger(2, (None, 3), mask_value=0.0)
    data, check = [x, y[..., None] if column else y], [x_val, y_val[..., None] if column else y_val]
    weight = np.ones(y.shape)
    if weighted:
        weight = np.random.default_rng(2).random(y.shape)
        data, check = [*data, weight], [*check, weight[:10]]
    found, built = of_hypermodel(hypermodel, tuple(data), tuple(check))
    share = (y * weight)[counts].sum() / weight[counts].sum()
    more = {"sample_weight": check[2]} if weighted else {}
    expected = says(built, np.log(share / (1 - share)), *check[:2], **more)
    assert found.constant == pytest.approx(expected, rel=1e-5)
    assert found.noise["val_loss"] > 0
    positive = f"{100 * y[counts].mean():.0f} % positive"
    assert found.words.startswith(f"2 classes for each step, {positive}, 20 sequences of 2 to 5")


def test_a_loss_that_was_saved_is_the_same():
    """JSON turns the axis of a tagger's loss into a list."""
    hypermodel = rdt.SequenceTagger(2, (None, 3))
    built, data = (
        hypermodel.build(kt.HyperParameters()),
        (sequences(20), np.arange(100).reshape(20, 5) % 2),
    )
    expected = context(built, data, None, hypermodel).constant
    saved = json.loads(json.dumps(keras.losses.serialize(built.loss)))
    built.compile("sgd", keras.losses.deserialize(saved), metrics=["accuracy"])
    assert context(built, data, None, hypermodel).constant == expected
    assert "val_loss" in expected


def test_the_noise_of_steps_is_one_of_sequences():
    y = np.repeat([[0], [1]], [12, 8], axis=0) * np.ones(
        (1, 5), int
    )  # All steps of a sequence alike.
    hypermodel = rdt.SequenceTagger(2, (None, 3))
    found, _ = of_hypermodel(hypermodel, (sequences(20), y))
    hits = y[:, 0] == 0
    assert found.noise["val_accuracy"] == pytest.approx(hits.std(ddof=1) / 20**0.5)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "mse"])
def test_luck_is_within_the_noise(loss, share):
    draw = np.random.default_rng(0)
    check = (np.arange(100) < 100 * share).astype("int64")
    train = np.repeat(check, 2)
    built = model_of(loss, *((2, "softmax") if loss != "mse" else (1,)))
    found = context(built, (sequences(200), train), (sequences(100), check))
    constant, noise = found.constant["val_loss"], found.noise["val_loss"]
    for spread in (0.01, 0.1, 0.3, 1.0):
        # Hundreds of models that have learned nothing of the labels.
        around = draw.normal(0, spread, (400, 100))
        if loss == "mse":
            losses = (check - share - around) ** 2
        else:
            likely = 1 / (1 + np.exp(-np.log(share / (1 - share)) - around))
            losses = -np.log(np.where(check == 1, likely, 1 - likely))
        assert constant - losses.mean(axis=1).min() < 2 * noise
    assert 2 * noise < 0.6 * constant  # One that has learned something gets beyond it.


@pytest.mark.parametrize("mask_zero", [False, True])
def test_a_language_model(mask_zero):
    tokens = np.random.default_rng(0).choice(6, (20, 8), p=[0, 0.4, 0.3, 0.1, 0.1, 0.1])
    if mask_zero:
        tokens[::2, 5:] = 0
    train = rdt.LanguageModel.shift(tokens)
    check = tuple(part[:12] for part in train)
    hypermodel = rdt.LanguageModel(6, mask_zero=mask_zero)
    found, built = of_hypermodel(hypermodel, train, check)
    words = train[1][train[1] > 0] if mask_zero else train[1]
    shares = np.bincount(words.ravel(), minlength=6) / words.size
    expected = says(built, np.log(shares + 1e-12), *check)
    assert found.constant == pytest.approx(expected, rel=1e-5)
    assert found.constant["val_perplexity"] == pytest.approx(np.exp(found.constant["val_loss"]))
    assert found.predicts["val_loss"] == "the word frequencies of the training data"
    steps = "5 to 7" if mask_zero else "7"
    assert found.words == f"6 words, 20 sequences of {steps} steps"


def test_a_class_that_the_training_data_lack():
    built = model_of("sparse_categorical_crossentropy", 3, "softmax")
    found = context(built, (sequences(4), np.array([0, 0, 0, 1])), (sequences(2), np.array([0, 2])))
    assert found.constant["val_loss"] == pytest.approx(-np.log([4 / 7, 1 / 7]).mean())
    built = model_of("binary_crossentropy", 1, "sigmoid")
    found = context(built, (sequences(4), np.zeros(4)), (sequences(2), np.array([0, 1])))
    assert found.constant["val_loss"] == pytest.approx(-np.log([5 / 6, 1 / 6]).mean())


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (padded(4), "4 sequences of 2 to 5 steps, 3 features"),
        (padded(4, front=True), "4 sequences of 2 to 5 steps, 3 features"),
        (padded(4, (3,)), "4 sequences of 3 steps, 3 features"),
        (padded(4) * padded(4, front=True), "4 sequences of 5 steps, 3 features"),
        (np.zeros((4, 5, 3)), "4 sequences of 5 steps, 3 features"),
        (np.ones((1, 1, 1)), "1 sequence of 1 step, 1 feature"),
        (np.ones((2000, 2, 1)), "2,000 sequences of 2 steps, 1 feature"),
        (np.array([[4, 2, 0], [1, 9999, 3]]), "2 sequences of 2 to 3 steps, 10,000 words"),
        (np.array([[0, 0, 2], [1, 2, 3]]), "2 sequences of 1 to 3 steps, 4 words"),
        (np.ones((4, 5)), "4 samples of shape (5,)"),
        ([np.ones(4), np.ones(4)], ""),
    ],
)
def test_sequences_in_words(x, words):
    found = context_of((x, np.array(["a"] * len(x))), None, None, None, [])
    assert (found.words if found else "") == words


def test_the_mask_value_says_what_is_padding():
    x = padded(4)
    x[x == 0] = -1
    hypermodel = rdt.SequenceClassifier(2, (None, 3), mask_value=-1.0)
    found, _ = of_hypermodel(hypermodel, (x, np.array([0, 1, 0, 1])))
    assert found.words == "2 classes, 50 % positive, 4 sequences of 2 to 5 steps, 3 features"


def test_of_many_sequences_a_sample_is_looked_at():
    x = np.broadcast_to(np.float32(1), (30_000, 50, 10)).copy()
    x[::2, 30:] = 0
    found = context_of((x, None), None, None, None, [])
    assert found.words == "30,000 sequences of about 30 to 50 steps, 10 features"


def endless():
    raise AssertionError("The data are read.")
    yield


class Unread(keras.utils.PyDataset):
    """Seven batches that nobody may read."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        raise AssertionError("The data are read.")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            tf.data.Dataset.from_tensor_slices((sequences(24), np.zeros(24, "int32"))).batch(8),
            "2 classes, 3 batches of sequences of 5 steps, 3 features",
        ),
        (
            tf.data.Dataset.from_generator(
                endless,
                output_signature=(tf.TensorSpec((None, None, 3)), tf.TensorSpec((None,))),
            ),
            "2 classes, 3 features",
        ),
        (Unread(), "2 classes, 7 batches of sequences, 3 features"),
    ],
    ids=["tf.data", "unbounded", "PyDataset"],
)
def test_datasets_are_not_read(data, words):
    found, _ = of_hypermodel(rdt.SequenceClassifier(2, (None, 3)), data, data)
    assert found == Context(words)


def custom(y_true, y_pred):
    return keras.ops.mean(y_pred)


class Stepping(keras.Model):
    """Scores in its own way."""

    def test_step(self, data):
        return super().test_step(data)


def two_outputs():
    inputs = keras.Input((5, 3))
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(1)(flat), keras.layers.Dense(1)(flat)])
    model.compile("sgd", ["mse", "mse"])
    return model


def masked_steps():
    inputs = keras.Input((5, 3))
    hidden = keras.layers.LSTM(2, return_sequences=True)(keras.layers.Masking()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile("sgd", "mse")
    return model


def stepping():
    inputs = keras.Input((5, 3))
    model = Stepping(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: model_of(custom),
        lambda: model_of(lambda y_true, y_pred: keras.ops.mean(y_pred)),
        lambda: model_of(keras.losses.BinaryCrossentropy(label_smoothing=0.1), 1, "sigmoid"),
        lambda: model_of("mse", kernel_regularizer="l2"),
        lambda: model_of("mse", activity_regularizer="l2"),
        lambda: model_of("poisson"),
        # Before Keras 3.16 the delta is not in the configuration.
        *[lambda: model_of(keras.losses.Huber(0.1))][
            : "delta" not in keras.losses.Huber().get_config()
        ],
        two_outputs,
        stepping,
        lambda: "no model of Keras's",
    ],
)
def test_nothing_is_said_of_other_losses(make):
    y = np.arange(40) % 2
    found = context(make(), (sequences(40), y), (sequences(40), y))
    assert found.constant == {}
    assert found.words == "2 classes, 50 % positive, 40 sequences of 5 steps, 3 features"


def test_nothing_is_said_of_masks_that_are_not_ours():
    y = np.random.default_rng(0).normal(size=(40, 5, 1))
    assert context(masked_steps(), (sequences(40), y)) == Context(
        "40 sequences of 5 steps, 3 features"
    )


def test_a_metric_is_known_where_the_loss_is_not():
    built = model_of(custom, 3, "softmax", ["accuracy"])
    found = context(built, (sequences(40), LABELS))
    assert found.constant == {"val_accuracy": pytest.approx((LABELS == 1).mean())}


PARTS = st.one_of(
    st.just("text"),
    st.just(None),
    st.builds(
        lambda shape, kind, seed: np.random.default_rng(seed).normal(0, 2, shape).astype(kind),
        st.lists(st.integers(0, 4), max_size=4).map(tuple),
        st.sampled_from(["float32", "float16", "int64", "uint8", "bool", "complex64", "object"]),
        st.integers(0, 9),
    ),
    st.just(np.array(["a", "b"])),
    st.just(np.full((3, 2), np.nan)),
    st.just(tf.ragged.constant([[1, 2], [3]])),
    st.just(tf.constant([0, 1, 1])),
    st.just(pd.Series([0, 1, 2])),
    st.just(pd.DataFrame({"a": [0.5, 1.0], "b": [2.0, None]})),
    st.just(scipy.sparse.eye(3)),
)
MODELS = [
    model_of("sparse_categorical_crossentropy", 3, "softmax", ["accuracy"]),
    model_of("categorical_crossentropy", 3, "softmax", ["accuracy"], per_step=True),
    model_of("binary_crossentropy", 1, "sigmoid", ["accuracy"]),
    model_of("mse", 2, metrics=["mae"]),
    model_of("huber", 2, per_step=True),
]


@given(st.sampled_from(MODELS), st.tuples(PARTS, PARTS, PARTS), st.tuples(PARTS, PARTS, PARTS))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # Made by the strategies.
def test_no_data_stop_a_search(model, train, check):
    found = context(model, train, check)
    values = [] if found is None else [*found.constant.values(), *found.noise.values()]
    assert np.all(np.isfinite(values))
    assert json.loads(json.dumps(values)) == values


SPACE = {"units": 4, "wrapper": ["none", "recurrent"], "rate": [0.1], "learning_rate": 0.03}


@pytest.fixture(scope="module")
def uri(tmp_path_factory, new_store):
    return new_store(tmp_path_factory.mktemp("mlflow"))


def searched(folder, uri, learnable, **more):
    """A search on sequences of two classes, which differ in their mean or not at all."""
    draw = np.random.default_rng(0)
    y = (draw.random(200) < 0.3).astype("int64")
    x = draw.normal(size=(200, 6, 2)).astype("float32") + 3.0 * learnable * y[:, None, None]
    x[:100, 4:] = 0
    options = {"space": SPACE, "max_trials": 2, "epochs": 2, "batch_size": 100} | more
    return rdt.tune(
        (x.astype("float32"), y),
        (x[:80].astype("float32"), y[:80]),
        directory=folder / "p",
        seed=0,
        verbose=0,
        **{"tracking": rdt.MLflow(uri=uri), **options},
    )


@pytest.fixture(scope="module")
def random_labels(tmp_path_factory, uri, running_eagerly):
    with running_eagerly():
        return searched(
            tmp_path_factory.mktemp("random"), uri, False, tracking=rdt.MLflow("random", uri=uri)
        )


@pytest.fixture(scope="module")
def learnable(tmp_path_factory, uri, running_eagerly):
    folder = tmp_path_factory.mktemp("learnable")
    with running_eagerly():
        return searched(folder, uri, True, max_trials=1, epochs=12, objective="val_accuracy")


def read(result):
    return (result.directory / "result" / "summary.md").read_text()


def test_a_search_that_finds_nothing_says_so(random_labels):
    context = random_labels.context
    text = random_labels.summary()
    best = random_labels.trials["val_loss"][0]
    data, warning = text.splitlines()[2:4]
    assert data == f"Data: {context.words}."
    assert context.words.endswith("positive, 200 sequences of 4 to 6 steps, 2 features")
    assert warning == (
        f"Warning: the best trial (val_loss {best:.4f}) is not clearly better than always predicting "
        "the class frequencies of the training data "
        f"({context.constant['val_loss']:.4f}, noise {context.noise['val_loss']:.4f}). Train for more "
        "epochs, try other learning rates, or look at the data."
    )
    parts = read(random_labels).split("\n\n")
    assert parts.index(warning) == 1  # MLflow's page folds all but the first lines.
    assert data in parts
    page = (random_labels.directory / "result" / "report.html").read_text()
    assert f"<p>{data}</p><p>{warning}</p>" in page


def test_a_search_that_finds_something_says_what_it_is_to_be_compared_with(learnable):
    assert "Warning" not in learnable.summary() + read(learnable)
    value, noise = (
        each["val_accuracy"] for each in (learnable.context.constant, learnable.context.noise)
    )
    line = (
        f"Always predicting the most frequent class scores val_accuracy {value:.4f} (noise "
        f"{noise:.4f})."
    )
    assert line in learnable.summary().splitlines()
    assert line in read(learnable).splitlines()


def test_mlflow_has_it(random_labels):
    client = MlflowClient(random_labels.tracking_uri)
    experiment = client.get_experiment_by_name("random").experiment_id
    (run,) = client.search_runs([experiment], "tags.`recdrop.kind` = 'search'")
    assert run.data.params["data"] == random_labels.context.words
    assert float(run.data.params["constant val_loss"]) == pytest.approx(
        random_labels.context.constant["val_loss"]
    )


def test_the_folder_has_it(random_labels):
    loaded = rdt.TuneResult.load(random_labels.directory)
    assert loaded.context == random_labels.context
    ours, theirs = (each.summary().splitlines() for each in (loaded, random_labels))
    assert ours[:4] == theirs[:4]


def test_a_folder_of_an_earlier_version_has_none(random_labels):
    journal = random_labels.directory / JOURNAL
    before = journal.read_text()
    events = [json.loads(line) for line in before.splitlines()]
    for event in events:
        event.pop("context", None)
    journal.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    try:
        loaded = rdt.TuneResult.load(random_labels.directory)
        assert loaded.context is None
        assert "Data:" not in loaded.summary()
    finally:
        journal.write_text(before)


def test_it_can_be_sent_to_another_process(random_labels):
    assert pickle.loads(pickle.dumps(random_labels.context)) == random_labels.context


def test_the_confirmed_mean_counts(tmp_path, uri, eagerly):
    result = searched(tmp_path, uri, False, confirm=rdt.Confirm(1, seeds=2), epochs=1)
    mean = result.confirmation.table["mean"].iloc[0]
    assert (
        f"Warning: the best trial (val_loss {mean:.4f}) is not clearly better" in result.summary()
    )


def build(hp):
    """A build function."""
    hp.Choice("wrapper", ["none"])
    return model_of("sparse_categorical_crossentropy", 3, "softmax", ["accuracy"])


class OwnFit(kt.HyperModel):
    """A hypermodel with a `fit` of its own, which may score in any way."""

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)


def test_a_fit_of_the_users_own_may_score_in_any_way():
    goals = as_objectives("val_loss")
    trials = [ObservedTrials(each, goals) for each in (build, OwnFit())]
    for each in trials:
        each.build(build, kt.HyperParameters())
    assert [each.compiled is None for each in trials] == [False, True]


@pytest.mark.parametrize(
    "how",
    [{"training": rdt.Training(cv=2)}, {"training": rdt.Training(fit={"validation_split": 0.5})}],
    ids=["folds", "split"],
)
def test_without_validation_data_the_training_data_are_scored(tmp_path, uri, how):
    result = rdt.tune(
        (sequences(40), LABELS),
        model=build,
        max_trials=1,
        epochs=1,
        verbose=0,
        directory=tmp_path / "p",
        tracking=rdt.MLflow(uri=uri),
        **how,
    )
    entropy = -(SHARES * np.log(SHARES)).sum()
    assert result.context.constant == {"val_loss": pytest.approx(entropy)}
    assert result.context.words == (
        f"3 classes, the largest {100 * SHARES.max():.0f} %, 40 sequences of 5 steps, 3 features"
    )
