"""The catalog of techniques: the wrappers, and the sites where each can drop.

It does not import Keras, so a search space or configuration is checked in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from recdrop_tune.errors import invalid_argument, suggestion

SITES = ("input", "recurrent", "output")
"""The places where a recurrent layer can drop, in the order of the data flow."""

SCHEDULE_NAMES = ("linear", "curriculum", "annealed", "ramp", "early", "late")
"""How a rate can change while a model trains; `recdrop_tune.models.SCHEDULES` has the functions."""

TASK_NAMES = ("classification", "regression", "tagging", "forecast", "language_model")
"""The tasks; `recdrop_tune.hypermodels` has a model for each."""

MILLISECONDS = "ms_per_step"
"""Metric of each epoch: milliseconds of a training step, without the first step of the epoch."""


@dataclass(frozen=True)
class Technique:
    """One value of the search dimension `wrapper`.

    Without dropout, `class_name` is None and `sites` is empty. `rate_at_inference`: inference reads the rate
    too. `learns_rate`: training learns the rate, so that it is not searched. `cell`: the only cell that
    has it (None: both).
    """

    id: str
    class_name: str | None
    sites: tuple[str, ...]
    rate_at_inference: bool = False
    learns_rate: bool = False
    cell: str | None = None

    @property
    def placements(self) -> tuple[str, ...]:
        """Every value of its `placement`: one site, or several joined by `+`."""
        return tuple(
            "+".join(sites)
            for size in range(1, len(self.sites) + 1)
            for sites in combinations(self.sites, size)
        )


TECHNIQUES: dict[str, Technique] = {
    technique.id: technique
    for technique in (
        Technique("none", None, ()),
        Technique("native", "NativeDropoutWrapper", ("input", "recurrent")),
        Technique("recurrent", "RecurrentDropoutWrapper", SITES),
        Technique("variational", "VariationalDropoutWrapper", SITES),
        Technique("weight_drop", "WeightDropWrapper", ("input", "recurrent")),
        Technique("concrete", "ConcreteDropoutWrapper", SITES, learns_rate=True),
        Technique("update", "UpdateDropoutWrapper", SITES, rate_at_inference=True, cell="lstm"),
        Technique("zoneout", "ZoneoutWrapper", ("recurrent",), rate_at_inference=True),
        Technique("time_distributed", "TimeDistributedDropoutWrapper", ("input", "output")),
        Technique("lambda", "LambdaDropoutWrapper", ("input", "output")),
    )
}

SEARCHED = tuple(t.id for t in TECHNIQUES.values() if not t.learns_rate and t.cell is None)
"""The default techniques of a search space: those of both cells whose rate is searched, and no dropout."""

LOCKED_SITES = ("input", "between", "output")
"""Where locked dropout can be added to a wrapper: before the first recurrent layer of a stack, between its
layers, and after the last."""

DECAYS = ("activity_decay", "temporal_decay")
"""Losses on the activations of a layer, with any wrapper or none."""


@dataclass(frozen=True)
class Option:
    """An argument of some wrappers that a search space can contain, under its own name.

    It has an effect only at its `site` (None: at all sites), and only its `cell` has it (None: both cells).
    """

    name: str
    techniques: tuple[str, ...]
    site: str | None = None
    cell: str | None = None


OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option("per_step", ("recurrent", "update")),
        Option("tied_gates", ("variational",), site="recurrent"),
        Option("mask_groups", ("variational", "concrete"), site="recurrent"),
        Option("elements", ("concrete",), site="recurrent"),
        Option("hidden_rate", ("zoneout",), cell="lstm"),
        Option("samples", ("concrete",)),
        Option("tau", ("concrete",)),
        Option("function", ("lambda",)),
    )
}


def technique(identifier: str) -> Technique:
    """Returns a technique by its id, or raises an `InvalidArgumentError`."""
    if not isinstance(identifier, str) or identifier not in TECHNIQUES:
        raise invalid_argument(
            "wrapper",
            expected=f"one of {', '.join(TECHNIQUES)}",
            received=identifier,
            fix=suggestion(identifier, TECHNIQUES),
        )
    return TECHNIQUES[identifier]


def check_cell(technique: Technique, cell: str | None) -> None:
    """Refuses a technique that another cell alone has."""
    if technique.cell not in (None, cell):
        raise invalid_argument(
            "wrapper",
            expected="one that a GRU has",
            received=technique.id,
            fix="No gate drops a GRU's candidate alone. `zoneout` lets it keep its state.",
        )


def parse_placement(placement: str, technique: Technique) -> tuple[str, ...]:
    """Splits a placement, one site or several joined by `+`, into sites in the order of `SITES`."""
    parts = [part.strip() for part in placement.split("+")] if isinstance(placement, str) else []
    if not parts or len(set(parts)) != len(parts) or not set(parts) <= set(technique.sites):
        raise invalid_argument(
            "placement",
            expected=f"for the wrapper `{technique.id}` one of {', '.join(technique.placements)}",
            received=placement,
        )
    return tuple(site for site in SITES if site in parts)
