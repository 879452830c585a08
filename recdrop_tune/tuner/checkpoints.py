"""The weights of trials on disk: written atomically, and kept for the best trials only."""

from __future__ import annotations

import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

from recdrop_tune.errors import ProjectError, RecdropError
from recdrop_tune.files import replacing, write_atomically
from recdrop_tune.models import spare_rates

WEIGHTS, BUILD = "checkpoint.weights.h5", "build_config.json"

_HDF5_BYTES = 2048
"""An upper bound of the bytes that HDF5 adds to each variable: 700 to 1,200, groups included."""


def save(folder: Path, model: Any, weights: list[Any] | None) -> None:
    """Writes the best weights of a trial atomically, through a model of its structure.

    With None, the weights are those that the model has. Nothing is written if it is not built.
    """
    if not model.built:
        return
    if weights is not None:
        model.set_weights(weights)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS) as fresh:
        _reserve(fresh, _size(model))
        model.save_weights(fresh)
    write_atomically(folder / BUILD, json.dumps(model.get_build_config()))


def _reserve(path: Path, size: int) -> None:
    """Raises an `OSError` if there is no room for a file of `size` bytes.

    HDF5 cannot close a file that it could not write completely, and crashes when Python ends.
    """
    with path.open("xb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
        else:
            file.truncate(size)
    path.unlink()


def _size(model: Any) -> int:
    """Returns an upper bound of the size of the weights on disk, in bytes."""
    variables = list(model.variables)
    if model.optimizer is not None:
        variables += model.optimizer.variables
    bytes_of = sum(math.prod(v.shape) * (8 if "64" in str(v.dtype) else 4) for v in variables)
    return int(bytes_of) + _HDF5_BYTES * (len(variables) + 8)


def load(folder: Path, model: Any) -> Any:
    """Loads the weights of a trial into a model made for it; raises `RecdropError` if there are none."""
    path = folder / WEIGHTS
    if not path.exists():
        raise RecdropError(
            f"There are no weights of the trial in `{folder}`. Only the best trials' weights are kept, and "
            "none if a user-defined `fit` or `run_trial` does not use the given callbacks. Pass a larger "
            "`keep_checkpoints` (None keeps all), or train its hyperparameters again."
        )
    try:
        if not model.built:
            build_like(model, json.loads((folder / BUILD).read_bytes()))
        with warnings.catch_warnings():
            # The optimizer's state can be in the file too, and is not needed here.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model.load_weights(path)
    except Exception as error:
        # Keras raises many classes, for damaged files and for other models' weights.
        raise ProjectError(
            f"The weights of the trial in `{folder}` cannot be loaded: {type(error).__name__}: {error}. The "
            f"files `{WEIGHTS}` and `{BUILD}` are damaged, or the model has another structure now."
        ) from error
    if model.optimizer is not None:
        # Without its variables, loading the model after the next save would warn.
        spare_rates(model)
        model.optimizer.build(model.trainable_variables)
    return model


def build_like(model: Any, config: Any) -> None:
    """Builds a model, unless it is built, by another one's `get_build_config`."""
    if not model.built:
        model.build_from_config(dict(config or {}))
        # A subclassed model has its weights now, but `built` is not set; Keras does the same.
        model.built = model.built or bool(model.weights)


def drop(folder: Path) -> None:
    """Deletes the weights of a trial."""
    for name in (WEIGHTS, BUILD):
        (folder / name).unlink(missing_ok=True)
