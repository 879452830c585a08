"""The findings of a search, as frames and records. Pages, figures and files are all made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras_tuner as kt
import pandas as pd

from recdrop_tune import standing
from recdrop_tune.errors import RecdropError
from recdrop_tune.events import Configuration, SearchStarted
from recdrop_tune.records import Records
from recdrop_tune.results.confirmation import Confirmation
from recdrop_tune.states import TrialState

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
        objective: What is optimized: the score.
        columns: The column of each hyperparameter in `trials`, in the order of the space.
        logarithmic: Those of them that are searched on a logarithmic scale.
        offered: The wrappers that the space offers, by the name of their hyperparameter.
        confirmation: The confirmation, if there was one.
        importances_of: Computes the importance of each hyperparameter.
        values_of: Returns the active hyperparameters of a trial, or of another confirmed configuration.
        gain: The best trial with dropout against its twin, in the search; `None` if one is not complete.
        where: Lines that name the project folder and the MLflow pages.
        by_tune: Whether `tune` ran the search, so that it can be confirmed.
    """

    records: Records
    search: SearchStarted
    trials: pd.DataFrame
    history: pd.DataFrame
    objective: kt.Objective
    columns: Mapping[str, str]
    logarithmic: frozenset[str]
    offered: Mapping[str, Sequence[str]]
    confirmation: Confirmation | None
    importances_of: Callable[[], pd.DataFrame]
    values_of: Callable[[str], dict[str, Any]]
    gain: standing.Gain | None
    where: Sequence[str]
    by_tune: bool

    # Trials.

    @cached_property
    def complete(self) -> pd.DataFrame:
        """The complete trials with a score, best first."""
        frame = self.trials[self.trials["state"] == TrialState.COMPLETE].dropna(
            subset=[self.objective.name]
        )
        ascending = self.objective.direction == "min"
        return frame.sort_values(self.objective.name, ascending=ascending, kind="stable")

    @cached_property
    def scored(self) -> pd.DataFrame:
        """The trials with a score, complete or pruned."""
        return self.trials.dropna(subset=[self.objective.name])

    @cached_property
    def ranking(self) -> list[str]:
        """The ids of the complete trials, best first; confirmed configurations come before them."""
        # By the frame: after a crash the journal can lack the end of the last trial.
        complete = list(self.complete["trial_id"])
        if self.confirmation is None:
            return complete
        return list(dict.fromkeys([*self.confirmation.ids, *complete]))

    @cached_property
    def best(self) -> pd.Series[Any] | None:
        """The row of the best trial, `None` if no trial is complete.

        After a confirmation it is the recommended one. If that has no dropout or another one than the trial,
        it is the row of the trial nevertheless.
        """
        if not self.ranking:
            return None
        trial_id = Configuration.named(self.ranking[0]).trial_id
        return self.trials[self.trials["trial_id"] == trial_id].iloc[0]

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
        plain = self.trials[self.wrappers].isin(["none", pd.NA]).all(axis=1)
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

    @cached_property
    def varying(self) -> list[str]:
        """The columns of hyperparameters that differ between trials."""
        return [
            name for name in self.hyperparameters if self.trials[name].nunique(dropna=False) > 1
        ]

    @property
    def wrappers(self) -> list[str]:
        """The columns of the wrappers, one for each layer with its own dropout."""
        return [self.columns.get(name, name) for name in self.offered]

    @cached_property
    def kinds(self) -> pd.Series[str]:
        """The wrapper of each trial, those of several layers joined; indexed as `trials`."""
        words = self.trials[self.wrappers].astype(object).fillna(NOT_APPLICABLE)
        if words.empty:
            return words.assign(kind="trials")["kind"]
        return words.agg(" / ".join, axis=1)
