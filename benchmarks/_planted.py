"""Searches whose truth is known: trainings report planted scores, with the noise of real ones.

A score is the level of its configuration plus noise. The level is planted by a formula, or it is that of a
table of real trainings (`_table.py`). A part of the noise is the same for all configurations that are
trained with the same seed. It is normal except where a problem has heavy tails or outliers. The size of
that part, and the size of the noise relative to a real loss, were measured on the repeated trainings of an
earlier edition of `which_dropout.py` (`results/repeated_trainings.json`: 28 configurations of three tasks,
five seeds each).
"""

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _problems
import _table
import keras
import keras_tuner as kt
import numpy as np

from recdrop_tune.spaces import SearchSpace

REPEATS = Path(__file__).parent / "results" / "repeated_trainings.json"
SPREAD = 0.05
"""Standard deviation over seeds of the scores of planted formulas, which are near 1."""

SPACE = {
    "cell": "lstm",
    "units": 4,
    "wrapper": ["none", "native", "recurrent", "variational"],
    "placement": "recurrent",
    "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
    # Of a few values, many configurations would share a twin.
    "learning_rate": {"min": 1e-3, "max": 3e-2, "log": True},
}

NOISES = {
    "normal": lambda rng: rng.normal(),
    # Student's t of 2.5 degrees of freedom, and one score in ten four times as far off; both of variance 1.
    "heavy tails": lambda rng: rng.standard_t(2.5) / np.sqrt(5),
    "outliers": lambda rng: rng.normal() * (4 if rng.random() < 0.1 else 1) / np.sqrt(2.5),
    "exponential": lambda rng: rng.exponential() - 1,
}


@dataclass(frozen=True)
class Problem:
    """A planted problem.

    Attributes:
        about: What is planted, in words.
        space: The search space.
        level: Returns the true score of a configuration (`recdrop_tune.SearchSpace.sample`); lower is
            better.
        spread: Returns the standard deviation of its scores over seeds.
        alike: Correlation of the scores of two configurations that are trained with the same seed.
        noise: One of `NOISES`.
        rare: This share of the trainings with dropout is so many spreads worse, and the others are as much
            better as leaves the mean where it is.
        fails: Returns the share of a configuration's trainings that fail, once the search is over.
        margin: The difference that does not matter; `None` for the default.
    """

    about: str
    space: dict
    level: Callable
    spread: Callable
    alike: float
    noise: str = "normal"
    rare: tuple[float, float] = (0.0, 0.0)
    fails: Callable = lambda sample: 0.0
    margin: float | None = None

    def score(self, sample, draw):
        """Draws the score of a training.

        Args:
            sample: The configuration.
            draw: A number that is the same for all trainings with the same seed.
        """
        shared = NOISES[self.noise](np.random.default_rng(draw))
        generator = self.generator(sample, draw)
        own = NOISES[self.noise](generator)
        noise = np.sqrt(self.alike) * shared + np.sqrt(1 - self.alike) * own
        share, worse = self.rare
        if sample.wrapper != "none" and share:
            noise += worse if generator.random() < share else -worse * share / (1 - share)
        return float(self.level(sample) + self.spread(sample) * noise)

    def generator(self, sample, draw):
        """Returns a generator of random numbers for one training of a configuration."""
        return np.random.default_rng([draw, zlib.crc32(repr(_table.key(sample)).encode())])

    def gain(self, sample):
        """Returns what a configuration truly gains over its twin, the same without dropout."""
        twin = replace(sample, wrapper="none", placement=None, rate=None)
        return float(self.level(twin) - self.level(sample))

    def best(self, samples):
        """Returns the level of the best configuration: the settings of one, and any dropout or none."""
        dropouts = {(each.wrapper, each.placement, each.rate) for each in samples}
        dropouts.add(("none", None, None))
        levels = [
            self.level(replace(each, wrapper=wrapper, placement=placement, rate=rate))
            for each in samples
            for wrapper, placement, rate in dropouts
        ]
        return min(levels)


class Planted(kt.HyperModel):
    """A hypermodel whose trainings take no time, and report planted scores.

    Args:
        problem: What is planted.
        trials: After so many trainings some fail: a search ends where three trials in turn do.
    """

    def __init__(self, problem, trials=0):
        super().__init__()
        self.problem = problem
        self.trials = trials
        self.space = SearchSpace.load(problem.space)

    def build(self, hp):
        """Samples a configuration; the model, which nothing trains, is always the same."""
        self.space.sample(hp)
        return _model()

    def fit(self, hp, model, *args, **kwargs):
        """Draws a score, by the random state that a training begins with, which its seed has set."""
        draw, sample = int(np.random.randint(2**31)), self.space.sample(hp)
        self.trials -= 1
        if self.trials < 0 and self.problem.generator(
            sample, draw + 1
        ).random() < self.problem.fails(sample):
            raise kt.errors.FailedTrialError("planted")
        return {"val_loss": self.problem.score(sample, draw)}


@cache
def _model():
    """Builds a model without weights; a new one for each training would take most of the time."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    model.compile("sgd", "mse")
    return model


COMPARISONS = {
    "models: nothing": [(0.0, 1.0)],
    "models: half": [(0.5, 1.0)],
    "models: one": [(1.0, 1.0)],
    "models: two": [(2.0, 1.0)],
    "models: unequal": [(0.0, 3.0)],
    "models: four, nothing": [(0.0, 1.0)] * 3,
    "models: four, unequal": [(0.0, 3.0), (0.0, 1.0), (0.0, 0.3)],
    "models: four, one of them": [(0.0, 1.0), (1.0, 1.0), (0.0, 1.0)],
}
"""How much compared models gain over the baseline, and how far their scores are apart, both in spreads."""


class PlantedModel(keras.Sequential):
    """A model whose trainings take no time, and report planted scores.

    Args:
        number: Its number among the compared models.
        gain: How much better its scores are than 1, in spreads.
        spread: Their standard deviation over seeds, in spreads.
    """

    def __init__(self, number, gain, spread):
        super().__init__([keras.Input((1,)), keras.layers.Identity()])
        self.compile("sgd", "mse")
        self.planted = number, gain, spread

    def fit(self, *args, **kwargs):
        """Draws a score, by the random state that a training begins with, which its seed has set."""
        number, gain, spread = self.planted
        draw, alike = int(np.random.randint(2**31)), _alike()
        noise = [np.random.default_rng(seed).normal() for seed in (draw, [draw, number])]
        noise = np.sqrt(alike) * noise[0] + np.sqrt(1 - alike) * noise[1]
        return {"val_loss": float(1 - gain * SPREAD + spread * SPREAD * noise)}


def compared_models(name):
    """Returns functions that build the models of one of `COMPARISONS`, the baseline first."""
    every = [(0.0, 1.0), *COMPARISONS[name]]
    return {str(n): partial(PlantedModel, n, *about) for n, about in enumerate(every)}


@cache
def _alike():
    return float(np.mean([each["alike"] for each in measured().values()]))


@cache
def measured(loss="test_loss"):
    """Measures the noise of real trainings, by task: its size relative to the loss, and the effect of seeds.

    Returns:
        By task `spread`, the standard deviation over seeds (of all configurations together) in parts of
        the mean loss, and `alike`, the intraclass correlation of trainings with the same seed, from the
        analysis of variance of configurations and seeds.
    """
    found = {}
    for task, about in json.loads(REPEATS.read_text())["tasks"].items():
        losses = np.array([row[loss] for row in about["rows"]])
        configurations, seeds = losses.shape
        errors = losses - losses.mean(axis=1, keepdims=True)
        shifts = errors.mean(axis=0)
        by_seed = configurations * (shifts**2).sum() / (seeds - 1)
        left = ((errors - shifts) ** 2).sum() / ((configurations - 1) * (seeds - 1))
        shared = max(0.0, (by_seed - left) / configurations)
        spread = np.sqrt((errors**2).sum() / (configurations * (seeds - 1)))
        found[task] = {
            "spread": round(float(spread / losses.mean()), 3),
            "alike": round(float(shared / (shared + left)), 3),
        }
    return found


def problems():
    """Returns the planted problems by name."""
    alike = _alike()
    every = ("native", "recurrent", "variational")

    def worth(spreads):
        return dict.fromkeys(every, spreads)

    with_dropout = {"dropped": 3.0}
    formulas = {
        "nothing": ("dropout worth nothing", {}, {}),
        "half": ("dropout worth half a spread", worth(0.5), {}),
        "one": ("all wrappers worth one spread", worth(1.0), {}),
        "two": ("dropout worth two spreads", worth(2.0), {}),
        "harm": ("dropout costs two spreads", worth(-2.0), {}),
        "one wrapper": (
            "one wrapper worth two spreads, the others nothing",
            {"recurrent": 2.0},
            {},
        ),
        "heavy tails": ("worth nothing, heavy tails", {}, {"noise": "heavy tails"}),
        "outliers": ("worth nothing, one score in ten is an outlier", {}, {"noise": "outliers"}),
        "noisy": ("worth nothing, with dropout three times the spread", {}, with_dropout),
        "calm": ("worth nothing, without dropout three times the spread", {}, {"plain": 3.0}),
        "alike": ("worth nothing, seeds shift all scores alike", {}, {"alike": 0.8}),
        "failing": ("worth nothing, 40 % of trainings with dropout fail", {}, {"failing": "with"}),
        "twins fail": ("worth nothing, 40 % of the others fail", {}, {"failing": "without"}),
        "same": ("worth nothing, a margin of one spread", {}, {"margin": SPREAD}),
        "other": ("worth two margins of one spread", worth(2.0), {"margin": SPREAD}),
        "flat": ("nothing is worth anything", {}, {"steep": 0.0}),
        "sharp": (
            "dropout worth two spreads, the learning rate sixteen times as much as elsewhere",
            worth(2.0),
            {"steep": 128.0},
        ),
        "bound": ("costs the margin, one spread", worth(-1.0), {"margin": SPREAD}),
        "exponential": (
            "worth nothing, exponential noise, with dropout three times the spread",
            {},
            {"noise": "exponential", **with_dropout},
        ),
        **{
            f"one in {1 / share:.0f}, {worse:.0f}": (
                f"worth nothing, one training in {1 / share:.0f} with dropout {worse:.0f} spreads worse",
                {},
                {"rare": (share, worse)},
            )
            for share, worse in ((0.1, 10.0), (0.05, 10.0), (0.1, 3.0))
        },
    }
    found = {
        name: _formula(about, worth, **{"alike": alike, **how})
        for name, (about, worth, how) in formulas.items()
    }
    return found | {name: _real(name) for name in ("digits", "vowels")}


def _formula(about, worth, dropped=1.0, plain=1.0, failing="", steep=8.0, **how):
    """Plants what wrappers are worth, in spreads; the learning rate is worth up to `steep` spreads."""

    def level(sample):
        off = np.log10(sample.learning_rate) + 2.0
        return 1.0 + SPREAD * (steep * off**2 - worth.get(sample.wrapper, 0.0))

    def spread(sample):
        return SPREAD * (plain if sample.wrapper == "none" else dropped)

    def fails(sample):
        return 0.4 * ((sample.wrapper == "none") == (failing == "without")) * bool(failing)

    return Problem(about, SPACE, level, spread, fails=fails, **how)


def _real(name):
    problem, noise = _problems.PROBLEMS[name], measured()[name]
    table = _table.Table.load(problem.path)

    def level(sample):
        return min(table.curve(sample))

    def spread(sample):
        return noise["spread"] * level(sample)

    return Problem("a table of real trainings", problem.space, level, spread, noise["alike"])
