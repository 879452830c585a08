"""The result of a search: frames, confirmation, pages, figures and models."""

from recdrop_tune.results.confirmation import Confirmation
from recdrop_tune.results.intervals import Looks, PairedGain, paired_gains, rounds
from recdrop_tune.results.model_comparison import ModelComparison
from recdrop_tune.results.paired_trainings import PairedTrainings
from recdrop_tune.results.saving import save_comparison, save_result
from recdrop_tune.results.stored import CONFIRMED, read_records
from recdrop_tune.results.tune_result import TuneResult

__all__ = [
    "CONFIRMED",
    "Confirmation",
    "Looks",
    "ModelComparison",
    "PairedGain",
    "PairedTrainings",
    "TuneResult",
    "paired_gains",
    "read_records",
    "rounds",
    "save_comparison",
    "save_result",
]
