"""The confirmation: the best configurations trained again, and what that has shown of dropout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from recdrop_tune.results.intervals import (
    HELPED,
    HURT,
    NO_DIFFERENCE,
    NOT_KNOWN,
    shrunk,
)
from recdrop_tune.results.paired_trainings import PairedTrainings
from recdrop_tune.results.verdict import (
    deciding_interval,
    format_advice,
    format_count,
    format_difference,
    format_failures,
    format_more_seeds,
)
from recdrop_tune.standing import format_number

_UNKNOWN = "whether dropout helped is not known"

_ELSEWHERE = {
    HELPED: "It helped in",
    HURT: "It hurt in",
    NO_DIFFERENCE: "It makes no difference in",
    NOT_KNOWN: "It is not known of",
}
"""How a sentence about the other configurations of an outcome begins."""


@dataclass(frozen=True)
class Confirmation(PairedTrainings):
    """The best configurations, their twins and the baselines, each trained again with the same fresh seeds.

    `runs` has the columns `trial_id`, `number`, `twin` (whether the twin of the trial was trained),
    `dropout_of` (the trial whose dropout it had instead of its own), `repeat`, `seed`, `best_epoch`,
    `seconds`, the objective, the other metrics at the best epoch, those on the test data as `test_...`, and
    `message`, the error of a failed training.

    `table` has the recommended configuration first, then the best mean. Its columns are `trial_id`, `number`,
    `twin`, `dropout_of`, the active hyperparameters (`hp/<name>` if another column has the name), `search`
    (the score in the search), `n` and `failed`, `epochs` (the most of a training), and the other `estimates`
    of the objective. With test data, the same for the objective on them: `test_loss`, `test_loss_std`,
    `test_gain`, ..., and `worst`, `better` and `outcome` are on them; and the means of the other test
    metrics.

    Attributes:
        records: The records of the search.

    Example:
        >>> confirmation = result.confirmation
        >>> confirmation.table[["wrapper", "n", "mean", "gain", "gain_low", "gain_high", "outcome"]]
        >>> confirmation.runs[["trial_id", "seed", "val_loss"]]
    """

    @property
    def ids(self) -> list[str]:
        """The configurations with a score: the recommended one, then the best mean first; see `best_id`."""
        return list(dict.fromkeys([self.best_id, *self.order]))

    @cached_property
    def best_id(self) -> str:
        """The recommended configuration.

        That is a trial, its twin as `<trial>_twin`, or the trial with the dropout of another one as
        `<trial>_with_<other>`. Among those that are not known to be worse than the best mean, one whose
        dropout is known to help comes first, then the best mean.
        """
        first, *others = self.order
        compared = self._gains(self.records.objective, [(name, first) for name in others])
        rivals = [first, *(name for name in others if compared[name].outcome != HURT)]
        return next((name for name in rivals if self.outcomes.get(name) == HELPED), first)

    @property
    def outcome(self) -> str:
        """The outcome of all configurations together, by the test data if there are any.

        `"helped"` if dropout helped in at least one configuration; else `"not known"` if that is open for
        one, `"no difference"` if it makes none in one, and `"hurt"` otherwise.
        """
        every = set(self.outcomes.values()) or {NOT_KNOWN}
        return next(each for each in (HELPED, NOT_KNOWN, NO_DIFFERENCE, HURT) if each in every)

    @property
    def dropping_id(self) -> str | None:
        """The configuration with dropout that `verdict` is about first; `None` without any.

        The recommended one or, if that has no dropout, the best mean of those that show the outcome.
        """
        dropping = [name for name in self.order if name in self.asked.dropping]
        if self.best_id in dropping:
            return self.best_id
        paired = [name for name in dropping if name in self.judged]
        shows = [name for name in paired if self.outcomes[name] == self.outcome]
        return next(iter([*shows, *paired, *dropping]), None)

    @property
    def gain(self) -> float:
        """The gain of the dropout of `dropping_id`, corrected for the choice of the best; see `shrunk`.

        The mean difference if there is no interval, NaN without a twin.
        """
        names, gains = list(self.judged), list(self.judged.values())
        if self.dropping_id not in names:
            return math.nan
        place = names.index(self.dropping_id)
        corrected = shrunk(gains)[place]
        return gains[place].gain if math.isnan(corrected) else corrected

    @cached_property
    def verdict(self) -> str:
        """The conclusion, in a few sentences."""
        failures = format_failures(self, "without its dropout")
        return " ".join([*_sentences(self), *failures, *format_advice(self.records)])

    @property
    def best(self) -> pd.Series[Any]:
        """The row of the recommended configuration."""
        return self.table.iloc[0]


def _sentences(confirmation: Confirmation) -> Iterator[str]:
    """Yields what a confirmation has shown."""
    names, lead = confirmation.names, confirmation.dropping_id
    yield f"Use {names[confirmation.best_id]}: {_answer(confirmation)}."
    if lead in confirmation.judged:
        yield from format_more_seeds(confirmation, lead, confirmation.gain)
    if (first := confirmation.order[0]) != confirmation.best_id:
        yield (
            f"{names[first][0].upper()}{names[first][1:]} has the better mean "
            f"{confirmation.records.objective}, but is not known to be better."
        )
    if lead is None or lead not in confirmation.judged:
        return
    gain = confirmation.judged[lead]
    if (repeat := gain.far_off) is not None:
        runs = confirmation.runs
        seed = runs["seed"][runs["repeat"] == repeat].iloc[0]
        difference = format_difference(gain.differences[repeat])
        yield f"With seed {seed}, {names[lead]} is {difference}, far from the other seeds."
    for outcome, begin in _ELSEWHERE.items():
        others = [name for name, each in confirmation.outcomes.items() if each == outcome]
        if others := [names[name] for name in others if name != lead]:
            yield f"{begin} {', '.join(others)}{' too' * (outcome == gain.outcome)}."


def _answer(confirmation: Confirmation) -> str:
    """Writes what the dropout of the recommended configuration is worth, or that of another one."""
    lead = confirmation.dropping_id
    if lead is None:
        return f"{_UNKNOWN}, because no configuration with dropout was completed"
    is_best = lead == confirmation.best_id
    name = "it" if is_best else confirmation.names[lead]
    gain = confirmation.judged.get(lead)
    if gain is None or math.isnan(gain.gain):
        return f"{_UNKNOWN}, because {name} was not trained without its dropout"
    outcomes = {
        HELPED: "dropout helped" + " only elsewhere" * (not is_best),
        HURT: "dropout hurt",
        NO_DIFFERENCE: "dropout makes no difference of more than "
        f"{format_number(confirmation.margin(confirmation.metric))}",
        NOT_KNOWN: _UNKNOWN,
    }
    level, low, high = deciding_interval(gain)
    ends = f"{level} interval of the gain {format_number(low)} to {format_number(high)}"
    proof, about = f"{ends}, {format_count(gain.trainings, 'fresh seed')}", "about "
    if math.isnan(low):
        proof = f"{format_count(gain.trainings, 'training')} each, which proves nothing"
    if math.isnan(low) or not confirmation.gain:
        about = ""
    difference = f"{about}{format_difference(confirmation.gain)} in {confirmation.metric}"
    return (
        f"{outcomes[gain.outcome]}; {name} is {difference} than the same without dropout ({proof})"
    )
