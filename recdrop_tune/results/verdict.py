"""The verdict of a confirmation in words: dropout helped, hurt, makes no difference, or it is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from recdrop_tune.errors import exception_line
from recdrop_tune.results.frames import shown
from recdrop_tune.results.intervals import (
    HELPED,
    HURT,
    NO_DIFFERENCE,
    NOT_KNOWN,
    Pair,
    PairedGain,
    shrunk,
)
from recdrop_tune.standing import amount, gained


@dataclass(frozen=True)
class Judgement:
    """The results of a confirmation in one metric.

    Attributes:
        objective: The objective that picks the best configuration.
        metric: The metric that is compared: the objective, on the test data if given.
        order: The configurations with a score, the best mean of the objective first.
        names: The configurations with dropout, in words.
        pairs: They and their twins.
        gains: The gain over the twin by configuration.
        margin: The largest difference that does not matter.
        messages: The error of a failed training by configuration.
    """

    objective: str
    metric: str
    order: Sequence[str]
    names: Mapping[str, str]
    pairs: Sequence[Pair]
    gains: Mapping[str, PairedGain]
    margin: float
    messages: Mapping[str, str]

    @property
    def outcome(self) -> str:
        """The outcome of all configurations together."""
        every = {each.outcome for each in self.gains.values()}
        if HELPED in every:
            return HELPED
        if NOT_KNOWN in every or not every:
            return NOT_KNOWN
        return NO_DIFFERENCE if NO_DIFFERENCE in every else HURT

    @property
    def lead(self) -> str | None:
        """The configuration that the verdict is about first: of those that show the outcome the best one."""
        there = [key for key in self.order if key in self.names]
        paired = [key for key in there if key in self.gains]
        shows = [key for key in paired if self.gains[key].outcome == self.outcome]
        return next(iter([*shows, *paired, *there]), None)

    @property
    def stated(self) -> float:
        """The gain of `lead`, as it is right on average; the mean difference if there is no interval."""
        gain = self.gains.get(self.lead or "")
        if gain is None:
            return math.nan
        stated = dict(zip(self.gains, shrunk(list(self.gains.values())), strict=True))
        size = stated[self.lead or ""]
        return gain.gain if math.isnan(size) else size


def verdict(judged: Sequence[Judgement]) -> tuple[str, str]:
    """Writes the verdict of a confirmation.

    Args:
        judged: What is known, by each objective.

    Returns:
        The words, and the outcome by the first objective.
    """
    return "\n".join(_sentences(each, len(judged) > 1) for each in judged), judged[0].outcome


def _sentences(judged: Judgement, several: bool) -> str:
    unknown, lead, outcome = "Whether dropout helped is not known", judged.lead, judged.outcome
    if lead is None:
        return " ".join(
            [f"{unknown}: no configuration with dropout was completed.", *_failed(judged)]
        )
    parts = []
    if judged.order[0] not in judged.names:
        best = f"By {judged.objective} the best" if several else "The best"
        parts.append(f"{best} confirmed configuration has no dropout.")
    gain, name = judged.gains.get(lead), judged.names[lead]
    if gain is None or math.isnan(gain.gain):
        parts.append(f"{unknown}: {name} was not trained without its dropout.")
        return " ".join([*parts, *_failed(judged)])
    size = judged.stated
    change = f"{amount(abs(size))} {'worse' if size < 0 else 'better'}" if size else "no better"
    about = "about " if size and not math.isnan(gain.low) else ""
    if math.isnan(gain.low):
        runs = f"{gain.trainings} training{'s' if gain.trainings != 1 else ''} each"
        proof = f"{runs}, which proves nothing"
    else:
        proof = (
            f"95 % interval {amount(gain.low)} to {amount(gain.high)}, {gain.trainings} fresh seeds"
        )
    begins = {
        HELPED: "Dropout helped",
        HURT: "Dropout hurt",
        NO_DIFFERENCE: f"Dropout makes no difference of more than {amount(judged.margin)}",
        NOT_KNOWN: unknown,
    }
    parts.append(
        f"{begins[outcome]}: {name} is {about}{change} in {judged.metric} than the same without dropout "
        f"({proof})."
    )
    words = {HELPED: "It helped in", HURT: "It hurt in", NO_DIFFERENCE: "It makes no difference in"}
    words[NOT_KNOWN] = "It is not known of"
    for each, begin in words.items():
        others = [k for k, g in judged.gains.items() if g.outcome == each and k != lead]
        if others:
            too = " too" if each == outcome else ""
            parts.append(f"{begin} {', '.join(judged.names[key] for key in others)}{too}.")
    return " ".join([*parts, *_failed(judged)])


def _failed(judged: Judgement) -> list[str]:
    """Writes which trainings have failed: those that have not may be the lucky ones."""
    parts = []
    for own, twin in judged.pairs:
        failed, count = judged.gains[own].failed, judged.gains[own].judged
        if any(failed):
            message = judged.messages.get(own if failed[0] else twin)
            why = f" ({exception_line(message)})" if message else ""
            parts.append(
                f"Of {judged.names[own]} {failed[0]} of {count} trainings failed, without its dropout "
                f"{failed[1]}{why}."
            )
    return parts


NUMBERS = ("search", "n", "failed", "mean", "std", "gain", "gain_low", "gain_high", "outcome")
"""The columns of `Confirmation.table` after the hyperparameters."""


def brief(table: pd.DataFrame) -> pd.DataFrame:
    """Returns `Confirmation.table` as text, each mean with its spread and each gain with its interval.

    Empty columns are left out, and so are settings that do not vary.
    """
    known = table.drop(columns="trial_id").dropna(axis="columns", how="all")
    settings = [*table][: [*table].index("search")]  # They come before the numbers.
    words = {}
    for name in map(str, known):
        column = table[name]
        if name in settings and name not in ("number", "twin"):
            if known[name].nunique(dropna=False) > 1:
                words[name] = pd.Series(shown(each, name) for each in column)
        elif name == "search":
            words[name] = column.map(lambda score: "-" if pd.isna(score) else amount(score))
        elif name == "twin":
            if column.any():
                words[name] = column.map({True: "twin", False: ""})
        elif f"{name}_low" in table:
            ends = zip(column, table[f"{name}_low"], table[f"{name}_high"], strict=True)
            words[name] = pd.Series(
                "-"
                if pd.isna(gain)
                else gained(gain) + ("" if pd.isna(low) else f" ({amount(low)} to {amount(high)})")
                for gain, low, high in ends
            )
        elif (spread := "std" if name == "mean" else f"{name}_std") in table:
            words[name] = pd.Series(
                "-"
                if pd.isna(mean)
                else amount(mean) + ("" if pd.isna(std) else f" ± {amount(std)}")
                for mean, std in zip(column, table[spread], strict=True)
            )
        elif name == "failed" and not column.any():
            continue
        elif not re.search(r"(_low|_high|std)$", name):
            words[name] = column.astype(object).map(shown)
    return pd.DataFrame(words)
