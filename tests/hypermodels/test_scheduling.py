"""Schedules of rates in a search: in hypermodels, in `dropout_rnn` and in `tune`."""

from typing import ClassVar

import keras
import keras_tuner as kt
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hypermodels import SequenceClassifier, dropout_rnn, scheduled
from recdrop_tune.models import SCHEDULES, dropout_layers, learned_rates
from tests.small_search import data

ONE = {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.4, "units": 3}
EPOCHS = 3


class Rates(keras.callbacks.Callback):
    """Records the rates of each epoch, in one list for Keras Tuner's copies too."""

    seen: ClassVar[list] = []

    def on_train_begin(self, logs=None):
        self.seen.append([])

    def on_epoch_end(self, epoch, logs=None):
        self.seen[-1].append(rates(self.model))


@pytest.fixture(autouse=True)
def _nothing_seen():
    Rates.seen.clear()


def rates(model):
    """The rate of the first site of each dropout layer, as the layer would use it now."""
    return [
        float(keras.ops.convert_to_numpy(next(iter(layer.rates.values()))))
        for layer in dropout_layers(model)
    ]


def moved(name, rate=0.4):
    return [pytest.approx(SCHEDULES[name](epoch / (EPOCHS - 1), rate)) for epoch in range(EPOCHS)]


def fit(hypermodel, hp=None, callbacks=(), epochs=EPOCHS):
    hp = kt.HyperParameters() if hp is None else hp
    model = hypermodel.build(hp)
    model.run_eagerly = True
    x, y = data()
    hypermodel.fit(hp, model, x, y, epochs=epochs, verbose=0, callbacks=[*callbacks, Rates()])
    return model


def make(*names, space=None):
    """A build function with one layer for each name."""

    def build(hp):
        features = inputs = keras.Input((None, 3))
        for name in names:
            plain = keras.layers.GRU(3, return_sequences=name != names[-1])
            layer = dropout_rnn(hp, plain, name, space or {**ONE, "schedule": "annealed"})
            features = layer(features)
        outputs = keras.layers.Dense(2, activation="softmax")(features)
        model = keras.Model(inputs, outputs)
        # That a trace reads the moved rate is tested in `models/test_rate_schedule`.
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        return model

    return build


# Hypermodels


@pytest.mark.parametrize("name", ["constant", "ramp"])
def test_the_classifier_changes_its_rate_and_restores_it(name):
    model = fit(SequenceClassifier(2, (None, 3), {**ONE, "schedule": name, "layers": 2}))
    assert Rates.seen[0] == [[rate, rate] for rate in moved(name)]
    assert rates(model) == pytest.approx([0.4, 0.4])
    assert [layer.rate for layer in dropout_layers(model)] == [0.4, 0.4]


def test_a_layer_that_learns_its_rate_next_to_one_with_a_schedule():
    space = {
        **ONE,
        "wrapper": ["recurrent", "concrete"],
        "schedule": ["annealed", "constant"],
        "samples": 100,
    }
    hp = kt.HyperParameters()
    hp.values["second/wrapper"] = "concrete"
    hypermodel = scheduled(make("first", "second", space=space))
    model = hypermodel.build(hp)
    scheduling, learning = dropout_layers(model)
    assert (scheduling.schedule, learning.learns_rates) == ("annealed", True)
    before = learned_rates(model)
    hypermodel.fit(hp, model, *data(), epochs=2, verbose=0)
    assert learned_rates(model) != before


@pytest.mark.parametrize("kind", ["classifier", "function"])
def test_two_schedules_for_one_rate_are_refused(kind):
    space = {**ONE, "schedule": "constant"}
    function = scheduled(make("rnn", space=space))
    hypermodel = function if kind == "function" else SequenceClassifier(2, (None, 3), space)
    message = r"argument `callbacks`\. Expected no RateSchedule, because the search space"
    with pytest.raises(InvalidArgumentError, match=message):
        fit(hypermodel, callbacks=[rdt.RateSchedule("linear")])


def test_a_space_without_a_schedule_allows_the_callback():
    fit(SequenceClassifier(2, (None, 3), ONE), callbacks=[rdt.RateSchedule("annealed")])
    fit(scheduled(make("rnn", space=ONE)), callbacks=[rdt.RateSchedule("annealed")])
    for seen in Rates.seen:
        assert [rate for (rate,) in seen] == moved("annealed")


# dropout_rnn


def test_dropout_rnn_alone_cannot_apply_a_schedule():
    message = r"`space`\. Expected no `schedule`.*Give the tuner `recdrop_tune\.scheduled\(build\)`"
    with pytest.raises(InvalidArgumentError, match=message):
        make("rnn")(kt.HyperParameters())
    space = {**ONE, "schedule": "constant"}  # asks for nothing
    assert make("rnn", space=space)(kt.HyperParameters()).layers[1].rate == 0.4


def test_each_layer_has_its_own_schedule():
    hp = kt.HyperParameters()
    hp.values.update({"b/schedule": "linear", "c/schedule": "constant"})
    space = {**ONE, "schedule": ["annealed", "linear", "constant"]}
    fit(scheduled(make("a", "b", "c", "d", space=space)), hp)
    names = {name: hp.values[f"{name}/schedule"] for name in "abcd"}
    assert names == {"a": "annealed", "b": "linear", "c": "constant", "d": "annealed"}
    for place, name in enumerate(names.values()):
        assert [seen[place] for seen in Rates.seen[0]] == moved(name)


class Own(kt.HyperModel):
    """A hypermodel with its own `fit`."""

    def __init__(self, passes):
        super().__init__()
        self.passes = passes

    def build(self, hp):
        return make("rnn")(hp)

    def fit(self, hp, model, *args, callbacks, **kwargs):
        return model.fit(*args, callbacks=callbacks if self.passes else [], **kwargs)


def test_a_hypermodel_that_builds_through_a_scheduled_one():
    hp, inner = kt.HyperParameters(), scheduled(make("rnn"))
    fit(scheduled(lambda hp: inner.build(hp)), hp)
    assert [rate for (rate,) in Rates.seen[0]] == moved("annealed")
    with pytest.raises(InvalidArgumentError, match="a model alone adds no callback"):
        make("rnn")(hp)  # Nothing would apply the schedule here.


def test_a_user_defined_fit():
    fit(scheduled(Own(passes=True)))
    assert [rate for (rate,) in Rates.seen[0]] == moved("annealed")
    with pytest.raises(InvalidArgumentError, match="The schedule was not applied"):
        fit(scheduled(Own(passes=False)))


@pytest.mark.heavy
def test_a_reused_model_has_the_schedule_of_its_trial(tmp_path):
    schedules = ["annealed", "linear", "constant"]
    space = {**ONE, "wrapper": ["none", "recurrent"], "schedule": schedules}
    oracle = kt.oracles.GridSearchOracle("loss", 4)
    tuner = rdt.Tuner(oracle, scheduled(make("rnn", space=space)), directory=tmp_path)
    tuner.search(*data(), epochs=EPOCHS, verbose=0, callbacks=[Rates()])
    assert tuner.models_reused == 2
    for trial, seen in zip(oracle.trials.values(), Rates.seen, strict=True):
        schedule = trial.hyperparameters.values.get("rnn/schedule")
        assert schedule is None or [rate for (rate,) in seen] == moved(schedule)


def test_scheduled_takes_a_hypermodel_or_a_function():
    hypermodel = scheduled(make("rnn"))
    assert scheduled(hypermodel) is hypermodel
    for wrong in (3, Own):
        with pytest.raises(InvalidArgumentError, match=r"Expected a keras_tuner\.HyperModel"):
            scheduled(wrong)


# tune


@pytest.fixture
def options(tmp_path):
    return {
        "epochs": EPOCHS,
        "verbose": 0,
        "seed": 0,
        "training": rdt.Training(callbacks=[Rates()]),
        "directory": tmp_path / "project",
        "tracking": None,
    }


@pytest.mark.heavy
def test_tune_with_a_build_function(options):
    build = make("rnn")
    rdt.tune(data(), data(), model=build, max_trials=1, **options)
    assert [rate for (rate,) in Rates.seen[0]] == moved("annealed")
    # `tune` makes it a scheduled one anyway: it is the same search, which has ended.
    rdt.tune(data(), data(), model=scheduled(build), max_trials=1, **options)
    assert len(Rates.seen) == 1


@pytest.mark.heavy
def test_a_missing_objective_is_found_before_the_first_epoch(options):
    """After all epochs if a callback has a method for their end, which can add metrics."""
    starts = []
    note = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: starts.append(epoch))
    options["objective"] = kt.Objective("val_f1", "max")
    for callbacks, epochs in (([note], 0), ([note, Rates()], EPOCHS)):
        starts.clear()
        options["training"] = rdt.Training(callbacks=callbacks)
        options["directory"] = options["directory"].with_name(str(epochs))
        with pytest.raises(rdt.search.ObjectiveNotReportedError, match="no metric named `val_f1`"):
            rdt.tune(data(), data(), model=make("rnn"), max_trials=1, **options)
        assert starts == list(range(epochs))
