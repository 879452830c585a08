"""Describes data for MLflow, without MLflow: names, digests and shapes, but not the data themselves."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

Arrays = dict[str | None, np.ndarray[Any, Any]]

# Values of each array in its digest: a search must not wait for gigabytes to be read.
_VALUES = 100_000

_FLEXIBLE = {"U": "str", "S": "bytes"}
"""MLflow's names of types whose own have a length."""


def describe_data(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describes data sets by purpose as fields of MLflow's `Dataset`, at a cost that does not grow with them.

    The digest of arrays covers their shapes, types and an evenly spaced sample of their values. Other data
    are not read: their digest covers their class, shapes and number of batches.
    """
    # MLflow's only source without an address: the script that has the data.
    source = json.dumps({"tags": {"mlflow.source.name": sys.argv[0]}})
    return [
        {"context": name, "name": name, "source_type": "code", "source": source, **_describe(one)}
        for name, one in data.items()
        if one is not None
    ]


def tensor_specs(tensors: Iterable[tuple[str | None, np.dtype[Any], Iterable[int]]]) -> str:
    """Writes names, types and shapes as MLflow's `Schema` does; -1 is an open size."""
    specs = [
        ({} if name is None else {"name": name})
        | {
            "type": "tensor",
            "tensor-spec": {"dtype": _FLEXIBLE.get(dtype.char, dtype.name), "shape": list(shape)},
        }
        for name, dtype, shape in tensors
    ]
    return json.dumps(specs)


def _describe(data: Any) -> dict[str, Any]:
    kind, batches = f"{type(data).__module__}.{type(data).__qualname__}", None
    with suppress(Exception):  # A search does not fail for a description.
        if isinstance(data, tuple | list):
            parts = {"features": _arrays(data[0]), "targets": _arrays(data[1])}
            profile: dict[str, Any] = {}
            for name, part in parts.items():
                for fact in ("shape", "size", "nbytes"):
                    each = {key: getattr(array, fact) for key, array in part.items()}
                    profile[f"{name}_{fact}"] = each.get(None, each)
            digest = _digest(step for part in parts.values() for step in _sample(part))
            return {"digest": digest, "schema": _schema(parts), "profile": json.dumps(profile)}
        batches = len(data)
    # A `tf.data.Dataset` has its shapes and types here.
    facts = {"kind": kind, "batches": batches, "elements": str(getattr(data, "element_spec", ""))}
    return {"digest": _digest(facts.values()), "schema": None, "profile": json.dumps(facts)}


def _arrays(part: Any) -> Arrays:
    """Returns the arrays of features or targets by name; a single one has none."""
    if not isinstance(part, dict | tuple | list):
        return {None: np.asarray(part)}
    named = part.items() if isinstance(part, dict) else enumerate(part)
    return {str(name): np.asarray(value) for name, value in named}


def _schema(parts: Mapping[str, Arrays]) -> str | None:
    """Returns types and shapes with an open number of samples; `None` if an array has no samples."""
    if any(array.ndim == 0 for part in parts.values() for array in part.values()):
        return None
    specs = {
        name: tensor_specs((key, each.dtype, (-1, *each.shape[1:])) for key, each in part.items())
        for name, part in parts.items()
    }
    return json.dumps({"mlflow_tensorspec": specs})


def _sample(part: Arrays) -> Iterable[Any]:
    for _, array in sorted(part.items(), key=lambda item: str(item[0])):
        yield f"{array.dtype} {array.shape}"
        positions = np.linspace(0, array.size - 1, min(array.size, _VALUES)).astype(int)
        values = array.flat[positions]  # Copies these values only.
        is_object = array.dtype.hasobject
        yield repr(values.tolist()) if is_object else np.ascontiguousarray(values).tobytes()


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
    return digest.hexdigest()[:12]
