"""Which recurrent dropout, where, and how much, on real tasks: every wrapper at every placement.

    KERAS_BACKEND=jax python benchmarks/which_dropout.py run      # all tasks, or --task vowels; hours
    python benchmarks/which_dropout.py table    # prints and counts the results, fills the page's tables

For each task, wrapper and placement `tune` searches the rate (0.02 to 0.6) and the learning rate with the
same budget of trials, and trains the best configuration again with fresh seeds, the same for all, and its
twin, the same without dropout. The best epoch is chosen by the validation data. The test losses are compared;
nothing was chosen by them. `none` searches only the learning rate, so it ends when all are tried. The gains
are over the twin; their intervals hold together for a task. If the learning rate is that of `none`, the twin
is `none`. Dropouts that are the same under two names are searched once.

Resumes after an interruption: the searches are in --folder. Writes JSON to benchmarks/results/, and
the tables of docs/which-dropout.md between its marks.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _page
import _tasks
from _which_answers import answers
from _which_tables import counts, mean_and_spread, table

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "which_dropout.json"
PAGE = ROOT / "docs" / "which-dropout.md"
RATE = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
SAME = ("time_distributed", "lambda")
"""Wrappers that train exactly like `recurrent` at the same sites. `variational` at the input is like `native`
there."""


def cells():
    """Lists the wrappers at their placements, without dropout first, and each dropout by one name."""
    from recdrop_tune.catalog import TECHNIQUES

    searched = [each for each in TECHNIQUES.values() if not each.learns_rate | (each.id in SAME)]
    placed = [(each.id, place) for each in searched for place in each.placements]
    return [("none", None), *(cell for cell in placed if cell != ("variational", "input"))]


def space_of(task, wrapper, placement):
    """Makes the search space of one cell of the table."""
    space = {**task.space, "wrapper": wrapper, "learning_rate": task.learning_rates}
    return space if placement is None else {**space, "placement": placement, "rate": RATE}


def search(name, wrapper, placement, arguments):
    """Searches one cell and confirms its best configuration; returns a row of the table."""
    task = _tasks.TASKS[name]
    space, folder = space_of(task, wrapper, placement), f"{wrapper}-{placement or 'nowhere'}"
    result = _tasks.search(name, space, "which dropout", folder, arguments)
    return row_of(result, wrapper, placement, task.metric)


def row_of(result, wrapper, placement, metric):
    """Gathers what a search found."""
    runs = result.confirmation.runs.sort_values("repeat")
    table = result.confirmation.table.sort_values("mean")
    # The best mean of those that the search has found.
    best = table[~table["twin"]].iloc[0].dropna()
    found, twins = runs[~runs["twin"]], runs[runs["twin"]]
    runs = found[found["trial_id"] == best["trial_id"]]
    twin = [float(value) for value in twins["test_loss"]]
    return {
        **({"twin_test_loss": twin} if twin else {}),
        "wrapper": wrapper,
        "placement": placement,
        "rate": best.get("rate"),
        "learning_rate": best["learning_rate"],
        "trials": len(result.trials),
        "seconds": float(result.trials["seconds"].sum() + runs["seconds"].sum()),
        "best_epoch": [int(value) for value in runs["best_epoch"]],
        "val_loss": [float(value) for value in runs["val_loss"]],
        "test_loss": [float(value) for value in runs["test_loss"]],
        f"test_{metric}": [float(value) for value in runs[f"test_{metric}"]],
    }


def keep(path, name, row, arguments):
    """Puts a row into the JSON, replacing one of the same cell."""
    import _machine

    held = json.loads(path.read_text()) if path.exists() else {}
    held["machine"] = _machine.describe()
    about = held.setdefault("tasks", {}).setdefault(name, {"rows": []})
    task = _tasks.TASKS[name]
    about |= {"metric": task.metric, "epochs": arguments.epochs or task.epochs}
    about |= {"space": {**task.space, "learning_rate": task.learning_rates, "rate": RATE}}
    about |= {"trials": arguments.trials, "seeds": arguments.seeds}
    cell = (row["wrapper"], row["placement"])
    others = [each for each in about["rows"] if (each["wrapper"], each["placement"]) != cell]
    about["rows"] = [*others, row]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held, indent=1) + "\n")


def run(arguments):
    """Searches every cell that the JSON lacks."""
    for name in arguments.task:
        held = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        rows = held.get("tasks", {}).get(name, {}).get("rows", [])
        done = {(row["wrapper"], row["placement"]) for row in rows}
        wanted = [cell for cell in cells() if cell not in done and chosen(cell, arguments)]
        for number, (wrapper, placement) in enumerate(wanted, 1):
            row = search(name, wrapper, placement, arguments)
            keep(arguments.out, name, row, arguments)
            mean, spread = mean_and_spread(row["test_loss"])
            print(
                f"{name} {number}/{len(wanted)} {wrapper} {placement or ''}: test loss {mean:.4f} "
                f"+- {spread:.4f}, {row['seconds']:.0f} s",
                flush=True,
            )


def chosen(cell, arguments):
    """Returns whether a cell was requested."""
    return arguments.wrapper is None or cell[0] in arguments.wrapper


def show(arguments):
    """Prints the tables and what can be counted in them, and puts them between the marks of the page."""
    tasks = json.loads(arguments.out.read_text())["tasks"]
    made = answers(tasks)
    for name, lines in made.items():
        print(f"\n{name}\n{lines}")
    for name, about in tasks.items():
        print(f"\n{name}\n{table(about)}\n\n{counts(about)}")
    # The page's tables are those of one file; another one is only shown.
    page = PAGE if arguments.page is None and arguments.out == RESULTS else arguments.page
    _page.fill(page, made)


def main():
    """Searches, or shows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--task", nargs="*", default=list(_tasks.TASKS), choices=list(_tasks.TASKS))
    parser.add_argument("--wrapper", nargs="*", help="names of wrappers; all by default")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, help="of each training; the task's own by default")
    parser.add_argument("--folder", type=Path, default=Path("recdrop_runs") / "which_dropout")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, help="the documentation's for its own file")
    arguments = parser.parse_args()
    (run if arguments.what == "run" else show)(arguments)


if __name__ == "__main__":
    main()
