"""The errors this package raises: each names the place, what was expected, what came, and the remedy."""

from __future__ import annotations


class RecdropError(Exception):
    """Root of every error raised on purpose by recdrop-tune."""


class InvalidArgumentError(RecdropError, ValueError):
    """An argument has a value that the function or layer cannot work with."""


class SearchSpaceError(InvalidArgumentError):
    """A search space (file, preset name or dict) does not describe a valid space."""


class ProjectError(RecdropError, RuntimeError):
    """A project folder cannot be used: it holds another search, or it is damaged."""


def invalid_argument(
    argument: str, *, expected: str, received: object, fix: str = ""
) -> InvalidArgumentError:
    """Builds an `InvalidArgumentError` in the one wording that the whole package uses.

    Args:
        argument: Name of the argument, as the caller wrote it.
        expected: What would have been accepted, without a final full stop.
        received: The value that came.
        fix: One sentence that says what to do instead.

    Example:
        >>> str(invalid_argument("rate", expected="0 <= rate < 1", received=1.2))
        'Invalid value received for argument `rate`. Expected 0 <= rate < 1. Received: rate=1.2'
    """
    message = (
        f"Invalid value received for argument `{argument}`. Expected {expected}. "
        f"Received: {argument}={received!r}"
    )
    return InvalidArgumentError(f"{message}. {fix}" if fix else message)


def exception_line(message: str) -> str:
    r"""Finds the line of a traceback with the exception's type: its text may have many lines more.

    Example:
        >>> exception_line("Traceback (most recent call last):\n  ...\nValueError: one\ntwo")
        'ValueError: one'
    """
    lines = message.rpartition("Traceback (most recent call last):\n")[2].splitlines()
    return next((line for line in lines if line and not line[0].isspace()), message)
