"""The verdict of a confirmation in words: dropout helped, it hurt, or that is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from recdrop_tune.errors import exception_line
from recdrop_tune.results.frames import shown
from recdrop_tune.results.intervals import Pair, PairedGain, seeds_to_settle
from recdrop_tune.standing import amount, gained

HELPED, HURT, NOT_KNOWN = "helped", "hurt", "not known"
"""The outcomes."""


@dataclass(frozen=True)
class Judgement:
    """The facts about dropout in one metric.

    Attributes:
        objective: The objective that picks the best configuration.
        metric: The metric that is compared: the objective, on the test data if given.
        direction: `"min"` or `"max"`.
        scores: Its values, a row for each seed, a column for each configuration.
        pairs: The configurations with dropout and their twins.
        gains: The gain over the twin by configuration.
        found_gains: The gain over the best found without dropout by configuration.
        best_id: The configuration with the best mean, if any was trained.
        dropping_id: The configuration with dropout that has the best mean, if any.
        without_id: The best configuration without dropout that the search found, if any.
        failure: Why the twin of `dropping_id` could not be trained.
    """

    objective: str
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
        """The gain of the best configuration with dropout over its twin; `None` if unknown."""
        gain = self.gains.get(self.dropping_id or "")
        return None if gain is None or math.isnan(gain.gain) else gain


def verdict(judged: Sequence[Judgement]) -> tuple[str, str]:
    """Writes the verdict of a confirmation.

    Args:
        judged: What is known, by each objective.

    Returns:
        The words, and the outcome by the first objective.
    """
    first = judged[0]
    outcome = NOT_KNOWN if first.gain is None else first.gain.outcome
    return "\n".join(_sentences(each, len(judged) > 1) for each in judged), outcome


def _sentences(judged: Judgement, several: bool) -> str:
    parts = [_about_twin(judged), _about_found(judged)]
    if judged.dropping_id is not None and judged.best_id != judged.dropping_id:
        best = f"By {judged.objective} the best" if several else "The best"
        parts.insert(0, f"{best} confirmed configuration has no dropout.")
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
    pair = next(each for each in judged.pairs if each[0] == own)
    count = int(judged.scores[list(pair)].notna().all(axis=1).sum())
    runs = f"{count} training{'s' if count != 1 else ''} each, fresh seeds"
    if math.isnan(gain.low):
        return (
            f"Whether dropout helped is not known: {_difference(judged.metric, gain)} over the same settings "
            "without dropout, in one paired training, which proves nothing; `Confirm(seeds=5)` tells more."
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
        f"without dropout, {interval} ({runs}). {_more_seeds(judged, pair)}"
    )


def _difference(metric: str, gain: PairedGain) -> str:
    return f"no gain in {metric}" if gain.gain == 0 else f"gain {amount(gain.gain)} in {metric}"


def _more_seeds(judged: Judgement, pair: Pair) -> str:
    needed = seeds_to_settle(judged.scores, judged.pairs, judged.direction, pair)
    if needed is None:
        return "More than 1000 seeds would be needed to settle it."
    tried = int(judged.scores.index.max()) + 1  # Failed ones are tried again.
    more = max(1, needed - tried)
    return (
        f"{more} more seed{'s' if more != 1 else ''} (`Confirm(seeds={tried + more})`) would settle it, if "
        "gain and spread stay the same."
    )


def _about_found(judged: Judgement) -> str:
    """Writes what the search is worth, if that differs from what dropout is worth."""
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


GAIN, FOUND_GAIN = "gain", "found_gain"
"""The columns of the gain over the twin, and of the gain over the best found without dropout."""

NUMBERS = (
    *("kind", "search", "n", "mean", "std"),
    *(f"{name}{end}" for name in (GAIN, FOUND_GAIN) for end in ("", "_low", "_high")),
)


def columns_worth_showing(table: pd.DataFrame) -> list[str]:
    """Lists the columns of `Confirmation.table` that vary or are numbers, except empty ones."""
    known = table.dropna(axis="columns", how="all")
    names = [str(name) for name in known if name != "trial_id"]
    varying = [name for name in names if known[name].nunique(dropna=False) > 1]
    kept = [name for name in names if name in varying or name in NUMBERS]
    return ["number", *(name for name in kept if name != "number")]


def brief(table: pd.DataFrame) -> pd.DataFrame:
    """Returns `Confirmation.table` as text, each mean with its spread and each gain with its interval."""
    columns = columns_worth_showing(table)
    numbers = [name for name in columns if name in NUMBERS or name not in _settings(table)]
    words = table[[name for name in columns if name not in numbers]].astype(object)
    words = words.map(shown).assign(kind=table["kind"], n=table["n"].astype(str))
    for name in numbers:
        ends = [f"{name}_low", f"{name}_high"]
        spread = "std" if name == "mean" else f"{name}_std"
        if ends[0] in table:
            words[name] = [_interval(*each) for each in table[[name, *ends]].to_numpy()]
        elif spread in table:
            words[name] = [_spread(*each) for each in table[[name, spread]].to_numpy()]
        elif not re.search(r"(_low|_high|std|^kind|^n)$", name):
            words[name] = table[name].astype(object).map(shown)
    # If all twins were found by the search, the two gains are equal.
    of_twin = {
        str(name): str(name).replace(FOUND_GAIN, GAIN) for name in words if FOUND_GAIN in str(name)
    }
    same = [
        name for name, twin in of_twin.items() if twin in words and words[name].equals(words[twin])
    ]
    return words.drop(columns=same)


def _settings(table: pd.DataFrame) -> list[str]:
    """Lists the columns of trial and hyperparameters, which come before the numbers."""
    names = [str(name) for name in table]
    return names[: names.index("search")]


def _spread(mean: float, std: float) -> str:
    return "-" if pd.isna(mean) else amount(mean) + ("" if pd.isna(std) else f" ± {amount(std)}")


def _interval(gain: float, low: float, high: float) -> str:
    if pd.isna(gain):
        return "-"
    return gained(gain) + ("" if pd.isna(low) else f" ({amount(low)} to {amount(high)})")
