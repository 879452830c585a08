"""The values of a search space: fixed, a choice or a range, of numbers, words or flags."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic_core import core_schema

from recdrop_tune.catalog import LOCKED_SITES, SITES, TECHNIQUES
from recdrop_tune.errors import invalid_argument
from recdrop_tune.problems import problem, refusal, suggestion

Scalar = str | int | float | bool

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)

# A range, which numbers can have.


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

    model_config = STRICT

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
        return self.model_dump(exclude_defaults=True)


_FINEST = 1e-9
"""The finest step, as a part of its range: finer ones drown in the rounding of floating-point numbers."""


class _Bounds(Range):
    """A range as a search space has it: its values are those of a key."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "properties": {"log": {"const": True}, "step": {"type": "number"}},
                "required": ["step", "log"],
            }
        }
    )

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, given: Any) -> Any:
        return given.to_dict() if isinstance(given, Range) else dict(given)

    @model_validator(mode="after")
    def _together(self) -> _Bounds:
        """Checks what the keys say together."""
        low, high, step, wrong = self.min, self.max, self.step, []
        if not low < high:
            wrong.append(problem(("min",), f"a number < max={high!r}", low))
        elif step is not None and step > high - low + 1e-9:
            wrong.append(problem(("step",), f"a number <= max - min = {high - low:.12g}", step))
        elif isinstance(step, float) and step < (high - low) * _FINEST:
            finest = f"a number >= {_FINEST:g} * (max - min)"
            fix = "Leave it out for any value in between."
            wrong.append(problem(("step",), finest, step, fix))
        if self.log and step is not None:
            # Keras Tuner reads a step on a logarithmic scale as a factor, which Optuna does not know.
            fix = "Leave out one of the two."
            wrong.append(problem(("step",), "no step where log is true", step, fix))
        if self.log and low <= 0:
            wrong.append(problem(("min",), "a number > 0 where log is true", low))
        if wrong:
            raise refusal(wrong)
        return self


# Single values.


@dataclass(frozen=True)
class Expected:
    """Says what a value may be where it is refused.

    Attributes:
        text: What a value may be.
        words: Words that are near misses of others.
        nothing: What to write for `None`.
    """

    text: str
    words: tuple[str, ...] = ()
    nothing: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Reads as the annotated type does."""
        return core_schema.no_info_wrap_validator_function(self._read, handler(source))

    def _read(self, value: Any, read: Any) -> Any:
        try:
            return read(value)
        except ValidationError:
            nothing = value is None or (isinstance(value, str) and value in ("None", "none"))
            fix = self.nothing if nothing and self.nothing else suggestion(value, self.words)
            raise invalid_argument("", expected=self.text, received=value, fix=fix) from None


class Words(Expected):
    """One of some words."""

    def __init__(self, *words: str, nothing: str = "") -> None:
        super().__init__(f"one of {', '.join(words)}", words, nothing)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Reads one of the words."""
        known = core_schema.literal_schema(list(self.words))
        return core_schema.no_info_wrap_validator_function(self._read, known)


def _number(value: Any) -> Any:
    """Returns NumPy's numbers and their like as Python's own."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    try:
        return int(value) if isinstance(value, Integral) else float(value)
    except OverflowError:
        return value


def _ordered(value: Any) -> Any:
    """Returns sites in the order in which data meet them."""
    parts = [part.strip() for part in value.split("+")] if isinstance(value, str) else []
    if not parts or len(set(parts)) != len(parts) or not set(parts) <= set(SITES):
        raise ValueError
    return "+".join(site for site in SITES if site in parts)


_SITE = f"({'|'.join(SITES)})"
_JOINED = sorted(
    {placement for spec in TECHNIQUES.values() for placement in spec.placements},
    key=lambda placement: (placement.count("+"), placement),
)

Flag = Annotated[bool, Expected("true or false")]
Count = Annotated[
    # No tensor has more than that of anything, and Keras Tuner loses the digits of larger ones.
    int, Field(gt=0, lt=2**31), BeforeValidator(_number), Expected("an integer > 0 and < 2**31")
]
Rate = Annotated[
    float, Field(ge=0, lt=1), BeforeValidator(_number), Expected("a number, 0 <= rate < 1")
]
Positive = Annotated[
    float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_number), Expected("a number > 0")
]
Decay = Annotated[
    float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_number), Expected("a number >= 0")
]
Whole = Annotated[int, Field(gt=0), BeforeValidator(_number), Expected("an integer > 0")]
Placement = Annotated[
    str,
    # An editor completes the words; the pattern takes them in any other order too.
    Field(
        json_schema_extra={
            "anyOf": [{"enum": _JOINED}, {"pattern": rf"^\s*{_SITE}(\s*\+\s*{_SITE})*\s*$"}]
        }
    ),
    BeforeValidator(_ordered),
    Expected(f"one of {', '.join(SITES)}, or several of them joined by +", SITES),
]


class Counts(_Bounds):
    """A range of integers."""

    min: Count
    max: Count
    step: Whole | None = None


class Rates(_Bounds):
    """A range of dropout rates."""

    min: Rate
    max: Rate
    step: Positive | None = None


class Positives(_Bounds):
    """A range of numbers > 0."""

    min: Positive
    max: Positive
    step: Positive | None = None


class Decays(_Bounds):
    """A range of numbers >= 0."""

    min: Decay
    max: Decay
    step: Positive | None = None


# The forms of a value: fixed, a list to choose from, and of numbers a range.


def _distinct(raw: Any, read: Any) -> Any:
    """Reads a list, whose values have to differ; a list of one is that one."""
    if not raw:
        raise invalid_argument("", expected="at least one value", received=raw)
    values, seen, wrong = read(raw), set(), []
    for position, value in enumerate(values):
        if value in seen:
            wrong.append(problem((position,), "each value once", raw[position]))
        seen.add(value)
    if wrong:
        raise refusal(wrong)
    return values[0] if len(values) == 1 else values


def _range(bounds: _Bounds) -> Range:
    return Range.model_construct(**dict(bounds))


def _form(by_site: str = "", sites: Sequence[str] = ()) -> Discriminator:
    """Tells the forms of a number apart by their tags; `by_site` is that of a rate for each site."""

    def tag(value: object) -> str:
        if isinstance(value, list | tuple):
            return "<list>"
        if isinstance(value, Mapping) and not set(sites).isdisjoint(value):
            return by_site
        return "<range>" if isinstance(value, Mapping | Range) else "<number>"

    return Discriminator(tag)


T = TypeVar("T")
B = TypeVar("B", bound=_Bounds)

_Choice = Annotated[
    tuple[T, ...],
    Field(strict=False, json_schema_extra={"minItems": 1, "uniqueItems": True}),
    WrapValidator(_distinct),
    Tag("<list>"),
]
_Range = Annotated[B, AfterValidator(_range), Tag("<range>")]

Plain = Annotated[
    Annotated[T, Tag("<value>")] | _Choice[T],
    Discriminator(lambda value: "<list>" if isinstance(value, list | tuple) else "<value>"),
]
Number = Annotated[Annotated[T, Tag("<number>")] | _Choice[T] | _Range[B], _form()]
OneRate = Number[Rate, Rates]


def left_out(description: str | None = None) -> Any:
    """Makes a key that can be left out; where it is there, `None` is no value."""
    return Field(default=None, description=description)


class BySite(BaseModel):
    """A rate for each site of a wrapper."""

    model_config = ConfigDict(**STRICT, json_schema_extra={"minProperties": 1})

    input: OneRate = left_out()
    recurrent: OneRate = left_out()
    output: OneRate = left_out()


class ByPlace(BaseModel):
    """A rate for each place of locked dropout."""

    model_config = ConfigDict(**STRICT, json_schema_extra={"minProperties": 1})

    input: OneRate = left_out()
    between: OneRate = left_out()
    output: OneRate = left_out()


def _by_site(rates: BaseModel) -> dict[str, Any]:
    return {site: value for site, value in rates if value is not None}


SiteRates = Annotated[
    Annotated[Rate, Tag("<number>")]
    | _Choice[Rate]
    | _Range[Rates]
    | Annotated[BySite, AfterValidator(_by_site), Tag("<sites>")],
    _form("<sites>", SITES),
]
LockedRates = Annotated[
    Annotated[Rate, Tag("<number>")]
    | _Choice[Rate]
    | _Range[Rates]
    | Annotated[ByPlace, AfterValidator(_by_site), Tag("<places>")],
    _form("<places>", LOCKED_SITES),
]

MAPPINGS = {
    "<range>": tuple(Range.model_fields),
    "<sites>": tuple(BySite.model_fields),
    "<places>": tuple(ByPlace.model_fields),
}
"""The keys of mappings, by the tag of their form."""

ALSO = {
    "<value>": "; a list of such values",
    "<number>": "; a list of such values or a range {min, max, step, log}",
    "<range>": "a range {min, max, step, log}, of which step and log can be left out",
}
"""What else a value may be, by the tag of its form."""

Value = Scalar | tuple[Scalar, ...] | Range
