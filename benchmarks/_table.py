"""Tables of real training results: the curve of the validation loss of every configuration of a space."""

import csv
import os
import tempfile
from pathlib import Path

import numpy as np

KEY = ("units", "wrapper", "placement", "rate", "learning_rate")


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
        """Reads the table of the first seed from a file that `train` has written."""
        return load(path)[0]

    def curve(self, sample):
        """Returns the curve of a configuration (`recdrop_tune.SearchSpace.sample`)."""
        return self.curves[key(sample)]

    def threshold(self, share):
        """Returns the score that the best `share` of the configurations reach."""
        count = max(1, round(share * len(self.scores)))
        return float(np.sort(self.scores)[count - 1])


def load(path):
    """Reads the tables that `train` has written, one for each seed."""
    with open(path, newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    curves = {}
    for row in rows:
        seed, values = int(row[len(KEY)]), [float(value) for value in row[len(KEY) + 1 :]]
        curves.setdefault(seed, {})[tuple(row[: len(KEY)])] = values
    return [Table(curves[seed]) for seed in sorted(curves)]


def draw(tables, turn):
    """Makes a table that has the curve of one seed of each configuration, drawn by the number of a search.

    So that no way to search can fit the accidents of one table: the order of configurations that are as
    good as each other is another one in each.
    """
    generator = np.random.default_rng([turn, 0x5EED])
    seeds = generator.integers(len(tables), size=len(tables[0].curves))
    names = tables[0].curves
    return Table({name: tables[seed].curves[name] for name, seed in zip(names, seeds, strict=True)})


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
    from recdrop_tune.kernels import FreshStart

    path = Path(path or problem.path)
    hypermodel = problem.hypermodel(problem.space)
    points = configurations(hypermodel.space)
    done, trained, data = _begin(path, problem.epochs), {}, problem.data()
    beginning = FreshStart(keep_kernels=True)
    for seed in range(problem.seeds):
        for number, hp in enumerate(points, 1):
            name = key(hypermodel.space.sample(hp))
            if (seed, name) in done:
                continue
            beginning.begin(seed)
            model = _renewed(hypermodel.build(hp), trained)
            curve = _curve(model, data, problem)
            with open(path, "a", newline="") as lines:
                csv.writer(lines, lineterminator="\n").writerow(
                    [*name, seed, *(f"{value:.4f}" for value in curve)]
                )
            best = f"best {min(curve):.4f}"
            say(f"seed {seed}, {number}/{len(points)} {' '.join(name)} {best}", flush=True)


def configurations(space):
    """Lists the configurations of a space, as Keras Tuner's hyperparameters."""
    import keras_tuner as kt

    from recdrop_tune.hyperparameters import configurations as list_configurations
    from recdrop_tune.oracle.translation import read_space, write_values

    with tempfile.TemporaryDirectory() as folder:
        oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=1)
        # It samples under every condition, so that the oracle knows all hyperparameters.
        kt.Tuner(oracle, lambda hp: space.sample(hp), directory=folder)
    points, rows = [], read_space(oracle.hyperparameters.space)
    for values in list_configurations(rows):
        hp = oracle.hyperparameters.copy()
        hp.values = write_values(rows, values)
        points.append(hp)
    return points


def _begin(path, epochs):
    """Writes the header, and returns the seeds and configurations of the existing rows."""
    if path.exists():
        held = load(path) if path.read_text().count("\n") > 1 else []
        return {(seed, name) for seed, table in enumerate(held) for name in table.curves}
    path.parent.mkdir(parents=True, exist_ok=True)
    header = [*KEY, "seed", *(f"epoch {epoch}" for epoch in range(1, epochs + 1))]
    path.write_text(",".join(header) + "\n")
    return set()


def _renewed(fresh, trained):
    """Returns the trained model of the same structure in a fresh state, or the fresh one."""
    from recdrop_tune.models import renew, structure

    model = trained.setdefault(structure(fresh), fresh)
    if model is not fresh:
        renew(model, fresh)
    return model


def _curve(model, data, problem):
    """Trains in the order of a search, and returns the validation loss after each epoch."""
    from recdrop_tune.models import fit

    (x, y), validation = data
    size = len(y) // problem.batch * problem.batch  # Whole batches: one program to compile.
    history = fit(
        model,
        x[:size],
        y[:size],
        batch_size=problem.batch,
        epochs=problem.epochs,
        validation_data=validation,
        validation_batch_size=len(validation[1]),
        verbose=0,
    )
    return history.history["val_loss"]
