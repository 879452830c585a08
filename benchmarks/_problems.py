"""The problems whose configurations are trained for `search_efficiency.py`: data, space, epochs.

digits  The handwritten digits that ship with scikit-learn, read row by row: sequences of 8 steps with 8
        features. 300 of them are trained on, so that the model overfits and dropout has something to
        do; the other 1497 validate.
vowels  JapaneseVowels, which ships with sktime: utterances of 7 to 29 frames with 12 features, padded in
        front, by one of nine speakers. 270 train, 370 validate.
mnist1d MNIST-1D, made by the package of that name: sequences of 40 steps with one feature, of ten classes.
        1600 train, 1600 others validate.
characters
        A language model of the help texts that ship with Python, character by character: 12,000 of them
        train, 6,000 validate.
wide    ItalyPowerDemand, which ships with aeon: the demand of 24 hours, of a day in winter or in summer. 67
        train, 300 validate. The ranges go on to where training diverges, with 128 units from a learning rate
        of 0.1 on.

Defaults of this package were chosen by the digits; the others were held out. All were trained on JAX.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import _tasks

_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Problem:
    """The source of a table.

    Attributes:
        path: The file of its tables.
        space: The search space, all of whose configurations are trained.
        hypermodel: Makes the hypermodel of a space.
        data: Returns `(x, y)` to train on and `(x, y)` to validate with.
        epochs: Epochs of each training.
        batch: Samples of a step.
        seeds: Trainings of each configuration.
    """

    path: Path | None
    space: dict
    hypermodel: Callable
    data: Callable | None
    epochs: int = 40
    batch: int = 30
    seeds: int = 3


def _digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = digits.images.astype("float32") / 16.0
    x, x_val, y, y_val = train_test_split(
        x, digits.target, train_size=300, stratify=digits.target, random_state=0
    )
    return (x, y), (x_val, y_val)


def _mnist1d():
    from _published import DATA_SETS

    (x, y), _ = DATA_SETS["mnist1d"].load()
    return (x[:1600], y[:1600]), (x[1600:3200], y[1600:3200])


def _power():
    from _published import DATA_SETS

    train, (x, y) = DATA_SETS["power"].load()
    return train, (x[:300], y[:300])


def _characters():
    return _tasks.TASKS["characters"].data()[:2]


def _classifier(classes, shape):
    def make(space):
        import recdrop_tune as rdt

        return rdt.SequenceClassifier(classes, shape, space, metrics=())

    return make


def _language_model(space):
    return _tasks.TASKS["characters"].hypermodel(space)


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
        _classifier(10, (8, 8)),
        _digits,
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
        _classifier(9, (29, 12)),
        _tasks.load_vowels,
    ),
    "mnist1d": Problem(  # 186 configurations
        _RESULTS / "search_efficiency_table_mnist1d.csv",
        {
            "cell": "gru",
            "units": [16, 48],
            "wrapper": ["none", "native", "recurrent", "variational"],
            "placement": ["recurrent", "input+recurrent"],
            "rate": {"min": 0.05, "max": 0.45, "step": 0.1},
            "learning_rate": [3e-3, 1e-2, 3e-2],
        },
        _classifier(10, (40, 1)),
        _mnist1d,
        batch=50,
    ),
    "characters": Problem(  # 144 configurations
        _RESULTS / "search_efficiency_table_characters.csv",
        {
            "cell": "lstm",
            "units": [32, 96],
            "wrapper": ["none", "recurrent", "weight_drop", "time_distributed"],
            "placement": ["input", "recurrent", "output"],
            "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
            "learning_rate": [3e-3, 1e-2],
        },
        _language_model,
        _characters,
        batch=20,
    ),
    "wide": Problem(  # 240 configurations
        _RESULTS / "search_efficiency_table_wide.csv",
        {
            "cell": "lstm",
            "units": [4, 12, 40, 128],
            "wrapper": ["none", "recurrent", "variational", "zoneout"],
            "placement": "recurrent",
            "rate": {"min": 0.1, "max": 0.5, "step": 0.2},
            "learning_rate": [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3],
        },
        _classifier(2, (24, 1)),
        _power,
        batch=16,
    ),
    # Without data: its curves are drawn (`_prior.py`).
    "prior": Problem(
        None,
        {
            "cell": "lstm",
            "units": [16, 32, 64],
            "wrapper": ["none", "recurrent", "variational", "zoneout"],
            "placement": ["input", "recurrent", "input+recurrent"],
            "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
            "learning_rate": [1e-3, 3e-3, 1e-2],
        },
        _classifier(2, (8, 1)),
        None,
        seeds=0,
    ),
}
