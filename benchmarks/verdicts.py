"""How often is the verdict of a confirmed search right, and how often do its intervals hold the truth?

    python benchmarks/verdicts.py                             # all problems: four hours on two cores
    python benchmarks/verdicts.py --problems two --searches 20
    python benchmarks/verdicts.py --problems nothing one two flat --confirm 0
    python benchmarks/verdicts.py --problems "models: nothing" "models: four, unequal"
    python benchmarks/verdicts.py --problems "seeds named"    # a minute

Runs `tune` with confirmation on problems with a known truth (`_planted.py`): the gain of dropout, and the
noise of trainings. For each problem it counts:

- the verdicts: how often dropout is said to have helped, to have hurt, to make no difference, or that it is
  not known;
- how often all intervals hold the true gains together, when it stops;
- the seeds that it took, on average;
- by how much the gain that it states is larger than the true one, in spreads, on average;
- how often the dropout of the recommended configuration is known to help;
- how often that configuration is at most half a spread worse than the best one, which can have the settings
  of one confirmed configuration and the dropout of another one; and by how much on average.

The seeds are the same in all problems, which therefore differ by what is planted alone: they have their luck
in common.

With `--confirm 0` only how much the stated gain of searches without a confirmation is too large, and the
same of the plain difference of the best trial and its twin.

The problems `models: ...` are comparisons by `compare_models`, counted in the same way: how often the answer
is `better`, `worse`, `no difference` or not known, how often it is false, and how often all intervals hold.

The problem `seeds named` draws differences, without trainings. An answer that is not known names the seeds
that would decide: how often do they, if the true gain and spread are those seen, or, of the answers that name
a number, if the true gain is a given one?

Resumes after an interruption: the searches are in --folder. Prints a table, and writes JSON to
benchmarks/results/.
"""

import argparse
import gc
import itertools
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A model of two weights gains nothing by threads, and the processes would take them from each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import _planted
import numpy as np

RESULTS = Path(__file__).parent / "results" / "verdicts.json"
BATCH = 200
"""Searches by the same processes. After hundreds of them, a process takes twice as long for one."""
OUTCOMES = ("helped", "hurt", "no difference", "not known")
FALSE = "helped at most 2.5 %"
NAMED = "seeds named"
TARGETS = {
    **dict.fromkeys(
        ("nothing", "heavy tails", "outliers", "noisy", "calm", "alike", "flat"), FALSE
    ),
    **dict.fromkeys(("failing", "twins fail"), FALSE),
    "half": "helped at least 40 %, 19 seeds",
    "one": "helped at least 90 %, 13 seeds",
    "two": "helped at least 99 %, 8 seeds",
    "same": "no difference at least 80 %",
    "other": "no difference at most 2.5 %",
    "bound": "no difference at most 5 %",
}
"""What should come out. All intervals should hold together in at least 95 % of the searches."""


def prepare():
    """Prepares a process for searches."""
    from recdrop_tune.search import confirm, tuner_tracking

    # The report at the end of a search takes as long as the search, and nobody needs the weights.
    tuner_tracking.save_result = tuner_tracking.save_comparison = lambda *_: None
    confirm.save_weights = lambda *_: None
    # Otherwise the collections of garbage between searches walk through all of TensorFlow.
    gc.freeze()


def search(name, number, arguments):
    """Runs a search and its confirmation; returns what they found, and what is true."""
    import recdrop_tune as rdt

    problem = _planted.problems()[name]
    data = np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = rdt.tune(
            data,
            data,
            model=_planted.Planted(problem, arguments.trials),
            max_trials=arguments.trials,
            epochs=1,
            confirm=rdt.Confirm(
                arguments.confirm,
                seeds=arguments.seeds,
                max_seeds=arguments.max_seeds,
                margin=problem.margin,
            )
            if arguments.confirm
            else None,
            seed=number,
            tracking=False,
            directory=Path(folder) / "search",
            verbose=0,
        )
        found = read(result, problem)
    return {"problem": name, "number": number, **found, "seconds": time.perf_counter() - started}


def comparison(name, number, arguments):
    """Runs a comparison; returns what it answers, whether that is false, and whether its intervals hold."""
    import recdrop_tune as rdt

    data = np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        answer = rdt.compare_models(
            _planted.compared_models(name),
            data,
            data,
            epochs=1,
            seeds=arguments.seeds,
            max_seeds=arguments.max_seeds,
            seed=number,
            tracking=False,
            directory=Path(folder) / "comparison",
            verbose=0,
        )
        margin = answer.margin("val_loss")
        table = answer.table.set_index("model")
    true = {
        str(n): gain * _planted.SPREAD for n, (gain, _) in enumerate(_planted.COMPARISONS[name], 1)
    }
    gain = true[answer.names[answer.lead]]
    is_true = {
        "better": gain > 0,
        "worse": gain < 0,
        "no difference": abs(gain) <= margin,
        "not known": True,
    }
    return {
        "problem": name,
        "number": number,
        "outcome": answer.outcome,
        "false": not is_true[answer.outcome],
        "hold": all(holds(table.loc[model], each) for model, each in true.items()),
        "seeds": int((table["n"] + table["failed"]).max()),
        "seconds": time.perf_counter() - started,
    }


def count_comparisons(name, rows):
    """Counts what the comparisons of a problem came to."""

    def share(what):
        return round(sum(map(what, rows)) / len(rows), 4)

    return {
        "problem": name,
        "comparisons": len(rows),
        **{
            outcome: share(lambda row, o=outcome: row["outcome"] == o)
            for outcome in ("better", "worse", "no difference", "not known")
        },
        "false": share(lambda row: row["false"]),
        "all intervals hold": share(lambda row: row["hold"]),
        "seeds": round(statistics.mean(row["seeds"] for row in rows), 1),
        "seconds": round(statistics.mean(row["seconds"] for row in rows), 2),
    }


def named(arguments):
    """Counts how often an answer is known after the seeds that it has named."""
    import pandas as pd

    from recdrop_tune.results import Looks, paired_gains, rounds
    from recdrop_tune.results.intervals import NOT_KNOWN, seeds_to_decide

    generator, first = np.random.default_rng(0), arguments.seeds

    def answer(differences, plan, planned, margin, pairs):
        costs = pd.DataFrame({"own": -differences, "other": 0.0})
        looks = Looks([each for each in plan if each <= len(differences)], planned)
        return paired_gains(costs, [("own", "other")], looks, margin, pairs)[0]

    def is_known(differences, plan, begun, *how):
        """Looks where a plan looks after the seeds that have begun, until the answer is known."""
        looks = (answer(differences[:seeds], plan, *how) for seeds in plan if seeds > begun)
        return any(each.outcome != NOT_KNOWN for each in looks)

    def decide(seen, gain, begun, true, margin, pairs):
        """Returns the seeds that an answer names, and whether trainings with them decide, again and again."""
        plan, planned = rounds(first, len(seen)), arguments.max_seeds
        looks = Looks(plan, planned)
        seeds = seeds_to_decide(gain, gain.gain, looks, margin, pairs, begun)
        if seeds is None:
            return None, ()
        plan, how = rounds(first, seeds, plan if begun else ()), (margin, pairs)
        drawn = (generator.normal(true, 1.0, seeds - begun) for _ in itertools.count())
        every = (np.concatenate([seen[:begun], more]) for more in drawn)
        planned = planned if begun else seeds
        return seeds, (is_known(each, plan, begun, planned, *how) for each in every)

    cases, gains = [], (0.0, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5)
    for done, pairs, true, margin in itertools.product((5, 8, 20), (1, 3), gains, (0.0, 0.5)):
        seen = generator.normal(size=done)
        seen = (seen - seen.mean()) / seen.std(ddof=1) + true
        gain = answer(seen, rounds(first, done), arguments.max_seeds, margin, pairs)
        for begun in (done, 0) if done == arguments.max_seeds else (done,):
            seeds, known = decide(seen, gain, begun, true, margin, pairs)
            if gain.outcome == NOT_KNOWN and seeds is not None:
                share = statistics.mean(itertools.islice(known, arguments.searches))
                about = {"gain": true, "margin": margin, "pairs": pairs, "done": begun}
                cases.append({**about, "named": seeds, "decided": round(share, 4)})
    planted, plan = [], rounds(first, arguments.max_seeds)
    for true in (0.3, 0.5, 0.7):
        found, names = [], 0
        for _ in range(arguments.searches):
            seen = generator.normal(true, 1.0, arguments.max_seeds)
            if is_known(seen, plan, 0, plan[-1], 0.0, 1):
                continue
            gain = answer(seen, plan, plan[-1], 0.0, 1)
            tried = (decide(seen, gain, begun, true, 0.0, 1) for begun in (len(seen), 0))
            seeds, known = next((each for each in tried if each[0] is not None), (None, ()))
            names += seeds is not None
            found += itertools.islice(known, 1)
        planted.append({"gain": true, "named": names, "decided": statistics.mean(found or [0])})
    return {"problem": NAMED, "draws": arguments.searches, "cases": cases, "planted": planted}


def read(result, problem):
    """Reads what a confirmation says, and what is true."""
    import pandas as pd

    from recdrop_tune.events import Configuration
    from recdrop_tune.oracle import trial_of

    confirmation, space = result.confirmation, _planted.SearchSpace.load(problem.space)
    trials = result.tuner.oracle.trials
    if confirmation is None:
        return unconfirmed(result.twin_gain, problem, space, trials)
    table = confirmation.table
    rows = table.set_index(pd.Index(confirmation.ids))[(table["wrapper"] != "none").to_numpy()]
    named = {id: trial_of(result.tuner.oracle, Configuration.named(id)) for id in rows.index}
    true = {id: problem.gain(space.sample(each.hyperparameters)) for id, each in named.items()}
    lead = confirmation.dropping_id
    samples = [space.sample(trials[id].hyperparameters) for id in table["trial_id"]]
    best = trial_of(result.tuner.oracle, Configuration.named(result.best_id))
    chosen = problem.level(space.sample(best.hyperparameters))
    return {
        "recommended": bool(table["outcome"].iloc[0] == "helped"),
        "regret": (chosen - problem.best(samples)) / _planted.SPREAD,
        "outcome": confirmation.outcome,
        "hold": all(holds(rows.loc[id], gain) for id, gain in true.items()),
        "seeds": int((table["n"] + table["failed"]).max()),
        "flatters": None
        if lead not in true
        else (confirmation.gain - true[lead]) / _planted.SPREAD,
        "true": true.get(lead),
    }


def unconfirmed(gain, problem, space, trials):
    """Reads what a search without a confirmation says, and what is true."""
    if gain is None:
        return {"flatters": None, "plain": None, "true": None}
    true = problem.gain(space.sample(trials[gain.trial.trial_id].hyperparameters))
    found = {"flatters": gain.expected, "plain": gain.value}
    return {**{n: (each - true) / _planted.SPREAD for n, each in found.items()}, "true": true}


def holds(row, true):
    """Returns whether an interval contains the true gain; also True without an interval."""
    low, high = row["gain_low"], row["gain_high"]
    return math.isnan(low) or low - 1e-9 <= true <= high + 1e-9


def run(names, arguments):
    """Runs the searches that the folder lacks, and puts each problem into the JSON."""
    sizes = (arguments.trials, arguments.confirm, arguments.seeds, arguments.max_seeds)
    path = arguments.folder / f"{'-'.join(map(str, sizes))}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    held = {(row["problem"], row["number"]): row for row in map(json.loads, lines)}
    if NAMED in names:
        counted = named(arguments)
        shares = [each["decided"] for each in counted["cases"]]
        print(f"{NAMED}: {min(shares):.1%} to {max(shares):.1%} decided", counted["planted"])
        keep(arguments, counted, "named")
    names = [name for name in names if name != NAMED]
    wanted = [(name, number) for name in names for number in range(arguments.searches)]
    left = [each for each in wanted if each not in held]
    with path.open("a") as lines:
        for at in range(0, len(left), BATCH):
            for row in searched(left[at : at + BATCH], arguments):
                held[row["problem"], row["number"]] = row
                lines.write(json.dumps(row) + "\n")
                lines.flush()
            print(f"  {min(at + BATCH, len(left))} of {len(left)}", flush=True)
    print(HEADER if arguments.confirm and names else "")
    for name in names:
        rows = [held[name, number] for number in range(arguments.searches)]
        if name in _planted.COMPARISONS:
            counted = count_comparisons(name, rows)
            print(json.dumps(counted))
            keep(arguments, counted, "comparisons")
        elif arguments.confirm:
            counted = count(name, rows)
            print(line(counted))
            keep(arguments, counted, "rows")
        else:
            counted = {"problem": name, "trials": arguments.trials, **flattery(rows)}
            print(json.dumps(counted))
            keep(arguments, counted, "unconfirmed")


def searched(wanted, arguments):
    """Runs searches, by problem and number, in new processes; yields what each found."""
    # Forked processes would share TensorFlow's threads.
    options = {"mp_context": multiprocessing.get_context("spawn"), "initializer": prepare}
    with ProcessPoolExecutor(arguments.jobs, **options) as pool:
        futures = []
        for name, number in wanted:
            task = comparison if name in _planted.COMPARISONS else search
            futures.append(pool.submit(task, name, number, arguments))
        yield from (future.result() for future in as_completed(futures))


def flattery(rows):
    """Averages by how much the gains of searches without a confirmation are too large, in spreads."""
    known = [row for row in rows if row["flatters"] is not None]
    means = {n: statistics.mean(row[n] for row in known) for n in ("plain", "flatters")}
    return {"searches": len(known), **{name: round(mean, 3) for name, mean in means.items()}}


def count(name, rows):
    """Counts what the searches of a problem came to."""
    problem = _planted.problems()[name]

    def share(what):
        return round(sum(map(what, rows)) / len(rows), 4)

    flatters = [row["flatters"] for row in rows if row["flatters"] is not None]
    return {
        "problem": name,
        "about": problem.about,
        "alike": round(problem.alike, 3),
        "searches": len(rows),
        "target": TARGETS.get(name, ""),
        **{outcome: share(lambda row, o=outcome: row["outcome"] == o) for outcome in OUTCOMES},
        "all intervals hold": share(lambda row: row["hold"]),
        "seeds": round(statistics.mean(row["seeds"] for row in rows), 1),
        "flatters": round(statistics.mean(flatters), 3) if flatters else None,
        "recommended helped": share(lambda row: row["recommended"]),
        "near the best": share(lambda row: row["regret"] <= 0.5),
        "regret": round(statistics.mean(row["regret"] for row in rows), 3),
        "seconds": round(statistics.mean(row["seconds"] for row in rows), 2),
    }


HEADER = (
    f"{'':16}{'helped':>8}{'hurt':>8}{'same':>8}{'unknown':>9}{'hold':>8}{'near':>8}{'seeds':>7}"
    f"{'flatters':>10}{'s':>6}  target"
)


def line(counted):
    """Formats what was counted of a problem."""
    shares = [counted[name] for name in (*OUTCOMES, "all intervals hold", "near the best")]
    cells = "".join(f"{share:>{w}.1%}" for share, w in zip(shares, (8, 8, 8, 9, 8, 8), strict=True))
    flatters = "-" if counted["flatters"] is None else f"{counted['flatters']:+.2f}"
    return (
        f"{counted['problem']:16}{cells}{counted['seeds']:>7}{flatters:>10}{counted['seconds']:6.1f}  "
        f"{counted['target']}"
    )


def keep(arguments, counted, key):
    """Puts a problem into the JSON, replacing earlier counts."""
    import _machine

    held = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    held["machine"] = _machine.describe()
    held["noise"] = {loss: _planted.measured(loss) for loss in ("test_loss", "val_loss")}
    if key == "rows":
        names = ("trials", "confirm", "seeds", "max_seeds")
        held |= {name: getattr(arguments, name) for name in names}
    same = [counted.get("problem"), counted.get("trials")]
    rows = [row for row in held.get(key, []) if [row.get("problem"), row.get("trials")] != same]
    held[key] = [*rows, counted]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(held, indent=1) + "\n")


def main():
    """Searches, counts, prints and writes."""
    every = (*_planted.problems(), *_planted.COMPARISONS, NAMED)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="*", default=every, choices=every)
    parser.add_argument("--searches", type=int, default=400, help="of each problem")
    parser.add_argument("--trials", type=int, default=14)
    parser.add_argument("--confirm", type=int, default=3, help="0: what a search says without it")
    parser.add_argument(
        "--seeds", type=int, default=5, help="of the first round of the confirmation"
    )
    parser.add_argument("--max-seeds", type=int, default=20, help="of its last round")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("recdrop_runs") / "verdicts")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    run(arguments.problems, arguments)


if __name__ == "__main__":
    main()
