"""The code of the best model of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recdrop_tune import models
from recdrop_tune.tuner import Tuner

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


def best_code(result: TuneResult) -> str:
    """Returns the code of the best model; see `TuneResult.best_code`."""
    if result.tuner is result.search:
        return str(result.search.saved_code(result.best_trial.trial_id))
    tuner, trial = result.tuner, result.best_trial
    if isinstance(tuner, Tuner):
        return program(result, tuner.build_model(trial))
    return program(result, tuner.hypermodel.build(trial.hyperparameters))


def program(result: TuneResult, model: Any) -> str:
    """Returns the code of a model with the epochs, batch size and schedule of the best trial."""
    info, values = result.search.last.info, result.best_hyperparameters
    epochs, batch_size = (
        info[name] if isinstance(info.get(name), int) else None for name in ("epochs", "batch_size")
    )
    schedules = {value for name, value in values.items() if name.rpartition("/")[2] == "schedule"}
    schedule = str(schedules.pop()) if len(schedules) == 1 else "constant"
    return models.best_code(model, epochs, batch_size, schedule)
