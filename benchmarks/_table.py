"""A table of real training results: the curve of the validation loss of every configuration of a space."""

import csv
import os
import tempfile
from pathlib import Path

import numpy as np

KEY = ("units", "wrapper", "placement", "rate", "learning_rate")
_SEED = 0


class Table:
    """The curves by configuration.

    Args:
        curves: Validation loss of each epoch, by the values of `KEY`.

    Attributes:
        scores: The best epoch of each configuration, in the order of the configurations.
    """

    def __init__(self, curves):
        self.curves = curves
        self.epochs = len(next(iter(curves.values())))
        self.scores = np.array([min(curve) for curve in curves.values()])

    @classmethod
    def load(cls, path):
        """Reads a table that `train` has written."""
        with open(path, newline="") as lines:
            rows = list(csv.reader(lines))[1:]
        return cls({tuple(row[: len(KEY)]): [float(v) for v in row[len(KEY) :]] for row in rows})

    def curve(self, sample):
        """Returns the curve of a configuration (`recdrop_tune.SearchSpace.sample`)."""
        return self.curves[key(sample)]

    def threshold(self, share):
        """Returns the score that the best `share` of the configurations reach."""
        count = max(1, round(share * len(self.scores)))
        return float(np.sort(self.scores)[count - 1])


def key(sample):
    """Returns the row of a configuration as text."""
    rate = None if sample.rate is None else f"{sample.rate:.3f}"
    values = (sample.units, sample.wrapper, sample.placement, rate, f"{sample.learning_rate:g}")
    return tuple("" if value is None else str(value) for value in values)


def train(problem, path=None, say=print):
    """Trains every configuration that the file lacks, and adds a row for each when it is through.

    Args:
        problem: What to train; see `_problems`.
        path: The file; the problem's own by default.
        say: Called with a line for each.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    import recdrop_tune as rdt

    path = Path(path or problem.path)
    hypermodel = rdt.SequenceClassifier(problem.classes, problem.shape, problem.space, metrics=())
    points = configurations(hypermodel.space)
    done, trainings, data = _begin(path, problem.epochs), {}, problem.data()
    for number, hp in enumerate(points, 1):
        name = key(hypermodel.space.sample(hp))
        if name in done:
            continue
        keras.utils.set_random_seed(_SEED)
        trained = _training(hypermodel.build(hp), trainings, data, problem.batch)
        curve = trained(problem.epochs)
        with open(path, "a", newline="") as lines:
            csv.writer(lines).writerow([*name, *(f"{value:.4f}" for value in curve)])
        say(f"{number}/{len(points)} {name} best {min(curve):.4f}", flush=True)


def configurations(space):
    """Lists the configurations of a space, as Keras Tuner's hyperparameters."""
    import keras_tuner as kt

    from recdrop_tune.oracle.conditions import parameters_of
    from recdrop_tune.oracle.parameters import combinations

    with tempfile.TemporaryDirectory() as folder:
        oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=1)
        # It samples under every condition, so that the oracle knows all hyperparameters.
        kt.Tuner(oracle, lambda hp: space.sample(hp), directory=folder)
    points = []
    for values in combinations(parameters_of(oracle.hyperparameters.space)):
        hp = oracle.hyperparameters.copy()
        hp.values = values
        points.append(hp)
    return points


def _begin(path, epochs):
    """Writes the header, and returns the rows that are there."""
    if path.exists():
        return set(Table.load(path).curves) if path.read_text().count("\n") > 1 else set()
    path.parent.mkdir(parents=True, exist_ok=True)
    header = [*KEY, *(f"epoch {epoch}" for epoch in range(1, epochs + 1))]
    path.write_text(",".join(header) + "\n")
    return set()


def _training(fresh, trainings, data, batch):
    """Returns the training of a model: with a traced one, where one of its structure has been trained."""
    from recdrop_tune.models import renew, structure

    name = structure(fresh)
    if name in trainings and renew(trainings[name].model, fresh):
        return trainings[name]
    trainings[name] = Training(fresh, data, batch)
    return trainings[name]


class Training:
    """Trains a model an epoch a call of one traced function: a tenth of the processor time of `fit`.

    Args:
        model: A compiled model.
        data: `(x, y)` to train on and `(x, y)` to validate with.
        batch: Samples of a step.
    """

    def __init__(self, model, data, batch):
        import tensorflow as tf

        self.model = model
        self._samples, self._batch = len(data[0][0]), batch
        self._data = [[tf.constant(array) for array in pair] for pair in data]
        self._loss = tf.keras.losses.SparseCategoricalCrossentropy()
        self._epoch = tf.function(self._steps)

    def __call__(self, epochs):
        """Trains, and returns the validation loss after each epoch."""
        generator = np.random.default_rng(_SEED)
        size = self._samples // self._batch * self._batch
        orders = [generator.permutation(self._samples)[:size] for _ in range(epochs)]
        return [float(self._epoch(order.reshape(-1, self._batch))) for order in orders]

    def _steps(self, batches):
        import tensorflow as tf

        (x, y), (x_val, y_val) = self._data
        for batch in tf.cast(batches, tf.int32):
            with tf.GradientTape() as tape:
                predicted = self.model(tf.gather(x, batch), training=True)
                loss = self._loss(tf.gather(y, batch), predicted)
            variables = self.model.trainable_variables
            self.model.optimizer.apply(tape.gradient(loss, variables), variables)
        return self._loss(y_val, self.model(x_val, training=False))
