"""Runs the searches of Keras Tuner and ours on a table of training results, without training."""

import tempfile
import time
import warnings
from typing import Any, NamedTuple

import keras_tuner as kt
import numpy as np
import optuna
from _peers import PEERS
from scipy.stats import binom

from recdrop_tune.oracle import OptunaOracle, make_pruner
from recdrop_tune.search.first_trials import enqueue_first_trials
from recdrop_tune.search.plan import warm_up
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.tuner.reports import is_nearly_over

OURS = "recdrop-tune"
SLOW = "BayesianOptimization"
SHARES = (0.01, 0.02, 0.05)
"""A search has found what it was to find when a trial is completed whose score the best 1 %, 2 % or 5 %
of the configurations reach."""

_OBJECTIVE = kt.Objective("val_loss", "min")


class Unsaved:
    """A base class that disables saving of an oracle, because replayed searches are not resumed.

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


def ours(trials, epochs, seed, sampler=None, pruner=None, at_least=None):
    """Returns our oracle; with the defaults of `tune` where nothing else is said.

    Args:
        trials: The most trials.
        epochs: Epochs of a trial.
        seed: Seed.
        sampler: Name of a sampler, or arguments of `TPESampler`.
        pruner: Name of a pruner.
        at_least: Epochs that a trial always gets.
    """
    if isinstance(sampler, dict):
        sampler = optuna.samplers.TPESampler(**sampler, seed=seed)
    made = make_pruner(pruner, warm_up=at_least or warm_up(epochs))
    return OursUnsaved(_OBJECTIVE, trials, sampler=sampler, pruner=made, seed=seed)


_JOINT = {"multivariate": True, "group": True, "constant_liar": True}
VARIANTS = {
    "pruner none": {"pruner": "none"},
    "pruner halving from 5": {"at_least": 5},
    "pruner halving from 10": {"at_least": 10},
    "pruner halving from 20": {"at_least": 20},
    "pruner patient_median": {"pruner": "patient_median"},
    "pruner median": {"pruner": "median"},
    "pruner median from 5": {"pruner": "median", "at_least": 5},
    "pruner percentile": {"pruner": "percentile"},
    "pruner asha": {"pruner": "asha"},
    "pruner hyperband": {"pruner": "hyperband"},
    "sampler tpe": {"sampler": "tpe"},
    "sampler tpe, pruner none": {"sampler": "tpe", "pruner": "none"},
    "sampler tpe, pruner patient_median": {"sampler": "tpe", "pruner": "patient_median"},
    "sampler tpe, univariate": {"sampler": {"multivariate": False, "constant_liar": True}},
    "sampler tpe, 5 random trials": {"sampler": {"n_startup_trials": 5, **_JOINT}},
    "sampler tpe, 20 random trials": {"sampler": {"n_startup_trials": 20, **_JOINT}},
    "sampler random": {"sampler": "random"},
    "sampler random, pruner none": {"sampler": "random", "pruner": "none"},
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


class Replayed(NamedTuple):
    """A trial.

    Attributes:
        sample: The configuration.
        status: Keras Tuner's status of the trial.
        epochs: How many it took.
        score: The best of them.
    """

    sample: Any
    status: str
    epochs: int
    score: float


def replay(oracle, table, space, thresholds, note=None):
    """Searches until a completed trial is as good as every threshold, or nothing is left to try.

    Args:
        oracle: The oracle.
        table: What the trainings give.
        space: The space of the table.
        thresholds: Scores to reach.
        note: Called with each trial after its end, if given.

    Returns:
        `(epochs, trials, pruned)` spent for each threshold; `None` where it was not reached.
    """
    space, found = SearchSpace.load(space), {}
    epochs = pruned = 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # With few points, the fitted length scale can be at the end of its range.
        warnings.filterwarnings("ignore", module=r"sklearn\.")
        kt.Tuner(oracle, lambda hp: space.sample(hp), directory=folder)
        oracle.verbose = 0
        if isinstance(oracle, OptunaOracle):
            enqueue_first_trials(oracle)
        while len(found) < len(thresholds):
            trial = oracle.create_trial("replay")
            if trial.status != "RUNNING":
                break
            sample = space.sample(trial.hyperparameters)
            spent, score = _run(oracle, trial, table.curve(sample))
            epochs += spent
            pruned += trial.status == "STOPPED"
            oracle.end_trial(trial)
            if note is not None:
                note(Replayed(sample, trial.status, spent, score))
            for goal in thresholds if trial.status == "COMPLETED" else ():
                if score <= goal:
                    found.setdefault(goal, (epochs, len(oracle.trials), pruned))
    return [found.get(goal) for goal in thresholds]


def _run(oracle, trial, curve):
    """Reports a trial's epochs as a tuner would, and sets its status; returns how many, and the best.

    A trial of Hyperband resumes where its earlier round ended.
    """
    values, trial.status = trial.hyperparameters.values, "COMPLETED"
    first, last = values.get("tuner/initial_epoch", 0), values.get("tuner/epochs", len(curve))
    if not isinstance(oracle, OptunaOracle):
        # Keras Tuner reports a training when it is through.
        best = int(np.argmin(curve[first:last]))
        oracle.update_trial(trial.trial_id, {"val_loss": curve[first + best]}, step=best)
        return last - first, curve[first + best]
    for epoch, value in enumerate(curve):
        answer = oracle.update_trial(trial.trial_id, {"val_loss": value}, step=epoch)
        if answer.status == "STOPPED" and not is_nearly_over(epoch, len(curve)):
            trial.status = answer.status
            return epoch + 1, min(curve[: epoch + 1])
    return len(curve), min(curve)


def far_seed(turn):
    """Returns a seed far from those of other turns.

    Keras Tuner draws each value with the next higher seed: searches with the seeds 1, 2, 3 ... try nearly
    the same configurations.
    """
    return int(np.random.SeedSequence(turn).generate_state(1)[0] >> 1)


def one(name, table, space, thresholds, seed, trials):
    """Replays one search by a tuner of that name; returns what it spent for each threshold."""
    if name in PEERS:
        return PEERS[name](table, thresholds, seed, trials)
    return replay(oracle_for(name, trials, table.epochs, seed), table, space, thresholds)


def measure(name, draw, space, seeds, trials):
    """Replays a tuner with each seed; returns what it spent, as medians and quartiles.

    A search that did not reach a threshold counts as one that spent infinitely much.

    Args:
        name: Name of the tuner.
        draw: Returns the table of a search by its number.
        space: The space of the tables.
        seeds: Number of searches.
        trials: The most trials of each.
    """
    started, runs = time.perf_counter(), []
    for turn in range(seeds):
        table = draw(turn)
        thresholds = [table.threshold(share) for share in SHARES]
        runs.append(one(name, table, space, thresholds, far_seed(turn), trials))
    row = {"tuner": name, "seeds": seeds, "max_trials": trials}
    row["seconds_per_search"] = round((time.perf_counter() - started) / seeds, 2)
    for share, spent in zip(SHARES, zip(*runs, strict=True), strict=True):
        row[f"top {share:.0%}"] = _summary(spent)
    return row


def measure_ends(name, draw, space, seeds, trials):
    """Replays searches to their end; returns what they spent and found, as means.

    The arguments are those of `measure`; without `trials`, a search decides by itself when it is done.
    """
    found = []
    for turn in range(seeds):
        table, done = draw(turn), []
        oracle = oracle_for(name, trials, table.epochs, far_seed(turn))
        replay(oracle, table, space, [-np.inf], done.append)
        scores = [each.score for each in done if each.status == "COMPLETED"]
        place = np.mean(table.scores < min(scores))
        worse = min(scores) / table.scores.min() - 1
        epochs = sum(each.epochs for each in done)
        found.append((epochs, len(scores), place, worse, len(done)))
    epochs, complete, place, worse, begun = np.mean(found, axis=0).tolist()
    row = {"tuner": name, "seeds": seeds, "max_trials": trials, "epochs": round(epochs)}
    return row | {
        "trials": round(begun, 1),
        "trials_80": np.quantile(np.array(found)[:, -1], (0.1, 0.9)).round().tolist(),
        "complete": round(complete, 1),
        "place": round(place, 4),
        "worse": round(worse, 3),
    }


PROMISES = (0.005, 0.01, 0.02, 0.05, 0.1)
"""The bounds between which promised gains are compared with what the next trials gain."""


def measure_promises(draw, space, seeds, trials, ahead=5):
    """Compares what another trial is expected to gain with what the next ones gain; returns means.

    Args:
        draw: Returns the table of a search by its number.
        space: The space of the tables.
        seeds: Number of searches.
        trials: The trials of each.
        ahead: How many trials count as the next ones.
    """
    rows = []
    for turn in range(seeds):
        table, promised, best = draw(turn), [], []
        oracle = ours(trials, table.epochs, far_seed(turn))

        def note(part, oracle=oracle, promised=promised, best=best):
            promised.append(oracle.expected_gain())
            score = part.score if part.status == "COMPLETED" else np.inf
            best.append(min([score, *best[-1:]]))

        replay(oracle, table, space, [-np.inf], note)
        pairs = zip(promised, best, best[ahead:], strict=False)
        rows += [(gain, 1 - then / now) for gain, now, then in pairs if gain is not None]
    gains, true = np.array(rows).T
    places = np.digitize(gains, PROMISES)
    return [
        {
            "up to": bound,
            "number": int((places == place).sum()),
            "promised": round(float(gains[places == place].mean()), 4),
            "gained": round(float(true[places == place].mean()), 4),
        }
        for place, bound in enumerate((*PROMISES, None))
        if (places == place).any()
    ]


def _summary(spent):
    reached = [each for each in spent if each is not None]
    found = {"reached": len(reached)}
    for position, name in enumerate(("epochs", "trials", "pruned")):
        values = [np.inf if each is None else each[position] for each in spent]
        # Whole seeds only: between a number and infinity lies nothing.
        found[name] = _whole(np.quantile(values, (0.25, 0.5, 0.75), method="higher"))
        if name == "epochs":
            found["median_95"] = _whole(_around_the_median(values))
    return found


def _around_the_median(values):
    """Returns two of the values, between which the median of all possible seeds lies in 95 of 100 cases."""
    low = int(binom.ppf(0.025, len(values), 0.5))
    return np.sort(values)[[max(0, low - 1), min(len(values) - 1, len(values) - low)]]


def _whole(values):
    return [None if np.isinf(value) else int(value) for value in values]
