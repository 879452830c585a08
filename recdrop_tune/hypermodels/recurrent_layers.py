"""`dropout_rnn`: searches the dropout of one recurrent layer in a build function."""

from __future__ import annotations

from typing import Any

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import cell_of
from recdrop_tune.models import RateSchedule
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.wrappers import check_emits_steps, wrap


def dropout_rnn(hp: Any, layer: Any, name: str | None = None, space: object = "lstm") -> Any:
    """Wraps a recurrent layer with the dropout chosen by the hyperparameters.

    It registers `wrapper`, `placement`, `rate`, the wrappers' options and the decays of activations on `hp`.
    The other keys of the space (the size of the model, the dropout around the layer) are ignored. Give decays
    to the last layer of a stack, as published.

    Args:
        hp: The `keras_tuner.HyperParameters` of the build function.
        layer: A `keras.layers.LSTM`, a `GRU`, or a `Bidirectional` of one, without `dropout` and
            `recurrent_dropout`, or the trials without dropout would still have it. Keras's own dropout is
            the wrapper `native` of the space.
        name: Prefixes the names of the hyperparameters with `name/`, so that each layer has its own
            dropout. Calls with the same name, or without one, share one setting.
        space: Anything that `SearchSpace.load` takes.

    Returns:
        The wrapped layer, to be called like the layer; `layer` itself for a trial without dropout and
        decays. Under one seed, the initial weights of later layers do not depend on the dropout.

    Raises:
        SearchSpaceError: The space is not valid.
        InvalidArgumentError: The layer cannot be wrapped, or has its own dropout; the space has a `schedule`,
            or a `temporal_decay` and the layer returns only its last step.

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
    refuse_schedule(loaded)
    # `wrap` refuses layers with other cells.
    cell = cell_of(layer) or "lstm"
    check_temporal_decay(loaded, layer)
    sample = loaded.sample_dropout(hp, name, cell)
    return wrap(layer, sample.wrapper, **sample.wrap_arguments(), **sample.decays)


def check_hyperparameters(hp: Any) -> None:
    """Raises unless an argument is Keras Tuner's hyperparameters."""
    if not callable(getattr(hp, "conditional_scope", None)):
        expected = "the `keras_tuner.HyperParameters` of the build function"
        raise invalid_argument("hp", expected=expected, received=hp)


def refuse_schedule(space: SearchSpace) -> None:
    """Raises if the space of a build function has a schedule, which only a `fit` can apply."""
    if space.schedule:
        raise invalid_argument(
            "space",
            expected="no `schedule`: a build function adds no callback that changes rates",
            received={"schedule": space.schedule},
            fix=f'Add `recdrop_tune.RateSchedule("{space.schedule}")` to the callbacks of the search.',
        )


def with_schedule(callbacks: Any, space: SearchSpace) -> list[Any]:
    """Returns the callbacks of a `fit`, and one that applies the schedule of the space."""
    given = list(callbacks or ())
    if not space.schedule:
        return given
    for callback in given:
        if isinstance(callback, RateSchedule):
            raise invalid_argument(
                "callbacks",
                expected="no RateSchedule, because the search space has a `schedule`",
                received=callback,
                fix="Remove one of the two.",
            )
    return [*given, RateSchedule(space.schedule)]


def check_temporal_decay(space: SearchSpace, layer: Any) -> None:
    """Raises if a space has a temporal decay and the layer returns only its last step."""
    if space.temporal_decay:
        check_emits_steps(layer)


def _check_drops_nothing(layer: Any) -> None:
    """Raises if a layer has its own dropout, which the baseline `none` would have too."""
    both = [getattr(layer, f"{way}_layer", None) for way in ("forward", "backward")]
    for direction in [layer, *both]:
        rates = {n: getattr(direction, n, 0.0) for n in ("dropout", "recurrent_dropout")}
        if any(rates.values()):
            words = ", ".join(f"{name}={rate}" for name, rate in rates.items())
            raise invalid_argument(
                "layer",
                expected="a layer without dropout, which trials without dropout would have too",
                received=f"{type(direction).__name__}({words})",
                fix="Remove it from the layer. To try Keras's own dropout, add `native` to `wrapper`.",
            )
