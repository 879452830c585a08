"""The data of a search: any usual form goes in, what `Model.fit` takes comes out."""

from __future__ import annotations

import inspect
from collections import UserList
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import invalid_argument
from recdrop_tune.hypermodels import has_steps
from recdrop_tune.search.references import call
from recdrop_tune.search.settings import Task, is_reference

Array = Any
"""A NumPy array."""

_FORMS = (
    "(x, y) or (x, y, sample_weight) arrays, a tf.data.Dataset, a keras.utils.PyDataset or a torch "
    "DataLoader"
)
_SEVERAL = "Several inputs or outputs are a tuple or a dict."


@dataclass(frozen=True)
class Data:
    """The data of a search as the user gives them to `tune`; each process loads them once."""

    train: Any
    validation: Any = None
    test: Any = None
    task: Task | None = None

    @property
    def parts(self) -> dict[str, Any]:
        """The data as a model takes them, by `"training"`, `"validation"` and `"test"`."""
        return self._loaded[0]

    @property
    def prepared_task(self) -> Task | None:
        """The task with the value of the padding, if there is any; None without a task."""
        return self._loaded[1]

    @property
    def padding(self) -> float | None:
        """The value that pads sequences; None if none are padded."""
        return self._loaded[2]

    @cached_property
    def _loaded(self) -> tuple[dict[str, Any], Task | None, float | None]:
        task, tokens = self.task, self.task is not None and self.task.name == "language_model"
        parts: dict[str, Any] = {"train": _as_arrays("train", make(self.train), tokens)}
        for name, given in (("validation", self.validation), ("test", self.test)):
            parts[name] = None if given is None else _as_arrays(name, make(given), tokens)
        inputs = [part[0] for part in parts.values() if isinstance(part, tuple)]
        ragged, value = [x for x in inputs if isinstance(x, _Ragged)], None
        if ragged:
            value = None if task is None else task.mask_value
            if value is None:
                dense = [x for x in inputs if getattr(x, "ndim", 0) == 3]
                value = 0.0 if tokens else _free_value([s for x in (*ragged, *dense) for s in x])
            train = parts["train"]
            has_step_targets = isinstance(train, tuple) and isinstance(train[1], _Ragged)
            parts = {name: _pad_part(name, part, value, tokens) for name, part in parts.items()}
            if task is not None:
                task = replace(task, mask_value=value)
                if has_step_targets and parts["train"][1].dtype.kind == "f":
                    # Numbers at each step are a regression.
                    if task.name == "forecast":
                        expected = "'regression', because there is a target for each step"
                        raise invalid_argument("model", expected=expected, received=task.name)
                    task = replace(task, name=task.name or "regression")
        if task is not None:
            parts = {name: _with_axes(part, task) for name, part in parts.items()}
        return {"training": parts.pop("train"), **parts}, task, value

    def fit_arguments(self, batch_size: int) -> dict[str, Any]:
        """Returns the arguments of `Model.fit` for the data. Datasets make their own batches."""
        train, validation = self.parts["training"], self.parts["validation"]
        arguments: dict[str, Any] = {"x": train}
        if isinstance(train, tuple):
            arguments = dict(zip(("x", "y", "sample_weight"), train, strict=False))
            arguments["batch_size"] = batch_size
        elif not isinstance(train, keras.utils.PyDataset):
            arguments["shuffle"] = False  # Keras warns that it cannot shuffle other datasets.
        if validation is not None:
            arguments["validation_data"] = validation
        if isinstance(validation, tuple) and not isinstance(train, tuple):
            arguments["validation_batch_size"] = batch_size
        return arguments

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what was loaded: another process loads its own."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class _Ragged(UserList[Array]):
    """Sequences of unequal lengths, each of shape `(time, features)`, or `(time,)` for tokens and targets.

    Not a `list`, which `keras.tree` would take for several inputs.
    """


def make(part: Any) -> Any:
    """Returns data, calling the function that makes them if one is given or named as `module:function`."""
    if is_reference(part):
        return call(part)
    # Models can be called too.
    return part() if inspect.isroutine(part) or isinstance(part, partial) else part


def _as_arrays(name: str, part: Any, tokens: bool) -> Any:
    """Returns arrays for frames, tensors and lists; datasets stay as they are."""
    if _is_dataset(part):
        return part
    _check_form(name, part)
    x, *others = (_as_sequences(name, value) for value in part if value is not None)
    x = _with_features(x, part[0], tokens)
    lengths = [
        # 0 for a single number.
        [len(each) if getattr(each, "ndim", 1) else 0 for each in keras.tree.flatten(part)]
        for part in (x, *others)
    ]
    every = {length for part in lengths for length in part}
    if len(every) != 1 or 0 in every:
        expected = "as many targets (and weights) as samples, at least one"
        words = ("x has {} samples", "y has {}", "sample_weight has {}")
        numbers = (" and ".join(map(str, part)) for part in lengths)
        found = ", ".join(map(str.format, words, numbers))
        raise invalid_argument(name, expected=expected, found=found, fix=_SEVERAL)
    steps = [[*map(len, each)] for each in (x, *others) if isinstance(each, _Ragged)]
    if steps and (not isinstance(x, _Ragged) or any(each != steps[0] for each in steps)):
        raise invalid_argument(
            name,
            expected="a target (and weight) for each step of x, if they come in lists of arrays",
            found="other lengths",
            fix="" if isinstance(x, _Ragged) else "Are x and y swapped?",
        )
    return (x, *others)


def _check_form(name: str, part: Any) -> None:
    """Raises for anything but `(x, y)` and `(x, y, sample_weight)`."""
    is_pair = isinstance(part, list | tuple) and len(part) in (2, 3)
    if is_pair and part[0] is not None and part[1] is not None:
        return
    fix = "Give x and y together, as a tuple: `(x, y)`."
    if isinstance(part, Iterator):
        fix = "Every trial reads the data again, and a generator can be read only once."
    received = [type(value).__name__ for value in part] if is_pair else type(part).__name__
    raise invalid_argument(name, expected=_FORMS, received=received, fix=fix)


def _is_dataset(part: Any) -> bool:
    """Returns whether data come in batches, without importing TensorFlow or torch."""
    is_loader = any(
        base.__name__ == "DataLoader" and base.__module__.startswith("torch.utils.data")
        for base in type(part).__mro__
    )
    return isinstance(part, keras.utils.PyDataset) or hasattr(part, "element_spec") or is_loader


def _is_list_of_arrays(part: Any) -> bool:
    return isinstance(part, list) and all(getattr(array, "ndim", 0) for array in part)


def _as_sequences(name: str, part: Any) -> Any:
    """Returns sequences of unequal lengths as such, and everything else as arrays."""
    if _is_list_of_arrays(part) and len({len(sequence) for sequence in part}) > 1:
        return _Ragged(np.asarray(sequence) for sequence in part)
    return _as_array(name, part)


def _with_features(x: Any, given: Any, tokens: bool) -> Any:
    """Adds the axis of features to sequences of one feature, which were given as a list."""
    if isinstance(x, _Ragged):
        return x if tokens else _Ragged(each if each.ndim > 1 else each[:, None] for each in x)
    is_list = _is_list_of_arrays(given) and x.ndim == 2 and x.dtype.kind == "f"
    return x[..., None] if is_list else x


def _as_array(name: str, part: Any) -> Any:
    """Returns an array, or several in the same mapping or tuple."""
    if isinstance(part, Mapping):
        return {key: _as_array(name, value) for key, value in part.items()}
    if isinstance(part, tuple):
        return tuple(_as_array(name, value) for value in part)
    if type(part).__module__.startswith("torch"):
        part = part.detach().cpu()  # It may have a gradient or be on a GPU.
    try:
        array = np.asarray(part)
        numbers = np.array(array.tolist()) if array.dtype == object else array
    except ValueError:
        expected = (
            "arrays, or for x, y and weights with sequences of different lengths a list of arrays"
        )
        received = [np.shape(array) for array in part] if _is_list_of_arrays(part) else part
        raise invalid_argument(name, expected=expected, received=received, fix=_SEVERAL) from None
    if array.dtype != object or numbers.dtype.kind in "biuf":
        return numbers
    with suppress(TypeError, ValueError):
        if numbers.dtype == object:  # `None` becomes NaN, and text stays text.
            return array.astype("float64")
    # Keras takes a tensor of text, but no array of text.
    return part if hasattr(part, "shape") and not hasattr(part, "to_numpy") else array


def _free_value(sequences: list[Array]) -> float:
    """Returns a value that fills no step: 0 if possible, or one below all values, in float32 too."""
    if not any((sequence == 0).all(axis=-1).any() for sequence in sequences):
        return 0.0
    least = np.float32(min(np.nanmin(sequence) for sequence in sequences))
    return float(np.floor(np.nextafter(least, np.float32(-np.inf))))


def _pad_part(name: str, part: Any, value: float, tokens: bool) -> Any:
    """Pads sequences, and the targets and weights of their steps. Token 0 is padding."""
    if not isinstance(part, tuple) or not isinstance(part[0], _Ragged):
        return part
    x, *others = part
    if tokens and any((sequence == 0).any() for sequence in (*x, *others[0])):
        raise invalid_argument(
            name,
            expected="tokens from 1 in sequences of unequal lengths, which are padded with token 0",
            found="token 0 in a sequence",
            fix="Add 1 to all tokens.",
        )
    padded = []
    for target in others:
        if isinstance(target, _Ragged):
            # A label that exists does not add a class; the mask leaves it out.
            is_label = target[0].dtype.kind in "biu" and not tokens
            least = min(sequence.min() for sequence in target) if is_label else 0
            target = _pad(target, least, target[0].dtype)
        padded.append(target)
    # Models compute in float32, and integers may not hold the value.
    return (_pad(x, value, x[0].dtype if x[0].ndim == 1 else "float32"), *padded)


def _pad(arrays: _Ragged, value: float, dtype: Any) -> Array:
    return keras.utils.pad_sequences(arrays, dtype=str(dtype), padding="post", value=value)


def _with_axes(part: Any, task: Task) -> Any:
    """Adds the last axis to targets where Keras needs it."""
    if not isinstance(part, tuple) or not isinstance(part[1], np.ndarray):
        return part
    x, y, *weight = part
    # Without it, Keras applies no mask to the errors of steps, and its F1 refuses labels.
    of_steps = task.name == "regression" and y.ndim == 2 and has_steps(x, y)
    return (x, y[..., None], *weight) if of_steps or (y.ndim == 1 and _has_f1(task)) else part


def _has_f1(task: Task) -> bool:
    return any(
        each.replace("_", "").lower() in ("f1score", "fbetascore")
        if isinstance(each, str)
        else isinstance(each, keras.metrics.FBetaScore)
        for each in task.metrics
    )
