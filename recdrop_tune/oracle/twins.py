"""The twin of a configuration: the same hyperparameters, without dropout.

The gain of dropout is the difference between the two. Compared with any other configuration without dropout,
the difference would include that of a learning rate or a number of units.
"""

from __future__ import annotations

import keras_tuner as kt
from keras_tuner.engine.trial import Trial, TrialStatus

from recdrop_tune.events import Configuration
from recdrop_tune.hyperparameters import Values, drops, offers_none, without_dropout
from recdrop_tune.oracle.searching import Searching
from recdrop_tune.oracle.translation import configuration, read_space, with_values
from recdrop_tune.standing import derived_values


def twin_of(hyperparameters: kt.HyperParameters) -> kt.HyperParameters | None:
    """Returns the hyperparameters of the twin of a trial; None if it has no wrapper."""
    twin = without_dropout(read_space(hyperparameters.space), configuration(hyperparameters))
    return None if twin is None else with_values(hyperparameters, twin)


# The configurations of a confirmation.


def trial_of(oracle: kt.Oracle, wanted: Configuration) -> Trial:
    """Returns a configuration as a `keras_tuner` trial; the oracle knows it only if it is a trial's own."""
    trial = oracle.trials[wanted.trial_id]
    if not wanted.suffix:
        return trial
    values = derived_values(
        read_space(oracle.hyperparameters.space),
        wanted,
        lambda id: configuration(oracle.trials[id].hyperparameters),
    )
    # The trial can lack hyperparameters that only the other dropout has.
    known = oracle.hyperparameters if wanted.dropout_of else trial.hyperparameters
    hyperparameters = known.copy()
    hyperparameters.values = trial.hyperparameters.values
    hyperparameters = with_values(hyperparameters, values)
    return Trial(hyperparameters, wanted.name, status=TrialStatus.COMPLETED)


# The twin that a search tries last.


def twin_of_best(oracle: Searching) -> Values | None:
    """Returns the twin of the best configuration with dropout of an `OptunaOracle`.

    None if no trial with dropout is complete, or the space has no twins.
    """
    if not offers_none(oracle.space):
        return None
    ranked = oracle.get_best_trials(len(oracle.trials))
    complete = (trial for trial in ranked if trial.status == TrialStatus.COMPLETED)
    best = next(
        (values for values in map(oracle.configuration_of, complete) if drops(values)), None
    )
    return None if best is None else without_dropout(oracle.space, best)


def due_twin(oracle: Searching) -> Values | None:
    """Returns the twin of the best configuration with dropout, if it has not been tried.

    A twin that was pruned is tried again, as its final score is not known.
    """
    twin = twin_of_best(oracle)
    known = [trial for trial in oracle.trials.values() if trial.status != TrialStatus.STOPPED]
    return None if twin in [oracle.configuration_of(trial) for trial in known] else twin
