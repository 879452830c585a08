"""Dropout of whole word types: rows of an embedding matrix."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.engine import ReplicaSeedGenerator
from recdrop_tune.errors import invalid_argument
from recdrop_tune.rewrites import bernoulli
from recdrop_tune.rewrites._call import Tensor
from recdrop_tune.wrappers._rates import rates_by_site


@keras.saving.register_keras_serializable(package="recdrop_tune")
class EmbeddingDropout(keras.layers.Wrapper):
    """Drops whole word types: rows of the embedding matrix, the same ones throughout a batch.

        x_bt = m_w / (1 - rate) * E_w,   w = tokens_bt,   m_w ~ Bernoulli(1 - rate)

    A word that is dropped is dropped wherever it occurs in the batch. The matrix itself is not
    multiplied: only the rows that are looked up are. Masks are drawn anew for each batch, in
    training only; inference is the plain embedding. The rate lives in a non-trainable variable, so
    `layer.rate = 0.2` takes effect in a compiled model without a new trace; it is configuration, not
    a weight, so weights and checkpoints interchange with the plain embedding's.

    Args:
        layer: A `keras.layers.Embedding`.
        rate: Fraction of the word types to drop, 0 <= rate < 1.
        seed: Integer seed of the noise; `None` takes one from Keras's global seed.
        **kwargs: `name`, `dtype`, `trainable`. The dtype policy is the embedding's by default.

    Call arguments:
        inputs: Integers, usually of shape `(batch, time)`.
        training: Whether to drop.

    Raises:
        InvalidArgumentError: The layer is not an embedding, or the rate is out of range.

    Example:
        >>> import keras
        >>> from recdrop_tune.models import EmbeddingDropout
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
        super().__init__(layer, **kwargs)
        self._configured = rates_by_site(rate, self.sites)
        self.seed = seed
        self.seed_generator = ReplicaSeedGenerator(seed)
        variable = self.add_weight(
            name="embedding_rate",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(self.rate),
            trainable=False,
            autocast=False,
        )
        self.rates = {"embedding": variable}
        self.supports_masking = True
        self.autocast = False  # tokens may come as floats, which half precision would round

    @property
    def rate(self) -> float:
        """The configured rate."""
        return self._configured["embedding"]

    @rate.setter
    def rate(self, value: float) -> None:
        self._configured = rates_by_site(value, self.sites)
        self.rates["embedding"].assign(self.rate)

    @property
    def embeddings(self) -> Any:
        """The embedding matrix `(input_dim, output_dim)`, to share it with an output layer."""
        return self.layer.embeddings

    @property
    def weights(self) -> list[Any]:
        """The embedding's weights: the rate is configuration."""
        return [weight for weight in super().weights if weight is not self.rates["embedding"]]

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing: the embedding saves its weights, the config holds the rate."""

    def load_own_variables(self, store: Any) -> None:
        """Loads nothing; see `save_own_variables`."""

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Looks the tokens up, and drops word types when training."""
        embedded = self.layer(inputs)
        if not training:
            return embedded
        shape = (self.layer.input_dim,)
        noise = bernoulli(shape, self.rates["embedding"], self.seed_generator)
        of_tokens = ops.take(noise, ops.cast(inputs, "int32"), axis=0)  # (batch, time)
        return embedded * ops.cast(ops.expand_dims(of_tokens, -1), embedded.dtype)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """The embedding's mask: with `mask_zero`, where the token is not 0."""
        return self.layer.compute_mask(inputs, mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The embedding's output shape."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
