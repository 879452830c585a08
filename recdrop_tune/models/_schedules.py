r"""How a dropout rate moves while a model trains: pure functions of progress.

Each maps the progress of training, 0 in the first epoch and 1 in the last, and the configured rate
to the rate to use then.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from recdrop_tune.errors import invalid_argument

Schedule = Callable[[float, float], float]
"""`(progress, rate) -> rate`, with `progress` in [0, 1]."""


def constant(progress: float, rate: float) -> float:
    """The configured rate throughout."""
    del progress
    return rate


def linear(progress: float, rate: float) -> float:
    """From 0 to the configured rate: `rate * progress`."""
    return rate * progress


# Morerio et al. recommend gamma = 10 / T, with T the number of steps: the rate is then within
# exp(-10) = 0.005 % of its target at the end, and within 5 % after 30 % of the training.
_GAMMA = 10.0


def curriculum(progress: float, rate: float) -> float:
    """From 0, quickly at first, towards the configured rate: `rate * (1 - exp(-10 progress))`.

    Reference:
        Morerio, Cavazza, Volpi, Vidal, Murino (2017), "Curriculum Dropout", arXiv 1703.06229.
    """
    return rate * -math.expm1(-_GAMMA * progress)


def annealed(progress: float, rate: float) -> float:
    """From the configured rate down to 0: `rate * max(0, 1 - progress)`.

    Reference:
        Rennie, Goel, Thomas (2014), "Annealed Dropout Training of Deep Networks", IEEE SLT.
    """
    return rate * max(0.0, 1.0 - progress)


# The best schedule of Cheng et al., written `0@0, 0@0.20, p@0.5, 0@1` in Kaldi's notation.
_RISE, _PEAK = 0.2, 0.5


def ramp(progress: float, rate: float) -> float:
    """0 for the first 20 % of training, up to the configured rate at 50 %, down to 0 at the end.

    Reference:
        Cheng, Peddinti, Povey, Manohar, Khudanpur, Yan (2017), "An Exploration of Dropout with LSTMs",
        Interspeech.
    """
    if progress <= _RISE:
        return 0.0
    if progress <= _PEAK:
        return rate * (progress - _RISE) / (_PEAK - _RISE)
    return rate * (1.0 - progress) / (1.0 - _PEAK)


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "linear": linear,
    "curriculum": curriculum,
    "annealed": annealed,
    "ramp": ramp,
}
"""The schedules that `RateSchedule` knows by name: those of `catalog.SCHEDULE_NAMES`."""


def schedule_of(schedule: str | Schedule) -> Schedule:
    """Resolves a schedule's name; a function is returned as it is.

    Raises:
        InvalidArgumentError: There is no schedule of that name, or it is not a function either.

    Example:
        >>> schedule_of("linear")(0.5, 0.4)
        0.2
    """
    if isinstance(schedule, str) and schedule in SCHEDULES:
        return SCHEDULES[schedule]
    if callable(schedule):
        return schedule
    raise invalid_argument(
        "schedule",
        expected=f"one of {', '.join(SCHEDULES)}, or a function (progress, rate) -> rate",
        received=schedule,
    )
