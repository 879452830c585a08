"""The wrappers' own arguments, each active only where it says something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recdrop_tune.catalog import OPTIONS, Option
from recdrop_tune.spaces._fields import Scalar
from recdrop_tune.spaces._register import register
from recdrop_tune.spaces._values import Value

if TYPE_CHECKING:
    from recdrop_tune.spaces._sampling import DropoutPlan, Group


def sample_options(hp: Any, plan: DropoutPlan, group: Group) -> dict[str, Scalar]:
    """Registers the options of a group's wrappers and returns the values active now.

    An option is a hyperparameter under its wrapper; if it is about a site, under the placements
    which have that. `has_sites` gives a wrapper with such an option a group of its own, for Keras
    Tuner opens a condition only where the other one was opened when its parent was registered.
    """
    drawn: dict[str, Scalar] = {}
    for name, value in plan.options.items():
        option = OPTIONS[name]
        having = [item for item in group.placements if _concerns(option, item)]
        if option.technique not in group.wrappers or not having:
            continue
        with hp.conditional_scope("wrapper", [option.technique]):
            if len(having) == len(group.placements):
                active = register(hp, name, value)
            else:
                with hp.conditional_scope(f"placement{group.suffix}", having):
                    active = register(hp, name, value)
        if active is not None:
            drawn[name] = active
    return drawn


def has_sites(wrapper: str, options: dict[str, Value]) -> bool:
    """Says whether an option of the wrapper is about one site only."""
    return any(OPTIONS[name].technique == wrapper and OPTIONS[name].site for name in options)


def _concerns(option: Option, placement: str) -> bool:
    return option.site is None or option.site in placement.split("+")
