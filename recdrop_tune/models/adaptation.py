"""What layers learn of data by `adapt`, which no configuration and no list of weights has, and its copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recdrop_tune.models.layers import walk


def adaptable(model: Any) -> list[Any]:
    """Lists the layers in a model that learn from data by `adapt`, in the order of the layers."""
    return [layer for layer in walk(model) if callable(getattr(layer, "adapt", None))]


@dataclass(frozen=True)
class Adapted:
    """What a layer has learned of data by `adapt`.

    Attributes:
        variables: The variables that it saves, by name.
        vocabulary: Its vocabulary; `None` if it has none.
    """

    variables: dict[str, Any]
    vocabulary: list[Any] | None

    @classmethod
    def of(cls, layer: Any) -> Adapted:
        """Reads it off a layer."""
        words = None
        saved = layer.built
        if hasattr(layer, "get_vocabulary"):
            words = list(layer.get_vocabulary(include_special_tokens=False)) or None
            # The table of the words is no variable; their weights by tf-idf are there with them.
            saved = words is not None and _counts_texts(layer)
        variables: dict[str, Any] = {}
        if saved:
            layer.save_own_variables(variables)
        return cls({name: np.array(value) for name, value in variables.items()}, words)

    def give(self, layer: Any) -> None:
        """Hands it to a copy of the layer."""
        if self.vocabulary is not None:
            # The weights of the words, if they have some, are among the variables.
            weights = [0.0] * len(self.vocabulary) if _counts_texts(layer) else None
            layer.set_vocabulary(self.vocabulary, weights)
        if self.variables:
            layer.load_own_variables(self.variables)


def _counts_texts(layer: Any) -> bool:
    """Says whether a layer weighs words by how many of the texts have them."""
    return bool(layer.get_config().get("output_mode") == "tf_idf")
