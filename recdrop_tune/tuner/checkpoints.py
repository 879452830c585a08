"""The weights of trials on disk: written whole, and only those of the best trials kept."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recdrop_tune.errors import ProjectError, RecdropError
from recdrop_tune.files import replacing, write_atomically
from recdrop_tune.models import spare_rates
from recdrop_tune.oracle import objectives, pareto
from recdrop_tune.storage_errors import reserve
from recdrop_tune.tuner.outcomes import is_out_of_memory

WEIGHTS, BUILD = "checkpoint.weights.h5", "build_config.json"

_HDF5_BYTES = 2048
"""What HDF5 writes beside the numbers of a variable: 700 to 1,200 bytes, the groups included."""


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
    with replacing(folder / WEIGHTS) as fresh:
        reserve(fresh, _size(model))
        model.save_weights(fresh)
    write_atomically(folder / BUILD, json.dumps(model.get_build_config()))


def _size(model: Any) -> int:
    """Returns how many bytes the weights will take at most: HDF5 adds some to each variable."""
    variables = list(model.variables)
    if model.optimizer is not None:
        variables += model.optimizer.variables
    bytes_of = sum(math.prod(v.shape) * (8 if "64" in str(v.dtype) else 4) for v in variables)
    return int(bytes_of) + _HDF5_BYTES * (len(variables) + 8)


def load(folder: Path, model: Any) -> Any:
    """Loads the weights of a trial into a model made for it.

    Raises:
        RecdropError: The weights are not there.
        ProjectError: They are damaged, or another model's.
    """
    path = folder / WEIGHTS
    if not path.exists():
        raise RecdropError(
            f"The weights of the trial in `{folder}` are not there: only the best trials' are kept, and "
            "none where a `fit` or `run_trial` of your own trains no model with the callbacks it is given. "
            "Pass a larger `keep_checkpoints` (None keeps all), or train its hyperparameters anew."
        )
    try:
        if not model.built:
            config = json.loads((folder / BUILD).read_bytes())
            model.build_from_config(dict(config or {}))
            # Of a subclass it makes the weights and does not say so; Keras does where it loads a model.
            model.built = model.built or bool(model.weights)
        with warnings.catch_warnings():
            # The optimizer's state may lie in the file too, and nobody needs it here.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model.load_weights(path)
    except Exception as error:
        # Keras raises many kinds, for damaged files and for other models' weights.
        if is_out_of_memory(error):
            raise
        raise ProjectError(
            f"The weights of the trial in `{folder}` cannot be loaded: {type(error).__name__}: {error}. The "
            f"files `{WEIGHTS}` and `{BUILD}` are damaged, or the model is built otherwise now."
        ) from error
    if model.optimizer is not None:
        # Without its variables, loading the model after another save would warn.
        spare_rates(model)
        model.optimizer.build(model.trainable_variables)
    return model


def drop(folder: Path) -> None:
    """Deletes the weights of a trial."""
    for name in (WEIGHTS, BUILD):
        (folder / name).unlink(missing_ok=True)


class KeptWeights:
    """Keeps the weights of the best trials of a search, and gives up all others."""

    def __init__(self) -> None:
        self._held: set[str] | None = None  # Whose weights are on disk; not known at first.

    def keep_best(
        self, most: int, oracle: Any, ended: str, folder_of: Callable[[str], Path]
    ) -> None:
        """Gives up the weights of trials that are not among the best.

        Of several objectives those stay too that no other trial beats in every objective.

        Args:
            most: Of how many trials they are kept.
            oracle: The oracle of the search.
            ended: The trial that has ended last.
            folder_of: Returns the folder of a trial.
        """
        best = oracle.get_best_trials(most)
        # All trials once, for a search that goes on; then looking at each would cost more and more.
        held = set(oracle.trials) if self._held is None else self._held | {ended}
        if len(objectives(oracle.objective)) > 1:
            # What was dropped was beaten by one that is held, which beats all that it would.
            there = [trial for id, trial in oracle.trials.items() if id in held]
            best = [*best, *pareto(there, oracle.objective)]
        kept = {each.trial_id for each in best if each.status == "COMPLETED"}
        for dropped in held - kept:
            drop(folder_of(dropped))
        self._held = kept
