"""The score of a constant predictor, and the data in one line."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.search.context import context_of, describe_data, score_constant
from recdrop_tune.search.hypermodel_of import ObservedTrials
from recdrop_tune.tuner import as_objective
from tests.small_search import Failing, build

GOALS = [
    kt.Objective("val_loss", "min"),
    kt.Objective("val_accuracy", "max"),
    kt.Objective("val_mae", "min"),
]


def draw(seed):
    return np.random.default_rng(seed)


def sequences(samples):
    return draw(1).uniform(1, 2, (samples, 5, 3)).astype("float32")


def padded(samples):
    x = sequences(samples)
    x[::2, 2:] = 0
    return x


def model_of(loss, units=1, activation=None, metrics=(), **dense):
    inputs = keras.Input((5, 3))
    outputs = keras.layers.Dense(units, activation, **dense)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss, metrics=list(metrics), run_eagerly=True)
    return model


def evaluated(model, bias, x, y, weight=None):
    """Evaluates a model whose last layer puts out the same for every sequence."""
    dense = next(each for each in model.layers[::-1] if isinstance(each, keras.layers.Dense))
    kernel, old = dense.get_weights()
    dense.set_weights([np.zeros_like(kernel), np.broadcast_to(bias, old.shape)])
    found = model.evaluate(x, y, len(x), verbose=0, sample_weight=weight, return_dict=True)
    return {f"val_{name}": value for name, value in found.items()}


LABELS, CHECK = (draw(seed).choice(3, n, p=[0.2, 0.5, 0.3]) for seed, n in ((0, 40), (2, 30)))
SHARES = np.bincount(LABELS) / 40
POSITIVE = np.log(SHARES[2] / (1 - SHARES[2]))
NUMBERS = draw(3).exponential(size=(40, 4))
SPARSE = "sparse_categorical_crossentropy"
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True), 3
BINARY = "binary_crossentropy", 1, "sigmoid", ["accuracy"]


def values(found):
    return {name: each.value for name, each in found.items()}


@pytest.mark.parametrize(
    ("described", "train", "check", "bias"),
    [(LOGITS, LABELS, CHECK, np.log(SHARES)), (BINARY, LABELS > 1, CHECK > 1, POSITIVE)],
)
def test_a_model_with_a_constant_output_scores_the_same(described, train, check, bias):
    model = model_of(*described)
    found = score_constant(model, (sequences(40), train), (sequences(30), check), GOALS)
    expected = evaluated(model, bias, sequences(30), check.astype("float32"))
    assert values(found) == pytest.approx(expected, rel=1e-5)


def test_each_objective_gets_the_constant_that_suits_it():
    model = model_of("mse", 4, metrics=["mae"])
    found = score_constant(model, (sequences(40), NUMBERS), None, GOALS)
    assert found["val_loss"].predicts == "the mean of the training targets"
    away = np.abs(NUMBERS - np.median(NUMBERS, axis=0))
    assert found["val_mae"].value == pytest.approx(away.mean())
    assert "val_accuracy" not in found


def test_sample_weights_and_regularizers():
    weights, others = draw(5).uniform(0, 2, 40), draw(6).uniform(0, 2, 30)
    model = model_of(SPARSE, 3, "softmax", ["accuracy"], kernel_regularizer="l2")
    train, check = (sequences(40), LABELS, weights), (sequences(30), CHECK, others)
    found = score_constant(model, train, check, GOALS)
    shares = np.bincount(LABELS, weights) / weights.sum()
    # With zero weights the regularizer adds nothing.
    expected = evaluated(model, np.log(shares), *check)
    assert values(found) == pytest.approx(expected, rel=1e-5)


def test_a_tagger_leaves_padded_steps_out():
    data = [(padded(n), draw(n).choice(3, (n, 5), p=[0.7, 0.2, 0.1])) for n in (20, 10)]
    model = rdt.SequenceTagger(3, (None, 3), mask_value=0.0).build(kt.HyperParameters())
    found = score_constant(model, *data, GOALS)
    counted = data[0][1][data[0][0].any(axis=-1)]
    share = np.bincount(counted) / counted.size
    expected = evaluated(model, np.log(share), *data[1])
    assert values(found) == pytest.approx(expected, rel=1e-5)


def test_a_language_model_ignores_padding():
    tokens = draw(0).choice(6, (20, 8), p=[0, 0.4, 0.3, 0.1, 0.1, 0.1])
    tokens[::2, 5:] = 0
    train = rdt.LanguageModel.shift(tokens)
    model = rdt.LanguageModel(6, mask_zero=True).build(kt.HyperParameters())
    goal = kt.Objective("val_perplexity", "min")
    found = score_constant(model, train, None, [goal, *GOALS])
    shares = np.bincount(train[1][train[1] > 0], minlength=6) / (train[1] > 0).sum()
    entropy = -(shares[1:] * np.log(shares[1:])).sum()
    assert found["val_loss"].value == pytest.approx(entropy, rel=1e-5)
    assert found["val_perplexity"].value == pytest.approx(np.exp(entropy), rel=1e-5)


def test_a_dataset_is_not_read():
    x, y = sequences(40), NUMBERS[:, :1]
    endless = tf.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat()
    found = context_of((x, y), endless, None, model_of("mse"), GOALS)
    assert found.words.endswith("40 sequences of 5 steps, 3 features")
    assert not found.constant


def test_a_class_that_the_training_data_lack_costs_no_infinite_loss():
    model = model_of("binary_crossentropy", 1, "sigmoid")
    check = sequences(2), np.array([0, 1])
    found = score_constant(model, (sequences(4), np.zeros(4)), check, GOALS)
    assert found["val_loss"].value == pytest.approx(-np.log([0.9, 0.1]).mean(), rel=1e-5)


def test_the_noise_is_that_of_sequences_not_of_steps():
    y = np.repeat([[0], [1]], [120, 80], axis=0) * np.ones((1, 5), int)  # One label a sequence.
    model = rdt.SequenceTagger(2, (None, 3)).build(kt.HyperParameters())
    found = score_constant(model, (sequences(200), y), None, GOALS)
    assert found["val_accuracy"].standard_error == pytest.approx((0.6 * 0.4 / 200) ** 0.5, rel=0.35)


@pytest.mark.parametrize(("loss", "share"), [(SPARSE, 0.5), ("mse", 0.9)])
def test_luck_is_within_the_noise(loss, share):
    y = (np.arange(100) < 100 * share).astype("int64")
    model = model_of(loss, *((2, "softmax") if loss == SPARSE else (1,)))
    found = score_constant(model, (sequences(100), y), None, GOALS)["val_loss"]
    for spread in (0.01, 0.1, 0.3, 1.0):
        # Hundreds of models that have learned nothing.
        around = draw(0).normal(0, spread, (400, 100))
        likely = 1 / (1 + np.exp(-np.log(share / (1 - share)) - around))
        losses = -np.log(np.where(y == 1, likely, 1 - likely))
        if loss == "mse":
            losses = (y - share - around) ** 2
        assert found.value - losses.mean(axis=1).min() < 2 * found.standard_error
    # A model that has learned something gets beyond it.
    assert 2 * found.standard_error < 0.6 * found.value


@pytest.mark.parametrize(
    ("data", "mask_value", "words"),
    [
        (
            (sequences(100), np.repeat([0, 1], [88, 12])),
            None,
            "2 classes, 12 % positive, 100 sequences of 5 steps, 3 features",
        ),
        (
            (padded(4), np.eye(3)[[0, 1, 1, 2]]),
            0.0,
            "3 classes, the largest 50 %, 4 sequences of 2 to 5 steps, 3 features",
        ),
        (
            (padded(2), np.array([0.5, 1.0])),
            None,
            "targets of mean 0.75 and standard deviation 0.25, 2 sequences of 5 steps, 3 features",
        ),
        ((np.array([[4, 2, 0], [1, 99, 3]]), None), 0, "100 words, 2 sequences of 2 to 3 steps"),
    ],
)
def test_data_in_one_line(data, mask_value, words):
    assert describe_data(data, mask_value) == words


# In a search.


SPACE = {"units": 4, "wrapper": ["none", "recurrent"], "rate": [0.1], "learning_rate": 0.03}


def searched(folder, uri, learnable, **more):
    """A search on sequences of two classes, which differ in their mean or not at all."""
    draw = np.random.default_rng(0)
    y = (draw.random(200) < 0.3).astype("int64")
    x = draw.normal(size=(200, 6, 2)) + 3.0 * learnable * y[:, None, None]
    x[:100, 4:] = 0
    options = {"space": SPACE, "epochs": 1, "batch_size": 100, "seed": 0, "verbose": 0} | more
    train = x.astype("float32"), y
    tracking, folder = rdt.MLflow("context", uri=uri), folder / "p"
    check = tuple(part[:80] for part in train)
    return rdt.tune(train, check, tracking=tracking, directory=folder, **options)


@pytest.fixture(scope="module")
def random_labels(tmp_path_factory, new_store, running_eagerly):
    folder = tmp_path_factory.mktemp("random")
    confirm = rdt.Confirm(1, seeds=2, max_seeds=2)
    with running_eagerly():
        return searched(folder, new_store(folder), False, max_trials=2, confirm=confirm)


def test_a_search_that_finds_nothing_warns(random_labels):
    context = random_labels.context
    assert context.words.endswith("positive, 200 sequences of 6 steps, 2 features")
    best = random_labels.confirmation.table["mean"].iloc[0]
    warning = (
        f"Warning: the mean of the chosen configuration (val_loss {best:.4f}) is not clearly better than "
        "always predicting the class frequencies of the training data "
        f"({context.constant['val_loss']:.4f}, standard error {context.standard_error['val_loss']:.4f})"
    )
    written = [random_labels.directory / "result" / name for name in ("summary.md", "report.html")]
    texts = [random_labels.summary(), *(path.read_text() for path in written)]
    for text in texts:
        assert text.index(warning) < text.index(" in the search") < text.index(context.words)
    # MLflow's page folds all but the first lines.
    assert texts[1].split("\n\n")[0].startswith(warning)


@pytest.mark.usefixtures("eagerly")
def test_a_search_that_finds_something_is_compared_with_the_constant(tmp_path, planted_uri):
    goal = {"max_trials": 1, "epochs": 12, "objective": "val_accuracy"}
    result = searched(tmp_path, planted_uri, True, **goal)
    context = result.context
    value, error = (each["val_accuracy"] for each in (context.constant, context.standard_error))
    line = (
        f"Always predicting the most frequent class scores val_accuracy {value:.4f} (standard error "
        f"{error:.4f})."
    )
    assert line in result.summary().splitlines()
    assert "Warning" not in result.summary()


def test_mlflow_and_the_folder_have_it(random_labels):
    context = random_labels.context
    client = MlflowClient(random_labels.tracking_uri)
    experiment = client.get_experiment_by_name("context").experiment_id
    (run,) = client.search_runs([experiment], "tags.`recdrop.kind` = 'search'")
    assert run.data.params["data"] == context.words
    constant = float(run.data.params["constant val_loss"])
    assert constant == pytest.approx(context.constant["val_loss"])
    loaded = rdt.TuneResult.load(random_labels.directory)
    assert loaded.context == context
    assert loaded.summary().splitlines()[:4] == random_labels.summary().splitlines()[:4]


def test_a_user_defined_fit_may_score_in_any_way():
    trials = [ObservedTrials(each, as_objective("val_loss")) for each in (build, Failing())]
    for each in trials:
        each.build(build, kt.HyperParameters())
    assert [each.first_model is None for each in trials] == [False, True]
