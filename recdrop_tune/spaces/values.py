"""The values of a search space: fixed, a choice or a range, of numbers, words or flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import core_schema

from recdrop_tune.catalog import LOCKED_SITES, SITES, TECHNIQUES

Scalar = str | int | float | bool

# Strict, or pydantic would read "8" as 8 and 1 as true.
STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


class Range(BaseModel):
    """An interval to search, both ends included.

    Attributes:
        min: The lower end.
        max: The upper end. A `step` that does not divide the interval does not reach it.
        step: The distance between two values; `None` means any value (any integer, for integers).
        log: Whether values are drawn evenly on a logarithmic scale. Excludes `step`.

    Example:
        >>> Range(min=0.05, max=0.6).to_dict()
        {'min': 0.05, 'max': 0.6}
    """

    model_config = STRICT

    min: int | float
    max: int | float
    step: int | float | None = None
    log: bool = False

    def to_dict(self) -> dict[str, Scalar]:
        """Returns the range as users write it."""
        return self.model_dump(exclude_defaults=True)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.min < self.max:
            raise ValueError("a range with min < max")
        if self.step is not None and self.step > self.max - self.min + 1e-9:
            raise ValueError("a range with step <= max - min")
        if self.log and self.step is not None:
            # Keras Tuner takes a step on a logarithmic scale as a factor, which Optuna does not have.
            raise ValueError("a range with `step` or with `log`, not both")
        if self.log and self.min <= 0:
            raise ValueError("a range with min > 0, because of `log`")
        return self


# Single values.


@dataclass(frozen=True)
class OneOf:
    """Annotates a text that must be one of some words."""

    words: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Accepts the words and nothing else."""
        return core_schema.literal_schema(list(self.words))


def _plain(value: Any) -> Any:
    """Turns NumPy's numbers into Python's, which the strict types require."""
    return value.item() if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0 else value


def _in_order(value: Any) -> Any:
    """Puts the sites of a placement in the order in which data meets them."""
    sites = [part.strip() for part in value.split("+")] if isinstance(value, str) else []
    known = len(set(sites)) == len(sites) and set(sites) <= set(SITES)
    return "+".join(site for site in SITES if site in sites) if known and sites else value


_SITE = f"({'|'.join(SITES)})"
_PLACEMENTS = sorted(
    {placement for technique in TECHNIQUES.values() for placement in technique.placements},
    key=lambda placement: (placement.count("+"), placement),
)

# No tensor has 2**31 of anything, and Keras Tuner loses digits of larger numbers.
Count = Annotated[int, Field(gt=0, lt=2**31), BeforeValidator(_plain)]
Rate = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_plain)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_plain)]
Decay = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_plain)]
Placement = Annotated[
    str,
    OneOf(tuple(_PLACEMENTS)),
    BeforeValidator(_in_order),
    # An editor completes the words; the pattern accepts them in any order.
    WithJsonSchema(
        {
            "type": "string",
            "anyOf": [{"enum": _PLACEMENTS}, {"pattern": rf"^\s*{_SITE}(\s*\+\s*{_SITE})*\s*$"}],
        }
    ),
]


class Counts(Range):
    """A range of integers."""

    min: Count
    max: Count
    step: Count | None = None


class Rates(Range):
    """A range of dropout rates."""

    min: Rate
    max: Rate
    step: Positive | None = None


class Positives(Range):
    """A range of numbers > 0."""

    min: Positive
    max: Positive
    step: Positive | None = None


class Decays(Range):
    """A range of numbers >= 0."""

    min: Decay
    max: Decay
    step: Positive | None = None


# The forms of a value. Tags stand in angle brackets, or an error could confuse them with keys.


def _choice(values: tuple[Any, ...]) -> Any:
    """Drops duplicates, which Keras Tuner would count as more values. A choice of one is fixed."""
    if not values:
        raise ValueError("at least one value")
    distinct = tuple(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else distinct


def _form(value: object) -> str:
    if isinstance(value, list | tuple):
        return "<list>"
    if isinstance(value, Mapping | Range):
        return "<range>"
    return "<value>"


def _form_by_site(value: object) -> str:
    by_site = isinstance(value, Mapping) and value and set(value).isdisjoint(Range.model_fields)
    return "<sites>" if by_site else _form(value)


T = TypeVar("T")
R = TypeVar("R", bound=Range)

_Choice = Annotated[
    # JSON and YAML have lists and no tuples.
    tuple[T, ...],
    Field(strict=False, json_schema_extra={"minItems": 1}),
    AfterValidator(_choice),
    Tag("<list>"),
]
_Range = Annotated[
    R,
    BeforeValidator(lambda given: given.to_dict() if isinstance(given, Range) else given),
    AfterValidator(lambda given: Range.model_construct(**dict(given))),
    Tag("<range>"),
]

_Value = Annotated[T, Tag("<value>")]
Word = Annotated[
    _Value[T] | _Choice[T],
    Discriminator(lambda value: "<list>" if isinstance(value, list | tuple) else "<value>"),
]
Number = Annotated[_Value[T] | _Choice[T] | _Range[R], Discriminator(_form)]
OneRate = Number[Rate, Rates]
_BySite = Annotated[dict[T, OneRate], Field(min_length=1), Tag("<sites>")]
_Rates = _Value[Rate] | _Choice[Rate] | _Range[Rates]
SiteRates = Annotated[_Rates | _BySite[Annotated[str, OneOf(SITES)]], Discriminator(_form_by_site)]
LockedRates = Annotated[
    _Rates | _BySite[Annotated[str, OneOf(LOCKED_SITES)]], Discriminator(_form_by_site)
]

Value = Scalar | tuple[Scalar, ...] | Range


def as_words(value: Any) -> tuple[Any, ...]:
    """Returns a fixed value as a choice of one."""
    return value if isinstance(value, tuple) else (value,)


def as_written(value: Any) -> Any:
    """Returns a value as users write it."""
    if isinstance(value, Range):
        return value.to_dict()
    if isinstance(value, dict):
        return {site: as_written(item) for site, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
