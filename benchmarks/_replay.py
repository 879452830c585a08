"""Runs the searches of Keras Tuner and ours on a table of training results, without training."""

import tempfile
import time
import warnings

import keras_tuner as kt
import numpy as np
import optuna

from recdrop_tune.oracle import OptunaOracle, make_pruner
from recdrop_tune.spaces import SearchSpace

OURS = "recdrop-tune"
SLOW = "BayesianOptimization"
SHARES = (0.01, 0.02, 0.05)
"""A search has found what it was to find when a trial is completed whose score the best 1 %, 2 % or 5 %
of the configurations reach."""

_OBJECTIVE = kt.Objective("val_loss", "min")


class Unsaved:
    """Comes before an oracle among the bases of a class: nobody goes on with a replayed search.

    Writing each epoch to a file would take longer than the rest.
    """

    def save(self):
        """Does nothing."""

    def _save_trial(self, trial):
        pass


class OursUnsaved(Unsaved, OptunaOracle):
    """Ours, without its files."""


class RandomSearchUnsaved(Unsaved, kt.oracles.RandomSearchOracle):
    """Keras Tuner's random search, without its files."""


class BayesianOptimizationUnsaved(Unsaved, kt.oracles.BayesianOptimizationOracle):
    """Keras Tuner's Bayesian optimization, without its files."""


class HyperbandUnsaved(Unsaved, kt.oracles.HyperbandOracle):
    """Keras Tuner's Hyperband, without its files."""


def keras_tuners(name, trials, epochs, seed):
    """Returns an oracle of Keras Tuner's, with its defaults."""
    if name == "Hyperband":
        # One pass through its brackets may not find it: as many as it takes.
        return HyperbandUnsaved(_OBJECTIVE, max_epochs=epochs, hyperband_iterations=100, seed=seed)
    kind = {
        "RandomSearch": RandomSearchUnsaved,
        "BayesianOptimization": BayesianOptimizationUnsaved,
    }[name]
    return kind(_OBJECTIVE, max_trials=trials, seed=seed)


def ours(trials, epochs, seed, sampler=None, pruner=None, warm_up=None):
    """Returns our oracle; with the defaults of `tune` where nothing else is said.

    Args:
        trials: The most trials.
        epochs: Epochs of a trial.
        seed: Seed.
        sampler: Name of a sampler, or arguments of `TPESampler`.
        pruner: Name of a pruner.
        warm_up: Epochs that a trial always gets; a third of them, at least ten, by default.
    """
    if isinstance(sampler, dict):
        sampler = optuna.samplers.TPESampler(**sampler, seed=seed)
    made = make_pruner(pruner, warm_up=max(10, round(epochs / 3)) if warm_up is None else warm_up)
    storage = optuna.storages.InMemoryStorage()
    return OursUnsaved(_OBJECTIVE, trials, sampler=sampler, pruner=made, storage=storage, seed=seed)


_TPE = {"constant_liar": True}
_JOINT = {"multivariate": True, "group": True, **_TPE}
VARIANTS = {
    "pruner none": {"pruner": "none"},
    "pruner patient_median, warm-up 5": {"warm_up": 5},
    "pruner patient_median, warm-up 10": {"warm_up": 10},
    "pruner patient_median, warm-up 20": {"warm_up": 20},
    "pruner median, warm-up 5": {"pruner": "median", "warm_up": 5},
    "pruner median, warm-up 10": {"pruner": "median", "warm_up": 10},
    "pruner median": {"pruner": "median"},
    "pruner percentile, warm-up 5": {"pruner": "percentile", "warm_up": 5},
    "pruner percentile, warm-up 10": {"pruner": "percentile", "warm_up": 10},
    "pruner percentile": {"pruner": "percentile"},
    "pruner asha, first rung 5": {"pruner": "asha", "warm_up": 5},
    "pruner asha": {"pruner": "asha"},
    "pruner hyperband, first rung 5": {"pruner": "hyperband", "warm_up": 5},
    "pruner hyperband": {"pruner": "hyperband"},
    "TPE not grouped": {"sampler": {"multivariate": True, **_TPE}},
    "TPE univariate": {"sampler": {"multivariate": False, **_TPE}},
    "TPE 5 random trials first": {"sampler": {"n_startup_trials": 5, **_JOINT}},
    "TPE 20 random trials first": {"sampler": {"n_startup_trials": 20, **_JOINT}},
    "TPE univariate, 5 random trials first": {
        "sampler": {"multivariate": False, "n_startup_trials": 5, **_TPE}
    },
    "sampler random": {"sampler": "random"},
    "sampler qmc": {"sampler": "qmc"},
}
"""Other settings of ours than the defaults, by what is different."""


def oracle_for(name, trials, epochs, seed):
    """Returns the oracle of a tuner or of a variant of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == OURS or name in VARIANTS:
            return ours(trials, epochs, seed, **VARIANTS.get(name, {}))
        return keras_tuners(name, trials, epochs, seed)


def replay(oracle, table, space, thresholds):
    """Searches until a completed trial is as good as every threshold, or nothing is left to try.

    Args:
        oracle: The oracle.
        table: What the trainings give.
        space: The space of the table.
        thresholds: Scores to reach.

    Returns:
        `(epochs, trials, pruned)` spent for each threshold; `None` where it was not reached.
    """
    space, found = SearchSpace.load(space), {}
    epochs = trials = pruned = 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Of few points a length scale at the end of its range is fitted, which is no fault.
        warnings.filterwarnings("ignore", module=r"sklearn\.")
        kt.Tuner(oracle, lambda hp: space.sample(hp), directory=folder)
        oracle.verbose = 0
        while len(found) < len(thresholds):
            trial = oracle.create_trial("replay")
            if trial.status != "RUNNING":
                break
            curve = table.curve(space.sample(trial.hyperparameters))
            spent, score, stopped = _run(oracle, trial, curve)
            epochs, trials, pruned = epochs + spent, trials + 1, pruned + stopped
            trial.status = "STOPPED" if stopped else "COMPLETED"
            oracle.end_trial(trial)
            for goal in thresholds if not stopped else ():
                if score <= goal:
                    found.setdefault(goal, (epochs, trials, pruned))
    return [found.get(goal) for goal in thresholds]


def _run(oracle, trial, curve):
    """Reports a trial's epochs as a tuner would; returns how many, the best, and whether it was stopped.

    A trial of Hyperband's goes on where its earlier round ended.
    """
    values = trial.hyperparameters.values
    first, last = values.get("tuner/initial_epoch", 0), values.get("tuner/epochs", len(curve))
    if not isinstance(oracle, OptunaOracle):
        # Keras Tuner reports a training when it is through.
        best = int(np.argmin(curve[first:last]))
        oracle.update_trial(trial.trial_id, {"val_loss": curve[first + best]}, step=best)
        return last - first, curve[first + best], False
    for epoch, value in enumerate(curve):
        answer = oracle.update_trial(trial.trial_id, {"val_loss": value}, step=epoch)
        if answer.status == "STOPPED":
            return epoch + 1, min(curve[: epoch + 1]), True
    return len(curve), min(curve), False


def measure(name, table, space, seeds, trials):
    """Replays a tuner with each seed; returns what it spent, as medians and quartiles.

    A search that did not reach a threshold counts as one that spent infinitely much.
    """
    thresholds = [table.threshold(share) for share in SHARES]
    started = time.perf_counter()
    runs = [
        replay(oracle_for(name, trials, table.epochs, seed), table, space, thresholds)
        for seed in range(1, seeds + 1)
    ]
    row = {"tuner": name, "seeds": seeds, "max_trials": trials}
    row["seconds_per_search"] = round((time.perf_counter() - started) / seeds, 2)
    for share, spent in zip(SHARES, zip(*runs, strict=True), strict=True):
        row[f"top {share:.0%}"] = _summary(spent)
    return row


def _summary(spent):
    reached = [each for each in spent if each is not None]
    found = {"reached": len(reached)}
    for position, name in enumerate(("epochs", "trials", "pruned")):
        values = [np.inf if each is None else each[position] for each in spent]
        # Whole seeds only: between a number and infinity lies nothing.
        quartiles = np.quantile(values, (0.25, 0.5, 0.75), method="higher")
        found[name] = [None if np.isinf(value) else int(value) for value in quartiles]
    return found
