"""Keeps the last compiled models, for trials that have the same structure."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recdrop_tune.models import renew, structure


class ModelCache:
    """Compiled models by structure, the least recently used given up first.

    Args:
        size: How many models are kept; 0 for none.

    Example:
        >>> cache = ModelCache(size=4)
        >>> with cache.lend(hypermodel.build(hp)) as model:
        ...     model.fit(x, y)
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._models: OrderedDict[str, Any] = OrderedDict()
        self.reused = 0

    @contextmanager
    def lend(self, fresh: Any) -> Iterator[Any]:
        """Lends a model that is as good as a fresh one, and may be traced already.

        It is kept afterwards if the training ended well and left its structure as it was.

        Args:
            fresh: The fresh model: what the lent one starts from, and itself lent if there is none.
        """
        key = structure(fresh) if self._size else None
        if key is None:
            yield fresh
            return
        model = self._models.pop(key, None)
        if model is not None and renew(model, fresh):
            self.reused += 1
        else:
            model = fresh
        yield model
        # Only here: a training that was broken off may leave half an epoch of data behind.
        if structure(model) == key:
            self._keep(key, model)

    def clear(self) -> None:
        """Gives all models up."""
        self._models.clear()
        gc.collect()

    def _keep(self, key: str, model: Any) -> None:
        self._models[key] = model
        if len(self._models) > self._size:
            self._models.popitem(last=False)
            gc.collect()  # A model and its traced functions hold each other.
