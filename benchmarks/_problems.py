"""The problems whose configurations are trained for `search_efficiency.py`: data, space, epochs.

digits  The handwritten digits that ship with scikit-learn, read row by row: sequences of 8 steps with 8
        features. 300 of them are trained on, so that the model overfits and dropout has something to
        do; the other 1497 validate.
vowels  JapaneseVowels, which ships with sktime: utterances of 7 to 29 frames with 12 features, padded in
        front, by one of nine speakers. 270 train, 370 validate. Held out: no default of this package
        was chosen by it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Problem:
    """What a table is trained from.

    Attributes:
        path: The file of its table.
        space: The search space, all of whose configurations are trained.
        classes: Number of classes.
        shape: Shape of a sequence.
        data: Returns `(x, y)` to train on and `(x, y)` to validate with.
        epochs: Epochs of each training.
        batch: Samples of a step.
    """

    path: Path
    space: dict
    classes: int
    shape: tuple[int, int]
    data: Callable
    epochs: int = 40
    batch: int = 30


def _digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = digits.images.astype("float32") / 16.0
    x, x_val, y, y_val = train_test_split(
        x, digits.target, train_size=300, stratify=digits.target, random_state=0
    )
    return (x, y), (x_val, y_val)


def _vowels():
    from sktime.datasets import load_japanese_vowels

    parts = []
    for split in ("train", "test"):
        frames, speakers = load_japanese_vowels(split=split, return_X_y=True)
        x = np.zeros((len(frames), 29, 12), "float32")
        for padded, features in zip(x, frames.to_numpy(), strict=True):
            sequence = np.stack([np.asarray(feature) for feature in features], axis=-1)
            padded[-len(sequence) :] = sequence
        parts.append((x, np.asarray(speakers).astype(int) - 1))
    return tuple(parts)


PROBLEMS = {
    "digits": Problem(  # 288 configurations
        _RESULTS / "search_efficiency_table_digits.csv",
        {
            "cell": "lstm",
            "units": [16, 48],
            "wrapper": ["none", "recurrent", "variational", "time_distributed"],
            "placement": ["input", "recurrent", "input+recurrent"],  # where the wrapper has it
            "rate": {"min": 0.1, "max": 0.6, "step": 0.125},
            "learning_rate": [1e-3, 3e-3, 1e-2, 3e-2],
        },
        classes=10,
        shape=(8, 8),
        data=_digits,
    ),
    "vowels": Problem(  # 174 configurations
        _RESULTS / "search_efficiency_table_vowels.csv",
        {
            "cell": "gru",
            "units": [12, 32],
            "wrapper": ["none", "recurrent", "weight_drop", "zoneout"],
            "placement": ["input", "recurrent", "input+recurrent"],
            "rate": {"min": 0.1, "max": 0.55, "step": 0.15},
            "learning_rate": [1e-3, 3e-3, 1e-2],
        },
        classes=9,
        shape=(29, 12),
        data=_vowels,
    ),
}
