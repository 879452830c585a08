"""`Tuner`: a `keras_tuner.Tuner` that reports epochs, prunes, and does not compile twice."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.engine import gradients_tied_to_graphs
from recdrop_tune.files import delete_leftovers, write_atomically
from recdrop_tune.models import SameDraws
from recdrop_tune.oracle import decide_whether_to_go_on, forget_metrics
from recdrop_tune.paths import check_folder
from recdrop_tune.storage_errors import is_storage_failure, storage_failures_named
from recdrop_tune.tuner import _checkpoints as checkpoints
from recdrop_tune.tuner._arguments import as_list, check_arguments, is_local, named
from recdrop_tune.tuner._beginning import Beginning
from recdrop_tune.tuner._callbacks import own_callbacks
from recdrop_tune.tuner._failures import TrialPrunedError, outcome
from recdrop_tune.tuner._folds import check_cv, check_fold_data, folds
from recdrop_tune.tuner._model_cache import ModelCache
from recdrop_tune.tuner._reports import BestWeights, EpochReporter, StepTimer, TrialReport
from recdrop_tune.tuner._results import explicit_metrics
from recdrop_tune.tuner._seeds import seed_values, trial_seed

_IDLE_SECONDS = 0.2
_DEFAULT_NAME = "untitled_project"  # Keras Tuner's


class Tuner(kt.Tuner):
    """Runs the trials of any oracle as `keras_tuner.Tuner` does, and more honestly.

    - Every epoch is reported to the oracle, which may stop a trial that promises nothing (pruning).
    - A trial is not stopped when two of its epochs, or fewer than a tenth, are left.
    - A trial's score is its best epoch, whatever epochs were NaN or had no validation. With several
      trainings it is the best epoch of their mean curve; the weights that are kept are those of the training
      (the fold) with the best epoch of all.
    - A trial that runs out of memory or diverges fails alone, with its reason.
    - Only the best trials' weights are kept on disk.
    - Trials that differ in weights, seeds, learning rate or dropout rates alone share one compiled
      model: its variables start anew, its traced functions stay.

    Each epoch has the metric `ms_per_step` too: milliseconds of a training step, the first of the epoch
    not counted. It can be an objective.

    Args:
        oracle: Any `keras_tuner.Oracle`.
        hypermodel: A `keras_tuner.HyperModel`, or a function that builds a compiled model from `hp`.
        seed: Seed of weights, shuffling and masks; each training has its own, derived from it. `None`
            leaves the random state alone.
        cv: Number of folds, or a splitter such as `sklearn.model_selection.TimeSeriesSplit()`: each trial
            is trained once for each fold. The data have to be arrays, without validation data. No model is
            trained on all of them: the weights of the best fold are kept.
        keep_checkpoints: Of how many trials the weights are kept; `None` for all.
        reuse_models: How many compiled models are kept for trials of the same structure; 0 for none.
        **kwargs: As for `keras_tuner.Tuner`: `executions_per_trial`, `directory`, `project_name`,
            `overwrite`, `distribution_strategy`, `tuner_id`.

    Raises:
        InvalidArgumentError: An argument cannot be worked with.
        ProjectError: There is a link in the project folder, or something else that is no file.

    Example:
        >>> tuner = Tuner(OptunaOracle("val_loss", max_trials=30, seed=0), build, directory="runs")
        >>> tuner.search(x, y, validation_data=(x_val, y_val), epochs=50)
        >>> model = tuner.get_best_models()[0]
    """

    def __init__(
        self,
        oracle: Any,
        hypermodel: Any = None,
        *,
        seed: int | None = None,
        cv: Any = None,
        keep_checkpoints: int | None = 5,
        reuse_models: int = 4,
        **kwargs: Any,
    ) -> None:
        check_arguments(kwargs, keep_checkpoints, reuse_models)
        self.seed = seed
        self.cv = check_cv(cv)
        self.keep_checkpoints = keep_checkpoints
        self._cache = ModelCache(reuse_models)
        self._beginning = Beginning(keep_kernels=reuse_models > 0)
        self._held: set[str] | None = None  # Whose weights are on disk; not known at first.
        # Before Keras Tuner reads what is in the folder.
        where = (kwargs.get("directory") or ".", kwargs.get("project_name") or _DEFAULT_NAME)
        check_folder(Path(*where))
        if not kwargs.get("overwrite"):
            decide_whether_to_go_on(Path(*where))
        super().__init__(oracle, hypermodel, **kwargs)

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Runs trials until the oracle has no more; see `keras_tuner.Tuner.search`.

        Args:
            *fit_args: Positional arguments of `Model.fit`.
            **fit_kwargs: Its other arguments. `callbacks` may hold functions that make callbacks.

        Raises:
            StorageError: A disk is full or broken. The trial under way is not counted as failed: it runs
                again when the search goes on.
        """
        if "chief" in os.environ.get("KERASTUNER_TUNER_ID", ""):
            super().search(*fit_args, **fit_kwargs)
            return
        if "verbose" in fit_kwargs and is_local(self.oracle):
            self.oracle.verbose = fit_kwargs["verbose"]
        if self.cv is not None:
            check_fold_data(named(fit_args, fit_kwargs))
        with storage_failures_named(self.project_dir):
            self.on_search_begin()
            try:
                for trial in self._trials():
                    self.on_trial_begin(trial)
                    self._attempt(trial, fit_args, fit_kwargs)
                    self.on_trial_end(trial)
            finally:
                self._cache.clear()
            self.on_search_end()

    @property
    def models_reused(self) -> int:
        """How many trainings took a model that was compiled for an earlier one."""
        return self._cache.reused

    def on_search_begin(self) -> None:
        """Saves, so that a search which is killed in its first trial can go on."""
        if is_local(self.oracle):
            delete_leftovers(self.project_dir)
            self.save()

    def save(self) -> None:
        """Saves the oracle and the tuner, each file whole or not at all."""
        if is_local(self.oracle):
            self.oracle.save()
        # The name that Keras Tuner looks for when it decides whether there is a search to go on with.
        path = Path(self.project_dir) / f"{self.tuner_id}.json"
        write_atomically(path, json.dumps(self.get_state()), within=self.project_dir)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Trains a trial's model once for each execution and fold, and reports its epochs.

        Args:
            trial: The trial.
            *args: Positional arguments of `Model.fit`.
            **kwargs: Its other arguments.

        Returns:
            `None`: what there is to report has been reported. A subclass may return what
            `keras_tuner.Tuner.run_trial` returns.
        """
        given = as_list(kwargs.pop("callbacks", None))
        report, best = TrialReport(self.oracle, trial.trial_id), BestWeights()
        for execution, (fit_args, fit) in enumerate(self._trainings(args, kwargs)):
            report.begin()
            seed = self.seed
            if seed is not None:
                seed = trial_seed(seed, seed_values(trial.hyperparameters), execution)
            own = own_callbacks(given, trial.trial_id, execution)
            callbacks = [SameDraws(seed), StepTimer(), *own, EpochReporter(report, best)]
            with self.lent_model(functools.partial(self.build_model, trial), seed) as model:
                results = self.hypermodel.fit(
                    trial.hyperparameters, model, *fit_args, callbacks=callbacks, **fit
                )
                report.take(results, best, model)
                if report.stopped:
                    raise TrialPrunedError
                checkpoints.save(self._folder(trial), model, best.weights, within=self.project_dir)
        report.finish()

    def build_model(self, trial: Any) -> Any:
        """Builds the model that a trial trains. For subclasses to override.

        Args:
            trial: The trial.

        Returns:
            A compiled model, with the weights to start from.
        """
        return self.hypermodel.build(trial.hyperparameters)

    def load_model(self, trial: Any) -> Any:
        """Builds a trial's model and loads the weights of its best epoch, of the training that had it.

        Raises:
            RecdropError: The weights are not on disk any more.
        """
        with self._scope():
            return checkpoints.load(
                self._folder(trial), self.hypermodel.build(trial.hyperparameters)
            )

    def on_trial_end(self, trial: Any) -> None:
        """Ends the trial, and gives up the weights of trials that are not among the best."""
        super().on_trial_end(trial)
        if is_local(self.oracle):
            self.drop_weights(trial.trial_id)

    def drop_weights(self, trial_id: str) -> None:
        """Gives up the weights of trials that are not among the best.

        Args:
            trial_id: The trial that has ended last.
        """
        if self.keep_checkpoints is None:
            return
        best = self.oracle.get_best_trials(self.keep_checkpoints)
        kept = {each.trial_id for each in best if each.status == "COMPLETED"}
        # All trials once, for a search that goes on; then looking at each would cost more and more.
        held = set(self.oracle.trials) if self._held is None else self._held | {trial_id}
        for dropped in held - kept:
            checkpoints.drop(Path(self.get_trial_dir(dropped)))
        self._held = kept

    def _trials(self) -> Iterator[Any]:
        while True:
            self.pre_create_trial()
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == "STOPPED":
                return
            if trial.status == "IDLE":  # The oracle waits for another worker.
                time.sleep(_IDLE_SECONDS)
                continue
            yield trial

    def _attempt(self, trial: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Runs a trial and notes how it ended."""
        # What an earlier attempt reported would count for this one.
        forget_metrics(self.oracle.get_trial(trial.trial_id))
        try:
            results = self.run_trial(trial, *args, **kwargs)
            if results is not None:
                metrics = explicit_metrics(results, self.oracle.objective)
                self.oracle.update_trial(trial.trial_id, metrics, step=0)
            trial.status, trial.message = "COMPLETED", None
        except kt.errors.FatalError:
            raise
        except Exception as error:
            if is_storage_failure(error):
                raise
            trial.status, trial.message = outcome(error)

    def _trainings(self, args: Any, kwargs: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
        for _ in range(self.executions_per_trial):
            if self.cv is None:
                yield args, dict(kwargs)
                continue
            for fold in folds(self.cv, self.seed, named(args, kwargs)):
                yield (), fold

    @contextlib.contextmanager
    def lent_model(self, build: Callable[[], Any], seed: int | None) -> Iterator[Any]:
        """Lends a model for one training: as good as a fresh one, perhaps compiled already.

        Args:
            build: Builds the fresh model.
            seed: Seed of everything that the training draws; `None` leaves the random state alone.
        """
        self._beginning.begin(seed)
        with self._scope():
            fresh = build()
        if not isinstance(fresh, keras.Model):
            raise kt.errors.FatalTypeError(
                "Expected the function or `HyperModel.build` that builds models to return a compiled "
                f"keras.Model. Received: {fresh!r}"
            )
        with gradients_tied_to_graphs(), contextlib.ExitStack() as stack:
            shared = self.distribution_strategy is None
            yield stack.enter_context(self._cache.lend(fresh)) if shared else fresh

    def _scope(self) -> Any:
        strategy = self.distribution_strategy
        return contextlib.nullcontext() if strategy is None else strategy.scope()

    def _folder(self, trial: Any) -> Path:
        return Path(self.get_trial_dir(trial.trial_id))
