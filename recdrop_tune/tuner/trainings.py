"""The trainings of a configuration: seeds, folds of a cross-validation, and retraining."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras_tuner.engine.trial import Trial

from recdrop_tune.errors import check_callbacks, invalid_argument
from recdrop_tune.hypermodels import fit_of
from recdrop_tune.models import LearnedRates
from recdrop_tune.oracle import best_epoch, forget_metrics, metrics_at, twin_of
from recdrop_tune.tuner.callbacks import copy_callbacks
from recdrop_tune.tuner.reports import StepTimer, TrialReport

_DATA = ("x", "y", "sample_weight")


def seed_values(hyperparameters: Any) -> dict[str, Any]:
    """Returns the values that the seed of a trial is derived from: those of its twin without dropout.

    So configurations that differ only in their dropout have the same seed: the same order of the data, and
    the same first weights. In a build function this holds for `dropout_rnn` and `dropout_model`. Other
    dropout layers draw seeds, which shifts those of the layers after them.
    """
    twin = twin_of(hyperparameters)
    return dict((hyperparameters if twin is None else twin).values)


def trial_seed(seed: int, values: Mapping[str, Any], execution: int = 0) -> int:
    """Derives the seed of one training from the search's seed and from hyperparameters.

    So the result of a trial does not depend on the trials before it. Values that Hyperband adds
    (`tuner/...`) count: each of its rounds is another training.
    """
    named: list[Any] = [seed, sorted(values.items())]
    text = json.dumps([*named, execution] if execution else named, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def folds(cv: Any, seed: int | None, fit: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the arguments of `Model.fit` for each fold of the data, which `check_fold_data` has checked.

    Folds are shuffled. They are stratified if the targets are integers of shape `(samples,)` that each occur
    at least once per fold.
    """
    data = {name: fit[name] for name in _DATA if fit.get(name) is not None}
    samples = len(keras.tree.flatten(data["x"])[0])
    target = keras.tree.flatten(data["y"])[0]
    groups = cv.groups if isinstance(cv, GroupedFolds) else None
    labels = np.ravel(target) if np.shape(target)[1:] == (1,) else target
    for train, test in _splitter(cv, seed, target).split(np.zeros((samples, 1)), labels, groups):
        part = {name: _take(value, train) for name, value in data.items()}
        held_out = tuple(_take(value, test) for value in data.values())
        yield {**fit, **part, "validation_data": held_out}


def check_fold_data(cv: Any, fit: Mapping[str, Any]) -> None:
    """Checks that folds can be taken of the data: arrays with enough samples, without validation data."""
    for argument in ("validation_data", "validation_split"):
        if fit.get(argument):
            expected = "no validation data with `cv`, which takes them from the training data"
            raise invalid_argument(argument, expected=expected, received=type(fit[argument]))
    data = {name: fit[name] for name in _DATA if fit.get(name) is not None}
    if (
        not all(hasattr(part, "__getitem__") for part in keras.tree.flatten(data))
        or "y" not in data
    ):
        raise invalid_argument(
            "x",
            expected="arrays x and y, which `cv` can split",
            received=type(fit.get("x")),
            fix="For other data, pass validation data instead of `cv`.",
        )
    check_folds(cv, fit["x"])


def check_folds(cv: Any, x: Any) -> None:
    """Checks that there are at least as many samples as folds; splitters, and data without a shape, pass."""
    shape = getattr(keras.tree.flatten(x)[0], "shape", ())
    if isinstance(cv, int) and shape and shape[0] < cv:
        expected = f"at most {shape[0]} folds, the number of samples"
        raise invalid_argument("cv", expected=expected, received=cv)


@dataclass(frozen=True)
class GroupedFolds:
    """Folds that keep groups of samples together.

    `cv` is a number of folds, or a splitter like scikit-learn's that takes groups.
    """

    cv: Any
    groups: Any

    def split(self, x: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yields the training samples and the held-out samples, as scikit-learn's splitters do."""
        yield from _splitter(self, None, y).split(x, y, self.groups)

    def __str__(self) -> str:
        return f"{self.cv} by groups"


def _splitter(cv: Any, seed: int | None, target: Any) -> Any:
    grouped = isinstance(cv, GroupedFolds)
    number = cv.cv if grouped else cv
    if not isinstance(number, int):
        return number
    # Imported here, as scikit-learn takes a second and few searches need it.
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    classes = _are_classes(target, number)
    if grouped and not classes:
        return GroupKFold(number)
    kind = StratifiedGroupKFold if grouped else StratifiedKFold if classes else KFold
    return kind(number, shuffle=True, random_state=seed)


def _are_classes(target: Any, folds: int) -> bool:
    """Returns whether targets are classes that each fold can contain, and not counts or years."""
    labels = np.asarray(target)
    if labels.shape[1:] not in ((), (1,)) or labels.dtype.kind not in "biu" or not labels.size:
        return False
    return bool(np.unique(labels, return_counts=True)[1].min() >= folds)


def _take(value: Any, rows: Any) -> Any:
    return keras.tree.map_structure(lambda array: np.asarray(array)[rows], value)


@dataclass(frozen=True)
class Retraining:
    """The result of training a configuration again.

    The score is that of the best epoch (from 0); with cross-validation, of the folds' mean curve. `test` are
    metrics on the test data with the best epoch's weights, with cross-validation the mean over the folds, and
    None without test data. `weights` are those of the best epoch of all folds.
    """

    score: float
    best_epoch: int
    metrics: dict[str, float]
    test: dict[str, float] | None
    weights: list[Any]


def retrain(
    tuner: Any, trial: Trial, seed: int, fit: Mapping[str, Any], test: Any = None
) -> Retraining:
    """Trains the configuration of a trial again, with weights, shuffling, masks and folds of another seed.

    The `test` data, `(x, y)`, `(x, y, sample_weight)` or a dataset, are evaluated once, after the training.
    """
    arguments = dict(fit)
    originals = check_callbacks(arguments.pop("callbacks", None))
    ledger = _Ledger(tuner.oracle.objective, trial.hyperparameters)
    name = f"confirmation_{trial.trial_id}_{seed}"
    recovery = tuner.recovery(Path(tuner.project_dir) / f"{name}.npy")
    report, best, tests = TrialReport(ledger, trial.trial_id), recovery.best, recovery.tests
    build = partial(tuner.hypermodel.build, trial.hyperparameters)
    parts = [arguments] if tuner.cv is None else folds(tuner.cv, seed, arguments)
    with recovery.until_over():
        for number, part in enumerate(parts):
            report.begin()
            if recovery.repeat(number, report) is not None:
                continue
            copies = copy_callbacks(originals, name, number)
            reporter, last, more = recovery.begin(report, copies)
            callbacks = [StepTimer(), LearnedRates(), *copies, *last]
            with tuner.lent_model(build, seed + number) as model:
                results = fit_of(tuner.hypermodel)(
                    trial.hyperparameters, model, **{**part, **more}, callbacks=callbacks
                )
                candidate = reporter.weights_of(results)
                report.take(results, candidate, model)
                best.take_better(candidate, report)
                if test is not None and candidate.weights is not None:
                    model.set_weights(candidate.weights)
                    tests.append(_evaluate(model, test, fit))
            recovery.end(reporter)
        report.finish()
    best_step, score = best_epoch(ledger.trial, ledger.objective)
    step = best_step or 0
    metrics = metrics_at(ledger.trial, step)
    tested = (
        {name: float(np.mean([each[name] for each in tests])) for name in tests[0]}
        if tests
        else None
    )
    return Retraining(score, step, metrics, tested, best.weights or [])


def _evaluate(model: Any, test: Any, fit: Mapping[str, Any]) -> dict[str, float]:
    size = fit.get("batch_size")
    if isinstance(test, tuple | list):
        named = dict(zip(_DATA, test, strict=False))
        metrics = model.evaluate(**named, batch_size=size, verbose=0, return_dict=True)
    else:
        metrics = model.evaluate(test, verbose=0, return_dict=True)
    return {name: float(value) for name, value in metrics.items()}


class _Ledger:
    """Takes the epochs of a training as an oracle does, and never stops it."""

    def __init__(self, objective: Any, hyperparameters: Any) -> None:
        self.objective = objective
        self.trial = Trial(hyperparameters, trial_id="confirmation")

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        for name, value in metrics.items():
            if not self.trial.metrics.exists(name):
                self.trial.metrics.register(name, direction="min")
            self.trial.metrics.update(name, value, step=step)
        return self.trial

    def forget_metrics(self, trial_id: str) -> None:
        forget_metrics(self.trial)
