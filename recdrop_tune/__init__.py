"""recdrop-tune: which recurrent dropout, where, and how much, for cuDNN LSTM and GRU models in Keras.

The names below are the public surface. They are imported on first use, so that `import recdrop_tune`
stays fast and loads neither TensorFlow nor MLflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from recdrop_tune.facade import distribute as distribute
    from recdrop_tune.facade import track as track
    from recdrop_tune.facade import tune as tune
    from recdrop_tune.hypermodels import LanguageModel as LanguageModel
    from recdrop_tune.hypermodels import SequenceClassifier as SequenceClassifier
    from recdrop_tune.hypermodels import SequenceRegressor as SequenceRegressor
    from recdrop_tune.hypermodels import SequenceTagger as SequenceTagger
    from recdrop_tune.hypermodels import dropout_rnn as dropout_rnn
    from recdrop_tune.hypermodels import scheduled as scheduled
    from recdrop_tune.models import EmbeddingDropout as EmbeddingDropout
    from recdrop_tune.models import LockedDropout as LockedDropout
    from recdrop_tune.models import RateSchedule as RateSchedule
    from recdrop_tune.models import explain as explain
    from recdrop_tune.models import mc_predict as mc_predict
    from recdrop_tune.models import to_plain as to_plain
    from recdrop_tune.oracle import OptunaOracle as OptunaOracle
    from recdrop_tune.results import TuneResult as TuneResult
    from recdrop_tune.spaces import SearchSpace as SearchSpace
    from recdrop_tune.tracking import sync as sync
    from recdrop_tune.tuner import Tuner as Tuner
    from recdrop_tune.wrappers import wrap as wrap

_HOME = {
    "EmbeddingDropout": "models",
    "LanguageModel": "hypermodels",
    "LockedDropout": "models",
    "OptunaOracle": "oracle",
    "RateSchedule": "models",
    "SearchSpace": "spaces",
    "SequenceClassifier": "hypermodels",
    "SequenceRegressor": "hypermodels",
    "SequenceTagger": "hypermodels",
    "TuneResult": "results",
    "Tuner": "tuner",
    "distribute": "facade",
    "dropout_rnn": "hypermodels",
    "explain": "models",
    "mc_predict": "models",
    "scheduled": "hypermodels",
    "to_plain": "models",
    "sync": "tracking",
    "track": "facade",
    "tune": "facade",
    "wrap": "wrappers",
}

__all__ = [
    "EmbeddingDropout",
    "LanguageModel",
    "LockedDropout",
    "OptunaOracle",
    "RateSchedule",
    "SearchSpace",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "TuneResult",
    "Tuner",
    "__version__",
    "distribute",
    "dropout_rnn",
    "explain",
    "mc_predict",
    "scheduled",
    "sync",
    "to_plain",
    "track",
    "tune",
    "wrap",
]


def __getattr__(name: str) -> object:
    """Imports a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the public names, the ones not imported yet included."""
    return sorted(__all__)
