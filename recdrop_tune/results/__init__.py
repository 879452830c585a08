"""What a search found."""

from recdrop_tune.results._confirmation import CONFIRMED as CONFIRMED
from recdrop_tune.results._gain import Gain as Gain
from recdrop_tune.results._saving import save_result as save_result
from recdrop_tune.results.tune_result import TuneResult as TuneResult

__all__ = ["CONFIRMED", "Gain", "TuneResult", "save_result"]
