"""Whole models with dropout in them: explained, made plain, asked for uncertainty, put on a schedule."""

from recdrop_tune.models._embedding_dropout import EmbeddingDropout as EmbeddingDropout
from recdrop_tune.models._explain import explain as explain
from recdrop_tune.models._locked_dropout import LockedDropout as LockedDropout
from recdrop_tune.models._mc_predict import MCPrediction as MCPrediction
from recdrop_tune.models._mc_predict import mc_predict as mc_predict
from recdrop_tune.models._plain import to_plain as to_plain
from recdrop_tune.models._rate_schedule import RateSchedule as RateSchedule
from recdrop_tune.models._report import Explanation as Explanation
from recdrop_tune.models._report import LayerExplanation as LayerExplanation
from recdrop_tune.models._reuse import SameDraws as SameDraws
from recdrop_tune.models._reuse import renew as renew
from recdrop_tune.models._reuse import structure as structure
from recdrop_tune.models._schedules import SCHEDULES as SCHEDULES

__all__ = [
    "SCHEDULES",
    "EmbeddingDropout",
    "Explanation",
    "LayerExplanation",
    "MCPrediction",
    "RateSchedule",
    "SameDraws",
    "explain",
    "mc_predict",
    "renew",
    "structure",
    "to_plain",
]
