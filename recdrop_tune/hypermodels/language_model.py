"""A language model, which predicts the next token at each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self, final

import keras
import numpy as np

from recdrop_tune.errors import check_flag, check_integer, invalid_argument
from recdrop_tune.hypermodels.data import batches, check_ends
from recdrop_tune.hypermodels.hypermodel import AbstractHyperModel, recurrent_stack
from recdrop_tune.kernels import set_mask
from recdrop_tune.spaces import Sample
from recdrop_tune.wrappers import EmbeddingDropout, Perplexity


@final
class LanguageModel(AbstractHyperModel):
    """Predicts the next token: an embedding, recurrent layers with the sampled dropout, logits.

    The model takes integers of shape `(batch, time)` and returns logits of shape `(batch, time,
    vocab_size)`. The target of a step is the next token (see `shift`). If the space has an
    `embedding_rate`, whole word types are dropped (`EmbeddingDropout`).

    Args:
        vocab_size: Number of words; tokens are 0 ... vocab_size - 1.
        space: Anything that `SearchSpace.load` takes, without `bidirectional` layers, which would
            read the token to predict.
        embedding_units: Size of a word vector; `None` takes the units of the recurrent layers.
        tie_weights: Whether the output layer is the transposed embedding matrix, without a bias.
            If `embedding_units` differs from the units of the layers, a linear map connects them.
        mask_zero: Whether token 0 is padding at the end of sequences. Such targets count neither in the
            loss, nor in the perplexity, nor in the decays of activations. Only the decays need a mask in
            the layers, because padding comes after all other steps.

    For `metrics`, `name` and `tunable` see `AbstractHyperModel`; the metric `"perplexity"` is `Perplexity`.

    Raises:
        InvalidArgumentError: An argument has a wrong value.

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
        perplexity = Perplexity(ignore_class=self._padding)
        self.metrics = tuple(perplexity if m == "perplexity" else m for m in self.metrics)
        if self.space.bidirectional not in (None, False):
            raise invalid_argument(
                "space",
                expected="no `bidirectional`: a backward layer reads the token to predict",
                received={"bidirectional": self.space.to_dict()["bidirectional"]},
            )

    @classmethod
    def from_data(cls, train: Any, space: object = "quick", **kwargs: Any) -> Self:
        """Makes a model for the vocabulary of the training data.

        Args:
            train: Tokens, integers of shape `(batch, time)`; or `(x, y)` of them, y one step ahead
                of x, with or without sample weights; a batched `tf.data.Dataset` or a
                `keras.utils.PyDataset` of such pairs. A dataset is read once.
            space: Anything that `SearchSpace.load` takes.
            **kwargs: Further arguments of the class. Pass `vocab_size` if the training data might not
                contain the largest token.

        Raises:
            InvalidArgumentError: The data do not fit a language model.

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
        largest = 0
        for x, y in _token_batches(train):
            _check_tokens("x", x)
            _check_tokens("y", y)
            _check_form(x, y, bool(kwargs.get("mask_zero")))
            largest = max(largest, int(x.max(initial=0)), int(y.max(initial=0)))
        return cls(space=space, **{"vocab_size": largest + 1, **kwargs})

    @staticmethod
    def shift(tokens: Any) -> tuple[Any, Any]:
        """Splits an array of tokens into inputs and targets: y is x, one step later.

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
        """Makes the model of a configuration, not compiled."""
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        units, rate = self.embedding_units or sample.units, sample.embedding_rate
        kind = keras.layers.ReversibleEmbedding if self.tie_weights else keras.layers.Embedding
        # Without a mask, more kernels can run the layers.
        masks = self.mask_zero and any(sample.decays.values())
        embedding = kind(self.vocab_size, units, mask_zero=masks, name="embedding")
        embedding = embedding if rate is None else EmbeddingDropout(embedding, rate)
        features = embedding(tokens)
        if masks:  # Keras's `ReversibleEmbedding` sets it only when it runs.
            set_mask(features, keras.ops.not_equal(tokens, 0))
        features = recurrent_stack(features, sample, return_sequences=True)
        # Always float32: a softmax in half precision loses small probabilities.
        if self.tie_weights:
            if features.shape[-1] != units:
                features = keras.layers.Dense(units, use_bias=False, name="projection")(features)
            features = embedding(features, reverse=True)
            last = keras.layers.Activation("linear", dtype="float32", name="logits")
        else:
            last = keras.layers.Dense(self.vocab_size, dtype="float32", name="logits")
        return keras.Model(tokens, last(features), name=self.name)

    @property
    def _padding(self) -> int | None:
        return 0 if self.mask_zero else None


# The tokens of data.


def _token_batches(train: Any) -> Iterator[tuple[Any, Any]]:
    if hasattr(train, "shape"):
        yield np.asarray(train), np.asarray(train)
        return
    check_ends(train, "the words are counted", "Pass LanguageModel(vocab_size) as the hypermodel")
    for x, y in batches(train):
        yield np.asarray(x), np.asarray(y)


def _check_tokens(argument: str, tokens: Any) -> None:
    if tokens.dtype.kind not in "iu" or tokens.ndim != 2 or tokens.min(initial=0) < 0:
        raise invalid_argument(
            argument,
            expected="integer tokens >= 0 of shape (batch, time)",
            received=f"{tokens.dtype} of shape {tokens.shape}",
            fix="Cut a text into pieces of equal length: "
            "`tokens[: len(tokens) // time * time].reshape(-1, time)`.",
        )


def _check_form(x: Any, y: Any, mask_zero: bool) -> None:
    if x.shape != y.shape:
        raise invalid_argument(
            "y",
            expected=f"the next token at each step, of the shape {x.shape} of x",
            received=f"shape {y.shape}",
            fix="Make both from one array of tokens: `LanguageModel.shift(tokens)`.",
        )
    if mask_zero and np.any((x[:, 0] == 0) & np.any(x != 0, axis=1)):
        raise invalid_argument(
            "x",
            expected="padding on the right, with mask_zero=True",
            received="sequences that begin with token 0",
            fix="Pad with `keras.utils.pad_sequences(..., padding='post')`.",
        )
