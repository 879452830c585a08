"""Adds the search for a dropout to one recurrent layer of a model that the user builds."""

from __future__ import annotations

from typing import Any

from recdrop_tune.errors import invalid_argument
from recdrop_tune.hypermodels.scheduling import ask, can_ask
from recdrop_tune.kernels import cell_of, seeds_aside
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.wrappers import check_emits_steps, wrap


def dropout_rnn(hp: Any, layer: Any, name: str | None = None, space: object = "lstm") -> Any:
    """Wraps a recurrent layer with the dropout that the hyperparameters name.

    It registers `wrapper`, `placement`, `rate`, `schedule`, the wrappers' options and the decays of
    activations on `hp`; the rest of the space (the model's size, the dropout around the layer) is not used,
    for the model is yours. Give the decays to the last layer of a stack, as published. A
    schedule takes a callback in `fit`: `tune` adds it, and for other tuners `recdrop_tune.scheduled(build)`
    does.

    Args:
        hp: The `keras_tuner.HyperParameters` that the build function was called with.
        layer: A `keras.layers.LSTM`, a `GRU`, or a `Bidirectional` of one, without `dropout` and
            `recurrent_dropout` of its own: it would drop in every trial, also in one without dropout.
            Keras's own is the wrapper `native` of the space.
        name: Prefixes the names of the hyperparameters by `name/`, so that each layer has a dropout
            of its own. Two calls without a name, or with the same, share one setting.
        space: Anything that `SearchSpace.load` takes.

    Returns:
        The wrapped layer, to be called as the layer would be; `layer` itself where the trial is one
        without dropout and decays. Under one seed the layers that are made after it have the same first
        weights whatever the dropout.

    Raises:
        SearchSpaceError: The space is not valid.
        InvalidArgumentError: The layer is not one that can be wrapped, or drops by itself, or the space
            has a `schedule` and there is no callback to carry it out, or a `temporal_decay` and the layer
            emits its last step alone.

    Example:
        >>> import keras, keras_tuner
        >>> from recdrop_tune import dropout_rnn
        >>> space = {"wrapper": "recurrent", "placement": "recurrent", "rate": [0.2, 0.4]}
        >>> hp = keras_tuner.HyperParameters()
        >>> layer = dropout_rnn(hp, keras.layers.GRU(8), name="encoder", space=space)
        >>> hp.values
        {'encoder/wrapper': 'recurrent', 'encoder/placement': 'recurrent', 'encoder/rate': 0.2}
    """
    check_hyperparameters(hp)
    if name is not None and not (isinstance(name, str) and name):
        raise invalid_argument("name", expected="a name or None", received=name)
    _check_drops_nothing(layer)
    loaded = SearchSpace.load(space)
    check_schedule(loaded)
    # Of other layers than these two and a `Bidirectional`, `wrap` says that it takes none.
    cell = cell_of(layer) or "lstm"
    check_temporal_decay(loaded, layer)
    sample = loaded.sample_dropout(hp, name, cell)
    with seeds_aside():
        wrapped = wrap(layer, sample.wrapper, **sample.wrap_arguments(), **sample.decays)
    if loaded.schedule is not None:
        ask(wrapped, sample.schedule)
    return wrapped


def check_hyperparameters(hp: Any) -> None:
    """Raises unless an argument is Keras Tuner's hyperparameters."""
    if not callable(getattr(hp, "conditional_scope", None)):
        expected = "the `keras_tuner.HyperParameters` that the build function was called with"
        raise invalid_argument("hp", expected=expected, received=hp)


def check_schedule(space: SearchSpace) -> None:
    """Raises where a space has schedules that nobody would carry out."""
    if space.schedule not in (None, "constant") and not can_ask():
        raise invalid_argument(
            "space",
            expected="no `schedule` in a build function alone: rates are moved by a callback in `fit`",
            received={"schedule": space.to_dict()["schedule"]},
            fix="Give the tuner `recdrop_tune.scheduled(build)` in the place of `build`.",
        )


def check_temporal_decay(space: SearchSpace, layer: Any) -> None:
    """Raises where a trial may have a temporal decay, of a layer that emits its last step alone."""
    if space.temporal_decay:
        check_emits_steps(layer)


def _check_drops_nothing(layer: Any) -> None:
    """Raises where a layer has dropout of its own: with it `none` would be no baseline."""
    both = [getattr(layer, f"{way}_layer", None) for way in ("forward", "backward")]
    for direction in [layer, *both]:
        rates = {n: getattr(direction, n, 0.0) for n in ("dropout", "recurrent_dropout")}
        if any(rates.values()):
            words = ", ".join(f"{name}={rate}" for name, rate in rates.items())
            raise invalid_argument(
                "layer",
                expected="a layer without dropout of its own, for the trials without dropout too",
                received=f"{type(direction).__name__}({words})",
                fix="Take `dropout=` and `recurrent_dropout=` off the layer. To try Keras's own dropout too, "
                "put `native` into the space: {'wrapper': ['none', 'native', 'recurrent']}.",
            )
