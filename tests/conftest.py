"""What every test needs: a quiet TensorFlow, and the same seeds."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import pytest


@pytest.fixture(autouse=True)
def _same_seed():
    keras.utils.set_random_seed(0)
