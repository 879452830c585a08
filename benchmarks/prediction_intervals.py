"""Do the passes of Monte Carlo dropout make prediction intervals?

    python benchmarks/prediction_intervals.py    # about ten minutes on 2 cores; the data sets need `aeon`

On three data sets of `_tasks.py`, an LSTM or GRU with variational dropout is trained with several seeds, and
predicts the test data in 200 passes. Three kinds of intervals for 90 % are compared, all around the mean of
the passes:

mean ± 1.645 std  The spread of the passes as if it were that of the observations.
std as scale      Split conformal intervals whose width follows the spread of the passes.
constant scale    Split conformal intervals of one width for all samples.

Half of the test data calibrates and the other half is counted, in 20 random splits of each seed. A number is
the mean over seeds, splits and outputs; widths are in standard deviations of the training targets.
`correlation` is Spearman's, of the spread of the passes with the absolute error.

Prints the table, and writes JSON to benchmarks/results/ and the table into docs/prediction-intervals.md.
"""

import argparse
import json
import math
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _machine import describe
from _page import fill
from _tasks import TASKS
from scipy.stats import spearmanr

RESULTS = Path(__file__).parent / "results" / "prediction_intervals.json"
PAGE = Path(__file__).parents[1] / "docs" / "prediction-intervals.md"
COVERAGE, PASSES, SPLITS = 0.9, 200, 20

WORDS = {
    "motions": "BasicMotions: the next second of accelerometer and gyroscope from four",
    "covid": "Covid3Month: the rate of deaths from the cases of 84 days",
    "power": "ItalyPowerDemand: the demand of the next six hours from 18",
}


def load(name):
    """Returns `(x, y)` to train on and to test with; the targets have the shape `(samples, outputs)`."""
    train, _, test = TASKS[name].data()
    if name == "power":  # Its task is to tell winter from summer; here the series goes on.
        train, test = ((x[:, :18], x[:, 18:]) for x, _ in (train, test))
    return tuple((x, y.reshape(len(y), -1).astype("float32")) for x, y in (train, test))


def passes_of(name, train, x, seed):
    """Trains a model, and returns the mean and the spread of its predictions."""
    import keras

    import recdrop_tune as rdt

    task = TASKS[name]
    keras.utils.set_random_seed(seed)
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[task.space["cell"]]
    hidden = rdt.wrap(layer(task.space["units"]), "variational", rate=0.25)
    outputs = keras.layers.Dense(train[1].shape[1])
    model = keras.Sequential([keras.Input(train[0].shape[1:]), hidden, outputs])
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    model.fit(*train, epochs=task.epochs, batch_size=task.batch, verbose=0)
    prediction = rdt.mc_predict(model, x, passes=PASSES, batch_size=256, seed=seed)
    return prediction.mean, prediction.std


def conformal(scores):
    """Returns the score that a new one exceeds with probability 1 - `COVERAGE` at most, for each output."""
    rank = math.ceil((len(scores) + 1) * COVERAGE)
    return np.sort(scores, axis=0)[rank - 1]


def intervals(mean, std, y, seed):
    """Returns the coverage and the mean width of each kind of interval over random splits."""
    generator, rows = np.random.default_rng(seed), []
    error = np.abs(y - mean)
    for _ in range(SPLITS):
        order = generator.permutation(len(y))
        known, new = np.array_split(order, 2)
        half_widths = {
            "mean ± 1.645 std": 1.645 * std[new],
            "std as scale": conformal(error[known] / std[known]) * std[new],
            "constant scale": np.broadcast_to(conformal(error[known]), error[new].shape),
        }
        rows.append(
            {
                kind: ((error[new] <= half).mean(), 2 * half.mean())
                for kind, half in half_widths.items()
            }
        )
    return {kind: np.mean([row[kind] for row in rows], axis=0) for kind in rows[0]}


def measure(name, seeds):
    """Returns the rows of a data set."""
    train, (x, y) = load(name)
    scale = train[1].std()
    train, y = (train[0], train[1] / scale), y / scale
    kinds, correlations = [], []
    for seed in range(seeds):
        mean, std = passes_of(name, train, x, seed)
        kinds.append(intervals(mean, std, y, seed))
        correlations.append(spearmanr(std.ravel(), np.abs(y - mean).ravel()).statistic)
    numbers = {kind: np.mean([one[kind] for one in kinds], axis=0).tolist() for kind in kinds[0]}
    return {"intervals": numbers, "correlation": float(np.mean(correlations)), "tested": len(y)}


def table(results):
    """Returns the results in Markdown: coverage and width of each kind of interval."""
    kinds = list(next(iter(results.values()))["intervals"])
    lines = [
        f"| | {' | '.join(kinds)} | correlation |",
        f"|---|{'---|' * (len(kinds) + 1)}",
    ]
    for name, result in results.items():
        cells = [f"{100 * c:.0f} %, {width:.2f}" for c, width in result["intervals"].values()]
        lines.append(f"| {WORDS[name]} | {' | '.join(cells)} | {result['correlation']:.2f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=WORDS, default=list(WORDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results = {name: measure(name, arguments.seeds) for name in arguments.data}
    print(table(results))
    record = {"machine": describe(), "seeds": arguments.seeds, "results": results}
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    fill(PAGE if arguments.out == RESULTS else None, {"intervals": table(results)})


if __name__ == "__main__":
    main()
