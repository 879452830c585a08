"""The confirmation: the best configurations trained again with the same fresh seeds, so gains are paired.

The gain of a configuration is over its *twin*, the same configuration without dropout. Over any other
configuration it would be that of a learning rate too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
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
    Looks,
    Pair,
    PairedGain,
    comparable_means,
    paired_gains,
    shrunk,
)
from recdrop_tune.results.verdict import format_configuration, format_verdict
from recdrop_tune.standing import format_gain, format_number

_ABOUT = ("trial_id", "number", "twin", "dropout_of")
_GAIN = {"gain": "gain", "gain_low": "low", "gain_high": "high"}
_JUDGED = {"worst": "worst", "better": "better", "outcome": "outcome"}
"""Columns of `Confirmation.estimates` by the attributes of `PairedGain` that they show."""

_COLUMNS = (*_ABOUT, "search", "n", "failed", "epochs", "mean", "std", *_GAIN, *_JUDGED)
"""Columns of `Confirmation.table`; a hyperparameter of the same name is in the column `hp/<name>`."""


@dataclass(frozen=True)
class Confirmation:
    """The best configurations, their twins and the baselines, each trained again with the same fresh seeds.

    All of it follows from the records. What was trained and what it is compared with (`configurations`,
    `pairs`, `names`) is about dropout; scores, gains and outcomes are those of any named configurations.

    Attributes:
        records: The records of the search.

    Example:
        >>> confirmation = result.confirmation
        >>> confirmation.table[["wrapper", "n", "mean", "gain", "gain_low", "gain_high", "outcome"]]
        >>> confirmation.runs[["trial_id", "seed", "val_loss"]]
    """

    records: Records

    # What was trained.

    @cached_property
    def _trainings(self) -> list[ConfirmationEnded]:
        """The trainings, seed by seed. A training that a dead worker had reported too counts once."""
        last = {(each.configuration, each.repeat): each for each in self.records.confirmations}
        trials = self.records.trials
        return sorted(
            last.values(),
            key=lambda each: (each.repeat, trials[each.trial_id].number, each.configuration.name),
        )

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

    # Scores.

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row for each training.

        Columns: `trial_id`, `number`, `twin` (whether the twin of the trial was trained), `dropout_of` (the
        trial whose dropout it had instead of its own), `repeat`, `seed`, `best_epoch`, `seconds`, the
        objective, the other metrics at the best epoch, those on the test data as `test_...`, and `message`,
        the error of a failed training.
        """
        rows = [
            {
                "trial_id": each.trial_id,
                "number": self.records.trials[each.trial_id].number,
                "twin": each.twin,
                "dropout_of": each.dropout_of,
                "repeat": each.repeat,
                "seed": each.seed,
                "best_epoch": each.best_epoch,
                "seconds": each.seconds,
                self.records.objective: each.score,
                **each.metrics,
                "message": each.message,
            }
            for each in self._trainings
        ]
        frame = pd.DataFrame(rows)
        frame["message"] = frame.pop("message")  # The last column.
        types = dict.fromkeys(frame, "Float64") | {"twin": "bool"}
        types |= dict.fromkeys(("trial_id", "dropout_of", "message"), "string")
        types |= dict.fromkeys(("number", "repeat", "seed", "best_epoch"), "Int64")
        return frame.astype(types)

    def trainings(self, name: str) -> pd.DataFrame:
        """Returns the rows of `runs` of a configuration.

        Args:
            name: One of `ids`.
        """
        return self.runs[[each.configuration.name == name for each in self._trainings]]

    @cached_property
    def metric(self) -> str:
        """The metric of the outcomes: the objective, on the test data if there are any."""
        name = f"test_{self.records.objective.removeprefix('val_')}"
        tested = name in self.runs and self.runs[name].notna().any()
        return name if tested else self.records.objective

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row for each training and metric: the objective, and the metrics on the test data.

        Columns: `configuration` (its name), `repeat`, `metric` and `score`: infinitely bad if the training
        failed or its objective is not finite, NaN if the metric was not reported.
        """
        goal = self.records.objective
        tests = (name for name in map(str, self.runs) if name.startswith("test_"))
        scores = self.runs[[*dict.fromkeys([goal, self.metric, *tests])]].astype(float)
        scores.loc[~np.isfinite(scores[goal])] = self.records.cost(math.inf)
        names = [each.configuration.name for each in self._trainings]
        about = pd.DataFrame(
            {"configuration": names, "repeat": self.runs["repeat"].astype(int)}, scores.index
        )
        # Not by `melt`: a metric can have any name.
        parts = [about.assign(metric=str(metric), score=scores[metric]) for metric in scores]
        return pd.concat(parts, ignore_index=True)

    def by_seed(self, metric: str) -> pd.DataFrame:
        """Returns the scores in a metric: a row for each seed, a column for each configuration."""
        own = self.scores[self.scores["metric"] == metric]
        table = own.pivot(index="repeat", columns="configuration", values="score")
        return table.reindex(range(int(table.index.max()) + 1) if len(table) else [])

    @cached_property
    def estimates(self) -> dict[str, pd.DataFrame]:
        """The metrics of `scores`, each with one row for each configuration.

        Columns: `n` (trainings with a score), `failed` (those without), `mean` and `std`. The objective, on
        validation and on test data, also has `gain` (over the twin; positive is better), `gain_low` and
        `gain_high` (its 95 % interval), `worst` (the worst difference of a seed), `better` (the share of
        seeds that favour it) and `outcome` (of this configuration).
        """
        estimates = {}
        for metric in self.scores["metric"].unique():
            scores = self.by_seed(metric)
            finite = scores[np.isfinite(scores)]
            frame = pd.DataFrame({"n": finite.count(), "failed": np.isinf(scores).sum()})
            frame = frame.assign(mean=finite.mean(), std=finite.std())
            gains = self.gains.get(metric, {})
            for column, attribute in (_GAIN | _JUDGED).items():
                values = {name: getattr(gain, attribute) for name, gain in gains.items()}
                kind = str if column == "outcome" else float
                frame[column] = pd.Series(values, dtype=kind)
            estimates[metric] = frame
        return estimates

    # Gains.

    @cached_property
    def gains(self) -> dict[str, dict[str, PairedGain]]:
        """The gains in the objective, on validation and on test data, by configuration.

        The intervals of a metric hold together. A combined configuration takes over the share of the chance
        of an error of one that is known to have helped.
        """
        number = len(self.pairs) - len(self._combined)
        metrics = dict.fromkeys([self.records.objective, self.metric])
        return {name: self._gains(name, self.pairs, self.margin(name), number) for name in metrics}

    @property
    def judged(self) -> dict[str, PairedGain]:
        """The gains in `metric`, by configuration."""
        return self.gains[self.metric]

    def margin(self, metric: str) -> float:
        """Returns the largest difference that does not matter, by default 1 % of the mean of the twins."""
        given = self.records.rounds[-1].margin if self.records.rounds else None
        if given is not None:
            return given
        without = self.by_seed(metric)[[twin for _, twin in self.pairs]].to_numpy()
        without = without[np.isfinite(without)]
        return abs(float(without.mean())) / 100 if len(without) else 0.0

    def _gains(self, metric: str, pairs: Sequence[Pair], *how: Any) -> dict[str, PairedGain]:
        """Returns how much better the first of each pair is; see `paired_gains`."""
        rounds = self.records.rounds
        looks = Looks(sorted({each.seeds for each in rounds}), rounds[0].max_seeds if rounds else 1)
        costs = self.by_seed(metric).map(self.records.cost)
        gains = paired_gains(costs, pairs, looks, *how)
        return {own: gain for (own, _), gain in zip(pairs, gains, strict=True)}

    # The conclusion.

    @cached_property
    def order(self) -> list[str]:
        """The configurations with a score, the best mean first."""
        costs = self.by_seed(self.records.objective).map(self.records.cost)
        means = comparable_means(costs.where(np.isfinite(costs)))
        return [str(name) for name in means.dropna().sort_values(kind="stable").index]

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
    def outcomes(self) -> dict[str, str]:
        """The outcome of each configuration that has a twin."""
        return {name: gain.outcome for name, gain in self.judged.items()}

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
        """The configurations that the next round trains; none once the outcome of the best mean is known.

        These are the pairs whose outcome is not known, and the best mean. If that has no dropout while
        dropout helped elsewhere, a combination of both joins them, once in a confirmation.
        """
        unknown = [pair for pair in self.pairs if self.outcomes[pair[0]] == NOT_KNOWN]
        if self.order and self.outcomes.get(self.order[0], NOT_KNOWN) != NOT_KNOWN:
            unknown = []
        combination = self._combination()
        if not unknown and not combination:
            return []
        names = {*self.order[:1], *(name for pair in unknown for name in pair)}
        return [*(name for name in self.configurations if name in names), *combination]

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
    def _columns(self) -> dict[str, dict[str, str]]:
        """The metrics of `estimates`, each with the columns of `table` that show its estimates."""
        columns = {metric: {"mean": metric} for metric in self.estimates}
        test = {name: f"test_{name}" for name in _GAIN} | {name: name for name in _JUDGED}
        columns[self.metric] = {"mean": self.metric, "std": f"{self.metric}_std", **test}
        every = ("mean", "std", *_GAIN, *_JUDGED)
        return columns | {self.records.objective: {name: name for name in every}}

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each configuration, the recommended one first, then the best mean.

        Columns: `trial_id`, `number`, `twin` (whether it is the twin of that trial, which the search has not
        tried), `dropout_of` (the trial whose dropout it has instead of its own), the active hyperparameters
        (`hp/<name>` if another column has the name), `search` (the score in the search), `n` and `failed`,
        `epochs` (the most of a training), and the other `estimates` of the objective. With test data, the
        same for the objective on them: `test_loss`, `test_loss_std`, `test_gain`, ..., and `worst`, `better`
        and `outcome` are on them; and the means of the other test metrics.
        """
        counts = self.estimates[self.records.objective][["n", "failed"]]
        frame = self._settings.join(counts)
        frame["epochs"] = pd.Series(self.records.epochs, frame.index, "Int64")
        for metric, columns in self._columns.items():
            for name, column in columns.items():
                frame[column] = self.estimates[metric][name]
        return frame.reset_index(drop=True)

    @property
    def best(self) -> pd.Series[Any]:
        """The row of the recommended configuration."""
        return self.table.iloc[0]

    def row(self, name: str) -> pd.Series[Any]:
        """Returns the row of the table for a configuration.

        Args:
            name: One of `ids`.
        """
        return self.table.iloc[self.ids.index(name)]

    def brief(self) -> pd.DataFrame:
        """Returns the table for people: settings that vary, means with spreads, gains with intervals.

        All cells are text. Empty columns are left out.
        """
        table, settings = self.table, self._settings.columns.drop(["trial_id", "number", "search"])
        words: dict[str, Iterable[str]] = {"number": map(format_cell, table["number"])}
        for name in settings:
            if table[name].nunique(dropna=False) > 1:
                words[name] = [format_cell(value, name) for value in table[name]]
        if table["twin"].any():
            words["twin"] = ["twin" if twin else "" for twin in table["twin"]]
        words["search"] = map(_format, table["search"])
        words["n"] = map(format_cell, table["n"])
        if table["failed"].any():
            words["failed"] = map(format_cell, table["failed"])
        words["epochs"] = map(format_cell, table["epochs"])
        for columns in self._columns.values():
            means = table[columns["mean"]]
            if "std" not in columns:
                words[columns["mean"]] = map(format_cell, means)
                continue
            words[columns["mean"]] = map(_format_mean, means, table[columns["std"]])
            ends = (table[columns[name]] for name in _GAIN)
            words[columns["gain"]] = map(_format_gain, *ends)
        words |= {"worst": map(_format, table["worst"])}
        words |= {name: map(format_cell, table[name]) for name in ("better", "outcome")}
        frame = pd.DataFrame({name: list(cells) for name, cells in words.items()})
        return frame.loc[:, (frame != "-").any()]

    def text(self) -> str:
        """Writes the table for a terminal."""
        return str(self.brief().to_string(index=False))


def confirmation_of(records: Records) -> Confirmation | None:
    """Returns the confirmation of a search; `None` if no confirmed training succeeded."""
    confirmation = Confirmation(records) if records.confirmations else None
    return confirmation if confirmation and confirmation.order else None


def _format(value: float) -> str:
    return "-" if pd.isna(value) else format_number(value)


def _format_mean(mean: float, std: float) -> str:
    return _format(mean) + ("" if pd.isna(std) else f" ± {format_number(std)}")


def _format_gain(gain: float, low: float, high: float) -> str:
    if pd.isna(gain):
        return "-"
    return format_gain(gain) + (
        "" if pd.isna(low) else f" ({format_number(low)} to {format_number(high)})"
    )
