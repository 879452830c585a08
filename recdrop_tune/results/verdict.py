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
    """Writes what dropout is worth, and what the search is worth if that differs."""
    unknown, name = "Whether dropout helped is not known", judged.metric
    gain, own = judged.gain, judged.dropping_id
    if own is None:
        return f"{unknown}: no configuration with dropout was completed."
    parts = []
    if judged.best_id != own:
        best = f"By {judged.objective} the best" if several else "The best"
        parts.append(f"{best} confirmed configuration has no dropout.")
    pair = next((each for each in judged.pairs if each[0] == own), None)
    if gain is None or pair is None:
        why = "it was not trained without its dropout"
        if judged.failure:
            why = f"without its dropout it could not be trained ({exception_line(judged.failure)})"
        parts.append(f"{unknown}: {why}.")
    else:
        count = int(judged.scores[list(pair)].notna().all(axis=1).sum())
        runs = f"{count} training{'s' if count != 1 else ''} each, fresh seeds"
        interval = f"95 % interval {amount(gain.low)} to {amount(gain.high)}"
        found = f"gain {amount(gain.gain)} in {name}" if gain.gain else f"no gain in {name}"
        if math.isnan(gain.low):
            parts.append(
                f"{unknown}: {found} over the same settings without dropout, in one paired training, which "
                "proves nothing; `Confirm(seeds=5)` tells more."
            )
        elif gain.outcome == HELPED:
            parts.append(
                f"Dropout helped: {name} is better by {amount(gain.gain)} than with the same settings "
                f"without dropout, {interval} ({runs})."
            )
        elif gain.outcome == HURT:
            parts.append(
                f"Dropout hurt: {name} is worse by {amount(-gain.gain)} than with the same settings without "
                f"dropout, gain {amount(gain.gain)}, {interval} ({runs})."
            )
        else:
            parts.append(
                f"{unknown}: {found} over the same settings without dropout, {interval} ({runs})."
            )
            needed = seeds_to_settle(judged.scores, judged.pairs, judged.direction, pair)
            if needed is None:
                parts.append("More than 1000 seeds would be needed to settle it.")
            else:
                tried = int(judged.scores.index.max()) + 1  # Failed ones are tried again.
                more = max(1, needed - tried)
                parts.append(
                    f"{more} more seed{'s' if more != 1 else ''} (`Confirm(seeds={tried + more})`) would "
                    "settle it, if gain and spread stay the same."
                )
    over = judged.found_gains.get(own)
    if (
        over is not None
        and not math.isnan(over.gain)
        and (pair or ("", ""))[1] != judged.without_id
    ):
        known = "" if math.isnan(over.low) else f", {amount(over.low)} to {amount(over.high)}"
        parts.append(
            "Over the best configuration without dropout that the search found, at other settings, the gain "
            f"is {amount(over.gain)}{known}."
        )
    return " ".join(parts)


GAIN, FOUND_GAIN = "gain", "found_gain"
"""The columns of the gain over the twin, and of the gain over the best found without dropout."""

NUMBERS = (
    *("kind", "search", "n", "mean", "std"),
    *(f"{name}{end}" for name in (GAIN, FOUND_GAIN) for end in ("", "_low", "_high")),
)


def brief(table: pd.DataFrame) -> pd.DataFrame:
    """Returns `Confirmation.table` as text, each mean with its spread and each gain with its interval.

    Empty columns are left out, and so are settings that do not vary.
    """
    known = table.drop(columns="trial_id").dropna(axis="columns", how="all")
    columns = [
        str(name)
        for name in known
        if name in ("number", *NUMBERS) or known[name].nunique(dropna=False) > 1
    ]
    settings = [*table][: [*table].index("search")]  # They come before the numbers.
    numbers = [name for name in columns if name in NUMBERS or name not in settings]
    words = table[[name for name in columns if name not in numbers]].astype(object)
    words = words.map(shown).assign(kind=table["kind"], n=table["n"].astype(str))
    for name in numbers:
        spread = "std" if name == "mean" else f"{name}_std"
        if f"{name}_low" in table:
            ends = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
            words[name] = [
                "-"
                if pd.isna(gain)
                else gained(gain) + ("" if pd.isna(low) else f" ({amount(low)} to {amount(high)})")
                for gain, low, high in ends
            ]
        elif spread in table:
            words[name] = [
                "-"
                if pd.isna(mean)
                else amount(mean) + ("" if pd.isna(std) else f" ± {amount(std)}")
                for mean, std in zip(table[name], table[spread], strict=True)
            ]
        elif not re.search(r"(_low|_high|std|^kind|^n)$", name):
            words[name] = table[name].astype(object).map(shown)
    # If all twins were found by the search, the two gains are equal.
    twins = {name: name.replace(FOUND_GAIN, GAIN) for name in map(str, words) if FOUND_GAIN in name}
    same = [n for n, twin in twins.items() if twin in words and words[n].equals(words[twin])]
    return words.drop(columns=same)
