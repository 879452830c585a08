"""The data of a search, in any of the usual forms: checked, and as arguments of `Model.fit`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from numbers import Number
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import InvalidArgumentError, invalid_argument, shown, warn_caller
from recdrop_tune.search.conversion import as_arrays
from recdrop_tune.search.preparation import is_ragged, prepared
from recdrop_tune.search.settings import Task

_FORMS = (
    "(x, y) or (x, y, sample_weight) arrays, a tf.data.Dataset, a keras.utils.PyDataset or a torch "
    "DataLoader"
)


def data_of(given: Any) -> Any:
    """Returns data, or what a function that was given in their place makes."""
    # Not whatever can be called: models can.
    functions = (FunctionType, MethodType, BuiltinFunctionType, partial)
    return given() if isinstance(given, functions) else given


def is_of_torch(data: Any, name: str) -> bool:
    """Says whether data are of a class of `torch.utils.data`, or of one of the user's derived from it."""
    return any(
        each.__name__ == name and each.__module__.startswith("torch.utils.data")
        for each in type(data).__mro__
    )


@dataclass(frozen=True)
class Data:
    """The data of a search as the caller gives them: data, or functions that make them.

    Data are `(x, y)` or `(x, y, sample_weight)` arrays, a `tf.data.Dataset`, a `keras.utils.PyDataset` or a
    torch `DataLoader`.

    Attributes:
        train: The training data.
        validation: The validation data, or `None`.
        test: The data that the confirmation looks at, or `None`.
        task: What they are about, where they choose the model; else `None`.
    """

    train: Any
    validation: Any = None
    test: Any = None
    task: Task | None = None

    @property
    def made(self) -> dict[str, Any]:
        """The data themselves, by what they are for, as the model takes them."""
        return self._prepared[0]

    @property
    def prepared_task(self) -> Task | None:
        """The task, with the value that sequences of unequal lengths were padded with."""
        return self._prepared[1]

    @cached_property
    def _prepared(self) -> tuple[dict[str, Any], Task | None]:
        """Makes the data, once in each process."""
        given = {"training": self.train, "validation": self.validation, "test": self.test}
        own_model = self.task is None
        made = {name: as_arrays(data_of(each), own_model) for name, each in given.items()}
        return (made, None) if self.task is None else prepared(made, self.task)

    def fit_arguments(self, batch_size: int) -> dict[str, Any]:
        """Returns the arguments of `Model.fit` that hand it the data. Datasets make their own batches."""
        train, validation, _ = self.made.values()
        if isinstance(train, tuple | list):
            arguments = dict(zip(("x", "y", "sample_weight"), train, strict=False))
            arguments["batch_size"] = batch_size
        else:
            arguments = {"x": train}
            if not isinstance(train, keras.utils.PyDataset):
                # Keras shuffles the batches of a `PyDataset` only; of others it warns that it cannot.
                arguments["shuffle"] = False
        if isinstance(validation, tuple | list):
            arguments |= {"validation_data": tuple(validation), "validation_batch_size": batch_size}
        elif validation is not None:
            arguments["validation_data"] = validation
        return arguments

    def check(self) -> None:
        """Raises unless the data have one of the usual forms, and are numbers, inputs finite ones.

        One NaN makes every trial fail, whatever it tries. Datasets are not read. A model of the caller's own
        may know what to do with NaN, and take text as input.

        Raises:
            InvalidArgumentError: They have another form, their parts another length, or they are no numbers,
                or not finite and the model is not the caller's own.
        """
        data = dict(zip(("train", "validation", "test"), self.made.values(), strict=True))
        for argument, value in data.items():
            if argument == "train" or value is not None:
                _check_form(argument, value)
        for argument, value in data.items():
            if isinstance(value, tuple | list):
                _check_numbers(argument, value, own_model=self.task is None)
                _check_finite(argument, value, own_model=self.task is None)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves behind what was made: another process makes its own."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _check_numbers(argument: str, data: Any, own_model: bool) -> None:
    """Raises for what is neither a number nor text that a model of the caller's may read."""
    for name, array in _arrays("x", data[0]):
        odd = _odd(array, text_too=not own_model)
        if odd is not None:
            fix = "Leave out what is no number, or write it as numbers."
            raise _no_numbers(argument, name, array, odd, fix)
    # Of a task, its hypermodel looks at y.
    for name, array in _arrays("y", data[1]) if own_model else ():
        odd = _odd(array, text_too=True)
        if odd is not None:
            fix = (
                "Number the classes with `np.unique(y, return_inverse=True)[1]`, those of the training and "
                "the validation data in one go."
            )
            raise _no_numbers(argument, name, array, odd, fix)


def _odd(array: Any, text_too: bool) -> str | None:
    """Returns one of the values that are no numbers, if there are any.

    Args:
        array: The array.
        text_too: Whether it is an error if all of them are text.
    """
    if array.dtype.kind not in "OSUTmM" or not array.size:
        return None
    others = [each for each in array.flat if not isinstance(each, Number)]
    all_text = len(others) == array.size and all(isinstance(each, str | bytes) for each in others)
    return None if not others or (all_text and not text_too) else str(others[0])


def _no_numbers(argument: str, name: str, array: Any, odd: str, fix: str) -> InvalidArgumentError:
    expected, received = f"numbers in {name}", f"{array.dtype}, such as {shown(odd)}"
    return invalid_argument(argument, expected=expected, received=received, fix=fix)


def _check_finite(argument: str, data: Any, own_model: bool) -> None:
    """Raises for NaN and infinity; warns where a model of the caller's may know what to do with them."""
    # Of a task, the hypermodel looks at y.
    targets = _arrays("y", data[1]) if own_model else ()
    for name, array in [*_arrays("x", data[0]), *targets]:
        if array.dtype.kind != "f" or np.isfinite(_total(array)):
            continue
        places = np.argwhere(~np.isfinite(array))
        if not len(places):  # The sum alone was too large.
            continue
        first = ", ".join(map(str, places[0]))
        of_targets = name.startswith("y")
        error = invalid_argument(
            argument,
            expected="finite targets" if of_targets else "finite inputs",
            received=f"{len(places)} that are infinite or not a number, the first at {name}[{first}]",
            fix="Leave out those sequences, or fill them in."
            if of_targets
            else "Replace them, for example with `np.nan_to_num(x)`, or leave out the sequences that have "
            "some. A step that is missing is best padded and masked.",
        )
        if not own_model:
            raise error
        who = "loss that does not leave them out" if of_targets else "model that does not mask them"
        warn_caller(f"{error} With a {who} every trial fails.")


def _arrays(name: str, part: Any) -> Iterator[tuple[str, Any]]:
    """Yields the arrays of x or y with what they are called: those of several inputs have a key."""
    if isinstance(part, np.ndarray):
        yield name, part
    elif isinstance(part, Mapping):
        for key, each in part.items():
            yield from _arrays(f"{name}[{key!r}]", each)
    elif isinstance(part, list | tuple):
        for key, each in enumerate(part):
            yield from _arrays(f"{name}[{key}]", each)


def _total(x: Any) -> Any:
    # One number, where `np.isfinite(x)` would take a quarter of the memory of the data.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sum(x, dtype=np.float64)


def _check_form(argument: str, data: Any) -> None:
    if isinstance(data, tuple | list):
        if len(data) not in (2, 3) or any(part is None for part in data[:2]):
            raise invalid_argument(argument, expected=_FORMS, received=_form(data))
        _check_lengths(argument, data)
    elif not _is_dataset(data):
        raise invalid_argument(
            argument,
            expected=_FORMS,
            received=_form(data),
            fix=_remedy(argument, data),
        )


def _remedy(argument: str, data: Any) -> str:
    """Says what to give in the place of something that is no data."""
    if isinstance(data, keras.Model):
        return "The model comes third: `tune((x, y), (x_val, y_val), model)`."
    if isinstance(data, float):
        return (
            "A share of the training data: `training=rdt.Training(fit={'validation_split': 0.2})`."
        )
    if isinstance(data, Iterator):
        return "Every trial reads the data anew, so a generator cannot serve."
    if is_of_torch(data, "Dataset"):
        return "Make batches of it: `torch.utils.data.DataLoader(dataset, batch_size=32)`."
    other = "" if argument != "train" else " and `(x_val, y_val)`"
    return f"x and y go in together, as one argument: `(x, y)`{other}."


def _check_lengths(argument: str, parts: Any) -> None:
    if is_ragged(parts) and len({len(each) for each in parts[0]}) > 1:
        raise invalid_argument(
            argument,
            expected="one array x, or one for each input of your model",
            received=f"a list of {len(parts[0])} arrays of unequal lengths",
            fix="Pad them, `keras.utils.pad_sequences(x, dtype='float32', padding='post')`, and mask them in "
            "the model with `keras.layers.Masking`.",
        )
    if any(
        isinstance(part, list) and not hasattr(next(iter(part), None), "shape") for part in parts
    ):
        raise invalid_argument(
            argument,
            expected=_FORMS,
            received=_form(parts),
            fix="Make arrays of Python lists with `np.asarray(...)`.",
        )
    # Several inputs and outputs too.
    lengths = {len(part) for part in keras.tree.flatten(parts) if getattr(part, "shape", None)}
    if len(lengths) > 1 or 0 in lengths:
        listed = is_ragged(parts) and len(parts[0]) in lengths
        raise invalid_argument(
            argument,
            expected="as many targets (and weights) as samples, at least one",
            received=_form(parts),
            fix="A list is one array for each input of your model. Of one for each sample make an array: "
            "`np.stack(x)`."
            if listed
            else "",
        )


def _is_dataset(data: Any) -> bool:
    # By their marks, so that neither TensorFlow nor torch is imported for the asking.
    return (
        isinstance(data, keras.utils.PyDataset)
        or hasattr(data, "element_spec")
        or is_of_torch(data, "DataLoader")
    )


def _form(data: Any) -> Any:
    """Describes data without printing them."""
    if not isinstance(data, tuple | list):
        return type(data).__name__
    return tuple(_shape(part) for part in data)


def _shape(part: Any) -> Any:
    """Returns the shape of an array, and of several inputs those of each."""
    if isinstance(part, Mapping):
        return {name: _shape(each) for name, each in part.items()}
    if isinstance(part, list | tuple) and part and hasattr(part[0], "shape"):
        return [_shape(each) for each in part]
    return getattr(part, "shape", type(part).__name__)
