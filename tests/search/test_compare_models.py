"""`compare_models` with real trainings: seeds, folder, MLflow, commands, failures and bad arguments."""

import json
from functools import partial
from typing import ClassVar

import keras
import keras_tuner as kt
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError
from recdrop_tune.mlflow_store.runs import LACKING
from recdrop_tune.models import ModelCopies
from recdrop_tune.search.compared_models import ComparedModels
from recdrop_tune.search.confirm import confirmation_seed
from tests.commands import output_of, refusal_of
from tests.small_search import data
from tests.tracked_events import runs_of

pytestmark = pytest.mark.usefixtures("eagerly")


def dense(rate=0.0, units=2):
    layers = [
        keras.layers.Flatten(),
        keras.layers.Dropout(rate),
        keras.layers.Dense(units, "softmax"),
    ]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    model.compile(
        keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def dropped():
    return dense(0.5)


class Noted(keras.callbacks.Callback):
    """Notes the first weights of each training, and fails or is interrupted in one of them."""

    first: ClassVar = []

    def __init__(self, error=None, at=None):
        super().__init__()
        self.error, self.at = error, at

    def on_train_begin(self, logs=None):
        Noted.first.append(self.model.get_weights()[0])
        if len(Noted.first) - 1 == self.at:
            raise self.error


def compare(folder, models=None, **arguments):
    Noted.first = []
    models = {"plain": dense(), "dropped": dropped} if models is None else models
    usual = {"epochs": 2, "seeds": 3, "max_seeds": 3, "seed": 1, "verbose": 0, "tracking": False}
    return rdt.compare_models(models, data(), data(16), directory=folder, **usual | arguments)


@pytest.fixture(scope="module")
def options(tmp_path_factory, new_store):
    folder = tmp_path_factory.mktemp("compared")
    tracking = rdt.MLflow("models", uri=new_store(folder), tags={"paper": "one"})
    return {"folder": folder / "p", "tracking": tracking, "test": data(32)}


@pytest.fixture(scope="module")
def answer(running_eagerly, options):
    with running_eagerly():
        return compare(**options)


@pytest.mark.backends
def test_all_models_are_trained_with_the_same_seeds_and_first_weights(answer, tmp_path):
    seeds = answer.runs.groupby("model")["seed"].apply(list)
    assert seeds["plain"] == seeds["dropped"] == [confirmation_seed(1, each) for each in range(3)]
    models = {"one": dense(), "other": dense}
    same = compare(tmp_path / "same", models, training=rdt.Training(callbacks=[Noted()]))
    scores = same.runs.pivot(index="seed", columns="model", values="val_loss")
    assert scores["one"].tolist() == scores["other"].tolist()
    assert scores["one"].nunique() == 3
    assert (same.outcome, len(Noted.first)) == ("not known", 6)  # No spread, no interval.
    assert "other and one have the same scores with each seed." in same.verdict


def test_a_given_model_stays_as_it_is_and_frozen_layers_keep_their_weights(tmp_path):
    embedding = keras.layers.Dense(3, name="frozen", trainable=False)
    model = keras.Sequential(
        [keras.Input((5, 3)), embedding, keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.get_weights()
    training = rdt.Training(callbacks=[Noted()])
    compare(tmp_path / "p", {"frozen": model, "dense": dense}, training=training)
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)
    frozen = [each for each in Noted.first if each.shape == before[0].shape]
    assert len(frozen) == 3
    assert all((each == before[0]).all() for each in frozen)


@pytest.mark.heavy
def test_nothing_is_trained_twice_and_more_seeds_are_added(answer, options):
    training = rdt.Training(callbacks=[Noted()])
    pd.testing.assert_frame_equal(compare(**options, training=training).table, answer.table)
    assert not Noted.first
    more = compare(**options, training=training, max_seeds=5)
    assert len(Noted.first) == 4
    assert more.runs["repeat"].max() == 4
    known = more.runs[more.runs["repeat"] < 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(known, answer.runs)
    with pytest.raises(ProjectError, match=r"It differs in:\n.*plain"):
        compare(**options, models={"plain": dense(units=3), "dropped": dropped})
    added = {"plain": dense(), "dropped": dropped, "third": dense}
    with pytest.raises(ProjectError, match=r"another comparison, without `third`\.") as refused:
        compare(**options, models=added)
    assert "overwrite" not in str(refused.value)
    with pytest.raises(ProjectError, match="baseline"):
        compare(**options, baseline="dropped")
    with pytest.raises(ProjectError, match="test data"):
        compare(**options | {"test": None})


@pytest.mark.heavy
def test_a_resumed_comparison_has_its_new_margin(tmp_path, capsys):
    """In its first call, which prints trainings only if there are any."""
    noted = rdt.Training(callbacks=[Noted()])
    first = compare(tmp_path / "p", margin=1e-9)
    assert (first.outcome, first.margin("val_loss")) == ("not known", 1e-9)
    again = compare(tmp_path / "p", margin=1000.0, max_seeds=5, training=noted, verbose=1)
    assert (again.outcome, Noted.first) == ("no difference", [])
    assert len(capsys.readouterr().out.splitlines()) == 1
    more = compare(tmp_path / "p", margin=1e-9, max_seeds=5, training=noted, verbose=1)
    assert (more.outcome, len(Noted.first)) == ("not known", 4)
    assert "seeds each: 4 more trainings." in capsys.readouterr().out


def changed_loss(loss="huber", **arguments):
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(2, **arguments)])
    model.compile(keras.optimizers.Adam(0.1), loss, metrics=["mae", keras.metrics.AUC()])
    return model


def test_models_that_differ_are_told_apart():
    def fingerprint(*arguments, **named):
        return ModelCopies(changed_loss(*arguments, **named)).fingerprint()

    same = [fingerprint(), fingerprint()]
    others = [
        fingerprint("mse"),
        fingerprint(keras.losses.Huber(0.5)),
        fingerprint(recurrent_dropout=0.1),
        fingerprint(kernel_regularizer="l2"),
        fingerprint(trainable=False),
        fingerprint(trainable=False),  # Other weights, which stay.
    ]
    assert len({*same}) == 1
    assert len({*same, *others}) == 7


class Wrapped(keras.Model):
    """A model that Keras can only copy by its class."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.compile("sgd", "sparse_categorical_crossentropy")

    def call(self, x):
        return self.inner(x)


def frozen():
    layers = [keras.layers.Dense(3, trainable=False), *dense().layers]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def test_a_function_is_known_by_what_it_builds():
    """Also if its frozen weights are random, or if Keras cannot copy what it builds."""

    def description(build):
        compared = ComparedModels({"one": dense, "other": build}, None)
        return compared.check("loss", False, {"training": data()}, 8, {})["other"]

    builders = [lambda: dense(0.1), lambda: dense(0.2), frozen, lambda: Wrapped(dense())]
    found = [description(build) for build in builders]
    assert found == [description(build) for build in builders]
    assert len({*found}) == 4
    assert found[0].startswith("Flatten, Dropout, Dense (digest ")


def test_losses_that_do_not_compare_are_named(tmp_path):
    models = {name: partial(changed_loss, name) for name in ("mse", "mae")}
    x = data()[0]
    with pytest.warns(UserWarning, match="`mse` mean_squared_error, `mae` mean_absolute_error"):
        ComparedModels(models, None).check("val_loss", False, {"training": (x, x[:, 0, :2])}, 8, {})


@pytest.mark.heavy
def test_an_interrupted_comparison_goes_on(tmp_path):
    whole = compare(tmp_path / "whole")
    # An error that ends a search is not a failure of the model.
    for error, at in ((kt.errors.FatalError("mend it"), 2), (KeyboardInterrupt(), 1)):
        with pytest.raises(type(error)):
            compare(tmp_path / "part", training=rdt.Training(callbacks=[Noted(error, at)]))
    again = compare(tmp_path / "part", training=rdt.Training(callbacks=[Noted()]))
    assert len(Noted.first) == 3
    training = rdt.Training(callbacks=[Noted(KeyboardInterrupt(), at=0)])
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path / "begun", training=training)
    assert "not known" in str(rdt.ModelComparison.load(tmp_path / "begun"))
    names = ["model", "seed", "val_loss"]
    pd.testing.assert_frame_equal(again.runs[names], whole.runs[names])


def test_mlflow_has_a_run_for_the_comparison_and_a_child_for_each_training(answer, options):
    client, runs = MlflowClient(options["tracking"].uri), runs_of(options["tracking"].uri, "models")
    (parent,) = (run for run in runs if run.data.tags["recdrop.kind"] == "search")
    children = [run for run in runs if run is not parent]
    assert parent.data.params["models"] == "plain, dropped"
    assert LACKING not in parent.data.tags
    assert str(answer).split(":")[0] in parent.data.tags["mlflow.note.content"]
    files = {each.path for each in client.list_artifacts(parent.info.run_id, "result")}
    assert {f"result/{each}" for each in ("report.html", "models.csv", "runs.csv")} <= files
    rows = {(run.data.params["model"], int(run.data.params["repeat"])): run for run in children}
    assert len(rows) == len(children) >= len(answer.runs)
    for row in answer.runs.to_dict("records"):
        run = rows[row["model"], row["repeat"]]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["paper"] == "one"
        assert run.info.status == "FINISHED"
        assert run.data.metrics["val_loss"] == pytest.approx(row["val_loss"])
        assert run.data.metrics["test_loss"] == pytest.approx(row["test_loss"])


def test_the_commands_know_it(answer, options, tmp_path):
    folder, page = options["folder"], tmp_path / "page.html"
    words = rdt.ModelComparison.load(folder).verdict
    assert words in output_of("report", folder, "--output", page)
    assert "<h2" in page.read_text()
    assert "models" in output_of("status", folder)
    assert "has ended" in output_of("status", folder)
    assert json.loads(output_of("status", folder, "--json"))["trainings"]["done"] >= 6
    assert "There is no search" in refusal_of("list", folder)


@pytest.mark.heavy
def test_what_fails_counts_and_if_all_fails_it_is_an_error(tmp_path, new_store):
    training = rdt.Training(callbacks=[Noted(ValueError("no luck"), at=1)])
    once = compare(tmp_path / "once", training=training)
    assert once.table.set_index("model")["failed"].to_dict() == {"plain": 0, "dropped": 1}
    assert "Of dropped 1 of 3 trainings failed, of plain 0 (ValueError: no luck)" in str(once)
    mended = compare(tmp_path / "once", training=rdt.Training(callbacks=[Noted()]))
    assert (len(Noted.first), mended.table["n"].tolist()) == (1, [3, 3])
    assert "failed" not in str(mended)

    class Never(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise ValueError("never")

    tracking = rdt.MLflow("all", uri=new_store(tmp_path))
    with pytest.raises(RecdropError, match="Every training failed; the last one with: ValueError"):
        compare(tmp_path / "all", training=rdt.Training(callbacks=[Never()]), tracking=tracking)
    compare(tmp_path / "all", tracking=tracking)  # What made them fail has been mended.
    runs = runs_of(tracking.uri, "all")
    kinds = [(run.data.tags["recdrop.kind"], run.info.status) for run in runs]
    assert kinds.count(("superseded", "FAILED")) == kinds.count(("trial", "FINISHED")) == 6


@pytest.mark.heavy
def test_folds_and_class_weights_are_those_of_training(tmp_path):
    training = rdt.Training(cv=2, class_weight="balanced")
    models = {"plain": dense(), "dropped": dropped}
    usual = {"epochs": 1, "seeds": 2, "max_seeds": 2, "seed": 1, "verbose": 0, "tracking": False}
    answer = rdt.compare_models(
        models, data(), directory=tmp_path / "p", training=training, metric="val_accuracy", **usual
    )
    assert answer.records.direction == "max"
    identity = json.loads((tmp_path / "p" / "search.json").read_text())["identity"]
    assert identity["cv"] == 2
    assert identity["fit"]["class_weight"] == {
        "0": pytest.approx(12 / 14),
        "1": pytest.approx(12 / 10),
    }
    assert len(answer.runs) == 4


def not_compiled():
    return keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])


class Own(keras.Model):
    """A model that Keras cannot copy."""

    def __init__(self):
        super().__init__()
        self.compile("sgd", "mse")


ONE = dense()


def broken():
    raise OSError("no file")


@pytest.mark.parametrize(
    ("changed", "argument", "words"),
    [
        ({"models": {"plain": dense}}, "models", "at least two"),
        ({"models": {"plain": dense, "other": 3}}, "models['other']", "a function that builds one"),
        ({"models": {"plain": dense, "other": not_compiled}}, "models['other']", "not compiled"),
        ({"models": {"plain": dense, "other": broken}}, None, "`other` cannot be built: OSError"),
        ({"baseline": "none"}, "baseline", "one of plain, dropped"),
        ({"metric": "score"}, "metric", "known direction"),
        ({"metric": "val_acuracy"}, "metric", "Did you mean `val_accuracy`?"),
        ({"metric": "val_auc"}, "metric", "`plain` reports: accuracy, loss, ms_per_step"),
        ({"models": {"plain": dense, "other": lambda: ONE}}, "models['other']", "the same model"),
        (
            {"models": {"plain": dense, "other": Own()}},
            "models['other']",
            "a function that builds it",
        ),
        ({"models": {1: dense, 2: dropped}}, "models", "names of at most"),
        ({"seeds": 0}, "seeds", "greater than or equal to 1"),
        ({"margin": -1.0}, "margin", "greater than or equal to 0"),
        ({"models": {"plain": dense, "other": lambda: dense(units=1)}}, "other", "train"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_trained(tmp_path, changed, argument, words):
    with pytest.raises(RecdropError) as error:
        compare(tmp_path / "p", **changed, training=rdt.Training(callbacks=[Noted()]))
    assert words in str(error.value)
    if argument is not None:
        assert isinstance(error.value, InvalidArgumentError)
        assert f"`{argument}`" in str(error.value)
    assert not Noted.first
    assert not (tmp_path / "p").exists()
