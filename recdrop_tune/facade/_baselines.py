"""The configurations that every search tries first, to compare its finds with."""

from __future__ import annotations

from functools import partial
from typing import Any

from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.oracle._conditional import HyperParameter, is_fixed, middle, walk

BASELINES = ("none", "native")
"""No dropout, and Keras's own, as values of `wrapper`."""


def enqueue_baselines(oracle: Any) -> None:
    """Has the baselines which the space offers tried first, all else at its middle value.

    A rate that moves is no baseline: it stays, where the space offers that.

    Args:
        oracle: Any oracle; only an `OptunaOracle` takes configurations.
    """
    if not isinstance(oracle, OptunaOracle):
        return
    space = oracle.hyperparameters.space
    offered = [set(hp.values) for hp in space if _is_wrapper(hp)]
    for wrapper in BASELINES:
        if offered and all(wrapper in values for values in offered):
            oracle.enqueue(walk(space, partial(_choose, wrapper)))


def _choose(wrapper: str, hp: HyperParameter) -> Any:
    if _is(hp, "schedule") and "constant" in hp.values:
        return "constant"
    return wrapper if _is_wrapper(hp) else middle(hp)


def _is_wrapper(hp: HyperParameter) -> bool:
    return _is(hp, "wrapper") and not is_fixed(hp)


def _is(hp: HyperParameter, key: str) -> bool:
    # `dropout_rnn` puts its name before: `encoder/wrapper`.
    return bool(hp.name.rpartition("/")[2] == key)
