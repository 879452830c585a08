"""What `explain` says of each technique: who shares a mask, and what keeps it off cuDNN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recdrop_tune.engine._explain import Obstacle, Rewriting
from recdrop_tune.wrappers import AbstractDropoutWrapper

PER_GATE = Obstacle(
    "each sample and gate has noise of its own, which no fused kernel can take",
    "use the wrapper `recurrent` or `variational`",
)
_KEEPS_H = Obstacle(
    "no gate keeps an LSTM's h, so hidden_rate above 0 takes a step loop",
    "pass hidden_rate=0 and zone out the cell alone",
)


def rewriting_of(wrapper: AbstractDropoutWrapper) -> Rewriting:
    """What a wrapper does to its layer's kernel call in training."""
    return Rewriting(
        wrapped=True,
        rewritten=bool(set(wrapper.sites) & set(wrapper.rewritten_sites)),
        forces_gates="recurrent" in wrapper.sites and wrapper.technique_id in _FORCES_GATES,
        obstacle=_obstacle_of(wrapper),
    )


_FORCES_GATES = ("recurrent", "zoneout")


def _obstacle_of(wrapper: AbstractDropoutWrapper) -> Obstacle | None:
    """What a wrapper's technique does in training that cuDNN cannot; `None` if nothing."""
    if wrapper.technique_id == "native" and "recurrent" in wrapper.sites:
        return PER_GATE
    if getattr(wrapper, "hidden_rate", 0.0) > 0.0:
        return _KEEPS_H
    return None


def sharing_of(wrapper: AbstractDropoutWrapper) -> str:
    """Says in words who shares a mask."""
    return _SHARING[wrapper.technique_id](wrapper)


def native_sharing(recurrent: bool) -> str:
    """Who shares a mask of Keras's own `dropout` and `recurrent_dropout`."""
    return "all steps of a sample, not its gates" if recurrent else "all steps of a sample"


def _recurrent(wrapper: Any) -> str:
    return "nobody: one per sample and step" if wrapper.per_step else "all steps of a sample"


def _lambda(wrapper: Any) -> str:
    if isinstance(wrapper.function, str):
        return "nobody: one per sample and step"
    return "as the mask function draws"


def _variational(wrapper: Any) -> str:
    if "recurrent" not in wrapper.sites:
        return "all steps of a sample"
    groups = wrapper.mask_groups
    samples = "the batch" if groups == 1 else f"a {groups}th of the batch"
    if groups in (2, 3):
        samples = {2: "half the batch", 3: "a third of the batch"}[groups]
    gates = "" if wrapper.tied_gates else ", not its gates"
    rest = "; input and output: of a sample" if len(wrapper.sites) > 1 else ""
    return f"all steps of {samples}{gates}{rest}"


def _fixed(words: str) -> Callable[[Any], str]:
    return lambda wrapper: words


_SHARING: dict[str, Callable[[Any], str]] = {
    "native": lambda wrapper: native_sharing("recurrent" in wrapper.sites),
    "recurrent": _recurrent,
    "variational": _variational,
    "weight_drop": _fixed("all samples and steps of a batch"),
    "zoneout": _fixed("nobody: one per sample and step"),
    "time_distributed": _fixed("nobody: one per sample and step"),
    "lambda": _lambda,
}
