"""What the keys of a search space say together: what is offered under which wrapper, and contradictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import InitErrorDetails

from recdrop_tune.catalog import SITES, TECHNIQUES
from recdrop_tune.problems import problem
from recdrop_tune.spaces.values import Range


def offered_placements(wrapper: str, placement: Any, rate: object) -> tuple[str, ...]:
    """Lists the placements of a wrapper that the space asks for, in the order of the space."""
    having = TECHNIQUES[wrapper].placements
    if placement is not None:
        return tuple(item for item in as_words(placement) if item in having)
    if TECHNIQUES[wrapper].learns_rate:
        return having
    sites = set(rate) if isinstance(rate, dict) else set(SITES)
    return tuple(item for item in having if set(item.split("+")) <= sites)


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


def contradictions(space: Any) -> Iterator[InitErrorDetails]:
    """Finds what the keys of a `SearchSpace` say together that cannot be searched."""
    yield from _misplaced(space)
    yield from _mismatched(space)
    yield from _unscheduled(space)


def _misplaced(space: Any) -> Iterator[InitErrorDetails]:
    """Checks `wrapper`, `placement` and `rate` against one another."""
    offered = {
        name: offered_placements(name, space.placement, space.rate) for name in _dropping(space)
    }
    for wrapper, placements in offered.items():
        if not placements:
            key = "rate" if space.placement is None else "placement"
            having = ", ".join(TECHNIQUES[wrapper].placements)
            expected = f"a placement that the wrapper `{wrapper}` has, one of {having}"
            fix = f"Add one, or leave `{wrapper}` out of `wrapper`."
            yield problem((key,), expected, as_written(getattr(space, key)), fix)
    rated = [name for name in offered if not TECHNIQUES[name].learns_rate]
    if space.rate is not None and offered and not rated:
        expected = f"no rate, for it is learned under the wrapper `{', '.join(offered)}`"
        yield problem(("rate",), expected, as_written(space.rate), "Leave it out.")
    if isinstance(space.rate, dict):
        used = {site for name in rated for item in offered[name] for site in item.split("+")}
        for site in [site for site in SITES if site in used and site not in space.rate]:
            expected = f"a rate for the site `{site}`, which `placement` has"
            yield problem(("rate",), expected, as_written(space.rate))


def _mismatched(space: Any) -> Iterator[InitErrorDetails]:
    """Checks what asks for a certain cell or number of layers.

    Where there may be others it cannot be a hyperparameter: Keras Tuner has no two conditions on
    one, unless one of them is itself under the other.
    """
    cell, layers = space.cell or "lstm", space.layers or 1
    if space.hidden_rate is not None and cell != "lstm":
        fix = "Leave out `hidden_rate`: the state of a GRU has the rate `rate`."
        yield problem(
            ("cell",), "lstm alone, where there is a `hidden_rate`", as_written(cell), fix
        )
    numbers = (layers.min,) if isinstance(layers, Range) else as_words(layers)
    if isinstance(space.locked_rate, dict) and "between" in space.locked_rate and 1 in numbers:
        expected = "2 or more, where there is `locked_rate.between`"
        fix = "Leave out `between`, or give one `locked_rate` for all sites."
        yield problem(("layers",), expected, as_written(layers), fix)


def _unscheduled(space: Any) -> Iterator[InitErrorDetails]:
    """Checks `wrapper` and `schedule` against each other."""
    for wrapper in _dropping(space) if space.schedule is not None else ():
        having = TECHNIQUES[wrapper].schedules
        if not set(as_words(space.schedule)) & set(having):
            expected = f"a schedule that the wrapper `{wrapper}` has, {', '.join(having)}"
            fix = f"Add it, or leave `{wrapper}` out of `wrapper`."
            yield problem(("schedule",), expected, as_written(space.schedule), fix)


def _dropping(space: Any) -> list[str]:
    return [wrapper for wrapper in as_words(space.wrapper) if wrapper != "none"]
