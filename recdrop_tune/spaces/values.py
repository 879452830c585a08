"""Registers single hyperparameters on Keras Tuner's `HyperParameters`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict

from recdrop_tune.errors import shown
from recdrop_tune.spaces.fields import Field, Rejected, Report, Scalar, number, suggestion

# A fixed value, a choice or a range: the three forms that a key of a search space can take.


class Range(BaseModel):
    """An interval to search, both ends included.

    Attributes:
        min: The lower end.
        max: The upper end. With a `step` that does not divide the interval it is not reached.
        step: The distance between two neighbours; `None` means any value (any integer, for integers).
        log: Whether values are drawn evenly on a logarithmic scale. It excludes `step`.

    Example:
        >>> Range(min=0.05, max=0.6, step=0.05).size
        12
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    min: int | float
    max: int | float
    step: int | float | None = None
    log: bool = False

    @property
    def size(self) -> int | None:
        """How many values there are, or `None` where they are a continuum."""
        if isinstance(self.min, int) and isinstance(self.max, int):
            return (self.max - self.min) // int(self.step or 1) + 1
        # 1e-9: 0.55 / 0.05 is 10.999999999999998 in floating point, and the upper end is meant.
        return math.floor((self.max - self.min) / self.step + 1e-9) + 1 if self.step else None

    def to_dict(self) -> dict[str, Scalar]:
        """Returns the range as users write it."""
        data = self.model_dump(exclude_none=True)
        return data if self.log else {key: data[key] for key in data if key != "log"}


Value = Scalar | tuple[Scalar, ...] | Range


def read_value(spec: Field, raw: object, path: str, report: Report) -> Value | None:
    """Reads a fixed value, a choice (list) or a range (mapping); notes in `report` what is wrong.

    Returns:
        The canonical value: a list of one becomes that one, numbers get the field's type. `None` if
        there was a problem.
    """
    if isinstance(raw, Mapping | Range):
        return _read_range(spec, raw, path, report)
    if isinstance(raw, list | tuple):
        return _read_choice(spec, raw, path, report)
    try:
        return spec.read(raw)
    except Rejected:
        report.add(path, _expected_whole(spec), raw, _hint(spec, raw))
        return None


def _expected_whole(spec: Field) -> str:
    """What the whole field may be: a value, a list and, for numbers, a range."""
    ranges = " or a range {min, max, step, log}" if spec.kind in (int, float) else ""
    return f"{spec.expected}; a list of such values{ranges}"


_NOTHING = {
    "wrapper": "Write `none` for no dropout.",
    "schedule": "Write `constant` for a rate that stays as it is.",
}
"""How the fields of words say what some would write as nothing."""


def _hint(spec: Field, raw: object) -> str:
    nothing = raw is None or (isinstance(raw, str) and raw in ("None", "none"))
    if nothing and spec.name in _NOTHING:
        return _NOTHING[spec.name]
    return suggestion(raw, spec.words) if isinstance(raw, str) and "+" not in raw else ""


def _read_choice(
    spec: Field, raw: list[object] | tuple[object, ...], path: str, report: Report
) -> Value | None:
    values: dict[Scalar, None] = {}
    for index, item in enumerate(raw):
        try:
            value = spec.read(item)
        except Rejected:
            report.add(f"{path}[{index}]", spec.expected, item, _hint(spec, item))
            continue
        if value in values:
            report.add(f"{path}[{index}]", "each value once", item)
        values[value] = None
    if not raw:
        report.add(path, f"at least one value in the list, each {spec.expected}", raw)
        return None
    return next(iter(values)) if len(values) == 1 else tuple(values)


_FINEST = 1e-9
"""The finest step, as a part of its range: finer ones drown in the rounding of floating-point numbers."""

_RANGE_KEYS = ("min", "max", "step", "log")


def _read_range(
    spec: Field, raw: Mapping[Any, Any] | Range, path: str, report: Report
) -> Range | None:
    data: dict[Any, Any] = {**(raw.to_dict() if isinstance(raw, Range) else raw)}
    if spec.kind not in (int, float):
        report.add(path, f"{spec.expected}; or a list of such values", data)
        return None
    before = len(report.lines)
    for key in data:
        if key not in _RANGE_KEYS:
            report.add_key(path, key, _RANGE_KEYS)
    numbers = {key: _read_bound(spec, key, data, path, report) for key in ("min", "max", "step")}
    log = data.get("log", False)
    if not isinstance(log, bool):
        report.add(f"{path}.log", "true or false", log)
    if len(report.lines) == before:
        _check_range(numbers, bool(log), path, report)
    if len(report.lines) > before:
        return None
    return Range.model_validate({**numbers, "log": log})


def _read_bound(
    spec: Field, key: str, data: dict[Any, Any], path: str, report: Report
) -> Scalar | None:
    """Reads `min` and `max` as values of the field, and `step` as a number > 0 of its type."""
    if key not in data:
        if key != "step":
            report.lines.append(
                f"Missing key `{path}.{key}` in {report.source}. Expected {spec.expected}. "
                f"Received: {path}={shown(data)}"
            )
        return None
    read, expected = spec.read, spec.expected
    if key == "step":
        noun = "an integer" if spec.kind is int else "a number"
        read = number(spec.kind, lambda n: n > 0 and math.isfinite(n))
        expected = f"{noun} > 0"
    try:
        return read(data[key])
    except Rejected:
        report.add(f"{path}.{key}", expected, data[key])
        return None


def _check_range(numbers: dict[str, Scalar | None], log: bool, path: str, report: Report) -> None:
    """Checks what the keys of a range say together."""
    low, high, step = (numbers[key] for key in ("min", "max", "step"))
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    if not low < high:
        report.add(f"{path}.min", f"a number < {path}.max={high!r}", low)
    elif isinstance(step, int | float) and step > high - low + 1e-9:
        report.add(f"{path}.step", f"a number <= max - min = {high - low:.12g}", step)
    elif isinstance(step, float) and step < (high - low) * _FINEST:
        finest = f"a number >= {_FINEST:g} * (max - min)"
        report.add(f"{path}.step", finest, step, "Leave it out for any value in between.")
    if log and step is not None:
        # Keras Tuner reads a step on a logarithmic scale as a factor, which Optuna does not know.
        report.add(f"{path}.step", "no step where log is true", step, "Leave out one of the two.")
    if log and low <= 0:
        report.add(f"{path}.min", "a number > 0 where log is true", low)


@contextmanager
def named(hp: Any, name: str | None) -> Iterator[None]:
    """Prefixes hyperparameter names by `name/` where there is a name."""
    if name is None:
        yield
        return
    with hp.name_scope(name):
        yield


def register(hp: Any, name: str, value: Value) -> Any:
    """Registers one hyperparameter and returns its value, `None` where it is inactive."""
    if isinstance(value, Range):
        return _register_range(hp, name, value)
    if not isinstance(value, tuple):
        return hp.Fixed(name, value)
    if all(isinstance(item, bool) for item in value):
        # `Choice` would make 0 and 1 of them.
        return hp.Boolean(name, default=value[0])
    return hp.Choice(name, list(value))


def _register_range(hp: Any, name: str, value: Range) -> Any:
    method = hp.Int if isinstance(value.min, int) else hp.Float
    sampling = "log" if value.log else "linear"
    drawn = method(name, value.min, _reachable_max(value), step=value.step, sampling=sampling)
    if drawn is None or value.step is None:
        return drawn
    # Keras Tuner multiplies steps out: 0.05 + 2 * 0.05 is 0.15000000000000002, and 0.15 is meant.
    return drawn if isinstance(drawn, int) else float(f"{drawn:.12g}")


def _reachable_max(value: Range) -> float:
    """Returns the last value of a stepped range, so that Keras Tuner counts it in.

    Keras Tuner takes `(max - min) // step + 1` values, which floating point cuts by one for ranges
    such as 0.05 to 0.6 by 0.05: the upper end would never be tried. Where that is so, the upper end
    is moved by the one or two units in the last place that mend the count.
    """
    if value.step is None or value.size is None or isinstance(value.min, int):
        return value.max
    steps = value.size - 1
    last = float(f"{value.min + steps * value.step:.12g}")
    while (last - value.min) // value.step < steps:
        last = math.nextafter(last, math.inf)
    return last
