"""Searches for inputs that break a property: the same ones in every run, or many random ones on request.

Random inputs can fail today and pass tomorrow, so they do not block changes:

    RECDROP_FUZZ=1 pytest -m heavy tests/*/test_fuzz_*.py
"""

import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings

from recdrop_tune.errors import RecdropError

_ASKED = pytest.mark.skipif("RECDROP_FUZZ" not in os.environ, reason="RECDROP_FUZZ is not set")

profiles = pytest.mark.parametrize(
    "profile", ["reproducible", pytest.param("random", marks=(pytest.mark.heavy, _ASKED))]
)

_RANDOM = 20
"""How many times as many inputs the random search tries."""


def hold(profile, examples, strategy, check, seconds=5):
    """Calls `check` with values of a strategy, each with a time limit in seconds."""
    chosen = settings(
        max_examples=examples * (_RANDOM if profile == "random" else 1),
        derandomize=profile != "random",
        database=None,
        deadline=timedelta(seconds=seconds),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        print_blob=True,
    )
    chosen(given(strategy)(lambda value: check(value)))()


class OddEquality:
    """Cannot be compared or shown."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    def __repr__(self):
        raise RuntimeError("no representation")


LONGEST = 20_000
"""The longest readable error message, with fifty problems, in characters."""


def refused(call, kind=RecdropError):
    """Calls a function; returns the package's own error that it raises, if it does."""
    try:
        call()
    except kind as error:
        assert 0 < len(str(error)) < LONGEST  # noqa: PT017
        return error
    return None
