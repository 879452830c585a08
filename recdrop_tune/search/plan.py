"""`Plan`: the description of a search by `tune`, which each of its processes receives."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.errors import RecdropError, check_callbacks, is_disk_failure
from recdrop_tune.events import CONFIG_FILE, CONFIRMATION, FIT, PADDING, Context, Listener, Process
from recdrop_tune.hypermodels import Extension, extended
from recdrop_tune.oracle import OptunaOracle, make_pruner
from recdrop_tune.records import Records
from recdrop_tune.search.confirm import DROPOUT, Question, Retrainings
from recdrop_tune.search.data import Data
from recdrop_tune.search.first_trials import enqueue_first_trials
from recdrop_tune.search.hypermodel_of import ObservedTrials, describe_model, loss_of
from recdrop_tune.search.identity import plain_values
from recdrop_tune.search.settings import MLflow, SearchConfig, Training
from recdrop_tune.search.tuner_tracking import track_in
from recdrop_tune.session import SearchSession
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.tuner import Tuner, copy_callbacks, readable

TUNERS = {
    "optuna": ("surrogate", "halving"),
    "random": ("random", "none"),
    "bayesian": ("surrogate", "none"),
    "hyperband": ("random", "hyperband"),
    "grid": ("grid", "none"),
}
"""The sampler and the pruner of each tuner."""


def warm_up(epochs: int) -> int:
    """Returns how many epochs of a trial are never cut off: a third of them, at least ten."""
    return max(10, round(epochs / 3))


@dataclass(frozen=True)
class Plan:
    """A search by `tune`, with checked arguments.

    `config` is complete: functions that were named are imported, the folder and the store are known. `space`
    is in YAML, or the name of the hypermodel that defines it. `models` describes those to compare by their
    names, the baseline first.
    """

    config: SearchConfig
    data: Data
    model: Any
    space: str
    goal: kt.Objective
    context: Context | None
    config_file: Path | None = None
    process: Process = field(default_factory=Process)
    resume_hint: str | None = None
    question: Question = DROPOUT
    models: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The project folder."""
        return Path(self.config.directory or "")

    @property
    def training(self) -> Training:
        """How to train each trial."""
        return self.config.training or Training()

    @property
    def tracking(self) -> MLflow | None:
        """The MLflow experiment and its address; `None` without MLflow."""
        return self.config.tracking

    @property
    def at_once(self) -> int:
        """How many trials run at the same time."""
        return 1 if self.config.workers is None else self.config.workers.number

    @property
    def compilation_cache(self) -> bool | Path:
        """Whether to keep compiled code for other processes, or the folder for it."""
        return self.training.compilation_cache

    @property
    def proposes(self) -> bool:
        """Whether Optuna proposes trials, after those that every search tries first."""
        return self.question.searches and self.config.tuner_name == "optuna"

    @property
    def identity(self) -> dict[str, Any]:
        """Decides whether another search is the same one. A search can be extended to more trials."""
        space = getattr(self.model, "space", None)
        # A search can be confirmed on test data later; here they change what is asked.
        test = {} if self.question.searches else {"test data": self.data.test is not None}
        order = [*self.models]
        compared = order and {"baseline": order[0], "order": order, "models": self.models}
        return test | {
            "space": space.to_dict() if isinstance(space, SearchSpace) else self.space,
            "objective": {self.goal.name: self.goal.direction},
            "tuner": self.config.tuner_name,
            "epochs": self.config.epochs,
            "batch_size": self.config.batch_size,
            "executions": self.training.executions,
            "cv": self.training.cv,
            "early_stopping": self.training.early_stopping,
            "fit": self.training.fit,
            "model": compared or describe_model(self.model),
            "loss": loss_of(self.model),
        }

    def new_tuner(self, directory: Path | None = None) -> Tuner:
        """Makes the tuner, with its first trials. It builds the model under every condition of its space.

        A `directory` replaces the project folder.
        """
        folder, trials = directory or self.folder, ObservedTrials(self.model, self.goal.name)
        try:
            # Keras Tuner prints that it resumes a search, even if it is not verbose.
            with contextlib.redirect_stdout(io.StringIO()):
                tuner = _make_tuner(self, extended(self.model, trials), folder)
            if self.proposes:
                enqueue_first_trials(tuner.oracle, self.config.optuna.try_first)
            return tuner
        except RecdropError:
            raise
        except Exception as error:
            if is_disk_failure(error):
                raise
            what = f"The search cannot be set up in `{folder}`"
            if trials.building is not None:
                active = readable(trials.building).items()
                values = ", ".join(f"{n}={value!r}" for n, value in active if value is not None)
                what = f"The model cannot be built with {values or 'no hyperparameters'}"
            raise RecdropError(f"{what}: {type(error).__name__}: {error}") from error

    def track(
        self, tuner: Tuner, records: Records | None = None, listeners: Iterable[Listener] = ()
    ) -> SearchSession:
        """Tracks the tuner; `records` are read if not given."""
        return track_in(
            self.tracking,
            tuner,
            records=records,
            listeners=listeners,
            space=self.space,
            info=self._info(),
            data=self.data.parts,
            context=self.context,
            models=[*self.models],
            process=self.process,
            resume_hint=self.resume_hint,
        )

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Makes the arguments of `Tuner.search`."""
        config = self.config
        fit = {**self.data.fit_arguments(config.batch_size), "epochs": config.epochs, "verbose": 0}
        callbacks, patience = list(self.training.callbacks), self.training.early_stopping
        if patience is not None:
            name, mode = self.goal.name, self.goal.direction
            callbacks.append(keras.callbacks.EarlyStopping(name, mode=mode, patience=patience))
        return (), fit | {**self.training.fit, "callbacks": callbacks}

    def follow_up(self) -> Retrainings | None:
        """Makes the trainings with fresh seeds, if any are asked for."""
        confirm, test = self.config.confirm, self.data.parts["test"]
        return Retrainings(self.question, confirm, self.config.seed, test) if confirm else None

    def refit(
        self, hp: Any, total: int, seed: int, x: Any, y: Any, epochs: int, **arguments: Any
    ) -> keras.Model:
        """Trains a configuration on all data; schedules of rates span at least `total` epochs."""

        def stop(epoch: int, logs: Any) -> None:
            model.stop_training = model.stop_training or epoch + 1 >= epochs

        train = x if y is None else (x, y, arguments.pop("sample_weight", None))
        task = self.data.prepared_task
        data = replace(self.data, train=train, validation=None, test=None, task=task)
        callbacks = [
            callback
            for callback in copy_callbacks(self.training.callbacks, "refit", 0)
            if not isinstance(callback, keras.callbacks.EarlyStopping)
            and not str(getattr(callback, "monitor", "")).startswith("val_")
        ]
        callbacks += check_callbacks(arguments.pop("callbacks", None))
        callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=stop))
        fit = {
            **data.fit_arguments(self.config.batch_size),
            **{k: v for k, v in self.training.fit.items() if not k.startswith("validation")},
            "verbose": 0,
            **arguments,
        }
        hypermodel = extended(self.model, Extension())
        keras.utils.set_random_seed(seed)
        model = hypermodel.build(hp)
        hypermodel.fit(hp, model, **fit, epochs=max(epochs, total), callbacks=callbacks)
        return model

    def _info(self) -> dict[str, Any]:
        """Returns the parameters of the search's run in MLflow."""
        config, optuna = self.config, self.config.optuna
        info: dict[str, Any] = {"epochs": config.epochs, "batch_size": None, "seed": config.seed}
        fit = self.data.fit_arguments(config.batch_size) | self.training.fit
        info |= {name: plain_values(fit[name]) for name in FIT if name in fit}
        if self.data.padding is not None:
            x = self.data.parts["training"][0]
            info[PADDING] = {"value": self.data.padding, "dtype": str(x.dtype)}
        if self.config_file is not None:
            info[CONFIG_FILE] = str(self.config_file.absolute())
        pruner = optuna.pruner or "halving"
        if self.proposes and isinstance(pruner, str):
            info["pruner"] = pruner  # Its name; the oracle has only its class.
        if optuna.warm_start:
            info["warm_start"] = ", ".join(folder.name for folder in optuna.warm_start)
        info["workers"] = self.at_once
        if config.timeout is not None and isfinite(config.timeout):
            info["timeout"] = config.timeout
        if config.confirm and self.question.searches:
            # Most of the best have a dropout, so a twin each.
            info[CONFIRMATION] = 2 * config.confirm.top * config.confirm.seeds
        return info


def _make_tuner(plan: Plan, hypermodel: kt.HyperModel, folder: Path) -> Tuner:
    """Makes the tuner of a search. If the folder holds a search, it resumes that search."""
    folder, config, settings = Path(os.path.abspath(folder)), plan.config, plan.config.optuna
    training = plan.training
    sampler, default = TUNERS[config.tuner_name]
    pruner = settings.pruner or default
    if isinstance(pruner, str):
        # Hyperband itself gives some trials more epochs than others before it judges them.
        first = 1 if config.tuner_name == "hyperband" else warm_up(config.epochs)
        pruner = make_pruner(pruner, first, config.epochs)
    oracle = OptunaOracle(
        plan.goal,
        config.max_trials,
        sampler=settings.sampler or sampler,
        pruner=pruner,
        warm_start=settings.warm_start,
        twin_last=not config.confirm,  # A confirmation trains other twins.
        min_gain=settings.min_gain,
        timeout=config.timeout,
        seed=config.seed,
    )
    return Tuner(
        oracle,
        hypermodel,
        seed=config.seed,
        cv=training.cv,
        keep_checkpoints=training.keep_checkpoints,
        reuse_models=training.reuse_models,
        save_every=training.save_every,
        executions_per_trial=training.executions,
        directory=str(folder.parent),
        project_name=folder.name,
    )
