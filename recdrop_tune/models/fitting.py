"""`fit`: Keras's `Model.fit` with less overhead, and an order of the samples for each epoch.

On TensorFlow, the overhead is more than half of a small model's epoch.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import keras

from recdrop_tune.models.rates import count_samples, spare_rates
from recdrop_tune.models.training_batches import (
    number_of_batches,
    with_held_out,
    with_training_batches,
    with_validation_batches,
)

_MOST_STEPS, _FEWEST_CALLS = 16, 4  # Steps in a call; calls in an epoch.
_BATCH_METHODS = tuple(
    f"on_{kind}batch_{end}" for kind in ("", "train_", "test_") for end in ("begin", "end")
)
_signature = inspect.signature(keras.Model.fit)


def fit(model: Any, *args: Any, **kwargs: Any) -> Any:
    """Fits a model as `model.fit` does, in less time, and with the same batches on all backends.

    - With a seed (`keras.utils.set_random_seed`), each epoch has its own order of the samples:
      `numpy.random.default_rng([seed, epoch]).permutation(samples)`. A training that continues with
      `initial_epoch` has the orders that it would have had. `Model.fit` of Keras up to 3.15 repeats one order
      in all epochs on TensorFlow.
    - On TensorFlow, Keras builds a new pipeline for arrays in each epoch, whose threads cost more than a
      small model's steps. Here the batches are cut beforehand.
    - On TensorFlow and JAX, one call runs up to 16 batches, with at least four calls an epoch of the first
      `fit`, unless a callback has a method for batches. This sets `steps_per_execution`, and only for models
      that this package compiled: its hypermodels, `ExistingModel`, and `dropout_model` of a compiled model.
      `model.stop_training` takes effect after a call. A callback that compiles such a model in training has
      to pass its `steps_per_execution` on.

    A `ConcreteDropoutWrapper` without `samples` gets the number of targets in the arrays, with padding.
    Learned rates are excluded from weight decay.

    Left to Keras: data that are not NumPy arrays of numbers, `shuffle="batch"`, a number of steps, shuffling
    without a seed, and models with their own training loop. On TensorFlow, arrays larger than 1 GiB and those
    with a `class_weight` are not cut beforehand.

    Args:
        model: A compiled `keras.Model`.
        *args: Arguments of `Model.fit`.
        **kwargs: Arguments of `Model.fit`.

    Returns:
        What `Model.fit` returns.

    Example:
        >>> history = fit(model, x, y, epochs=3, validation_data=(x_val, y_val), verbose=0)
    """
    try:
        given = _signature.bind(model, *args, **kwargs).arguments
    except TypeError:
        return model.fit(*args, **kwargs)  # Keras raises a better error.
    del given["self"]
    count_samples(model, given)
    spare_rates(model)
    if not _is_usual(model):
        return model.fit(*args, **kwargs)
    given = with_held_out(given)
    if keras.backend.backend() != "torch":
        _choose_steps(model, given)
    given = with_training_batches(with_validation_batches(given))
    return model.fit(**given)


def compile_model(model: Any, **arguments: Any) -> None:
    """Compiles a model, and lets `fit` choose `steps_per_execution` unless the arguments have one."""
    model.compile(**arguments)
    # Held by the optimizer, so the permission ends when a user compiles the model with another one.
    if model.optimizer is not None and model.steps_per_execution == 1:
        model.optimizer.recdrop_tune_chooses_steps = True


def _choose_steps(model: Any, given: dict[str, Any]) -> None:
    """Sets how many steps a call runs, for a model of `compile_model`."""
    if not getattr(model.optimizer, "recdrop_tune_chooses_steps", False):
        return
    steps = min(_MOST_STEPS, number_of_batches(given) // _FEWEST_CALLS)
    if steps < 2 or _follows_batches(given.get("callbacks")):
        steps = 1
    # Results do not depend on the number, so several steps stay as they are: others would be traced again.
    if (steps > 1) != (model.steps_per_execution > 1):
        model.steps_per_execution = steps
        model.train_function = model.test_function = model.predict_function = None


def _follows_batches(callbacks: Any) -> bool:
    """Returns whether a callback has a method for batches, without a true attribute `counts_steps`."""
    return any(
        getattr(getattr(callback, name), "__func__", None)
        is not getattr(keras.callbacks.Callback, name)
        for callback in keras.tree.flatten(callbacks or [])
        if not getattr(callback, "counts_steps", False)
        for name in _BATCH_METHODS
    )


def _is_usual(model: Any) -> bool:
    """Returns whether Keras's own loop trains the model, compiled, on one device, with all batches."""
    methods = ("fit", "evaluate", "make_train_function", "make_test_function")
    own = any(getattr(type(model), name) is not getattr(keras.Model, name) for name in methods)
    if own or not model.compiled or model.run_eagerly or keras.config.max_steps_per_epoch():
        return False
    if keras.backend.backend() != "tensorflow":
        return keras.distribution.distribution() is None
    distribute = import_module("tensorflow").distribute
    return not distribute.has_strategy() and model.distribute_strategy is distribute.get_strategy()
