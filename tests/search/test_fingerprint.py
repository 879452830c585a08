"""Tests of what makes two searches the same one, and of what is said where they are not."""

import json
from functools import partial

import keras
import numpy as np
import pytest
from sklearn.model_selection import KFold

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError
from recdrop_tune.oracle.study import warm_trials
from recdrop_tune.search.fingerprint_words import fit_in_words, folds_in_words, loss_in_words
from recdrop_tune.search.hypermodel_of import model_in_words
from recdrop_tune.tuner import GroupedFolds
from tests.small_search import build, data

SPACE = {"units": 2, "wrapper": ["none", "native"], "rate": [0.1, 0.2], "placement": "recurrent"}


@pytest.fixture(scope="module")
def run(tmp_path_factory, new_store):
    """Runs a search in a folder of a name."""
    folder = tmp_path_factory.mktemp("searches")
    store = rdt.MLflow(uri=new_store(folder))

    def search(name, **changed):
        options = {"model": build, "max_trials": 1, "epochs": 1, "verbose": 0, "seed": 0}
        options |= {"tracking": store, "directory": folder / name, "validation": data()}
        return rdt.tune(data(), **{**options, **changed})

    return search


@pytest.fixture(scope="module")
def old(run):
    """The folder of a search that others may take something over from."""
    return run("old", max_trials=3).directory


def build_wider(hp):
    """The model of `build`, which asks for more."""
    wrapper = hp.Choice("wrapper", ["none", "recurrent", "lambda", "zoneout"])
    with hp.conditional_scope("wrapper", ["recurrent", "lambda", "zoneout"]):
        hp.Choice("placement", ["input", "input+output"])
        hp.Float("rate", 0.1, 0.7, step=0.1)
    hp.Choice("depth", [1, 2])
    layers = [keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential(layers, name=wrapper)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


# A function is known by its name alone.
build_wider.__module__, build_wider.__qualname__ = build.__module__, build.__qualname__


def build_with_more_rates(hp):
    """The model of `build`, with a larger range."""
    wrapper = hp.Choice("wrapper", ["none", "recurrent", "lambda"])
    with hp.conditional_scope("wrapper", ["recurrent", "lambda"]):
        hp.Choice("placement", ["input", "input+output"])
        hp.Float("rate", 0.1, 0.7, step=0.1)
    layers = [keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential(layers, name=wrapper)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


build_with_more_rates.__module__ = build.__module__
build_with_more_rates.__qualname__ = build.__qualname__


@pytest.fixture(scope="module")
def with_space(run):
    """The folder of a search of a space."""
    return run("with space", model=None, space=SPACE, max_trials=3).directory


@pytest.mark.parametrize(
    "changed", [{"space": {**SPACE, "rate": [0.1, 0.3]}}, {"model": build_with_more_rates}]
)
def test_another_space_is_refused_with_what_to_write(run, old, with_space, changed):
    """Also that of a function, which Keras Tuner would go on with by the old ranges."""
    name = "old"
    if "space" in changed:
        name, changed = with_space.name, {**changed, "model": None}
    before = {path: path.read_bytes() for path in old.parent.rglob(f"{name}/*.json")}
    with pytest.raises(ProjectError, match="differs in:\n  ") as refused:
        run(name, **changed)
    assert "Give another `directory`" in str(refused.value)
    assert before == {path: path.read_bytes() for path in before}


def test_it_says_in_what_the_space_of_a_function_differs(run, old):
    with pytest.raises(ProjectError, match="has another search space") as refused:
        run("old", model=build_wider)
    words = str(refused.value)
    assert "  depth: not there, one of 1, 2 now\n" in words
    assert "0.5, in steps of 0.1 there, from 0.1 to 0.7, in steps of 0.1 now\n" in words
    assert "  placement: active with other values of the others\n" in words


@pytest.mark.parametrize("kind", [rdt.SequenceClassifier, rdt.SequenceTagger])
def test_the_one_output_of_two_classes_is_part_of_a_search(kind):
    """Models of two classes had two outputs in earlier versions, and their weights do not fit."""
    steps = ", return_sequences=True" if kind is rdt.SequenceTagger else ", return_sequences=False"
    words = f"mask_value=None, one_hot=False{steps}"
    assert model_in_words(kind(2, (None, 3))) == f"{kind.__name__}, 1 output, {words}"
    # Of the others the words stay: folders of earlier versions go on.
    assert model_in_words(kind(3, (None, 3))) == f"{kind.__name__}, {words}"
    one_hot = model_in_words(kind(2, (None, 3), one_hot=True))
    assert one_hot == f"{kind.__name__}, {words}".replace("one_hot=False", "one_hot=True")


def regression(loss):
    return {"model": rdt.Task("regression", loss=loss), "space": SPACE}


def copied(loss):
    """A model of one's own, of which a search makes copies."""
    layers = [keras.Input((5, 3)), keras.layers.LSTM(2), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("adam", loss)
    return {"model": model, "space": {n: SPACE[n] for n in ("wrapper", "rate", "placement")}}


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", [regression, copied])
def test_scores_of_another_loss_or_fit_do_not_mix(run, kind):
    name, huber = f"loss of {kind.__name__}", keras.losses.Huber
    training = rdt.Training(fit={"shuffle": False})
    folder = run(name, **kind(huber()), training=training).directory
    others = [
        (kind(huber(0.1)), training, r"\n  loss: 'huber' there, 'huber\(delta=0.1\)' now\n"),
        (kind("mae"), training, r"\n  loss: 'huber' there, 'mean_absolute_error' now\n"),
        (kind(huber()), None, r"\n  fit: 'shuffle=False' there, None now\n"),
    ]
    for model, other, words in others:
        with pytest.raises(ProjectError, match=words):
            run(name, **model, training=other)
    assert len(run(name, **kind(huber(1.0)), training=training, max_trials=2).trials) == 2
    # A folder of an earlier version does not say.
    written = json.loads((folder / "search.json").read_text())
    del written["fingerprint"]["loss"], written["fingerprint"]["fit"]
    (folder / "search.json").write_text(json.dumps(written))
    assert len(run(name, **kind(huber(0.1)), max_trials=3).trials) == 3


class Weighted(keras.losses.Loss):
    def __init__(self, weight, power=2.0, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight
        self._power = power  # Nobody can tell it.


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("mse", "mean_squared_error"),
        (keras.losses.MeanSquaredError(), "mean_squared_error"),
        (keras.losses.mean_squared_error, "mean_squared_error"),
        (keras.losses.MeanSquaredError(reduction="sum"), "mean_squared_error(reduction='sum')"),
        (keras.losses.Huber(1.0), "huber"),
        (keras.losses.Huber(0.01), "huber(delta=0.01)"),
        (Weighted(np.float32(0.5)), "weighted(weight=0.5)"),
        (partial(keras.losses.huber, delta=2.0), "huber(delta=2)"),
    ],
)
def test_a_loss_in_words(loss, words):
    assert loss_in_words(rdt.SequenceRegressor(1, (None, 3), loss=loss)) == words


def test_losses_of_several_outputs_in_words():
    x = keras.Input((5, 3))
    h = keras.layers.LSTM(2)(x)
    model = keras.Model(x, {n: keras.layers.Dense(1, name=n)(h) for n in "ab"})
    model.compile(
        "adam", {"b": keras.losses.Huber(0.1), "a": "mse"}, loss_weights={"a": 1.0, "b": 2}
    )
    words = "{a: mean_squared_error, b: huber(delta=0.1)}, weights {a: 1, b: 2}"
    assert loss_in_words(rdt.ExistingModel(model)) == words
    assert loss_in_words(build) is None


def test_arguments_of_fit_in_words():
    fit = {"validation_split": 0.25, "sample_weight": np.ones(3), "class_weight": {0: 1.0}}
    assert fit_in_words({**fit, "augment": True}) == "augment=True, validation_split=0.25"
    assert fit_in_words({"validation_split": 0, "shuffle": True}) is None  # As Keras has it.


class Halves:
    """A splitter that does not say what it is."""

    def __init__(self, part=2):
        self.part = part
        self.names = {"first", "second"}
        self.order = np.arange(2000)
        self._used = object()

    def split(self, x, y=None, groups=None):
        rows = np.arange(len(x))
        yield rows[rows % self.part > 0], rows[rows % self.part == 0]


def test_folds_in_words():
    """The same in each process: neither addresses nor the order of a set."""
    words = folds_in_words(Halves())
    assert words == "Halves(names=['first', 'second'], order=digest edd6c0024ff4, part=2)"
    assert folds_in_words(Halves(3)) == words.replace("part=2", "part=3")
    assert folds_in_words(GroupedFolds(Halves(), [1])) == f"{words} by groups"
    # As earlier versions have written them.
    assert folds_in_words(None) is None
    for cv in (5, KFold(3), GroupedFolds(KFold(3), [1])):
        assert folds_in_words(cv) == str(cv)
    drawn = folds_in_words(KFold(3, shuffle=True, random_state=np.random.RandomState(0)))
    assert "RandomState(MT19937)" in drawn
    assert "0x" not in drawn


def test_a_search_with_a_splitter_of_ones_own_goes_on(run):
    folds = {"validation": None, "training": rdt.Training(cv=Halves())}
    run("splitter", **folds)
    assert len(run("splitter", **folds, max_trials=2).trials) == 2
    with pytest.raises(ProjectError, match=r"\n  cv: .*part=2\)\" there, .*part=3\)\" now"):
        run("splitter", **folds | {"training": rdt.Training(cv=Halves(3))})


def test_a_function_that_asks_for_the_same_goes_on(run):
    run("same")
    assert len(run("same", max_trials=2).trials) == 2
    assert len(run("same", model=build_wider, overwrite=True).trials) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"objective": "val_accuracy"}, "objective: 'val_loss' there, 'val_accuracy' now"),
        ({"epochs": 2, "tuner": "random"}, "epochs: 1 there, 2 now"),
    ],
)
def test_where_nothing_can_be_taken_over_nothing_is_promised(run, old, changed, words):
    with pytest.raises(ProjectError, match=words) as refused:
        run("old", **changed)
    assert "Nothing was changed. Give another `directory`, or delete" in str(refused.value)


def test_a_search_is_told_of_another_one(run, old, capsys):
    result = run("told", tuner=rdt.Optuna(warm_start=old), verbose=1, max_trials=2)
    assert f"Warm start: 3 of 3 complete trials of {old}.\n" in capsys.readouterr().out
    assert len(result.trials) == len(result.study().trials) == 2
    assert len(warm_trials(result.tuner.oracle.study)) == 3
    assert result.tracking.records.search.info["warm_start"] == "old"
    again = run("told", tuner=rdt.Optuna(warm_start=old), verbose=1, max_trials=3)
    assert capsys.readouterr().out.count("Warm start: 3 of 3") == 1
    assert len(again.tuner.oracle.study.trials) == 6


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"epochs": 2}, r"It differs: epochs 1 there, 2 now"),
        (
            {"objective": "val_accuracy"},
            "It differs: objective 'val_loss' there, 'val_accuracy' now",
        ),
    ],
)
def test_scores_that_do_not_compare_are_refused(run, old, changed, words):
    with pytest.raises(InvalidArgumentError, match=f"`warm_start`.*{words}"):
        run("new", tuner=rdt.Optuna(warm_start=old), **changed)
    assert not (old.parent / "new").exists()


@pytest.mark.usefixtures("eagerly")
def test_scores_of_another_loss_are_refused_where_they_are_losses(run):
    first = run("huber", **regression("huber"), max_trials=2).directory
    warm = rdt.Optuna(warm_start=first)
    words = r"It differs: loss 'huber' there, 'mean_squared_error' now"
    with pytest.raises(InvalidArgumentError, match=f"`warm_start`.*{words}"):
        run("mse", **regression("mse"), tuner=warm)
    # A mean absolute error is one whatever the loss.
    error = {"space": SPACE, "objective": "val_mae"}
    models = [rdt.Task("regression", loss=loss, metrics=["mae"]) for loss in ("huber", "mse")]
    first = run("huber mae", model=models[0], max_trials=2, **error).directory
    warm = rdt.Optuna(warm_start=first)
    told = run("mse mae", model=models[1], tuner=warm, **error)
    assert len(warm_trials(told.tuner.oracle.study)) == 2
