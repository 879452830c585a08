"""Dropout of whole word types: rows of an embedding matrix."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import copy_input_shape, default_seed, mask_of, set_mask
from recdrop_tune.rewrites import Tensor
from recdrop_tune.wrappers.rates import HasRates
from recdrop_tune.wrappers.recurrent_wrapper import given_name


@keras.saving.register_keras_serializable(package="recdrop_tune")
class EmbeddingDropout(HasRates, keras.layers.Wrapper):
    """Drops whole word types: rows of the embedding matrix, the same ones in the whole batch.

        x_bt = m_w / (1 - rate) * E_w,   w = tokens_bt,   m_w ~ Bernoulli(1 - rate)

    A dropped word is dropped wherever it occurs in the batch. Only the rows that are looked up are
    multiplied, not the whole matrix. Masks are drawn for each batch, in training only; inference is the
    plain embedding. The rate is a non-trainable variable, so `layer.rate = 0.2` takes effect in a compiled
    model without a new trace. It is configuration and not a weight, so weights and checkpoints fit the plain
    embedding.

    Args:
        layer: A `keras.layers.Embedding`, or a `keras.layers.ReversibleEmbedding`, which also maps vectors
            to logits (in reverse), with the whole matrix.
        rate: Fraction of the word types to drop, 0 <= rate < 1.
        seed: Integer seed of the noise; see `AbstractDropoutWrapper`.
        **kwargs: `name`, `dtype`, `trainable`. The default dtype policy is the embedding's, and so is the
            name if you gave the embedding one.

    Call arguments:
        inputs: Integers, usually of shape `(batch, time)`; in reverse `(batch, time, output_dim)`.
        reverse: Whether to map vectors to logits. The first call of a layer must be on tokens.
        training: Whether to drop; nothing is dropped in reverse.

    Raises:
        InvalidArgumentError: The layer is not an embedding, or the rate is out of range.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import EmbeddingDropout
        >>> layer = EmbeddingDropout(keras.layers.Embedding(100, 8, mask_zero=True), rate=0.1)
        >>> layer(keras.ops.ones((2, 3), dtype="int32"), training=True).shape
        TensorShape([2, 3, 8])

    Reference:
        Merity, Keskar, Socher (2017), "Regularizing and Optimizing LSTM Language Models", arXiv 1708.02182,
        section 4.3. Gal and Ghahramani (2016), arXiv 1512.05287, section 4.2, draw a mask for each sequence.
    """

    sites = ("embedding",)

    def __init__(self, layer: Any, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        if not isinstance(layer, keras.layers.Embedding):
            raise invalid_argument("layer", expected="a `keras.layers.Embedding`", received=layer)
        kwargs.setdefault("dtype", layer.dtype_policy)
        kwargs.setdefault("name", given_name(layer))
        super().__init__(layer, **kwargs)
        copy_input_shape(layer, self)
        self._set_up_rates(rate, seed, default_seed())
        self.supports_masking = True
        self.autocast = False  # Tokens can be floats, which half precision would round.

    @property
    def embeddings(self) -> Any:
        """The embedding matrix `(input_dim, output_dim)`, which an output layer can share."""
        return self.layer.embeddings

    def call(self, inputs: Tensor, reverse: bool = False, training: bool = False) -> Tensor:
        """Looks up the tokens, and drops word types in training; or maps vectors to logits."""
        if reverse:
            return self.layer(inputs, reverse=True)
        embedded = self.layer(inputs)
        if not training:
            return embedded
        noise = self._bernoulli("embedding", (self.layer.input_dim,))
        of_tokens = ops.take(noise, ops.cast(inputs, "int32"), axis=0)  # (batch, time)
        dropped = embedded * ops.cast(ops.expand_dims(of_tokens, -1), embedded.dtype)
        set_mask(dropped, mask_of(embedded))
        return dropped

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Returns the embedding's mask."""
        # A `ReversibleEmbedding` has none here, where the direction of the call is unknown: the call sets it.
        return self.layer.compute_mask(inputs, mask)

    def compute_output_shape(self, input_shape: Any, reverse: bool = False) -> Any:
        """Returns the embedding's output shape."""
        last = self.layer.input_dim if reverse else self.layer.output_dim
        return (*(input_shape[:-1] if reverse else input_shape), last)

    def compute_output_spec(
        self, inputs: Any, reverse: bool = False, training: bool = False
    ) -> Any:
        """Returns the embedding's output, symbolically."""
        if reverse:
            return self.layer.compute_output_spec(inputs, reverse=True)
        output = self.layer.compute_output_spec(inputs)
        set_mask(output, keras.layers.Embedding.compute_mask(self.layer, inputs))
        return output
