"""Regression for each sequence or each of its steps, and forecasting over several steps."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self, final

import keras
import numpy as np

from recdrop_tune.errors import check_flag, check_integer, invalid_argument
from recdrop_tune.hypermodels.data import REMEDY, features_of, first_batch
from recdrop_tune.hypermodels.hypermodel import AbstractSequenceModel


@final
class SequenceRegressor(AbstractSequenceModel):
    """Predicts numbers from sequences: recurrent layers with the sampled dropout, then a linear map.

    The prediction is one number, several, or a forecast, whose steps are all computed from the last state.
    With `each_step`, the numbers of each step are computed from its own state.
    Targets are used as they are: scale them to mean 0 and standard deviation 1 first, and scale predictions
    back.

    Args:
        target_shape: Shape of the target of one sequence: `()` for one number, `(values,)`, `(horizon,)`
            or `(horizon, values)`; with `each_step`, of one step: `()` or `(values,)`.
        loss: Keras loss, or its name.
        each_step: Whether each step has a target. Targets then have the shape `(batch, time, values)`. With
            a mask, targets of one value need three axes too, or Keras does not apply the mask.

    For `input_shape`, `space`, `mask_value`, `metrics`, `name` and `tunable` see `AbstractSequenceModel`.

    Raises:
        InvalidArgumentError: An argument has a wrong value.

    Example:
        >>> import keras_tuner
        >>> from recdrop_tune import SequenceRegressor
        >>> hypermodel = SequenceRegressor((24, 2), (None, 8), loss="huber")
        >>> hypermodel.build(keras_tuner.HyperParameters()).output_shape
        (None, 24, 2)
    """

    def __init__(
        self,
        target_shape: int | tuple[int, ...],
        input_shape: tuple[int | None, int],
        space: object = "quick",
        mask_value: float | None = None,
        loss: Any = "mean_squared_error",
        metrics: Sequence[Any] = ("mean_absolute_error",),
        name: str | None = None,
        tunable: bool = True,
        each_step: bool = False,
    ) -> None:
        self.return_sequences = check_flag("each_step", each_step)
        self.target_shape = _check_target_shape(target_shape, 1 if each_step else 2)
        self._loss = loss
        super().__init__(input_shape, space, mask_value, metrics, name, tunable)

    @classmethod
    def from_data(cls, train: Any, space: object = "quick", **kwargs: Any) -> Self:
        """Makes a model for the targets and features of the training data.

        Args:
            train: `(x, y)`, with or without sample weights; a batched `tf.data.Dataset`; or a
                `keras.utils.PyDataset`; only its first batch is read. `x` has shape `(batch, time,
                features)`; `y` has numbers of shape `(batch,)`, `(batch, values)`, `(batch, horizon)` or
                `(batch, horizon, values)`; with `each_step=True`, of shape `(batch, time)` or `(batch, time,
                values)`.
            space: Anything that `SearchSpace.load` takes.
            **kwargs: Further arguments of the class.

        Raises:
            InvalidArgumentError: The data do not fit a regression on sequences.

        Example:
            >>> import numpy as np
            >>> from recdrop_tune import SequenceRegressor
            >>> x, y = np.zeros((6, 20, 3)), np.zeros((6, 12))
            >>> SequenceRegressor.from_data((x, y)).target_shape
            (12,)
        """
        x, y = first_batch(train)
        features = features_of(x, y, isinstance(train, list | tuple))
        shape = _read_shape(np.asarray(y))
        if kwargs.get("each_step"):
            shape = _of_each_step(shape, x.shape[1], masked=kwargs.get("mask_value") is not None)
        arguments = {"target_shape": shape, "input_shape": (None, features), **kwargs}
        return cls(space=space, **arguments)

    @property
    def loss(self) -> Any:
        """The given loss; by default the mean squared error."""
        return self._loss

    def head(self, features: Any) -> Any:
        """Maps the last axis to `target_shape`; one number is a column."""
        # Always float32: half precision has three digits.
        numbers = keras.layers.Dense(prod(self.target_shape), dtype="float32")(features)
        if len(self.target_shape) < 2:
            return numbers
        return keras.layers.Reshape(self.target_shape, dtype="float32")(numbers)


def _read_shape(y: Any) -> tuple[int, ...]:
    if y.dtype.kind not in "biuf" or y.ndim not in (1, 2, 3) or 0 in y.shape[1:]:
        raise invalid_argument(
            "y",
            expected="numbers of shape (batch,), (batch, values), (batch, horizon) or "
            "(batch, horizon, values)",
            received=f"{y.dtype} of shape {y.shape}",
            fix=REMEDY,
        )
    if not np.all(np.isfinite(y)):
        places = np.argwhere(~np.isfinite(y))
        raise invalid_argument(
            "y",
            expected="finite numbers",
            received=f"{len(places)} that are infinite or not a number, the first at "
            f"y[{', '.join(map(str, places[0]))}]",
            fix="Leave out those sequences, or fill them in.",
        )
    return tuple(int(size) for size in y.shape[1:])


def _of_each_step(shape: tuple[int, ...], steps: int, masked: bool) -> tuple[int, ...]:
    """Returns the shape of the target of one step."""
    if shape[:1] != (steps,) or (masked and len(shape) == 1):
        columns = "(batch, time, values)" if masked else "(batch, time) or (batch, time, values)"
        raise invalid_argument(
            "y",
            expected=f"numbers of shape {columns} for sequences of {steps} steps",
            received=f"shape {('batch', *shape)}",
            fix="Add the missing axis with `y[..., None]`." if len(shape) == 1 else "",
        )
    return shape[1:]


def _check_target_shape(shape: Any, most: int) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, list | tuple) else (shape,)
    if len(sizes) > most:
        raise invalid_argument(
            "target_shape",
            expected="(), (values,), (horizon,) or (horizon, values)"
            if most > 1
            else "() or (values,)",
            received=shape,
        )
    return tuple(check_integer(f"target_shape[{i}]", size, 1) for i, size in enumerate(sizes))
