"""The tuners of `tune` by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recdrop_tune.oracle import OptunaOracle, make_pruner
from recdrop_tune.tuner.tuner import Tuner

TUNERS = {
    "optuna": ("surrogate", "halving"),
    "random": ("random", "none"),
    "bayesian": ("surrogate", "none"),
    "hyperband": ("random", "hyperband"),
    "grid": ("grid", "none"),
}
"""The sampler and the pruner of each tuner."""


def warm_up(epochs: int) -> int:
    """Returns how many epochs of a trial are never cut off: a third of them, at least ten."""
    return max(10, round(epochs / 3))


def make_tuner(plan: Any, hypermodel: Any) -> Tuner:
    """Makes the tuner of a search. If the project folder holds a search, it resumes that search."""
    folder, config, training = Path(os.path.abspath(plan.folder)), plan.config, plan.training
    settings = config.optuna
    sampler, default = TUNERS[config.tuner_name]
    pruner = settings.pruner or default
    if isinstance(pruner, str):
        # Hyperband itself gives some trials more epochs than others before it judges them.
        first = 1 if config.tuner_name == "hyperband" else warm_up(config.epochs)
        pruner = make_pruner(pruner, first, config.epochs)
    oracle = OptunaOracle(
        plan.goal,
        config.max_trials,
        sampler=settings.sampler or sampler,
        pruner=pruner,
        warm_start=settings.warm_start,
        twin_last=not config.confirm,  # A confirmation trains other twins.
        min_gain=settings.min_gain,
        timeout=config.timeout,
        seed=config.seed,
    )
    return Tuner(
        oracle,
        hypermodel,
        seed=config.seed,
        cv=training.cv,
        keep_checkpoints=training.keep_checkpoints,
        reuse_models=training.reuse_models,
        save_every=training.save_every,
        executions_per_trial=training.executions,
        directory=str(folder.parent),
        project_name=folder.name,
    )
