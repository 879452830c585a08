"""The next token at each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, final

import keras

from recdrop_tune._arguments import check_flag, check_integer
from recdrop_tune.errors import invalid_argument
from recdrop_tune.hypermodels._base import AbstractHyperModel
from recdrop_tune.hypermodels._perplexity import Perplexity
from recdrop_tune.hypermodels._stack import recurrent_stack
from recdrop_tune.hypermodels._tokens import infer_vocabulary
from recdrop_tune.models import EmbeddingDropout
from recdrop_tune.spaces import Sample


@final
class LanguageModel(AbstractHyperModel):
    """Predicts the next token: an embedding, recurrent layers with the sampled dropout, logits.

    The model takes integers of shape `(batch, time)` and gives logits of shape `(batch, time,
    vocab_size)`; the target of a step is the token after it (see `shift`). Where the space has an
    `embedding_rate`, whole word types are dropped with it (`EmbeddingDropout`).

    Args:
        vocab_size: Number of words: tokens are 0 ... vocab_size - 1.
        space: Anything that `SearchSpace.load` takes; not with `bidirectional` layers, which would
            read the token that is to be predicted.
        embedding_units: Size of a word's vector; `None` takes the units of the recurrent layers.
        tie_weights: Whether the output layer is the embedding's matrix, transposed, without a bias.
            Where `embedding_units` are not the units of the layers, a linear map stands between.
        mask_zero: Whether token 0 is padding, on the right of a sequence: steps whose target it is
            count neither in the loss nor in the perplexity. Layers need no mask for it, since
            nothing that counts reads what comes after.
        metrics: Names of Keras metrics, or metrics, of which each model gets its own copy;
            `"perplexity"` is exp of the mean cross-entropy.
        name: Name of the hypermodel.
        tunable: Whether Keras Tuner adds the hyperparameters to its search space.

    Raises:
        InvalidArgumentError: An argument cannot be worked with.

    Example:
        >>> import keras_tuner
        >>> from recdrop_tune import LanguageModel
        >>> hypermodel = LanguageModel(500, space="awd_lstm", tie_weights=True)
        >>> hypermodel.build(keras_tuner.HyperParameters()).output_shape
        (None, None, 500)

    Reference:
        Merity, Keskar, Socher (2017), "Regularizing and Optimizing LSTM Language Models", arXiv
        1708.02182; Press and Wolf (2017), "Using the Output Embedding to Improve Language Models",
        arXiv 1608.05859 (tied weights).
    """

    embedding = True

    def __init__(
        self,
        vocab_size: int,
        space: object = "quick",
        embedding_units: int | None = None,
        tie_weights: bool = False,
        mask_zero: bool = False,
        metrics: Sequence[Any] = ("perplexity",),
        name: str | None = None,
        tunable: bool = True,
    ) -> None:
        self.vocab_size = check_integer("vocab_size", vocab_size, 2)
        if embedding_units is not None:
            embedding_units = check_integer("embedding_units", embedding_units, 1)
        self.embedding_units = embedding_units
        self.tie_weights = check_flag("tie_weights", tie_weights)
        self.mask_zero = check_flag("mask_zero", mask_zero)
        super().__init__(space, metrics, name, tunable)
        self.metrics = tuple(self._named(metric) for metric in self.metrics)
        if self.space.bidirectional not in (None, False):
            raise invalid_argument(
                "space",
                expected="layers that read forwards only, for a language model",
                received={"bidirectional": self.space.to_dict()["bidirectional"]},
                fix="A backward layer reads the token that is to be predicted. Leave it out.",
            )

    @classmethod
    def from_data(cls, train: Any, space: object = "quick", **kwargs: Any) -> Self:
        """Reads the size of the vocabulary off the training data.

        Args:
            train: Tokens, integers of shape `(batch, time)`; or `(x, y)` of such, y one step ahead
                of x, with or without sample weights; a batched `tf.data.Dataset` or a
                `keras.utils.PyDataset` of these. A dataset is read once.
            space: Anything that `SearchSpace.load` takes.
            **kwargs: Further arguments of the class. `vocab_size` is needed only where the training
                data may lack the largest tokens.

        Raises:
            InvalidArgumentError: The data are not those of a language model.

        Example:
            >>> import numpy as np
            >>> from recdrop_tune import LanguageModel
            >>> tokens = np.array([[1, 2, 3, 4], [4, 3, 2, 1]])
            >>> LanguageModel.from_data(tokens).vocab_size
            5
            >>> x, y = LanguageModel.shift(tokens)
            >>> y.tolist()
            [[2, 3, 4], [3, 2, 1]]
        """
        found = infer_vocabulary(train, bool(kwargs.get("mask_zero")))
        return cls(space=space, **{"vocab_size": found, **kwargs})

    @staticmethod
    def shift(tokens: Any) -> tuple[Any, Any]:
        """Makes inputs and targets of one array: y is x, one step later.

        Args:
            tokens: Shape `(batch, time)`.

        Returns:
            Two arrays of shape `(batch, time - 1)`.
        """
        return tokens[:, :-1], tokens[:, 1:]

    @property
    def loss(self) -> Any:
        """Cross-entropy of logits, over the steps that count."""
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=self._padding
        )

    def network(self, sample: Sample) -> Any:
        """Makes the model, not compiled, that a configuration of the space describes."""
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        units = self.embedding_units or sample.units
        embedding = self._embedding(units, sample.embedding_rate)
        features = recurrent_stack(embedding(tokens), sample, return_sequences=True)
        logits = self._tied(features, embedding, units) if self.tie_weights else features
        # float32 whatever the policy: a softmax in half precision loses the small probabilities.
        last = keras.layers.Activation("linear", dtype="float32", name="logits")
        if not self.tie_weights:
            last = keras.layers.Dense(self.vocab_size, dtype="float32", name="logits")
        return keras.Model(tokens, last(logits), name=self.name)

    def _embedding(self, units: int, rate: float | None) -> Any:
        kind = keras.layers.ReversibleEmbedding if self.tie_weights else keras.layers.Embedding
        embedding = kind(self.vocab_size, units, name="embedding")
        return embedding if rate is None else EmbeddingDropout(embedding, rate)

    def _tied(self, features: Any, embedding: Any, units: int) -> Any:
        if features.shape[-1] != units:
            features = keras.layers.Dense(units, use_bias=False, name="projection")(features)
        return embedding(features, reverse=True)

    @property
    def _padding(self) -> int | None:
        return 0 if self.mask_zero else None

    def _named(self, metric: Any) -> Any:
        return Perplexity(ignore_class=self._padding) if metric == "perplexity" else metric
