"""Saves the best model of a search as a file that Keras loads without this package, wherever possible."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import keras_tuner as kt

from recdrop_tune.errors import RecdropError
from recdrop_tune.models import to_plain
from recdrop_tune.tracking import MODEL_CARD, load_flavor

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


def save_best_model(result: TuneResult, path: Path) -> None:
    """Writes the best model for inference, and beside it what MLflow is told of it.

    The dropout of this package does nothing outside training, so the file holds stock Keras layers; see
    `to_plain`. Zoneout, and models that Keras cannot rebuild, are saved as they are.

    Args:
        result: The result.
        path: The file, which ends in `.keras`.

    Raises:
        RecdropError: The search has no model: its trials train none, or its weights were not kept.
    """
    model = _load(result)
    try:
        saved, plain = to_plain(model), True
    except (
        Exception
    ):  # A user's layers may refuse in any way; saving the model itself may still work.
        saved, plain = model, False
    saved.save(path)
    card = {
        "trial_id": str(result.best_trial.trial_id),
        "hyperparameters": result.best_hyperparameters,
        "plain": plain,
        "fingerprint": _fingerprint(saved),
        "signature": _signature(saved),
        "requirements": _requirements(plain),
    }
    text = json.dumps(card, indent=2) + "\n"
    path.with_name(MODEL_CARD).write_text(text, encoding="utf-8")


def _load(result: TuneResult) -> Any:
    if isinstance(result.tuner, kt.SklearnTuner):
        # It keeps its models as pickles, which whoever made the folder may have written.
        raise RecdropError("The best model is no keras.Model.")
    try:
        with warnings.catch_warnings():
            # The optimizer's state is not wanted here.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model = result.best_model()
    except FileNotFoundError as missing:
        raise RecdropError(f"The weights of the best trial are not there: {missing}") from None
    except NotImplementedError:
        raise RecdropError("The tuner saves no models.") from None
    except kt.errors.FatalTypeError:
        raise RecdropError("What the tuner builds is no keras.Model.") from None
    if not isinstance(model, keras.Model):
        raise RecdropError(f"The best model is no keras.Model but a {type(model).__name__}.")
    return model


def _fingerprint(model: Any) -> str:
    """Tells models apart by their weights: two files of one model are not the same to the byte."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _signature(model: Any) -> dict[str, Any] | None:
    """Describes inputs and outputs in MLflow's way; `None` where Keras does not know them."""
    load_flavor()
    from mlflow.models import ModelSignature

    try:
        inputs, outputs = _schema(model.inputs), _schema(model.outputs)
    except (AttributeError, ValueError, TypeError):
        return None
    return dict(ModelSignature(inputs=inputs, outputs=outputs).to_dict())


def _schema(tensors: Any) -> Any:
    import numpy as np
    from mlflow.types import Schema, TensorSpec

    several = len(tensors) > 1
    return Schema(
        [
            TensorSpec(
                np.dtype(keras.backend.standardize_dtype(tensor.dtype)),
                # MLflow has one size that is open for sure: that of the batch.
                (-1, *(-1 if size is None else size for size in tensor.shape[1:])),
                tensor.name if several else None,
            )
            for tensor in tensors
        ]
    )


def _requirements(plain: bool) -> list[str]:
    """Lists what it takes to load the model; MLflow's own guess would take eight seconds."""
    names = ["keras", keras.backend.backend(), "numpy"]
    names += [] if plain else ["recdrop-tune"]
    return [f"{name}=={_version(name)}" for name in names]


def _version(name: str) -> str:
    # The backend may be installed under another name, such as tensorflow-cpu.
    if name == keras.backend.backend():
        return str(sys.modules[name].__version__)
    return version(name)
