"""The confirmation: the best configurations trained again with the same fresh seeds, so gains are paired.

The gain of a configuration is over its *twin*, the same configuration without dropout. Over any other
configuration it would be that of a learning rate too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from recdrop_tune import standing
from recdrop_tune.events import Configuration, ConfirmationEnded
from recdrop_tune.hyperparameters import Values, drops, is_twin
from recdrop_tune.records import Records
from recdrop_tune.results.frames import format_cell
from recdrop_tune.results.intervals import (
    HELPED,
    HURT,
    NO_DIFFERENCE,
    NOT_KNOWN,
    Pair,
    shrunk,
)
from recdrop_tune.results.paired_trainings import GAIN, JUDGED, PairedTrainings, format_if_known
from recdrop_tune.results.verdict import format_configuration, format_verdict

_ABOUT = ("trial_id", "number", "twin", "dropout_of")
_COLUMNS = (*_ABOUT, "search", "n", "failed", "epochs", "mean", "std", *GAIN, *JUDGED)
"""Columns of `Confirmation.table`; a hyperparameter of the same name is in the column `hp/<name>`."""


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

    columns = _ABOUT

    # What was trained.

    def _place(self, training: ConfirmationEnded) -> tuple[Any, ...]:
        number = self.records.trials[training.trial_id].number
        return number, training.configuration.name

    def _about(self, configuration: Configuration) -> dict[str, Any]:
        trial_id, twin, dropout_of = configuration
        number = self.records.trials[trial_id].number
        return {"trial_id": trial_id, "number": number, "twin": twin, "dropout_of": dropout_of}

    @cached_property
    def configurations(self) -> dict[str, Values]:
        """The active hyperparameters of the trained configurations, by name."""
        trained = dict.fromkeys(each.configuration for each in self._trainings)
        return {each.name: standing.values_of(self.records, each) for each in trained}

    @cached_property
    def names(self) -> dict[str, str]:
        """The configurations in words, by name."""
        return {
            name: format_configuration(self.records, Configuration.named(name))
            for name in self.configurations
        }

    @cached_property
    def dropping(self) -> list[str]:
        """The configurations with dropout."""
        return sorted(name for name, values in self.configurations.items() if drops(values))

    @cached_property
    def pairs(self) -> list[Pair]:
        """The configurations with dropout whose twin was trained too, each with its twin."""
        known = self.configurations
        twins = {
            own: next((name for name in known if is_twin(known[name], known[own])), None)
            for own in self.dropping
        }
        return [(own, twin) for own, twin in twins.items() if twin is not None]

    @property
    def _combined(self) -> list[str]:
        """The configurations that joined after another one was known to have helped."""
        return [name for name in self.configurations if Configuration.named(name).dropout_of]

    @property
    def _number(self) -> int:
        """A combined configuration takes over the share of one that is known to have helped."""
        return len(self.pairs) - len(self._combined)

    # The conclusion.

    @property
    def lead(self) -> str | None:
        """The best mean."""
        return next(iter(self.order), None)

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
        if self.best_id in self.dropping:
            return self.best_id
        dropping = [name for name in self.order if name in self.dropping]
        paired = [name for name in dropping if name in self.judged]
        shows = [name for name in paired if self.outcomes[name] == self.outcome]
        return next(iter([*shows, *paired, *dropping]), None)

    @property
    def gain(self) -> float:
        """What the dropout of `dropping_id` is worth, corrected for the choice of the best; see `shrunk`.

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
        return format_verdict(self)

    @property
    def in_question(self) -> list[str]:
        """What `PairedTrainings.in_question` has, and once a combination of the best mean with a dropout."""
        combination = self._combination()
        return [*(super().in_question or self.order[: len(combination)]), *combination]

    def _combination(self) -> list[str]:
        """Returns the best mean, if that has no dropout, with the best dropout that helped elsewhere."""
        helped = [name for name in self.order if self.outcomes.get(name) == HELPED]
        if self._combined or not helped or self.order[0] in self.dropping:
            return []
        best, donor = (Configuration.named(name).trial_id for name in (self.order[0], helped[0]))
        combination = Configuration(best, dropout_of=donor)
        values = standing.values_of(self.records, combination)
        return [] if values in self.configurations.values() else [combination.name]

    # Tables.

    @cached_property
    def _settings(self) -> pd.DataFrame:
        """One row for each configuration of `ids`: its trial, active hyperparameters, score in the search."""
        scored = [name for name in self.configurations if name in self.order]
        rows, scores = [], []
        for name in scored:
            configuration, values = Configuration.named(name), self.configurations[name]
            trial = self.records.trials[configuration.trial_id]
            own = {f"hp/{key}" if key in _COLUMNS else key: value for key, value in values.items()}
            rows.append({**configuration._asdict(), "number": trial.number, **own})
            scores.append(math.nan if configuration.suffix or trial.score is None else trial.score)
        columns = dict.fromkeys([*_ABOUT, *(key for row in rows for key in row)])
        frame = pd.DataFrame(rows, scored, [*columns])
        frame = frame.astype({"twin": "bool", "dropout_of": "string"})
        return frame.assign(search=scores).loc[self.ids]

    @property
    def best(self) -> pd.Series[Any]:
        """The row of the recommended configuration."""
        return self.table.iloc[0]

    def _brief_settings(self) -> dict[str, list[str]]:
        table, settings = self.table, self._settings.columns.drop(["trial_id", "number", "search"])
        words = {"number": [*map(format_cell, table["number"])]}
        for name in settings:
            if table[name].nunique(dropna=False) > 1:
                words[name] = [format_cell(value, name) for value in table[name]]
        if table["twin"].any():
            words["twin"] = ["twin" if twin else "" for twin in table["twin"]]
        return {**words, "search": [*map(format_if_known, table["search"])]}


def confirmation_of(records: Records) -> Confirmation | None:
    """Returns the confirmation of a search; `None` if no confirmed training succeeded."""
    confirmation = Confirmation(records) if records.confirmations else None
    return confirmation if confirmation and confirmation.order else None
