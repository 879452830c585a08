"""Describes the data of a search for MLflow: names, digests and shapes, but not the data themselves."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import keras
import mlflow.data
import numpy as np
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.entities import Dataset, DatasetInput, InputTag

# Values of each array in its digest: a search must not wait for gigabytes to be read.
_VALUES = 100_000


def describe_data(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describes data sets by purpose as fields of MLflow's `Dataset`, at a cost that does not grow with them.

    The digest of arrays covers their shapes, types and an evenly spaced sample of their values. Other data
    are not read: their digest covers their class, shapes and number of batches.
    """
    # MLflow's only source without an address: the script that has the data.
    source = CodeDatasetSource({"mlflow.source.name": sys.argv[0]})
    parts = {name: one for name, one in data.items() if one is not None}
    return [{"context": name, **_describe(name, one, source)} for name, one in parts.items()]


def dataset_inputs(data: Iterable[Mapping[str, Any]]) -> list[DatasetInput]:
    """Converts the descriptions of `describe_data` to arguments of `MlflowClient.log_inputs`."""
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    return [
        DatasetInput(
            Dataset(**{name: one.get(name) for name in names}),
            [InputTag("mlflow.data.context", str(one["context"]))],
        )
        for one in data
    ]


def _describe(name: str, data: Any, source: CodeDatasetSource) -> dict[str, Any]:
    kind, batches = f"{type(data).__module__}.{type(data).__qualname__}", None
    with suppress(Exception):  # A search does not fail for a description.
        if isinstance(data, tuple | list):
            features, targets = (_as_numpy(part) for part in data[:2])
            parts = keras.tree.flatten([features, targets])
            digest = _digest(step for part in parts for step in _sample(part))
            about = {"targets": targets, "source": source, "name": name, "digest": digest}
            return dict(mlflow.data.from_numpy(features, **about).to_dict())
        batches = len(data)
    # A `tf.data.Dataset` has its shapes and types here.
    facts = {"kind": kind, "batches": batches, "elements": str(getattr(data, "element_spec", ""))}
    return {
        "name": name,
        "digest": _digest(facts.values()),
        "source_type": "code",
        "source": json.dumps(source.to_dict()),
        "schema": None,
        "profile": json.dumps(facts),
    }


def _as_numpy(part: Any) -> Any:
    """Returns an array, or a dict of several arrays."""
    if not isinstance(part, dict | tuple | list):
        return np.asarray(part)
    named = part.items() if isinstance(part, dict) else enumerate(part)
    return {str(name): np.asarray(value) for name, value in named}


def _sample(array: Any) -> Iterable[Any]:
    yield f"{array.dtype} {array.shape}"
    positions = np.linspace(0, array.size - 1, min(array.size, _VALUES)).astype(int)
    values = array.flat[positions]  # Copies these values only.
    yield repr(values.tolist()) if array.dtype.hasobject else np.ascontiguousarray(values).tobytes()


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
    return digest.hexdigest()[:12]
