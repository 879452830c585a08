"""The base of all hypermodels: a search space, a stack of recurrent layers, a compiled model around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any

import keras

from recdrop_tune.errors import check_integer, invalid_argument
from recdrop_tune.hypermodels.extensions import ScheduledHyperModel
from recdrop_tune.kernels import KERAS_PASSES_MASKS, mask_of, seeds_aside
from recdrop_tune.models import Described, compile_model, pass_masks
from recdrop_tune.spaces import Sample, SearchSpace
from recdrop_tune.wrappers import LockedDropout, wrap


class AbstractHyperModel(ScheduledHyperModel, ABC):
    """A model of recurrent layers, each with the same dropout, for Keras Tuner to search over.

    A subclass defines the model (`network`) and its loss (`loss`), and sets `embedding` if the model
    embeds words. For sequences of features, use `AbstractSequenceModel`. A subclass with its own `fit`
    trains by `super().fit(...)`, which applies the `schedule` of the space.

    Args:
        space: Anything that `SearchSpace.load` takes.
        metrics: Keras metrics or their names. Each model gets its own copy, so a custom class needs a
            `get_config` with its arguments.
        name: Name of the hypermodel.
        tunable: Whether Keras Tuner adds the hyperparameters to its search space.
    """

    embedding = False
    """Whether the model has an embedding, and so an `embedding_rate`."""

    def __init__(
        self,
        space: object = "quick",
        metrics: Sequence[Any] = (),
        name: str | None = None,
        tunable: bool = True,
    ) -> None:
        self.space = SearchSpace.load(space)
        self.metrics = tuple(metrics) if isinstance(metrics, list | tuple) else (metrics,)
        super().__init__(name=name, tunable=tunable)

    @property
    @abstractmethod
    def loss(self) -> Any:
        """The Keras loss to minimize, or its name."""

    @abstractmethod
    def network(self, sample: Sample) -> Any:
        """Makes the model of a configuration, not compiled."""

    def build(self, hp: Any) -> Any:
        """Builds and compiles the model chosen by the hyperparameters.

        Args:
            hp: `keras_tuner.HyperParameters`, on which the space is registered.

        Returns:
            A compiled `keras.Model`. Under one seed, its initial weights do not depend on the dropout.
        """
        sample = self.space.sample(hp, embedding=self.embedding)
        model = self.network(sample)
        compile_model(
            model,
            optimizer=keras.optimizers.Adam(
                sample.learning_rate, global_clipnorm=sample.global_clipnorm
            ),
            loss=self.loss,
            # A metric holds the counts of one model.
            metrics=[
                Described.of(each).make() if isinstance(each, keras.metrics.Metric) else each
                for each in self.metrics
            ],
        )
        return model


_CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


def recurrent_stack(features: Any, sample: Sample, return_sequences: bool) -> Any:
    """Applies recurrent layers, each with the same dropout, to `(batch, time, features)` and its mask.

    Returns:
        Shape `(batch, units)`, or `(batch, time, units)` with `return_sequences`; twice the units
        if the layers are bidirectional.
    """
    # The last layer has the decays, as published: the temporal decay applies to its outputs, the activity
    # decay to the outputs of the stack, after locked dropout.
    of_layer, of_locked = _decays(sample)
    # If Keras's layers do not pass a mask on, it becomes an argument, which is saved with the model.
    mask = None if KERAS_PASSES_MASKS else mask_of(features)
    features = _locked(features, sample, "input")
    for index in range(sample.layers):
        if index:
            features = _locked(features, sample, "between")
        last = index == sample.layers - 1
        layer = _CELLS[sample.cell](sample.units, return_sequences=return_sequences or not last)
        if sample.bidirectional:
            layer = keras.layers.Bidirectional(layer)
        decays = of_layer if last else {}
        layer = wrap(layer, sample.wrapper, **sample.wrap_arguments(), **decays)
        features = layer(features) if mask is None else pass_masks(layer)(features, mask=mask)
    return _locked(features, sample, "output", of_locked)


def _decays(sample: Sample) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the decays of the last recurrent layer, and those of the locked dropout after it."""
    if "output" not in sample.locked_rate:
        return sample.decays, {}
    after = {name: value for name, value in sample.decays.items() if name == "activity_decay"}
    return {name: value for name, value in sample.decays.items() if name not in after}, after


def _locked(features: Any, sample: Sample, site: str, decays: dict[str, Any] | None = None) -> Any:
    """Applies locked dropout, if the sample has a rate for the place."""
    rates = sample.locked_rate
    with seeds_aside():
        dropped = site in rates and LockedDropout(rates[site], **(decays or {}))
    return dropped(features) if dropped else features


class AbstractSequenceModel(AbstractHyperModel):
    """A model of sequences of features: recurrent layers, then a head.

    A subclass defines the layers after the recurrent ones (`head`) and the loss (`loss`), and sets
    `return_sequences` if its head needs every step.

    Args:
        input_shape: Shape of one sequence, `(time, features)`; `time` can be `None`.
        mask_value: Steps whose features all have this value are skipped; `None` skips none.

    For `space`, `metrics`, `name` and `tunable` see `AbstractHyperModel`.
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
        if isinstance(mask_value, bool) or not isinstance(mask_value, Real | None):
            raise invalid_argument("mask_value", expected="a number or None", received=mask_value)
        self.mask_value = mask_value
        super().__init__(space, metrics, name, tunable)
        if self.space.temporal_decay and not self.return_sequences:
            raise invalid_argument(
                "space",
                expected="no `temporal_decay`: the model has no output per step",
                received={"temporal_decay": self.space.to_dict()["temporal_decay"]},
                fix="Remove it, or use a model with an output per step, such as `SequenceTagger`.",
            )

    @abstractmethod
    def head(self, features: Any) -> Any:
        """Turns the output of the recurrent layers into the output of the model.

        Args:
            features: Shape `(batch, units)`, or `(batch, time, units)` with `return_sequences`;
                twice the units if the layers are bidirectional.
        """

    def network(self, sample: Sample) -> Any:
        """Makes the model of a configuration, not compiled."""
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
