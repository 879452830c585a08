"""The score of a constant predictor, and the data in one line."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

import recdrop_tune as rdt
from recdrop_tune.results.outline import is_clearly_better
from recdrop_tune.search.context import context_of, describe_data, score_constant
from recdrop_tune.search.hypermodel_of import check_hypermodel_data
from tests.small_search import Failing, build, data, tuned
from tests.tracked_events import runs_of

GOAL = kt.Objective("val_loss", "min")


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
SPARSE = "sparse_categorical_crossentropy", 3, "softmax", ["accuracy"]
ONE_HOT = "categorical_crossentropy", 3, "softmax", ["accuracy"]
BINARY = "binary_crossentropy", 1, "sigmoid", ["accuracy"]


@pytest.mark.parametrize(
    ("described", "train", "check", "bias"),
    [
        (SPARSE, LABELS, CHECK, np.log(SHARES)),
        (ONE_HOT, np.eye(3)[LABELS], np.eye(3)[CHECK], np.log(SHARES)),
        (BINARY, LABELS > 1, CHECK > 1, POSITIVE),
    ],
    ids=["sparse", "one-hot", "binary"],
)
def test_a_model_with_a_constant_output_scores_the_same(described, train, check, bias):
    model = model_of(*described)
    name, found = score_constant(model, (sequences(40), train), (sequences(30), check))
    assert name == "the class frequencies of the training data"
    expected = evaluated(model, bias, sequences(30), check.astype("float32"))
    assert found == pytest.approx(expected, rel=1e-5)


def test_numbers_are_predicted_by_their_mean():
    model = model_of("mse", 4, metrics=["mae"])
    name, found = score_constant(model, (sequences(40), NUMBERS), None)
    assert name == "the mean of the training targets"
    away = NUMBERS - NUMBERS.mean(axis=0)
    expected = {"val_loss": (away**2).mean(), "val_mae": np.abs(away).mean()}
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        lambda y, p: keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True),
    ],
    ids=["Keras's", "user-defined"],
)
def test_a_model_that_returns_logits_has_no_constant_score(loss):
    train = sequences(40), LABELS
    found = context_of(train, train, None, model_of(loss, 3), GOAL)
    assert found.words.startswith("3 classes")
    assert found.constant is None


def test_sample_weights_and_regularizers():
    weights, others = draw(5).uniform(0, 2, 40), draw(6).uniform(0, 2, 30)
    model = model_of(*SPARSE, kernel_regularizer="l2")
    train, check = (sequences(40), LABELS, weights), (sequences(30), CHECK, others)
    _, found = score_constant(model, train, check)
    shares = np.bincount(LABELS, weights) / weights.sum()
    # With zero weights the regularizer adds nothing.
    expected = evaluated(model, np.log(shares), *check)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_tagger_leaves_padded_steps_out():
    data = [(padded(n), draw(n).choice(3, (n, 5), p=[0.7, 0.2, 0.1])) for n in (20, 10)]
    model = rdt.SequenceTagger(3, (None, 3), mask_value=0.0).build(kt.HyperParameters())
    _, found = score_constant(model, *data)
    counted = data[0][1][data[0][0].any(axis=-1)]
    share = np.bincount(counted) / counted.size
    expected = evaluated(model, np.log(share), *data[1])
    assert found == pytest.approx(expected, rel=1e-5)


def test_padding_of_an_own_model_is_no_step():
    found = context_of((padded(40), LABELS), None, None, model_of(*SPARSE), GOAL, padding=0.0)
    assert found.words.endswith("40 sequences of 2 to 5 steps, 3 features")


def test_a_dataset_is_not_read():
    x, y = sequences(40), NUMBERS[:, :1]
    endless = tf.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat()
    found = context_of((x, y), endless, None, model_of("mse"), GOAL)
    assert found.words.endswith("40 sequences of 5 steps, 3 features")
    assert found.constant is None


@pytest.mark.parametrize(
    ("cost", "constant", "perfect", "expected"),
    [
        (0.94, 1.0, 0.0, True),
        (0.96, 1.0, 0.0, False),
        (-2.0, -1.0, 0.0, True),
        (-0.51, -0.5, -1.0, False),
        (-1.0, -0.98, -1.0, True),
        (-1.0, -1.0, -1.0, False),
    ],
)
def test_clearly_better_is_5_percent(cost, constant, perfect, expected):
    assert is_clearly_better(cost, constant, perfect) is expected


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
    train = x.astype("float32"), y
    options = {"train": train, "validation": tuple(part[:80] for part in train), **more}
    options |= {"space": SPACE, "batch_size": 100}
    return tuned(folder / "p", rdt.MLflow("context", uri=uri), None, **options)


@pytest.fixture(scope="module")
def random_labels(tmp_path_factory, new_store, running_eagerly):
    folder = tmp_path_factory.mktemp("random")
    confirm = rdt.Confirm(1, seeds=2, max_seeds=2)
    with running_eagerly():
        return searched(folder, new_store(folder), False, max_trials=2, confirm=confirm)


@pytest.mark.heavy
def test_a_search_that_finds_nothing_warns(random_labels):
    context = random_labels.context
    assert context.words.endswith("positive, 200 sequences of 6 steps, 2 features")
    best = random_labels.confirmation.table["mean"].iloc[0]
    warning = (
        f"Warning: the mean of the chosen configuration (val_loss {best:.4f}) is not clearly better than "
        "always predicting the class frequencies of the training data "
        f"({context.constant:.4f}). Train for more epochs"
    )
    written = [random_labels.directory / "result" / name for name in ("summary.md", "report.html")]
    texts = [random_labels.summary(), *(path.read_text() for path in written)]
    for text in texts:
        assert text.index(warning) < text.index(" in the search") < text.index(context.words)
    # MLflow's page folds all but the first lines.
    assert texts[1].split("\n\n")[0].startswith(warning)


@pytest.mark.heavy
@pytest.mark.usefixtures("eagerly")
def test_a_search_that_finds_something_is_compared_with_the_constant(tmp_path, planted_uri):
    goal = {"max_trials": 1, "epochs": 12, "objective": "val_accuracy"}
    result = searched(tmp_path, planted_uri, True, **goal)
    value = result.context.constant
    line = f"Always predicting the most frequent class scores val_accuracy {value:.4f}."
    assert line in result.summary().splitlines()
    assert "Warning" not in result.summary()


@pytest.mark.heavy
def test_mlflow_and_the_folder_have_it(random_labels):
    context = random_labels.context
    (run,) = runs_of(random_labels.search.tracking_uri, "context", kind="search")
    assert run.data.params["data"] == context.words
    constant = float(run.data.params["constant val_loss"])
    assert constant == pytest.approx(context.constant)
    loaded = rdt.TuneResult.load(random_labels.directory)
    assert loaded.context == context
    assert loaded.summary().splitlines()[:4] == random_labels.summary().splitlines()[:4]


def test_a_user_defined_fit_may_score_in_any_way():
    checked = [
        check_hypermodel_data(each, {"training": data()}, 8, {}) for each in (build, Failing())
    ]
    assert [each is None for each in checked] == [False, True]
