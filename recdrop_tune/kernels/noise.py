"""The noise of dropout. The rate can be a tensor, so that a new value needs no new trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from recdrop_tune.rewrites import Tensor

Seed = Any  # keras.random.SeedGenerator; Keras has no type information.


def uniform(shape: Sequence[int | Tensor], seed: Seed) -> Tensor:
    """Draws float32 numbers in [0, 1), on TensorFlow the same ones with XLA as without."""
    # Always float32: float16 has too few values in [0, 1) for a rate such as 0.001.
    if keras.backend.backend() != "tensorflow":
        return keras.random.uniform(tuple(shape), dtype="float32", seed=seed)
    import tensorflow as tf

    # By default, TensorFlow takes another algorithm under XLA, 10 to 100 times as slow on a CPU. The bits
    # of Philox are the same with XLA and without, but not its floats. These are Keras's without XLA:
    # the low 23 bits are the mantissa of a number in [1, 2).
    state = tf.cast(tf.math.floormod(seed.next(), tf.int32.max - 1), "int32")
    bits = tf.random.stateless_uniform(
        tuple(shape), state, minval=None, maxval=None, dtype="uint32", alg="philox"
    )
    mantissa = tf.bitwise.bitwise_and(bits, 0x7FFFFF)
    return tf.bitcast(mantissa + tf.constant(0x3F800000, "uint32"), "float32") - 1.0


def for_all_steps(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the shape of noise that all steps share: `(batch, 1, features)`, or `(batch, features)`."""
    return shape if len(shape) == 2 else (shape[0], 1, shape[2])


def dropped(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws booleans of the given shape: `True`, with probability `rate`, where a unit is dropped."""
    return uniform(shape, seed) < rate


def bernoulli(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws the noise of dropout: 0 with probability `rate`, else `1 / (1 - rate)`. Its mean is 1.

    Reference:
        Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014), "Dropout", JMLR 15.
    """
    kept = ops.logical_not(dropped(shape, rate, seed))
    return ops.cast(kept, "float32") / (1.0 - rate)


def gaussian(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws Gaussian noise with the mean and variance of `bernoulli`: 1 and `rate / (1 - rate)`.

    Reference:
        Srivastava et al. (2014), JMLR 15, section 10; Kingma, Salimans, Welling (2015), arXiv 1506.02557.
    """
    # The inverse of the normal distribution, in the middle of each of the 2**23 values of `uniform`.
    normal = math.sqrt(2.0) * ops.erfinv(2.0 * uniform(shape, seed) - (1.0 - 2.0**-23))
    return 1.0 + normal * ops.sqrt(ops.cast(rate / (1.0 - rate), "float32"))


def relaxed_bernoulli(
    shape: Sequence[int | Tensor], logit: Tensor, temperature: float, seed: Seed
) -> Tensor:
    """Draws soft dropout noise, through which the rate gets a gradient, in the dtype of the scalar `logit`.

        noise = (1 - sigmoid((logit + log u - log(1 - u)) / temperature)) / (1 - p),   u uniform in (0, 1)

    with p = sigmoid(logit). As the temperature t goes to 0, this becomes `bernoulli(shape, p)`. Above 0, its
    mean is not exactly 1: sigmoid(x / t) is the probability that a logistic variable of scale t is below x,
    so 1 - E[noise] (1 - p) is the probability that the sum of two such variables, of scales 1 and t, is below
    `logit`. To second order in t this is p + t^2 pi^2 / 6 p (1 - p) (1 - 2p), so

        E[noise] = 1 - t^2 pi^2 / 6 p (1 - 2p)

    At t = 0.1 this is 1 to within 0.0021 for p up to 1/2.

    Reference:
        Gal, Hron, Kendall (2017), "Concrete Dropout", arXiv 1705.07832; for the relaxation Maddison,
        Mnih, Teh (2017), arXiv 1611.00712, and Jang, Gu, Poole (2017), arXiv 1611.01144.
    """
    drawn = ops.cast(uniform(shape, seed), logit.dtype)
    # The logarithm of u = 0 is -inf: nothing is dropped, and the gradient is 0.
    odds = ops.log(drawn) - ops.log1p(-drawn)
    dropped = ops.sigmoid((logit + odds) / temperature)
    return (1.0 - dropped) * (1.0 + ops.exp(logit))  # 1 + exp(logit) = 1 / (1 - p)
