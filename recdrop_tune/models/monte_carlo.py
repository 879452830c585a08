"""Monte Carlo dropout: predictions with dropout on, their mean and their spread."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import chain
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import check_flag, check_integer, invalid_argument
from recdrop_tune.kernels import check_seed, random_states, set_random_states
from recdrop_tune.models.layers import kept_states, learning_layers, walk


class NoNoiseWarning(UserWarning):
    """All passes of `mc_predict` predicted the same. A spread of 0 does not mean that a model is certain."""


@dataclass(frozen=True)
class MCPrediction:
    """A prediction of Monte Carlo dropout. `str()` and notebooks show its shapes and spreads.

    Attributes:
        mean: The mean prediction: an array, or a structure of arrays as the model's output is.
        std: The population standard deviation over the passes, of the same shape.
        passes: The number of forward passes.
        draws: With `keep=True`, the predictions of all passes, of shape `(passes, batch, ...)`; else None.
    """

    mean: Any
    std: Any
    passes: int
    draws: Any = None

    def __str__(self) -> str:
        lines = [f"The mean of {self.passes} forward passes with dropout on."]
        stds = keras.tree.flatten(self.std)
        for (path, mean), std in zip(keras.tree.flatten_with_path(self.mean), stds, strict=True):
            lines.append(
                f"{'/'.join(map(str, path)) or 'mean'}: shape {mean.shape}, "
                f"{mean.min():.4g} to {mean.max():.4g}; std {std.min():.4g} to {std.max():.4g}, "
                f"on average {std.mean():.4g}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Returns the text for a notebook."""
        return "<br>".join(escape(line) for line in str(self).splitlines())


def mc_predict(
    model: Any,
    x: Any,
    *,
    passes: int = 50,
    batch_size: int = 32,
    seed: int | None = None,
    keep: bool = False,
    same_masks: bool = False,
) -> MCPrediction:
    """Predicts with dropout on, many times, and returns the mean and the spread.

        mean = 1/T sum_t f(x; mask_t),   std^2 = 1/T sum_t (f(x; mask_t) - mean)^2

    The standard deviation says how much a prediction depends on the masks. It leaves out the noise of the
    observations, so mean ± 1.645 std is no interval for 90 % of them. The documentation has the coverage that
    was measured, and intervals that hold, on its page "Prediction intervals".

    Everything that draws noise in training draws it here: this package's wrappers, `Dropout`,
    `GaussianNoise`, random augmentation. Layers that learned their rates draw masks of 0 and 1 / (1 - rate).
    Nothing else behaves as in training: batch normalization uses its moving statistics (through Keras's
    `trainable=False`), and stateful layers start every pass from their current states. Afterwards the model
    is the same: weights, moving statistics, states, seeds and `trainable` are restored. Memory does not grow
    with `passes`, unless you keep them.

    Args:
        model: A Keras model.
        x: An array, or a structure of arrays, as `model.predict` takes it; or a `tf.data.Dataset` of
            batches, whose targets are ignored.
        passes: How many forward passes each input gets.
        batch_size: Inputs in one forward pass; a dataset brings its own.
        seed: Integer seed: the same seed gives the same result. `None` takes one from the global
            seed that `keras.utils.set_random_seed` sets.
        keep: Whether to return the predictions of all passes too, as `draws`: for quantiles, entropy and
            mutual information.
        same_masks: Whether all samples of a pass, in all batches, get the same noise, so that each pass is
            one smooth function of `x`. Each sample is then predicted alone, which takes longer.

    Returns:
        The mean, the standard deviation, the number of passes, and with `keep` the predictions of each.

    Raises:
        InvalidArgumentError: An argument is not one of the above, or there is no input.

    Warns:
        NoNoiseWarning: All passes predicted the same, because nothing in the model draws noise.

    Example:
        >>> import keras, numpy as np
        >>> from recdrop_tune.models import mc_predict
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5)])
        >>> mc_predict(model, np.ones((4, 3)), passes=10, seed=0).std.shape
        (4, 3)

    Reference:
        Gal and Ghahramani (2016), "Dropout as a Bayesian Approximation: Representing Model Uncertainty
        in Deep Learning", arXiv 1506.02142.
    """
    if not isinstance(model, keras.Model):
        raise invalid_argument("model", expected="a Keras model", received=model)
    check_integer("passes", passes)
    check_integer("batch_size", batch_size)
    check_flag("keep", keep)
    check_flag("same_masks", same_masks)
    seed = check_seed(seed)
    batches = _batches(x, batch_size)
    first = next(batches, None)
    if first is None:
        raise invalid_argument("x", expected="at least one input", received=x)
    if not model.built:
        model(first)
    batches = chain([first], batches)
    if same_masks:
        batches = (sample for batch in batches for sample in _batches(batch, 1))
    noisy = _NoisyModel(model)
    seed = random.randrange(2**31) if seed is None else seed
    moments, kept = [], []
    with _only_dropout_on(model):
        _seed(model, seed)
        states = _values(kept_states(model))
        for batch in batches:
            drawn = _drawn(noisy, batch, passes, states, seed if same_masks else None)
            if keep:
                predictions = list(drawn)
                kept.append(_joined(np.stack, predictions))
                drawn = iter(predictions)
            moments.append(_moments(drawn, passes))
    mean, std = (_joined(np.concatenate, parts) for parts in zip(*moments, strict=True))
    if passes > 1 and _is_nothing(mean, std):
        warnings.warn(_NO_NOISE, NoNoiseWarning, stacklevel=2)
    draws = _joined(partial(np.concatenate, axis=1), kept) if keep else None
    return MCPrediction(mean=mean, std=std, passes=passes, draws=draws)


def _joined(join: Callable[[Any], Any], structures: Sequence[Any]) -> Any:
    """Joins the arrays at each place of structures of arrays."""
    return keras.tree.map_structure(lambda *arrays: join(arrays), *structures)


_NO_NOISE = (
    "All forward passes of `mc_predict` predicted the same, so `std` is 0. That does not mean that the "
    "model is certain: nothing in it draws noise, or its rates are 0. Train it with dropout, such as "
    "`recdrop_tune.wrap(layer, 'recurrent', rate=0.3)`. Models from `to_plain`, and the `best_model()` of a "
    "loaded result, have no dropout: use the trained model."
)

_ROUNDING = 1e-6
"""On a GPU, the same sum can differ in its last digits."""


def _is_nothing(mean: Any, std: Any) -> bool:
    """Returns whether the passes differ by no more than rounding."""
    pairs = zip(keras.tree.flatten(mean), keras.tree.flatten(std), strict=True)
    return all(spread.max() <= _ROUNDING * np.abs(middle).max() for middle, spread in pairs)


class _NoisyModel(keras.Model):
    """Calls a model as in training, so that `predict_on_batch` compiles that on every backend."""

    def __init__(self, model: Any) -> None:
        super().__init__(name="noisy")  # Keras takes no leading underscore
        self.model = model
        self.jit_compile = model.jit_compile
        self.run_eagerly = model.run_eagerly

    def call(self, inputs: Any) -> Any:
        return self.model(inputs, training=True)


def _batches(x: Any, batch_size: int) -> Iterator[Any]:
    if hasattr(x, "element_spec"):  # a tf.data.Dataset
        # jax does not take TensorFlow's tensors.
        for batch in x.as_numpy_iterator() if keras.backend.backend() == "jax" else x:
            yield keras.utils.unpack_x_y_sample_weight(batch)[0]
        return
    arrays = [np.shape(part) for part in keras.tree.flatten(x)]
    lengths = {shape[0] if shape else None for shape in arrays}
    if len(lengths) != 1 or None in lengths:
        raise invalid_argument(
            "x",
            expected="an array, or a list or dict of arrays of one length, or a `tf.data.Dataset`",
            received=f"{type(x).__name__} with shapes {arrays}",
        )
    for start in range(0, lengths.pop() or 0, batch_size):
        stop = start + batch_size
        yield keras.tree.map_structure(lambda part, a=start, b=stop: np.asarray(part)[a:b], x)


@contextmanager
def _only_dropout_on(model: Any) -> Iterator[None]:
    """Sets batch normalization to its moving statistics and masks to hard ones; restores everything."""
    kind = keras.layers.BatchNormalization
    normalizers = [layer for layer in walk(model) if isinstance(layer, kind)]
    trainable = [(part, part.trainable) for part in normalizers]
    variables = [(variable, variable.trainable) for variable in model.variables]
    values = [*_values(model.non_trainable_variables), *_values(kept_states(model))]
    generators = random_states()
    soft = [layer for layer in learning_layers(model) if not layer.hard_masks]
    for part in normalizers:
        part.trainable = False
    for layer in soft:
        layer.hard_masks = True
    try:
        yield
    finally:
        for layer in soft:
            layer.hard_masks = False
        for owner, was in (*trainable, *variables):
            owner.trainable = was
        for variable, value in values:
            variable.assign(value)
        set_random_states(generators)


def _values(variables: list[Any]) -> list[tuple[Any, Any]]:
    return [(variable, keras.ops.convert_to_numpy(variable).copy()) for variable in variables]


def _drawn(noisy: Any, batch: Any, passes: int, states: Any, seed: int | None) -> Iterator[Any]:
    """Yields a prediction for each pass; with a seed, its noise depends only on the number of the pass."""
    for number in range(passes):
        if seed is not None:
            _seed(noisy.model, (seed, number))
        for state, value in states:
            state.assign(value)
        yield keras.tree.map_structure(np.asarray, noisy.predict_on_batch(batch))


def _seed(model: Any, seed: int | tuple[int, int]) -> None:
    """Seeds every seed generator of the model with its own stream, and PyTorch's own generator."""
    # The state of a `keras.random.SeedGenerator` is a pair: the seed, and a counter.
    states = [v for v in model.non_trainable_variables if v.name == "seed_generator_state"]
    streams = np.random.SeedSequence(seed).generate_state(len(states) + 1)
    for state, stream in zip(states, streams, strict=False):
        state.assign([int(stream) % 2**31, 0])
    if keras.backend.backend() == "torch":
        import torch

        # With Keras's torch backend, dropout without a seed draws from PyTorch's own generator.
        torch.manual_seed(int(streams[-1]))


def _moments(drawn: Iterator[Any], passes: int) -> tuple[Any, Any]:
    """Computes the mean and the standard deviation over the passes, in one pass.

    Reference:
        Welford (1962), "Note on a Method for Calculating Corrected Sums of Squares and Products".
    """
    first = next(drawn)
    dtypes = [part.dtype for part in keras.tree.flatten(first)]
    means = [part.astype("float64") for part in keras.tree.flatten(first)]
    squares = [np.zeros_like(mean) for mean in means]
    for count, later in enumerate(drawn, start=2):
        for mean, square, part in zip(means, squares, keras.tree.flatten(later), strict=True):
            change = part - mean
            mean += change / count
            square += change * (part - mean)
    stds = [np.sqrt(square / passes) for square in squares]
    mean, std = (
        keras.tree.pack_sequence_as(
            first, [part.astype(dtype) for part, dtype in zip(parts, dtypes, strict=True)]
        )
        for parts in (means, stds)
    )
    return mean, std
