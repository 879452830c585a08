"""Events as lines of JSON, and back."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from recdrop_tune.tracking._events import (
    ConfirmationEnded,
    ConfirmationStarted,
    EpochEnded,
    Event,
    ModelBuilt,
    ResultSaved,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
    WorkerLost,
)

_KINDS = {
    kind.__name__: kind
    for kind in (
        SearchStarted,
        TrialStarted,
        ModelBuilt,
        EpochEnded,
        TrialEnded,
        WorkerLost,
        ConfirmationStarted,
        ConfirmationEnded,
        ResultSaved,
        SearchEnded,
    )
}


def to_json(event: Event) -> str:
    """Writes an event as one line of JSON."""
    return json.dumps({"event": type(event).__name__, **_strict(asdict(event))}, allow_nan=False)


def from_json(line: str) -> Event | None:
    """Reads what `to_json` wrote; `None` for a kind of event that this version does not know.

    Raises:
        ValueError: It is something else.
    """
    try:
        data = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(data, dict) or not isinstance(data.get("event"), str):
        raise ValueError("no event")
    kind = _KINDS.get(data.pop("event"))
    # Pydantic ignores fields of later versions, and reads the numbers that JSON lacks.
    return None if kind is None else _reader(kind).validate_python(data)


@cache
def _reader(kind: type[Event]) -> TypeAdapter[Event]:
    return TypeAdapter(kind)


def _strict(value: Any) -> Any:
    """Makes numbers that JSON lacks (NaN, infinity) strings that `float` reads back."""
    if isinstance(value, dict):
        return {name: _strict(each) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
