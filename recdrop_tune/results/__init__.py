"""The result of a search: frames, confirmation, pages, figures and models."""

from recdrop_tune.results.confirmation import CONFIRMED, Confirmation
from recdrop_tune.results.found import Gain
from recdrop_tune.results.intervals import PairedGain, paired_gains, seeds_to_settle
from recdrop_tune.results.saving import save_result
from recdrop_tune.results.tune_result import TuneResult

__all__ = [
    "CONFIRMED",
    "Confirmation",
    "Gain",
    "PairedGain",
    "TuneResult",
    "paired_gains",
    "save_result",
    "seeds_to_settle",
]
