"""One training that learns its rates, against a search for them: score and time on real tasks.

    python benchmarks/learned_rates.py run      # or with --task vowels --placement recurrent
    python benchmarks/learned_rates.py move     # how far rates move: by beginning, learning rate, and N
    python benchmarks/learned_rates.py table    # prints the results

`run` trains `concrete` once (one trial), and searches the rate of each site (0.05 to 0.6) of `variational`,
whose masks are the same but hard, by Optuna. Each is trained again with fresh seeds, the same for both, and
so is its twin, the same without dropout. `concrete` is also trained three times, with all of its `samples`,
a tenth and a hundredth of them, which gives its prior 10 or 100 times the weight, and the best by the
validation data counts. All have one learning rate. The best epoch is chosen by the
validation data. The test losses are compared; nothing was chosen by them. The time of a
search is that of its trials, of learning that of its one trial; on a machine with other work compare the
epochs.

`move` trains `concrete` to the end, and notes the rates after each epoch. `table` fills
docs/which-dropout.md.

Both resume after an interruption. They write JSON to benchmarks/results/.
"""

import argparse
import json
import os
from itertools import product
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _page
import _tasks
from _which_tables import mean_and_spread

RESULTS = Path(__file__).parent / "results" / "learned_rates.json"
PAGE = Path(__file__).parents[1] / "docs" / "which-dropout.md"
RATE = {"min": 0.05, "max": 0.6, "step": 0.05}
PLACEMENTS = ("recurrent", "input+recurrent+output")
KINDS = ("learned", "searched")
SAMPLES = "samples"
BEGINNINGS, LEARNING_RATES, SHARES = (0.1, 0.4), (1e-3, 1e-2), (1.0, 0.1, 0.01)


def space_of(task, kind, placement):
    """Makes the search space of one cell of the table."""
    # The highest is what `which_dropout.py` finds best without dropout, on each of the tasks.
    space = {**task.space, "placement": placement, "learning_rate": max(task.learning_rates)}
    if kind == "learned":
        return {**space, "wrapper": "concrete"}
    if kind == SAMPLES:
        return {
            **space,
            "wrapper": "concrete",
            "samples": [samples_of(task, share) for share in SHARES],
        }
    return {**space, "wrapper": "variational", "rate": dict.fromkeys(placement.split("+"), RATE)}


def samples_of(task, share):
    """Returns a share of the number of targets that a task trains on, which `concrete` has for `samples`."""
    return max(1, round(share * task.data()[0][1].size))


def search(name, kind, placement, arguments):
    """Trains once or searches, and confirms; returns a row of the table."""
    task = _tasks.TASKS[name]
    space, folder = space_of(task, kind, placement), f"{kind}-{placement}"
    trials = {"learned": {"max_trials": 1}, SAMPLES: {"max_trials": len(SHARES)}}.get(kind, {})
    result = _tasks.search(name, space, "learned rates", folder, arguments, **trials)
    row = row_of(result, kind, placement, task.metric)
    if kind == SAMPLES:
        row |= {"samples": int(_best(result)["samples"]), "offered": space["samples"]}
    return row


def _best(result):
    """Returns the row of the best confirmed configuration that is no twin."""
    table = result.confirmation.table.sort_values("mean")
    return table[~table["twin"]].iloc[0]


def row_of(result, kind, placement, metric):
    """Collects the results of a search."""
    runs = result.confirmation.runs.sort_values("repeat")
    found, twins = runs[~runs["twin"]], runs[runs["twin"]]
    columns = ("val_loss", "test_loss", f"test_{metric}", "best_epoch")
    best, sites = _best(result), placement.split("+")
    return {
        "kind": kind,
        "placement": placement,
        "trials": len(result.trials),
        "seconds": float(result.trials["seconds"].sum()),
        "trained_epochs": int(result.trials["epochs"].sum()),
        "rates": {
            site: best[f"rate.{site}"] if kind == "searched" else _learned(found, site)
            for site in sites
        },
        **{column: [float(value) for value in found[column]] for column in columns},
        "twin_test_loss": [float(value) for value in twins["test_loss"]],
    }


def _learned(runs, site):
    """Lists the rate that each training has learned at a site, the mean over the layers."""
    wanted = f"learned_rate.{site}"
    layers = [name for name in runs if name.rpartition("/")[2] == wanted]
    return [float(rate) for rate in runs[layers].mean(axis=1)]


def read(path):
    """Returns what the JSON holds so far."""
    return json.loads(path.read_text()) if path.exists() else {}


def keep(path, part, name, row, about):
    """Adds a row to a part of the JSON."""
    import _machine

    held = read(path)
    held["machine"] = _machine.describe()
    task = held.setdefault(part, {}).setdefault(name, {"rows": []})
    task |= {**about, "rows": [*task["rows"], row]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held, indent=1) + "\n")


def done(path, part, name, keys):
    """Returns the existing rows of a task, by the values of their keys."""
    rows = read(path).get(part, {}).get(name, {}).get("rows", [])
    return {tuple(row[key] for key in keys) for row in rows}


def run(arguments):
    """Fills in the rows that the JSON lacks."""
    for name in arguments.task:
        for placement, kind in product(arguments.placement, (*KINDS, SAMPLES)):
            if (kind, placement) in done(arguments.out, "tasks", name, ("kind", "placement")):
                continue
            row = search(name, kind, placement, arguments)
            epochs = arguments.epochs or _tasks.TASKS[name].epochs
            about = {"metric": _tasks.TASKS[name].metric, "epochs": epochs}
            keep(arguments.out, "tasks", name, row, {**about, "seeds": arguments.seeds})
            print(f"{name} {line(row, about['metric'])}", flush=True)


def move(arguments):
    """Notes how the rates move in the trainings that the JSON lacks."""
    keys = ("placement", "begin", "learning_rate", "share")
    for name, placement in product(arguments.task, arguments.placement):
        compiled = None
        for case in product([placement], BEGINNINGS, LEARNING_RATES, SHARES):
            if case in done(arguments.out, "move", name, keys):
                continue
            compiled = begun(name, case, compiled)
            row = {**dict(zip(keys, case, strict=True)), **moved(name, compiled, arguments)}
            keep(arguments.out, "move", name, row, {})
            print(f"{name} {moves(row)}", flush=True)


def begun(name, case, compiled):
    """Returns a model that is about to be trained: the one that is compiled already, if there is one."""
    import keras
    import keras_tuner as kt

    from recdrop_tune.models import dropout_layers, renew, structure

    placement, begin, learning_rate, share = case
    task = _tasks.TASKS[name]
    space = {**space_of(task, "learned", placement), "samples": samples_of(task, share)}
    keras.utils.set_random_seed(0)
    model = task.hypermodel({**space, "learning_rate": learning_rate}).build(kt.HyperParameters())
    for layer in dropout_layers(model):
        layer.rate = begin
    if compiled is None or structure(compiled) != structure(model):
        return model
    renew(compiled, model)
    return compiled


def moved(name, model, arguments):
    """Trains once; returns the rates by epoch, and the loss of the validation data at its best epoch."""
    from recdrop_tune.models import LearnedRates, fit

    task = _tasks.TASKS[name]
    (x, y), validation, _ = task.data()
    history = fit(
        model,
        x,
        y,
        validation_data=validation,
        epochs=arguments.epochs or task.epochs,
        batch_size=task.batch,
        callbacks=[LearnedRates()],
        verbose=0,
    ).history
    rates = {
        name: [round(rate, 4) for rate in curve]
        for name, curve in history.items()
        if "learned_rate" in name
    }
    return {"rates": rates, "val_loss": min(history["val_loss"])}


def moves(row):
    """Writes where rates came to in a line."""
    ends = ", ".join(f"{name} {values[-1]:.3f}" for name, values in row["rates"].items())
    case = (
        f"from {row['begin']} at learning rate {row['learning_rate']:g}, N times {row['share']:g}"
    )
    return f"{row['placement']} {case}: {ends}; best validation loss {row['val_loss']:.4f}"


def line(row, metric):
    """Writes a row in a line."""
    parts = [
        "{:.4f} +- {:.4f}".format(*mean_and_spread(row[key]))
        for key in ("test_loss", f"test_{metric}", "twin_test_loss")
    ]
    rates = ", ".join(f"{site} {shown(rate)}" for site, rate in row["rates"].items())
    cost = f"{row['trials']} trials of {row['trained_epochs']} epochs, {row['seconds']:.0f} s"
    return (
        f"{row['placement']} {row['kind']}: test loss {parts[0]}, {metric} {parts[1]}, without dropout "
        f"{parts[2]}; {cost}; {rates}"
    )


def shown(rate):
    """Writes a rate, or those of several trainings from the least to the largest."""
    if isinstance(rate, float):
        return f"{rate:g}"
    ends = [f"{end:.2f}" for end in (min(rate), max(rate))]
    return " to ".join(dict.fromkeys(ends))


def table(tasks):
    """Writes a table that compares learning with the search, task by task, in Markdown."""
    lines = [
        "| task | sites | learned: rates | loss | searched: rates | loss | no dropout "
        "| learning is better by % | epochs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, placement, learned, searched in _together(tasks, KINDS):
        none = _mean(learned["twin_test_loss"])
        epochs = f"{learned['trained_epochs'] / searched['trained_epochs']:.0%}".replace("%", " %")
        cells = [name, _sites(placement), *_shown(learned), *_shown(searched), none]
        lines.append(f"| {' | '.join(cells)} | {_better(learned, searched)} | {epochs} |")
    return "\n".join(lines)


def table_of_samples(tasks):
    """Writes the effect of `samples`, compared with all samples and with the search, in Markdown."""
    lines = [
        "| task | sites | samples | rates | loss | better than with all by % "
        "| than the search by % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, placement, chosen, learned, searched in _together(tasks, (SAMPLES, *KINDS)):
        most = max(chosen["offered"])
        cells = [name, _sites(placement), f"{chosen['samples']} of {most}", *_shown(chosen)]
        cells += [_better(chosen, learned), _better(chosen, searched)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _together(tasks, kinds):
    """Yields the rows of a task and placement that have been trained in all of the ways."""
    for name, about in tasks.items():
        rows = {(row["placement"], row["kind"]): row for row in about["rows"]}
        for placement in dict.fromkeys(placement for placement, _ in rows):
            found = [rows.get((placement, kind)) for kind in kinds]
            if None not in found:
                yield name, placement, *found


def _sites(placement):
    """Writes a placement; the longest would not fit the page."""
    return "all three" if placement.count("+") == 2 else placement


def _shown(row):
    """Writes the rates of a row, those that were learned by their mean, and the mean loss."""
    rates = [
        rate if isinstance(rate, float) else sum(rate) / len(rate) for rate in row["rates"].values()
    ]
    return ", ".join(f"{rate:.2f}" for rate in rates), _mean(row["test_loss"])


def _mean(values):
    return f"{mean_and_spread(values)[0]:.3f}"


def _better(row, other):
    """Says by how much of its loss, in percent, a row is better than another one, seed by seed."""
    import pandas as pd

    from recdrop_tune.results import paired_gains

    losses = pd.DataFrame({"row": row["test_loss"], "other": other["test_loss"]})
    (gain,) = paired_gains(losses, [("row", "other")])
    base = mean_and_spread(other["test_loss"])[0]
    better = [f"{100 * part / base:+.1f}" for part in (gain.gain, gain.low, gain.high)]
    return f"{better[0]} ({better[1]} to {better[2]})"


def show(arguments):
    """Prints the results, and puts the first table between the marks of the page."""
    held = read(arguments.out)
    tasks = held.get("tasks", {})
    made = {"learned": table(tasks)}
    print(made["learned"], table_of_samples(tasks), sep="\n\n")
    for name, about in held.get("move", {}).items():
        for row in about["rows"]:
            print(f"{name} {moves(row)}")
    _page.fill(PAGE if arguments.out == RESULTS else None, made)


def main():
    """Trains, or shows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "move", "table"))
    parser.add_argument("--task", nargs="*", default=list(_tasks.TASKS), choices=list(_tasks.TASKS))
    parser.add_argument("--placement", nargs="*", default=list(PLACEMENTS))
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, help="of each training; the task's own by default")
    parser.add_argument("--folder", type=Path, default=Path("recdrop_runs") / "learned_rates")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    {"run": run, "move": move, "table": show}[arguments.what](arguments)


if __name__ == "__main__":
    main()
