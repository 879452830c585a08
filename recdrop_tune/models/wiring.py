"""How the layers of a functional model are connected, as its configuration has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import keras

from recdrop_tune.kernels import KERAS_HANDS_ON_MASKS, mask_of
from recdrop_tune.models.source import not_writable


@dataclass(frozen=True)
class Node:
    """One call of a layer or an operation: its arguments, as a functional model's configuration has them."""

    layer: str
    index: int
    args: Any
    kwargs: Any

    @property
    def key(self) -> tuple[str, int]:
        """What tells this call from others."""
        return self.layer, self.index


def is_place(value: Any) -> bool:
    """Says whether this names a tensor: `[layer, number of its call, number of its output]`."""
    return isinstance(value, list | tuple) and [type(part) for part in value] == [str, int, int]


def without_implied_masks(entries: Mapping[str, Any], operations: Any) -> dict[str, Any]:
    """Leaves out the masks that Keras hands on by itself, and writes down as if they had been arguments."""

    def is_implied(name: str, node: Any) -> bool:
        mask = node["kwargs"].get("mask")
        if not KERAS_HANDS_ON_MASKS:
            return False
        if not tensors_of(mask) or not isinstance(mask, Mapping):
            return False
        try:
            inputs = keras.tree.flatten(operations[name].input)
            given = operations[tensors_of(mask)[0][0]].output
        except (AttributeError, ValueError):  # One of them is called several times.
            return False
        return any(mask_of(tensor) is given for tensor in inputs)

    def without(node: Any) -> Any:
        kept = {key: value for key, value in node["kwargs"].items() if key != "mask"}
        return {**node, "kwargs": kept}

    return {
        name: {
            **entry,
            "inbound_nodes": [
                without(node) if is_implied(name, node) else node for node in entry["inbound_nodes"]
            ],
        }
        for name, entry in entries.items()
    }


def used_calls(nodes: list[Node], outputs: Any) -> list[Node]:
    """Returns the calls on which an output hangs."""
    wanted, kept = {place[:2] for place in _places_in(outputs)}, list[Node]()
    for node in reversed(nodes):
        if node.key in wanted:
            kept.append(node)
            wanted |= {place[:2] for place in tensors_of(node)}
    return kept[::-1]


def in_order(entries: Mapping[str, Any], known: set[tuple[str, int, int]]) -> Iterator[Node]:
    """Yields the calls of a functional model, each after those that it takes tensors of."""
    waiting = [
        Node(name, index, node["args"], node["kwargs"])
        for name, entry in entries.items()
        for index, node in enumerate(entry["inbound_nodes"])
    ]
    done = {place[:2] for place in known}
    while waiting:
        ready = [node for node in waiting if all(place[:2] in done for place in tensors_of(node))]
        if not ready:
            raise not_writable("this model", "its layers are not connected")
        yield ready[0]
        done.add(ready[0].key)
        waiting.remove(ready[0])


def tensors_of(value: Any) -> list[tuple[str, int, int]]:
    """Lists the tensors that a call takes."""
    if isinstance(value, Node):
        return [*tensors_of(value.args), *tensors_of(value.kwargs)]
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            return [tuple(value["config"]["keras_history"])]
        return [each for part in value.values() for each in tensors_of(part)]
    if isinstance(value, list | tuple):
        return [each for part in value for each in tensors_of(part)]
    return []


def chained_calls(nodes: list[Node], outputs: Any) -> set[tuple[str, int]]:
    """Returns the calls whose result the next call alone takes: they need no name of their own."""
    used = Counter(place[:2] for node in nodes for place in set(tensors_of(node)))
    kept = {place[:2] for place in _places_in(outputs)}
    return {
        one.key
        for one, following in pairwise(nodes)
        if used[one.key] == 1
        and one.key not in kept
        and one.key in {place[:2] for place in tensors_of(following)}
    }


def _places_in(value: Any) -> list[Any]:
    if is_place(value):
        return [tuple(value)]
    parts = value.values() if isinstance(value, Mapping) else value
    return [each for part in parts for each in _places_in(part)]
