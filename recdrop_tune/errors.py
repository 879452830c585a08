"""The errors of this package, the texts in them, and checks of single arguments.

Each error names the argument, what was expected, what was received, and what to do.
"""

from __future__ import annotations

import errno
import re
import reprlib
import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from typing import Any


class RecdropError(Exception):
    """Root of every error raised on purpose by recdrop-tune."""


class InvalidArgumentError(RecdropError, ValueError):
    """An argument has a value that the function or layer cannot work with.

    Attributes:
        argument: Name of the argument; empty for an error about several arguments, or none.
        expected: The values that would be accepted.
        received: The received value, as the message shows it.
        fix: What to do instead.
    """

    argument: str = ""
    expected: str = ""
    received: str = ""
    fix: str = ""
    _in_words = False

    def renamed(self, argument: str) -> InvalidArgumentError:
        """Returns the same error with another name for the argument."""
        return _error(argument, self.expected, self.received, self.fix, self._in_words)


class SearchSpaceError(InvalidArgumentError):
    """A search space (file, preset name or dict) is not valid."""


class ProjectError(RecdropError, RuntimeError):
    """A project folder cannot be used: it holds another search, or it is damaged."""


def invalid_argument(
    argument: str, *, expected: str, received: object = None, found: str = "", fix: str = ""
) -> InvalidArgumentError:
    """Makes an `InvalidArgumentError` in the one wording that the whole package uses.

    `found` describes in words what was received, if that is too long to be shown.
    """
    return _error(argument, expected, found or format_repr(received), fix, bool(found))


def _error(
    argument: str, expected: str, received: str, fix: str, in_words: bool
) -> InvalidArgumentError:
    message = (
        f"Invalid value received for argument `{argument}`. Expected {expected}. "
        f"Received: {'' if in_words else f'{argument}='}{received}"
    )
    error = InvalidArgumentError(f"{message}. {fix}" if fix else message)
    error.argument, error.expected, error.received, error.fix = argument, expected, received, fix
    error._in_words = in_words
    return error


HIDDEN = "***"
"""Replaces a secret."""

# In SQLAlchemy's addresses a password can contain slashes, in those of the web an @.
_USER = re.compile(r"(?<=://)(?:[^\s/?#]*|[^\s:/]*:[^\s'\"@]*)@")
_QUERY = re.compile(r"(://[^\s'\"?]*\?)[^\s'\"]+")


def hide(text: str) -> str:
    """Replaces the user, the password and the query of each address in a text by `***`."""
    return _QUERY.sub(rf"\g<1>{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))


class _Repr(reprlib.Repr):
    """Like `repr`, but short and without passwords."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 5, 400, 400, 100
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 20

    def repr_str(self, x: str, level: int) -> str:
        # Passwords are hidden before the text is cut: half an address does not look like one.
        text = f"{x[:_LONGEST]}{x[-_LONGEST:]}" if len(x) > 2 * _LONGEST else x
        return super().repr_str(hide(text), level)

    def repr_instance(self, x: Any, level: int) -> str:
        return hide(super().repr_instance(x, level))


_LONGEST = 1000


def format_repr(received: object) -> str:
    """Writes a value for an error message, like `repr`, but short and without passwords."""
    text = _Repr().repr(received)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


# Control characters except tab and newline, halves of characters, and those that change a text's direction.
_OBEYED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: str) -> str:
    """Escapes everything in a text that a terminal would obey instead of showing.

    For texts from a stranger's files: an escape sequence can hide or forge lines, set the window's title, or
    write to the clipboard.
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


_ELSEWHERE = {"dropconnect": "weight_drop", "locked": "variational", "gal": "variational"}
"""The wrappers of other names in the literature."""


def suggestion(received: object, words: Iterable[str]) -> str:
    """Returns `Did you mean ...?` for a near miss or another usual name, or an empty string."""
    if not isinstance(received, str) or "+" in received:
        return ""
    word, known = received.lower(), list(words)
    other = _ELSEWHERE.get(word)
    near = [other] if other in known else get_close_matches(word, known, n=1)
    return f"Did you mean `{near[0]}`?" if near else ""


_IN_A_GRAPH = "Graph execution error:"
_IN_A_LAYER = re.compile(
    r"Exception encountered when calling (.+?)\.\n\n\x1b\[1m(.*?)\x1b\[0m", re.DOTALL
)
"""Keras writes what went wrong in bold, below the name of the layer and above its arguments."""

# Keras makes part of its messages bold, and TensorFlow adds the names of its operations.
_DECORATIONS = re.compile(r"\x1b\[[\d;]*m|\{\{function_node .*?\}\} ?| \[Op:\w+\] name: ?")
_OWN_FRAMES = re.compile(
    rf'^  File "{re.escape(str(Path(__file__).parent))}.*\n(?:    .*\n)*', re.MULTILINE
)


def undecorated(message: str) -> str:
    """Returns a message of Keras or TensorFlow without styles and names of operations."""
    return _DECORATIONS.sub("", message)


def exception_line(message: str) -> str:
    """Returns the line of a traceback that has the exception's type; the exception can have more lines."""
    text = message.rpartition("Traceback (most recent call last):\n")[2]
    lines = [line for line in undecorated(text).splitlines() if line and not line[0].isspace()]
    if (layer := _IN_A_LAYER.search(text)) and lines:
        cause = undecorated(layer[2]).rpartition("Error encountered:")[2].strip().partition("\n")[0]
        return f"{lines[0].partition(':')[0]}: {cause} (in {layer[1]})"
    if len(lines) > 1 and lines[0].endswith(_IN_A_GRAPH):
        # TensorFlow lists the operations first, and the reason last.
        return f"{lines[0].removesuffix(_IN_A_GRAPH)}{lines[-1]}"
    return lines[0] if lines else message


def failure_text(message: str) -> str:
    """Returns the message of a failed trial, its cause first, without this package's frames and styles."""
    line, text = exception_line(message), undecorated(_OWN_FRAMES.sub("", message)).strip()
    return text if line == text else f"{line}\n\n{text}"


_DISK_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def is_disk_failure(error: BaseException | None) -> bool:
    """Returns whether an exception, or one that caused it, reports a full, over-quota or broken disk.

    It ends the search instead of failing a trial: the next trial would fail too.
    """
    seen = set[int]()  # An exception can be its own cause.
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in _DISK_CODES:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def check_integer(argument: str, value: Any, least: int = 1) -> int:
    """Returns an integer argument, which can be NumPy's, as an `int`; refuses one below `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise invalid_argument(argument, expected=f"an integer of at least {least}", received=value)
    return int(value)


def is_name(name: str) -> bool:
    """Returns whether MLflow takes a name for an experiment: one line of 500 characters, and not `..`."""
    return (
        name.strip() not in ("", ".", "..")
        and len(name) <= 500
        and name == plain(name)
        and not {"\t", "\n"} & set(name)
    )


def check_flag(argument: str, value: Any) -> bool:
    """Returns a flag, which can be NumPy's, as a `bool`; refuses `"no"`, which is true in Python."""
    import numpy as np  # Slow to import.

    if not isinstance(value, bool | np.bool_):
        raise invalid_argument(argument, expected="True or False", received=value)
    return bool(value)


def check_seconds(argument: str, value: float | None) -> float | None:
    """Returns a duration in seconds, which must be positive, or `None`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not value > 0:
        raise invalid_argument(argument, expected="seconds, more than 0", received=value)
    return float(value)


def check_cv(cv: Any) -> Any:
    """Returns `cv` if it is `None`, a number of folds, or has a `split` as scikit-learn's splitters have."""
    if isinstance(cv, Integral) and not isinstance(cv, bool) and int(cv) >= 2:
        return int(cv)
    if cv is None or (hasattr(cv, "split") and not isinstance(cv, str)):
        return cv
    raise invalid_argument(
        "cv",
        expected="None, a number of folds of at least 2, or a splitter with scikit-learn's `split`",
        received=cv,
        fix="For time series pass sklearn.model_selection.TimeSeriesSplit().",
    )


def check_callbacks(value: Any) -> tuple[Any, ...]:
    """Returns one callback, several, or `None`, as a tuple. Functions that make callbacks count too."""

    def is_one(each: Any) -> bool:
        return callable(each) or hasattr(each, "on_epoch_end")

    if value is None:
        return ()
    listed = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not all(map(is_one, listed)):
        expected = "keras.callbacks.Callback objects, or functions that make one"
        raise invalid_argument("callbacks", expected=expected, received=value)
    return listed


def check_one_objective(objective: Any) -> Any:
    """Returns an objective, and refuses several."""
    if isinstance(objective, list | tuple) or hasattr(objective, "objectives"):
        raise invalid_argument(
            "objective",
            expected="one metric",
            received=objective,
            fix="Compare trials by several metrics after the search: "
            '`result.pareto_front("val_accuracy", "ms_per_step")`.',
        )
    return objective


def warn_caller(message: str) -> None:
    """Warns at the user's line that called this package, however deep the call is."""
    package, level, frame = __name__.partition(".")[0], 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def check_model_name(name: str) -> None:
    """Raises unless a model can be registered under a name."""
    if not name.strip() or set("/:'\"") & set(name):
        expected = "None, or a name without `/`, `:` and quotes"
        raise invalid_argument("register_model", expected=expected, received=name)
