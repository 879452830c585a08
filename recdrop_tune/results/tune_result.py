"""`TuneResult`: what a search found, as data frames, text and models."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from recdrop_tune.errors import RecdropError
from recdrop_tune.oracle import first_value, objectives
from recdrop_tune.results._frames import hyperparameter_columns, trials_frame
from recdrop_tune.tracking import Tracking
from recdrop_tune.tracking._links import leaderboard_url, ui_command
from recdrop_tune.tracking._records import readable


@dataclass(frozen=True)
class Gain:
    """The best trial against the best one with another value of `wrapper`.

    One training each: the best of many noisy trials looks better than it is.

    Attributes:
        baseline: The `wrapper` compared with.
        baseline_score: Its best score.
        best_score: The best score of all.
        gain: By how much the best is better, in units of the objective; never negative.
    """

    baseline: str
    baseline_score: float
    best_score: float
    gain: float


@dataclass(frozen=True)
class TuneResult:
    """The outcome of a search.

    Attributes:
        tuner: The Keras Tuner tuner.
        tracking: Its tracking.

    Example:
        >>> result = recdrop_tune.tune((x, y), (x_val, y_val), max_trials=30)
        >>> result.trials[["wrapper", "placement", "rate", "val_loss"]].head()
        >>> model = result.best_model()
    """

    tuner: Any
    tracking: Tracking

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial, best first; trials without a score come last.

        Columns: `trial_id`, `number` (order of starts), `state`, one for each hyperparameter (missing
        where inactive), the objective and the other metrics at the trial's best epoch,
        `best_epoch` (from 0, as the steps in MLflow), `epochs`, `seconds`, `n_params`,
        `mlflow_run_id`. A hyperparameter named like one of the others has the column `hp/<name>`.
        """
        return trials_frame(self.tuner.oracle, self.tracking)

    @property
    def objective(self) -> str:
        """Name of the objective."""
        return str(objectives(self.tuner.oracle.objective)[0].name)

    @property
    def direction(self) -> str:
        """`"min"` or `"max"`."""
        return str(objectives(self.tuner.oracle.objective)[0].direction)

    @property
    def best_trial(self) -> Any:
        """The best trial, as Keras Tuner's `Trial`.

        Raises:
            RecdropError: No trial was completed.
        """
        best = self.tuner.oracle.get_best_trials(1)
        if not best or best[0].status != "COMPLETED":
            raise RecdropError("No trial of this search was completed.")
        return best[0]

    @property
    def best_hyperparameters(self) -> dict[str, Any]:
        """The active hyperparameters of the best trial."""
        values = readable(self.best_trial.hyperparameters)
        return {name: value for name, value in values.items() if value is not None}

    def best_model(self) -> Any:
        """Builds the best trial's model and loads the weights of its best epoch."""
        with warnings.catch_warnings():
            # The optimizer's state lies in the file too, and nobody needs it here.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            return self.tuner.load_model(self.best_trial)

    def gain_over(self, wrapper: str = "none") -> Gain | None:
        """Compares the best trial with the best one that has a given `wrapper`.

        Where layers have dropouts of their own (`encoder/wrapper`), all of them have to have it.

        Args:
            wrapper: A value of `wrapper`, such as `"none"` or `"native"`.

        Returns:
            The comparison, `None` if no such trial was completed.
        """
        scores = self.trials[self.trials["state"] == "COMPLETE"]
        wrappers = scores[self._wrapper_columns()]
        same = wrappers == wrapper
        # A layer that a trial does not have has no other dropout either.
        baseline = scores[same.any(axis=1) & (same | wrappers.isna()).all(axis=1)]
        if baseline.empty:
            return None
        best, base = float(scores[self.objective].iloc[0]), float(baseline[self.objective].iloc[0])
        return Gain(wrapper, base, best, abs(base - best))

    def summary(self, top: int = 20) -> str:
        """Tells the outcome in a few lines.

        Args:
            top: How many trials to list, best first.
        """
        trials = self.tuner.oracle.trials.values()
        complete = sum(trial.status == "COMPLETED" for trial in trials)
        best = ", ".join(f"{name}={value}" for name, value in self.best_hyperparameters.items())
        return "\n".join(
            [
                f"{len(self.trials)} trials, {complete} complete. Best {self.objective}: "
                f"{first_value(self.best_trial, self.tuner.oracle.objective):.4f}",
                f"Best configuration: {best}",
                *([self._gain_line()] if self._wrapper_columns() else []),
                "",
                self._table(top),
                "",
                f"Folder: {self.directory}",
                *self._mlflow_lines(),
            ]
        )

    @property
    def directory(self) -> Path:
        """The project folder."""
        return Path(self.tuner.project_dir)

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return self.tracking.experiment

    @property
    def tracking_uri(self) -> str:
        """Where the runs are, without credentials."""
        return self.tracking.tracking_uri

    @property
    def ui_command(self) -> str | None:
        """The command that opens MLflow's pages on the runs; `None` if there is none to run.

        So it is where a server shows them, and where nothing could be recorded.
        """
        return None if self.tracking.failure else ui_command(self.tracking_uri)

    @property
    def ui_url(self) -> str | None:
        """The page that lists the trials best first, without the search's own run.

        `None` if nothing could be recorded.
        """
        if self.tracking.failure:
            return None
        return leaderboard_url(
            self.tracking_uri,
            self.tracking.mlflow.experiment_id,
            self.tracking.search_id,
            ascending=self.direction == "min",
        )

    def _wrapper_columns(self) -> list[str]:
        columns = hyperparameter_columns(self.tuner.oracle)
        return [column for name, column in columns.items() if name.split("/")[-1] == "wrapper"]

    def _mlflow_lines(self) -> list[str]:
        if self.tracking.failure:
            reason, journal = self.tracking.failure, self.tracking.journal_path
            return [f"MLflow: not recorded ({reason}); every event is in {journal}"]
        lines = [f"MLflow: {self.ui_command or self.tracking_uri}"]
        return [*lines, f"        {self.ui_url}"] if self.ui_url else lines

    def _gain_line(self) -> str:
        gain = self.gain_over("none")
        if gain is None:
            return "Gain over no dropout: unknown, no trial without dropout was completed."
        if gain.gain == 0.0:
            return "Gain over no dropout: none, the best trial has no dropout."
        return (
            f"Gain over no dropout: {gain.gain:.4f} ({gain.baseline_score:.4f} without). One training "
            "each: the best of many noisy trials looks better than it is."
        )

    def _table(self, top: int) -> str:
        names = hyperparameter_columns(self.tuner.oracle).values()
        varying = [name for name in names if self.trials[name].nunique(dropna=False) > 1]
        shown = ["number", "state", *varying, self.objective, "best_epoch", "seconds"]
        table = self.trials[shown].head(top).astype(object)
        return str(table.map(_shown).to_string(index=False))


def _shown(value: Any) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
