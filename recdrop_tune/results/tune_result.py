"""`TuneResult`: what a search found, as data frames, text and models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import optuna
import pandas as pd

from recdrop_tune.addresses import DEFAULT_URI
from recdrop_tune.credentials import hide_address
from recdrop_tune.errors import RecdropError
from recdrop_tune.events import Context
from recdrop_tune.mlflow_store import leaderboard_url, ui_command
from recdrop_tune.oracle import objectives, ranked, study_of
from recdrop_tune.results.confirmation import Confirmation, confirmation_of
from recdrop_tune.results.frames import (
    history_frame,
    objectives_named,
    pareto_front,
    trials_frame,
    wrapper_columns,
)
from recdrop_tune.results.gain import Gain, TwinGain, best_twin_gain, gain_over, wrapper_frame
from recdrop_tune.results.importances import importances
from recdrop_tune.results.notebook import notebook_page
from recdrop_tune.results.plots import figures
from recdrop_tune.results.plots.view import view_of
from recdrop_tune.results.program import best_code
from recdrop_tune.results.report import write_report
from recdrop_tune.results.stored import StoredSearch, stored_search
from recdrop_tune.results.text import summary
from recdrop_tune.results.trained import best_models, model_of, trained_model
from recdrop_tune.tuner import readable


@dataclass(frozen=True, repr=False)
class TuneResult:
    """The outcome of a search: what its project folder holds.

    It is the same whether `tune` returned it or `load` did, but for two things. The process that searched
    knows the runs in MLflow, and builds the best model from its checkpoint. `print` writes its summary, and a
    notebook shows it with the best trials and a picture of all of them.

    Attributes:
        tuner: The Keras Tuner tuner; of a loaded result what stands for it, with the trials in its `oracle`.
        tracking: Its tracking; `None` of a loaded result.

    Example:
        >>> result = recdrop_tune.tune((x, y), (x_val, y_val), max_trials=30)
        >>> result.trials[["wrapper", "placement", "rate", "val_loss"]].head()
        >>> model = result.best_model()
    """

    tuner: Any
    tracking: Any = None

    def __post_init__(self) -> None:
        _ = self.search  # Read now: the folder may be gone later.

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.search.oracle.trials)} trials in {self.directory}>"

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: HTML without scripts, which needs no network."""
        return notebook_page(self)

    @cached_property
    def search(self) -> StoredSearch:
        """The search as the folder had it when the result was made."""
        if isinstance(self.tuner, StoredSearch):
            return self.tuner
        return stored_search(Path(self.tuner.project_dir))

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Reads the result of a search from its project folder, where the script that ran it is not needed.

        The search may have ended, been broken off, or be running still; then this is its state now. Nothing
        is written, and no code of the folder is run: it is JSON. All is there but what MLflow knows
        (`mlflow_run_id`, `ui_url`); `best_model()` is the model that was saved at the end of the search.

        Args:
            directory: The project folder.

        Raises:
            ProjectError: The folder holds no search, or what it holds is damaged.

        Example:
            >>> result = TuneResult.load("recdrop_runs/speech")
            >>> result.report("speech.html")
        """
        return cls(stored_search(Path(directory)))

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial: the complete ones best first, then the pruned ones best first, then the rest.

        Columns: `trial_id`, `number` (order of starts), `state`, one for each hyperparameter (missing
        where inactive), the objective and the other metrics at the trial's best epoch,
        `best_epoch` (from 0, as the steps in MLflow), `epochs`, `seconds`, `n_params`,
        `mlflow_run_id`. A hyperparameter named like one of the others has the column `hp/<name>`.
        Of several trainings (`executions_per_trial`, `cv`) the metrics are means, and the objective has a
        column `<objective>_std`, their sample standard deviation.

        A pruned trial has the values of its best epoch until it was stopped. They are no match for those of
        trials that were trained to their end, even where they are better: `best_trial`, `pareto` and all
        that compares trials counts those whose `state` is `COMPLETE`.
        """
        run_ids = {} if self.tracking is None else self.tracking.mlflow.run_ids
        return trials_frame(self.search.oracle, self.search.records, run_ids)

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch, a column for each metric, in the order of starts.

        Columns: `trial_id`, `number`, `execution` (which training of the trial's configuration, from
        0), `epoch` (from 0), the metrics under Keras's names, `seconds` (of the epoch). A metric
        named like one of the others has the column `metric/<name>`. A trial that was run again has
        its last run.
        """
        return history_frame(self.search.records)

    @property
    def pareto(self) -> pd.DataFrame:
        """The rows of `trials` that no other complete trial beats in every objective.

        With one objective that is the best trial, and those that tie with it.
        """
        return pareto_front(self.trials, objectives(self.search.oracle.objective))

    def pareto_front(self, *metrics: Any) -> pd.DataFrame:
        """Trades columns of `trials` off, whatever the search optimized.

        Args:
            *metrics: Metrics, or `seconds`, `epochs`, `n_params`; a `keras_tuner.Objective` where
                the name of a metric does not tell its direction.

        Returns:
            The rows of `trials` that no other complete trial beats in all of them.

        Raises:
            InvalidArgumentError: There is no such column, or its direction is not known.

        Example:
            >>> result.pareto_front("val_loss", "n_params")
        """
        return pareto_front(self.trials, objectives_named(self.trials, metrics))

    def importances(self) -> pd.Series[float]:
        """Estimates how much each hyperparameter decides whether a trial is among the best.

        Optuna's PED-ANOVA on the complete trials, whichever tuner proposed them. Hyperparameters of
        one value are left out. Of few trials it is a hint, not a finding.

        Returns:
            Shares that sum to 1, the largest first, by the keys of the search space.

        Raises:
            RecdropError: Fewer than 10 trials were completed, or all have the same score.
        """
        oracle = self.search.oracle
        return importances(oracle, self.trials, objectives(oracle.objective))

    def study(self) -> optuna.Study:
        """Makes an Optuna study of the trials, for Optuna's own plots and importances, and for its dashboard.

        It is in memory, and a copy: what becomes of it is nothing to the search. It has one trial of Optuna's
        for each, in the order of starts, whichever tuner proposed it: the active hyperparameters that are
        not fixed, the values of the objectives, the epochs (of one objective; of several trainings the
        first's), the times, and the attributes `keras_tuner_id` and, of a pruned trial, `best_value`.

        Example:
            >>> optuna.visualization.plot_param_importances(result.study())
        """
        records = self.search.records.trials
        times = {id: (each.started, each.ended_at) for id, each in records.items()}
        return study_of(self.search.oracle, self.directory.name, times)

    def plots(self) -> dict[str, Any]:
        """Draws the search.

        Returns:
            Plotly figures, as far as there is data: `history` (the score of each trial),
            `score_by_dropout` (by wrapper, placement and rate), `parallel_coordinates`,
            `importances`, `curves` (over the epochs) and, with several objectives, `pareto`.

        Example:
            >>> result.plots()["history"].show()
        """
        return figures(view_of(self))

    def report(self, path: str | Path = "report.html") -> Path:
        """Writes everything about the search into one page that opens without a network.

        Args:
            path: The HTML file; one that is there is replaced.

        Returns:
            The file.

        Raises:
            InvalidArgumentError: It cannot be written.
        """
        return write_report(self, Path(path))

    @property
    def objective(self) -> str:
        """Name of the objective."""
        return self.search.last.objective

    @property
    def direction(self) -> str:
        """`"min"` or `"max"`."""
        return self.search.last.direction

    @cached_property
    def confirmation(self) -> Confirmation | None:
        """What came of training the best configurations again; `None` without `confirm=`."""
        return confirmation_of(self.search)

    @property
    def best_trial(self) -> Any:
        """The best trial, as Keras Tuner's `Trial`; the best confirmed one after a confirmation.

        Raises:
            RecdropError: No trial was completed.
        """
        if self.confirmation is not None:
            return self.search.oracle.trials[self.confirmation.best_id]
        best = ranked(self.search.oracle)
        if not best:
            raise RecdropError("No trial of this search was completed.")
        return best[0]

    @property
    def best_hyperparameters(self) -> dict[str, Any]:
        """The active hyperparameters of the best trial."""
        values = readable(self.best_trial.hyperparameters)
        return {name: value for name, value in values.items() if value is not None}

    def best_model(self) -> Any:
        """Builds the best trial's model and loads the weights of its best epoch.

        Of several trainings of the trial (`executions_per_trial`, `cv`) they are those of the one with the
        best epoch; with `cv` that is the best fold, so the model was not trained on all data. To do that,
        build the best hyperparameters and fit them for `best_epoch + 1` epochs, as `docs/search.md` shows.

        After a confirmation it is the configuration with the best mean, with the weights of the best
        of its confirmed trainings.

        Of a result that was loaded from its folder it is the model that was saved there at the end of the
        search: for inference, in stock Keras layers, with the same predictions. It needs neither the data nor
        what built it, but its custom layers, if it has any. Keras loads the file in its safe mode; load one
        only if you trust who made the folder.

        Raises:
            RecdropError: No trial was completed, or the folder of a loaded result holds no model of the best
                one.
        """
        return trained_model(self, self.best_trial.trial_id)

    def best_models(self, n: int = 5) -> list[Any]:
        """Builds the models of the best complete trials, each with the weights of its best epoch.

        The first is `best_model()`. After a confirmation those that were confirmed come first, the best mean
        first, each with the weights of its best confirmed training.

        Args:
            n: How many. Where fewer trials were completed there are fewer.

        Returns:
            The models, the best first.

        Raises:
            RecdropError: No trial was completed; the weights of one of them were not kept
                (`Training(keep_checkpoints=...)`, by default those of five trials); or more than one is asked
                of a result that was loaded from its folder, which holds the best model alone.

        Example:
            >>> predictions = [model.predict(x) for model in result.best_models(3)]
        """
        return best_models(self, n)

    def model_of(self, trial: Any) -> Any:
        """Builds the model of one complete trial, with the weights of its best epoch.

        Args:
            trial: Its `trial_id`, its `number`, or its row of `trials`.

        Raises:
            InvalidArgumentError: There is no such trial, or it was not completed.
            RecdropError: Its weights were not kept (`Training(keep_checkpoints=...)`); or it is not the best
                one, of a result that was loaded from its folder.

        Example:
            >>> plain = result.trials[result.trials["wrapper"] == "none"]
            >>> model = result.model_of(plain.iloc[0])
        """
        return model_of(self, trial)

    def best_code(self) -> str:
        """Writes the best model as code to keep, without `tune` and its space.

        A model that is a line of layers becomes a script with stock Keras layers and this package's
        wrappers. For any other model, comments list the recurrent layers to change, followed by the call
        of `compile`. The code is also saved in the project folder, as `result/best_model.py`.

        Returns:
            The source. `recdrop_tune.models.best_code` writes it for any compiled model.

        Raises:
            RecdropError: No trial was completed, or the folder of a loaded result has no such file.

        Example:
            >>> print(result.best_code())
            >>> Path("model.py").write_text(result.best_code())
        """
        return best_code(self)

    @property
    def twin_gain(self) -> TwinGain | None:
        """What dropout was worth in the search: the best trial with dropout against its twin.

        The twin has the same hyperparameters and seeds, and no dropout. `None` if one of the two was not
        completed. One training each proves little: see `confirmation`.
        """
        return best_twin_gain(self.search.oracle)

    @cached_property
    def wrappers(self) -> pd.DataFrame:
        """One row for each wrapper that the search was asked about, the best first.

        Columns: `layer` (where layers have wrappers of their own), `wrapper`, `trials`, `complete`, `best`
        (the best score), `gain` (of its best trial whose twin was completed too, over that twin), `state`,
        which says so where a wrapper was never tried.
        """
        return wrapper_frame(self.search.oracle)

    def gain_over(self, wrapper: str = "none") -> Gain | None:
        """Compares the best trial with the best one that has a given `wrapper`, whatever their settings.

        It tells what the search is worth. What dropout is worth, `twin_gain` and the confirmation tell: of
        these two trials one may have the better learning rate. Where layers have dropouts of their own
        (`encoder/wrapper`), all of them have to have the wrapper.

        Args:
            wrapper: A value of `wrapper`, such as `"none"` or `"native"`.

        Returns:
            The comparison, `None` if no such trial was completed.
        """
        columns = wrapper_columns(self.search.oracle)
        return gain_over(self.trials, columns, self.objective, wrapper)

    def summary(self, top: int = 20) -> str:
        """Tells the outcome in a few lines, as `print(result)` does; in one line where no trial is complete.

        Args:
            top: How many trials to list, best first.
        """
        return summary(self, top)

    @property
    def context(self) -> Context | None:
        """What was searched, in words, and what a constant predictor scores on the validation data.

        `None` where `tune` has not looked: in a search by `track`, or by an earlier version.
        """
        return self.search.last.context

    @property
    def directory(self) -> Path:
        """The project folder."""
        return Path(self.search.project_dir)

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return self.search.last.experiment

    @property
    def tracking_uri(self) -> str:
        """Where the runs are, without credentials."""
        return hide_address(self.search.last.tracking_uri or DEFAULT_URI)

    @property
    def ui_command(self) -> str | None:
        """The command that opens MLflow's pages on the runs; `None` if there is none to run.

        So it is where a server shows them, and where nothing could be recorded.
        """
        return None if self.failure else ui_command(self.tracking_uri, self.directory)

    @property
    def failure(self) -> str | None:
        """Why MLflow has not all of the search, in one line, where the process that searched knows it."""
        return None if self.tracking is None else self.tracking.failure

    @property
    def ui_url(self) -> str | None:
        """The page that lists the trials best first, without the search's own run.

        `None` if nothing could be recorded, and of a loaded result.
        """
        if self.tracking is None or self.tracking.failure:
            return None
        return leaderboard_url(
            self.tracking_uri,
            self.tracking.mlflow.experiment_id,
            self.search.last.search_id,
            ascending=self.direction == "min",
        )
