"""Reads a search space from plain data, and the JSON schema of what it reads."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

from recdrop_tune.catalog import LOCKED_SITES, SITES, TECHNIQUES
from recdrop_tune.spaces.fields import FIELDS, Field, Report
from recdrop_tune.spaces.values import Range, Value, read_value

# Reads a whole search space: every key, and what the keys say together.

BY_SITE = {"rate": SITES, "locked_rate": LOCKED_SITES}
"""The keys that can have one value for each site, and the sites they know."""


def read_fields(raw: Mapping[Any, Any], report: Report) -> dict[str, Any]:
    """Turns what users write into the fields of the model, or raises one error for all problems."""
    fields: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in FIELDS:
            report.add_key("", key, tuple(FIELDS))
        elif isinstance(value, Mapping) and set(value) & set(BY_SITE.get(key, ())):
            fields[key] = _read_site_rates(key, value, report)
        else:
            fields[key] = read_value(FIELDS[key], value, key, report)
    report.check()
    _check_placements(fields, report)
    _check_model(fields, report)
    _check_schedules(fields, report)
    report.check()
    return fields


def _read_site_rates(key: str, raw: Mapping[Any, Any], report: Report) -> dict[str, Value | None]:
    known = BY_SITE[key]
    for site in raw:
        if site not in known:
            report.add_key(key, site, known)
    sites = [site for site in known if site in raw]
    return {site: read_value(FIELDS[key], raw[site], f"{key}.{site}", report) for site in sites}


def _check_placements(fields: dict[str, Any], report: Report) -> None:
    """Checks `wrapper`, `placement` and `rate` against one another."""
    placement, rate = fields.get("placement"), fields.get("rate")
    offered = {
        wrapper: offered_placements(wrapper, placement, rate) for wrapper in _dropping(fields)
    }
    for wrapper, placements in offered.items():
        if not placements:
            key, value = (
                ("rate", plain(rate)) if placement is None else ("placement", plain(placement))
            )
            having = ", ".join(TECHNIQUES[wrapper].placements)
            expected = f"a placement that the wrapper `{wrapper}` has, one of {having}"
            report.add(key, expected, value, f"Add one, or leave `{wrapper}` out of `wrapper`.")
    if isinstance(rate, dict):
        used = {site for item in chain(*offered.values()) for site in item.split("+")}
        for site in [site for site in SITES if site in used and site not in rate]:
            report.add("rate", f"a rate for the site `{site}`, which `placement` has", plain(rate))


def _check_model(fields: dict[str, Any], report: Report) -> None:
    """Checks what asks for a certain cell or number of layers.

    Where there may be others it cannot be a hyperparameter: Keras Tuner has no two conditions on
    one, unless one of them is itself under the other.
    """
    cell, layers = fields.get("cell", "lstm"), fields.get("layers", 1)
    if "hidden_rate" in fields and cell != "lstm":
        fix = "Leave out `hidden_rate`: the state of a GRU has the rate `rate`."
        report.add("cell", "lstm alone, where there is a `hidden_rate`", plain(cell), fix)
    locked = fields.get("locked_rate")
    numbers = (layers.min,) if isinstance(layers, Range) else as_words(layers)
    if isinstance(locked, dict) and "between" in locked and 1 in numbers:
        fix = "Leave out `between`, or give one `locked_rate` for all sites."
        report.add("layers", "2 or more, where there is `locked_rate.between`", plain(layers), fix)


def _check_schedules(fields: dict[str, Any], report: Report) -> None:
    """Checks `wrapper` and `schedule` against each other."""
    schedule = fields.get("schedule")
    if schedule is None:
        return
    for wrapper in _dropping(fields):
        having = TECHNIQUES[wrapper].schedules
        if not set(as_words(schedule)) & set(having):
            expected = f"a schedule that the wrapper `{wrapper}` has, {', '.join(having)}"
            fix = f"Add it, or leave `{wrapper}` out of `wrapper`."
            report.add("schedule", expected, plain(schedule), fix)


def _dropping(fields: dict[str, Any]) -> list[str]:
    wrappers = as_words(fields.get("wrapper", tuple(TECHNIQUES)))
    return [wrapper for wrapper in wrappers if wrapper != "none"]


def offered_placements(wrapper: str, placement: Value | None, rate: object) -> tuple[str, ...]:
    """The placements of a wrapper that the space asks for, in the order of the space."""
    having = TECHNIQUES[wrapper].placements
    if placement is not None:
        return tuple(item for item in as_words(placement) if item in having)
    sites = set(rate) if isinstance(rate, dict) else set(SITES)
    return tuple(item for item in having if set(item.split("+")) <= sites)


def as_words(value: Any) -> tuple[str, ...]:
    """Returns a fixed value as a choice of one."""
    return value if isinstance(value, tuple) else (value,)


def plain(value: Any) -> Any:
    """Returns a value as users write it."""
    if isinstance(value, Range):
        return value.to_dict()
    if isinstance(value, dict):
        return {site: plain(item) for site, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


# The JSON schema of a search space, made of the same fields that read one.

Schema = dict[str, Any]


def space_schema(documentation: str) -> Schema:
    """Makes the schema.

    Args:
        documentation: The docstring of `SearchSpace`; it describes every key.
    """
    described = _arguments(documentation)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Search space of recdrop-tune",
        "description": "A bare value is fixed, a list is a choice, a mapping is a range.",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _key(FIELDS[name], described.get(name, "")) for name in FIELDS},
    }


def _arguments(documentation: str) -> dict[str, str]:
    """Finds what a docstring says of each argument, as one line without the marks of code."""
    listed = inspect.cleandoc(documentation).partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.replace("`", "").split()) for name, text in entries}


def _key(spec: Field, description: str) -> Schema:
    forms = _forms(spec)
    if spec.name in BY_SITE:
        forms.append(_mapping({site: {"anyOf": _forms(spec)} for site in BY_SITE[spec.name]}))
    return {"description": description, "anyOf": forms}


def _forms(spec: Field) -> list[Schema]:
    """The forms of a value: fixed, a choice, and of numbers a range."""
    single = _single(spec)
    choice = {"type": "array", "items": single, "minItems": 1, "uniqueItems": True}
    return [single, choice, _range(single)] if spec.kind in (int, float) else [single, choice]


def _single(spec: Field) -> Schema:
    types = {str: "string", bool: "boolean", int: "integer", float: "number"}
    words = {"enum": list(spec.words)} if spec.words and not spec.schema else {}
    return {"type": types[spec.kind], **words, **spec.schema}


def _range(single: Schema) -> Schema:
    step = {"type": single["type"], "exclusiveMinimum": 0}
    log = {"type": "boolean"}
    schema = _mapping({"min": single, "max": single, "step": step, "log": log})
    both = {"required": ["step", "log"], "properties": {"log": {"const": True}}}
    return {**schema, "required": ["min", "max"], "not": both}


def _mapping(properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
    }
