"""How long does `sync` take, into an empty store and into one that has everything?

    python benchmarks/sync.py                          # 2,000 trials into sqlite: some minutes
    python benchmarks/sync.py --trials 300 --server    # into its own server, too

A journal of trials that nobody trained is made, of some epochs each, every tenth a failure. Seconds of the
processor are those of this process, without the server's.

Prints a table and writes JSON to benchmarks/results/.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

sys.path.append(str(Path(__file__).parent.parent))  # For the server of the tests.

import _machine

import recdrop_tune as rdt
from recdrop_tune.events import (
    EpochEnded,
    ModelBuilt,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
)
from recdrop_tune.journal import Journal
from tests.mlflow_server import mlflow_server

RESULTS = Path(__file__).parent / "results" / "sync.json"
BEGIN = 1_790_000_000.0
"""When the search is said to have begun, in seconds since 1970."""


def search(folder, trials, epochs):
    """Writes the journal of a search that nobody ran."""
    journal = Journal(folder / "events.jsonl")
    about = {"search_id": "s", "name": "speech", "experiment": "speech", "tuner": "OptunaOracle"}
    about |= {"objective": "val_loss", "direction": "min", "max_trials": trials}
    journal.on_event(SearchStarted(time=BEGIN, **about))
    for number in range(trials):
        for event in trial(number, epochs, BEGIN + 10 * number + 1):
            journal.on_event(event)
    journal.on_event(SearchEnded(status="FINISHED", time=BEGIN + 10 * trials + 10))
    journal.close()


def trial(number, epochs, when):
    """Yields the events of a trial."""
    name = f"{number:05d}"
    values = {"wrapper": "variational", "placement": "input", "rate": number % 10 / 10, "units": 64}
    yield TrialStarted(trial_id=name, number=number, hyperparameters=values, time=when)
    yield ModelBuilt(trial_id=name, parameters=1000 + number, kernel="cudnn", time=when)
    metrics = {"loss": 1.0, "accuracy": 0.5, "val_loss": 1.0 + number, "val_accuracy": 0.5}
    for epoch in range(epochs):
        yield EpochEnded(
            trial_id=name, epoch=epoch, metrics=metrics, seconds=0.1, time=when + epoch / 10
        )
    if number % 10 == 9:
        done = {"status": "FAILED", "message": "ValueError: to the moon"}
    else:
        done = {"status": "COMPLETE", "score": 1.0 + number, "best_step": 0, "metrics": metrics}
    yield TrialEnded(trial_id=name, time=when + 5, **done)


def measure(folder, uri, trials):
    """Returns what a first and a second `sync` of a search take, and what they wrote."""
    row = {"trials": trials}
    for name in ("first", "second"):
        began, worked = time.perf_counter(), time.process_time()
        done = rdt.sync(folder, uri)
        row[name] = {"written": done.written, "there": done.there}
        row[name]["seconds"] = round(time.perf_counter() - began, 2)
        row[name]["processor_seconds"] = round(time.process_time() - worked, 2)
    return row


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--server", action="store_true", help="into a server instead of a file")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
        folder = Path(made)
        search(folder / "search", arguments.trials, arguments.epochs)
        uri = f"sqlite:///{folder}/mlflow.db"
        if arguments.server:
            (folder / "server").mkdir()
            uri = stack.enter_context(mlflow_server(folder / "server")).uri
        row = measure(folder / "search", uri, arguments.trials)
    kind = "server" if arguments.server else "sqlite"
    row = {"store": kind, "epochs": arguments.epochs, **row}
    for name in ("first", "second"):
        print(f"{kind:8} {arguments.trials:6} trials  {name:7} {row[name]}")
    held = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    rows = [each for each in held.get("rows", []) if not _same(each, row)]
    held = {"machine": _machine.describe(), "rows": [*rows, row]}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(held, indent=1) + "\n")


def _same(one, other):
    return all(one[key] == other[key] for key in ("store", "trials", "epochs"))


if __name__ == "__main__":
    main()
