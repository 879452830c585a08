"""What the hypermodels share: a search space, and a model of what it says, compiled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner

from recdrop_tune.errors import invalid_argument
from recdrop_tune.hypermodels._scheduled import with_schedules
from recdrop_tune.spaces import Sample, SearchSpace


class AbstractHyperModel(keras_tuner.HyperModel, ABC):
    """A model of recurrent layers, each with the same dropout, for Keras Tuner to search over.

    A subclass says what the model is (`network`) and what is minimized (`loss`); it sets `embedding`
    where the model embeds words. For sequences of features there is `AbstractSequenceModel`. One with
    a `fit` of its own trains by `super().fit(...)`, which moves the rates where the space has a
    `schedule`.

    Args:
        space: Anything that `SearchSpace.load` takes.
        metrics: Names of Keras metrics, or metrics, of which each model gets its own copy.
        name: Name of the hypermodel.
        tunable: Whether Keras Tuner adds the hyperparameters to its search space.
    """

    embedding = False
    """Whether the model has an embedding, to which the space's `embedding_rate` belongs."""

    def __init__(
        self,
        space: object = "quick",
        metrics: Sequence[Any] = (),
        name: str | None = None,
        tunable: bool = True,
    ) -> None:
        self.space = SearchSpace.load(space)
        self.metrics = _check_metrics(metrics)
        super().__init__(name=name, tunable=tunable)

    @property
    @abstractmethod
    def loss(self) -> Any:
        """The Keras loss that is minimized, or its name."""

    @abstractmethod
    def network(self, sample: Sample) -> Any:
        """Makes the model, not compiled, that a configuration of the space describes."""

    def build(self, hp: Any) -> Any:
        """Builds and compiles the model that the hyperparameters name.

        Args:
            hp: `keras_tuner.HyperParameters`; the space is registered on it.

        Returns:
            A compiled `keras.Model`.
        """
        sample = self.space.sample(hp, embedding=self.embedding)
        model = self.network(sample)
        model.compile(
            optimizer=keras.optimizers.Adam(sample.learning_rate),
            loss=self.loss,
            metrics=[_fresh(metric) for metric in self.metrics],
        )
        return model

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Trains the model, its rates moved by the sampled schedule.

        Args:
            hp: The hyperparameters that `build` was called with.
            model: The model that it returned.
            *args: Arguments of `keras.Model.fit`.
            **kwargs: The same. The caller's list of callbacks stays as it is.

        Returns:
            What `keras.Model.fit` returns. The model's rates are the configured ones again.
        """
        if self.space.schedule is not None:
            # A copy, for a hypermodel that is not tunable adds nothing to the search space.
            schedule = self.space.sample(hp.copy()).schedule
            moving = {} if schedule == "constant" else {schedule: None}
            kwargs["callbacks"] = with_schedules(kwargs.get("callbacks"), moving)
        return super().fit(hp, model, *args, **kwargs)


def _check_metrics(metrics: Any) -> tuple[Any, ...]:
    items = tuple(metrics) if isinstance(metrics, list | tuple) else (metrics,)
    for item in items:
        if not isinstance(item, str | keras.metrics.Metric):
            raise invalid_argument(
                "metrics", expected="names of Keras metrics or keras.metrics.Metric", received=item
            )
    return items


def _fresh(metric: Any) -> Any:
    """A metric object holds a model's counts, so every model needs one of its own."""
    return metric if isinstance(metric, str) else type(metric).from_config(metric.get_config())
