"""`fit`: Keras's `Model.fit`, which spends less time beside the steps.

The batches and their numbers are Keras's own. On TensorFlow what is saved is more than half of a small
model's epoch.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import keras

from recdrop_tune.models.learning import count_targets, spare_rates
from recdrop_tune.models.several_steps import several_steps
from recdrop_tune.models.training_batches import with_training_batches, with_validation_batches

_signature = inspect.signature(keras.Model.fit)


def fit(model: Any, *args: Any, **kwargs: Any) -> Any:
    """Fits a model as `model.fit` does, with the same numbers, in less time.

    - On TensorFlow Keras makes a new pipeline of arrays for each epoch, with threads that cost more than a
      small model's steps. Here the batches are cut once, in the order that Keras takes them up to 3.15 (later
      versions have another). Under a seed (`keras.utils.set_random_seed`) that is the same one in each epoch;
      without one nothing is cut, for then each epoch has its own.
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
    with several_steps(model, given) as given:
        if backend == "tensorflow":
            given = with_training_batches(with_validation_batches(given))
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
