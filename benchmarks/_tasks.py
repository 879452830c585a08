"""The real tasks of `which_dropout.py`: data in three parts, the model, and how long it is trained.

digits     The handwritten digits that ship with scikit-learn, read pixel by pixel: sequences of 64 steps
           with one feature, 10 classes. 600 train, 400 validate, 797 test. With a learning rate of 0.003 the
           150 epochs are not enough: the loss is 0.42 without dropout, instead of 0.28 with 0.01.
vowels     JapaneseVowels, which ships with sktime: utterances of 7 to 29 frames with 12 features, padded in
           front, by one of nine speakers. 180 train, 90 validate; its test split has 370.
characters A language model of the help texts that ship with Python (`pydoc_data.topics`), character by
           character, in lower case: two layers. 12,000 characters train, 6,000 each validate and test, in
           sequences of 30. Of so little text the best epoch without dropout is well before the last one: what
           is compared is how well they generalize, and not how fast they learn.
mnist1d    MNIST-1D, made by the package of that name: sequences of 40 steps with one feature, 10 classes.
           3200 train, 800 validate, 1000 test.
motions    BasicMotions, which ships with aeon: accelerometer and gyroscope (6 features) of people who stand,
           walk, run or play badminton. From 4 seconds the next one is forecast; 28 recordings train, 12
           validate, 40 test.
power      ItalyPowerDemand, which ships with aeon: the demand of 24 hours, of a day in winter or in summer.
           50 train, 17 validate, 1029 test.
covid      Covid3Month, which ships with aeon: daily cases of 84 days, a regression on the rate of deaths.
           105 train, 35 validate, 61 test.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        data: Returns `(x, y)` to train on, to validate with, and to test with.
        space: The keys that are the same for all wrappers.
        hypermodel: Makes the hypermodel of a space.
        epochs: Epochs of each training.
        batch: Samples of a step.
        metric: The usual test metric, in addition to the loss.
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


def load_vowels():
    """Returns the two splits of JapaneseVowels, `(x, y)` each."""
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


def _vowels():
    from sklearn.model_selection import train_test_split

    (x, y), test = load_vowels()
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
    """Cuts a text into sequences, paired with the same ones one character later."""
    count = (len(tokens) - 1) // length
    x = tokens[: count * length].reshape(count, length)
    return x, tokens[1 : count * length + 1].reshape(count, length)


def _mnist1d():
    return _in_three("mnist1d", 0.2)


def _power():
    return _in_three("power", 0.25)


def _covid():
    return _in_three("covid", 0.25)


def _in_three(name, share):
    """Returns a data set of `published.py`, a share of whose training data validates."""
    from _published import DATA_SETS

    (x, y), test = DATA_SETS[name].load()
    count = round(len(x) * (1 - share))
    order = np.random.default_rng(0).permutation(len(x))
    first, rest = order[:count], order[count:]
    return (x[first], y[first]), (x[rest], y[rest]), test


def _motions():
    from aeon.datasets import load_basic_motions

    parts = []
    for split in ("train", "test"):
        x, _ = load_basic_motions(split=split)  # (recordings, features, time)
        order = np.random.default_rng(0).permutation(len(x))
        parts.append(np.transpose(x[order], (0, 2, 1)))
    train, validation, test = parts[0][:28], parts[0][28:], parts[1]
    mean, spread = train.mean((0, 1)), train.std((0, 1))
    return tuple(_seconds((part - mean) / spread) for part in (train, validation, test))


def _seconds(recordings, past=40, ahead=10):
    """Cuts recordings of 10 steps a second into what is known and what comes next."""
    starts = range(0, recordings.shape[1] - past - ahead + 1, ahead)
    cut = np.concatenate([recordings[:, start : start + past + ahead] for start in starts])
    return cut[:, :past].astype("float32"), cut[:, past:].astype("float32")


def _regressor(targets, shape):
    def make(space):
        import recdrop_tune as rdt

        return rdt.SequenceRegressor(targets, shape, space)

    return make


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


def search(name, space, experiment, folder, arguments, **more):
    """Searches a space on a task, and trains the best configuration again, and its twin, with fresh seeds.

    Args:
        name: The task.
        space: The search space.
        experiment: The name of the experiment in MLflow.
        folder: Where the search is kept, inside that of all of them.
        arguments: The command line: `trials`, `epochs`, `seeds`, `folder`.
        **more: Other arguments of `tune`.
    """
    import recdrop_tune as rdt

    task = TASKS[name]
    train, validation, test = task.data()
    uri = f"sqlite:///{arguments.folder.absolute()}/mlflow.db"
    settings = {
        "max_trials": arguments.trials,
        "epochs": arguments.epochs or task.epochs,
        "batch_size": task.batch,
        "confirm": rdt.Confirm(1, seeds=arguments.seeds, max_seeds=arguments.seeds, test=test),
        "tracking": rdt.MLflow(f"{experiment}: {name}", uri=uri),
        "directory": arguments.folder / name / folder,
    }
    return rdt.tune(
        train, validation, model=task.hypermodel(space), seed=0, verbose=0, **settings | more
    )


TASKS = {
    "digits": Task(
        _digits,
        {"cell": "lstm", "units": 32},
        _classifier(10, (64, 1)),
        150,
        learning_rates=[1e-2],
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
    "mnist1d": Task(
        _mnist1d,
        {"cell": "gru", "units": 48},
        _classifier(10, (40, 1)),
        60,
        50,
        learning_rates=[1e-2],
    ),
    "motions": Task(
        _motions,
        {"cell": "lstm", "units": 64},
        _regressor((10, 6), (40, 6)),
        50,
        metric="mean_absolute_error",
        learning_rates=[3e-3],
    ),
    "power": Task(
        _power,
        {"cell": "lstm", "units": 32},
        _classifier(2, (24, 1)),
        60,
        16,
        learning_rates=[1e-2],
    ),
    "covid": Task(
        _covid,
        {"cell": "gru", "units": 32},
        _regressor(1, (84, 1)),
        60,
        16,
        metric="mean_absolute_error",
        learning_rates=[3e-3, 1e-2],
    ),
}
