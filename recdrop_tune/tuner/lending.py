"""Begins trainings one after the other, and lends each a model that can be reused."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.kernels import FreshStart, gradients_tied_to_graphs
from recdrop_tune.models import ModelCache


@dataclass
class Training:
    """A running training.

    Attributes:
        borrowed: Returns the lent models at the end.
        model: The model that was lent last, or None.
    """

    borrowed: contextlib.ExitStack
    model: Any = None


class Lender:
    """Lends models for trainings: as good as fresh, but they can be compiled already.

    Args:
        reuse_models: The number of compiled models that are kept; 0 for none.

    Attributes:
        training: The running training, or None.

    Example:
        >>> lender = Lender(reuse_models=4)
        >>> with lender.begun(seed=0):
        ...     model = lender.lend(build())
        ...     model.fit(x, y)
    """

    def __init__(self, reuse_models: int) -> None:
        self.training: Training | None = None
        self._cache = ModelCache(reuse_models)
        self._fresh_start = FreshStart(keep_kernels=reuse_models > 0)

    @property
    def reused(self) -> int:
        """The number of trainings that used a model compiled for an earlier one."""
        return self._cache.reused

    @contextlib.contextmanager
    def begun(self, seed: int | None) -> Iterator[Training]:
        """Begins a training, in which models are lent until it ends.

        Models of a training that breaks off are not lent again.

        Args:
            seed: Seed of everything that the training draws; with None the random state is not touched.
        """
        self._fresh_start.begin(seed)
        with gradients_tied_to_graphs(), contextlib.ExitStack() as borrowed:
            self.training = Training(borrowed)
            try:
                yield self.training
            finally:
                self.training = None

    def lend(self, fresh: Any, share: bool = True) -> Any:
        """Lends a model for the running training.

        Args:
            fresh: The fresh model. It is lent itself if no kept model has its structure.
            share: Whether a kept model can be lent instead.

        Raises:
            RuntimeError: No training has begun.
        """
        training = self.training
        if training is None:
            raise RuntimeError("A model can be lent in a training only: enter `begun` first.")
        model = training.borrowed.enter_context(self._cache.lend(fresh)) if share else fresh
        training.model = model
        return model

    def clear(self) -> None:
        """Drops all models that are kept."""
        self._cache.clear()


def check_model(model: Any, most: int | None) -> Any:
    """Returns a model that can be trained.

    Args:
        model: The result of a hypermodel's `build`.
        most: The largest number of parameters; None for any number.

    Raises:
        FatalTypeError: It is not a Keras model; the search ends.
        FailedTrialError: It is too large; the trial fails.
    """
    if not isinstance(model, keras.Model):
        raise kt.errors.FatalTypeError(
            "Expected the function or `HyperModel.build` that builds models to return a compiled "
            f"keras.Model. Received: {model!r}"
        )
    size = sum(math.prod(w.shape) for w in model.trainable_weights) if model.built else 0
    if most and size > most:
        raise kt.errors.FailedTrialError(
            f"Oversized model: {size} parameters, and `max_model_size` is {most}. Skip model."
        )
    return model
