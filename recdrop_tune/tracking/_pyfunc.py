"""How MLflow's pyfunc loads a model that has layers of this package: it imports them first."""

from __future__ import annotations

from typing import Any

import keras
import mlflow.keras

import recdrop_tune.hypermodels
import recdrop_tune.models
import recdrop_tune.wrappers  # noqa: F401


class Predictor:
    """A Keras model as pyfunc wants it.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, data: Any, params: Any = None) -> Any:
        """Returns the predictions as arrays."""
        return keras.ops.convert_to_numpy(self._model.predict(data, verbose=0))


def _load_pyfunc(path: str) -> Predictor:
    """Is called by MLflow, under this name, with the folder of the model."""
    return Predictor(mlflow.keras.load_model(path, load_model_kwargs={"safe_mode": True}))
