"""`fit`: Keras's `Model.fit`, which spends less time beside the steps.

The batches and their numbers are Keras's own. On TensorFlow what is saved is more than half of a small
model's epoch.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import keras
import numpy as np

from recdrop_tune.kernels import loss_tracker
from recdrop_tune.models.learning import count_targets, spare_rates

MOST_BYTES = 2**30
"""Data of more bytes are left to Keras, for here they are in memory twice."""

_MOST_STEPS, _FEWEST_CALLS = 16, 4  # In one call; calls of an epoch.
_BATCH_SIZE = 32  # Keras's, where none is given.
_FEWEST_SAMPLES = 16  # Two orders of so many are not the same by chance.

_BATCH_METHODS = tuple(
    f"on_{kind}batch_{end}" for kind in ("", "train_", "test_") for end in ("begin", "end")
)
_signature = inspect.signature(keras.Model.fit)


def fit(model: Any, *args: Any, **kwargs: Any) -> Any:
    """Fits a model as `model.fit` does, with the same numbers, in less time.

    - On TensorFlow Keras makes a new pipeline of arrays for each epoch, with threads that cost more than a
      small model's steps. Here the batches are cut once, in the order that Keras would take them. Under a
      seed (`keras.utils.set_random_seed`) that is the same one in each epoch; without one nothing is cut, for
      then each epoch has its own.
    - On TensorFlow and JAX one call runs up to 16 batches (`steps_per_execution`), at least four calls an
      epoch, where nothing follows them: no callback with a method for batches, no progress bar. When an
      `on_epoch_begin` or `on_epoch_end` of a callback is called, and afterwards, the model is as it was
      compiled. A model that was compiled with `steps_per_execution` keeps its own. What stops a training in
      the middle of an epoch (`model.stop_training`) stops it after a call.

    Where the model has a `ConcreteDropoutWrapper` without `samples`, it is told how many targets the arrays
    have, if that is sure: of a functional or `Sequential` model with one output, without `sample_weight`.
    Steps that are masked there do not count, if the model has one input and no model inside. Its rates are
    left out of an optimizer's weight decay.

    Data that are no arrays, or more than 1 GiB, weights of classes, a `validation_split`, a number of steps,
    and a model that fits in a way of its own are left to Keras, as is everything on PyTorch.

    Args:
        model: A compiled `keras.Model`.
        *args: Arguments of `Model.fit`.
        **kwargs: The same.

    Returns:
        What `Model.fit` returns.

    Example:
        >>> history = fit(model, x, y, epochs=3, validation_data=(x_val, y_val), verbose=0)
    """
    try:
        given = _signature.bind(model, *args, **kwargs).arguments
    except TypeError:
        return model.fit(*args, **kwargs)  # Keras says what is wrong.
    del given["self"]
    count_targets(model, given)
    spare_rates(model)
    backend = keras.backend.backend()
    if backend == "torch" or not _is_usual(model):
        return model.fit(*args, **kwargs)
    with _several_steps(model, given) as given:
        if backend == "tensorflow":
            given = _with_training_batches(_with_validation_batches(given))
        return model.fit(**given)


def _is_usual(model: Any) -> bool:
    """Says whether it is Keras that fits the model, compiled, on one device, with all its batches."""
    methods = ("fit", "evaluate", "make_train_function", "make_test_function")
    own = any(getattr(type(model), name) is not getattr(keras.Model, name) for name in methods)
    if own or not model.compiled or model.run_eagerly or keras.config.max_steps_per_epoch():
        return False
    if keras.backend.backend() != "tensorflow":
        return keras.distribution.distribution() is None
    distribute = import_module("tensorflow").distribute
    return not distribute.has_strategy() and model.distribute_strategy is distribute.get_strategy()


# Several steps in a call.


def follows_batches(callbacks: Any) -> bool:
    """Says whether a callback has a method for batches.

    One with an attribute `counts_steps` that is true copes with a call for several batches.

    Args:
        callbacks: Callbacks in any structure, as `Model.fit` takes them.
    """
    return any(
        getattr(getattr(callback, name), "__func__", None)
        is not getattr(keras.callbacks.Callback, name)
        for callback in keras.tree.flatten(callbacks or [])
        if not getattr(callback, "counts_steps", False)
        for name in _BATCH_METHODS
    )


@contextlib.contextmanager
def _several_steps(model: Any, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the arguments of a `fit` that runs several steps in a call, where it can.

    Args:
        model: The model.
        given: The arguments of its `fit` by name.
    """
    callbacks, steps = given.get("callbacks"), _number_of_batches(given) // _FEWEST_CALLS
    listed = not isinstance(callbacks, keras.callbacks.CallbackList)
    shown = given.get("verbose", "auto") in ("auto", 1)
    if steps < 2 or model.steps_per_execution != 1 or shown or not listed:
        yield given
        return
    if follows_batches(callbacks) or _trains_in_its_own_way(model):
        yield given
        return
    calls = getattr(model, _ATTRIBUTE, None)
    if calls is None:
        calls = _Calls(model, min(_MOST_STEPS, steps))
        setattr(model, _ATTRIBUTE, calls)
    every = [_AsCompiled(calls, first=True), *keras.tree.flatten(callbacks or [])]
    try:
        calls.enter(model)
        yield {**given, "callbacks": [*every, _AsCompiled(calls, first=False)]}
    finally:
        calls.leave(model)


def _trains_in_its_own_way(model: Any) -> bool:
    """Says whether the function that trains the model was put there by its user."""
    module = getattr(model.train_function, "__module__", None) or ""
    return model.train_function is not None and not module.startswith("keras.")


_ATTRIBUTE = "_recdrop_tune_calls"
"""Of a model, for its functions belong to it: kept elsewhere they would keep it in memory."""


class _Calls:
    """The functions of a model that run several steps, and those that it has been compiled with.

    They are kept from one `fit` to the next, with the number of steps that they were made for: the results
    do not depend on it, and others would be traced anew. A model that is compiled anew gets new ones.

    Args:
        model: The model.
        steps: Steps in a call.
    """

    def __init__(self, model: Any, steps: int) -> None:
        self._several: tuple[Any, ...] = (steps, None, None, None)
        self._one: tuple[Any, ...] | None = None  # What the model had, while it has several.
        self._compiled = _compiled(model)

    def enter(self, model: Any, between_epochs: bool = False) -> None:
        """Has the model run several steps in a call.

        Args:
            model: The model.
            between_epochs: Whether a training is under way.
        """
        if self._one is not None:
            return
        now, then = _compiled(model), self._compiled
        # Keras makes the function at the beginning of a training: then a first one says nothing.
        same = now[-1] is then[-1] or (then[-1] is None and not between_epochs)
        is_new = not same or any(a is not b for a, b in zip(now[:-1], then[:-1], strict=True))
        self._compiled, self._one = now, _functions(model)
        if is_new:
            self._several = (self._several[0], None, None, None)
        _set_functions(model, self._several)
        if is_new and between_epochs and now[-1] is not None:
            model.make_train_function()

    def leave(self, model: Any) -> None:
        """Has the model run what it was compiled for."""
        if self._one is not None:
            self._several = _functions(model)
            _set_functions(model, self._one)
            self._one = None


class _AsCompiled(keras.callbacks.Callback):
    """Shows the other callbacks of a `fit` the model as it was compiled, between its epochs.

    Args:
        calls: The functions that run several steps.
        first: Whether it is the first of the callbacks, which leaves these functions, or the last one, which
            enters them.
    """

    def __init__(self, calls: _Calls, first: bool) -> None:
        super().__init__()
        self._calls = calls
        self._first = first

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Leaves before the other callbacks, and enters after them."""
        if self._first:
            self._calls.leave(self.model)
        else:
            self._calls.enter(self.model, between_epochs=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Leaves before the other callbacks."""
        if self._first:
            self._calls.leave(self.model)


_NAMES = ("steps_per_execution", "train_function", "test_function", "predict_function")


def _functions(model: Any) -> tuple[Any, ...]:
    return tuple(getattr(model, name) for name in _NAMES)


def _set_functions(model: Any, functions: tuple[Any, ...]) -> None:
    for name, value in zip(_NAMES, functions, strict=True):
        setattr(model, name, value)


def _compiled(model: Any) -> list[Any]:
    """Lists what `compile` and `make_train_function(force=True)` set: other objects each time."""
    return [model.optimizer, loss_tracker(model), model.train_function]


def _number_of_batches(given: Mapping[str, Any]) -> int:
    """Returns how many batches an epoch has; 0 where that is not known."""
    x = given.get("x")
    if given.get("steps_per_epoch") is not None or given.get("validation_steps") is not None:
        return 0  # The last call of an epoch would run too many of them.
    on_tensorflow = keras.backend.backend() == "tensorflow"
    if on_tensorflow and isinstance(x, import_module("tensorflow").data.Dataset):
        return max(0, int(x.cardinality()))
    samples = _samples(_packed(given))
    samples = math.floor(samples * (1.0 - (given.get("validation_split") or 0.0)))
    return math.ceil(samples / (given.get("batch_size") or _BATCH_SIZE))


# The batches, for TensorFlow.


def _with_training_batches(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `fit` with the batches to train on in the place of their arrays."""
    left = ("class_weight", "validation_split", "steps_per_epoch")
    shuffle, packed = given.get("shuffle", True), _packed(given)
    samples = _samples(packed)
    if not samples or not isinstance(shuffle, bool):
        return given
    if any(given.get(name) is not None and given[name] != 0.0 for name in left):
        return given
    order = _order(samples) if shuffle else slice(None)
    if order is None:
        return given
    # Keras takes the size of a batch for the validation too.
    others = {
        name: value for name, value in given.items() if name not in ("x", "y", "sample_weight")
    }
    size = given.get("batch_size") or _BATCH_SIZE
    return {**others, "x": _batches(packed, order, size), "shuffle": False}


def _with_validation_batches(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `fit` with the batches to validate on in the place of their arrays."""
    validation = given.get("validation_data")
    if not isinstance(validation, tuple) or not 1 < len(validation) < 4:
        return given
    packed = _packed(dict(zip(("x", "y", "sample_weight"), validation, strict=False)))
    if not _samples(packed) or given.get("validation_steps") is not None:
        return given
    size = given.get("validation_batch_size") or given.get("batch_size") or _BATCH_SIZE
    return {**given, "validation_data": _batches(packed, slice(None), size)}


def _packed(given: Mapping[str, Any]) -> Any:
    """Returns the data of a `fit` as Keras packs them; `None` for what it checks or repeats."""
    x, y, weights = (given.get(name) for name in ("x", "y", "sample_weight"))
    if weights is not None and (keras.tree.is_nested(y) or keras.tree.is_nested(weights)):
        return None
    return keras.utils.pack_x_y_sample_weight(x, y, weights)


def _samples(packed: Any) -> int:
    """Returns how many samples there are; 0 for what is not arrays of numbers of one length, or too large."""
    arrays = keras.tree.flatten(packed)
    if not arrays or not all(map(_is_usual_array, arrays)):
        return 0
    if sum(each.nbytes for each in arrays) > MOST_BYTES:
        return 0
    lengths = {len(each) for each in arrays}
    return lengths.pop() if len(lengths) == 1 else 0


def _is_usual_array(array: Any) -> bool:
    # Not of a subclass: a `np.matrix` stays one when it is cut.
    known = type(array) in (np.ndarray, np.memmap)
    return known and array.dtype.kind in "fiub" and array.ndim > 0


def _order(samples: int) -> Any:
    """Returns the order that Keras takes the samples in; `None` where each epoch has another one.

    Keras shuffles inside of a dataset's `map`, whose random numbers begin anew with each epoch: TensorFlow
    derives them from the global seed, if there is one, and from the place of the operation in its graph. So
    the same graph is made here.
    """
    tf = import_module("tensorflow")
    if samples < _FEWEST_SAMPLES:
        return None

    def permutation(_: Any) -> Any:
        return tf.random.shuffle(tf.range(samples, dtype=tf.int64))

    dataset = tf.data.Dataset.range(1).map(permutation)
    first, second = (next(iter(dataset)).numpy() for _ in range(2))
    return first if np.array_equal(first, second) else None


def _batches(packed: Any, order: Any, size: int) -> Any:
    """Cuts arrays into batches.

    Args:
        packed: The arrays, each of shape `(samples, ...)`.
        order: Indices of the samples, or a slice.
        size: Samples of a batch.

    Returns:
        A `tf.data.Dataset` of batches, whose number is known. The size of a batch is a part of their shape
        where all are full, as in Keras's.
    """
    tf = import_module("tensorflow")
    samples = _samples(packed)
    whole = samples // size
    arrays = keras.tree.map_structure(_in_floatx, keras.tree.lists_to_tuples(packed))
    arrays = keras.tree.map_structure(lambda array: array[order], arrays)

    def full(array: Any) -> Any:
        return array[: whole * size].reshape((whole, size, *array.shape[1:]))

    dataset = tf.data.Dataset.from_tensor_slices(keras.tree.map_structure(full, arrays))
    if samples % size:
        last = keras.tree.map_structure(lambda array: array[whole * size :], arrays)
        dataset = dataset.concatenate(tf.data.Dataset.from_tensors(last))
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False  # They copy the arrays.
    return dataset.with_options(options)


def _in_floatx(array: Any) -> Any:
    """Returns an array in the type in which Keras hands it to a model."""
    floatx = keras.config.floatx()
    return array.astype(floatx) if array.dtype.kind == "f" and array.dtype != floatx else array
