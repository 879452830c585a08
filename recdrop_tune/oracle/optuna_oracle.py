"""`OptunaOracle`: Optuna's samplers and pruners behind Keras Tuner's oracle protocol."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner as kt
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from recdrop_tune.errors import check_seconds, invalid_argument
from recdrop_tune.oracle import scores as scores
from recdrop_tune.oracle.conditions import check_names
from recdrop_tune.oracle.failures import Failures, TooManyFailuresError
from recdrop_tune.oracle.known_points import as_point, complete
from recdrop_tune.oracle.proposals import AskTell, propose
from recdrop_tune.oracle.pruners import make_pruner
from recdrop_tune.oracle.repairs import LOST
from recdrop_tune.oracle.reruns import Resumable, Supervised, ended_trial, stopped
from recdrop_tune.oracle.samplers import BLIND, make_sampler
from recdrop_tune.oracle.study import Notes, open_study
from recdrop_tune.oracle.twins import TrainsTwin, due_twin
from recdrop_tune.oracle.warm_start import WarmStart


class OptunaOracle(Supervised, Resumable, TrainsTwin, kt.Oracle):
    """Lets an Optuna study propose the hyperparameters of a Keras Tuner search.

    It works in any `keras_tuner.Tuner`, also as the chief of Keras Tuner's chief and workers. Only
    active hyperparameters are proposed, none twice while the space offers others, and a small space
    ends the search when all of it has been tried. The study is opened by the first trial, never by
    the constructor.

    Epochs that a tuner reports (`recdrop_tune.Tuner` does, `keras_tuner.Tuner` does not) are judged by
    the pruner: the answer to a trial that promises nothing has the status `STOPPED`.

    Args:
        objective: As for `keras_tuner.Oracle`. Of a list, the study finds the Pareto front
            (`pareto_trials`); the first one picks a trial's best epoch.
        max_trials: The most trials that are run.
        sampler: `"surrogate"` (the default: a `SurrogateSampler`, a Gaussian process over all trials, stopped
            ones included; with several objectives `"tpe"`), an Optuna sampler, or the name of one: `"tpe"`
            (multivariate and grouped, for conditional spaces), `"random"`, `"qmc"`, `"gp"`, `"cmaes"`,
            `"nsga2"`.
        pruner: An Optuna pruner, or the name of one: `"halving"` (the default: after ten epochs, and
            again after twice as many, trials in the worse half of all that got so far),
            `"patient_median"`, `"median"`, `"percentile"`, `"asha"`, `"hyperband"`, `"none"`.
        storage: An Optuna storage or storage URL, for a study that others are to see while the search runs.
            By default the study is in memory, made from the trials whenever the search is opened. A storage
            that is given is trusted: Optuna's CMA-ES unpickles its state from it.
        study_name: Name of the study; by default the name of the project.
        try_first: Configurations to try first, in their order: values by the names of hyperparameters, as
            `trial.hyperparameters.values` and the columns of a table have them. What one leaves open takes
            its middle value. None is tried twice.
        warm_start: The project folder of an earlier search, or several. The sampler is told of their complete
            trials, as far as these have the hyperparameters of this space and values in it. They count for
            nothing else: not for `max_trials`, and no pruner compares with them. Data and objective have to
            be the same.
        twin_last: Whether the last of `max_trials` is the twin of the best configuration with dropout:
            the same hyperparameters, with `wrapper` at `"none"`, so that the two can be compared. It is
            not pruned, and it is tried after `timeout` too.
        timeout: Seconds after which no more trials are begun, counted from the first; the one under way
            is finished.
        worker_timeout: Seconds of silence after which a chief gives a worker up, and its trial is run
            again. Has to be longer than the longest epoch.
        seed: Seed of the sampler; the same seed proposes the same trials. 0 is a seed.
        max_consecutive_failed_trials: How many trials may fail in a row before the search ends; those
            that ran out of memory or diverged are not counted.
        **kwargs: Further arguments of `keras_tuner.Oracle`, such as `hyperparameters` and
            `max_retries_per_trial`.

    Attributes:
        stopped_by: The failures that ended the search, where several workers took part in it.

    Raises:
        InvalidArgumentError: An argument cannot be worked with.

    Example:
        >>> oracle = OptunaOracle(objective="val_loss", max_trials=30, seed=0)
        >>> oracle.seed
        0
    """

    objective: Any

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        *,
        sampler: BaseSampler | str | None = None,
        pruner: BasePruner | str | None = None,
        storage: BaseStorage | str | None = None,
        study_name: str | None = None,
        try_first: Iterable[Mapping[str, Any]] = (),
        warm_start: str | Path | Sequence[str | Path] = (),
        twin_last: bool = False,
        timeout: float | None = None,
        worker_timeout: float = 1800.0,
        seed: int | None = None,
        max_consecutive_failed_trials: int = 3,
        **kwargs: Any,
    ) -> None:
        self._failures = Failures(max_consecutive_failed_trials)
        # Keras Tuner counts every failure, those of earlier sessions too: its own limit is put away.
        kwargs["max_consecutive_failed_trials"] = -1
        kwargs["worker_timeout"] = worker_timeout
        super().__init__(objective=objective, max_trials=max_trials, seed=seed, **kwargs)
        if seed is not None:
            self.seed = seed  # Keras Tuner takes 0 for "no seed".
        scores.check_directions(self.objective)
        if hasattr(self.objective, "objectives"):
            self.objective = scores.SeveralObjectives(self.objective.objectives)
        if not isinstance(sampler, BaseSampler):
            make_sampler(sampler, self.seed)  # An unknown name has to fail here.
            several = len(scores.objectives(self.objective)) > 1
            if sampler in (None, "surrogate"):
                sampler = "tpe" if several else "surrogate"
        self.sampler = sampler
        self.pruner = pruner if isinstance(pruner, BasePruner) else make_pruner(pruner)
        self.storage = storage
        self.study_name = study_name
        self.warm_start = WarmStart(warm_start)
        if self.warm_start.folders and sampler in BLIND:
            raise invalid_argument(
                "warm_start",
                expected=f"no folder with the sampler {sampler!r}, which learns from no other trials",
                received=self.warm_start.folders,
                fix="Take the default one, 'tpe', 'gp' or 'nsga2'; or give the best ones to `try_first`.",
            )
        self.twin_last = twin_last
        self.timeout = check_seconds("timeout", timeout)
        self._deadline: float | None = None
        self._waiting = [as_point(point) for point in try_first]
        self._taken: dict[str, list[dict[str, Any]]] = {}
        self._notes = Notes()
        self._twins: list[str] = []
        self._opened: AskTell | None = None
        self._failure: Exception | None = None
        self.stopped_by: str | None = None

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, opened on first use.

        With `warm_start` it has the trials of other searches too, and its `best_trial` and `best_params` may
        be of one of these: `get_best_trials` tells of this search alone.

        Raises:
            ProjectError: The storage already holds a study of that name from another search.
        """
        return self._ask_tell.study

    def enqueue(self, point: Mapping[str, Any]) -> None:
        """Puts a configuration before the sampler's own proposals, unless it has been tried.

        Args:
            point: As one of `try_first`, behind those that wait already.

        Raises:
            InvalidArgumentError: It is none of the space. Where the space is not known yet, the first
                proposal raises it.
        """
        wanted = as_point(point)
        if self.hyperparameters.space:  # One that waited in the folder would be refused for ever.
            complete(self.hyperparameters.space, wanted)
        if wanted not in self._waiting:  # A search that goes on is given them again.
            self._waiting.append(wanted)

    def points_to_try(self) -> list[dict[str, Any]]:
        """Lists the configurations that wait, filled up, each once and without those that have been tried.

        Raises:
            InvalidArgumentError: One of them is none of the space.
        """
        self._forget_tried()
        tried = [trial.hyperparameters.values for trial in self.trials.values()]
        found: list[dict[str, Any]] = []
        for point in self._waiting:
            values = complete(self.hyperparameters.space, point)
            found += [values] if values not in (*tried, *found) else []
        return found

    def number_of(self, trial_id: str) -> int | None:
        """Returns Optuna's number of the last attempt at a trial; `None` if there was none.

        Args:
            trial_id: Keras Tuner's id of the trial.
        """
        return self._ask_tell.numbers.get(trial_id)

    def pareto_trials(self) -> list[Any]:
        """Returns the complete trials that no other one beats in every objective."""
        return scores.pareto(self.trials.values(), self.objective)

    def update_space(self, hyperparameters: Any) -> None:
        """Adds hyperparameters to the space; see `keras_tuner.Oracle.update_space`.

        Raises:
            InvalidArgumentError: Two of them have one name. What a trial finds is refused by the next one.
        """
        if not self.ongoing_trials:  # Keras Tuner's lock stays taken after an exception.
            check_names(hyperparameters.space)
        super().update_space(hyperparameters)

    def create_trial(self, tuner_id: str) -> Any:
        """Proposes the next trial; see `keras_tuner.Oracle.create_trial`."""
        with self._lock:
            _ = self._ask_tell  # Settles what a crash left, even if no more trials are to come.
            if self.timeout is not None and self._deadline is None:
                self._deadline = time.monotonic() + self.timeout
            trial = super().create_trial(tuner_id)
            # Keras Tuner's lock stays taken after an exception, so what fails is raised out of it.
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            return trial

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Asks the study for the values of one trial.

        Args:
            trial_id: Keras Tuner's id of the trial.

        Returns:
            Keras Tuner's answer: `"status"` and, while the search goes on, `"values"`.
        """
        values = None
        try:
            if self._deadline is None or time.monotonic() < self._deadline:
                if self.waits_for_best():
                    return {"status": "IDLE"}
                values = self._propose(trial_id)
            elif self.twin_last and self.stopped_by is None:
                if self.ongoing_trials:
                    return {"status": "IDLE"}
                values = self._try_twin(trial_id, due_twin(self))
        except Exception as failure:  # Any storage or sampler may raise; see `create_trial`.
            self._failure = failure
        return {"status": "STOPPED" if values is None else "RUNNING", "values": values}

    def _propose(self, trial_id: str) -> dict[str, Any] | None:
        check_names(self.hyperparameters.space)
        twin = self._try_twin(trial_id, self.twin_to_try())
        if twin is not None:
            return twin
        self._forget_tried()
        waited = list(self._waiting)
        values = propose(self, self._ask_tell, self._waiting, trial_id)
        taken = waited[: len(waited) - len(self._waiting)]
        if taken:
            self._taken[trial_id] = taken
        return values

    def _forget_tried(self) -> None:
        """Takes off what waits although it has been tried.

        The values of its trial do not tell, where they have hyperparameters that were found in the meantime.
        """
        kept = {id for id, trial in self.trials.items() if trial.message != LOST}
        tried = [point for id, points in self._taken.items() if id in kept for point in points]
        self._waiting[:] = [point for point in self._waiting if point not in tried]

    def _try_twin(self, trial_id: str, twin: dict[str, Any] | None) -> dict[str, Any] | None:
        if twin is None:
            return None
        self._twins.append(trial_id)
        return self._ask_tell.ask_for(trial_id, self.hyperparameters.space, twin)

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        """Takes an epoch of a trial; see `keras_tuner.Oracle.update_trial`.

        Returns:
            The trial; a copy with the status `STOPPED` where it is to be stopped.
        """
        with self._lock:
            if isinstance(self.objective, scores.SeveralObjectives):
                metrics = self.objective.completed(metrics)
            trial = super().update_trial(trial_id, metrics, step)
            if len(scores.objectives(self.objective)) > 1:
                return trial  # Optuna prunes by one objective only.
            value = float(metrics[self.objective.name])
            pruned = self._ask_tell.report(trial_id, value, int(step))
            # Stopped where dropout helps much, the twin would hide just that.
            return stopped(trial) if pruned and trial_id not in self._twins else trial

    def score_trial(self, trial: Any) -> None:
        """Scores a trial by its best epoch that has a finite objective."""
        scores.score(trial, self.objective)

    def end_trial(self, trial: Any = None, status: str = "COMPLETED", **old: Any) -> None:
        """Ends a trial and tells the study how it went; see `keras_tuner.Oracle.end_trial`.

        Args:
            trial: The trial; or its id, as in older versions of Keras Tuner.
            status: How it has ended, beside an id.
            **old: `trial_id`, by which an id was given then.

        Raises:
            TooManyFailuresError: Too many trials failed in a row. Where several workers are served, one of
                which would get the error, the search ends instead.
        """
        with self._lock:
            trial = ended_trial(self, trial, status, **old)
            if not self._workers_of(trial.trial_id):
                return
            super().end_trial(trial)
            ended = self.trials[trial.trial_id]
            self._ask_tell.tell(ended, self.objective)
            if self.storage is None and self._ask_tell.notes() != self._notes:
                self.save()  # With what a sampler has noted of the end, such as constraints.
            try:
                self._failures.note(ended)
            except TooManyFailuresError as failure:
                if not self.serves:
                    raise
                print(failure)
                self.stopped_by = str(failure)
                self._deadline = time.monotonic()

    def get_state(self) -> dict[str, Any]:
        """Returns what Keras Tuner saves, and what Optuna knows that the trials do not say."""
        if self._opened is not None and self.storage is None:
            self._notes = self._opened.notes()
        own = {**self._notes.saved(), "waiting": self._waiting, "twins": self._twins}
        own["taken"] = self._taken
        own |= {"warm_start": self.warm_start.counts, "warm_same": self.warm_start.same}
        return {**super().get_state(), "optuna": own}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        notes = Notes.read(state["optuna"])  # First: what makes no sense may not change any file.
        goals = len(scores.objectives(self.objective))
        if any(len(trial.scores) != goals for trial in notes.warm.values()):
            raise ValueError("A trial of another search has other objectives.")
        self.warm_start.restore(*(state["optuna"].get(n) for n in ("warm_start", "warm_same")))
        super().set_state(state)
        self._notes, self._opened = notes, None
        self._twins = list(state["optuna"].get("twins", []))
        taken = state["optuna"].get("taken")
        pairs = taken.items() if isinstance(taken, Mapping) else ()
        self._taken = {str(id): _points(points) for id, points in pairs}
        waited = _points(state["optuna"].get("waiting"))
        self._waiting = [*waited, *(point for point in self._waiting if point not in waited)]

    def begins_again(self, trial: Any) -> None:
        """Begins a trial in the study once more: a retry, or one that was broken off."""
        if self._ask_tell.is_under_way(trial.trial_id):  # Its worker was lost, or has come back.
            self._ask_tell.discard(trial.trial_id)
        self._resume(trial)
        self.save()  # With the number of the new attempt.

    def goes_on(self, trial: Any) -> None:
        """Takes up a trial in the study whose worker has outlived the oracle's process."""
        self._resume(trial)
        if len(scores.objectives(self.objective)) == 1:
            for step, value in scores.first_epochs(trial, self.objective.name).items():
                self._ask_tell.report(trial.trial_id, value, step)

    @property
    def _ask_tell(self) -> AskTell:
        if self._opened is None:
            for line in self.warm_start.read(self) if self.verbose else ():
                print(line)
            self._opened = AskTell(*open_study(self, self._notes, self.warm_start))
        return self._opened

    def _resume(self, trial: Any) -> None:
        space, values = self.hyperparameters.space, trial.hyperparameters.values
        self._ask_tell.begin(trial.trial_id, space, values)


def _points(saved: Any) -> list[dict[str, Any]]:
    """Reads configurations that were saved; a folder may come from somebody else."""
    listed = saved if isinstance(saved, list) else []
    return [dict(each) for each in listed if isinstance(each, Mapping)]
