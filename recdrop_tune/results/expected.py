"""The gain of dropout to expect after a search that has trained each configuration once.

The best of many trials is partly lucky, so the difference from its twin is too large: by one spread of the
scores over seeds, or more if dropout is worth nothing. A Gaussian process that is fitted to all complete
trials predicts the score of the trial with another seed:

    score = a + b * (has dropout) + f(configuration) + noise

The prior of `a` and `b` is flat, so the mean gain of all trials with dropout is not corrected. The rest of
the trial's gain shrinks by the share of noise in the differences between similar configurations. The
prediction is averaged over length scales of `f` (Matern 5/2) and sizes of the noise, weighted by their
restricted likelihood. The twin was not chosen for its score, so its score is taken as it is, except for the
trial's luck that it shares because both were trained with the same seed.

Reference:
    Rasmussen and Williams, 2006, Gaussian Processes for Machine Learning, section 2.7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt

from recdrop_tune import standing
from recdrop_tune.encoding import Encoding
from recdrop_tune.hyperparameters import drops
from recdrop_tune.records import Records

Array = npt.NDArray[np.float64]

FEWEST = 5
"""The fewest trials that say something about the noise."""

_SHARED = 0.3
"""The correlation of two scores with the same seed, as measured (`benchmarks/results/verdicts.json`)."""

_SCALES = (0.2, 0.4, 0.8, 1.6)
"""Length scales, times the root of the number of hyperparameters, as distances grow with it."""

_SCALE = 0.3
"""The likeliest length scale before any trial. With 0.2 the gain is too large where nothing matters, with 0.4
too small where the learning rate does (`python benchmarks/verdicts.py --confirm 0`)."""

_NOISES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""The variance of the noise, relative to that of `f`."""


def search_gain(records: Records) -> standing.Gain | None:
    """Compares the best trial with dropout with its twin; see `standing.gain` and `expected_gain`."""
    gain, complete = standing.gain(records), standing.ranked(records)
    if gain is None:
        return None
    encode = Encoding(records.space)
    expected = expected_gain(
        encode(trial.active for trial in complete),
        np.array([trial.cost for trial in complete]),
        [drops(trial.active) for trial in complete],
        complete.index(gain.trial),
        complete.index(gain.twin),
        encode.size,
    )
    return replace(gain, expected=expected)


def expected_gain(
    points: Array, scores: Array, dropping: Sequence[bool], trial: int, twin: int, parameters: int
) -> float:
    """Estimates a trial's gain over its twin, positive if dropout is better; NaN with fewer than five trials.

    `points`, of shape `(trials, coordinates)`, stand for `parameters` hyperparameters. `scores`, of shape
    `(trials,)`, are better if lower. `trial` and `twin` are positions in them.
    """
    number = len(scores)
    if number < FEWEST:
        return math.nan
    # A training that diverged would count as noise.
    middle, best = float(np.median(scores)), float(scores.min())
    values = np.minimum(scores, middle + 3 * (middle - best))
    unit = float(values.std()) or 1.0
    values = (values - middle) / unit
    fixed = np.stack([np.ones(number), np.asarray(dropping, float)], axis=1)
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    predictions, likelihoods = [], []
    for scale, noise in product(_SCALES, _NOISES):
        far = math.sqrt(5) * distances / (scale * math.sqrt(max(1, parameters)))
        covariance = (1 + far + far**2 / 3) * np.exp(-far) / (1 + noise)
        root = np.linalg.cholesky(covariance + noise / (1 + noise) * np.eye(number))
        left, right = np.linalg.solve(root, fixed), np.linalg.solve(root, values)
        effects, *_ = np.linalg.lstsq(left, right, rcond=None)
        rest = right - left @ effects
        likelihoods.append(
            -np.log(np.diag(root)).sum()
            - np.linalg.slogdet(left.T @ left)[1] / 2
            - (number - 2) / 2 * math.log(rest @ rest + 1e-12)
            - math.log(scale / _SCALE) ** 2
        )
        predictions.append(
            fixed[trial] @ effects + covariance[trial] @ np.linalg.solve(root.T, rest)
        )
    chances = np.exp(np.array(likelihoods) - max(likelihoods))
    predicted = middle + unit * float(chances @ np.array(predictions) / chances.sum())
    luck = predicted - float(scores[trial])
    expected = float(scores[twin]) + _SHARED * luck - predicted
    # The best of many has no bad luck.
    return min(expected, float(scores[twin] - scores[trial]))
