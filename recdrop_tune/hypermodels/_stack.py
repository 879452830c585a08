"""The stack of recurrent layers that every hypermodel has, with the sampled dropout in and around it."""

from __future__ import annotations

from typing import Any

import keras

from recdrop_tune.models import LockedDropout
from recdrop_tune.spaces import Sample
from recdrop_tune.wrappers import wrap

_CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


def recurrent_stack(features: Any, sample: Sample, return_sequences: bool) -> Any:
    """Runs features through recurrent layers, each with the same dropout.

    Args:
        features: Shape `(batch, time, features)`; a mask on it reaches every layer.
        sample: The configuration to build.
        return_sequences: Whether the last layer emits every step.

    Returns:
        Shape `(batch, units)`, or `(batch, time, units)` with `return_sequences`; twice the units
        where the layers are bidirectional.
    """
    features = _locked(features, sample, "input")
    for index in range(sample.layers):
        if index:
            features = _locked(features, sample, "between")
        last = index == sample.layers - 1
        features = _layer(sample, return_sequences or not last)(features)
    return _locked(features, sample, "output")


def _layer(sample: Sample, return_sequences: bool) -> Any:
    layer = _CELLS[sample.cell](sample.units, return_sequences=return_sequences)
    if sample.bidirectional:
        layer = keras.layers.Bidirectional(layer)
    return wrap(layer, sample.wrapper, **sample.wrap_arguments())


def _locked(features: Any, sample: Sample, site: str) -> Any:
    """Drops features with one mask for all steps of a sequence, where the sample says so."""
    if site not in sample.locked_rate:
        return features
    return LockedDropout(sample.locked_rate[site])(features)
