"""Whole searches by `tune`. `test_tune_arguments` has the errors before one."""

import json
import math
from functools import partial

import keras
import keras_tuner as kt
import numpy as np
import optuna
import pytest
import tensorflow as tf

import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError, RecdropError
from recdrop_tune.search import ObjectiveNotReportedError
from recdrop_tune.tuner import trial_seed
from tests.small_search import Failing, build, data, tuned
from tests.tracked_events import runs_of

SPACE = {
    "units": 4,
    "wrapper": ["none", "recurrent"],
    "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory, new_store) -> str:
    return new_store(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def search(tmp_path):
    return partial(tuned, directory=tmp_path / "project", tracking=None)


def proposals(result):
    frame = result.trials.sort_values("number")
    return frame.drop(columns=["seconds", "ms_per_step", "mlflow_run_id"]).reset_index(drop=True)


def test_the_seed_of_a_trial_depends_on_the_search_and_on_values_in_any_order():
    assert len({trial_seed(0, {}), trial_seed(1, {}), trial_seed(0, {"rate": 0.3})}) == 3
    assert trial_seed(0, {"a": 1, "b": 2}) == trial_seed(0, {"b": 2, "a": 1})


@pytest.mark.heavy
@pytest.mark.usefixtures("eagerly")
def test_a_search_resumes_in_its_folder(search, uri, capsys):
    """With real layers, wrapped anew by every trial, and data in two forms."""
    train = tf.data.Dataset.from_tensor_slices(data()).batch(8)
    given = {"train": train, "validation": (*data(), np.ones(24)), "model": None, "space": SPACE}
    given["tracking"] = rdt.MLflow("resumes", uri=uri)
    first = search(**given, max_trials=1, verbose=1)
    _, folder, few, line = capsys.readouterr().out.splitlines()
    where = first.directory
    assert folder == f'Folder: {where} (to resume: run again with directory="{where}")'
    assert few.startswith("max_trials=1 may be too small")
    assert line.startswith("trial 0 (1 of 1)  none  val_loss")
    second = search(**given)
    assert capsys.readouterr().out == ""  # With `verbose=0`.
    search(**given, verbose=1)
    assert "Resuming after 2 trials: 2 complete." in capsys.readouterr().out
    assert second.best_model().output_shape == (None, 1)
    assert proposals(second).head(1).equals(proposals(first))
    assert list(second.trials["state"]) == ["COMPLETE"] * 2
    assert set(first.trials["mlflow_run_id"]) < set(second.trials["mlflow_run_id"])
    assert second.trials["seconds"].notna().all()
    # A column's type depends on the space, not on the hyperparameters that were active.
    assert first.trials.dtypes.equals(second.trials.dtypes)
    assert str(first.trials["placement"].dtype) == "string"
    assert len(runs_of(uri, "resumes")) == 3


@pytest.mark.heavy
def test_folders_database_and_sampler(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    sampler = optuna.samplers.RandomSampler(seed=0)
    result = tuned(None, "first try", objective="val_accuracy", tuner=rdt.Optuna(sampler))
    assert result.directory.parent.name == "recdrop_runs"
    assert result.directory.name.startswith("first-try-")
    assert result.ui_command.endswith(f" ui {result.directory.resolve()}")
    made = {"mlartifacts", "mlflow.db", "recdrop_runs"}
    assert {path.name for path in tmp_path.iterdir()} == made
    assert result.tuner.oracle.study.sampler is sampler
    # An objective to maximize.
    assert result.trials["val_accuracy"].is_monotonic_decreasing
    assert result.search.direction == "max"
    assert result.ui_url.endswith("orderByAsc=false")


def test_what_a_search_of_dropout_should_not_be(search, capsys):
    def without_dropout(hp):
        model = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten()])
        model.add(keras.layers.Dense(2, hp.Choice("activation", ["softmax", "sigmoid"])))
        loss = "sparse_categorical_crossentropy"
        model.compile("sgd", loss, metrics=["accuracy"], run_eagerly=True)
        return model

    with pytest.warns(UserWarning, match="training data.*dropout.*`val_accuracy`"):
        result = search(model=without_dropout, objective="accuracy", verbose=1)
    for line, text in (("is searched", capsys.readouterr().out), ("was searched", str(result))):
        assert (
            f"No dropout {line}. In a build function, use `rdt.dropout_rnn(hp, layer)`.\n" in text
        )


def test_an_objective_that_is_not_reported(search, tmp_path, uri):
    """Before anything starts; or in the first trial, if a callback may report it."""
    tracking = rdt.MLflow("f1", uri=uri)
    names = "no metric named `{}`.*reports: accuracy, loss, ms_per_step, val_accuracy, val_loss. {}"
    for objective, fix in (
        ("val_acuracy", "Did you mean `val_accuracy`?"),
        ("val_Accuracy", "Did you mean `val_accuracy`?"),
        ("val_auc", "Add 'auc' to the `metrics`"),
    ):
        with pytest.raises(ObjectiveNotReportedError, match=names.format(objective, fix)):
            search(tracking=tracking, objective=objective)
        assert not (tmp_path / "project").exists()
    objective = kt.Objective("val_f1", "max")
    training = rdt.Training(callbacks=[keras.callbacks.TerminateOnNaN])
    with pytest.raises(ObjectiveNotReportedError, match=names.format("val_f1", "")):
        search(tracking=tracking, objective=objective, training=training)
    assert [run.info.status for run in runs_of(uri, "f1")] == ["FAILED", "FAILED"]
    study = rdt.TuneResult.load(tmp_path / "project").study()
    assert optuna.trial.TrialState.RUNNING not in {t.state for t in study.trials}


def test_all_trials_fail(search, capsys):
    with pytest.raises(RecdropError) as caught:
        search(model=Failing(("none", "recurrent", "lambda")), max_trials=5, verbose=1)
    words = "trial 0 (1 of 5)  none  failed: ValueError: the loss went to the moon  "
    assert words in capsys.readouterr().out
    first, second, *_ = str(caught.value).splitlines()
    assert "none was completed" in first
    assert second == "ValueError: the loss went to the moon"


@pytest.mark.heavy
def test_a_timeout_ends_before_the_first_trial(search):
    with pytest.raises(RecdropError, match=r"No trial was completed: .*`timeout` was over"):
        search(timeout=1e-6)
    # The journal holds only numbers that JSON has.
    result = search(timeout=math.inf)
    assert len(result.trials) == 2
    for line in (result.directory / "events.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_all_trials_are_pruned(search):
    pruner = optuna.pruners.ThresholdPruner(upper=0.0)
    with pytest.raises(RecdropError, match="No trial was completed: of 2 trials all") as caught:
        search(epochs=5, tuner=rdt.Optuna(pruner=pruner))
    assert 'with tuner=rdt.Optuna(pruner="none")' in str(caught.value)


class Logs(keras.callbacks.Callback):
    """Logs what a function makes of the number of each epoch."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self.make(epoch))


@pytest.mark.heavy
def test_callbacks_and_arguments_of_fit(search):
    """Only numbers are kept. An objective need not come in every epoch."""

    def mixed(epoch):
        score = {"score": [0.5, 0.2, 0.4][epoch // 2]} if epoch % 2 else {}
        return {**score, "histogram": np.arange(3.0), "array": np.array([[0.25]]), "level": 1.0}

    callbacks = [Logs(mixed), keras.callbacks.EarlyStopping("level", patience=5, mode="max")]
    options = {"objective": kt.Objective("score", "min"), "epochs": 9, "max_trials": 1}
    training = rdt.Training(callbacks=callbacks, fit={"validation_split": 0.25})
    with pytest.warns(UserWarning, match="`histogram`.* is left out"):
        result = search(validation=None, **options, training=training)
    assert result.trials.loc[0, ["score", "best_epoch", "epochs"]].tolist() == [0.2, 3, 6]
    assert result.tuner.oracle.study.trials[0].intermediate_values == {1: 0.5, 3: 0.2, 5: 0.4}
    assert result.history[["array", "level"]].drop_duplicates().to_numpy().tolist() == [[0.25, 1.0]]
    assert "val_loss" in result.history
    assert "histogram" not in result.history
    assert rdt.Training(callbacks=callbacks[0]).callbacks == (callbacks[0],)


@pytest.mark.heavy
def test_a_trial_that_ends_before_its_objective_fails_alone(search):
    lengths = iter([3, 1, 3])

    class Ends(kt.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            return model.fit(*args, **{**kwargs, "epochs": next(lengths)})

    training = rdt.Training(callbacks=[Logs(lambda epoch: {"score": 1.0} if epoch == 2 else {})])
    options = {"objective": kt.Objective("score", "min"), "max_trials": 3, "epochs": 3}
    result = search(model=Ends(), **options, training=training)
    states = result.trials.sort_values("number")["state"].tolist()
    assert states == ["COMPLETE", "FAILED", "COMPLETE"]
    (failed,) = (t for t in result.tuner.oracle.trials.values() if t.status == "FAILED")
    assert "No epoch of this trial reported `score`, which is the objective" in failed.message


def test_a_model_that_cannot_be_built(search, tmp_path):
    def fails_with_lambda(hp):
        wrapper = hp.Choice("wrapper", ["none", "lambda"])
        with hp.conditional_scope("wrapper", ["lambda"]):
            hp.Fixed("share", 0.2)
        if wrapper == "lambda":
            raise KeyError("no such layer")
        return build(hp)

    message = r"cannot be built with wrapper='lambda', share=0\.2.*: KeyError: 'no such layer'"
    with pytest.raises(RecdropError, match=message) as caught:
        search(model=fails_with_lambda)
    assert isinstance(caught.value.__cause__, KeyError)
    assert not (tmp_path / "project").exists()


@pytest.mark.heavy
def test_a_keras_model_is_searched_and_resumes_when_it_is_made_again(search):
    space = {"wrapper": ["none", "recurrent"], "placement": ["input", "recurrent"], "rate": 0.2}

    def searched(max_trials, units=3):
        # Keras numbers the layers of the second one on.
        layers = [keras.layers.LSTM(units), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((5, 3)), *layers])
        model.compile("adam", "binary_crossentropy", run_eagerly=True)
        return search(model=model, space=space, max_trials=max_trials)

    searched(1)
    result = searched(2)
    assert searched(2).context.constant is not None  # Without a trial to build a model for.
    assert set(result.trials["wrapper"]) == {"none", "recurrent"}
    assert list(result.trials["state"]) == ["COMPLETE"] * 2
    with pytest.raises(ProjectError, match=r"It differs in:\n  model.class: 'model "):
        searched(3, units=4)
    loss = result.best_model().evaluate(*data(), verbose=0)
    assert loss == pytest.approx(result.trials["val_loss"].min())


def test_a_build_function_in_which_nothing_is_searched(search):
    def fixed(hp):
        hp.Fixed("units", 3)
        return build(kt.HyperParameters())

    assert "exhausted after 1 of at most 2 trials" in search(model=fixed).summary()
