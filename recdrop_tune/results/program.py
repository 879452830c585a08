"""The best model of a search as Python source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from recdrop_tune.errors import plain
from recdrop_tune.models import learned_rates, model_code
from recdrop_tune.results.frames import shown
from recdrop_tune.tuner import Tuner

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


def best_code(result: TuneResult) -> str:
    """Returns the source of the best model; see `TuneResult.best_code`."""
    if result.tuner is result.search:
        return str(result.search.saved_code(result.best_trial.trial_id))
    tuner, trial = result.tuner, result.best_trial
    if isinstance(tuner, Tuner):
        return program(result, tuner.build_model(trial))
    return program(result, tuner.hypermodel.build(trial.hyperparameters))


def program(result: TuneResult, model: Any) -> str:
    """Writes the source of the best model, and says in comments where it is from and how it was trained.

    Args:
        result: The result.
        model: Its best model.

    Raises:
        RecdropError: There is something in the model that cannot be written.
    """
    row = result.trials.set_index("trial_id").loc[result.best_trial.trial_id]
    score = f"{result.objective} {shown(row[result.objective])}"
    lines = [
        f"The best of {len(result.trials)} trials: trial {row['number']}, with {score} in the search.",
        *_training(result, row, model),
    ]
    # A name may have the end of a line in it, and what follows would be code.
    comments = "\n".join(f"# {' '.join(plain(line).split())}" for line in lines)
    return f"{comments}\n\n{model_code(model)}"


def _training(result: TuneResult, row: Any, model: Any) -> list[str]:
    """Says how the search trained the model, as far as its records know, in a line that runs."""
    info = result.search.last.info
    given = {
        name: info[name] for name in ("epochs", "batch_size") if isinstance(info.get(name), int)
    }
    moving = {
        str(value)
        for name, value in result.best_hyperparameters.items()
        if name.rpartition("/")[2] == "schedule" and value != "constant"
    }
    learns = bool(learned_rates(model))
    fit = "recdrop_tune.models.fit(model, x, y" if learns else "model.fit(x, y"
    arguments = [fit, *(f"{name}={value}" for name, value in given.items())]
    if len(moving) == 1:
        arguments.append(f'callbacks=[recdrop_tune.RateSchedule("{moving.pop()}")]')
    lines = [
        f"The search trained it by {', '.join(arguments)}), with what else it was told of data and "
        "training."
    ]
    if learns:
        lines.append(
            "Import recdrop_tune.models for it. It counts the targets, which model.fit does not: rates are "
            "learned by their number."
        )
    if not pd.isna(row["best_epoch"]):
        lines.append(f"Its score is that of epoch {row['best_epoch'] + 1}.")
    return lines
