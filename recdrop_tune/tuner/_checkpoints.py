"""The weights of trials on disk: written whole, and only those of the best trials kept."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

from recdrop_tune.errors import ProjectError, RecdropError
from recdrop_tune.tuner._failures import is_out_of_memory

WEIGHTS, BUILD = "checkpoint.weights.h5", "build_config.json"


def save(folder: Path, model: Any, weights: list[Any] | None) -> None:
    """Writes the best weights of a trial, so that a crash leaves all of the file or nothing.

    Args:
        folder: The trial's folder.
        model: A model of the trial's structure; it is given the weights. Of one that was never built nothing
            is written: it has no weights.
        weights: As `Model.get_weights` returned them; `None` for those that the model has.
    """
    if not model.built:
        return
    if weights is not None:
        model.set_weights(weights)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"unfinished.{WEIGHTS}"
    model.save_weights(unfinished)
    os.replace(unfinished, folder / WEIGHTS)
    built = json.dumps(model.get_build_config())
    (folder / BUILD).write_text(built, encoding="utf-8")


def load(folder: Path, model: Any) -> Any:
    """Loads the weights of a trial into a model made for it.

    Raises:
        RecdropError: The weights are not there.
        ProjectError: They are damaged, or another model's.
    """
    if not (folder / WEIGHTS).exists():
        raise RecdropError(
            f"The weights of the trial in `{folder}` are not there: only the best trials' are kept, and "
            "none where a `fit` or `run_trial` of your own trains no model with the callbacks it is given. "
            "Pass a larger `keep_checkpoints` (None keeps all), or train its hyperparameters anew."
        )
    try:
        if not model.built:
            config = json.loads((folder / BUILD).read_text(encoding="utf-8"))
            model.build_from_config(dict(config or {}))
        with warnings.catch_warnings():
            # The optimizer's state may lie in the file too, and nobody needs it here.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model.load_weights(folder / WEIGHTS)
    except Exception as error:
        # Keras raises many kinds, for damaged files and for other models' weights.
        if is_out_of_memory(error):
            raise
        raise ProjectError(
            f"The weights of the trial in `{folder}` cannot be loaded: {type(error).__name__}: {error}. The "
            f"files `{WEIGHTS}` and `{BUILD}` are damaged, or the model is built otherwise now."
        ) from error
    if model.optimizer is not None:
        # Without its variables, whoever saves the model and loads it again would be warned.
        model.optimizer.build(model.trainable_variables)
    return model


def drop(folder: Path) -> None:
    """Deletes the weights of a trial."""
    (folder / WEIGHTS).unlink(missing_ok=True)
    (folder / BUILD).unlink(missing_ok=True)
