"""Dropout with a user-defined mask function at a layer's input or output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import keras
from keras import ops

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import bernoulli, gaussian
from recdrop_tune.rewrites import Tensor
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper, Shared

NoiseFunction = Callable[..., Tensor]

_SHIPPED: dict[str, NoiseFunction] = {"bernoulli": bernoulli, "gaussian": gaussian}


@keras.saving.register_keras_serializable(package="recdrop_tune")
class LambdaDropoutWrapper(AbstractDropoutWrapper):
    """Multiplies the input or the output by noise from a function.

        x' = x * function(shape, rate, seed)

    The function is called for each batch, in training only. Its noise should have mean 1, as dropout's 0 or
    1 / (1 - rate) has. This replaces a `Lambda` layer with a random mask and avoids its usual mistakes: noise
    at inference, kept values that are not scaled, a mask that is drawn only once. The recurrence is not
    changed, so the layer stays on cuDNN. Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without its own dropout.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"input"`, `"output"` or `"input+output"`.
        function: `"bernoulli"`, `"gaussian"`, or a function `(shape, rate, seed) -> noise` where
            `shape` is the shape of the tensor, `rate` a scalar tensor, and `seed` a
            `keras.random.SeedGenerator`. The noise must broadcast to `shape`. Any function can be
            trained with and copied by `clone_model`. To load a saved model, or to put the wrapper
            inside a `Bidirectional`, decorate the function with
            `keras.saving.register_keras_serializable()`.
        **shared: `seed`, `activity_decay`, `temporal_decay`, `name`, `dtype` and `trainable`, as in
            `AbstractDropoutWrapper`, where the arguments of a call are too.

    Raises:
        InvalidArgumentError: The layer, a rate, the placement or the function is not as described above.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import LambdaDropoutWrapper
        >>> layer = LambdaDropoutWrapper(keras.layers.GRU(4), rate=0.2, function="gaussian")
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 4])

    Reference:
        Srivastava et al. (2014), "Dropout", JMLR 15 (Bernoulli, and Gaussian in section 10).
    """

    technique_id = "lambda"
    options = ("function",)

    def __init__(
        self,
        layer: Any,
        rate: Rate,
        *,
        placement: str = "input",
        function: str | NoiseFunction | dict[str, Any] = "bernoulli",
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(layer, rate, placement=placement, **shared)
        if isinstance(function, dict):  # From a file: Keras's rules for what it may contain apply.
            function = keras.saving.deserialize_keras_object(function)
        self.function = function
        draw = _SHIPPED.get(function) if isinstance(function, str) else function
        if not callable(draw):
            raise invalid_argument(
                "function",
                expected=f"one of {', '.join(_SHIPPED)}, or a function (shape, rate, seed) -> noise",
                received=function,
            )
        self._draw = draw

    def noise(self, site: str, tensor: Tensor) -> Tensor:
        """Draws the function's noise."""
        rate = ops.convert_to_tensor(self.rates[site])
        return self._draw(ops.shape(tensor), rate, self.seed_generator)

    @property
    def shares_mask(self) -> str:
        """Nobody, with the noise of this package."""
        shipped = isinstance(self.function, str)
        return "nobody: one per sample and step" if shipped else "as the mask function draws"
