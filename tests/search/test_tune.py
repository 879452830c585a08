"""Whole searches by `tune`. `test_tune_arguments` has the errors before one."""

import json
import math
import random
import time
import warnings

import keras
import keras_tuner as kt
import numpy as np
import optuna
import pytest
import tensorflow as tf
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import (
    InvalidArgumentError,
    ProjectError,
    RecdropError,
)
from recdrop_tune.events import TrackingWarning
from recdrop_tune.mlflow_store.pages import command
from recdrop_tune.search import ObjectiveNotReportedError
from recdrop_tune.tuner import TUNERS, trial_seed
from tests.small_search import Batches, Failing, build, data

SPACE = {
    "units": 4,
    "wrapper": ["none", "recurrent"],
    "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory, new_store) -> str:
    return new_store(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def options(tmp_path, uri):
    """What keeps a search small, quiet and in its own folder."""
    return {
        "max_trials": 2,
        "epochs": 1,
        "verbose": 0,
        "seed": 0,
        "tracking": rdt.MLflow(uri=uri),
        "directory": tmp_path / "project",
        "model": build,
    }


def proposals(result):
    frame = result.trials.sort_values("number")
    return frame.drop(columns=["seconds", "ms_per_step", "mlflow_run_id"]).reset_index(drop=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: data(),
        lambda: (*data(), np.ones(24)),
        lambda: tf.data.Dataset.from_tensor_slices(data()).batch(8),
        Batches,
    ],
    ids=["arrays", "weighted", "tf.data", "PyDataset"],
)
@pytest.mark.usefixtures("eagerly")
def test_every_form_of_data(options, make):
    options["model"] = None
    result = rdt.tune(make(), make(), space=SPACE, **{**options, "max_trials": 1})
    assert result.trials["val_loss"].notna().all()
    assert result.best_model().output_shape == (None, 1)


@pytest.mark.parametrize("tuner", ["optuna", "random"])
def test_the_same_seed_gives_the_same_search(tmp_path, options, tuner):
    frames = []
    for name in ("a", "b"):
        keras.utils.set_random_seed(
            ord(name)
        )  # The random state before the search must not matter.
        options |= {"directory": tmp_path / name, "tuner": tuner}
        frames.append(proposals(rdt.tune(data(), data(), **options)))
    assert frames[0].equals(frames[1])
    options |= {"seed": 1, "directory": tmp_path / "c"}
    assert not frames[0].equals(proposals(rdt.tune(data(), data(), **options)))


def test_without_a_seed_a_trial_and_its_twin_have_the_same(options):
    space = {"units": 3, "wrapper": ["none", "recurrent"], "rate": 1e-5, "placement": "recurrent"}
    result = rdt.tune(data(), data(), **{**options, "seed": None, "model": None, "space": space})
    twins = result.trials.set_index("wrapper")["val_loss"]
    assert twins["recurrent"] == pytest.approx(twins["none"], rel=1e-3)


def test_without_a_seed_one_is_drawn_and_kept(tmp_path, options, uri):
    def seed_of(folder, begin):
        random.seed(begin)
        result = rdt.tune(data(), data(), **{**options, "directory": folder})
        held = json.loads((folder / "search.json").read_text())
        return held["seed"], result.trials["mlflow_run_id"]

    options["seed"] = None
    drawn, runs = seed_of(tmp_path / "a", 1)
    # A script that has seeded Python searches the same each time; others do not.
    assert [seed_of(tmp_path / name, len(name))[0] == drawn for name in ("b", "cc")] == [
        True,
        False,
    ]
    client = MlflowClient(uri)
    parent = client.get_run(client.get_run(runs[0]).data.tags["mlflow.parentRunId"])
    assert parent.data.params["seed"] == str(drawn)
    assert seed_of(tmp_path / "a", 2)[0] == drawn
    options["seed"] = drawn
    assert seed_of(tmp_path / "a", 4)[0] == drawn
    options["seed"] = 1
    with pytest.raises(ProjectError, match=f"seed: {drawn} there, 1 now"):
        seed_of(tmp_path / "a", 5)


def test_seeds_of_trials_differ_by_seed_and_values():
    seeds = {trial_seed(0, {}), trial_seed(1, {}), trial_seed(0, {"rate": 0.3})}
    assert len(seeds) == 3
    assert trial_seed(0, {"a": 1, "b": 2}) == trial_seed(0, {"b": 2, "a": 1})


# With real layers, wrapped anew by every trial, for one of them.
LAYERS = {"optuna": {"model": None, "space": SPACE}}


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_search_resumes_in_its_folder(options, tuner, uri, capsys):
    tracking = rdt.MLflow(f"tune {tuner}", uri=uri)
    options |= {"tuner": tuner, "tracking": tracking, **LAYERS.get(tuner, {})}
    options["epochs"] = 2
    first = rdt.tune(data(), data(), **{**options, "max_trials": 1})
    second = rdt.tune(data(), data(), **options)
    assert capsys.readouterr().out == ""  # With `verbose=0`.
    assert proposals(second).head(1).equals(proposals(first))
    assert list(second.trials["state"]) == ["COMPLETE"] * 2
    assert set(first.trials["mlflow_run_id"]) < set(second.trials["mlflow_run_id"])
    assert second.trials["seconds"].notna().all()
    # A column's type depends on the space, not on the hyperparameters that were active.
    assert first.trials.dtypes.equals(second.trials.dtypes)
    assert str(first.trials["placement"].dtype) == "string"
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(f"tune {tuner}").experiment_id
    assert len(client.search_runs([experiment])) == 3
    for run_id in second.trials["mlflow_run_id"]:
        assert {"wrapper", "placement", "rate"} <= set(client.get_run(run_id).data.params)


def test_folders_and_databases_by_default(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    options |= {"directory": None, "tracking": "first try", "max_trials": 1}
    result = rdt.tune(data(), data(), **options)
    assert result.directory.parent.name == "recdrop_runs"
    assert result.directory.name.startswith("first-try-")
    assert json.loads((result.directory / "search.json").read_text())["identity"]
    assert result.ui_command.endswith(f" ui {result.directory.resolve()}")
    assert {path.name for path in tmp_path.iterdir()} == {
        "mlartifacts",
        "mlflow.db",
        "recdrop_runs",
    }


def test_a_storage_and_a_sampler(options, tmp_path):
    storage, sampler = f"sqlite:///{tmp_path}/optuna.db", optuna.samplers.RandomSampler(seed=0)
    result = rdt.tune(data(), data(), **options, tuner=rdt.Optuna(storage=storage, sampler=sampler))
    assert result.tuner.oracle.study.sampler is sampler
    (name,) = optuna.get_all_study_names(storage)
    assert len(optuna.load_study(study_name=name, storage=storage).trials) == 2


def test_progress_lines_of_a_search_that_resumes(options, capsys):
    folder = options["directory"]
    where = f'Folder: {folder} (to resume: run again with directory="{folder}")'
    rdt.tune(data(), data(), **{**options, "verbose": 1, "max_trials": 1})
    told, few, first = capsys.readouterr().out.splitlines()
    assert told == where
    assert few.startswith("max_trials=1 is too small to try every wrapper")
    assert first.startswith("trial 0 (1 of 1)  val_loss")
    result = rdt.tune(data(), data(), **{**options, "verbose": 1})
    told, _, second = capsys.readouterr().out.splitlines()
    assert told == where
    assert second.startswith("trial 1 (2 of 2)  val_loss")
    assert f"(best {result.best_trial.score:.4f}" in second
    assert "eta" not in second


def test_an_objective_to_maximize(options):
    result = rdt.tune(data(), data(), **options, objective="val_accuracy")
    assert result.trials["val_accuracy"].is_monotonic_decreasing
    assert result.direction == "max"
    assert result.ui_url.endswith("orderByAsc=false")


def test_callbacks_and_arguments_of_fit(options):
    callbacks = [keras.callbacks.EarlyStopping(monitor="loss", patience=0, mode="max")]
    options |= {"epochs": 5, "max_trials": 1}
    result = rdt.tune(
        data(),
        **options,
        training=rdt.Training(callbacks=callbacks, fit={"validation_split": 0.25}),
    )
    assert result.trials["epochs"][0] < 5
    assert len(callbacks) == 1
    assert rdt.Training(callbacks=callbacks[0]).callbacks == tuple(callbacks)
    assert rdt.Training(callbacks=None).callbacks == ()


def test_an_objective_that_is_not_reported(options, uri):
    options |= {"objective": kt.Objective("val_f1", "max"), "epochs": 50}
    options["tracking"] = rdt.MLflow("f1", uri=uri)
    with pytest.raises(
        ObjectiveNotReportedError,
        match=r"no metric named `val_f1`.*reports: accuracy, loss, ms_per_step, val_accuracy, val_loss",
    ):
        rdt.tune(data(), data(), **options)
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name("f1").experiment_id])
    assert [run.info.status for run in found] == ["FAILED", "FAILED"]
    study = rdt.TuneResult.load(options["directory"]).study()
    assert optuna.trial.TrialState.RUNNING not in {t.state for t in study.trials}


def test_all_trials_fail(options, capsys):
    options["model"] = Failing(("none", "recurrent", "lambda"))
    with pytest.raises(RecdropError) as caught:
        rdt.tune(data(), data(), **{**options, "max_trials": 5, "verbose": 1})
    assert (
        "trial 0 (1 of 5)  failed: ValueError: the loss went to the moon  "
        in capsys.readouterr().out
    )
    first, second, *_ = str(caught.value).splitlines()
    assert "none was completed" in first
    assert second == "ValueError: the loss went to the moon"


def test_a_timeout_ends_before_the_first_trial(options):
    message = (
        r"No trial was completed, for the 1e-06 seconds of `timeout` were over before one "
        r"could end\. Run again with a larger `timeout`, or without one\. The folder is `"
    )
    with pytest.raises(RecdropError, match=message):
        rdt.tune(data(), data(), **options, timeout=1e-6)
    assert len(rdt.tune(data(), data(), **options).trials) == options["max_trials"]


def test_a_search_without_end(options):
    """The journal holds only numbers that JSON has."""
    for trials, timeout in ((1, math.inf), (2, 1e300)):
        options["max_trials"] = trials
        result = rdt.tune(data(), data(), timeout=timeout, **options)
        assert len(result.trials) == trials
    for line in (result.directory / "events.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_all_trials_are_pruned(options):
    pruner = optuna.pruners.ThresholdPruner(upper=0.0)
    with pytest.raises(
        RecdropError, match="No trial was completed: of 2 trials all were pruned"
    ) as caught:
        rdt.tune(data(), data(), **{**options, "epochs": 5}, tuner=rdt.Optuna(pruner=pruner))
    assert 'with tuner=rdt.Optuna(pruner="none")' in str(caught.value)
    assert "failed" not in str(caught.value)
    # The message's advice works.
    result = rdt.tune(
        data(), data(), **{**options, "epochs": 5, "max_trials": 3}, tuner=rdt.Optuna(pruner="none")
    )
    assert sorted(result.trials["state"]) == ["COMPLETE", "PRUNED", "PRUNED"]


def test_all_configurations_are_pruned(options):
    """A larger `max_trials` would not help."""

    def build_three(hp):
        hp.Choice("dense", [1, 2, 3])
        return build(kt.HyperParameters())

    options |= {"epochs": 5, "max_trials": 3, "model": build_three}
    pruner = optuna.pruners.ThresholdPruner(upper=0.0)
    with pytest.raises(RecdropError, match="of 3 trials all were pruned") as caught:
        rdt.tune(data(), data(), **options, tuner=rdt.Optuna(pruner=pruner))
    assert "Every configuration of the space was tried" in str(caught.value)
    # The message's advice works.
    tuner = rdt.Optuna(pruner="none")
    result = rdt.tune(data(), data(), **options, overwrite=True, tuner=tuner)
    assert set(result.trials["state"]) == {"COMPLETE"}


class Logs(keras.callbacks.Callback):
    """Logs what a function makes of the number of each epoch."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self.make(epoch))


def test_only_numbers_of_a_callback_are_kept(options):
    def mixed(epoch):
        return {
            "histogram": np.arange(3.0),
            "note": f"epoch {epoch}",
            "nothing": None,
            "zero_d": np.array(0.5),
            "one_element": np.array([[0.25]]),
            "tensor": tf.constant(0.125),
            "flag": np.True_,
        }

    options |= {"max_trials": 2, "epochs": 2}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = rdt.tune(data(), data(), **options, training=rdt.Training(callbacks=Logs(mixed)))
    assert result.trials["state"].tolist() == ["COMPLETE", "COMPLETE"]
    found = result.history.query("number == 0")
    numbers = {"zero_d": 0.5, "one_element": 0.25, "tensor": 0.125, "flag": 1.0}
    assert found[list(numbers)].to_dict("list") == {n: [v] * 2 for n, v in numbers.items()}
    assert not {"histogram", "note", "nothing"} & set(found)
    said = [str(each.message) for each in caught if "is left out" in str(each.message)]
    assert [each.split("`")[1] for each in said] == ["histogram", "note", "nothing"]


def test_a_callback_reports_the_objective_in_some_epochs(options):
    def seldom(epoch):
        return {"score": [0.5, 0.2, 0.4][epoch // 2]} if epoch % 2 else {}

    options |= {"objective": kt.Objective("score", "min"), "epochs": 6, "max_trials": 1}
    result = rdt.tune(data(), data(), **options, training=rdt.Training(callbacks=[Logs(seldom)]))
    assert result.trials.loc[0, ["score", "best_epoch"]].tolist() == [0.2, 3]
    study = result.tuner.oracle.study
    assert study.trials[0].intermediate_values == {1: 0.5, 3: 0.2, 5: 0.4}


def test_a_trial_that_ends_before_its_objective_fails_alone(options):
    lengths = iter([3, 1, 3])

    class Ends(kt.HyperModel):
        def build(self, hp):
            return build(hp)

    def late(epoch):
        return {"score": 1.0} if epoch == 2 else {}

    def ends(hp, model, *args, **kwargs):
        return model.fit(*args, **{**kwargs, "epochs": next(lengths)})

    hypermodel = Ends()
    hypermodel.fit = ends
    options |= {"objective": kt.Objective("score", "min"), "max_trials": 3, "epochs": 3}
    options["model"] = hypermodel
    result = rdt.tune(data(), data(), **options, training=rdt.Training(callbacks=[Logs(late)]))
    states = result.trials.sort_values("number")["state"].tolist()
    assert states == ["COMPLETE", "FAILED", "COMPLETE"]
    (failed,) = (t for t in result.tuner.oracle.trials.values() if t.status == "FAILED")
    assert "No epoch of this trial reported `score`, which is the objective" in failed.message


def test_validation_is_too_seldom(options):
    with pytest.raises(ObjectiveNotReportedError, match="`validation_freq` of at most `epochs`"):
        rdt.tune(data(), data(), **options, training=rdt.Training(fit={"validation_freq": 2}))


def fails_with_lambda(hp):
    wrapper = hp.Choice("wrapper", ["none", "lambda"])
    with hp.conditional_scope("wrapper", ["lambda"]):
        hp.Fixed("share", 0.2)
    if wrapper == "lambda":
        raise KeyError("no such layer")
    return build(hp)


def test_a_model_that_cannot_be_built(options):
    options["model"] = fails_with_lambda
    message = (
        r"model cannot be built with wrapper='lambda', share=0\.2.*: KeyError: 'no such layer'"
    )
    with pytest.raises(RecdropError, match=message) as caught:
        rdt.tune(data(), data(), **options)
    assert isinstance(caught.value.__cause__, KeyError)
    assert not options["directory"].exists()


@pytest.mark.parametrize("prefix", ["", "lstm/"])
def test_a_keras_model_is_searched_and_resumes_when_it_is_made_again(options, prefix):
    space = {"wrapper": ["none", "recurrent"], "placement": ["input", "recurrent"], "rate": 0.2}

    def search(max_trials, units=3):
        # Keras numbers the layers of the second one on.
        layers = [keras.layers.LSTM(units), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((5, 3)), *layers])
        model.compile("adam", "binary_crossentropy", run_eagerly=True)
        given = {"model": model, "space": space}
        if prefix:
            given = {"model": rdt.ExistingModel(model, space, per_layer=True)}
        return rdt.tune(data(), data(), **{**options, **given, "max_trials": max_trials})

    search(1)
    result = search(3)
    assert "val_loss" in search(3).context.constant  # Without a trial to build a model for.
    assert set(result.trials[f"{prefix}wrapper"]) == {"none", "recurrent"}
    assert list(result.trials["state"]) == ["COMPLETE"] * 3
    with pytest.raises(ProjectError, match=r"It differs in:\n  model.class: 'model "):
        search(4, units=4)
    loss = result.best_model().evaluate(*data(), verbose=0)
    assert loss == pytest.approx(result.trials["val_loss"].min())


def test_a_build_function_in_which_nothing_is_searched(options):
    def fixed(hp):
        hp.Fixed("units", 3)
        return build(kt.HyperParameters())

    with pytest.warns(UserWarning, match="Nothing is searched: the function .*fixed") as caught:
        rdt.tune(data(), data(), **{**options, "model": fixed, "max_trials": 1})
    assert caught[0].filename == __file__
    with pytest.raises(InvalidArgumentError, match="Expected None with a function"):
        rdt.tune(data(), data(), **options, space="quick")


def test_an_interrupted_search(options, uri, capsys):
    options |= {
        "model": Failing(("none",), KeyboardInterrupt),
        "tracking": rdt.MLflow("interrupted", uri=uri),
    }
    with pytest.raises(KeyboardInterrupt):
        rdt.tune(data(), data(), **{**options, "verbose": 1})
    where, _, cut = capsys.readouterr().out.splitlines()
    assert "to resume" in where
    assert cut.startswith("trial 0 (1 of 2)  interrupted after 1 epochs  wrapper=none")
    assert "eta" not in cut
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name("interrupted").experiment_id])
    assert [run.info.status for run in found] == ["KILLED", "KILLED"]
    assert [run.data.tags.get("recdrop.state") for run in found] == ["INTERRUPTED", None]


def test_a_tracking_server_that_is_down(options):
    options["tracking"] = rdt.MLflow(uri="http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.warns(TrackingWarning, match="MLflow at .* failed: "):
        result = rdt.tune(data(), data(), **options)
    assert time.monotonic() - start < 20
    assert len(result.trials) == 2
    assert result.trials["mlflow_run_id"].isna().all()
    assert result.trials["epochs"].tolist() == [1, 1]
    *_, last = result.summary().splitlines()
    assert last.startswith("MLflow: not all is recorded (")
    assert last.endswith(f"once it is back: {command('sync', str(options['directory']))}")
    assert (result.ui_command, result.ui_url) == (None, None)
