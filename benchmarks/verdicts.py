"""How often is the verdict of a confirmed search right, and how often do its intervals hold the truth?

    python benchmarks/verdicts.py                             # all problems: an hour on two cores
    python benchmarks/verdicts.py --problems two --searches 20

Runs `tune` with confirmation on problems with a known truth (`_planted.py`): the gain of dropout, and the
noise of trainings. For each problem it counts:

- the verdicts: how often dropout is said to have helped, to have hurt, or that it is not known;
- how often all intervals of gains over the twins hold the true gains together;
- how often the interval of the verdict does;
- where it is not known, how many seeds would settle it (the median).

The seeds are the same in all problems, which therefore differ by what is planted alone: they have their luck
in common.

Resumes after an interruption: the searches are in --folder. Prints a table, and writes JSON to
benchmarks/results/.
"""

import argparse
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A model of two weights gains nothing by threads, and the processes would take them from each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import _planted
import numpy as np

RESULTS = Path(__file__).parent / "results" / "verdicts.json"
OUTCOMES = ("helped", "hurt", "not known")
NOWHERE = "http://127.0.0.1:9"
"""An MLflow server that refuses at once: nothing is recorded."""

TARGETS = {
    "nothing": "helped at most 5 %",
    "noisy": "helped at most 5 %",
    "calm": "helped at most 5 %",
    "two": "helped at least 90 %",
}
"""What should come out; the intervals of all should hold together in 93 to 97 %."""

HOLDING = {
    "twins": "all intervals over twins hold",
    "told": "the verdict's interval holds",
}
"""The counts of intervals."""


def search(name, number, arguments):
    """Runs a search and its confirmation; returns what they found, and what is true."""
    import recdrop_tune as rdt

    problem = _planted.problems()[name]
    data = np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="MLflow at")
        result = rdt.tune(
            data,
            data,
            model=_planted.Planted(problem),
            max_trials=arguments.trials,
            epochs=1,
            confirm=rdt.Confirm(arguments.confirm, seeds=arguments.seeds),
            seed=number,
            tracking=rdt.MLflow(uri=NOWHERE),
            directory=Path(folder) / "search",
            verbose=0,
        )
        found = read(result, problem)
    return {"problem": name, "number": number, **found, "seconds": time.perf_counter() - started}


def read(result, problem):
    """Reads what a confirmation has trained, what it is said to show, and what is true."""
    confirmation = result.confirmation
    trials, space = result.tuner.oracle.trials, _planted.SearchSpace.load(problem.space)
    table = confirmation.table
    found = table.loc[table["kind"] == "found", "trial_id"]
    samples = {id: space.sample(trials[id].hyperparameters) for id in found}
    dropping = [id for id in found if samples[id].wrapper != "none"]
    return {
        "outcome": confirmation.outcome,
        "lead": confirmation.dropping_id,
        "scores": scores(confirmation.runs),
        "gains": {id: (twin_name(result, id), problem.gain(samples[id])) for id in dropping},
    }


def judged(row):
    """Holds the intervals of a confirmation against the truth.

    They are computed by the function that states them, from the scores that the search has left, so that a
    change of the intervals is measured without another hour of searches.
    """
    import pandas as pd

    from recdrop_tune.results import paired_gains, seeds_to_settle

    frame = pd.DataFrame(row["scores"])
    pairs = [(id, twin) for id, (twin, _) in row["gains"].items()]
    gains = dict(zip(row["gains"], paired_gains(frame, pairs, "min"), strict=True))
    held = {id: holds(gains[id], true) for id, (_, true) in row["gains"].items()}
    # Rows of an earlier version do not name the best configuration with dropout.
    lead = row.get("lead") or frame[list(gains)].mean().idxmin()
    pair = (lead, row["gains"][lead][0])
    outcome = gains[lead].outcome
    settled = seeds_to_settle(frame, pairs, "min", pair) if outcome == "not known" else None
    return {
        "outcome": outcome,
        "true": row["gains"][lead][1],
        "twins": all(held.values()),
        "told": held[lead],
        "seeds": settled,
        "seconds": row["seconds"],
    }


def twin_name(result, id):
    """Names the twin of a configuration as `scores` does."""
    from recdrop_tune.oracle import twin_among

    runs, oracle = result.confirmation.runs, result.tuner.oracle
    there = sorted(
        {(id, kind == "twin") for id, kind in zip(runs["trial_id"], runs["kind"], strict=True)}
    )
    trial_id, twin = twin_among(oracle, oracle.trials[id], there)
    return f"{trial_id} twin" if twin else trial_id


def scores(runs):
    """Returns the scores of a confirmation by configuration, seed by seed, to be counted otherwise."""
    names = runs["trial_id"] + runs["kind"].map({"found": "", "twin": " twin"})
    return {name: group["val_loss"].round(6).to_list() for name, group in runs.groupby(names)}


def holds(gain, true):
    """Returns whether an interval contains the true gain; also True without an interval."""
    return math.isnan(gain.low) or gain.low - 1e-9 <= true <= gain.high + 1e-9


def run(names, arguments):
    """Runs the searches that the folder lacks, and puts each problem into the JSON when it is through."""
    path = arguments.folder / f"{arguments.trials}-{arguments.confirm}-{arguments.seeds}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    held = {(row["problem"], row["number"]): row for row in map(json.loads, lines)}
    # A process each time would import TensorFlow each time; forked ones would share its threads.
    context = multiprocessing.get_context("spawn")
    print(HEADER, flush=True)
    with ProcessPoolExecutor(arguments.jobs, mp_context=context) as pool, path.open("a") as lines:
        for name in names:
            wanted = range(arguments.searches)
            left = [number for number in wanted if (name, number) not in held]
            futures = [pool.submit(search, name, number, arguments) for number in left]
            for done, future in enumerate(as_completed(futures), 1):
                row = future.result()
                held[name, row["number"]] = row
                lines.write(json.dumps(row) + "\n")
                lines.flush()
                if done % 20 == 0:
                    print(f"  {name}: {done} of {len(left)}", flush=True)
            counted = count(name, [judged(held[name, number]) for number in wanted])
            print(line(counted), flush=True)
            keep(arguments, counted)


def count(name, rows):
    """Counts what the searches of a problem came to."""
    problem = _planted.problems()[name]

    def share(what):
        return round(sum(map(what, rows)) / len(rows), 4)

    seeds = sorted(row["seeds"] or math.inf for row in rows if row["outcome"] == "not known")
    middle = statistics.median_high(seeds) if seeds else None
    return {
        "problem": name,
        "about": problem.about,
        "alike": round(problem.alike, 3),
        "searches": len(rows),
        "target": TARGETS.get(name, ""),
        **{outcome: share(lambda row, o=outcome: row["outcome"] == o) for outcome in OUTCOMES},
        "wrong sign": share(
            lambda row: (
                (row["outcome"] == "helped" and row["true"] <= 0)
                or (row["outcome"] == "hurt" and row["true"] >= 0)
            )
        ),
        **{what: share(lambda row, k=key: row[k]) for key, what in HOLDING.items()},
        "seeds to settle": None if middle in (None, math.inf) else middle,
        "seconds": round(statistics.mean(row["seconds"] for row in rows), 2),
    }


HEADER = (
    f"{'':18}{'helped':>8}{'hurt':>8}{'unknown':>9}{'wrong':>7}{'hold: twins':>13}"
    f"{'verdict':>9}{'seeds':>7}{'s':>6}  target"
)


def line(counted):
    """Formats what was counted of a problem."""
    shares = [counted[name] for name in OUTCOMES] + [counted["wrong sign"]]
    shares += [counted[what] for what in HOLDING.values()]
    cells = zip(shares, (8, 8, 9, 7, 13, 9), strict=True)
    seeds = "-" if counted["seeds to settle"] is None else counted["seeds to settle"]
    return (
        f"{counted['problem']:18}"
        + "".join(f"{share:>{width}.1%}" for share, width in cells)
        + f"{seeds:>7}{counted['seconds']:6.1f}  {counted['target']}"
    )


def keep(arguments, counted):
    """Puts a problem into the JSON, replacing earlier counts."""
    import _machine

    held = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    held["machine"] = _machine.describe()
    held["noise"] = {loss: _planted.measured(loss) for loss in ("test_loss", "val_loss")}
    held |= {"trials": arguments.trials, "confirm": arguments.confirm, "seeds": arguments.seeds}
    rows = [row for row in held.get("rows", []) if row["problem"] != counted["problem"]]
    held["rows"] = [*rows, counted]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(held, indent=1) + "\n")


def main():
    """Searches, counts, prints and writes."""
    every = tuple(_planted.problems())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="*", default=every, choices=every)
    parser.add_argument("--searches", type=int, default=200, help="of each problem")
    parser.add_argument("--trials", type=int, default=14)
    parser.add_argument("--confirm", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5, help="of the confirmation")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("recdrop_runs") / "verdicts")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    run(arguments.problems, arguments)


if __name__ == "__main__":
    main()
