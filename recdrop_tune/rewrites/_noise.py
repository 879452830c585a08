"""Noise tensors. The rate may be a tensor, so that changing it needs no new trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from recdrop_tune.rewrites._call import Tensor

Seed = Any  # keras.random.SeedGenerator; Keras ships no type information


def dropped(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws booleans of the given shape: `True`, with probability `rate`, where a unit is dropped.

    Drawn in float32 whatever the compute dtype: float16 has so few values in [0, 1) that a rate such
    as 0.001 could not be kept.
    """
    return keras.random.uniform(tuple(shape), dtype="float32", seed=seed) < rate


def bernoulli(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws dropout's own noise: 0 with probability `rate`, else `1 / (1 - rate)`; its mean is 1.

    Reference:
        Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014), "Dropout", JMLR 15.
    """
    kept = ops.logical_not(dropped(shape, rate, seed))
    return ops.cast(kept, "float32") / (1.0 - rate)


def gaussian(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws Gaussian noise of mean 1 and variance `rate / (1 - rate)`, that of `bernoulli`.

    Reference:
        Srivastava et al. (2014), JMLR 15, section 10; Kingma, Salimans, Welling (2015), arXiv 1506.02557.
    """
    normal = keras.random.normal(tuple(shape), dtype="float32", seed=seed)
    return 1.0 + normal * ops.sqrt(ops.cast(rate / (1.0 - rate), "float32"))
