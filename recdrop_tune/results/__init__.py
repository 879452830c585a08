"""What a search found."""

from recdrop_tune.results._saving import save_result as save_result
from recdrop_tune.results.confirmation import CONFIRMED as CONFIRMED
from recdrop_tune.results.confirmation import Confirmation as Confirmation
from recdrop_tune.results.gain import Gain as Gain
from recdrop_tune.results.gain import TwinGain as TwinGain
from recdrop_tune.results.tune_result import TuneResult as TuneResult

__all__ = ["CONFIRMED", "Confirmation", "Gain", "TuneResult", "TwinGain", "save_result"]
