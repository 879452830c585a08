"""What every test needs: a quiet TensorFlow, and the same seeds; and what runs on which backend."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import pytest

LAYERS = ("test_bidirectional", "test_engine", "test_models_", "test_wrappers")
"""Beside the laws, what concerns the layers: they run on every backend of Keras."""

if os.environ["KERAS_BACKEND"] != "tensorflow":  # the search has TensorFlow, and needs its packages
    collect_ignore = [
        path.name
        for path in Path(__file__).parent.glob("test_*.py")
        if not path.name.startswith(LAYERS)
    ]


@pytest.fixture(autouse=True)
def _same_seed():
    keras.utils.set_random_seed(0)
