"""Configurations that were trained with the same fresh seeds, so the differences between them are paired."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from recdrop_tune.events import ConfirmationEnded
from recdrop_tune.records import Records
from recdrop_tune.results.frames import format_cell
from recdrop_tune.results.intervals import (
    HELPED,
    NOT_KNOWN,
    Looks,
    Pair,
    PairedGain,
    comparable_means,
    paired_gains,
)
from recdrop_tune.results.questions import (
    GAIN,
    JUDGED,
    Questions,
    format_if_known,
    questions_of,
)
from recdrop_tune.standing import format_gain, format_number

_TYPES = {
    **dict.fromkeys(("trial_id", "dropout_of", "model", "message"), "string"),
    **dict.fromkeys(("number", "repeat", "seed", "best_epoch"), "Int64"),
    "twin": "bool",
}
"""The types of columns that are not numbers of a metric."""


@dataclass(frozen=True)
class PairedTrainings:
    """Named configurations, each trained with the same fresh seeds, and what each gains over another one."""

    records: Records

    # What was trained.

    @cached_property
    def asked(self) -> Questions:
        """Which configurations are compared, and what distinguishes them."""
        return questions_of(self.records)

    @property
    def names(self) -> dict[str, str]:
        """The configurations or models in words, by the ids that the records have for them."""
        return self.asked.names

    @property
    def ids(self) -> list[str]:
        """The ids in the order of the table: the best mean first, and last models without a score."""
        return list(dict.fromkeys([*self.order, *self.asked.listed]))

    @property
    def lead(self) -> str | None:
        """The best mean of those that are compared; `None` without one. Its outcome ends the trainings."""
        return next((name for name in self.order if name in self.asked.leads), None)

    @cached_property
    def _trainings(self) -> list[ConfirmationEnded]:
        """The trainings, seed by seed. A training that a dead worker had reported too counts once."""
        places = {name: place for place, name in enumerate(self.asked.names)}
        last = {each.key: each for each in self.records.confirmations}
        return [last[key] for key in sorted(last, key=lambda key: (key[1], places[key[0]]))]

    # Scores.

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row for each training."""
        asked = self.asked
        rows = [
            {
                **{key: asked.settings[each.configuration.name][key] for key in asked.about},
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
        first = [*asked.about, "repeat", "seed", "best_epoch", "seconds", self.records.objective]
        names = dict.fromkeys([*first, *(name for row in rows for name in row)])
        columns = [*(name for name in names if name != "message"), "message"]
        types = {name: _TYPES.get(name, "Float64") for name in columns}
        return pd.DataFrame(rows, columns=columns).astype(types)

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
        asked, metrics = self.asked, dict.fromkeys([self.records.objective, self.metric])
        return {
            each: self._gains(each, asked.pairs, self.margin(each), asked.number)
            for each in metrics
        }

    @property
    def looks(self) -> Looks:
        """After which seeds the outcomes were looked at."""
        rounds = self.records.rounds
        return Looks(sorted({each.seeds for each in rounds}), rounds[0].max_seeds if rounds else 1)

    @property
    def judged(self) -> dict[str, PairedGain]:
        """The gains in `metric`, by configuration."""
        return self.gains[self.metric]

    def margin(self, metric: str) -> float:
        """Returns the largest difference that does not matter; by default 1 % of the mean baseline."""
        given = self.records.rounds[-1].margin if self.records.rounds else None
        if given is not None:
            return given
        bases = self.by_seed(metric)[[base for _, base in self.asked.pairs]].to_numpy()
        bases = bases[np.isfinite(bases)]
        return abs(float(bases.mean())) / 100 if len(bases) else 0.0

    def _gains(
        self, metric: str, pairs: Sequence[Pair], margin: float = 0.0, number: int | None = None
    ) -> dict[str, PairedGain]:
        """Returns how much better the first of each pair is; see `paired_gains`."""
        costs = self.by_seed(metric).map(self.records.cost)
        gains = paired_gains(costs, pairs, self.looks, margin, number)
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
        """What more seeds may decide: the pairs whose outcome is not known, the best mean, and what joins.

        Pairs do not count once the outcome of `lead` is known. What joins is compared with the best mean.
        """
        is_open = self.lead is None or self.outcomes.get(self.lead, NOT_KNOWN) == NOT_KNOWN
        # More seeds tell nothing of one that always fails.
        known = [pair for pair in self.asked.pairs if is_open and {*pair} <= {*self.order}]
        unknown = [pair for pair in known if self.outcomes[pair[0]] == NOT_KNOWN]
        asked = {*self.order[:1], *(name for pair in unknown for name in pair)}
        trained = dict.fromkeys(each.configuration.name for each in self._trainings)
        helped = [(self.order[0], name) for name in self.order if self.outcomes.get(name) == HELPED]
        joining = [self.asked.joins[pair] for pair in helped[:1] if pair in self.asked.joins]
        return [*(name for name in trained if name in asked and (unknown or joining)), *joining]

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
    def _settings(self) -> pd.DataFrame:
        """One row for each of `ids`: what it is."""
        # The columns are in the same order, whichever configuration is the best.
        rows = {name: row for name, row in self.asked.settings.items() if name in self.ids}
        columns = sorted({key: 0 for row in rows.values() for key in row}, key="search".__eq__)
        frame = pd.DataFrame([*rows.values()], [*rows], columns).loc[self.ids]
        for name in self.asked.measured:
            if name in self.runs:
                medians = [self.trainings(each)[name].median() for each in self.ids]
                frame[name] = pd.Series(medians, self.ids, "Float64")
        own = ("twin", "dropout_of", "model")
        return frame.astype({name: _TYPES[name] for name in own if name in frame})

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each configuration, in the order of `ids`."""
        counts = self.estimates[self.records.objective][["n", "failed"]]
        frame = self._settings.join(counts)
        frame["epochs"] = pd.Series(self.records.epochs, frame.index, "Int64")
        for metric, columns in self._columns.items():
            for name, column in columns.items():
                frame[column] = self.estimates[metric][name]
        return frame.replace({"outcome": dict(self.asked.words)}).reset_index(drop=True)

    def row(self, name: str) -> pd.Series[Any]:
        """Returns the row of the table for a configuration.

        Args:
            name: One of `ids`.
        """
        return self.table.iloc[self.ids.index(name)]

    def brief(self) -> pd.DataFrame:
        """Returns the table for people: outcomes, varying settings, means with spreads, gains with intervals.

        All cells are text. Empty columns are left out.
        """
        table, shown = self.table, self.asked.shown
        settings = [str(name) for name in self._settings if name != "trial_id"]
        names = [n for n in settings if n in shown or table[n].nunique(dropna=False) > 1]
        counts = ["n", "failed", "epochs"] if table["failed"].any() else ["n", "epochs"]
        words = {
            name: [*map(shown.get(name, partial(format_cell, name=name)), table[name])]
            for name in ["outcome", *names, *counts]
        }
        for columns in self._columns.values():
            mean = columns["mean"]
            if "std" not in columns:
                words[mean] = [*map(format_cell, table[mean])]
                continue
            words[mean] = [*map(_format_mean, table[mean], table[columns["std"]])]
            ends = (table[columns[name]] for name in GAIN)
            words[columns["gain"]] = [*map(_format_gain, *ends)]
        words["worst"] = [*map(format_if_known, table["worst"])]
        words["better"] = [*map(format_cell, table["better"])]
        frame = pd.DataFrame(words)
        return frame.loc[:, ~frame.isin(["-", ""]).all()]


def _format_mean(mean: float, std: float) -> str:
    return format_if_known(mean) + ("" if pd.isna(std) else f" ± {format_number(std)}")


def _format_gain(gain: float, low: float, high: float) -> str:
    if pd.isna(gain):
        return "-"
    interval = "" if pd.isna(low) else f" ({format_number(low)} to {format_number(high)})"
    return format_gain(gain) + interval
