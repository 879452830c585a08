"""Whole models with dropout: what is in them, their uncertainty, rates, training, and models made of them."""

from recdrop_tune.models.best_code import best_code
from recdrop_tune.models.copies import Described
from recdrop_tune.models.explanation import Explanation, LayerExplanation, explain
from recdrop_tune.models.fitting import compile_model, fit
from recdrop_tune.models.layers import dropout_layers, own_layers, walk
from recdrop_tune.models.masks import makes_masks, pass_masks
from recdrop_tune.models.monte_carlo import MCPrediction, NoNoiseWarning, mc_predict
from recdrop_tune.models.plain import to_plain
from recdrop_tune.models.rates import (
    SCHEDULES,
    LearnedRates,
    RateSchedule,
    learned_rates,
    spare_rates,
)
from recdrop_tune.models.reuse import ModelCache, renew, structure, variables_of
from recdrop_tune.models.template import ModelCopies, Template

__all__ = [
    "SCHEDULES",
    "Described",
    "Explanation",
    "LayerExplanation",
    "LearnedRates",
    "MCPrediction",
    "ModelCache",
    "ModelCopies",
    "NoNoiseWarning",
    "RateSchedule",
    "Template",
    "best_code",
    "compile_model",
    "dropout_layers",
    "explain",
    "fit",
    "learned_rates",
    "makes_masks",
    "mc_predict",
    "own_layers",
    "pass_masks",
    "renew",
    "spare_rates",
    "structure",
    "to_plain",
    "variables_of",
    "walk",
]
