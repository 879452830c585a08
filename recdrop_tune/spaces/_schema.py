"""The JSON schema of a search space, made of the same fields that read one."""

from __future__ import annotations

import inspect
import re
from typing import Any

from recdrop_tune.spaces._fields import FIELDS, Field
from recdrop_tune.spaces._reading import BY_SITE

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
