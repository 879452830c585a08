"""What is worth knowing of a search and of a trial beside their hyperparameters."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any

import keras

from recdrop_tune.oracle import OptunaOracle

_PACKAGES = ("recdrop-tune", "keras", "keras-tuner", "optuna", "mlflow", "numpy")

# What Hyperband's oracles write beside the hyperparameters, and its name among the tags.
_HYPERBAND = {
    "tuner/bracket": "recdrop.bracket",
    "tuner/round": "recdrop.round",
    "tuner/initial_epoch": "recdrop.initial_epoch",
    "tuner/epochs": "recdrop.epochs",
    "tuner/trial_id": "recdrop.goes_on_from",
}


def about_proposals(oracle: Any) -> dict[str, str]:
    """Names the sampler and the pruner of an `OptunaOracle`; nothing of another oracle."""
    if not isinstance(oracle, OptunaOracle):
        return {}
    default = "tpe" if oracle.surrogate is None else "surrogate"
    return {"sampler": _name(oracle.sampler or default), "pruner": _name(oracle.pruner)}


def about_trainings(tuner: Any) -> dict[str, Any]:
    """Says how often a tuner trains each configuration, where that is more than once."""
    executions, cv = getattr(tuner, "executions_per_trial", 1), getattr(tuner, "cv", None)
    found: dict[str, Any] = {"executions_per_trial": executions} if executions > 1 else {}
    return found if cv is None else {**found, "cv": cv if isinstance(cv, int) else str(cv)}


def versions() -> dict[str, str]:
    """Returns the versions of what a search hangs on, and the name of Keras's backend."""
    backend = keras.backend.backend()
    found = {name: version(name) for name in _PACKAGES}
    # By the module: the package may be called tensorflow-cpu.
    of_backend = getattr(sys.modules.get(backend), "__version__", None)
    found |= {backend: str(of_backend)} if of_backend else {}
    return {**found, "python": platform.python_version(), "backend": backend}


def tags_of(trial: Any, oracle: Any, worker: str) -> dict[str, str]:
    """Returns the tags of a trial's run.

    Args:
        trial: Keras Tuner's trial.
        oracle: The oracle that proposed it.
        worker: The `tuner_id` of the tuner that runs it.
    """
    values = trial.hyperparameters.values
    tags = {tag: str(values[name]) for name, tag in _HYPERBAND.items() if name in values}
    number = oracle.number_of(trial.trial_id) if isinstance(oracle, OptunaOracle) else None
    if number is not None:
        tags["recdrop.optuna_number"] = str(number)
    return {"recdrop.worker": worker, **tags}


def _name(thing: Any) -> str:
    return thing if isinstance(thing, str) else type(thing).__name__
