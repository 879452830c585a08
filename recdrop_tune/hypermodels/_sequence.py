"""What the hypermodels for sequences of features share: the input, the mask, and a head at the end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any

import keras

from recdrop_tune._arguments import check_integer
from recdrop_tune.errors import invalid_argument
from recdrop_tune.hypermodels._base import AbstractHyperModel
from recdrop_tune.hypermodels._stack import recurrent_stack
from recdrop_tune.spaces import Sample


class AbstractSequenceModel(AbstractHyperModel):
    """A model of sequences of features: recurrent layers, then a head.

    A subclass says what comes after the layers (`head`) and what is minimized (`loss`); it sets
    `return_sequences` where its head wants every step.

    Args:
        input_shape: Shape of one sequence, `(time, features)`; `time` may be `None`.
        space: Anything that `SearchSpace.load` takes.
        mask_value: Steps all of whose features have this value are skipped; `None` skips none.
        metrics: Names of Keras metrics, or metrics, of which each model gets its own copy.
        name: Name of the hypermodel.
        tunable: Whether Keras Tuner adds the hyperparameters to its search space.
    """

    return_sequences = False

    def __init__(
        self,
        input_shape: tuple[int | None, int],
        space: object = "quick",
        mask_value: float | None = None,
        metrics: Sequence[Any] = (),
        name: str | None = None,
        tunable: bool = True,
    ) -> None:
        self.input_shape = _check_input_shape(input_shape)
        if mask_value is not None and (
            isinstance(mask_value, bool) or not isinstance(mask_value, Real)
        ):
            raise invalid_argument("mask_value", expected="a number or None", received=mask_value)
        self.mask_value = mask_value
        super().__init__(space, metrics, name, tunable)

    @abstractmethod
    def head(self, features: Any) -> Any:
        """Turns what the recurrent layers emit into the model's output.

        Args:
            features: Shape `(batch, units)`, or `(batch, time, units)` with `return_sequences`;
                twice the units where the layers are bidirectional.
        """

    def network(self, sample: Sample) -> Any:
        """Makes the model, not compiled, that a configuration of the space describes."""
        inputs = keras.Input(self.input_shape, name="sequences")
        features = inputs
        if self.mask_value is not None:
            features = keras.layers.Masking(self.mask_value)(features)
        features = recurrent_stack(features, sample, self.return_sequences)
        return keras.Model(inputs, self.head(features), name=self.name)


def _check_input_shape(shape: Any) -> tuple[int | None, int]:
    if not isinstance(shape, list | tuple) or len(shape) != 2:
        raise invalid_argument(
            "input_shape",
            expected="(time, features) without the batch, where time may be None",
            received=shape,
        )
    time, features = shape
    steps = None if time is None else check_integer("input_shape[0]", time, 1)
    return steps, check_integer("input_shape[1]", features, 1)
