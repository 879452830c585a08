"""Searches whose truth is known: trainings report planted scores, with the noise of real ones.

A score is the level of its configuration plus noise. The level is planted by a formula, or it is that of a
table of real trainings (`_table.py`). The noise is normal; a part of it is the same for all
configurations that are trained with the same seed. The size of that part, and the size of the noise relative
to a real loss, were measured on the repeated trainings of an earlier edition of `which_dropout.py`
(`results/repeated_trainings.json`: 28 configurations of three tasks, five seeds each).
"""

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
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
    "learning_rate": [1e-3, 3e-3, 1e-2, 3e-2],
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
    """

    about: str
    space: dict
    level: Callable
    spread: Callable
    alike: float

    def score(self, sample, draw):
        """Draws the score of a training.

        Args:
            sample: The configuration.
            draw: A number that is the same for all trainings with the same seed.
        """
        shared = np.random.default_rng(draw).normal()
        own = np.random.default_rng([draw, zlib.crc32(repr(_table.key(sample)).encode())]).normal()
        noise = np.sqrt(self.alike) * shared + np.sqrt(1 - self.alike) * own
        return float(self.level(sample) + self.spread(sample) * noise)

    def gain(self, sample):
        """Returns what a configuration truly gains over its twin, the same without dropout."""
        twin = replace(sample, wrapper="none", placement=None, rate=None)
        return float(self.level(twin) - self.level(sample))


class Planted(kt.HyperModel):
    """A hypermodel whose trainings take no time, and report planted scores.

    Args:
        problem: What is planted.
    """

    def __init__(self, problem):
        super().__init__()
        self.problem = problem
        self.space = SearchSpace.load(problem.space)

    def build(self, hp):
        """Samples a configuration; the model, which nothing trains, is always the same."""
        self.space.sample(hp)
        return _model()

    def fit(self, hp, model, *args, **kwargs):
        """Draws a score, by the random state that a training begins with, which its seed has set."""
        draw = int(np.random.randint(2**31))
        return {"val_loss": self.problem.score(self.space.sample(hp), draw)}


@cache
def _model():
    """Builds a model as small as can be; anew for each training, that would take most of the time."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


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
    alike = float(np.mean([each["alike"] for each in measured().values()]))
    every = ("native", "recurrent", "variational")

    def worth(spreads):
        return dict.fromkeys(every, spreads)

    formulas = {
        "nothing": ("dropout worth nothing", {}, {}),
        "little": ("dropout worth half a spread", worth(0.5), {}),
        "equal": ("all wrappers worth one spread", worth(1.0), {}),
        "two": ("dropout worth two spreads", worth(2.0), {}),
        "two, independent": (
            "the same, and the seeds shift nothing in common",
            worth(2.0),
            {"alike": 0.0},
        ),
        "one wrapper": (
            "one wrapper worth two spreads, the others nothing",
            {"recurrent": 2.0},
            {},
        ),
        "harm": ("dropout costs two spreads", worth(-2.0), {}),
        "noisy": ("worth nothing, with dropout three times the spread", {}, {"dropped": 3.0}),
        "calm": ("worth nothing, with dropout a third of the spread", {}, {"dropped": 1 / 3}),
    }
    found = {
        name: _formula(about, worth, **{"alike": alike, **how})
        for name, (about, worth, how) in formulas.items()
    }
    return found | {name: _real(name) for name in ("digits", "vowels")}


def _formula(about, worth, alike, dropped=1.0):
    """Plants what wrappers are worth, in spreads; the learning rate is worth more, eight at most."""

    def level(sample):
        off = np.log10(sample.learning_rate) + 2.0
        return 1.0 + SPREAD * (8 * off**2 - worth.get(sample.wrapper, 0.0))

    def spread(sample):
        return SPREAD * (1.0 if sample.wrapper == "none" else dropped)

    return Problem(about, SPACE, level, spread, alike)


def _real(name):
    problem, noise = _problems.PROBLEMS[name], measured()[name]
    table = _table.Table.load(problem.path)

    def level(sample):
        return min(table.curve(sample))

    def spread(sample):
        return noise["spread"] * level(sample)

    return Problem("a table of real trainings", problem.space, level, spread, noise["alike"])
