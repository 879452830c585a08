"""What a confirmation showed, in words: dropout helped, it hurt, or that is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from recdrop_tune.errors import exception_line
from recdrop_tune.results.intervals import Pair, PairedGain, seeds_to_settle

HELPED, HURT, NOT_KNOWN = "helped", "hurt", "not known"
"""The outcomes."""


@dataclass(frozen=True)
class Judgement:
    """What is known about dropout by one metric.

    Attributes:
        metric: The metric by which is judged; of the test data where there are any.
        direction: `"min"` or `"max"`.
        scores: Its values, a row for each seed, a column for each configuration.
        pairs: The configurations with dropout and their twins.
        gains: The gain over the twin by configuration.
        found_gains: The gain over the best found without dropout by configuration.
        best_id: The configuration with the best mean; `None` if there is none.
        dropping_id: The one with the best mean of those that have dropout; `None` if there is none.
        without_id: The best one found without dropout; `None` if there is none.
        failure: Why the twin of `dropping_id` could not be trained.
    """

    metric: str
    direction: str
    scores: pd.DataFrame
    pairs: Sequence[Pair]
    gains: Mapping[str, PairedGain]
    found_gains: Mapping[str, PairedGain]
    best_id: str | None
    dropping_id: str | None
    without_id: str | None
    failure: str | None = None

    @property
    def gain(self) -> PairedGain | None:
        """The gain of the best configuration with dropout over its twin; `None` if that is not known."""
        gain = self.gains.get(self.dropping_id or "")
        return None if gain is None or math.isnan(gain.gain) else gain


def verdict(judged: Sequence[Judgement]) -> tuple[str, str]:
    """Says what a confirmation showed.

    Args:
        judged: What is known, by each objective.

    Returns:
        The words, and the outcome by the first objective.
    """
    first = judged[0]
    outcome = NOT_KNOWN if first.gain is None else first.gain.outcome
    return "\n".join(_sentences(each) for each in judged), outcome


def amount(value: float) -> str:
    """Writes a difference with four decimals, or with the digits that count where these are all zeros.

    Example:
        >>> amount(0.01234), amount(0.00001234)
        ('0.0123', '1.2e-05')
    """
    text = f"{value:.4f}"
    return f"{value:.1e}" if value and float(text) == 0.0 else text


def gained(value: float) -> str:
    """Writes a gain; what is rounded to nothing is none.

    Example:
        >>> gained(0.01234), gained(0.00001)
        ('0.0123', 'no gain')
    """
    return "no gain" if float(f"{value:.4f}") == 0.0 else f"{value:.4f}"


def _sentences(judged: Judgement) -> str:
    parts = [_about_twin(judged), _about_found(judged)]
    if judged.dropping_id is not None and judged.best_id != judged.dropping_id:
        parts.insert(0, "The best confirmed configuration has no dropout.")
    return " ".join(part for part in parts if part)


def _about_twin(judged: Judgement) -> str:
    gain, own = judged.gain, judged.dropping_id
    if own is None:
        return "Whether dropout helped is not known: no configuration with dropout was completed."
    if gain is None:
        why = "it was not trained without its dropout"
        if judged.failure:
            why = f"without its dropout it could not be trained ({exception_line(judged.failure)})"
        return f"Whether dropout helped is not known: {why}."
    count = int(judged.scores[own].notna().sum())
    runs = f"{count} training{'s' if count != 1 else ''} each, fresh seeds"
    if math.isnan(gain.low):
        return (
            f"Whether dropout helped is not known: {_difference(judged.metric, gain)} over the same settings "
            "without dropout, in one paired training, which proves nothing; `confirm_seeds=5` tells more."
        )
    interval = f"95 % interval {amount(gain.low)} to {amount(gain.high)}"
    if gain.outcome == HELPED:
        return (
            f"Dropout helped: {judged.metric} is better by {amount(gain.gain)} than with the same settings "
            f"without dropout, {interval} ({runs})."
        )
    if gain.outcome == HURT:
        return (
            f"Dropout hurt: {judged.metric} is worse by {amount(-gain.gain)} than with the same settings "
            f"without dropout, gain {amount(gain.gain)}, {interval} ({runs})."
        )
    return (
        f"Whether dropout helped is not known: {_difference(judged.metric, gain)} over the same settings "
        f"without dropout, {interval} ({runs}). {_more_seeds(judged, own, count)}"
    )


def _difference(metric: str, gain: PairedGain) -> str:
    return f"no gain in {metric}" if gain.gain == 0 else f"gain {amount(gain.gain)} in {metric}"


def _more_seeds(judged: Judgement, own: str, count: int) -> str:
    pair = next(each for each in judged.pairs if each[0] == own)
    needed = seeds_to_settle(judged.scores, judged.pairs, judged.direction, pair)
    if needed is None:
        return "So small a difference 1000 seeds would not settle."
    more = max(1, needed - count)
    return (
        f"{more} more seed{'s' if more != 1 else ''} (`confirm_seeds={count + more}`) would settle it, if "
        "gain and spread stay what they are."
    )


def _about_found(judged: Judgement) -> str:
    """Says what the search is worth, where that is not the same."""
    own = judged.dropping_id
    gain = judged.found_gains.get(own or "")
    twin = next((twin for each, twin in judged.pairs if each == own), None)
    if gain is None or math.isnan(gain.gain) or twin == judged.without_id:
        return ""
    known = "" if math.isnan(gain.low) else f", {amount(gain.low)} to {amount(gain.high)}"
    return (
        "Over the best configuration without dropout that the search found, at other settings, the gain is "
        f"{amount(gain.gain)}{known}."
    )
