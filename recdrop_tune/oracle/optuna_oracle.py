"""`OptunaOracle`: Optuna's samplers behind Keras Tuner's oracle protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import keras_tuner as kt
import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from recdrop_tune.errors import ProjectError
from recdrop_tune.oracle._conditional import (
    Values,
    combinations,
    complete,
    is_active,
    is_finite,
    is_fixed,
    walk,
)
from recdrop_tune.oracle._distributions import suggest, to_drawn
from recdrop_tune.oracle._samplers import make_sampler, quiet_optuna, spread_seed

# An ask costs milliseconds, a trial minutes: worth some asks before listing the configurations.
_MAX_DUPLICATES = 20
# More configurations than that are not listed in search of one not tried yet.
_MAX_LISTED = 20_000


class OptunaOracle(kt.Oracle):
    """Lets an Optuna study propose the hyperparameters of a Keras Tuner search.

    It works in any `keras_tuner.Tuner`. Only active hyperparameters are proposed, none twice while
    the space offers others, and a small space ends the search when all of it has been tried. The
    study is opened by the first trial, never by the constructor.

    Args:
        objective: As for `keras_tuner.Oracle`.
        max_trials: The most trials that are run.
        sampler: An Optuna sampler, or the name of one: `"tpe"` (the default: multivariate and
            grouped, for conditional spaces), `"random"`, `"qmc"`, `"gp"`, `"cmaes"`.
        storage: An Optuna storage or storage URL. By default the file `optuna.journal` in the
            project folder.
        study_name: Name of the study; by default the name of the project.
        enqueue: Configurations to try first. What one leaves open takes its middle value.
        seed: Seed of the sampler; the same seed proposes the same trials. 0 is a seed.
        **kwargs: Further arguments of `keras_tuner.Oracle`, such as `hyperparameters` and
            `max_retries_per_trial`.

    Example:
        >>> oracle = OptunaOracle(objective="val_loss", max_trials=30, seed=0)
        >>> oracle.seed
        0
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        *,
        sampler: BaseSampler | str | None = None,
        storage: BaseStorage | str | None = None,
        study_name: str | None = None,
        enqueue: Iterable[Mapping[str, Any]] = (),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(objective=objective, max_trials=max_trials, seed=seed, **kwargs)
        if seed is not None:
            self.seed = seed  # Keras Tuner takes 0 for "no seed".
        if not isinstance(sampler, BaseSampler):
            make_sampler(sampler, self.seed)  # An unknown name has to fail here.
        self.sampler = sampler
        self.storage = storage
        self.study_name = study_name
        self._waiting = [dict(point) for point in enqueue]
        self._numbers: dict[str, int] = {}
        self._opened: optuna.Study | None = None
        self._failure: Exception | None = None

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, opened on first use.

        Raises:
            ProjectError: The storage already holds a study of that name from another search.
        """
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def enqueue(self, point: Mapping[str, Any]) -> None:
        """Has a configuration tried before the sampler's own proposals.

        Args:
            point: Values by name. What it leaves open takes the middle value of its range.
        """
        self._waiting.append(dict(point))

    def create_trial(self, tuner_id: str) -> Any:
        """Proposes the next trial; see `keras_tuner.Oracle.create_trial`."""
        # Keras Tuner's lock stays taken after an exception, so what can fail does so outside of it.
        self._enqueue_waiting()
        trial = super().create_trial(tuner_id)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return trial

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Asks the study for the values of one trial.

        Args:
            trial_id: Keras Tuner's id of the trial.

        Returns:
            Keras Tuner's answer: `"status"` and, while the search goes on, `"values"`.
        """
        try:
            values = self._propose(trial_id)
        except Exception as failure:  # Any storage or sampler may raise; see `create_trial`.
            self._failure = failure
            values = None
        if values is None:
            return {"status": "STOPPED", "values": None}
        return {"status": "RUNNING", "values": values}

    def end_trial(self, trial: Any) -> None:
        """Ends a trial and tells the study how it went; see `keras_tuner.Oracle.end_trial`."""
        try:
            super().end_trial(trial)
        finally:
            self._tell(self.trials[trial.trial_id])

    def get_state(self) -> dict[str, Any]:
        """Returns what Keras Tuner saves, and which Optuna trial belongs to which of its trials."""
        state: dict[str, Any] = super().get_state()
        return {**state, "optuna": {"numbers": self._numbers}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        super().set_state(state)
        self._numbers = dict(state["optuna"]["numbers"])

    def _propose(self, trial_id: str) -> Values | None:
        """Asks until the answer is new; `None` once the whole space has been tried."""
        for _ in range(_MAX_DUPLICATES):
            number, values = self._ask(trial_id)
            if not self._tried(values):
                self._numbers[trial_id] = number
                return values
            self.study.tell(number, state=TrialState.FAIL)
        untried = self._first_untried()
        if untried is None:
            return None
        self._enqueue_point(untried, skip_if_exists=False)
        number, values = self._ask(trial_id)
        self._numbers[trial_id] = number
        return values

    def _ask(self, trial_id: str) -> tuple[int, Values]:
        asked = self.study.ask()
        values = walk(self.hyperparameters.space, lambda hp: suggest(asked, hp))
        asked.set_user_attr("keras_tuner_id", trial_id)
        return asked.number, values

    def _tried(self, values: Values) -> bool:
        return any(trial.hyperparameters.values == values for trial in self.trials.values())

    def _first_untried(self) -> Values | None:
        space = self.hyperparameters.space
        if not is_finite(space):
            return None
        listed = islice(combinations(space), _MAX_LISTED)
        return next((values for values in listed if not self._tried(values)), None)

    def _enqueue_waiting(self) -> None:
        while self._waiting:
            self._enqueue_point(complete(self.hyperparameters.space, self._waiting.pop(0)))

    def _enqueue_point(self, values: Values, skip_if_exists: bool = True) -> None:
        drawn = {
            hp.name: to_drawn(hp, values[hp.name])
            for hp in self.hyperparameters.space
            if not is_fixed(hp) and is_active(hp, values)
        }
        with quiet_optuna():
            self.study.enqueue_trial(drawn, skip_if_exists=skip_if_exists)

    def _tell(self, trial: Any) -> None:
        """Passes the outcome on; a trial that Keras Tuner will run again is still under way."""
        number = self._numbers.get(trial.trial_id)
        if number is None or trial.status not in ("COMPLETED", "FAILED"):
            return
        if trial.status == "COMPLETED":
            self.study.tell(number, float(trial.score), skip_if_finished=True)
        else:
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _open(self) -> optuna.Study:
        folder = Path(self._project_dir)  # Keras Tuner has no public name for it.
        name = self.study_name or folder.name
        storage = self.storage
        if storage is None:
            storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
        study = self._load(storage, name)
        number = len(study.get_trials(deepcopy=False))
        if number and not self.trials and not (folder / "oracle.json").exists():
            raise ProjectError(
                f"The storage already holds a study named `{name}` of another search, with "
                f"{number} trials. Give another `study_name` or another storage."
            )
        if not isinstance(self.sampler, BaseSampler):
            study.sampler = make_sampler(self.sampler, spread_seed(self.seed, number))
        self._settle(study)
        return study

    def _load(self, storage: BaseStorage | str, name: str) -> optuna.Study:
        with quiet_optuna():
            return optuna.create_study(
                storage=storage,
                study_name=name,
                load_if_exists=True,
                direction="maximize" if self.objective.direction == "max" else "minimize",
                sampler=self.sampler if isinstance(self.sampler, BaseSampler) else None,
            )

    def _settle(self, study: optuna.Study) -> None:
        """Ends Optuna trials which a crash left under way and that Keras Tuner will not run again."""
        trials = {number: self.trials.get(id) for id, number in self._numbers.items()}
        for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            trial = trials.get(left.number)
            if trial is None:
                study.tell(left.number, state=TrialState.FAIL)
            elif trial.status == "COMPLETED":
                study.tell(left.number, float(trial.score))
            elif trial.status == "FAILED":
                study.tell(left.number, state=TrialState.FAIL)
