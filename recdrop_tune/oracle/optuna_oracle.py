"""`OptunaOracle`: Optuna's samplers and pruners behind Keras Tuner's oracle protocol."""

from __future__ import annotations

import copy
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras_tuner as kt
import optuna
from keras_tuner.engine.trial import Trial, TrialStatus
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.errors import check_integer, check_seconds, invalid_argument
from recdrop_tune.events import CONVERGED, MAX_TRIALS, TIMEOUT
from recdrop_tune.files import as_folders
from recdrop_tune.hyperparameters import Hyperparameter, Values, key_of, offers_none, walk
from recdrop_tune.optuna_forms import quiet_optuna, suggest
from recdrop_tune.oracle import scores as scores
from recdrop_tune.oracle.ending import LEAST, MOST, Promises
from recdrop_tune.oracle.failures import NOT_A_NUMBER, OUT_OF_MEMORY, TooManyFailuresError
from recdrop_tune.oracle.known_points import as_point, complete, read_warm_trials
from recdrop_tune.oracle.proposals import (
    keys_of_trials,
    limits,
    nearest_untried,
)
from recdrop_tune.oracle.pruners import make_pruner
from recdrop_tune.oracle.samplers import BLIND, GridSampler, make_sampler
from recdrop_tune.oracle.study import ID, frozen_trial, open_study, outcome
from recdrop_tune.oracle.surrogate import DISCARDED, SurrogateSampler, nothing
from recdrop_tune.oracle.translation import (
    check_names,
    read_space,
    read_values,
    write_values,
)
from recdrop_tune.oracle.trial_files import (
    restore,
    save_state,
    save_trial,
    with_end,
)
from recdrop_tune.oracle.twins import due_twin, twin_of_best
from recdrop_tune.standing import MIN_GAIN

# How often a sampler is asked for another configuration than a refused one; each leaves a failed trial.
_ASKS = 10

# How often the epochs of running trials are saved, which takes milliseconds. After a kill, a running trial
# begins anew.
_SECONDS_BETWEEN_SAVES = 1.0


class OptunaOracle(kt.Oracle):
    """Lets an Optuna study propose the hyperparameters of a Keras Tuner search.

    It works in any `keras_tuner.Tuner`. Only active hyperparameters are proposed. No configuration is
    proposed twice, and the search ends when all of a small space has been tried. The study is opened by the
    first trial.

    Epochs that a tuner reports (`recdrop_tune.Tuner` does, `keras_tuner.Tuner` does not) are judged by the
    pruner. For an unpromising trial, `update_trial` returns a trial with the status `STOPPED`.

    Args:
        objective: As for `keras_tuner.Oracle`, or `{"name": "val_f1", "direction": "max"}`; not a list.
        max_trials: The most trials that are run. With None, the search ends by itself, after 8 to 200 trials:
            when three proposals in a row promise less than `min_gain`, corrected by how much of their
            promises the earlier ones have kept. It takes the sampler `"surrogate"`, and a loss above 0 or a
            metric from 0 to 1; or `"grid"`, which tries the whole grid, whatever its size.
        sampler: `"surrogate"` (the default: a `SurrogateSampler`, a Gaussian process over the learning curves
            of all trials), an Optuna sampler, or the name of one: `"tpe"` (multivariate and grouped, for
            conditional spaces), `"random"`, `"grid"`, `"qmc"`, `"gp"`, `"cmaes"`.
        pruner: An Optuna pruner, or the name of one: `"halving"` (the default: after ten epochs, and again
            after twice as many, it stops trials in the worse half of all that got so far),
            `"patient_median"`, `"median"`, `"percentile"`, `"asha"`, `"hyperband"`, `"none"`.
        try_first: Configurations to try first, in this order: values by the names of hyperparameters, as in
            `trial.hyperparameters.values` or a row of a table. Hyperparameters left out get their middle
            value.
        warm_start: The project folder of an earlier tracked search, or several. The sampler learns from their
            complete trials that lie in the space of this search. They do not count for `max_trials`. Data
            and objective have to be the same.
        twin_last: Whether the last of `max_trials` is the twin of the best configuration with dropout:
            the same hyperparameters, with `wrapper` at `"none"`, so that the two can be compared. It is not
            pruned, and it is tried after `timeout` too.
        max_none_share: The largest share of the trials that have no dropout (`wrapper` at `"none"`), from 0
            to 1: the sampler then proposes another wrapper, if one is left to try. Trials of `try_first` and
            twins count, but always run. The sampler `"grid"` is not limited.
        min_gain: The gain that is worth another trial, for `max_trials=None`: a part of the best loss, or of
            the error rate, 1 - value, if the objective is maximized.
        timeout: Seconds after which no more trials begin, counted from the first; running ones are finished.
        seed: Seed of the sampler. The same seed proposes the same trials. 0 is a seed.
        max_consecutive_failed_trials: The search ends after this many failed trials in a row, not counting
            those that ran out of memory or diverged.
        **kwargs: Further arguments of `keras_tuner.Oracle`, such as `hyperparameters` and
            `max_retries_per_trial`.

    Raises:
        InvalidArgumentError: An argument is not valid.

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
        try_first: Iterable[Mapping[str, Any]] = (),
        warm_start: str | Path | Sequence[str | Path] = (),
        twin_last: bool = False,
        max_none_share: float = 0.25,
        min_gain: float = MIN_GAIN,
        timeout: float | None = None,
        seed: int | None = None,
        max_consecutive_failed_trials: int = 3,
        **kwargs: Any,
    ) -> None:
        limit = max_consecutive_failed_trials
        self._most_failures = check_integer("max_consecutive_failed_trials", limit)
        self._failures_in_a_row = 0
        # Keras Tuner counts every failure, including those of earlier sessions: its own limit is disabled.
        kwargs["max_consecutive_failed_trials"] = -1
        objective = scores.single_objective(objective)
        super().__init__(objective=objective, max_trials=max_trials, seed=seed, **kwargs)
        if seed is not None:
            self.seed = seed  # Keras Tuner takes 0 for "no seed".
        if not isinstance(sampler, BaseSampler):
            make_sampler(sampler, self.seed)  # Raises for an unknown name.
        self.sampler = "surrogate" if sampler is None else sampler
        ours = self.sampler == "surrogate" or isinstance(self.sampler, SurrogateSampler)
        if max_trials is None and not (ours or sampler == "grid"):
            expected = (
                "a number, for only the default sampler and 'grid' end a search by themselves"
            )
            raise invalid_argument("max_trials", expected=expected, received=None)
        self.pruner = pruner if isinstance(pruner, BasePruner) else make_pruner(pruner)
        folders = map(os.path.realpath, as_folders("warm_start", warm_start))
        self.warm_start = list(dict.fromkeys(folders))
        if self.warm_start and sampler in BLIND:
            raise invalid_argument(
                "warm_start",
                expected=f"no folder with the sampler {sampler!r}, which learns from no other trials",
                received=self.warm_start,
                fix="Use the default sampler, 'tpe' or 'gp', or pass the best ones as `try_first`.",
            )
        self.twin_last = twin_last
        if not 0 <= max_none_share <= 1:
            expected = "a share from 0 to 1"
            raise invalid_argument("max_none_share", expected=expected, received=max_none_share)
        self.max_none_share = max_none_share
        if not 0 < min_gain < 1:
            expected = "a part of the best loss, between 0 and 1"
            raise invalid_argument("min_gain", expected=expected, received=min_gain)
        self.min_gain = min_gain
        self._promises = Promises()
        self.timeout = check_seconds("timeout", timeout)
        self._deadline: float | None = None
        self._saved_at = -math.inf
        self._waiting = [as_point(point) for point in try_first]
        self._lock = threading.RLock()
        self._failure: Exception | None = None
        self._warm: tuple[list[FrozenTrial], list[str]] | None = None
        self._read: tuple[list[Any], list[Hyperparameter]] = [], []
        self._close_study()

    def _close_study(self) -> None:
        self._study: optuna.Study | None = None
        self._attempts: dict[str, optuna.Trial] = {}  # The running trials, by Keras Tuner's id.
        self._reported: dict[str, set[int]] = {}
        self._twins: set[str] = set()

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, made in memory from the trials on first use.

        With `warm_start` it has the trials of other searches too, and its `best_trial` can be one of these.
        `get_best_trials` returns trials of this search only.

        Raises:
            InvalidArgumentError: No trial of another folder can be used.
        """
        if self._study is None:
            lines = self.read_warm_start()
            for line in lines if self.verbose else ():
                print(line)
            self._study = open_study(self, self._warm[0] if self._warm else ())
        return self._study

    @property
    def _most_trials(self) -> float:
        return self.max_trials or (math.inf if self.sampler == "grid" else MOST)

    @property
    def space(self) -> list[Hyperparameter]:
        """The hyperparameters of the search so far; a model can add some while the search runs."""
        space = self.hyperparameters.space
        # Keras Tuner's hyperparameters are equal only if they are the same object.
        if self._read[0] != space:
            self._read = list(space), read_space(space)
        return self._read[1]

    def configuration_of(self, trial: Trial) -> Values:
        """Returns the active values of a trial of this search, by key."""
        return read_values(self.space, trial.hyperparameters.values)

    def read_warm_start(self, folder: str | Path | None = None) -> list[str]:
        """Reads the folders of `warm_start`; returns a line for each that counts the trials used.

        `folder` is the project folder of the search; None: the oracle's.
        """
        if self._warm is None:
            self._warm = read_warm_trials(self.warm_start, self, folder)
        return self._warm[1]

    def enqueue(self, point: Mapping[str, Any]) -> None:
        """Puts a configuration before the sampler's own proposals, unless it has been tried.

        Args:
            point: As one of `try_first`. It is tried after those that wait already.

        Raises:
            InvalidArgumentError: It is not in the space. If the space is not known yet, the first proposal
                raises it.
        """
        wanted = as_point(point)
        if self.space:
            complete(self.space, wanted)
        self._waiting.append(wanted)

    def points_to_try(self) -> list[Values]:
        """Lists the configurations that wait, completed, each once and without those that have been tried.

        Raises:
            InvalidArgumentError: One of them is not in the space.
        """
        tried, waiting = keys_of_trials(self), dict[Any, Values]()
        for point in self._waiting:
            values = complete(self.space, point)
            waiting.setdefault(key_of(values), values)
        return [values for key, values in waiting.items() if key not in tried]

    def number_of(self, trial_id: str) -> int | None:
        """Returns Optuna's number of the last attempt at a trial, or None.

        Args:
            trial_id: Keras Tuner's id of the trial.
        """
        trials = reversed(self.study.get_trials(deepcopy=False))
        own = (t for t in trials if t.user_attrs.get(ID) == trial_id)
        return next((t.number for t in own if not t.user_attrs.get(DISCARDED)), None)

    def update_space(self, hyperparameters: Any) -> None:
        """Adds hyperparameters to the space; see `keras_tuner.Oracle.update_space`."""
        if not self.ongoing_trials:  # Keras Tuner's lock stays taken after an exception.
            check_names(hyperparameters.space)
        super().update_space(hyperparameters)

    def create_trial(self, tuner_id: str) -> Any:
        """Hands out a trial; see `keras_tuner.Oracle.create_trial`."""
        with self._lock:
            _ = self.study  # The time that this takes does not count.
            if self.timeout is not None and self._deadline is None:
                self._deadline = time.monotonic() + self.timeout
            # Several processes can train one trial together, under one id.
            shared = self.multi_worker and tuner_id in self.ongoing_trials
            known = len(self.trials)
            trial = super().create_trial(tuner_id)
            # Keras Tuner's lock stays taken after an exception, so it is raised here.
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            if trial.status == TrialStatus.RUNNING and len(self.trials) == known and not shared:
                scores.forget_metrics(trial)
                self._save_trial(trial)  # Or a crash brings back what it had reported.
                self._restart(trial)
            return trial

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes the values of a trial; see `keras_tuner.Oracle.populate_space`."""
        values, over = None, False
        try:
            over = self.ended_by() is not None
            last = len(self.trials) >= self._most_trials - 1
            if self.twin_last and (last or over) and offers_none(self.space):
                if self.ongoing_trials:  # The best is not known before they have ended.
                    return {"status": TrialStatus.IDLE}
                values = due_twin(self)
                if values is not None:
                    self._twins.add(trial_id)
                    self._begin(trial_id, values)
            if values is None and not over:
                values = self._propose(trial_id)
        except Exception as failure:  # Any sampler can raise; see `create_trial`.
            self._failure = failure
        if values is not None:
            values = write_values(self.space, values)
            return {"status": TrialStatus.RUNNING, "values": values}
        # A running trial can add hyperparameters, and so configurations to try.
        waits = self.ongoing_trials and not over and self._failure is None
        return {"status": TrialStatus.IDLE if waits else TrialStatus.STOPPED}

    def ended_by(self) -> str | None:
        """Returns why no more trials begin: `MAX_TRIALS`, `TIMEOUT` or `CONVERGED`; None if more can."""
        if len(self.trials) >= self._most_trials:
            return MAX_TRIALS
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return TIMEOUT
        ends_itself = self.max_trials is None and self.sampler != "grid"
        if ends_itself and not self.points_to_try() and self._promises.are_small(self):
            return CONVERGED
        return None

    def expected_gain(self) -> float | None:
        """Returns the gain that another trial promises, corrected by what earlier ones have kept, if known.

        It is a part of the best loss, or of the error rate, 1 - value. Only the default sampler knows it,
        after eight trials, for a loss or a metric from 0 to 1.
        """
        if len(self.trials) < LEAST:
            return None
        if self._promises.at_end is not None:
            return self._promises.at_end
        with self._limited_sampler() as sampler:
            if not isinstance(sampler, SurrogateSampler):
                return None
            gain = sampler.expected_gain(self.study)
        return None if gain is None else gain * self._promises.kept(self)

    def _propose(self, trial_id: str) -> Values | None:
        check_names(self.hyperparameters.space)
        space, tried = self.space, keys_of_trials(self)
        # All of them first, so that a wrong one raises before anything is trained.
        for values in [complete(space, point) for point in self._waiting]:
            self._waiting.pop(0)
            if key_of(values) not in tried:
                return self._begin(trial_id, values)
        study, refuses = self.study, limits(self)
        with self._limited_sampler() as sampler:
            for _ in range(_ASKS):
                asked = study.ask()
                values = walk(space, partial(suggest, asked))
                attributes = study.get_trials(deepcopy=False)[asked.number].system_attrs
                enqueued = "fixed_params" in attributes  # By the user, in the study.
                is_new = key_of(values) not in tried
                if is_new and (enqueued or not refuses(values)):
                    self._promises.add(trial_id, getattr(sampler, "promised", None))
                    asked.set_user_attr(ID, trial_id)
                    self._attempts[trial_id], self._reported[trial_id] = asked, set()
                    return values
                self._discard(asked)
                if not is_new:
                    break
        untried = nearest_untried(self, values, refuses)
        return None if untried is None else self._begin(trial_id, untried)

    @contextmanager
    def _limited_sampler(self) -> Iterator[BaseSampler]:
        """Yields the sampler; the default one and the grid know what they should not propose."""
        sampler, refuses = self.study.sampler, limits(self)
        if not isinstance(sampler, SurrogateSampler | GridSampler):
            yield sampler
            return
        tried = keys_of_trials(self)
        sampler.space = self.space
        sampler.refuses = lambda values: refuses(values) or key_of(values) in tried
        try:
            yield sampler
        finally:
            sampler.refuses = nothing

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        """Takes an epoch of a trial; returns the trial, or a copy of it with the status `STOPPED`."""
        with self._lock:
            trial = self._note(trial_id, metrics, step)
            attempt = self._attempts.get(trial_id)
            if attempt is None:
                return trial
            value, step = float(metrics[self.objective.name]), int(step)
            # With several trainings, only the first one's epochs are reported.
            if step in self._reported[trial_id] or not math.isfinite(value):
                return trial
            self._reported[trial_id].add(step)
            attempt.report(value, step)
            # If dropout helps much, a twin that is stopped would hide it.
            if attempt.should_prune() and trial_id not in self._twins:
                trial = copy.copy(trial)
                trial.status = TrialStatus.STOPPED
            return trial

    def _note(self, trial_id: str, metrics: Mapping[str, float], step: int) -> Any:
        """Adds an epoch to a trial; returns the trial."""
        trial = self.get_trial(trial_id)
        held, now = trial.metrics.metrics, time.monotonic()
        if held.keys() != metrics.keys():
            self._saved_at = now
            return super().update_trial(trial_id, metrics, step)
        # Keras Tuner would also look for the best epochs before and after, and save each one.
        for name, value in metrics.items():
            held[name].update(float(value), step)
        if now - self._saved_at > _SECONDS_BETWEEN_SAVES:
            self._save_trial(trial)
            self._saved_at = now
        return trial

    def get_trial(self, trial_id: str) -> Any:
        """Returns a trial that `create_trial` has started; raises for another one."""
        if trial_id in self.trials:
            return self.trials[trial_id]
        raise invalid_argument(
            "trial_id",
            expected="a trial that was started",
            received=trial_id,
            fix="`create_trial` starts none if its status is IDLE or STOPPED. This search has "
            f"{len(self.trials)} trials, with max_trials={self.max_trials}.",
        )

    def score_trial(self, trial: Trial) -> None:
        """Scores a trial by its best epoch that has a finite objective, unless it has its score."""
        if trial.score is None:
            trial.best_step, trial.score = scores.best_epoch(trial, self.objective)

    def end_trial(self, trial: Trial, status: str = TrialStatus.COMPLETED) -> None:
        """Ends a trial in the study too; raises `TooManyFailuresError` after too many failures in a row."""
        with self._lock:
            trial = with_end(self, trial, status)
            ended = self.trials[trial.trial_id]
            ended.best_step, ended.score = trial.best_step, trial.score
            super().end_trial(trial)
            attempt = self._attempts.pop(trial.trial_id, None)
            if attempt is not None:
                with quiet_optuna():
                    self.study.tell(attempt.number, **outcome(ended))
            self._count_failures(ended)

    def _count_failures(self, ended: Any) -> None:
        """Counts the failures in a row that are not due to a configuration."""
        message = str(ended.message or "")
        if ended.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED):
            self._failures_in_a_row = 0
        elif ended.status == TrialStatus.FAILED and not message.startswith(
            (OUT_OF_MEMORY, NOT_A_NUMBER)
        ):
            self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._most_failures:
            self._failures_in_a_row = 0  # For a search that is continued.
            raise TooManyFailuresError(
                "Number of consecutive failures exceeded the limit of "
                f"{self._most_failures}.\n{message}"
            )

    def save(self) -> None:
        """Saves the state of the oracle, all of it or nothing."""
        save_state(self)

    def _save_trial(self, trial: Trial) -> None:
        save_trial(self, trial)

    def reload(self) -> None:
        """Restores the oracle from its files; changes nothing if one is damaged or missing."""
        restore(self)

    def give_up(self, tuner_id: str) -> None:
        """Gives a dead worker up, so that its trial runs again at the worker that asks next."""
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is not None:
            self._retry_queue.append(trial.trial_id)
        self.save()

    def get_state(self) -> dict[str, Any]:
        """Returns the state of the search and the promises."""
        own = {"promises": self._promises.get_state()}
        return {**super().get_state(), **own}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned; the study is made anew on its next use."""
        super().set_state(state)
        self._promises = Promises(state.get("promises"))
        self._close_study()

    def _begin(self, trial_id: str, values: Values) -> Values:
        """Begins a trial with a given configuration in the study; returns the configuration."""
        hyperparameters = kt.HyperParameters()
        hyperparameters.values = write_values(self.space, values)
        self._add(Trial(hyperparameters, trial_id=trial_id, status=TrialStatus.RUNNING))
        return values

    def _restart(self, trial: Trial) -> None:
        """Begins a trial in the study once more: Optuna cannot take back what was reported."""
        earlier = self._attempts.pop(trial.trial_id, None)
        if earlier is not None:
            self._discard(earlier)
        is_last = self.twin_last and trial.trial_id == self.start_order[-1]
        if is_last and self.configuration_of(trial) == twin_of_best(self):
            self._twins.add(trial.trial_id)
        self._add(trial)

    def _discard(self, attempt: optuna.Trial) -> None:
        """Ends a trial of the study that does not count."""
        attempt.set_user_attr(DISCARDED, True)
        with quiet_optuna():
            self.study.tell(attempt.number, state=TrialState.FAIL)

    def _add(self, trial: Trial) -> None:
        with quiet_optuna():
            self.study.add_trial(frozen_trial(self.space, trial, self.objective))
        added = self.study.get_trials(deepcopy=False)[-1]
        self._attempts[trial.trial_id] = optuna.Trial(self.study, added._trial_id)
        self._reported[trial.trial_id] = set(added.intermediate_values)
