"""One class for each sequence: the hypermodel for the commonest task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, final

import keras

from recdrop_tune.errors import check_flag, check_integer
from recdrop_tune.hypermodels.data import infer_task
from recdrop_tune.hypermodels.hypermodel import AbstractSequenceModel


@final
class SequenceClassifier(AbstractSequenceModel):
    """Classifies whole sequences: recurrent layers with the sampled dropout, then a softmax.

    Every layer of the stack has the same dropout, drawn from the space. The model takes sequences of
    shape `(batch, time, features)` and gives probabilities of shape `(batch, num_classes)`.

    Args:
        num_classes: Number of classes, 2 or more.
        input_shape: Shape of one sequence, `(time, features)`; `time` may be `None`.
        space: Anything that `SearchSpace.load` takes.
        mask_value: Steps all of whose features have this value are skipped; `None` skips none.
        one_hot: Whether targets are one-hot, of shape `(batch, num_classes)`, rather than integers.
        metrics: Names of Keras metrics, or metrics, of which each model gets its own copy.
        name: Name of the hypermodel.
        tunable: Whether Keras Tuner adds the hyperparameters to its search space.

    Raises:
        InvalidArgumentError: An argument cannot be worked with.

    Example:
        >>> import keras_tuner
        >>> from recdrop_tune import SequenceClassifier
        >>> hypermodel = SequenceClassifier(10, (None, 8), space="quick")
        >>> hypermodel.build(keras_tuner.HyperParameters()).output_shape
        (None, 10)
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int | None, int],
        space: object = "quick",
        mask_value: float | None = None,
        one_hot: bool = False,
        metrics: Sequence[Any] = ("accuracy",),
        name: str | None = None,
        tunable: bool = True,
    ) -> None:
        self.num_classes = check_integer("num_classes", num_classes, 2)
        self.one_hot = check_flag("one_hot", one_hot)
        super().__init__(input_shape, space, mask_value, metrics, name, tunable)

    @classmethod
    def from_data(cls, train: Any, space: object = "quick", **kwargs: Any) -> Self:
        """Reads the number of classes and of features off the training data.

        Args:
            train: `(x, y)`, with or without sample weights; a batched `tf.data.Dataset`; or a
                `keras.utils.PyDataset`. `x` has shape `(batch, time, features)`; `y` holds integers
                0 ... K-1 of shape `(batch,)` or `(batch, 1)`, or is one-hot. A dataset is read once.
            space: Anything that `SearchSpace.load` takes.
            **kwargs: Further arguments of the class. `num_classes` is needed only where the training
                data lack some of the classes.

        Raises:
            InvalidArgumentError: The data are not those of a classification of sequences.

        Example:
            >>> import numpy as np
            >>> from recdrop_tune import SequenceClassifier
            >>> x, y = np.zeros((6, 20, 3)), np.array([0, 1, 2, 0, 1, 2])
            >>> SequenceClassifier.from_data((x, y)).num_classes
            3
        """
        task = infer_task(train, kwargs.pop("num_classes", None))
        arguments = {"input_shape": (None, task.features), "one_hot": task.one_hot, **kwargs}
        return cls(task.num_classes, space=space, **arguments)

    @property
    def loss(self) -> str:
        """Cross-entropy, for one-hot or for integer targets."""
        return "categorical_crossentropy" if self.one_hot else "sparse_categorical_crossentropy"

    def head(self, features: Any) -> Any:
        """Maps `(batch, units)` to probabilities of shape `(batch, num_classes)`."""
        # float32 whatever the policy: a softmax in half precision loses the small probabilities.
        dense = keras.layers.Dense(self.num_classes, activation="softmax", dtype="float32")
        return dense(features)
