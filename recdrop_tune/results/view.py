"""A search as its pages, figures and files need it. All of it follows from the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from recdrop_tune import standing
from recdrop_tune.errors import RecdropError
from recdrop_tune.events import Configuration, SearchStarted
from recdrop_tune.hyperparameters import NONE, offered_wrappers
from recdrop_tune.records import Records
from recdrop_tune.results.confirmation import Confirmation
from recdrop_tune.results.expected import search_gain
from recdrop_tune.results.frames import history_frame, hyperparameter_columns, trials_frame
from recdrop_tune.results.study import importances

NOT_APPLICABLE = "n/a"
"""Stands for a hyperparameter that is inactive in a trial."""


@dataclass(frozen=True)
class SearchView:
    """A search, as its readers see it.

    `run_ids` are MLflow's ids of the runs by trial, `where` is lines that name the project folder and the
    MLflow pages, and `by_tune` is whether `tune` ran the search, so that it can be confirmed.
    """

    records: Records
    run_ids: Mapping[str, str] = field(default_factory=dict)
    where: Sequence[str] = ()
    by_tune: bool = True

    @property
    def search(self) -> SearchStarted:
        """The search as it last started or resumed."""
        # `read_search` refuses others; tracking writes the start.
        assert self.records.search is not None
        return self.records.search

    @property
    def objective(self) -> str:
        """Name of the objective: the score."""
        return self.records.objective

    # Trials.

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The frame of trials, best first."""
        return trials_frame(self.records, self.run_ids)

    @cached_property
    def history(self) -> pd.DataFrame:
        """The frame of epochs."""
        return history_frame(self.records)

    @cached_property
    def complete(self) -> pd.DataFrame:
        """The complete trials with a score, best first."""
        return self.trials.head(len(standing.ranked(self.records)))

    @cached_property
    def scored(self) -> pd.DataFrame:
        """The trials with a score, complete or pruned."""
        return self.trials.dropna(subset=[self.objective])

    @cached_property
    def ranking(self) -> list[str]:
        """The ids of the complete trials, best first; confirmed configurations come before them."""
        complete = [trial.trial_id for trial in standing.ranked(self.records)]
        confirmed = [] if self.confirmation is None else self.confirmation.ids
        return list(dict.fromkeys([*confirmed, *complete]))

    def values_of(self, name: str) -> dict[str, Any]:
        """Returns the active hyperparameters of a configuration: which dropout, where and how much first."""
        values = standing.values_of(self.records, Configuration.named(name))
        return {key: values[key] for key in self.columns if key in values}

    @property
    def training_word(self) -> str:
        """What one of several trainings of a trial is called: `"fold"` or `"training"`."""
        info = self.search.info
        once = info.get("executions_per_trial", 1) == 1
        return "fold" if once and info.get("cv") is not None else "training"

    # Dropout.

    @cached_property
    def confirmation(self) -> Confirmation | None:
        """The confirmation; `None` if no confirmed training succeeded."""
        confirmation = Confirmation(self.records) if self.records.confirmations else None
        return confirmation if confirmation and confirmation.order else None

    @cached_property
    def gain(self) -> standing.Gain | None:
        """The best trial with dropout against its twin, in the search; `None` if one is not complete."""
        return search_gain(self.records)

    @cached_property
    def offered(self) -> dict[str, list[str]]:
        """The wrappers that the space offers, by the key of their hyperparameter."""
        return offered_wrappers(self.records.space)

    @cached_property
    def by_wrapper(self) -> pd.DataFrame:
        """One row for each wrapper that the space offers; see `standing.by_wrapper`."""
        return standing.by_wrapper(self.records, self.offered)

    @property
    def without_dropout(self) -> pd.DataFrame:
        """The complete trials in which no layer drops anything, best first."""
        return self.complete[self.complete[self.wrappers].isin([NONE, pd.NA]).all(axis=1)]

    # Hyperparameters.

    @cached_property
    def columns(self) -> dict[str, str]:
        """The column of each hyperparameter in `trials` by its key, in the order of the space."""
        return hyperparameter_columns(self.records)

    @cached_property
    def importances(self) -> pd.Series[float] | None:
        """The importance of each hyperparameter; `None` with too few trials."""
        try:
            return importances(self.records)
        except RecdropError:
            return None

    @cached_property
    def varying(self) -> list[str]:
        """The columns of hyperparameters that differ between trials."""
        names = self.columns.values()
        return [name for name in names if self.trials[name].nunique(dropna=False) > 1]

    @property
    def wrappers(self) -> list[str]:
        """The columns of the wrappers, one for each layer with its own dropout."""
        return [self.columns[name] for name in self.offered]

    @cached_property
    def kinds(self) -> pd.Series[str]:
        """The wrapper of each trial, those of several layers joined; indexed as `trials`."""
        words = self.trials[self.wrappers].astype(object).fillna(NOT_APPLICABLE)
        if words.empty:
            return words.assign(kind="trials")["kind"]
        return words.agg(" / ".join, axis=1)
