"""Reads what a model is compiled with: the losses and metrics of Keras's that a constant can be scored by."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import keras

from recdrop_tune.models import walk

CROSS_ENTROPIES = ("sparse_categorical_crossentropy", "categorical_crossentropy")
ERRORS = ("mean_squared_error", "mean_absolute_error", "huber")
BINARY = ("binary_crossentropy", "binary_accuracy")
ACCURACIES = ("accuracy", "sparse_categorical_accuracy", "categorical_accuracy")
_KNOWN = (*CROSS_ENTROPIES, *ERRORS, *BINARY, *ACCURACIES, "perplexity")
_ALIASES = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "acc": "accuracy"}
# A loss that is set up otherwise is another one.
_USUAL = {"reduction": "sum_over_batch_size", "label_smoothing": 0, "axis": -1}
# A model that overrides one of these may score in any way.
_SCORING = ("compile", "compute_loss", "compute_metrics", "evaluate", "test_step")


@dataclass(frozen=True)
class Measure:
    """A loss or a metric of Keras's.

    Attributes:
        kind: Keras's name of its function.
        ignored: Steps with this target do not count; `None` where all do.
        bound: The threshold of a binary accuracy, or the delta of a Huber loss.
    """

    kind: str
    ignored: int | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Compiled:
    """What a model is compiled with, as far as it is known.

    Attributes:
        measures: The loss (as `loss`) and the metrics by the names under which the model reports them.
        output: Shape of the model's output.
        masked: Whether a layer of the model makes a mask.
    """

    measures: dict[str, Measure]
    output: tuple[int | None, ...]
    masked: bool


def compiled_with(model: Any) -> Compiled | None:
    """Reads what a model with one output is compiled with; `None` where that cannot be told.

    What a model adds to its loss (a regularizer, `add_loss`) no constant predictor has, so the loss of such
    a model is not known.
    """
    if not isinstance(model, keras.Model) or not model.built or not model.compiled:
        return None
    output = getattr(model, "output_shape", None)
    one = isinstance(output, tuple) and all(
        size is None or isinstance(size, int) for size in output
    )
    if not one or any(getattr(type(model), n) is not getattr(keras.Model, n) for n in _SCORING):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of a lambda that is written down.
            config = model.get_compile_config()
    except Exception:  # A loss or a metric of the user's own, which cannot be written down.
        return None
    metrics = config.get("metrics") or []
    found = dict(map(_measure, metrics if isinstance(metrics, list) else [metrics]))
    layers = list(walk(model))
    added = model.losses or any(getattr(each, "activity_regularizer", None) for each in layers)
    if not added and not config.get("loss_weights"):
        found["loss"] = _measure(config.get("loss"))[1]
    return Compiled(
        {name: measure for name, measure in found.items() if measure is not None},
        tuple(output or ()),
        any(
            isinstance(each, keras.layers.Masking) or getattr(each, "mask_zero", False) is True
            for each in layers
        ),
    )


def _measure(described: Any) -> tuple[str, Measure | None]:
    """Reads a loss or a metric as `get_compile_config` describes it: its name, and what it is."""
    config: dict[str, Any] = {}
    if isinstance(described, str):
        name = kind = described
    elif isinstance(described, dict) and _is_ours_or_keras(described):
        kind, config = described["class_name"], described["config"]
        name = str(config.get("name", kind))
    else:
        return "", None
    kind = re.sub("(?<=[a-z])(?=[A-Z])", "_", kind).lower()
    kind = _ALIASES.get(kind, kind)
    if kind not in _KNOWN or any(config.get(key, same) != same for key, same in _USUAL.items()):
        return name, None
    if kind == "huber" and config and "delta" not in config:
        return name, None  # Keras 3.15 does not write it down.
    bound = config.get("threshold", config.get("delta"))
    return name, Measure(kind, config.get("ignore_class"), bound)


def _is_ours_or_keras(described: dict[str, Any]) -> bool:
    keras_own = str(described.get("module")).startswith("keras.")
    keras_own = keras_own and described.get("registered_name") is None
    ours = described.get("registered_name") == "recdrop_tune>Perplexity"
    return (keras_own or ours) and isinstance(described.get("config"), dict)
