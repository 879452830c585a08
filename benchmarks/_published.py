"""The data sets of `published.py`: what is known of each, and what is searched.

mnist1d   MNIST-1D (Greydanus 2020, arXiv 2011.14439), made by the package `mnist1d`: 4000 sequences of 40
          steps train, 1000 test; ten digits, drawn as lines.
vowels    JapaneseVowels: 270 utterances of 7 to 29 frames with 12 features train, 370 test; nine speakers.
motions   BasicMotions: 40 recordings of 100 steps with 6 features train, 40 test; four activities.
power     ItalyPowerDemand: 67 days of 24 hours train, 1029 test; winter or summer.
gestures  PickupGestureWiimoteZ: 50 movements of 29 to 361 steps train, 50 test; ten gestures.
covid     Covid3Month: daily cases of 84 days in 140 places train, 61 test; the rate of deaths later.

All but the first ship with the package `aeon`. Features (and targets of a regression) are standardized by the
training data; shorter sequences are padded on the right, and masked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import keras
import numpy as np

import recdrop_tune as rdt
from recdrop_tune.hypermodels import AbstractSequenceModel

PADDING = -10.0
DROPOUT = {
    "wrapper": ["none", "native", "recurrent", "variational", "weight_drop", "zoneout"],
    "placement": ["input", "recurrent", "output", "input+recurrent", "input+recurrent+output"],
    "rate": {"min": 0.05, "max": 0.5, "step": 0.05},
}


@dataclass(frozen=True)
class Search:
    """A search on a data set.

    Attributes:
        model: Makes the hypermodel of a space and of the data.
        space: The search space.
        epochs: Epochs of each training.
        trials: Trials of the search.
        batch: Samples of a step.
        decay: Whether the learning rate falls to 0 over the epochs, like a cosine. The last epoch then
            counts; otherwise the best one of the search.
        objective: The objective of the search.
        confirm: How many of the best configurations are trained again with fresh seeds on the data of the
            search. The best mean is chosen; without it, the best trial.
    """

    model: Callable
    space: dict
    epochs: int
    trials: int = 40
    batch: int = 32
    decay: bool = False
    objective: str = "val_loss"
    confirm: rdt.Confirm | None = None

    def callbacks(self):
        """Returns the callbacks of one training."""
        return [Cosine()] if self.decay else []


class Cosine(keras.callbacks.Callback):
    """Has the learning rate fall from what the model was compiled with to 0 (Loshchilov & Hutter 2017)."""

    highest = None

    def on_epoch_begin(self, epoch, logs=None):
        """Sets the learning rate of an epoch."""
        optimizer = self.model.optimizer
        if self.highest is None:
            self.highest = float(optimizer.learning_rate)
        share = epoch / self.params["epochs"]
        optimizer.learning_rate = self.highest * (1 + np.cos(np.pi * share)) / 2


@dataclass(frozen=True)
class DataSet:
    """A data set and what is known of it.

    Attributes:
        load: Returns `(x, y)` to train on and to test with.
        metric: `"accuracy"`, or `"rmse"` in units of the training targets' standard deviation.
        known: Scores on the test data by where they are published.
        searches: What is searched, by name.
        folds: Folds of the training data that validate; 0 has a fifth of them validate.
        setting: The published setting to train without dropout first, among the searches.
    """

    load: Callable
    metric: str
    searches: Mapping[str, Search]
    known: Mapping[str, float] = field(default_factory=dict)
    folds: int = 4
    setting: str | None = None


class AllSteps(AbstractSequenceModel):
    """A classifier that reads what the layers emit at every step, as the published model does.

    Args:
        classes: Number of classes.
        input_shape: Shape of a sequence.
        space: The search space.
    """

    return_sequences = True
    loss = "sparse_categorical_crossentropy"

    def __init__(self, classes, input_shape, space):
        super().__init__(input_shape, space, metrics=["accuracy"])
        self.classes = classes

    def head(self, features):
        """Returns the probabilities of the classes."""
        import keras

        flat = keras.layers.Flatten()(features)
        return keras.layers.Dense(self.classes, "softmax", dtype="float32")(flat)


def _all_steps(space, train):
    x, y = train
    return AllSteps(int(y.max()) + 1, x.shape[1:], space)


def _last_step(space, train):
    x, y = train
    masked = bool((x == PADDING).all(axis=-1).any())
    return rdt.SequenceClassifier(
        int(y.max()) + 1, (None, x.shape[-1]), space, mask_value=PADDING if masked else None
    )


def _number(space, train):
    return rdt.SequenceRegressor(1, (None, train[0].shape[-1]), space)


def _mnist1d():
    from mnist1d.data import make_dataset

    made = make_dataset()
    parts = [(made[f"x{end}"], made[f"y{end}"]) for end in ("", "_test")]
    return tuple((x[..., None].astype("float32"), y.astype("int64")) for x, y in parts)


def _of_aeon(name, regression=False):
    def load():
        import aeon.datasets

        loader = getattr(aeon.datasets, name)
        parts = [loader(split=split) for split in ("train", "test")]
        # aeon has sequences as (features, time).
        sequences = [[np.asarray(each, "float32").T for each in x] for x, _ in parts]
        stacked = np.concatenate(sequences[0])
        mean, spread = stacked.mean(axis=0), stacked.std(axis=0)
        longest = max(len(each) for part in sequences for each in part)
        xs = [_padded([(each - mean) / spread for each in part], longest) for part in sequences]
        return tuple(zip(xs, _targets([y for _, y in parts], regression), strict=True))

    return load


def _padded(sequences, longest):
    x = np.full((len(sequences), longest, sequences[0].shape[-1]), PADDING, "float32")
    for row, sequence in zip(x, sequences, strict=True):
        row[: len(sequence)] = sequence
    return x


def _targets(parts, regression):
    if regression:
        mean, spread = parts[0].mean(), parts[0].std()
        return [((y - mean) / spread).astype("float32")[:, None] for y in parts]
    classes = np.unique(parts[0])
    return [np.searchsorted(classes, y) for y in parts]


_SIZES = {
    "cell": ["lstm", "gru"],
    "units": [32, 64],
    "bidirectional": [False, True],
    "learning_rate": [3e-3, 1e-2],
}
BEST = "best LSTM or GRU found"
_SMALL = {BEST: Search(_last_step, {**_SIZES, **DROPOUT}, epochs=60, batch=16)}

DATA_SETS = {
    "mnist1d": DataSet(
        _mnist1d,
        "accuracy",
        {
            "published GRU": Search(
                _all_steps,
                {
                    "cell": "gru",
                    "units": 6,
                    "bidirectional": True,
                    "learning_rate": 1e-2,
                    **DROPOUT,
                },
                epochs=150,
                trials=30,
                batch=100,
            ),
            BEST: Search(
                _all_steps,
                {**_SIZES, "layers": [1, 2], "global_clipnorm": 1.0, **DROPOUT},
                epochs=60,
                batch=50,
                decay=True,
                objective="val_accuracy",
                confirm=rdt.Confirm(3, seeds=3, max_seeds=3),
            ),
            "not clipped, not confirmed": Search(
                _all_steps,
                {**_SIZES, "layers": [1, 2], **DROPOUT},
                epochs=60,
                batch=50,
                decay=True,
                objective="val_accuracy",
            ),
        },
        known={"GRU": 0.91, "CNN": 0.94, "people": 0.96, "MLP": 0.68},
        folds=0,
        setting="published GRU",
    ),
    "vowels": DataSet(
        _of_aeon("load_japanese_vowels"),
        "accuracy",
        {BEST: replace(_SMALL[BEST], decay=True)},
        known={"transformer": 0.987},
    ),
    "motions": DataSet(_of_aeon("load_basic_motions"), "accuracy", _SMALL),
    "power": DataSet(_of_aeon("load_italy_power_demand"), "accuracy", _SMALL),
    "gestures": DataSet(_of_aeon("load_pickup_gesture_wiimoteZ"), "accuracy", _SMALL),
    "covid": DataSet(
        _of_aeon("load_covid_3month", regression=True),
        "rmse",
        {BEST: Search(_number, {**_SIZES, **DROPOUT}, epochs=60, batch=16)},
    ),
}
