"""Dropout of whole word types: rows of an embedding matrix."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import hand_on_input_shape
from recdrop_tune.rewrites import Tensor
from recdrop_tune.wrappers.rates import HasRates
from recdrop_tune.wrappers.recurrent_wrapper import given_name


@keras.saving.register_keras_serializable(package="recdrop_tune")
class EmbeddingDropout(HasRates, keras.layers.Wrapper):
    """Drops whole word types: rows of the embedding matrix, the same ones throughout a batch.

        x_bt = m_w / (1 - rate) * E_w,   w = tokens_bt,   m_w ~ Bernoulli(1 - rate)

    A word that is dropped is dropped wherever it occurs in the batch. The matrix itself is not
    multiplied: only the rows that are looked up are. Masks are drawn anew for each batch, in
    training only; inference is the plain embedding. The rate lives in a non-trainable variable, so
    `layer.rate = 0.2` takes effect in a compiled model without a new trace; it is configuration, not
    a weight, so weights and checkpoints interchange with the plain embedding's.

    Args:
        layer: A `keras.layers.Embedding`, or a `keras.layers.ReversibleEmbedding`, which can also be
            called in reverse: from vectors to logits, through the whole matrix.
        rate: Fraction of the word types to drop, 0 <= rate < 1.
        seed: Integer seed of the noise; `None` takes one from Keras's global seed.
        **kwargs: `name`, `dtype`, `trainable`. By default the dtype policy is the embedding's, and so is
            the name if the embedding was given one.

    Call arguments:
        inputs: Integers, usually of shape `(batch, time)`; in reverse `(batch, time, output_dim)`.
        reverse: Whether to map vectors to logits. The first call of a layer is one on tokens.
        training: Whether to drop; in reverse nothing is.

    Raises:
        InvalidArgumentError: The layer is not an embedding, the rate is out of range, or a layer is
            called in reverse that cannot be.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import EmbeddingDropout
        >>> layer = EmbeddingDropout(keras.layers.Embedding(100, 8, mask_zero=True), rate=0.1)
        >>> layer(keras.ops.ones((2, 3), dtype="int32"), training=True).shape
        TensorShape([2, 3, 8])

    Reference:
        Gal and Ghahramani (2016), arXiv 1512.05287, section 4.2; Merity, Keskar, Socher (2017),
        "Regularizing and Optimizing LSTM Language Models", arXiv 1708.02182, section 4.3.
    """

    sites = ("embedding",)

    def __init__(self, layer: Any, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        if not isinstance(layer, keras.layers.Embedding):
            raise invalid_argument("layer", expected="a `keras.layers.Embedding`", received=layer)
        kwargs.setdefault("dtype", layer.dtype_policy)
        kwargs.setdefault("name", given_name(layer))
        super().__init__(layer, **kwargs)
        hand_on_input_shape(layer, self)
        self._set_up_rates(rate, seed)
        self.supports_masking = True
        self.autocast = False  # tokens may come as floats, which half precision would round

    @property
    def embeddings(self) -> Any:
        """The embedding matrix `(input_dim, output_dim)`, to share it with an output layer."""
        return self.layer.embeddings

    def build(self, input_shape: Any = None) -> None:
        """Builds the embedding for tokens of a shape."""
        self._token_dimensions = len(input_shape)
        super().build(input_shape)

    def call(self, inputs: Tensor, reverse: bool = False, training: bool = False) -> Tensor:
        """Looks the tokens up, and drops word types when training; or maps vectors to logits."""
        if reverse:
            return self._reversible()(inputs, reverse=True)
        embedded = self.layer(inputs)
        if not training:
            return embedded
        noise = self._bernoulli("embedding", (self.layer.input_dim,))
        of_tokens = ops.take(noise, ops.cast(inputs, "int32"), axis=0)  # (batch, time)
        return embedded * ops.cast(ops.expand_dims(of_tokens, -1), embedded.dtype)

    def _reversible(self) -> Any:
        if not isinstance(self.layer, keras.layers.ReversibleEmbedding):
            raise invalid_argument(
                "reverse",
                expected="False, where the layer is not a `keras.layers.ReversibleEmbedding`",
                received=True,
            )
        return self.layer

    def _are_vectors(self, inputs: Tensor) -> bool:
        """Says whether a call was in reverse, which Keras does not tell `compute_mask`."""
        return (
            isinstance(self.layer, keras.layers.ReversibleEmbedding)
            and keras.backend.is_float_dtype(keras.backend.standardize_dtype(inputs.dtype))
            # Tokens may come as floats too: vectors have one dimension more than they.
            and len(inputs.shape) > self._token_dimensions
        )

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Returns where the token is not 0, with `mask_zero`; in reverse the mask that came."""
        if self._are_vectors(inputs):
            return mask
        return ops.not_equal(inputs, 0) if self.layer.mask_zero else None

    def compute_output_shape(self, input_shape: Any, reverse: bool = False) -> Any:
        """Returns the embedding's output shape."""
        last = self.layer.input_dim if reverse else self.layer.output_dim
        return (*(input_shape[:-1] if reverse else input_shape), last)

    def compute_output_spec(
        self, inputs: Any, reverse: bool = False, training: bool = False
    ) -> Any:
        """Returns the embedding's output, symbolically."""
        if reverse:
            self._reversible()
        shape = self.compute_output_shape(inputs.shape, reverse)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)
