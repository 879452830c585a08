"""Describes the data of a search for MLflow: which, how much, of what shape; never the data themselves."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import mlflow.data
import numpy as np
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.schema import TensorDatasetSchema
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.types import Schema, TensorSpec

# Values of each array that its digest is made of: a search must not wait for gigabytes to be read.
_VALUES = 100_000


def describe_data(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describes data sets as plain data, at a cost that does not grow with them.

    The digest of arrays is one of their shapes, types and a sample of their values, spread evenly; that
    of other data is one of their kind, shapes and number of batches, for they are not read.

    Args:
        data: `(x, y)` arrays, a `tf.data.Dataset`, or anything else, by what it is for; `None` is left out.

    Returns:
        For each: `context`, and `name`, `digest`, `source_type`, `source`, `schema` and `profile` of
        MLflow's `Dataset`.

    Example:
        >>> [train] = describe_data({"training": (np.zeros((10, 5, 3)), np.zeros(10))})
        >>> train["context"], train["profile"]
        ('training', '{"features_shape": [10, 5, 3], ...')
    """
    return [
        {"context": name, **_describe(name, one)} for name, one in data.items() if one is not None
    ]


def dataset_inputs(data: Iterable[Mapping[str, Any]]) -> list[DatasetInput]:
    """Turns descriptions into what `MlflowClient.log_inputs` takes.

    Args:
        data: As `describe_data` returned them.
    """
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    return [
        DatasetInput(
            Dataset(**{name: one.get(name) for name in names}),
            [InputTag("mlflow.data.context", str(one["context"]))],
        )
        for one in data
    ]


def _describe(name: str, data: Any) -> dict[str, Any]:
    try:
        if isinstance(data, tuple | list):
            return _arrays(name, data)
        return _stream(name, data)
    except Exception:  # Whatever people train on: a search does not fail for a remark on it.
        kind = _kind(data)
        return _entity(name, _digest([kind]), None, {"kind": kind})


def _arrays(name: str, data: Any) -> dict[str, Any]:
    features, targets = (_as_numpy(part) for part in data[:2])
    parts = keras.tree.flatten([features, targets])
    described = mlflow.data.from_numpy(
        features,
        targets=targets,
        source=_source(),
        name=name,
        digest=_digest(step for part in parts for step in _sample(part)),
    )
    return dict(described.to_dict())


def _as_numpy(part: Any) -> Any:
    """Returns an array, or a dict of arrays where there are several."""
    if not isinstance(part, dict | tuple | list):
        return np.asarray(part)
    if isinstance(part, dict):
        return {str(key): np.asarray(value) for key, value in part.items()}
    return {str(number): np.asarray(value) for number, value in enumerate(part)}


def _sample(array: Any) -> Iterable[Any]:
    """Yields what a digest of an array is made of."""
    yield f"{array.dtype} {array.shape}"
    # Samples first, then values: flattening the whole array could copy it.
    taken = array[:: max(1, array.size // _VALUES)].ravel() if array.ndim else array.ravel()
    taken = taken[:: max(1, taken.size // _VALUES)]
    yield repr(taken.tolist()) if array.dtype.hasobject else np.ascontiguousarray(taken).tobytes()


def _stream(name: str, data: Any) -> dict[str, Any]:
    """Describes a data set that is read batch by batch, without reading it."""
    kind, batches = _kind(data), _batches(data)
    spec = getattr(data, "element_spec", None)
    schema = None
    if isinstance(spec, tuple | list) and len(spec) >= 2:
        made = TensorDatasetSchema(*(_schema(part) for part in spec[:2])).to_dict()
        schema = json.dumps(made)
    profile = {"kind": kind, "batches": batches}
    return _entity(name, _digest([kind, schema, batches]), schema, profile)


def _batches(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:  # Of unknown or infinite length.
        return None


def _schema(spec: Any) -> Schema:
    parts = [(None, each) for each in keras.tree.flatten(spec)]
    named: list[tuple[Any, Any]] = list(spec.items()) if isinstance(spec, dict) else parts
    several = len(named) > 1
    return Schema(
        [
            TensorSpec(
                np.dtype(each.dtype.as_numpy_dtype),
                tuple(-1 if size is None else size for size in each.shape),
                name or (str(number) if several else None),
            )
            for number, (name, each) in enumerate(named)
        ]
    )


def _entity(name: str, digest: str, schema: str | None, profile: Any) -> dict[str, Any]:
    source = _source()
    return {
        "name": name,
        "digest": digest,
        "source_type": "code",
        "source": json.dumps(source.to_dict()),
        "schema": schema,
        "profile": json.dumps(profile),
    }


def _source() -> CodeDatasetSource:
    """Names the script that has the data: where else they come from nobody has said."""
    return CodeDatasetSource({"mlflow.source.name": sys.argv[0]})


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
    return digest.hexdigest()[:12]


def _kind(data: Any) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}"
