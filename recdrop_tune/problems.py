"""What pydantic finds wrong, in words: the place, what was expected, what was received, and the remedy.

Search spaces, the settings of a search and the configurations of `recdrop-tune run` are read by pydantic.
A type of theirs that can say more than pydantic raises `invalid_argument`, whose words are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import Discriminator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from recdrop_tune.errors import InvalidArgumentError, invalid_argument, shown

Keys = tuple[str | int, ...]
"""The keys and positions that lead to a value."""

_MOST_LINES = 50

_EXPECTED = {
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "an integer",
    "list_type": "a list",
    "string_type": "text",
    "string_unicode": "text",
}
_UNKNOWN = ("extra_forbidden", "invalid_key", "unexpected_keyword_argument")


def suggestion(received: object, words: Iterable[str], prefix: str = "") -> str:
    """Returns `Did you mean ...?` for a near miss, or an empty string."""
    # Nobody misspells a word by a thousand letters, and comparing takes a time that grows with them.
    word = received.lower() if isinstance(received, str) and len(received) < 100 else ""
    near = get_close_matches(word, list(words), n=1) if "+" not in word else []
    return f"Did you mean `{prefix}{near[0]}`?" if near else ""


def forms(expected: str, **kinds: type | tuple[type, ...]) -> Discriminator:
    """Tells the forms apart that a value can have; the member of the union has the tag `<name>`.

    Args:
        expected: All forms, in words.
        **kinds: The types of each form, by the name of its tag.
    """

    def tag(value: object) -> str | None:
        if isinstance(value, bool):
            return None
        return next((f"<{name}>" for name, kind in kinds.items() if isinstance(value, kind)), None)

    return Discriminator(tag, custom_error_type="form", custom_error_message=expected)


def problem(keys: Keys, expected: str, received: object, fix: str = "") -> InitErrorDetails:
    """Makes one of several problems that a validator raises together; see `refusal`."""
    said = invalid_argument("", expected=expected, received=received, fix=fix)
    kind = PydanticCustomError("value_error", "{error}", {"error": said})
    return InitErrorDetails(type=kind, loc=keys, input=received)


def refusal(problems: Sequence[InitErrorDetails]) -> ValidationError:
    """Makes the error that a validator raises for several problems."""
    return ValidationError.from_exception_data("", list(problems))


def is_unknown_name(problem: Mapping[str, Any]) -> bool:
    """Says whether pydantic has found a name that there is not, rather than a wrong value."""
    return problem["type"] in _UNKNOWN


def error_of(problem: Mapping[str, Any], argument: str) -> InvalidArgumentError:
    """Makes an error of this package of what pydantic says of one value.

    Args:
        problem: One of `ValidationError.errors()`.
        argument: The name of the value, as the caller wrote it.
    """
    context = problem.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InvalidArgumentError) and cause.expected:
        return cause.renamed(argument)
    expected = _EXPECTED.get(problem["type"]) or str(cause or problem["msg"])
    if problem["type"] == "literal_error":
        expected = context["expected"].replace("'", "")
    return invalid_argument(argument, expected=expected, received=problem["input"])


def line_of(lines: Mapping[Keys, int], keys: Keys) -> int:
    """Returns the line of a key, or of the nearest one above it; 0 where no line is known."""
    while keys and keys not in lines:
        keys = keys[:-1]
    return lines.get(keys, 0)


def in_words(
    error: ValidationError,
    source: str,
    lines: Mapping[Keys, int],
    mappings: Mapping[str, Sequence[str]],
    *,
    also: Mapping[str, str] | None = None,
    hint: Callable[[Keys, object], str] = lambda keys, value: "",
) -> str:
    """Writes a line for each problem of a document, in the order of the document's lines.

    Args:
        error: What pydantic found.
        source: The document.
        lines: The line of each key; none for what is no file.
        mappings: The keys of each mapping by the tag of its form, and those at the top by an empty one.
        also: What else a value may be, or what a mapping needs, by the tag of its form.
        hint: Says what to do about a key that there is not, or that is missing, in place of what is expected.
    """
    written = []
    for found in error.errors():
        keys, tag = _place(found, mappings)
        line = line_of(lines, keys)
        place = f"{source}, line {line}" if line else source
        names_key = found["type"] in (*_UNKNOWN, "missing")
        if names_key and (fix := hint(keys, found["input"])):
            kind = "Missing" if found["type"] == "missing" else "Invalid"
            text = f"{kind} key `{_path(keys)}` in {place}"
        else:
            text, fix = _said(found, keys, place, mappings.get(tag, ()), (also or {}).get(tag, ""))
        written.append((line, f"{text}. {fix}" if fix else text))
    texts = [text for _, text in sorted(written, key=lambda each: each[0])]
    if len(texts) > _MOST_LINES:
        texts[_MOST_LINES:] = [f"... and {len(texts) - _MOST_LINES} more problems."]
    return "\n".join(texts)


def _place(found: Any, mappings: Mapping[str, Sequence[str]]) -> tuple[Keys, str]:
    """Returns the keys that lead to a problem, and the tag of the form that it is in."""
    where = list(found["loc"])
    if found["type"] == "string_unicode" and (not where or where[-1] in mappings):
        # A key with half a character: pydantic gives the place of its mapping.
        where.append(shown(found["input"]))
        found["type"] = "invalid_key"
    named = where[-1:] if is_unknown_name(found) or found["type"] == "missing" else []
    above = where[: len(where) - len(named)]
    keys = tuple(part for part in above if not _is_tag(part))
    tags = ["", *filter(_is_tag, above if named else above[-1:])]
    return (*keys, *named), tags[-1]


def _is_tag(part: object) -> bool:
    return isinstance(part, str) and part.startswith("<")


def _said(found: Any, keys: Keys, place: str, known: Sequence[str], more: str) -> tuple[str, str]:
    """Returns what is wrong, and what may mend it."""
    name, above = _path(keys), _path(keys[:-1])
    if is_unknown_name(found):
        received = found["input"] if found["type"] == "invalid_key" else keys[-1]
        expected = f"one of {', '.join(known)}"
        text = f"Invalid key `{name}` in {place}. Expected {expected}. Received: {shown(received)}"
        return text, suggestion(received, known, f"{above}." if above else "")
    if found["type"] == "missing":
        text = f"Missing key `{name}` in {place}. Expected {more}. "
        return f"{text}Received: {above}={shown(found['input'])}", ""
    wrong = error_of(found, name)
    return (
        f"Invalid value received for `{name}` in {place}. Expected {wrong.expected}{more}. "
        f"Received: {name}={wrong.received}"
    ), wrong.fix


def _path(keys: Keys) -> str:
    """Writes the way to a value, such as `rate.max` or `wrapper[1]`."""
    first, *rest = keys or ("",)
    parts = [f"[{key}]" if isinstance(key, int) else f".{_name(key)}" for key in rest]
    return "".join([_name(str(first)), *parts])


def _name(key: str) -> str:
    return key if len(key) < 100 else shown(key)


def explain(
    error: ValidationError,
    data: Any,
    names: Mapping[Keys, Iterable[str]],
    where: Callable[[Keys], str] = lambda keys: "",
) -> InvalidArgumentError:
    """Returns one error with a line for each wrong value.

    Args:
        error: The error of pydantic.
        data: The data that it validated. (Pydantic's paths also contain the members of unions that it tried.
            The data tell these apart from keys.)
        names: The names allowed at each place, for "Did you mean".
        where: Returns the place of a value in a file, such as `"search.yaml, line 3"`.
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
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"... and {len(lines) - _MOST_LINES} more problems."]
    first, message = errors[0], InvalidArgumentError("\n".join(lines))
    message.argument, message.expected = first.argument, first.expected
    message.received, message.fix = first.received, first.fix
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
        deeper = (
            f"Did you mean `{above[0]}.{word}`?"
            for above in names
            if above and word in names[above]
        )
        fix = suggestion(word, known) or next(deeper, f"There are: {', '.join(known)}.")
        error = InvalidArgumentError(f"There is no `{path}`. {fix}")
        error.argument, error.fix = path, fix
        return error
    if problems[0]["type"] == "missing":
        return invalid_argument(path, expected="a value", received=None)
    cause = problems[0].get("ctx", {}).get("error")
    if len(problems) == 1 and isinstance(cause, InvalidArgumentError):
        return cause.renamed(path) if path else cause
    expected = [re.sub("^(Input should be|Value error,) ", "", each["msg"]) for each in problems]
    words = re.findall("'(.+?)'", " ".join(expected))
    received = problems[0]["input"]
    fix = suggestion(received, words)
    return invalid_argument(path, expected=" or ".join(expected), received=received, fix=fix)
