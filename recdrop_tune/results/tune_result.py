"""`TuneResult`: what a search found, as data frames, pages and models."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, Self

import keras
import numpy as np
import optuna
import pandas as pd

from recdrop_tune import models, standing
from recdrop_tune.errors import RecdropError, check_integer, invalid_argument, plain
from recdrop_tune.events import FIT, PADDING, Configuration, Context, SearchStarted
from recdrop_tune.files import CODE, JOURNAL, MODEL, SEARCH, trial_folder
from recdrop_tune.hyperparameters import drops
from recdrop_tune.oracle import as_objective, trial_of
from recdrop_tune.records import Records
from recdrop_tune.results.confirmation import Confirmation
from recdrop_tune.results.frames import pareto_front
from recdrop_tune.results.outline import full_outline, outline
from recdrop_tune.results.plots import figures
from recdrop_tune.results.render import as_html, as_text, write_page
from recdrop_tune.results.stored import CONFIRMED, read_search, saved_file
from recdrop_tune.results.study import importances, study_of
from recdrop_tune.results.view import SearchView
from recdrop_tune.session import SearchSession
from recdrop_tune.tuner import load_weights


@dataclass(frozen=True, repr=False)
class TuneResult:
    """The outcome of a search: what its project folder holds.

    `tune` and `load` return the same, with two exceptions. The process that searched knows the runs in
    MLflow, and builds the best model from its checkpoint. `print` writes the summary, and a notebook shows it
    with the best trials.

    Attributes:
        tuner: The Keras Tuner tuner, which builds models; `None` in a loaded result.
        tracking: Its session; `None` in a loaded result.
        confirm_again: Confirms its configurations; `None` without the data, as in a loaded result.
        train_again: Trains a configuration on other data; `None` in a loaded result.
        folder: The project folder of a loaded result; by default that of the tuner.

    Example:
        >>> result = recdrop_tune.tune((x, y), (x_val, y_val), max_trials=30)
        >>> result.trials[["wrapper", "placement", "rate", "val_loss"]].head()
        >>> model = result.best_model()
    """

    tuner: Any = None
    tracking: SearchSession | None = None
    confirm_again: Callable[[Any], TuneResult] | None = None
    train_again: Callable[..., Any] | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        _ = self.view  # Read now: the folder may be gone later.

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.records.trials)} trials in {self.directory}>"

    def _repr_html_(self) -> str:
        return as_html(outline(self.view, top=5))

    @cached_property
    def records(self) -> Records:
        """The records of the search: those of its tracking, or of its journal in a loaded result."""
        return read_search(self.directory) if self.tracking is None else self.tracking.records

    @property
    def search(self) -> SearchStarted:
        """The search as it last started or resumed: its objective, settings, data and MLflow experiment."""
        assert self.records.search is not None  # `view` asks this while it is made.
        return self.records.search

    @cached_property
    def view(self) -> SearchView:
        """The search as frames and records, the source of all pages, figures and files."""
        run_ids = {} if self.tracking is None else self.tracking.mlflow.run_ids
        by_tune = (self.directory / SEARCH).exists()
        return SearchView(self.records, run_ids, tuple(self._where()), by_tune)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Reads the result of a search from its project folder, without the script that ran it.

        The search can have ended, been interrupted, or be running. Only its journal is read, which is JSON:
        nothing is written, and no code in the folder is run. Only what MLflow alone knows (`mlflow_run_id`,
        `ui_url`) is missing, and `best_model()` is the model that was saved at the end of the search.

        Args:
            directory: The project folder.

        Raises:
            ProjectError: The folder holds no search, or a damaged one.

        Example:
            >>> result = TuneResult.load("recdrop_runs/speech")
            >>> result.report("speech.html")
        """
        return cls(folder=Path(directory).expanduser())

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: complete ones best first, then pruned ones best first, then the rest.

        Columns: `trial_id`, `number` (order of starts), `state`, one for each hyperparameter (missing
        where inactive; `hp/<name>` if another column has the name), the objective and the other metrics at
        the trial's best epoch, `best_epoch` (from 0, as the steps in MLflow), `epochs`, `seconds`,
        `n_params`, `mlflow_run_id`. With several trainings per trial (`executions_per_trial`, `cv`) the
        metrics are means, and `<objective>_std` is the sample standard deviation of the objective.

        A pruned trial has the values of its best epoch before it was stopped. They do not compare with those
        of complete trials, even if they are better: `best_id`, `pareto_front` and all comparisons use
        trials whose `state` is `COMPLETE`.
        """
        return self.view.trials

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch, a column for each metric, in the order of starts.

        Columns: `trial_id`, `number`, `execution` (which training of the trial, from 0), `epoch` (from 0),
        the metrics under Keras's names, `seconds` (of the epoch). A trial that was run again has its last
        run.
        """
        return self.view.history

    @property
    def confirmation(self) -> Confirmation | None:
        """What training the best configurations again showed; `None` without `confirm=`."""
        return self.view.confirmation

    def confirm(self, confirm: Any = 3) -> TuneResult:
        """Trains the best configurations again with fresh seeds, as `tune(confirm=...)` does.

        After an earlier confirmation only what is missing is trained: with a larger `max_seeds` more seeds.

        Args:
            confirm: How many of the best configurations, or an `rdt.Confirm`.

        Returns:
            The result with the confirmation. This one stays as it is.

        Raises:
            RecdropError: The result was loaded, or is that of `track` or `distribute`.

        Example:
            >>> result = result.confirm(rdt.Confirm(3, max_seeds=50))
            >>> print(result.confirmation.verdict)
        """
        if self.confirm_again is None:
            how = f'Call `tune` with the arguments of the search, directory="{self.directory}" and `confirm`.'
            if not self.view.by_tune:
                how = "Only searches by `tune` can be confirmed."
            raise RecdropError(f"This result has no data to train with. {how}")
        return self.confirm_again(confirm)

    @property
    def wrappers(self) -> pd.DataFrame:
        """One row for each wrapper of the space, best first.

        Columns: `layer` (if layers have their own wrappers), `wrapper`, `trials`, `complete`, `best` (the
        best score), `gain` (of that trial over its twin, if that was completed too), `state`, such as
        `"never tried"`.
        """
        return self.view.by_wrapper

    def pareto_front(self, *metrics: Any) -> pd.DataFrame:
        """Finds the Pareto front of columns of `trials`.

        Args:
            *metrics: Metrics, `seconds`, `epochs` or `n_params`; a `keras_tuner.Objective` if the
                name of a metric does not imply its direction.

        Returns:
            The rows of `trials` that no other complete trial beats in all of them.

        Raises:
            InvalidArgumentError: No trial has a metric, or its direction is unknown.

        Example:
            >>> result.pareto_front("val_accuracy", "ms_per_step")
        """
        directions = {}
        for metric in metrics:
            if isinstance(metric, str) and metric in ("seconds", "epochs", "n_params"):
                directions[metric] = "min"
            else:
                goal = as_objective(metric)
                directions[goal.name] = goal.direction
        names = list(directions)
        if not names or not {*names} <= {*self.trials}:
            raise invalid_argument("metrics", expected="columns of `trials`", received=names)
        return pareto_front(self.trials, directions)

    def importances(self) -> pd.Series[float]:
        """Estimates how much each hyperparameter decides whether a trial is among the best.

        Optuna's PED-ANOVA on the complete trials, whichever tuner proposed them. A hint: the shares sum to 1
        even where nothing matters, and with few trials they vary much by chance.

        Returns:
            The share of each hyperparameter that is not constant, the most important first.

        Raises:
            RecdropError: Fewer than 10 trials were completed, or all have the same score.
        """
        return importances(self.records)

    @property
    def twin_gain(self) -> standing.Gain | None:
        """What dropout was worth in the search: the best trial with dropout against its twin.

        The twin has the same hyperparameters and seeds, and no dropout. `None` if one of the two was not
        completed. The best of many trials looks better than it is: `expected` is what to expect with other
        seeds. One training each proves little: see `confirmation`.
        """
        return self.view.gain

    def study(self) -> optuna.Study:
        """Makes an Optuna study of the trials, for Optuna's own plots, importances and dashboard.

        It is a copy in memory, whichever tuner proposed the trials, in the order of starts. The attribute
        `keras_tuner_id` of each is its `trial_id`; it has the epochs of its first training.

        Example:
            >>> optuna.visualization.plot_param_importances(result.study())
        """
        return study_of(self.records, self.directory.absolute().name)

    @property
    def context(self) -> Context | None:
        """The data in words, and what a constant predictor scores on the validation data.

        `None` in a search by `track`, where nothing has looked at the data.
        """
        return self.search.context

    def summary(self, top: int = 20) -> str:
        """Writes the outcome in a few lines, as `print(result)` does.

        Args:
            top: How many trials to list, best first.
        """
        return as_text(outline(self.view, top))

    def plots(self) -> dict[str, Any]:
        """Draws the search.

        Returns:
            Plotly figures, if their data exist: `gains` (of dropout, confirmed), `score_by_dropout` (by
            wrapper, placement and rate), `history` (the score of each trial), `importances` and `curves`
            (over the epochs).

        Example:
            >>> result.plots()["history"].show()
        """
        return figures(self.view)

    def report(self, path: str | Path = "report.html") -> Path:
        """Writes everything about the search into one page that opens without a network.

        Args:
            path: The HTML file. An existing one is replaced.

        Returns:
            The file.

        Raises:
            InvalidArgumentError: The file cannot be written.
        """
        return write_page(path, self.directory.absolute().name, full_outline(self.view))

    @property
    def best_id(self) -> str:
        """The `trial_id` of the best trial; after a confirmation the recommended configuration.

        That can be one that the search has not tried; see `Confirmation.best_id` for its name.

        Raises:
            RecdropError: No trial was completed.
        """
        if not self.view.ranking:
            raise RecdropError("No trial of this search was completed.")
        return self.view.ranking[0]

    @property
    def best_hyperparameters(self) -> dict[str, Any]:
        """The active hyperparameters of the best trial."""
        return self.view.values_of(self.best_id)

    def best_model(self) -> Any:
        """Builds the best trial's model and loads the weights of its best epoch.

        With several trainings per trial (`executions_per_trial`, `cv`) these are the weights of the training
        with the best epoch; with `cv` that is the best fold, so the model was not trained on all data: see
        `refit`. After a confirmation it is the configuration that the verdict recommends, with the weights of
        the best of its confirmed trainings.

        A loaded result has the model that was saved at the end of the search: for inference, in stock Keras
        layers if possible, with the same predictions. Keras loads the file in its safe mode; still, load it
        only if you trust who made the folder.

        Raises:
            RecdropError: No trial was completed, or a loaded result has no model of the best one.
        """
        return self.model_of(self.best_id)

    def best_models(self, n: int = 5) -> list[Any]:
        """Builds the models of the best complete trials, each with the weights of its best epoch.

        After a confirmation the confirmed ones come first, in the order of its table, each with the weights
        of its best confirmed training.

        Args:
            n: The most models to build.

        Raises:
            InvalidArgumentError: `n` is not an integer of at least 1.
            RecdropError: See `model_of`.

        Example:
            >>> predictions = [model.predict(x) for model in result.best_models(3)]
        """
        best = self.view.ranking[: check_integer("n", n)]
        return [self.model_of(trial_id) for trial_id in best]

    def model_of(self, trial: Any) -> Any:
        """Builds the model of one complete trial, with the weights of its best epoch.

        Args:
            trial: Its `trial_id`, its `number`, or its row of `trials`. A row of `confirmation.table` is a
                configuration: that of a trial, its twin, or one with the dropout of another trial.

        Raises:
            InvalidArgumentError: There is no such trial, or it was not completed.
            RecdropError: Its weights were not kept (`Training(keep_checkpoints=...)`, by default those of
                five trials); a loaded result has the best one only.

        Example:
            >>> plain = result.trials[result.trials["wrapper"] == "none"]
            >>> model = result.model_of(plain.iloc[0])
        """
        ranking, trials = self.view.ranking, self.records.trials
        known: dict[Any, str] = {trials[id].number: id for id in ranking if id in trials}
        known |= {id: id for id in ranking}
        wanted = getattr(trial, "trial_id", trial)
        if isinstance(wanted, str) and hasattr(trial, "dropout_of"):  # A row of a confirmation.
            dropout_of = None if pd.isna(trial.dropout_of) else trial.dropout_of
            wanted = Configuration(wanted, trial.twin, dropout_of).name
        trial_id = known.get(wanted) if isinstance(wanted, Hashable) else None
        if trial_id is None:
            expected = "the id or the number of a complete trial, or its row of `trials`"
            raise invalid_argument("trial", expected=expected, received=wanted)
        if self.tuner is None:
            path = saved_file(self.directory, trial_id, MODEL)
            return keras.models.load_model(path, safe_mode=True)
        trial = trial_of(self.tuner.oracle, Configuration.named(trial_id))
        confirmed = self.confirmation
        if confirmed is None or trial_id not in confirmed.ids:
            return self.tuner.load_model(trial)
        folder = trial_folder(self.directory / CONFIRMED, trial_id, JOURNAL)
        return load_weights(folder, self.tuner.hypermodel.build(trial.hyperparameters))

    def refit(self, x: Any, y: Any = None, **fit: Any) -> Any:
        """Trains the best configuration anew on all data, for as many epochs as were best.

        That is `best_epoch + 1` epochs; after a confirmation the median over its trainings. Batch size, class
        weights, callbacks and seed are those of the search, except for early stopping and for callbacks that
        monitor validation data.

        Args:
            x: The samples in a form that `tune` takes, or a dataset.
            y: Their targets; `None` for a dataset.
            **fit: Further arguments of `Model.fit`, such as `sample_weight` and `class_weight`. They replace
                those of the search, except for `callbacks`, which are added.

        Returns:
            The model, a `keras.Model`.

        Raises:
            InvalidArgumentError: The data have another form.
            RecdropError: No trial was completed; or the result was loaded, or is that of `track` or
                `distribute`.

        Example:
            >>> model = result.refit(np.concatenate([x, x_val]), np.concatenate([y, y_val]))
        """
        if self.train_again is None:
            how = "Write the model yourself: `best_code()` has its layers."
            if self.view.by_tune:
                how = (
                    f'Call `tune` with the arguments of the search and directory="{self.directory}", which '
                    "trains nothing twice."
                )
            raise RecdropError(f"This result cannot build its models. {how}")
        # A schedule moves the rate as in the search, where more epochs followed.
        total = self.search.info["epochs"] if self._schedule != "constant" else 1
        fit = {"epochs": self._best_epochs, **fit}
        best = trial_of(self.tuner.oracle, Configuration.named(self.best_id))
        # The search's seed, which it may have drawn.
        seed = self.search.info["seed"]
        return self.train_again(best.hyperparameters, total, seed, x, y, **fit)

    @property
    def _best_epochs(self) -> int | None:
        """How many epochs were best for the best configuration, if known."""
        best_id, confirmations = self.best_id, self.records.confirmations
        epochs = [each.best_epoch for each in confirmations if each.configuration.name == best_id]
        if self.confirmation is None:
            epochs = [self.records.trials[best_id].best_epoch]
        known = [epoch for epoch in epochs if epoch is not None]
        return int(median(known)) + 1 if known else None

    @property
    def _schedule(self) -> str:
        """The schedule of the dropout in the best configuration, from the search space."""
        space = getattr(self.tuner.hypermodel, "space", None)
        schedule = getattr(space, "schedule", None) if drops(self.best_hyperparameters) else None
        return schedule or "constant"

    def best_code(self) -> str:
        """Writes the dropout of the best model as lines of code, for your own code.

        These are its recurrent layers with their wrappers and its `compile`; a comment has the other
        hyperparameters, the epochs that were best, and the arguments of `fit`. The code is also saved in the
        project folder, as `result/best_model.py`. `best_model` and `refit` return whole models.

        Raises:
            RecdropError: No trial was completed, or the folder of a loaded result has no such file.

        Example:
            >>> print(result.best_code())
        """
        info = self.search.info
        if self.tuner is None:
            path = saved_file(self.directory, self.best_id, CODE)
            return plain(path.read_text(encoding="utf-8", errors="replace"))
        best = trial_of(self.tuner.oracle, Configuration.named(self.best_id))
        model = self.tuner.hypermodel.build(best.hyperparameters)
        given = {name: info.get(name) for name in ("seed", *FIT)}
        if isinstance(weights := given["class_weight"], dict):  # Its labels are text in JSON.
            given["class_weight"] = {int(label): weight for label, weight in weights.items()}
        given |= {"epochs": self._best_epochs, "schedule": self._schedule}
        known = {name: each for name, each in given.items() if each not in (None, "constant")}
        return models.best_code(model, {**self.best_hyperparameters, **known})

    def prepare(self, x: Any) -> Any:
        """Pads new sequences as the search padded its own, for `predict` and `evaluate`.

        A step whose features all have the value of the padding is skipped, as in the search.

        Args:
            x: Sequences of any lengths in the form that `tune` was given: a list of arrays of shape
                `(time, features)`, or `(time,)` for one feature and for tokens.

        Returns:
            An array of shape `(samples, longest, features)`, for tokens `(samples, longest)`. What `tune` has
            not padded stays as it is.

        Example:
            >>> result.best_model().predict(result.prepare(sequences))
        """
        padding = self.search.info.get(PADDING)
        if padding is None or hasattr(x, "shape"):
            return x
        x = [np.asarray(sequence) for sequence in x]
        if "float" in padding["dtype"]:
            x = [each if each.ndim > 1 else each[:, None] for each in x]
        return keras.utils.pad_sequences(x, padding="post", **padding)

    @property
    def directory(self) -> Path:
        """The project folder."""
        return Path(self.tuner.project_dir) if self.folder is None else self.folder

    @property
    def ui_command(self) -> str | None:
        """The command that opens the runs in MLflow; `None` if a server shows them, or none is recorded."""
        uri = None if self._failure else self.search.tracking_uri
        if uri is None:
            return None
        from recdrop_tune.mlflow_store import ui_command  # Here, because it imports MLflow.

        return ui_command(uri, self.directory)

    @property
    def ui_url(self) -> str | None:
        """The page that lists the trials best first; `None` in a loaded result, or if none is recorded."""
        uri = self.search.tracking_uri
        if self.tracking is None or self.tracking.failure or uri is None:
            return None
        from recdrop_tune.mlflow_store import leaderboard_url

        return leaderboard_url(
            uri,
            self.tracking.mlflow.experiment_id,
            self.search.search_id,
            ascending=self.search.direction == "min",
        )

    @property
    def _failure(self) -> str | None:
        """Why MLflow lacks a part of the search, in one line; known to the process that searched."""
        return None if self.tracking is None else self.tracking.failure

    def _where(self) -> list[str]:
        lines = [f"Folder: {self.directory}"]
        if self._failure:
            from recdrop_tune.mlflow_store import command

            sync = command("sync", str(self.directory))
            lines.append(f"MLflow: not all is recorded ({self._failure}); once it is back: {sync}")
        elif self.ui_command is not None:  # No server shows the page before that was run.
            lines.append(f"MLflow: {self.ui_command}")
        elif self.search.tracking_uri is not None:
            lines.append(f"MLflow: {self.search.tracking_uri}")
            lines += [f"        {self.ui_url}"] if self.ui_url else []
        return lines
