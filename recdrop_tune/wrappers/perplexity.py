"""The metric of a language model. It is here because saved models hold it, as they hold the layers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.rewrites import Tensor


@keras.saving.register_keras_serializable(package="recdrop_tune")
class Perplexity(keras.metrics.Metric):
    """exp of the mean cross-entropy of all targets, in nats.

    Keras's `loss` is a mean over batches, so its exponential depends on how padding is distributed over
    batches. This metric does not.

    Args:
        ignore_class: Targets to leave out, such as padding; `None` counts all.
        name: Name of the metric.
        dtype: Type of the result.

    Example:
        >>> import numpy as np
        >>> metric = Perplexity()
        >>> metric.update_state(np.array([[1, 2]]), np.zeros((1, 2, 4)))
        >>> round(float(metric.result()), 3)
        4.0
    """

    def __init__(
        self, ignore_class: int | None = None, name: str = "perplexity", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.ignore_class = ignore_class
        self.total = self.add_variable((), keras.initializers.Zeros(), name="total")
        self.count = self.add_variable((), keras.initializers.Zeros(), name="count")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Any = None) -> None:
        """Adds a batch of targets, `(batch, time)`, and logits, `(batch, time, vocab_size)`.

        Weights have shape `(batch,)` or `(batch, time)`.
        """
        targets = ops.cast(y_true, "int32")
        weights = ops.ones(ops.shape(targets), dtype=self.dtype)
        if self.ignore_class is not None:
            counts = ops.not_equal(targets, self.ignore_class)
            weights *= ops.cast(counts, self.dtype)
            targets = ops.where(counts, targets, 0)  # It need not be a class.
        if sample_weight is not None:
            given = ops.cast(sample_weight, self.dtype)
            weights *= ops.expand_dims(given, -1) if len(given.shape) == 1 else given
        logits = ops.cast(y_pred, self.dtype)
        losses = ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        self.total.assign_add(ops.sum(losses * weights))
        self.count.assign_add(ops.sum(weights))

    def result(self) -> Tensor:
        """Returns the perplexity so far."""
        return ops.exp(ops.divide_no_nan(self.total, self.count))

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration."""
        return {**super().get_config(), "ignore_class": self.ignore_class}
