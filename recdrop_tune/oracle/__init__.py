"""Optuna as an oracle of Keras Tuner."""

from recdrop_tune.oracle.optuna_oracle import OptunaOracle as OptunaOracle

__all__ = ["OptunaOracle"]
