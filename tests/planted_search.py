"""Searches without training: scores and curves follow a formula, so that a trial takes milliseconds."""

import json
import tempfile
import zlib
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np

import recdrop_tune as rdt
from recdrop_tune.results import TuneResult, save_result
from recdrop_tune.results.outline import outline
from recdrop_tune.results.render import as_markdown
from recdrop_tune.search.tuner_tracking import open_session
from recdrop_tune.spaces import SearchSpace

SPACE = {
    "units": [8, 16],
    # Three groups of placements: recurrent and variational, zoneout, lambda.
    "wrapper": ["none", "recurrent", "variational", "zoneout", "lambda"],
    "rate": {"min": 0.05, "max": 0.6, "step": 0.05},
    "learning_rate": {"min": 1e-4, "max": 1e-1, "log": True},
}


class Sized:
    """What stands for a model: the tracking asks it for its size."""

    def __init__(self, units):
        self.units = units

    def count_params(self):
        return self.units * 100


class Planted(kt.HyperModel):
    """A hypermodel whose score depends mostly on the learning rate, then on the dropout rate."""

    def __init__(self, space=None, epochs=3, failing="lambda", error="the loss went to the moon"):
        super().__init__()
        self.space = SearchSpace.load(space or SPACE)
        self.epochs = epochs
        self.failing = failing
        self.error = error

    def build(self, hp):
        return Sized(self.space.sample(hp).units)

    def fit(self, hp, model, callbacks=()):
        history = keras.callbacks.History()
        for callback in (history, *callbacks):
            callback.set_model(model)
            callback.on_train_begin()
        first, last = (hp.values.get(f"tuner/{name}") for name in ("initial_epoch", "epochs"))
        for epoch in range(first or 0, last or self.epochs):
            for callback in (history, *callbacks):
                callback.on_epoch_begin(epoch)
                callback.on_epoch_end(epoch, self.metrics(hp, epoch))
        if hp.get("wrapper") == self.failing and hp.get("units") == 16:
            raise kt.errors.FailedTrialError(self.error)
        return history

    def metrics(self, hp, epoch):
        noise = np.random.default_rng(_seed(hp.values, epoch)).normal(size=2)
        loss = self.score(hp) + np.exp(-epoch / 2) + 0.02 * noise[0]
        milliseconds = hp.get("units") / 4 + 2 * (hp.get("wrapper") != "none") + 0.1 * noise[1]
        return {"loss": loss - 0.1, "val_loss": loss, "ms_per_step": milliseconds}

    def score(self, hp):
        """The planted truth."""
        sample = self.space.sample(hp)
        rate = 0.0 if sample.rate is None else sample.rate
        return 0.3 + 0.5 * (np.log10(sample.learning_rate) + 2.0) ** 2 + (rate - 0.3) ** 2


class PlantedTuner(kt.Tuner):
    """Runs trials of a `Planted` hypermodel, each as many times as asked."""

    executions = 1

    def run_trial(self, trial, **kwargs):
        hp = trial.hyperparameters
        return [self.hypermodel.fit(hp, self.hypermodel.build(hp)) for _ in range(self.executions)]


def planted_result(oracle, folder, uri=None, hypermodel=None, executions=1):
    """Runs the search of an oracle, without MLflow if there is no address, and returns its result."""
    oracle.verbose = 0
    planted = hypermodel or Planted()
    tuner = PlantedTuner(oracle, planted, directory=folder, project_name="planted")
    tuner.executions = executions
    where = uri and rdt.MLflow("planted", uri=uri)
    info = {"epochs": planted.epochs, "seed": 0}
    tracking = open_session(tuner, where, space=planted.space.to_yaml(), info=info)
    with tracking:
        tuner.search()
    return TuneResult(tuner, tracking)


def with_frames(view, **frames):
    """Returns a view with other frames or tables than those that follow from its records."""
    other = replace(view)
    vars(other).update({"trials": view.trials, "history": view.history, **frames})
    return other


def with_records(view, change):
    """Returns a view of other records: `change` takes a copy of them."""
    records = copy(view.records)
    records.trials = deepcopy(records.trials)
    change(records)
    return replace(view, records=records)


def description(result):
    """Returns what MLflow's page says of a result."""
    return as_markdown(outline(result.view, 5))


def save(result):
    """Saves a result as `track` does."""
    return save_result(result.view, result.directory, result.best_model, result.best_code)


def page(result):
    """Returns the HTML of a result's report."""
    with tempfile.TemporaryDirectory() as folder:
        return result.report(Path(folder, "report.html")).read_text(encoding="utf-8")


def _seed(values, epoch):
    return zlib.crc32(json.dumps([sorted(values.items()), epoch], default=str).encode())
