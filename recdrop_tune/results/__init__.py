"""What a search found."""

from recdrop_tune.results.confirmation import CONFIRMED, Confirmation
from recdrop_tune.results.gain import Gain, TwinGain
from recdrop_tune.results.plots.view import view_of
from recdrop_tune.results.saving import save_result
from recdrop_tune.results.tune_result import TuneResult

__all__ = [
    "CONFIRMED",
    "Confirmation",
    "Gain",
    "TuneResult",
    "TwinGain",
    "save_result",
    "view_of",
]
