"""Trains a configuration once more, with a seed of its own and outside of the search."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras_tuner as kt
import numpy as np

from recdrop_tune.models import SameDraws
from recdrop_tune.oracle import best_step, metrics_at, objectives
from recdrop_tune.tuner.callbacks import as_list, own_callbacks
from recdrop_tune.tuner.folds import folds
from recdrop_tune.tuner.reports import BestWeights, EpochReporter, StepTimer, TrialReport


@dataclass(frozen=True)
class Retraining:
    """What came of training a configuration once more.

    Attributes:
        score: The objective at the best epoch; with cross-validation, of the folds' mean curve.
        best_epoch: That epoch, from 0.
        metrics: The metrics of that epoch.
        test: Metrics of the test data with the best epoch's weights; `None` without test data.
        weights: The best epoch's weights, as `Model.get_weights` gives them.
        seconds: How long it took.
    """

    score: float
    best_epoch: int
    metrics: dict[str, float]
    test: dict[str, float] | None
    weights: list[Any]
    seconds: float


def retrain(
    tuner: Any, trial: Any, seed: int, fit: Mapping[str, Any], test: Any = None
) -> Retraining:
    """Trains the configuration of a trial once more, with weights and masks of another seed.

    Args:
        tuner: A `Tuner`; its compiled models are used again.
        trial: The trial.
        seed: Seed of weights, shuffling, masks and folds.
        fit: Arguments of `Model.fit`.
        test: Data for `Model.evaluate`: `(x, y)`, `(x, y, sample_weight)` or a dataset. They are looked
            at once, after the training.

    Raises:
        RecdropError: The objective was not a number in any epoch.
    """
    started = time.perf_counter()
    arguments = dict(fit)
    given = as_list(arguments.pop("callbacks", None))
    ledger = _Ledger(tuner.oracle.objective, trial.hyperparameters)
    report, best, tests = TrialReport(ledger, trial.trial_id), BestWeights(), []
    build = partial(tuner.hypermodel.build, trial.hyperparameters)
    parts = [arguments] if tuner.cv is None else folds(tuner.cv, seed, arguments)
    for number, part in enumerate(parts):
        report.begin()
        callbacks = own_callbacks(given, f"confirmation_{trial.trial_id}_{seed}", number)
        callbacks = [
            SameDraws(seed + number),
            StepTimer(),
            *callbacks,
            EpochReporter(report, best),
        ]
        with tuner.lent_model(build, seed + number) as model:
            results = tuner.hypermodel.fit(
                trial.hyperparameters, model, callbacks=callbacks, **part
            )
            report.take(results, best, model)
            if test is not None and best.weights is not None:
                model.set_weights(best.weights)
                tests.append(_evaluate(model, test, fit))
    report.finish()
    step = best_step(ledger.trial, objectives(ledger.objective)[0]) or 0
    metrics = metrics_at(ledger.trial, step)
    score = metrics[objectives(ledger.objective)[0].name]
    tested = (
        {name: float(np.mean([each[name] for each in tests])) for name in tests[0]}
        if tests
        else None
    )
    seconds = time.perf_counter() - started
    return Retraining(score, step, metrics, tested, best.weights or [], seconds)


def _evaluate(model: Any, test: Any, fit: Mapping[str, Any]) -> dict[str, float]:
    size = fit.get("batch_size")
    if isinstance(test, tuple | list):
        names = ("x", "y", "sample_weight")
        named = dict(zip(names, test, strict=False))
        found = model.evaluate(**named, batch_size=size, verbose=0, return_dict=True)
    else:
        found = model.evaluate(test, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items()}


class _Ledger:
    """Takes the epochs of a training as an oracle would, and has no trial stopped."""

    def __init__(self, objective: Any, hyperparameters: Any) -> None:
        self.objective = objective
        self.trial = kt.engine.trial.Trial(hyperparameters, trial_id="confirmation")

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        for name, value in metrics.items():
            if not self.trial.metrics.exists(name):
                self.trial.metrics.register(name, direction="min")
            self.trial.metrics.update(name, value, step=step)
        return self.trial

    def get_trial(self, trial_id: str) -> Any:
        return self.trial
