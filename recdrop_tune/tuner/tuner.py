"""`Tuner`: a `keras_tuner.Tuner` that reports epochs, prunes, and does not compile twice."""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
from keras_tuner.engine.trial import Trial, TrialStatus

from recdrop_tune.errors import (
    ProjectError,
    check_callbacks,
    check_cv,
    check_integer,
    check_seconds,
    format_repr,
    invalid_argument,
    is_disk_failure,
    warn_caller,
)
from recdrop_tune.files import check_folder, delete_leftovers, read_object, write_atomically
from recdrop_tune.hypermodels import fit_of, has_own_fit
from recdrop_tune.kernels import FreshStart, gradients_tied_to_graphs
from recdrop_tune.models import LearnedRates, ModelCache
from recdrop_tune.oracle import check_names
from recdrop_tune.tuner import checkpoints as checkpoints
from recdrop_tune.tuner.callbacks import (
    check_data,
    copy_callbacks,
    hooks_of,
    is_local,
    name_arguments,
)
from recdrop_tune.tuner.outcomes import (
    RUN_TRIAL,
    NoFiniteObjectiveError,
    TrialPrunedError,
    are_same,
    explicit_outcome,
    outcome,
)
from recdrop_tune.tuner.recovery import SNAPSHOT, Recovery
from recdrop_tune.tuner.reports import StepTimer, TrialReport, forget_reports
from recdrop_tune.tuner.same_search import differences, space_of
from recdrop_tune.tuner.trainings import check_fold_data, folds, seed_values, trial_seed

_IDLE_SECONDS = 0.2
_DEFAULT_NAME = "untitled_project"  # Keras Tuner's


class Tuner(kt.Tuner):
    """Runs the trials of any oracle, as `keras_tuner.Tuner` does, and reports every epoch.

    - The oracle can stop an unpromising trial (pruning), unless two epochs or less than a tenth are left.
    - A trial's score is its best epoch; epochs with NaN or without validation do not count. With several
      trainings it is the best epoch of their mean curve, and the weights that are kept are those of the
      training (the fold) with the best epoch of all.
    - A trial that runs out of memory or diverges fails alone, with its reason.
    - Only the best trials' weights are kept on disk.
    - Trials that differ only in weights, seeds, learning rate or dropout rates share one compiled model. Its
      variables start anew, and its traced functions stay.

    Each epoch also has the metric `ms_per_step`: milliseconds of a training step, without the first step of
    the epoch. It can be an objective.

    Subclasses can override the same methods as those of `keras_tuner.Tuner`: `run_trial`,
    `_build_and_fit_model`, `on_epoch_end` and the like, `on_trial_begin`, `load_model`.

    Args:
        oracle: Any `keras_tuner.Oracle`.
        hypermodel: A `keras_tuner.HyperModel`, or a function that builds a compiled model from `hp`.
            Optional for subclasses with their own `run_trial`.
        *args: As for `keras_tuner.Tuner`, in its order: `max_model_size`, `optimizer`, `loss`, `metrics`,
            `distribution_strategy`, `directory`, `project_name`.
        seed: Seed of weights, shuffling and masks; each training derives its own from it. With None the
            random state is not touched.
        cv: Number of folds, or a splitter such as `sklearn.model_selection.TimeSeriesSplit()`. Each trial is
            trained once for each fold. The data have to be arrays, without validation data. No model is
            trained on all data: the weights of the best fold are kept.
        keep_checkpoints: The number of trials whose weights are kept, the best ones; None for all, as
            in Keras Tuner.
        reuse_models: The number of compiled models that are kept for trials of the same structure; 0
            for none.
        save_every: Seconds after which a running trial is saved at the end of an epoch. When the search
            resumes, an interrupted trial continues from there. None saves nothing, and neither does a
            user-defined `fit`.
        **kwargs: As for `keras_tuner.Tuner`: the arguments above by name, and `executions_per_trial`,
            `overwrite`, `tuner_id`.

    Raises:
        InvalidArgumentError: An argument is invalid, or two hyperparameters have one name.
        ProjectError: A file in the project folder is damaged, a link leads out of it, or the search in it has
            another objective.

    Example:
        >>> tuner = Tuner(OptunaOracle("val_loss", max_trials=30, seed=0), build, directory="runs")
        >>> tuner.search(x, y, validation_data=(x_val, y_val), epochs=50)
        >>> model = tuner.get_best_models()[0]
    """

    def __init__(
        self,
        oracle: Any,
        hypermodel: Any = None,
        *args: Any,
        seed: int | None = None,
        cv: Any = None,
        keep_checkpoints: int | None = 5,
        reuse_models: int = 16,
        save_every: float | None = 30.0,
        **kwargs: Any,
    ) -> None:
        if not isinstance(oracle, kt.Oracle):
            raise invalid_argument(
                "oracle", expected="a keras_tuner.Oracle, such as OptunaOracle()", received=oracle
            )
        if keep_checkpoints is not None:
            check_integer("keep_checkpoints", keep_checkpoints, 1)
        check_integer("reuse_models", reuse_models, 0)
        if hypermodel is None and type(self).run_trial is Tuner.run_trial:
            raise invalid_argument(
                "hypermodel",
                expected="a keras_tuner.HyperModel or a function that builds a model from `hp`",
                received=None,
            )
        self.seed = seed
        self.cv = check_cv(cv)
        self.keep_checkpoints = keep_checkpoints
        self.save_every = check_seconds("save_every", save_every)
        # Called after a trial was saved.
        self.on_save: Callable[[str], None] = lambda trial_id: None
        self._model_cache = ModelCache(reuse_models)
        self._fresh_start = FreshStart(keep_kernels=reuse_models > 0)
        # Returns the models of the running training at its end; None between trainings.
        self._borrowed: contextlib.ExitStack | None = None
        self._last_model: Any = None
        # The trials with weights on disk; None before the first one ends.
        self._with_weights: set[str] | None = None
        self._resumes = False
        # Before Keras Tuner reads the folder.
        arguments = (
            inspect.signature(kt.Tuner).bind_partial(oracle, hypermodel, *args, **kwargs).arguments
        )
        self._given_space = oracle.get_space()
        folder = Path(
            arguments.get("directory") or ".", arguments.get("project_name") or _DEFAULT_NAME
        )
        check_folder(folder)
        path = folder / f"{os.environ.get('KERASTUNER_TUNER_ID', 'tuner0')}.json"
        # Keras Tuner's workers load nothing: their chief does.
        is_alone = "KERASTUNER_ORACLE_IP" not in os.environ
        resumes = is_alone and not arguments.get("overwrite") and any(folder.glob("trial_*"))
        if resumes and read_object(path) is None:
            # Without this file, which is empty, Keras Tuner would train all trials again.
            write_atomically(path, "{}")
        self._returned: list[Any] | None = None  # The results that `run_trial` below has reported.
        try:
            super().__init__(oracle, hypermodel, *args, **kwargs)
        except KeyError:
            # Keras Tuner loses the value of one of two hyperparameters of the same name.
            check_names(oracle.hyperparameters.space)
            raise
        check_names(oracle.hyperparameters.space)

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Runs trials until the oracle has no more; see `keras_tuner.Tuner.search`.

        Args:
            *fit_args: Positional arguments of `Model.fit`.
            **fit_kwargs: Its other arguments. `callbacks` can hold functions that make callbacks.

        Raises:
            InvalidArgumentError: The data are a generator, which the first trial would exhaust, or
                cannot be split into folds; or one of the `callbacks` is not a Keras callback.
            OSError: A disk is full or broken. The running trial does not count as failed: it runs again
                when the search is resumed.
        """
        if "chief" in os.environ.get("KERASTUNER_TUNER_ID", ""):
            super().search(*fit_args, **fit_kwargs)  # Keras Tuner's chief trains nothing.
            return
        if "verbose" in fit_kwargs and is_local(self.oracle):
            self.oracle.verbose = fit_kwargs["verbose"]
        arguments = name_arguments(fit_args, fit_kwargs)
        check_data(arguments)
        if "callbacks" in fit_kwargs:
            fit_kwargs["callbacks"] = list(check_callbacks(fit_kwargs["callbacks"]))
        if self.cv is not None:
            check_fold_data(self.cv, arguments)
        self._warn_of_other_space()
        self.on_search_begin()
        try:
            for trial in self._trials():
                self.on_trial_begin(trial)
                self._attempt(trial, fit_args, fit_kwargs)
                self.on_trial_end(trial)
        finally:
            self._model_cache.clear()
        self.on_search_end()

    @property
    def models_reused(self) -> int:
        """The number of trainings that used a model compiled for an earlier one."""
        return self._model_cache.reused

    def on_search_begin(self) -> None:
        """Saves the search, so that it can be resumed even if it is killed in its first trial."""
        if is_local(self.oracle):
            delete_leftovers(self.project_dir)
            getattr(self.oracle, "study", None)  # An `OptunaOracle` opens its study, or refuses it.
            self.save()

    def save(self) -> None:
        """Saves the oracle and the tuner, each file atomically."""
        if is_local(self.oracle):
            self.oracle.save()
        # Keras Tuner resumes a search if this file exists.
        path = Path(self.project_dir) / f"{self.tuner_id}.json"
        write_atomically(path, json.dumps(self.get_state()))

    def get_state(self) -> dict[str, Any]:
        """Returns the state of the tuner: its objective and the direction."""
        objective = self.oracle.objective
        return {**super().get_state(), "objective": {objective.name: objective.direction}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the state of `get_state`; Keras Tuner's own tuners save nothing."""
        super().set_state(state)
        self._resumes = True
        there, now = state.get("objective"), self.get_state()["objective"]
        if there is not None and there != now:
            raise ProjectError(
                f"The folder `{self.project_dir}` holds a search for the objective {format_repr(there)}, and "
                f"this one is for {format_repr(now)}: their scores do not compare. Give another "
                "`project_name`, or the same objective."
            )

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        """Trains a trial's model once for each execution and fold, and reports its epochs.

        Returns the result of each training, such as Keras's history, which has been reported. A subclass can
        return this, None, or a result to count instead: anything that `keras_tuner.Tuner.run_trial` can
        return.
        """
        originals = check_callbacks(kwargs.pop("callbacks", None))
        trial_id, hyperparameters = trial.trial_id, trial.hyperparameters
        path, obstacle = self.snapshot_path(trial_id), None
        if self._returned is not None:
            path.unlink(missing_ok=True)  # It is of the first call.
            obstacle = "its `run_trial` trains several times"
        recovery = self.recovery(path, partial(self.on_save, trial_id), obstacle)
        report, best, returned = TrialReport(self.oracle, trial_id), recovery.best, list[Any]()
        for execution, (fit_args, fit) in enumerate(self._trainings(args, kwargs)):
            report.begin()
            if (history := recovery.repeat(execution, report)) is not None:
                returned.append(history)
                continue
            copies = copy_callbacks(originals, trial.trial_id, execution, hyperparameters)
            reporter, last, more = recovery.begin(report, copies)
            seed = self.seed
            if seed is not None:
                seed = trial_seed(seed, seed_values(hyperparameters), execution)
            callbacks = [StepTimer(), LearnedRates(), *copies, *hooks_of(self, trial), *last]
            fit |= {**more, "callbacks": callbacks}
            with self._training(seed):
                results = self._build_and_fit_model(trial, *fit_args, **fit)
                model = reporter.model or self._last_model
                best.take_better(reporter.weights_of(results), report)
                report.take(results, best, model)
                if model is not None and not report.stopped:
                    checkpoints.save(self._folder(trial.trial_id), model, best.weights)
            if report.stopped:  # Only now: a training that raises drops its compiled model.
                raise TrialPrunedError
            returned.append(results)
            recovery.end(reporter)
        report.finish()
        self._returned = returned
        return returned

    def _build_and_fit_model(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        """Builds a trial's model and fits it. Public subclasses of Keras Tuner's class override it.

        An override gets its model from `self._try_build(hp)`, which can be compiled already, or from
        `self.hypermodel.build(hp)`, and has to pass the `callbacks` on.
        """
        model = self._try_build(trial.hyperparameters)
        return fit_of(self.hypermodel)(trial.hyperparameters, model, *args, **kwargs)

    def _try_build(self, hp: Any) -> Any:
        """Builds a model and checks it; in a training it can be a reused one, as good as fresh."""
        return self._lend(partial(self._build_hypermodel, hp))

    def save_model(self, trial_id: str, model: Any, step: int = 0) -> None:
        """Saves the weights of a model, one set for each trial, for subclasses with their own `run_trial`."""
        checkpoints.save(self._folder(trial_id), model, None)

    def load_model(self, trial: Trial) -> Any:
        """Builds a trial's model and loads the weights of its best epoch, if they are still on disk."""
        with self._scope():
            return checkpoints.load(
                self._folder(trial.trial_id), self._try_build(trial.hyperparameters)
            )

    def on_trial_end(self, trial: Trial) -> None:
        """Ends the trial, and deletes the weights of trials that are not among the best."""
        super().on_trial_end(trial)
        # Only now, when the trial cannot run again.
        self.snapshot_path(trial.trial_id).unlink(missing_ok=True)
        if is_local(self.oracle):
            self.drop_weights(trial.trial_id)

    def snapshot_path(self, trial_id: str) -> Path:
        """Returns the file that a trial is saved to while it trains."""
        return self._folder(trial_id) / SNAPSHOT

    def recovery(
        self,
        path: Path,
        on_save: Callable[[], None] = lambda: None,
        obstacle: str | None = None,
    ) -> Recovery:
        """Returns what saves trainings to a file, and continues those that were interrupted."""
        own = type(self)._build_and_fit_model is not Tuner._build_and_fit_model
        if own or has_own_fit(self.hypermodel):
            obstacle = "it has a `fit` of its own"
        return Recovery(path, self.save_every, obstacle, on_save)

    def drop_weights(self, trial_id: str) -> None:
        """Deletes the weights of trials that are not among the best; `trial_id` is the last one to end."""
        if self.keep_checkpoints is None:
            return
        oracle = self.oracle
        best = oracle.get_best_trials(self.keep_checkpoints)
        # All trials only once, in a resumed search: looking at each of them would take longer and longer.
        candidates = (
            set(oracle.trials) if self._with_weights is None else self._with_weights | {trial_id}
        )
        self._with_weights = {
            each.trial_id for each in best if each.status == TrialStatus.COMPLETED
        }
        for dropped in candidates - self._with_weights:
            checkpoints.drop(self._folder(dropped))

    def _warn_of_other_space(self) -> None:
        if self._resumes and self.hypermodel is not None and is_local(self.oracle):
            build, space = self.hypermodel.build, self._given_space
            with self._scope():
                build(space)
            there, now = space_of(self.oracle.get_space()), space_of(space)
            # Keras Tuner adds new hyperparameters, but keeps the old ranges.
            if lines := differences(there, {name: now.get(name, there[name]) for name in there}):
                warn_caller(
                    f"The search in the folder `{self.project_dir}` resumes in the search space that it "
                    "began with. It differs in:\n"
                    + "\n".join(lines)
                    + "\nTo search the new space, give "
                    "another `project_name`, or delete the search there with `overwrite=True`."
                )
        self._resumes = False

    def _trials(self) -> Iterator[Any]:
        while True:
            self.pre_create_trial()
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                return
            if trial.status == TrialStatus.IDLE:  # The oracle waits for another worker.
                time.sleep(_IDLE_SECONDS)
                continue
            yield trial

    def _attempt(self, trial: Trial, args: Any, kwargs: dict[str, Any]) -> None:
        """Runs a trial and sets its final status."""
        # Metrics of an earlier attempt would count for this one.
        forget_reports(self.oracle, trial.trial_id)
        self._returned = None
        try:
            self._report(trial.trial_id, self.run_trial(trial, *args, **kwargs))
            trial.status, trial.message = TrialStatus.COMPLETED, None
        except kt.errors.FatalError:
            raise
        except Exception as error:
            if is_disk_failure(error):
                raise
            trial.status, trial.message = outcome(error)
        finally:
            self._returned = None  # It holds models.

    def _report(self, trial_id: str, results: Any) -> None:
        """Reports the results of `run_trial`, unless they have been reported."""
        ours, objective = self._returned, self.oracle.objective
        if ours is not None and (results is None or are_same(results, ours)):
            return
        trial = self.oracle.get_trial(trial_id)
        if ours is not None:
            forget_reports(self.oracle, trial_id)  # The subclass returned other results.
        elif trial.metrics.exists(objective.name):
            return  # The subclass has called `oracle.update_trial`.
        metrics, epoch = explicit_outcome(results, objective, RUN_TRIAL)
        if math.isnan(metrics[objective.name]):
            raise NoFiniteObjectiveError(objective.name)
        self.oracle.update_trial(trial_id, metrics, step=epoch)

    def _trainings(self, args: Any, kwargs: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
        for _ in range(self.executions_per_trial):
            if self.cv is None:
                yield args, dict(kwargs)
                continue
            for fold in folds(self.cv, self.seed or 0, name_arguments(args, kwargs)):
                yield (), fold

    @contextlib.contextmanager
    def lent_model(self, build: Callable[[], Any], seed: int | None) -> Iterator[Any]:
        """Lends a model for one training: as good as fresh, but it can be compiled already.

        With None as the seed, the random state is not touched.
        """
        with self._training(seed):
            yield self._lend(build)

    @contextlib.contextmanager
    def _training(self, seed: int | None) -> Iterator[None]:
        """Begins a training. Its models are lent again, unless it breaks off."""
        self._fresh_start.begin(seed)
        with gradients_tied_to_graphs(), contextlib.ExitStack() as self._borrowed:
            try:
                yield
            finally:
                self._borrowed = self._last_model = None

    def _lend(self, build: Callable[[], Any]) -> Any:
        with self._scope():
            fresh = check_model(build(), self.max_model_size)
        if self._borrowed is None:
            return fresh
        # A model made in a strategy's scope belongs to it; a user's `fit` may use what `build` has kept.
        share = self.distribution_strategy is None and not has_own_fit(self.hypermodel)
        model = self._borrowed.enter_context(self._model_cache.lend(fresh)) if share else fresh
        self._last_model = model
        return model

    def _scope(self) -> Any:
        strategy = self.distribution_strategy
        return contextlib.nullcontext() if strategy is None else strategy.scope()

    def _folder(self, trial_id: str) -> Path:
        return Path(self.get_trial_dir(trial_id))


def check_model(model: Any, most: int | None) -> Any:
    """Returns the result of a hypermodel's `build`; raises Keras Tuner's errors unless it can be trained.

    `most` is the largest number of parameters; None for any number.
    """
    if not isinstance(model, keras.Model):
        raise kt.errors.FatalTypeError(
            "Expected the function or `HyperModel.build` that builds models to return a compiled "
            f"keras.Model. Received: {model!r}"
        )
    size = sum(math.prod(w.shape) for w in model.trainable_weights) if model.built else 0
    if most and size > most:
        raise kt.errors.FailedTrialError(
            f"Oversized model: {size} parameters, and `max_model_size` is {most}. Skip model."
        )
    return model
