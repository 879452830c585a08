"""The trained models of a result: `best_models` and `model_of`."""

import json
import shutil

import keras
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, RecdropError
from recdrop_tune.search import tune
from tests.small_search import build, data

X, Y = data(16)


@pytest.fixture(scope="module")
def result(tmp_path_factory, new_store, running_eagerly):
    folder = tmp_path_factory.mktemp("trained")
    with running_eagerly():
        return tune(
            data(24),
            (X, Y),
            model=build,
            max_trials=4,
            epochs=2,
            seed=0,
            verbose=0,
            tracking=rdt.MLflow(uri=new_store(folder)),
            directory=folder / "p",
            training=rdt.Training(keep_checkpoints=2),
        )


def loss_of(model):
    probabilities = model.predict(X, verbose=0)
    return -np.log(probabilities[np.arange(len(Y)), Y]).mean()


def test_the_best_models_are_those_of_the_first_rows(result):
    losses = [loss_of(model) for model in result.best_models(2)]
    assert losses == pytest.approx([*result.trials["val_loss"][:2]], rel=1e-4)
    assert loss_of(result.best_model()) == losses[0]
    third = result.trials["trial_id"][2]
    for ask in (lambda: result.model_of(third), lambda: result.best_models(3)):
        with pytest.raises(RecdropError, match=f"trial_{third}`.*`keep_checkpoints`"):
            ask()


@pytest.mark.parametrize("kind", ["id", "number", "row", "named tuple", "trial"])
def test_one_trial_by_whatever_names_it(result, kind):
    row = result.trials.iloc[1]
    named = {
        "id": row["trial_id"],
        "number": row["number"],
        "row": row,
        "named tuple": list(result.trials.itertuples())[1],
        "trial": result.search.oracle.trials[row["trial_id"]],
    }
    assert loss_of(result.model_of(named[kind])) == pytest.approx(row["val_loss"], rel=1e-4)


@pytest.mark.parametrize("trial", ["99", 4, -1, True, None, [0], {"number": 0}], ids=str)
def test_no_such_trial(result, trial):
    with pytest.raises(InvalidArgumentError, match="the number of a complete trial"):
        result.model_of(trial)


def test_a_loaded_result_has_the_best_one(result, tmp_path):
    loaded = rdt.TuneResult.load(result.directory)
    first, second = result.trials["trial_id"][:2]
    for model in (*loaded.best_models(1), loaded.model_of(first)):
        assert loss_of(model) == pytest.approx(result.trials["val_loss"][0], rel=1e-4)
    for ask in (lambda: loaded.model_of(second), lambda: loaded.best_models(2)):
        with pytest.raises(RecdropError, match=f"holds the model of trial {first}"):
            ask()
    folder = shutil.copytree(result.directory, tmp_path / "p")
    path = folder / f"trial_{first}" / "trial.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "STOPPED"}))
    with pytest.raises(InvalidArgumentError, match="the number of a complete trial"):
        rdt.TuneResult.load(folder).model_of(first)


def test_a_saved_model_has_what_its_layers_have_learned_from_data(tmp_path, new_store):
    words, scaled = keras.layers.StringLookup(), keras.layers.Normalization()
    words.adapt(np.array(["bad", "fine", "good"]))
    scaled.adapt(100 + 7 * X)
    text, numbers = keras.Input((5,), dtype="string"), keras.Input((5, 3))
    hidden = keras.layers.Embedding(4, 3)(words(text)) + scaled(numbers)
    outputs = keras.layers.Dense(2, "softmax")(keras.layers.LSTM(3)(hidden))
    model = keras.Model([text, numbers], outputs)
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    given = [keras.ops.convert_to_tensor([["good", "bad", "fine", "bad", "?"]] * 16), 100 + 7 * X]
    found = tune(
        (given, Y),
        (given, Y),
        model,
        max_trials=1,
        epochs=1,
        verbose=0,
        tracking=rdt.MLflow(uri=new_store(tmp_path)),
        directory=tmp_path / "p",
    )
    loaded = rdt.TuneResult.load(tmp_path / "p").best_model()
    predicted = [each.predict(given, verbose=0) for each in (found.best_model(), loaded)]
    assert len(np.unique(predicted[0])) > 2
    np.testing.assert_array_equal(*predicted)
