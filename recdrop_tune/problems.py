"""Turns pydantic's errors into this package's: the place, what was expected and received, a near miss.

A type that can explain more than pydantic raises `invalid_argument`, whose words are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from recdrop_tune.errors import InvalidArgumentError, invalid_argument

Keys = tuple[str | int, ...]
"""The keys and list positions that lead to a value, such as `("tuner", "sampler")`."""

_AROUND = "^(Input should be|Input is not|Value error,) | for <class .*>$"
_UNKNOWN = ("extra_forbidden", "invalid_key", "unexpected_keyword_argument")

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


def explain(
    error: ValidationError,
    data: Any,
    names: Mapping[Keys, Iterable[str]],
    where: Callable[[Keys], str] = lambda keys: "",
) -> InvalidArgumentError:
    """Returns pydantic's error as one with a line for each wrong value, and the attributes of the first one.

    `data` is what pydantic validated; it tells keys apart from the members of unions that it tried. `names`
    are those allowed at each place, for "Did you mean". `where` returns the place of a value in a file, such
    as `"search.yaml, line 3"`.
    """
    found: dict[Keys, list[Any]] = {}
    for problem in error.errors():
        found.setdefault(_keys(problem, data), []).append(problem)
    # A mapping fits none of a union's other members, but what matters is what is wrong inside it.
    inner = [keys for keys in found if not any(k[: len(keys)] == keys != k for k in found)]
    errors = [_as_argument_error(keys, found[keys], names) for keys in inner]
    lines = [
        f"{place}: {each}" if (place := where(keys or (each.argument,))) else str(each)
        for keys, each in zip(inner, errors, strict=True)
    ]
    message = InvalidArgumentError("\n".join(lines))
    vars(message).update(vars(errors[0]))
    return message


def _keys(problem: Any, data: Any) -> Keys:
    """Leaves the members of unions out of pydantic's path to a value."""
    keys: list[str | int] = []
    for part in problem["loc"]:
        is_key = isinstance(data, Mapping) and part in data
        if is_key or (isinstance(data, list | tuple) and isinstance(part, int)):
            data = data[part]
        elif problem["type"] != "missing" or part != problem["loc"][-1]:
            continue  # A member of a union.
        keys.append(part)
    return tuple(keys)


def _as_argument_error(
    keys: Keys, problems: list[Any], names: Mapping[Keys, Iterable[str]]
) -> InvalidArgumentError:
    """Makes one error of what the members of a union expected of one value."""
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    if problems[0]["type"] in _UNKNOWN:
        known, word = list(names.get(keys[:-1], ())), str(keys[-1]) if keys else ""
        # A setting given one level too high is a near miss too.
        groups = [above[0] for above in names if above and word in names[above]]
        fix = suggestion(word, known)
        if not fix and groups:
            fix = f"Did you mean `{groups[0]}.{word}`?"
        elif not fix:
            fix = f"There are: {', '.join(known)}."
        error = InvalidArgumentError(f"There is no `{path}`. {fix}")
        error.argument, error.fix = path, fix
        return error
    if problems[0]["type"] == "missing":
        return invalid_argument(path, expected="a value", received=None)
    cause = problems[0].get("ctx", {}).get("error")
    if len(problems) == 1 and isinstance(cause, InvalidArgumentError):
        return cause.renamed(path) if path else cause
    expected = " or ".join(re.sub(_AROUND, "", each["msg"]) for each in problems)
    received = problems[0]["input"]
    fix = suggestion(received, re.findall("'(.+?)'", expected))
    return invalid_argument(path, expected=expected, received=received, fix=fix)
