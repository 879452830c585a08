"""Picks the next configuration of a search: one that waits, a new one, or none if all are tried.

`propose` decides what is asked for; `AskTell` asks Optuna, and tells it what came of it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import optuna
from keras_tuner.oracles import HyperbandOracle, RandomSearchOracle
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from recdrop_tune.oracle.candidates import Candidates, Encoding
from recdrop_tune.oracle.conditions import (
    HyperParameter,
    parameters_of,
    plain,
    suggest,
    to_value,
    walk,
)
from recdrop_tune.oracle.known_points import complete
from recdrop_tune.oracle.parameters import Values, combinations, key_of
from recdrop_tune.oracle.samplers import DISCARDED, WARM, SurrogateSampler, quiet_optuna
from recdrop_tune.oracle.scores import reached
from recdrop_tune.oracle.study import (
    BEST,
    ID,
    RETRY,
    Notes,
    as_optuna,
    id_in,
    is_given,
    numbers_in,
    outcome,
    warm_trials,
)

# Asks whose answers were all tried before the sampler counts as settled: each leaves a failed trial.
_MAX_DUPLICATES = 5
# More configurations than that are not listed in search of one not tried yet.
_MAX_LISTED = 20_000
# Places in a range, from 0 to 1, that are closer than that are one: a minimizer ends beside a range's end.
_ROUNDING = 1e-6


class AskTell:
    """Links the trials of Keras Tuner to those of an Optuna study.

    A trial that is run again while the study lives gets a new trial of Optuna's: what was reported of the
    first attempt cannot be taken back, and the second would be judged by it.

    Args:
        study: The study.
        storage: Where it is.

    Attributes:
        numbers: Optuna's number of the last attempt by Keras Tuner's id.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage) -> None:
        self.study = study
        self.numbers = numbers_in(study)
        self._storage = storage
        self._warmed = bool(warm_trials(study))
        self._asked: dict[str, optuna.Trial] = {}
        self._steps: dict[str, set[int]] = {}

    def notes(self) -> Notes:
        """Returns what is to be kept of a study in memory."""
        return Notes.of(self.study, self._storage)

    def is_under_way(self, trial_id: str) -> bool:
        """Says whether a trial was begun here and has not ended."""
        return trial_id in self._asked

    def ask(self, trial_id: str, space: Sequence[HyperParameter]) -> Values:
        """Asks the sampler for the values of a trial."""
        asked = self.study.ask()
        values = walk(space, lambda hp: suggest(asked, hp))
        asked.set_user_attr(ID, trial_id)
        self._begin(trial_id, asked)
        return values

    def ask_for(
        self, trial_id: str, space: Sequence[HyperParameter], values: Values, **attributes: Any
    ) -> Values:
        """Begins a trial with given values; returns the active ones.

        Args:
            trial_id: Keras Tuner's id.
            space: The hyperparameters.
            values: Their values by name.
            **attributes: The user's attributes of Optuna's trial.
        """
        with quiet_optuna():
            params, distributions = as_optuna(space, values)
            self.study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.RUNNING,
                    params=params,
                    distributions=distributions,
                    user_attrs={ID: trial_id, **attributes},
                    # As of a trial that was enqueued: samplers do not count it as their own.
                    system_attrs={"fixed_params": params},
                )
            )
            self._take_up(trial_id, numbers_in(self.study)[trial_id])
        return {hp.name: values[hp.name] for hp in space if is_given(hp, values)}

    def begin(self, trial_id: str, space: Sequence[HyperParameter], values: Values) -> None:
        """Begins a trial that was handed out before: one that a crash broke off, or a retry."""
        number = self.numbers.get(trial_id)
        if number is None:
            self.ask_for(trial_id, space, values)
        elif self.study.get_trials(deepcopy=False)[number].state == TrialState.RUNNING:
            self._take_up(trial_id, number)
        else:
            self.ask_for(trial_id, space, values, **{RETRY: number})

    def discard(self, trial_id: str) -> None:
        """Gives up a trial that will not be run, or not to its end."""
        if trial_id in self._asked:
            self._asked[trial_id].set_user_attr(DISCARDED, True)
        self._end(trial_id, state=TrialState.FAIL)
        self.numbers.pop(trial_id, None)

    def report(self, trial_id: str, value: float, step: int) -> bool:
        """Reports an epoch; returns whether the pruner would stop here.

        Of several trainings of a trial only the first one's epochs are reported.
        """
        asked = self._asked.get(trial_id)
        if asked is None or step in self._steps[trial_id] or not math.isfinite(value):
            return False
        self._steps[trial_id].add(step)
        asked.report(value, step)
        return self._is_pruned(asked)

    def _is_pruned(self, asked: optuna.Trial) -> bool:
        if not self._warmed:
            return bool(asked.should_prune())
        # Pruners of Optuna's wait for some complete trials, and would count those of other searches.
        own: Any = _OwnTrials(self.study)
        (trial,) = (t for t in own.get_trials(deepcopy=False) if t.number == asked.number)
        return bool(self.study.pruner.prune(own, trial))

    def tell(self, trial: Any, objective: Any) -> None:
        """Tells how a trial of Keras Tuner's has ended.

        Optuna takes no value for a trial that was stopped early: its own is that of the last epoch. The best
        one is the attribute `best_value`.
        """
        asked = self._asked.get(trial.trial_id) if trial.status == "STOPPED" else None
        best = reached(trial, objective).value if asked is not None else None
        if asked is not None and best is not None:
            # Storages with a heartbeat may have ended it.
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                asked.set_user_attr(BEST, best)
        self._end(trial.trial_id, **outcome(trial, objective))

    def _begin(self, trial_id: str, asked: optuna.Trial) -> None:
        self._asked[trial_id], self._steps[trial_id] = asked, set()
        self.numbers[trial_id] = asked.number

    def _take_up(self, trial_id: str, number: int) -> None:
        """Begins what is in the study already."""
        study = id_in(self._storage, self.study)
        id = self._storage.get_trial_id_from_study_id_trial_number(study, number)
        self._begin(trial_id, optuna.Trial(self.study, id))

    def _end(self, trial_id: str, **ending: Any) -> None:
        self._asked.pop(trial_id, None)
        self._steps.pop(trial_id, None)
        number = self.numbers.get(trial_id)
        if number is not None:
            with quiet_optuna():
                self.study.tell(number, skip_if_finished=True, **ending)


class _OwnTrials:
    """A study as its pruner is to see it: without the trials of other searches.

    Args:
        study: The study.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, *args: Any, **options: Any) -> list[optuna.trial.FrozenTrial]:
        found = self._study.get_trials(*args, **options)
        return [trial for trial in found if WARM not in trial.user_attrs]

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return self.get_trials()


def propose(
    oracle: Any, study: AskTell, waiting: list[dict[str, Any]], trial_id: str
) -> Values | None:
    """Asks the sampler until its answer is new.

    Once it has settled on a region it asks for the same few points; their neighbours are what it would ask
    for next.

    Args:
        oracle: The oracle: its space, and what it has tried.
        study: Where to ask.
        waiting: Configurations to try first; those that are tried are taken off.
        trial_id: Keras Tuner's id of the trial.

    Returns:
        The active values, by name; `None` once the whole space has been tried.

    Raises:
        InvalidArgumentError: A configuration that waits is none of the space.
    """
    space = oracle.hyperparameters.space
    tried = [trial.hyperparameters.values for trial in oracle.trials.values()]
    # All of them, so that a wrong one is known before anything is trained.
    points = [complete(space, point) for point in waiting]
    for values in points:
        waiting.pop(0)
        if values not in tried:
            return study.ask_for(trial_id, space, values)
    sampler = study.study.sampler
    if isinstance(sampler, SurrogateSampler):
        sampler.space = parameters_of(space)  # Keras Tuner may find more of it while it searches.
    for _ in range(_MAX_DUPLICATES):
        values = study.ask(trial_id, space)
        if values not in tried:
            return values
        study.discard(trial_id)
    untried = not_again(oracle, values)
    return None if untried is None else study.ask_for(trial_id, space, untried)


def not_again(oracle: Any, wanted: Values) -> Values | None:
    """Returns a configuration if no trial has had it, else the one most like it that none has had.

    Also for oracles that propose without a look at what has been tried.

    Args:
        oracle: The oracle: its space, its trials and its seed.
        wanted: The active values of the configuration, by name.

    Returns:
        Active values, by name; `None` where all of a small space has been tried. A space that is too large
        to be listed is never found to be all tried.
    """
    space = oracle.hyperparameters.space
    parameters = parameters_of(space)
    trials = (trial.hyperparameters.values for trial in oracle.trials.values())
    # A trial whose file was lost says nothing of any place.
    tried = [as_optuna(space, values)[0] for values in trials if values]
    encoding = Encoding(parameters)
    place = encoding([as_optuna(space, wanted)[0]])
    gaps = np.abs(encoding(tried) - place).max(axis=1, initial=0.0)
    if not (gaps < _ROUNDING).any():
        known = {hp.name: hp for hp in space}
        # Keras Tuner computes 0.30000000000000004 for 0.3.
        return {name: plain(known[name], v) if name in known else v for name, v in wanted.items()}
    candidates = Candidates(parameters, _MAX_LISTED)
    random = np.random.default_rng([oracle.seed, len(tried)])
    keys = {candidates.key(values) for values in tried}
    untried = candidates.untried(keys, [as_optuna(space, wanted)[0]], random)
    if not untried:
        return None
    nearest = untried[int(np.abs(encoding(untried) - place).sum(axis=1).argmin())]
    return walk(space, lambda hp: to_value(hp, nearest[hp.name]))


# How many configurations a space has, and how many of them were tried.


def fewer_than_trials(oracle: Any) -> int | None:
    """Counts the configurations of a search space that has fewer of them than `max_trials`.

    Args:
        oracle: Any oracle.

    Returns:
        How many there are; `None` where there are as many as trials, or no count tells of trials: Hyperband
        trains the same configuration several times.
    """
    limit = oracle.max_trials
    counts = limit and not isinstance(oracle, HyperbandOracle)
    found = _tried_of_all(oracle, limit - 1) if counts else None
    return None if found is None else found[1]


def exhausted(oracle: Any) -> tuple[int, int] | None:
    """Counts the configurations that were tried, and all, where a search ends since it finds no further one.

    An oracle that draws at random gives up after some draws that were tried; others end because all were, or
    for another reason.

    Args:
        oracle: The oracle of a search that has ended.

    Returns:
        Both numbers; `None` where it ends for another reason, or the space is too large to be listed.
    """
    limit = oracle.max_trials
    found = None if limit and len(oracle.trials) >= limit else _tried_of_all(oracle, _MAX_LISTED)
    draws = isinstance(oracle, RandomSearchOracle) and getattr(oracle, "timeout", None) is None
    return found if found is not None and (draws or found[0] == found[1]) else None


def is_all_tried(oracle: Any) -> bool:
    """Says whether no configuration of a search space is left; of one too large to be listed some are."""
    found = _tried_of_all(oracle, _MAX_LISTED)
    return found is not None and found[0] == found[1]


def _tried_of_all(oracle: Any, limit: int) -> tuple[int, int] | None:
    """Counts the configurations tried, and all; `None` where the space has more than a limit, or fails.

    Hyperparameters may be the user's own, and a search must not fail for a remark on it.
    """
    try:
        return _count(oracle, limit)
    except Exception:
        return None


def _count(oracle: Any, limit: int) -> tuple[int, int] | None:
    space = oracle.hyperparameters.space
    parameters = parameters_of(space)
    if any(each.values is None for each in parameters):
        return None
    distributions = {each.name: each.distribution for each in parameters}
    listed = islice(combinations(parameters), limit + 1)
    every = {key_of(values, distributions) for values in listed}
    if len(every) > limit:
        return None
    trials = (as_optuna(space, trial.hyperparameters.values)[0] for trial in oracle.trials.values())
    return len(every & {key_of(values, distributions) for values in trials}), len(every)
