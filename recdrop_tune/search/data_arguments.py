"""The data of a search, in any of the usual forms: checked, and as arguments of `Model.fit`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property, partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import invalid_argument, warn_caller
from recdrop_tune.search.preparation import is_ragged, prepared
from recdrop_tune.search.settings import Task

_FORMS = "(x, y) or (x, y, sample_weight) arrays, a tf.data.Dataset or a keras.utils.PyDataset"


def data_of(given: Any) -> Any:
    """Returns data, or what a function that was given in their place makes."""
    # Not whatever can be called: models can.
    functions = (FunctionType, MethodType, BuiltinFunctionType, partial)
    return given() if isinstance(given, functions) else given


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
        made = {name: data_of(each) for name, each in given.items()}
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
        """Raises unless the data have one of the usual forms, and their inputs are finite.

        One NaN makes every trial fail, whatever it tries. Datasets are not read. A model of the caller's own
        may know what to do with NaN.

        Raises:
            InvalidArgumentError: They have another form, their parts another length, or inputs are not
                finite and the model is not the caller's own.
        """
        data = dict(zip(("train", "validation", "test"), self.made.values(), strict=True))
        for argument, value in data.items():
            if argument == "train" or value is not None:
                _check_form(argument, value)
        for argument, value in data.items():
            _check_finite(argument, value, own_model=self.task is None)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves behind what was made: another process makes its own."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _check_finite(argument: str, data: Any, own_model: bool) -> None:
    x = data[0] if isinstance(data, tuple | list) else None
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or np.isfinite(_total(x)):
        return
    places = np.argwhere(~np.isfinite(x))
    if not len(places):  # The sum alone was too large.
        return
    first = ", ".join(map(str, places[0]))
    error = invalid_argument(
        argument,
        expected="finite inputs",
        received=f"{len(places)} that are infinite or not a number, the first at x[{first}]",
        fix="Replace them, for example with `np.nan_to_num(x)`, or leave out the sequences that have "
        "some. A step that is missing is best padded and masked.",
    )
    if not own_model:
        raise error
    warn_caller(f"{error} With a model that does not mask them every trial fails.")


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
            fix="Every trial reads the data anew, so a generator cannot serve.",
        )


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
    lengths = {len(part) for part in parts if getattr(part, "shape", None)}
    if len(lengths) > 1 or 0 in lengths:
        raise invalid_argument(
            argument,
            expected="as many targets (and weights) as samples, at least one",
            received=_form(parts),
        )


def _is_dataset(data: Any) -> bool:
    # By their marks, so that neither TensorFlow nor torch is imported for the asking.
    return (
        isinstance(data, keras.utils.PyDataset)
        or hasattr(data, "element_spec")
        or type(data).__module__.startswith("torch.utils.data")
    )


def _form(data: Any) -> Any:
    """Describes data without printing them."""
    if not isinstance(data, tuple | list):
        return type(data).__name__
    return tuple(getattr(part, "shape", type(part).__name__) for part in data)
