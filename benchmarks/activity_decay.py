"""The effect of the decays of activations (AR, TAR) on a language model, with and without dropout.

    KERAS_BACKEND=jax python benchmarks/activity_decay.py run     # or with --seeds 5; some 10 minutes
    python benchmarks/activity_decay.py table    # prints the results, and fills the page's table

The text and the model are the task `characters` of `_tasks.py`: two LSTMs of 64 units. It is trained without
dropout and with the weight-drop of AWD-LSTM, and each of them without decays, with the activity decay of
AWD-LSTM (2), with its temporal decay (1), and with both. All else is the same: the seeds, so the first
weights, the order of the data and the masks, and the learning rate. The best epoch is chosen by the
validation loss, without decays. The test losses are compared; nothing was chosen by them. The gains are over
the training of the same seed and the same dropout without decays. Their intervals hold together.

Resumes after an interruption. Writes JSON to benchmarks/results/, and the table of docs/which-dropout.md
between its marks.
"""

import argparse
import json
import os
from itertools import product
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _page
import _tasks

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "activity_decay.json"
PAGE = ROOT / "docs" / "which-dropout.md"
TASK = _tasks.TASKS["characters"]
LEARNING_RATE = 1e-2
DROPOUTS = {
    "none": {"wrapper": "none"},
    # The rate that `which_dropout.py` finds for this text.
    "weight_drop": {"wrapper": "weight_drop", "placement": "recurrent", "rate": 0.5},
}
DECAYS = ((0.0, 0.0), (2.0, 0.0), (0.0, 1.0), (2.0, 1.0))
"""The factors of the activity and of the temporal decay; those of AWD-LSTM are 2 and 1."""

CELL = ("dropout", "activity_decay", "temporal_decay")
"""What names a row of the table."""


def fresh(dropout, decays, seed):
    """Builds the model; all random numbers that follow are those of the seed."""
    import keras
    import keras_tuner as kt

    space = {**TASK.space, **DROPOUTS[dropout], "learning_rate": LEARNING_RATE}
    space |= dict(zip(CELL[1:], decays, strict=True))
    keras.utils.set_random_seed(seed)
    return TASK.hypermodel(space).build(kt.HyperParameters())


def trained(model, epochs):
    """Trains, and returns what the test data say of the best epoch."""
    import keras

    train, validation, test = TASK.data()
    best = keras.callbacks.EarlyStopping(patience=epochs, restore_best_weights=True)
    history = model.fit(
        *train,
        validation_data=validation,
        epochs=epochs,
        batch_size=TASK.batch,
        callbacks=[best],
        verbose=0,
    ).history
    scores = model.evaluate(*test, batch_size=TASK.batch, return_dict=True, verbose=0)
    return {
        "val_loss": min(history["val_loss"]),
        "best_epoch": best.best_epoch,
        "test_loss": scores["loss"],
        "test_perplexity": scores[TASK.metric],
    }


def row_of(dropout, decays, arguments):
    """Trains a cell of the table with each seed, all by one traced model; returns its row."""
    from recdrop_tune.models import renew

    compiled, runs = None, []
    for seed in range(1000, 1000 + arguments.seeds):
        model = fresh(dropout, decays, seed)
        if compiled is None:
            compiled = model
        else:
            renew(compiled, model)
        runs.append(trained(compiled, arguments.epochs))
    row = dict(zip(CELL, (dropout, *decays), strict=True))
    return {**row, **{name: [run[name] for run in runs] for name in runs[0]}}


def read(path):
    """Returns what the JSON holds so far."""
    return json.loads(path.read_text()) if path.exists() else {"rows": []}


def run(arguments):
    """Fills in the rows that the JSON lacks."""
    import _machine

    for dropout, decays in product(DROPOUTS, DECAYS):
        held = read(arguments.out)
        if (dropout, *decays) in {key(row) for row in held["rows"]}:
            continue
        row = row_of(dropout, decays, arguments)
        about = {"machine": _machine.describe(), "epochs": arguments.epochs}
        held |= {**about, "rows": [*held["rows"], row]}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(held, indent=1) + "\n")
        print(line(row), flush=True)


def key(row):
    """Returns what names a row."""
    return tuple(row[name] for name in CELL)


def line(row, gain=None):
    """Writes a row of the table in Markdown."""
    from _which_tables import mean_and_spread

    loss, known = (mean_and_spread(row[name]) for name in ("test_loss", "test_perplexity"))
    better = "" if gain is None else f"{gain.gain:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
    decays = f"{row['activity_decay']:g} | {row['temporal_decay']:g}"
    return (
        f"| {row['dropout']} | {decays} | {loss[0]:.4f} ± {loss[1]:.4f} "
        f"| {known[0]:.3f} ± {known[1]:.3f} | {better} |"
    )


def table(rows):
    """Writes the table in Markdown."""
    import pandas as pd

    from recdrop_tune.results import paired_gains

    losses = pd.DataFrame({" ".join(map(str, key(row))): row["test_loss"] for row in rows})
    pairs = {
        key(row): (" ".join(map(str, key(row))), f"{row['dropout']} 0.0 0.0")
        for row in rows
        if any(key(row)[1:])
    }
    gains = dict(zip(pairs, paired_gains(losses, list(pairs.values())), strict=True))
    columns = ("dropout", *CELL[1:], "test loss", "test perplexity", "gain over no decay, 95 %")
    head = [f"| {' | '.join(columns)} |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *(line(row, gains.get(key(row))) for row in rows)])


def show(arguments):
    """Prints the table, and puts it between the marks of the page."""
    made = table(read(arguments.out)["rows"])
    print(made)
    # The page's table is that of one file; another one is only shown.
    page = PAGE if arguments.page is None and arguments.out == RESULTS else arguments.page
    _page.fill(page, {"decays": made})


def main():
    """Trains, or shows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=TASK.epochs)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, help="the documentation's for its own file")
    arguments = parser.parse_args()
    (run if arguments.what == "run" else show)(arguments)


if __name__ == "__main__":
    main()
