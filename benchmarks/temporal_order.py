"""How long a recurrent dropout lets an LSTM remember: the Temporal Order task.

    KERAS_BACKEND=jax python benchmarks/temporal_order.py run    # some 12 minutes on two cores
    python benchmarks/temporal_order.py table    # prints the results, and fills the page's table

The task is that of Hochreiter and Schmidhuber (1997), with which Semeniuta, Severyn and Barth (2016) argue
for dropping an LSTM's update. Two steps of a sequence hold an X or a Y, the others one of four other symbols.
The class is the order: XX, XY, YX or YY. The first of the two is in the second tenth of the sequence, the
other one in the sixth: the network has to remember both to the end. As theirs, the optimizer is SGD with a
learning rate of 0.1, and gradients are clipped to a norm of 5. Ours has fewer units than their 256
(`--units`), and every training gets the same number of updates.

Each technique and length is compiled once: rates and seeds are an axis of all arrays, and train at once. All
rates of a seed have the same first weights and data. Resumes after an interruption. Writes JSON to
benchmarks/results/, and the table of docs/choose-a-dropout.md between its marks.
"""

import argparse
import json
import os
import time
from itertools import product
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "jax")

import _page

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "temporal_order.json"
PAGE = ROOT / "docs" / "choose-a-dropout.md"
SYMBOLS, CLASSES = 6, 4
RATES = (0.1, 0.25, 0.5)
DROPOUTS = {
    "none": ("none", {}),
    "update": ("update", {}),
    "update, one mask": ("update", {"per_step": False}),
    "recurrent": ("recurrent", {}),
    "recurrent, one mask": ("recurrent", {"per_step": False}),
    "variational": ("variational", {}),
    "weight_drop": ("weight_drop", {}),
    "zoneout": ("zoneout", {}),
}
SOLVED = 0.99
"""The accuracy from which a training counts as solved."""


def sequences(key, number, length):
    """Draws one-hot sequences `(number, length, 6)` and their classes."""
    import jax

    keys = jax.random.split(key, 4)
    symbols = jax.random.randint(keys[0], (number, length), 2, SYMBOLS)
    which = jax.random.randint(keys[1], (number, 2), 0, 2)
    tenth = length // 10
    rows = jax.numpy.arange(number)
    for place, start in enumerate((1, 5)):
        # As the first paper's 10 to 20 and 50 to 60 of about 100 steps.
        at = jax.random.randint(keys[2 + place], (number,), start * tenth, (start + 1) * tenth + 1)
        symbols = symbols.at[rows, at].set(which[:, place])
    return jax.nn.one_hot(symbols, SYMBOLS), 2 * which[:, 0] + which[:, 1]


def model_of(dropout, units, length, seed):
    """Builds the model; a seed has the same first weights with each dropout."""
    import keras

    import recdrop_tune as rdt

    keras.utils.set_random_seed(seed)
    technique, options = DROPOUTS[dropout]
    layer = keras.layers.LSTM(units, name="lstm")
    if technique != "none":
        layer = rdt.wrap(layer, technique, RATES[0], placement="recurrent", seed=seed, **options)
    head = keras.layers.Dense(CLASSES)
    return keras.Sequential([keras.Input((length, SYMBOLS)), layer, head])


def accuracies(dropout, length, arguments):
    """Trains with all rates and seeds at once; returns the test accuracies by rate."""
    import jax
    import jax.numpy as jnp

    rates = (0.0,) if dropout == "none" else RATES
    runs = list(product(rates, range(arguments.seeds)))
    starts = []
    for rate, seed in runs:
        model = model_of(dropout, arguments.units, length, 1000 + seed)
        if rate:
            model.layers[0].rate = rate
        variables = model.trainable_variables, model.non_trainable_variables
        starts.append([[variable.value for variable in each] for each in variables])
    weights, others = jax.tree.map(lambda *each: jnp.stack(each), *starts)
    keys = jnp.stack([jax.random.key(seed) for _, seed in runs])

    def loss(weights, others, x, y):
        logits, others = model.stateless_call(weights, others, x, training=True)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)
        return -chosen.mean(), others

    def update(state, key):
        weights, others = state
        x, y = sequences(key, arguments.batch, length)
        slopes, others = jax.grad(loss, has_aux=True)(weights, others, x, y)
        norm = jnp.sqrt(sum(jnp.sum(slope**2) for slope in slopes))
        step = 0.1 * jnp.minimum(1.0, 5.0 / norm)
        return ([w - step * s for w, s in zip(weights, slopes, strict=True)], others), None

    def train(weights, others, key):
        train_key, test_key = jax.random.split(key)
        steps = jax.random.split(train_key, arguments.updates)
        (weights, others), _ = jax.lax.scan(update, (weights, others), steps)
        x, y = sequences(test_key, arguments.test, length)
        logits, _ = model.stateless_call(weights, others, x, training=False)
        return (logits.argmax(axis=1) == y).mean()

    found = iter(jax.jit(jax.vmap(train))(weights, others, keys).tolist())
    return {str(rate): [next(found) for _ in range(arguments.seeds)] for rate in rates}


def read(path):
    """Returns what the JSON holds so far."""
    return json.loads(path.read_text()) if path.exists() else {"rows": []}


def run(arguments):
    """Fills in the rows that the JSON lacks."""
    import _machine

    for length, dropout in product(arguments.lengths, arguments.dropouts):
        held = read(arguments.out)
        if (dropout, length) in {(row["dropout"], row["length"]) for row in held["rows"]}:
            continue
        begun = time.perf_counter()
        row = {"dropout": dropout, "length": length}
        row["accuracy"] = accuracies(dropout, length, arguments)
        row["seconds"] = round(time.perf_counter() - begun, 1)
        settings = {name: getattr(arguments, name) for name in ("units", "updates", "batch")}
        held |= {"machine": _machine.describe(), **settings, "rows": [*held["rows"], row]}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(held, indent=1) + "\n")
        print(row, flush=True)


def table(rows):
    """Writes the table in Markdown: how many of the seeds solve the task, and the mean accuracy, by rate."""
    lengths = sorted({row["length"] for row in rows})
    found = {(row["dropout"], row["length"]): row["accuracy"] for row in rows}
    head = [" | ".join(["", "dropout", *(f"length {length}" for length in lengths), ""]).strip()]
    lines = [*head, "|---" * (1 + len(lengths)) + "|"]
    for dropout in DROPOUTS:
        cells = [_cell(found.get((dropout, length), {})) for length in lengths]
        lines.append(f"| {dropout} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(by_rate):
    shown = []
    for accuracies in by_rate.values():
        solved = sum(accuracy >= SOLVED for accuracy in accuracies)
        shown.append(f"{solved} ({100 * sum(accuracies) / len(accuracies):.0f} %)")
    return ", ".join(shown)


def show(arguments):
    """Prints the table, and puts it between the marks of the page."""
    made = {"temporal_order": table(read(arguments.out)["rows"])}
    print(made["temporal_order"])
    _page.fill(PAGE if arguments.out == RESULTS else None, made)


def main():
    """Trains, or shows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--dropouts", nargs="*", default=list(DROPOUTS), choices=list(DROPOUTS))
    parser.add_argument("--lengths", nargs="*", type=int, default=[10, 20, 30])
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--updates", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--test", type=int, default=1000, help="sequences in the test")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    {"run": run, "table": show}[arguments.what](arguments)


if __name__ == "__main__":
    main()
