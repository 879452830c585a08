"""Tests for what the events say beside scores: kernels, times of a step, tags, versions."""

import keras
import keras_tuner as kt
import pytest
import tensorflow as tf

import recdrop_tune as rdt
from recdrop_tune.events import EpochEnded, ModelBuilt, SearchStarted, TrialEnded, TrialStarted
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store import track
from recdrop_tune.mlflow_store.contents import contents_of
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.records import Records
from recdrop_tune.tuner.hooks import kernels_of
from tests.planted_search import Planted, PlantedTuner
from tests.small_search import build, data

HERE = "cuDNN" if tf.config.list_physical_devices("GPU") else "loop"


def sequential(*layers):
    return keras.Sequential([keras.Input((5, 3)), *layers])


def events_of(tracking, kind):
    return [each for each in Journal(tracking.journal_path).read() if isinstance(each, kind)]


@pytest.fixture(scope="module")
def uri(planted_uri):
    return planted_uri


@pytest.mark.parametrize(
    ("layers", "kernel"),
    [
        ([keras.layers.Flatten()], None),
        ([keras.layers.LSTM(2, return_sequences=True), keras.layers.GRU(2)], HERE),
        ([keras.layers.LSTM(2, recurrent_dropout=0.1)], "loop"),
        ([keras.layers.SimpleRNN(2)], "loop"),
        (
            [rdt.wrap(keras.layers.LSTM(2), "recurrent", rate=0.2)],
            HERE.replace("loop", "fused CPU"),
        ),
        (
            [
                rdt.wrap(keras.layers.LSTM(2, return_sequences=True), "recurrent", rate=0.2),
                keras.layers.LSTM(2, activation="relu"),
            ],
            HERE.replace("loop", "fused CPU") + "+loop",
        ),
    ],
)
def test_kernels(layers, kernel):
    assert kernels_of(sequential(*layers)) == kernel


def test_kernels_of_what_is_no_model():
    assert kernels_of(object()) is None


class Recurrent(kt.HyperModel):
    def build(self, hp):
        model = sequential(keras.layers.LSTM(hp.Choice("units", [2, 3])), keras.layers.Dense(2))
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model


@pytest.mark.parametrize("own", [True, False], ids=["rdt.Tuner", "keras_tuner.RandomSearch"])
def test_kernel_and_time_of_a_step_of_a_trial(tmp_path, uri, own):
    place = {"directory": tmp_path, "project_name": "p"}
    if own:
        tuner = rdt.Tuner(OptunaOracle("val_loss", 1), Recurrent(), **place)
    else:
        tuner = kt.RandomSearch(Recurrent(), "val_loss", 1, **place)
    tracking = track(tuner, experiment=f"kernels {own}", tracking_uri=uri)
    x, y = data()
    tuner.search(x, y, validation_data=(x, y), epochs=3, batch_size=8, verbose=0)
    [record] = tracking.records.trials.values()
    assert record.kernel == HERE
    times = sorted(event.metrics["ms_per_step"] for event in record.epochs)
    assert record.ms_per_step == times[1]
    assert 0 < record.ms_per_step < record.seconds * 1000
    [built] = events_of(tracking, ModelBuilt)
    assert built.kernel == HERE


def test_a_chief_tells_trainings_apart_by_their_epochs(tmp_path, uri, monkeypatch):
    """Workers tell it of epochs alone, also of trainings of one epoch each."""
    tuner = rdt.Tuner(OptunaOracle("val_loss", 1), Recurrent(), directory=tmp_path)
    tracking = track(tuner, experiment="chief", tracking_uri=uri)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    trial = tuner.oracle.create_trial("tuner0")
    for step in (0, 0, 0, 1):
        tuner.oracle.update_trial(trial.trial_id, {"val_loss": 1.0}, step=step)
    told = [(event.execution, event.epoch) for event in events_of(tracking, EpochEnded)]
    assert told == [(0, 0), (1, 0), (2, 0), (2, 1)]


def test_the_time_of_a_step_is_the_median_of_all_trainings():
    started = TrialStarted(trial_id="0", number=0, hyperparameters={})
    epochs = [
        EpochEnded(trial_id="0", epoch=epoch, metrics=metrics, seconds=1.0, execution=execution)
        for execution, epoch, metrics in [
            (0, 0, {"ms_per_step": 900.0}),
            (0, 1, {"ms_per_step": 2.0}),
            (1, 0, {"ms_per_step": 3.0}),
            (1, 1, {"loss": 1.0}),
        ]
    ]
    assert Records([started, *epochs]).trials["0"].ms_per_step == 3.0
    assert Records([started]).trials["0"].ms_per_step is None


@pytest.mark.parametrize(("seconds", "expected"), [(5.0, 5.0), (None, 0.0)])
def test_a_clock_that_is_set_back_makes_no_trial_take_less_than_nothing(seconds, expected):
    started = TrialStarted(trial_id="0", number=0, hyperparameters={}, time=1000.0)
    ended = TrialEnded(trial_id="0", status="COMPLETE", score=1.0, seconds=seconds, time=400.0)
    record = Records([started, ended]).trials["0"]
    assert record.seconds == expected
    assert record.ended_at == 1000.0 + expected
    begin = SearchStarted(
        search_id="s", name="n", experiment="e", tuner="t", objective="val_loss", direction="min"
    )
    run = contents_of([begin, started, ended], alive=True).latest["0"]
    assert run.end == ("FINISHED", 1000.0 + expected)


def test_the_time_of_a_trial_is_not_the_clocks(tmp_path, uri):
    tuner = PlantedTuner(OptunaOracle("val_loss", 1), Planted(), directory=tmp_path)
    tracking = track(tuner, experiment="times", tracking_uri=uri)
    tuner.search()
    (ended,) = events_of(tracking, TrialEnded)
    record = tracking.records.trials[ended.trial_id]
    assert ended.seconds == record.seconds > 0
    assert record.seconds == pytest.approx(ended.time - record.started, abs=0.5)


def test_tags_of_optuna(tmp_path, uri):
    oracle = OptunaOracle("val_loss", 2, sampler="random", seed=0)
    tuner = PlantedTuner(oracle, Planted(), directory=tmp_path)
    tracking = track(tuner, experiment="tags", tracking_uri=uri)
    tuner.search()
    tags = [event.tags for event in events_of(tracking, TrialStarted)]
    assert tags == [
        {"recdrop.worker": "tuner0", "recdrop.optuna_number": str(number)} for number in (0, 1)
    ]


def test_tags_of_hyperband(tmp_path, uri):
    oracle = kt.oracles.HyperbandOracle("val_loss", max_epochs=2, factor=2, seed=0)
    tuner = PlantedTuner(oracle, Planted(failing=None), directory=tmp_path)
    tracking = track(tuner, experiment="bands", tracking_uri=uri)
    tuner.search()
    started = events_of(tracking, TrialStarted)
    assert {event.tags["recdrop.bracket"] for event in started} == {"0", "1"}
    second = [event for event in started if event.tags["recdrop.round"] == "1"]
    assert second
    for event in second:
        assert event.tags["recdrop.goes_on_from"] in tracking.records.trials
        assert (event.tags["recdrop.initial_epoch"], event.tags["recdrop.epochs"]) == ("1", "2")
    assert not any("tuner/" in name for event in started for name in event.hyperparameters)


def test_the_start_of_a_search_says_what_it_hangs_on(tmp_path, uri):
    for sampler, pruner, names in [
        (None, None, ("surrogate", "HalvingPruner")),
        ("random", "median", ("random", "MedianPruner")),
    ]:
        oracle = OptunaOracle("val_loss", 1, sampler=sampler, pruner=pruner)
        tuner = PlantedTuner(oracle, Planted(), directory=tmp_path, project_name=names[0])
        tracking = track(tuner, experiment="starts", tracking_uri=uri, data={"training": data()})
        tuner.search()
        [started] = events_of(tracking, SearchStarted)
        assert (started.info["sampler"], started.info["pruner"]) == names
        known = {"recdrop-tune", "keras", "keras-tuner", "optuna", "mlflow", "numpy", "python"}
        assert known <= set(started.info)
        assert started.info["tensorflow"] == tf.__version__
        assert [each["context"] for each in started.data] == ["training"]
        assert started.register_model is None


def test_a_search_without_optuna_names_neither_sampler_nor_pruner(tmp_path, uri):
    tuner = kt.RandomSearch(build, "val_loss", 1, directory=tmp_path)
    tracking = track(tuner, experiment="no optuna", tracking_uri=uri, register_model="m")
    tuner.search(*data(), validation_data=data(), verbose=0)
    [started] = events_of(tracking, SearchStarted)
    assert not {"sampler", "pruner"} & set(started.info)
    assert started.register_model == "m"
