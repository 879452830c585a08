"""What the figures of a search draw: its frames, and what their columns mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import keras_tuner as kt
import pandas as pd

from recdrop_tune.catalog import SITES
from recdrop_tune.errors import RecdropError
from recdrop_tune.oracle import objectives
from recdrop_tune.results.frames import hyperparameter_columns, metric_column, wrapper_columns
from recdrop_tune.spaces import plain_names

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


NOT_APPLICABLE = "n/a"
"""Stands for a hyperparameter that is inactive in a trial."""

_CLASHES = "hp/"


def view_of(result: TuneResult) -> View:
    """Gathers what the figures of a result need."""
    oracle = result.search.oracle
    columns, goals = hyperparameter_columns(oracle), objectives(oracle.objective)
    scales = {hp.name: getattr(hp, "sampling", "linear") for hp in oracle.hyperparameters.space}
    try:
        importances = result.importances()
    except RecdropError:
        importances = None
    return View(
        trials=with_unfinished(result.trials, result.history, goals[0]),
        history=result.history,
        objectives=goals,
        hyperparameters=list(columns.values()),
        wrappers=wrapper_columns(oracle),
        logarithmic=frozenset(
            columns[name] for name, scale in plain_names(scales).items() if scale == "log"
        ),
        importances=importances,
    )


def with_unfinished(
    trials: pd.DataFrame, history: pd.DataFrame, objective: kt.Objective
) -> pd.DataFrame:
    """Gives trials that are under way or were broken off the best value until now, as pruned ones have it.

    They have no score, for they were not trained like the others; figures show them hollow. Trials that
    failed have none here either.
    """
    name = metric_column(objective.name)
    if name not in history:
        return trials
    means = history.groupby(["trial_id", "epoch"])[name].mean().groupby("trial_id")
    best = means.min() if objective.direction == "min" else means.max()
    unfinished = trials["trial_id"].where(~trials["state"].isin(["COMPLETE", "FAILED"]))
    scores = trials[objective.name].fillna(unfinished.map(best).astype("Float64"))
    return trials.assign(**{objective.name: scores})


@dataclass(frozen=True)
class View:
    """A search as the figures see it.

    Attributes:
        trials: The frame of trials, best first.
        history: The frame of epochs.
        objectives: What is optimized.
        hyperparameters: The columns of all hyperparameters, in the order of the space.
        wrappers: Those of them that are the `wrapper` of a layer, and not something else of that name.
        logarithmic: Those of them that are searched on a logarithmic scale.
        importances: The importances, `None` where there are too few trials to tell.
    """

    trials: pd.DataFrame
    history: pd.DataFrame
    objectives: Sequence[kt.Objective]
    hyperparameters: Sequence[str]
    wrappers: Sequence[str]
    logarithmic: frozenset[str]
    importances: pd.Series[float] | None

    @property
    def objective(self) -> kt.Objective:
        """What the score is: the first objective."""
        return self.objectives[0]

    @cached_property
    def scored(self) -> pd.DataFrame:
        """The trials that have a score, complete or not."""
        return self.trials.dropna(subset=[str(self.objective.name)])

    @cached_property
    def complete(self) -> pd.DataFrame:
        """The trials that count for the best one, best first."""
        complete = self.scored[self.scored["state"] == "COMPLETE"]
        ascending = self.objective.direction == "min"
        return complete.sort_values(self.objective.name, ascending=ascending, kind="stable")

    @cached_property
    def varying(self) -> list[str]:
        """The columns of hyperparameters that differ between trials."""
        return [
            name for name in self.hyperparameters if self.trials[name].nunique(dropna=False) > 1
        ]

    @cached_property
    def layers(self) -> list[str]:
        """The prefixes of the layers that have a dropout of their own; `""` for the one of all."""
        return [name.removeprefix(_CLASHES)[: -len("wrapper")] for name in self.wrappers]

    def rates(self, layer: str) -> list[str]:
        """Lists the columns of the rates of a layer. What is no number is a user's own, of that name.

        Args:
            layer: Its prefix.
        """
        columns = [
            self.column(f"{layer}{name}") for name in ("rate", *(f"rate.{s}" for s in SITES))
        ]
        numbers = [name for name in columns if name and self.trials[name].dtype.kind in "if"]
        return [name for name in self.hyperparameters if name in numbers]

    def column(self, name: str) -> str | None:
        """Finds the column of a hyperparameter, `None` if there is none."""
        for column in (name, f"{_CLASHES}{name}"):
            if column in self.hyperparameters:
                return column
        return None

    @property
    def without_dropout(self) -> pd.DataFrame:
        """The complete trials in which no layer drops anything, best first."""
        none = self.kinds.str.split(" / ").map(lambda kinds: {*kinds, NOT_APPLICABLE, "none"})
        dropping = none.index[none.map(len) > 2]
        return self.complete.drop(index=dropping, errors="ignore")

    @cached_property
    def kinds(self) -> pd.Series[str]:
        """Which wrapper each trial has, those of several layers joined; by the index of `trials`."""
        words = self.trials[list(self.wrappers)].astype(object).fillna(NOT_APPLICABLE)
        return (
            words.agg(" / ".join, axis=1) if len(words.columns) else words.assign(k="trials")["k"]
        )
