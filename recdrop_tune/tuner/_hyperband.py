"""Hyperband: trials of few epochs, the best of which go on."""

from __future__ import annotations

from typing import Any

from recdrop_tune.paths import trial_folder
from recdrop_tune.tuner import _checkpoints as checkpoints
from recdrop_tune.tuner._tuner import Tuner


class HyperbandTuner(Tuner):
    """Does what the hyperparameters of Keras Tuner's Hyperband oracle ask for.

    Reference:
        Li et al. (2018), "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization",
        arXiv 1603.06560.
    """

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Trains for the epochs of the trial's round."""
        values = trial.hyperparameters.values
        if "tuner/epochs" in values:
            kwargs["epochs"] = values["tuner/epochs"]
            kwargs["initial_epoch"] = values["tuner/initial_epoch"]
        return super().run_trial(trial, *args, **kwargs)

    def build_model(self, trial: Any) -> Any:
        """Builds the model, with the weights of the round before."""
        model = super().build_model(trial)
        earlier = trial.hyperparameters.values.get("tuner/trial_id")
        if earlier is None:
            return model
        return checkpoints.load(trial_folder(self.project_dir, earlier, "oracle.json"), model)
