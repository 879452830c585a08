"""Other search methods, replayed on a table of training results, to compare with ours.

Each is a function that searches until a completed trial is as good as every threshold, and returns what it
spent for each. A resumed trial costs only its new epochs.

TPE + Hyperband       Optuna's `TPESampler` and `HyperbandPruner`, as its users write them.
SMAC3                 SMAC3's facade for hyperparameters: a random forest, whole trainings (Lindauer et
                      al. 2022, arXiv 2109.09831).
SMAC3 + Hyperband     Its facade for several fidelities.
ASHA                  Asynchronous successive halving of random configurations with one worker (Li et al.
                      2020, arXiv 1810.05934).
PASHA                 The same, whose longest training grows only while the two highest rungs disagree about
                      the order of their configurations (Bohdal et al. 2023, arXiv 2207.06940). It recommends
                      a configuration that need not be trained to its end: what is missing is paid for then.
"""

import itertools
import warnings

import numpy as np
import optuna

ETA = 3
"""One of this many configurations is promoted; the default of all these methods."""


class Spent:
    """Counts what a search spends, until a completed trial reaches each threshold.

    Args:
        table: What the trainings give.
        thresholds: Scores to reach.
    """

    def __init__(self, table, thresholds):
        self.table = table
        self.thresholds = thresholds
        self.found = {}
        self.epochs = self.trials = 0
        self._trained = {}

    @property
    def through(self):
        """Whether all thresholds are reached."""
        return len(self.found) == len(self.thresholds)

    def train(self, key, epochs, of=None):
        """Trains a configuration up to an epoch, and returns its best score so far.

        Args:
            key: The configuration.
            epochs: How many epochs it has then.
            of: What tells apart two trials of one configuration; such trials share nothing.
        """
        trained = self._trained.get((key, of), 0)
        self.trials += (key, of) not in self._trained
        self.epochs += max(0, epochs - trained)
        self._trained[key, of] = max(epochs, trained)
        score = min(self.table.curves[key][:epochs])
        if epochs >= self.table.epochs:
            self.reach(score, 0)
        return score

    def recommend(self, key, of=None):
        """Counts a configuration as found, with the epochs that it lacks."""
        missing = self.table.epochs - self._trained[key, of]
        self.reach(min(self.table.curves[key]), missing)

    def reach(self, score, missing):
        """Notes the thresholds that a score reaches."""
        for goal in self.thresholds:
            if score <= goal:
                self.found.setdefault(goal, (self.epochs + missing, self.trials, 0))

    def result(self):
        """Returns `(epochs, trials, pruned)` for each threshold; `None` where it was not reached."""
        return [self.found.get(goal) for goal in self.thresholds]


class Choices:
    """The dimensions of a table as a conditional space.

    Args:
        table: The table.
    """

    def __init__(self, table):
        self.keys = list(table.curves)
        self.units, self.wrappers, _, _, self.learning_rates = (
            list(dict.fromkeys(values)) for values in zip(*self.keys, strict=True)
        )
        self.under = {}
        for _, wrapper, placement, rate, _ in self.keys:
            if placement:
                places, rates = self.under.setdefault(wrapper, ({}, {}))
                places[placement] = rates[rate] = None

    def ask(self, choose):
        """Returns the key of a configuration, each of whose values `choose(name, values)` takes."""
        units, wrapper = choose("units", self.units), choose("wrapper", self.wrappers)
        placement = rate = ""
        if wrapper in self.under:
            places, rates = self.under[wrapper]
            placement = choose(f"placement.{wrapper}", list(places))
            rate = choose("rate", list(rates))
        return (units, wrapper, placement, rate, choose("learning_rate", self.learning_rates))


def tpe_hyperband(table, thresholds, seed, trials):
    """Runs Optuna's own sampler and pruner in a study."""
    spent, choices = Spent(table, thresholds), Choices(table)
    pruner = optuna.pruners.HyperbandPruner(1, table.epochs, ETA)
    sampler = optuna.samplers.TPESampler(seed=seed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The pruner draws a trial's bracket from the study's name, which is another one each time by default.
    study = optuna.create_study(sampler=sampler, pruner=pruner, study_name=f"seed {seed}")

    def objective(trial):
        def choose(name, values):
            if name == "rate":  # Evenly spaced: its number is as good as itself.
                return values[trial.suggest_int(name, 0, len(values) - 1)]
            return trial.suggest_categorical(name, values)

        key = choices.ask(choose)
        for epoch, value in enumerate(table.curves[key]):
            spent.train(key, epoch + 1, of=trial.number)
            trial.report(value, epoch)
            if epoch + 1 < table.epochs and trial.should_prune():
                raise optuna.TrialPruned
        if spent.through:
            study.stop()
        return min(table.curves[key])

    study.optimize(objective, n_trials=trials)
    return spent.result()


def _smac_space(choices, seed):
    from ConfigSpace import (
        Categorical,
        ConfigurationSpace,
        EqualsCondition,
        InCondition,
        OrdinalHyperparameter,
    )

    space = ConfigurationSpace(seed=seed)
    wrapper = Categorical("wrapper", choices.wrappers)
    space.add(
        OrdinalHyperparameter("units", choices.units),
        OrdinalHyperparameter("learning_rate", choices.learning_rates),
        wrapper,
    )
    rates = list(dict.fromkeys(rate for _, rates in choices.under.values() for rate in rates))
    rate = OrdinalHyperparameter("rate", rates)
    space.add(rate, InCondition(rate, wrapper, list(choices.under)))
    for name, (places, _) in choices.under.items():
        placement = Categorical(f"placement.{name}", list(places))
        space.add(placement, EqualsCondition(placement, wrapper, name))
    return space


def _smac(table, thresholds, seed, trials, several):
    import logging
    import tempfile

    from smac import HyperparameterOptimizationFacade, MultiFidelityFacade, Scenario
    from smac.main.exceptions import ConfigurationSpaceExhaustedException
    from smac.runhistory.dataclasses import TrialValue

    logging.disable(logging.WARNING)
    spent, choices = Spent(table, thresholds), Choices(table)
    facade = MultiFidelityFacade if several else HyperparameterOptimizationFacade
    budgets = {"min_budget": 1, "max_budget": table.epochs} if several else {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scenario = Scenario(
            _smac_space(choices, seed % 2**31),
            output_directory=folder,
            deterministic=True,
            n_trials=trials,
            seed=seed % 2**31,
            **budgets,
        )
        smac = facade(scenario, lambda config, seed, budget=None: 0.0, overwrite=True)
        for _ in range(trials):
            try:
                asked = smac.ask()
            except ConfigurationSpaceExhaustedException:
                break
            given = dict(asked.config)
            key = choices.ask(lambda name, values, given=given: str(given[name]))
            epochs = round(asked.budget) if several else table.epochs
            smac.tell(asked, TrialValue(cost=spent.train(key, epochs)), save=False)
            if spent.through:
                break
    return spent.result()


def smac(table, thresholds, seed, trials):
    """Runs SMAC3 on whole trainings."""
    return _smac(table, thresholds, seed, trials, several=False)


def smac_hyperband(table, thresholds, seed, trials):
    """Runs SMAC3 in Hyperband's brackets."""
    return _smac(table, thresholds, seed, 10 * trials, several=True)


class Rungs:
    """The rungs of successive halving: the scores at each length, and the configurations promoted.

    Args:
        lengths: Epochs of each rung, the shortest first.
    """

    def __init__(self, lengths):
        self.lengths = lengths
        self.scores = [{} for _ in lengths]
        self._promoted = [set() for _ in lengths]

    def promotable(self, highest):
        """Returns a configuration to promote and its next rung, or `None`.

        Args:
            highest: The highest rung that is used.
        """
        for rung in reversed(range(highest)):
            scores = self.scores[rung]
            best = sorted(scores, key=scores.get)[: len(scores) // ETA]
            for key in best:
                if key not in self._promoted[rung]:
                    self._promoted[rung].add(key)
                    return key, rung + 1
        return None

    def disagree(self, highest):
        """Returns whether the two highest rungs order their configurations differently.

        Configurations that are closer than noise count as equal: the noise is what two neighbours that have
        changed places between the epochs of the highest rung lay apart.
        """
        top, below = self.scores[highest], self.scores[highest - 1]
        shared = sorted(top, key=top.get)
        before = sorted(shared, key=below.get)
        close = self._noise(shared, highest)
        return any(
            abs(top[one] - top[other]) > close
            for one, other in zip(shared, before, strict=True)
            if one != other
        )

    def _noise(self, shared, highest):
        """Returns the 90 % quantile of how far apart pairs lie whose order differs between the rungs."""
        top, below = self.scores[highest], self.scores[highest - 1]
        apart = [
            abs(top[a] - top[b])
            for a, b in itertools.combinations(shared, 2)
            if (top[a] - top[b]) * (below[a] - below[b]) < 0
        ]
        return float(np.quantile(apart, 0.9)) if apart else 0.0


def _lengths(epochs, shortest=1):
    lengths = []
    while shortest < epochs:
        lengths.append(shortest)
        shortest *= ETA
    return [*lengths, epochs]


def _halving(table, thresholds, seed, progressive):
    spent, random = Spent(table, thresholds), np.random.default_rng(seed)
    order = iter(random.permutation(len(table.curves)))
    keys, rungs = list(table.curves), Rungs(_lengths(table.epochs))
    last = len(rungs.lengths) - 1
    highest = 2 if progressive else last
    while not spent.through:
        going_on = rungs.promotable(highest)
        if going_on is None:
            number = next(order, None)
            if number is None:
                break
            going_on = keys[number], 0
        key, rung = going_on
        rungs.scores[rung][key] = spent.train(key, rungs.lengths[rung])
        if progressive and rung == highest and highest < last and rungs.disagree(highest):
            highest += 1
        if progressive and rungs.scores[highest]:
            spent.recommend(min(rungs.scores[highest], key=rungs.scores[highest].get))
    return spent.result()


def asha(table, thresholds, seed, trials):
    """Runs asynchronous successive halving; `trials` do not bound it."""
    return _halving(table, thresholds, seed, progressive=False)


def pasha(table, thresholds, seed, trials):
    """Runs progressive ASHA; `trials` do not bound it."""
    return _halving(table, thresholds, seed, progressive=True)


PEERS = {
    "TPE + Hyperband": tpe_hyperband,
    "SMAC3": smac,
    "SMAC3 + Hyperband": smac_hyperband,
    "ASHA": asha,
    "PASHA": pasha,
}
SLOW_PEERS = ("SMAC3", "SMAC3 + Hyperband")
