"""Oracles of a search space, whose trials have given scores."""

import keras_tuner as kt

from recdrop_tune.oracle import OptunaOracle


def open_oracle(folder, max_trials=None, metric="val_loss", *, space, **options):
    """Returns an oracle that knows a space, and resumes the search that the folder has."""
    objective = kt.Objective(metric, "max" if metric == "val_accuracy" else "min")
    oracle = OptunaOracle(objective, max_trials, **options)
    oracle.verbose = 0
    tuner = kt.Tuner(oracle, lambda hp: space.sample(hp), directory=folder, project_name="p")
    tuner.save()  # Keras Tuner resumes a search that has this file.
    return oracle


def finish(oracle, trial, score):
    """Ends a trial with a score, after one epoch."""
    oracle.update_trial(trial.trial_id, {oracle.objective.name: score}, step=0)
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
