"""recdrop-tune: which recurrent dropout, where, and how much, for cuDNN LSTM and GRU models in Keras.

The names below are the public surface. They are imported on first use, so that `import recdrop_tune`
stays fast and loads neither Keras with its backend nor MLflow.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import wrapt

from recdrop_tune.backends import check_importable
from recdrop_tune.lazy import imported_on_use

__version__ = "0.1.0rc1"

if TYPE_CHECKING:
    from recdrop_tune.comparison import compare
    from recdrop_tune.hypermodels import (
        ExistingModel,
        LanguageModel,
        SequenceClassifier,
        SequenceRegressor,
        SequenceTagger,
        dropout_model,
        dropout_rnn,
    )
    from recdrop_tune.mlflow_store import sync
    from recdrop_tune.models import RateSchedule, explain, mc_predict, to_plain
    from recdrop_tune.oracle import OptunaOracle
    from recdrop_tune.results import ModelComparison, TuneResult
    from recdrop_tune.search import (
        Confirm,
        MLflow,
        Optuna,
        Task,
        Training,
        Workers,
        compare_models,
        distribute,
        track,
        tune,
    )
    from recdrop_tune.spaces import SearchSpace
    from recdrop_tune.tuner import Tuner
    from recdrop_tune.wrappers import wrap

_NAMES = {
    "comparison": "compare",
    "hypermodels": "ExistingModel LanguageModel SequenceClassifier SequenceRegressor SequenceTagger "
    "dropout_model dropout_rnn",
    "mlflow_store": "sync",
    "models": "RateSchedule explain mc_predict to_plain",
    "oracle": "OptunaOracle",
    "results": "ModelComparison TuneResult",
    "search": "Confirm MLflow Optuna Task Training Workers compare_models distribute track tune",
    "spaces": "SearchSpace",
    "tuner": "Tuner",
    "wrappers": "wrap",
}
_HOME = {name: folder for folder, names in _NAMES.items() for name in names.split()}

__all__ = [
    "Confirm",
    "ExistingModel",
    "LanguageModel",
    "MLflow",
    "ModelComparison",
    "Optuna",
    "OptunaOracle",
    "RateSchedule",
    "SearchSpace",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "Task",
    "Training",
    "TuneResult",
    "Tuner",
    "Workers",
    "__version__",
    "compare",
    "compare_models",
    "distribute",
    "dropout_model",
    "dropout_rnn",
    "explain",
    "mc_predict",
    "sync",
    "to_plain",
    "track",
    "tune",
    "wrap",
]

_imported = imported_on_use(__name__, _HOME)


def __getattr__(name: str) -> object:
    """Imports a public name from its module on first use (PEP 562)."""
    # These two can be used without Keras.
    if _HOME.get(name, "spaces") not in ("spaces", "comparison"):
        check_importable()
    return _imported(name)


def __dir__() -> list[str]:
    """Lists the public names, including those not imported yet."""
    return sorted(__all__)


@wrapt.when_imported("keras")
def _register(_: ModuleType) -> None:
    """Registers the layers with Keras, so that `keras.models.load_model` finds those of a saved model."""
    # Where one of these imports Keras, it is half imported, and so cannot be imported from.
    if not {"recdrop_tune.kernels", "recdrop_tune.rewrites"} & sys.modules.keys():
        import_module("recdrop_tune.wrappers")
