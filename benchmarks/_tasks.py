"""The real tasks of `which_dropout.py`: data in three parts, the model, and how long it is trained.

digits     The handwritten digits that ship with scikit-learn, read pixel by pixel: sequences of 64 steps
           with one feature, 10 classes. 600 train, 400 validate, 797 test.
vowels     JapaneseVowels, which ships with sktime: utterances of 7 to 29 frames with 12 features, padded in
           front, by one of nine speakers. 180 train, 90 validate; the 370 of its own test split test.
characters A language model of the help texts that ship with Python (`pydoc_data.topics`), character by
           character, in lower case: two layers. 12,000 characters train, 6,000 each validate and test, in
           sequences of 30. Of so little text the best epoch without dropout is well before the last one: what
           is compared is how well they generalize, and not how fast they learn.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        data: Returns `(x, y)` to train on, to validate with, and to test with.
        space: What is the same for all wrappers.
        hypermodel: Makes the hypermodel of a space.
        epochs: Epochs of each training.
        batch: Samples of a step.
        metric: The test metric that people know; the loss is there beside it.
    """

    data: Callable
    space: dict
    hypermodel: Callable
    epochs: int
    batch: int = 32
    metric: str = "accuracy"
    learning_rates: list = field(default_factory=lambda: [1e-3, 3e-3, 1e-2])


def _digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = (digits.data / 16.0).astype("float32")[..., None]
    x, rest, y, rest_y = train_test_split(
        x, digits.target, train_size=600, stratify=digits.target, random_state=0
    )
    split = train_test_split(rest, rest_y, train_size=400, stratify=rest_y, random_state=0)
    return (x, y), (split[0], split[2]), (split[1], split[3])


def _vowels():
    from _problems import PROBLEMS
    from sklearn.model_selection import train_test_split

    (x, y), test = PROBLEMS["vowels"].data()
    x, x_val, y, y_val = train_test_split(x, y, train_size=180, stratify=y, random_state=0)
    return (x, y), (x_val, y_val), test


def _characters():
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics)).lower()[:24_000]
    known = sorted(set(text))
    tokens = np.array([known.index(letter) for letter in text], "int32")
    ends = (0, 12_000, 18_000, 24_000)
    parts = [tokens[a:b] for a, b in pairwise(ends)]
    return tuple(_windows(part, 30) for part in parts)


def _windows(tokens, length):
    """Cuts a text into sequences, each beside itself one character later."""
    count = (len(tokens) - 1) // length
    x = tokens[: count * length].reshape(count, length)
    return x, tokens[1 : count * length + 1].reshape(count, length)


def _classifier(classes, shape):
    def make(space):
        import recdrop_tune as rdt

        return rdt.SequenceClassifier(classes, shape, space)

    return make


def _language_model(space):
    import recdrop_tune as rdt

    (x, _), validation, test = _characters()
    words = 1 + max(int(part.max()) for part in (x, validation[0], test[0]))
    return rdt.LanguageModel(words, space, embedding_units=24)


TASKS = {
    "digits": Task(
        _digits,
        {"cell": "lstm", "units": 32},
        _classifier(10, (64, 1)),
        40,
        learning_rates=[3e-3, 1e-2],
    ),
    "vowels": Task(_vowels, {"cell": "gru", "units": 32}, _classifier(9, (29, 12)), 40, batch=30),
    "characters": Task(
        _characters,
        {"cell": "lstm", "units": 64, "layers": 2},
        _language_model,
        40,
        metric="perplexity",
        learning_rates=[1e-2],
    ),
}
