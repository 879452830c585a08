"""The findings of a search, as frames and records. Pages, figures and files are all made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras_tuner as kt
import numpy as np
import pandas as pd

from recdrop_tune import standing
from recdrop_tune.catalog import SITES
from recdrop_tune.errors import RecdropError
from recdrop_tune.events import COMPLETE, FAILED, SearchStarted
from recdrop_tune.records import Records
from recdrop_tune.results.confirmation import Confirmation
from recdrop_tune.results.frames import (
    learned_rate_columns,
    metric_column,
    pareto_front,
    spread_column,
)

NOT_APPLICABLE = "n/a"
"""Stands for a hyperparameter that is inactive in a trial."""


@dataclass(frozen=True)
class Found:
    """A search, as its readers see it.

    Attributes:
        records: The records of its events.
        search: The search as it last began or resumed.
        trials: The frame of trials, best first.
        history: The frame of epochs.
        objectives: What is optimized. The first one is the score.
        columns: The column of each hyperparameter in `trials`, in the order of the space.
        wrappers: Those of them that are the `wrapper` of a layer.
        logarithmic: Those of them that are searched on a logarithmic scale.
        offered: The wrappers that the space offers, by the name of their hyperparameter.
        confirmation: The confirmation, if there was one.
        importances_of: Computes the importance of each hyperparameter.
        gain: The best trial with dropout against its twin, in the search; `None` if one is not complete.
        where: Lines that name the project folder and the MLflow pages.
    """

    records: Records
    search: SearchStarted
    trials: pd.DataFrame
    history: pd.DataFrame
    objectives: Sequence[kt.Objective]
    columns: Mapping[str, str]
    wrappers: Sequence[str]
    logarithmic: frozenset[str]
    offered: Mapping[str, Sequence[str]]
    confirmation: Confirmation | None
    importances_of: Callable[[], pd.DataFrame]
    gain: standing.Gain | None
    where: Sequence[str]

    @property
    def objective(self) -> kt.Objective:
        """The first objective, which is the score."""
        return self.objectives[0]

    # Trials.

    @cached_property
    def complete(self) -> pd.DataFrame:
        """The complete trials with a score, best first."""
        frame = self.trials[self.trials["state"] == COMPLETE].dropna(subset=[self.objective.name])
        ascending = self.objective.direction == "min"
        return frame.sort_values(self.objective.name, ascending=ascending, kind="stable")

    @cached_property
    def scored(self) -> pd.DataFrame:
        """The trials with a score. Unfinished ones have their best value so far, as pruned ones do."""
        name, trials = metric_column(self.objective.name), self.trials
        if name in self.history:
            means = self.history.groupby(["trial_id", "epoch"])[name].mean().groupby("trial_id")
            best = means.min() if self.objective.direction == "min" else means.max()
            unfinished = trials["trial_id"].where(~trials["state"].isin([COMPLETE, FAILED]))
            scores = trials[self.objective.name].fillna(unfinished.map(best).astype("Float64"))
            trials = trials.assign(**{self.objective.name: scores})
        return trials.dropna(subset=[self.objective.name])

    @cached_property
    def ranking(self) -> list[str]:
        """The ids of the complete trials, best first; confirmed ones come first, twins as `<trial>_twin`."""
        # By the frame: after a crash the journal can lack the end of the last trial.
        complete = list(self.complete["trial_id"])
        if self.confirmation is None:
            return complete
        return list(dict.fromkeys([*self.confirmation.ids, *complete]))

    @cached_property
    def best(self) -> pd.Series[Any] | None:
        """The row of the best trial, `None` if no trial is complete.

        After a confirmation it is the one with the best mean. If that is a twin, which is no trial, it is
        the trial whose twin it is.
        """
        if not self.ranking:
            return None
        trial_id = (
            self.ranking[0] if self.confirmation is None else self.confirmation.best["trial_id"]
        )
        return self.trials[self.trials["trial_id"] == trial_id].iloc[0]

    @property
    def best_values(self) -> dict[str, Any]:
        """The active hyperparameters of the best configuration, by name."""
        assert self.best is not None
        values = self.values(self.best)
        if self.confirmation is None or not self.confirmation.best["twin"]:
            return values
        row = self.confirmation.best
        own = {n: _python(row[n]) for n in self.columns if n in row and not pd.isna(row[n])}
        # A column with gaps has made floats of its integers.
        return {n: values[n] if values.get(n) == value else value for n, value in own.items()}

    @property
    def best_score(self) -> float:
        """The score of the best configuration: its confirmed mean, if it was confirmed."""
        assert self.best is not None
        best = self.best if self.confirmation is None else self.confirmation.best
        return float(best[self.objective.name if self.confirmation is None else "mean"])

    @cached_property
    def front(self) -> pd.DataFrame:
        """The complete trials that no other complete trial beats in every objective."""
        return pareto_front(self.trials, self.objectives)

    def spread(self, trial: pd.Series[Any]) -> float | None:
        """Returns the standard deviation of a trial's score over its trainings, if there are several."""
        spread = trial.get(spread_column(self.objective.name))
        return None if spread is None or pd.isna(spread) else float(spread)

    def trainings(self, trial_id: str) -> int:
        """Counts the trainings of a trial."""
        return int(self.history.loc[self.history["trial_id"] == trial_id, "execution"].nunique())

    @property
    def training_word(self) -> str:
        """What one of several trainings of a trial is called: `"fold"` or `"training"`."""
        info = self.search.info
        once = info.get("executions_per_trial", 1) == 1
        return "fold" if once and info.get("cv") is not None else "training"

    # Dropout.

    @cached_property
    def by_wrapper(self) -> pd.DataFrame:
        """A row for each wrapper that the space offers; see `standing.by_wrapper`."""
        return standing.by_wrapper(self.records, self.offered)

    @property
    def without_dropout(self) -> pd.DataFrame:
        """The complete trials in which no layer drops anything, best first."""
        plain = self.trials[list(self.wrappers)].isin(["none", pd.NA]).all(axis=1)
        return self.complete[plain.reindex(self.complete.index)]

    # Hyperparameters.

    @cached_property
    def importances(self) -> pd.DataFrame | None:
        """The importance of each hyperparameter; `None` with too few trials."""
        try:
            return self.importances_of()
        except RecdropError:
            return None

    @property
    def hyperparameters(self) -> list[str]:
        """The columns of all hyperparameters."""
        return list(self.columns.values())

    def values(self, trial: pd.Series[Any]) -> dict[str, Any]:
        """Returns the active hyperparameters of a trial, by name."""
        values = {name: trial[column] for name, column in self.columns.items()}
        return {name: _python(value) for name, value in values.items() if not pd.isna(value)}

    def learned(self, trial: pd.Series[Any]) -> dict[str, float]:
        """Returns the rates that a trial had learned by its best epoch."""
        names = learned_rate_columns(self.trials)
        return {name: trial[name] for name in names if not pd.isna(trial[name])}

    @cached_property
    def varying(self) -> list[str]:
        """The columns of hyperparameters that differ between trials."""
        return [
            name for name in self.hyperparameters if self.trials[name].nunique(dropna=False) > 1
        ]

    @cached_property
    def layers(self) -> list[str]:
        """The prefixes of the layers that have their own dropout; `""` if all layers share one."""
        return [name.removeprefix("hp/")[: -len("wrapper")] for name in self.wrappers]

    def column(self, name: str) -> str | None:
        """Finds the column of a hyperparameter, which is prefixed if another column has its name."""
        return next((each for each in (name, f"hp/{name}") if each in self.hyperparameters), None)

    def rates(self, layer: str) -> list[str]:
        """Lists the columns of a layer's rates, which are numbers.

        Args:
            layer: The prefix of the layer.
        """
        names = [
            self.column(f"{layer}{name}") for name in ("rate", *(f"rate.{site}" for site in SITES))
        ]
        return [
            name
            for name in self.hyperparameters
            if name in names and self.trials[name].dtype.kind in "if"
        ]

    @cached_property
    def kinds(self) -> pd.Series[str]:
        """The wrapper of each trial, those of several layers joined; indexed as `trials`."""
        words = self.trials[list(self.wrappers)].astype(object).fillna(NOT_APPLICABLE)
        return (
            words.agg(" / ".join, axis=1) if len(words.columns) else words.assign(k="trials")["k"]
        )


def _python(value: Any) -> Any:
    # NumPy's numbers cannot be written as JSON.
    return value.item() if isinstance(value, np.generic) else value
