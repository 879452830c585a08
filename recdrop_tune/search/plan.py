"""`Plan`: everything that a search by `tune` is, and what there is to make of it in each of its processes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.errors import RecdropError
from recdrop_tune.events import Listener, Process
from recdrop_tune.hypermodels import extended, scheduled
from recdrop_tune.mlflow_store import Tracking
from recdrop_tune.search.confirm import Confirmation
from recdrop_tune.search.context import context_of
from recdrop_tune.search.data_arguments import Data
from recdrop_tune.search.first_trials import enqueue_first_trials
from recdrop_tune.search.hypermodel_of import ObservedTrials, describe_model, loss_of
from recdrop_tune.search.settings import Confirm, MLflow, Optuna, Training, Workers
from recdrop_tune.search.tuner_tracking import track
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.storage_errors import is_storage_failure
from recdrop_tune.tuner import make_tuner, readable


@dataclass(frozen=True)
class Plan:
    """A search by `tune`, its arguments checked.

    Attributes:
        data: The data.
        model: The hypermodel, or the function that builds its models.
        space: The search space as YAML, or the name of the hypermodel that defines it.
        goals: The objectives.
        max_trials: The most trials that are run.
        epochs: Epochs of one trial.
        batch_size: Samples a batch, for arrays.
        timeout: Seconds after which no more trials are begun.
        seed: Seed of the proposals and of every trial.
        tuner: Name of the tuner.
        optuna: How Optuna searches.
        training: How each trial is trained.
        confirm: What is trained again after the search; its test data are among `data`.
        workers: What runs the trials; `None` for this process.
        tracking: The MLflow experiment and its address.
        folder: The project folder.
        verbose: What is printed.
        overwrite: Whether to delete the search that is in the folder.
        search_id: Identity of the search, as the project folder has it.
        process: The process in which it was begun.
        go_on: How to go on with it, in words or as a command.
    """

    data: Data
    model: Any
    space: str
    goals: Sequence[kt.Objective]
    max_trials: int
    epochs: int
    batch_size: int
    timeout: float | None
    seed: int | None
    tuner: str
    optuna: Optuna
    training: Training
    confirm: Confirm | None
    workers: Workers | None
    tracking: MLflow
    folder: Path
    verbose: int
    overwrite: bool
    search_id: str = ""
    process: Process = field(default_factory=Process)
    go_on: str | None = None

    @property
    def at_once(self) -> int:
        """How many trials run at the same time."""
        return 1 if self.workers is None else self.workers.number

    @property
    def compilation_cache(self) -> bool | Path:
        """Whether what is compiled is kept for other processes, or where."""
        return self.training.compilation_cache

    @property
    def twin_last(self) -> bool:
        """Whether the last trial is the twin of the best one: a confirmation trains twins of its own."""
        return self.confirm is None

    @property
    def study_name(self) -> str:
        """Name of the Optuna study."""
        return f"{self.folder.name}-{self.search_id[:8]}"

    @property
    def identity(self) -> dict[str, Any]:
        """What makes another search the same one. `max_trials` is not in it: a search can be extended."""
        space = getattr(self.model, "space", None)
        return {
            "space": space.to_dict() if isinstance(space, SearchSpace) else self.space,
            "objective": {goal.name: goal.direction for goal in self.goals},
            "tuner": self.tuner,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "executions": self.training.executions,
            "cv": self.training.cv,
            "early_stopping": self.training.early_stopping,
            "fit": self.training.fit,
            "model": describe_model(self.model),
            "loss": loss_of(self.model),
        }

    def new_tuner(self, directory: Path | None = None) -> Any:
        """Makes the tuner, which builds the model under every condition of its space.

        Args:
            directory: A folder in the place of the search's own; then the study is not opened.

        Raises:
            RecdropError: The model cannot be built.
        """
        plan, trials = self, ObservedTrials(self.model, self.goals)
        if directory is not None:
            plan = replace(self, folder=directory, optuna=replace(self.optuna, storage=None))
        try:
            # Keras Tuner prints that it goes on with a search, however quiet it is told to be.
            with contextlib.redirect_stdout(io.StringIO()):
                return make_tuner(plan, extended(scheduled(self.model), trials))
        except RecdropError:
            raise
        except Exception as error:
            if is_storage_failure(error):
                raise
            what = f"The search cannot be set up in `{plan.folder}`"
            if trials.building is not None:
                active = readable(trials.building).items()
                values = ", ".join(
                    f"{name}={value!r}" for name, value in active if value is not None
                )
                what = f"The model cannot be built with {values or 'no hyperparameters'}"
            raise RecdropError(f"{what}: {type(error).__name__}: {error}") from error

    def track(self, tuner: Any, listeners: Iterable[Listener] = ()) -> Tracking:
        """Tracks the tuner, which tries the first configurations first."""
        if self.tuner == "optuna":
            enqueue_first_trials(tuner.oracle, self.optuna.try_first)
        data = self.data.made
        observed = tuner.hypermodel.extension(ObservedTrials)
        if observed.first_model is None:
            # A search that resumes has built no model yet. One that cannot be built fails in its trial.
            with contextlib.suppress(Exception):
                tuner.hypermodel.build(tuner.oracle.get_space())
        tracking = track(
            tuner,
            self.tracking,
            listeners=listeners,
            space=self.space,
            info=self._info(),
            data=data,
            context=context_of(
                data["training"],
                data["validation"],
                self.model,
                observed.first_model,
                self.goals,
            ),
        )
        observed.first_model = None  # Its memory is not needed any more.
        tracking.process, tracking.go_on = self.process, self.go_on
        return tracking

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Makes the arguments of `Tuner.search`."""
        fit = {**self.data.fit_arguments(self.batch_size), "epochs": self.epochs, "verbose": 0}
        callbacks, patience = list(self.training.callbacks), self.training.early_stopping
        if patience is not None:
            goal = self.goals[0]
            stopping = keras.callbacks.EarlyStopping(
                goal.name, mode=goal.direction, patience=patience
            )
            callbacks.append(stopping)
        return (), fit | {**self.training.fit, "callbacks": callbacks}

    def follow_up(self) -> Confirmation | None:
        """Makes the confirmation."""
        if self.confirm is None:
            return None
        test = self.data.made["test"]
        return Confirmation(self.confirm.top, self.confirm.seeds, self.seed, test)

    def _info(self) -> dict[str, Any]:
        """Lists what the run of the search in MLflow gets as parameters."""
        info: dict[str, Any] = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }
        pruner = self.optuna.pruner or "halving"
        if self.tuner == "optuna" and isinstance(pruner, str):
            info["pruner"] = pruner  # By `Optuna`'s name for it; the oracle knows its class alone.
        if self.optuna.warm_start:
            info["warm_start"] = ", ".join(folder.name for folder in self.optuna.warm_start)
        info["workers"] = self.at_once
        if self.timeout is not None and isfinite(self.timeout):
            info["timeout"] = self.timeout
        return info
