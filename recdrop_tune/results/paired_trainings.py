"""Configurations that were trained with the same fresh seeds, so the differences between them are paired."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from recdrop_tune.events import Configuration, ConfirmationEnded
from recdrop_tune.records import Records
from recdrop_tune.results.frames import format_cell
from recdrop_tune.results.intervals import (
    NOT_KNOWN,
    Looks,
    Pair,
    PairedGain,
    comparable_means,
    paired_gains,
)
from recdrop_tune.standing import format_gain, format_number

GAIN = {"gain": "gain", "gain_low": "low", "gain_high": "high"}
JUDGED = {"worst": "worst", "better": "better", "outcome": "outcome"}
"""Columns of `PairedTrainings.estimates` by the attributes of `PairedGain` that they show."""


@dataclass(frozen=True)
class PairedTrainings(ABC):
    """Named configurations, each trained with the same fresh seeds, and what each gains over another one.

    All of it follows from the records. A subclass defines the configurations, the pairs that are compared,
    and `columns`, those of `runs` that tell configurations apart.
    """

    records: Records
    columns: ClassVar[tuple[str, ...]]

    # What was trained.

    @property
    @abstractmethod
    def pairs(self) -> list[Pair]:
        """The compared configurations, each with the one that it is compared with."""

    @property
    @abstractmethod
    def ids(self) -> list[str]:
        """The configurations with a score, in the order of the table."""

    @property
    @abstractmethod
    def lead(self) -> str | None:
        """The configuration whose outcome ends the trainings once it is known, if one has a score."""

    @abstractmethod
    def _about(self, configuration: Configuration) -> dict[str, Any]:
        """Returns the columns that tell a configuration apart."""

    @property
    @abstractmethod
    def _settings(self) -> pd.DataFrame:
        """One row for each of `ids`: what it is."""

    @property
    def _number(self) -> int:
        """How many pairs the chance of an error is divided between."""
        return len(self.pairs)

    @cached_property
    def _trainings(self) -> list[ConfirmationEnded]:
        """The trainings, seed by seed. A training that a dead worker had reported too counts once."""
        last = {(each.configuration, each.repeat): each for each in self.records.confirmations}
        return sorted(last.values(), key=lambda each: (each.repeat, *self._place(each)))

    @abstractmethod
    def _place(self, training: ConfirmationEnded) -> tuple[Any, ...]:
        """Returns where a training comes among those with its seed."""

    # Scores.

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row for each training."""
        rows = [
            {
                **self._about(each.configuration),
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
        columns = [*self.columns, "repeat", "seed", "best_epoch", "seconds", self.records.objective]
        frame = pd.DataFrame(rows, columns=None if rows else [*columns, "message"])
        frame["message"] = frame.pop("message")  # The last column.
        types = dict.fromkeys(map(str, frame), "Float64")
        types |= dict.fromkeys(("trial_id", "dropout_of", "model", "message"), "string")
        types |= dict.fromkeys(("number", "repeat", "seed", "best_epoch"), "Int64")
        types["twin"] = "bool"
        return frame.astype({name: kind for name, kind in types.items() if name in frame})

    def trainings(self, name: str) -> pd.DataFrame:
        """Returns the rows of `runs` of a configuration.

        Args:
            name: One of `ids`.
        """
        return self.runs[[each.configuration.name == name for each in self._trainings]]

    @cached_property
    def metric(self) -> str:
        """The metric of the outcomes: the objective, on the test data if all trainings saw them."""
        name = f"test_{self.records.objective.removeprefix('val_')}"
        scored = [each.metrics for each in self._trainings if each.score is not None]
        tested = scored and all(name in metrics for metrics in scored)
        return name if tested else self.records.objective

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row for each training and metric: the objective, and the metrics on the test data.

        Columns: `configuration` (its name), `repeat`, `metric` and `score`: infinitely bad if the training
        failed, or its objective is not finite on the validation or the test data; NaN if another metric was
        not reported.
        """
        goal = self.records.objective
        tests = (name for name in map(str, self.runs) if name.startswith("test_"))
        scores = self.runs[[*dict.fromkeys([goal, self.metric, *tests])]].astype(float)
        is_finite = np.isfinite(scores[[goal, self.metric]]).all(axis=1)
        scores.loc[~is_finite] = self.records.cost(math.inf)
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
        validation and on test data, also has `gain` (over the other one of its pair; positive is better),
        `gain_low` and `gain_high` (its 95 % interval), `worst` (the worst difference of a seed), `better`
        (the share of seeds that favour it) and `outcome` (of this configuration).
        """
        estimates = {}
        for metric in self.scores["metric"].unique():
            scores = self.by_seed(metric)
            finite = scores[np.isfinite(scores)]
            frame = pd.DataFrame({"n": finite.count(), "failed": np.isinf(scores).sum()})
            frame = frame.assign(mean=finite.mean(), std=finite.std())
            gains = self.gains.get(metric, {})
            for column, attribute in (GAIN | JUDGED).items():
                values = {name: getattr(gain, attribute) for name, gain in gains.items()}
                kind = str if column == "outcome" else float
                frame[column] = pd.Series(values, dtype=kind)
            estimates[metric] = frame
        return estimates

    # Gains.

    @cached_property
    def gains(self) -> dict[str, dict[str, PairedGain]]:
        """The gains in the objective, on validation and test data; the intervals of each hold together."""
        metrics = dict.fromkeys([self.records.objective, self.metric])
        how = {name: (self.margin(name), self._number) for name in metrics}
        return {name: self._gains(name, self.pairs, *how[name]) for name in metrics}

    @property
    def judged(self) -> dict[str, PairedGain]:
        """The gains in `metric`, by configuration."""
        return self.gains[self.metric]

    def margin(self, metric: str) -> float:
        """Returns the largest difference that does not matter; by default 1 % of the mean baseline."""
        given = self.records.rounds[-1].margin if self.records.rounds else None
        if given is not None:
            return given
        bases = self.by_seed(metric)[[base for _, base in self.pairs]].to_numpy()
        bases = bases[np.isfinite(bases)]
        return abs(float(bases.mean())) / 100 if len(bases) else 0.0

    def _gains(self, metric: str, pairs: Sequence[Pair], *how: Any) -> dict[str, PairedGain]:
        """Returns how much better the first of each pair is; see `paired_gains`."""
        rounds = self.records.rounds
        looks = Looks(sorted({each.seeds for each in rounds}), rounds[0].max_seeds if rounds else 1)
        costs = self.by_seed(metric).map(self.records.cost)
        gains = paired_gains(costs, pairs, looks, *how)
        return {own: gain for (own, _), gain in zip(pairs, gains, strict=True)}

    @cached_property
    def order(self) -> list[str]:
        """The configurations with a score, the best mean first."""
        costs = self.by_seed(self.records.objective).map(self.records.cost)
        means = comparable_means(costs.where(np.isfinite(costs)))
        return [str(name) for name in means.dropna().sort_values(kind="stable").index]

    @property
    def outcomes(self) -> dict[str, str]:
        """The outcome of each compared configuration."""
        return {name: gain.outcome for name, gain in self.judged.items()}

    @property
    def in_question(self) -> list[str]:
        """The pairs whose outcome is not known, and the best mean; none once that of `lead` is known."""
        if self.lead is not None and self.outcomes.get(self.lead, NOT_KNOWN) != NOT_KNOWN:
            return []
        # More seeds tell nothing of one that always fails.
        known = [pair for pair in self.pairs if {*pair} <= {*self.order}]
        unknown = [pair for pair in known if self.outcomes[pair[0]] == NOT_KNOWN]
        asked = {*self.order[:1], *(name for pair in unknown for name in pair)}
        trained = dict.fromkeys(each.configuration.name for each in self._trainings)
        return [name for name in trained if name in asked] if unknown else []

    # Tables.

    @property
    def _columns(self) -> dict[str, dict[str, str]]:
        """The metrics of `estimates`, each with the columns of `table` that show its estimates."""
        columns = {metric: {"mean": metric} for metric in self.estimates}
        test = {name: f"test_{name}" for name in GAIN} | {name: name for name in JUDGED}
        columns[self.metric] = {"mean": self.metric, "std": f"{self.metric}_std", **test}
        every = ("mean", "std", *GAIN, *JUDGED)
        return columns | {self.records.objective: {name: name for name in every}}

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each configuration, in the order of `ids`."""
        counts = self.estimates[self.records.objective][["n", "failed"]]
        frame = self._settings.join(counts)
        frame["epochs"] = pd.Series(self.records.epochs, frame.index, "Int64")
        for metric, columns in self._columns.items():
            for name, column in columns.items():
                frame[column] = self.estimates[metric][name]
        return frame.reset_index(drop=True)

    def row(self, name: str) -> pd.Series[Any]:
        """Returns the row of the table for a configuration.

        Args:
            name: One of `ids`.
        """
        return self.table.iloc[self.ids.index(name)]

    @abstractmethod
    def _brief_settings(self) -> dict[str, list[str]]:
        """Returns the first columns of `brief`."""

    def brief(self) -> pd.DataFrame:
        """Returns the table for people: outcomes, varying settings, means with spreads, gains with intervals.

        All cells are text. Empty columns are left out.
        """
        table = self.table
        words = {"outcome": [*map(format_cell, table["outcome"])], **self._brief_settings()}
        words["n"] = [*map(format_cell, table["n"])]
        if table["failed"].any():
            words["failed"] = [*map(format_cell, table["failed"])]
        words["epochs"] = [*map(format_cell, table["epochs"])]
        for columns in self._columns.values():
            means = table[columns["mean"]]
            if "std" not in columns:
                words[columns["mean"]] = [*map(format_cell, means)]
                continue
            words[columns["mean"]] = [*map(_format_mean, means, table[columns["std"]])]
            ends = (table[columns[name]] for name in GAIN)
            words[columns["gain"]] = [*map(_format_gain, *ends)]
        words["worst"] = [*map(format_if_known, table["worst"])]
        words["better"] = [*map(format_cell, table["better"])]
        frame = pd.DataFrame(words)
        return frame.loc[:, (frame != "-").any()]


def format_if_known(value: float) -> str:
    """Writes a number, or `-` for a missing one."""
    return "-" if pd.isna(value) else format_number(value)


def _format_mean(mean: float, std: float) -> str:
    return format_if_known(mean) + ("" if pd.isna(std) else f" ± {format_number(std)}")


def _format_gain(gain: float, low: float, high: float) -> str:
    if pd.isna(gain):
        return "-"
    return format_gain(gain) + (
        "" if pd.isna(low) else f" ({format_number(low)} to {format_number(high)})"
    )
