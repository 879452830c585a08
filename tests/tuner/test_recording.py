"""Tests for the kernels, times, tags and versions in the events of a tuner."""

from collections import Counter

import keras
import keras_tuner as kt
import pytest
import tensorflow as tf
from mlflow import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.events import (
    EpochEnded,
    ModelBuilt,
    SearchStarted,
    SpaceChanged,
    TrialEnded,
    TrialStarted,
)
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.journal import Journal
from recdrop_tune.oracle import HalvingPruner, OptunaOracle, reached, scores, state_of
from recdrop_tune.search.tuner_tracking import open_session
from recdrop_tune.tuner import readable
from recdrop_tune.tuner.reports import EpochReporter, kernels_of
from tests.planted_search import Planted, PlantedTuner
from tests.small_search import Curves, data

HERE = "cuDNN" if tf.config.list_physical_devices("GPU") else "loop"
FUSED = HERE.replace("loop", "fused CPU")
LSTM = keras.layers.LSTM


def sequential(*layers):
    return keras.Sequential([keras.Input((5, 3)), *layers])


def events_of(tracking, kind):
    return [each for each in Journal(tracking.journal_path).read() if isinstance(each, kind)]


def wrapped(**options):
    return rdt.wrap(LSTM(2, **options), "recurrent", rate=0.2)


@pytest.mark.parametrize(
    ("layers", "kernel"),
    [
        ([keras.layers.Flatten()], None),
        ([LSTM(2, return_sequences=True), keras.layers.GRU(2)], HERE),
        ([LSTM(2, recurrent_dropout=0.1)], "loop"),
        ([wrapped(return_sequences=True), LSTM(2, activation="relu")], f"{FUSED}+loop"),
    ],
)
def test_kernels(layers, kernel):
    assert kernels_of(sequential(*layers)) == kernel


class Recurrent(kt.HyperModel):
    def fit(self, hp, model, *args, callbacks, **kwargs):
        [self.reporter] = (each for each in callbacks if isinstance(each, EpochReporter))
        return model.fit(*args, callbacks=callbacks, **kwargs)

    def build(self, hp):
        model = sequential(LSTM(hp.Choice("units", [2, 3])), keras.layers.Dense(2))
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model


@pytest.mark.parametrize("own", [True, False], ids=["rdt.Tuner", "keras_tuner.RandomSearch"])
def test_a_trial_of_any_tuner(tmp_path, planted_uri, own):
    place, hypermodel = {"directory": tmp_path, "project_name": "p"}, Recurrent()
    if own:
        tuner = rdt.Tuner(OptunaOracle("val_loss", 1), hypermodel, **place)
    else:
        tuner = kt.RandomSearch(hypermodel, "val_loss", 1, **place)
    name = None if own else "m"
    where = rdt.MLflow(f"kernels {own}", uri=planted_uri, register_model=name)
    tracking = open_session(tuner, where)
    x, y = data()
    tuner.search(x, y, validation_data=(x, y), epochs=3, batch_size=8, verbose=0)
    assert hypermodel.reporter.events is tracking.reporter  # One callback, whoever made it.
    [record], [built] = tracking.records.trials.values(), events_of(tracking, ModelBuilt)
    assert record.kernel == built.kernel == HERE
    times = sorted(event.metrics["ms_per_step"] for event in record.epochs)
    assert record.ms_per_step == times[1]
    assert 0 < record.ms_per_step < record.seconds * 1000
    if own:  # The oracle has them too, so that they can be its objective.
        [trial] = tuner.oracle.trials.values()
        told = trial.metrics.get_history("ms_per_step")
        assert sorted(each.mean() for each in told) == times
    [started] = events_of(tracking, SearchStarted)
    names = {"sampler": "surrogate", "pruner": "HalvingPruner"} if own else {}
    assert {k: v for k, v in started.info.items() if k in ("sampler", "pruner")} == names
    assert started.register_model == name


def test_a_part_of_keras_tuners_chief_and_workers_is_not_tracked(tmp_path, monkeypatch):
    tuner = rdt.Tuner(OptunaOracle("val_loss", 1), Recurrent(), directory=tmp_path)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(InvalidArgumentError, match="trains its trials in this process"):
        open_session(tuner)


def test_a_search_by_optuna(tmp_path, planted_uri):
    oracle = OptunaOracle("val_loss", 2, sampler="random", pruner="median", seed=0)
    tuner = PlantedTuner(oracle, Planted(), directory=tmp_path)
    where = rdt.MLflow("optuna", uri=planted_uri)
    tracking = open_session(tuner, where, data={"training": data()})
    tuner.search()
    [started] = events_of(tracking, SearchStarted)
    assert (started.info["sampler"], started.info["pruner"]) == ("random", "MedianPruner")
    known = {"recdrop-tune", "keras", "keras-tuner", "optuna", "mlflow", "numpy", "python"}
    assert known <= set(started.info)
    assert started.info["tensorflow"] == tf.__version__
    assert [each["context"] for each in started.data] == ["training"]
    tags = [event.tags for event in events_of(tracking, TrialStarted)]
    assert tags == [{"recdrop.worker": "tuner0", "recdrop.optuna_number": str(n)} for n in (0, 1)]
    for ended in events_of(tracking, TrialEnded):
        record = tracking.records.trials[ended.trial_id]
        assert ended.seconds == record.seconds > 0
        assert record.seconds == pytest.approx(ended.time - record.started, abs=0.5)


class Growing(kt.HyperModel):
    """Registers a hyperparameter in one branch, without a condition that Keras Tuner could follow."""

    def build(self, hp):
        if hp.Boolean("deep"):
            hp.Int("depth", 2, 4)
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    def fit(self, hp, model, **kwargs):
        return float(hp.get("deep"))


@pytest.mark.parametrize(
    "oracle",
    [
        OptunaOracle("val_loss", 4, sampler="random", seed=0),
        kt.oracles.RandomSearchOracle("val_loss", 4, seed=0),
        kt.oracles.BayesianOptimizationOracle("val_loss", 4, seed=0),
        kt.oracles.HyperbandOracle("val_loss", max_epochs=2, seed=0),
    ],
    ids=lambda oracle: type(oracle).__name__,
)
def test_a_space_that_grows_while_models_are_built(tmp_path, oracle):
    oracle.verbose = 0
    tuner = kt.Tuner(oracle, Growing(), directory=tmp_path)
    tracking = open_session(tuner)
    tuner.search()
    [started], [grown] = (events_of(tracking, kind) for kind in (SearchStarted, SpaceChanged))
    assert [row.name for row in started.hyperparameters] == ["deep"]
    depth = Hyperparameter("depth", low=2, high=4)
    assert grown.hyperparameters == [*started.hyperparameters, depth] == tracking.records.space
    repeated = [each.hyperparameters for each in events_of(tracking, TrialEnded)]
    assert [each for each in repeated if each is not None] == [{"deep": True, "depth": 2}]


def test_mlflow_has_what_a_model_has_registered(tmp_path, planted_uri):
    oracle = kt.oracles.RandomSearchOracle("val_loss", 4, seed=0)
    tuner = kt.Tuner(oracle, Growing(), directory=tmp_path)
    tracking = open_session(tuner, rdt.MLflow("growing", uri=planted_uri))
    tuner.search()
    tracking.close()
    client = MlflowClient(planted_uri)
    runs = client.search_runs([client.get_experiment_by_name("growing").experiment_id])
    assert {"deep": "True", "depth": "2"} in [run.data.params for run in runs]


def test_tags_of_hyperband(tmp_path):
    oracle = kt.oracles.HyperbandOracle("val_loss", max_epochs=2, factor=2, seed=0)
    tuner = PlantedTuner(oracle, Planted(failing=None), directory=tmp_path)
    tracking = open_session(tuner)
    tuner.search()
    started = events_of(tracking, TrialStarted)
    assert {event.tags["recdrop.bracket"] for event in started} == {"0", "1"}
    second = [event for event in started if event.tags["recdrop.round"] == "1"]
    assert second
    for event in second:
        assert event.tags["recdrop.resumes_trial"] in tracking.records.trials
        assert (event.tags["recdrop.initial_epoch"], event.tags["recdrop.epochs"]) == ("1", "2")
    assert not any("tuner/" in name for event in started for name in event.hyperparameters)


class Eventful(Growing):
    """Registers a hyperparameter late; every fourth training fails, and may be tried again."""

    trained = 0

    def fit(self, hp, model, **kwargs):
        self.trained += 1
        if self.trained % 4 == 2:
            raise ValueError("bad luck")
        return {"val_loss": float(hp.get("deep")) + hp.get("x")}

    def build(self, hp):
        hp.Float("x", 0.0, 1.0)
        return super().build(hp)


def check_same(oracle, records):
    assert list(records.trials) == oracle.start_order
    running = {trial.trial_id for trial in oracle.ongoing_trials.values()}
    assert {record.trial_id for record in records.running} == running
    for trial_id, record in records.trials.items():
        trial = oracle.trials[trial_id]
        state = state_of(trial, getattr(oracle, "max_epochs", None))
        assert record.state == state
        assert record.hyperparameters == readable(trial.hyperparameters)
        assert record.score == reached(trial, oracle.objective).value


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda: OptunaOracle("val_loss", 8, sampler="random", seed=0, max_retries_per_trial=1),
        lambda: kt.oracles.RandomSearchOracle("val_loss", 8, seed=0, max_retries_per_trial=1),
        lambda: kt.oracles.HyperbandOracle("val_loss", max_epochs=4, factor=2, seed=0),
    ],
    ids=["optuna", "random", "hyperband"],
)
def test_records_equal_the_oracle_after_every_event(tmp_path, make, workers):
    oracle = make()
    oracle.verbose = 0
    tuner = kt.Tuner(oracle, Eventful(), directory=tmp_path)
    tracking = open_session(tuner)
    tracked, busy = tuner.oracle, {}
    names = [f"worker{number}" for number in range(workers)]
    ends = 0
    while names:
        for name in list(names):
            if name in busy:
                trial = busy.pop(name)
                try:
                    results = tuner.run_trial(trial)
                    tracked.update_trial(trial.trial_id, results[0])
                    trial.status = "STOPPED" if ends % 5 == 4 else "COMPLETED"
                except ValueError as error:
                    trial.status, trial.message = "INVALID", str(error)
                tracked.end_trial(trial)
                ends += 1
            else:
                trial = tracked.create_trial(name)
                if trial.status == "STOPPED":
                    names.remove(name)
                elif trial.status == "RUNNING":
                    busy[name] = trial
            check_same(oracle, tracking.records)
    assert ends >= 8
    assert len({record.state for record in tracking.records.trials.values()}) >= 2


@pytest.mark.parametrize("make", [OptunaOracle, kt.oracles.RandomSearchOracle])
def test_a_score_is_computed_once(tmp_path, monkeypatch, make):
    calls = Counter()
    for name in ("best_epoch", "metrics_at"):
        real = getattr(scores, name)

        def counted(*arguments, real=real, name=name):
            calls[name] += 1
            return real(*arguments)

        monkeypatch.setattr(scores, name, counted)
    oracle = make("val_loss", 6, seed=0)
    oracle.verbose = 0
    tuner = kt.Tuner(oracle, Eventful(), directory=tmp_path)
    tracking = open_session(tuner)
    tuner.search()
    ended = [each for each in events_of(tracking, TrialEnded) if each.score is not None]
    assert 0 < len(ended) < 6
    assert calls["metrics_at"] == len(ended)
    assert calls["best_epoch"] == len(ended) * (make is OptunaOracle)  # Keras Tuner has its own.
    for each in ended:
        assert each.score == oracle.trials[each.trial_id].score
        if make is OptunaOracle:
            assert each.score == oracle.study.trials[oracle.number_of(each.trial_id)].value


def test_records_have_the_epochs_of_the_oracle_after_every_event(tmp_path):
    oracle = OptunaOracle("val_loss", 4, seed=0, pruner=HalvingPruner(1))
    oracle.verbose = 0
    good, bad = [0.5, None, 0.4, 0.3, 0.2, 0.3], [0.9] * 6
    curves = [good, good, bad, [0.1, *bad[1:]]]
    tuner = rdt.Tuner(oracle, Curves(*curves), directory=tmp_path)
    seen, wrong = Counter(), []

    class Compare:
        def on_event(self, event):
            seen[type(event)] += 1
            if isinstance(event, ModelBuilt):  # Within an epoch.
                return
            for record in session.records.trials.values():
                held = oracle.trials[record.trial_id].metrics
                known = held.get_history("val_loss") if held.exists("val_loss") else []
                told = [each for each in record.epochs if "val_loss" in each.metrics]
                own = [(each.epoch, each.metrics["val_loss"]) for each in told]
                if own != [(each.step, each.mean()) for each in known]:
                    wrong.append((event, own, known))

    session = rdt.track(tuner, False, listeners=[Compare()])
    x, y = data(8)
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    assert wrong == []
    check_same(oracle, session.records)
    states = [record.state.name for record in session.records.trials.values()]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    assert seen[TrialEnded] == 4
    assert 18 < seen[EpochEnded] < 24
