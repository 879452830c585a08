"""How many epochs of training does a search need until it has found one of the best configurations?

    python benchmarks/search_efficiency.py table      # trains the tables, once: some minutes on JAX
    python benchmarks/search_efficiency.py replay     # Keras Tuner's searches and ours on it
    python benchmarks/search_efficiency.py variants   # other pruners and samplers of ours
    python benchmarks/search_efficiency.py ends       # what searches have found at their end, and promise
    python benchmarks/search_efficiency.py peers      # SMAC3, Optuna's TPE with Hyperband, ASHA, PASHA
    python benchmarks/search_efficiency.py bias       # what early pruning does to high rates
    python benchmarks/search_efficiency.py page       # puts the medians into docs/search-efficiency.md

`--problem digits` (the default) is what the defaults of this package were chosen by; `vowels`, `mnist1d`,
`characters` and `wide` were held out: other data, cells and wrappers (see `_problems.py`). Their tables are
committed: the validation loss of each epoch of every configuration of a space, on real data, trained with
several seeds. Each replayed search draws one of them for each configuration, and reports these epochs
instead of training. It ends when a completed trial has a score (best epoch) among the best 1 %, 2 % or 5 %
of all configurations. The epochs of all trials until then count, including pruned ones. Keras Tuner's tuners
have their defaults. Hyperband, which resumes with the weights of its earlier rounds, pays only for the new
epochs, and repeats its brackets as often as needed. Our searches start with their baselines, like `tune`.

Bayesian optimization, which takes seconds a trial when it has seen many, gets 60 trials and fewer
seeds: where it has not reached a threshold with them, another of Keras Tuner's has with fewer epochs.

`--problem prior` draws the curves of each search from a prior of learning curves (`_prior.py`), on any space.

The peers are in `_peers.py`; SMAC3 has to be installed (`pip install smac`), and gets fewer seeds too.

Prints medians (quartiles) over the seeds, and writes JSON to benchmarks/results/.
"""

import argparse
import functools
import json
from pathlib import Path

import _page
import _problems
import _table
from _peers import PEERS, SLOW_PEERS

RESULTS = Path(__file__).parent / "results" / "search_efficiency.json"
PAGE = Path(__file__).parents[1] / "docs" / "search-efficiency.md"
THEIRS = ("RandomSearch", "Hyperband", "BayesianOptimization")
_SLOW_SEEDS, _SLOW_TRIALS = 20, 60


def run(names, arguments, problem, table, draw):
    """Replays some tuners, and prints and writes a row for each."""
    import _replay

    size = len(table.scores)
    print(f"{'':38} {'seeds':>5}" + "".join(f"{f'top {s:.0%}':>26}" for s in _replay.SHARES))
    for name in names:
        slow = name == _replay.SLOW or name in SLOW_PEERS
        seeds = min(arguments.seeds, _SLOW_SEEDS) if slow else arguments.seeds
        trials = min(_SLOW_TRIALS, size) if slow else size
        row = _replay.measure(name, draw, problem.space, seeds, trials)
        print(f"{name:38} {seeds:5}" + "".join(cell(row, s) for s in _replay.SHARES), flush=True)
        keep(arguments, table, row)


def cell(row, share):
    """Formats the epochs spent: median (quartiles)."""
    found = row[f"top {share:.0%}"]
    low, middle, high = ["-" if value is None else value for value in found["epochs"]]
    return f"{f'{middle} ({low} to {high})':>26}"


def keep(arguments, table, row=None, **more):
    """Puts a row into the JSON, replacing one of the same name, or other values."""
    import _machine
    import _replay

    path = arguments.out
    held = json.loads(path.read_text()) if path.exists() else {}
    held["machine"] = _machine.describe()
    about = held.setdefault(arguments.problem, {"rows": []})
    about["table"] = {
        "configurations": len(table.scores),
        "epochs": table.epochs,
        "best": float(table.scores.min()),
        "thresholds": {f"top {share:.0%}": table.threshold(share) for share in _replay.SHARES},
    }
    if row is not None:
        others = [each for each in about["rows"] if each["tuner"] != row["tuner"]]
        about["rows"] = [*others, row]
    about |= more
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held, indent=1) + "\n")


def run_ends(arguments, problem, table, draw):
    """Replays searches that end by themselves, or after some trials; prints and writes the rows.

    And what the sampler promises, against what the next five trials gain.
    """
    import _replay

    rows = []
    for trials in (None, *arguments.trials):
        rows.append(
            _replay.measure_ends("recdrop-tune", draw, problem.space, arguments.seeds, trials)
        )
        print(rows[-1], flush=True)
    promises = _replay.measure_promises(draw, problem.space, arguments.seeds, trials=40)
    print(*promises, sep="\n")
    keep(arguments, table, ends=rows, promises=promises)


def compare(arguments):
    """Prints our epochs as a part of those of the best of theirs."""
    rows = {
        row["tuner"]: row
        for row in json.loads(arguments.out.read_text())[arguments.problem]["rows"]
    }
    own = rows.get("recdrop-tune", {})
    for share in [name for name in own if name.startswith("top")]:
        medians = {name: rows[name][share]["epochs"][1] for name in THEIRS if name in rows}
        reached = {name: value for name, value in medians.items() if value is not None}
        spent = own[share]["epochs"][1]
        if reached and spent is not None:
            best = min(reached, key=reached.get)
            print(f"{share}: {spent / reached[best]:.2f} of {best}'s epochs")


def medians(held):
    """Writes the medians of all problems as a table in Markdown: for the best 1, 2 and 5 %.

    Bold: not significantly slower than the fastest (the 95 % intervals of the medians overlap). Rows with
    fewer seeds, whose intervals are wide, are neither bold nor the fastest.
    """
    problems = [name for name in _problems.PROBLEMS if name in held]
    shown = ("recdrop-tune", "Hyperband", *THEIRS[::-2], *PEERS)
    rows = {name: {row["tuner"]: row for row in held[name]["rows"]} for name in problems}
    lines = [f"| | {' | '.join(problems)} |", "|---" * (1 + len(problems)) + "|"]
    for tuner in [each for each in shown if any(each in row for row in rows.values())]:
        cells = [
            _bold(rows[name], tuner, shown) if tuner in rows[name] else "" for name in problems
        ]
        lines.append(f"| {tuner} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ends(held):
    """Writes a table in Markdown: what searches have spent and found at their end."""
    problems = {
        name: held[name]["ends"] for name in _problems.PROBLEMS if "ends" in held.get(name, {})
    }
    lines = [f"| | {' | '.join(problems)} |", "|---" * (1 + len(problems)) + "|"]
    for row in zip(*problems.values(), strict=True):
        cells = [f"{each['epochs']}: {100 * each['worse']:.1f} %" for each in row]
        name = f"{row[0]['max_trials']} trials"
        if row[0]["max_trials"] is None:
            name = "`max_trials=None`"
            cells = [
                f"{cell} ({each['trials']:.0f} trials)"
                for cell, each in zip(cells, row, strict=True)
            ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _bold(rows, tuner, shown):
    cells = []
    for share in [name for name in rows[tuner] if name.startswith("top")]:
        found = rows[tuner][share]
        known = [rows[each] for each in shown if each in rows]
        most = max(row["seeds"] for row in known)
        known = [row for row in known if row["seeds"] == most]
        quickest = min(known, key=lambda row: _number(row[share]["epochs"][1]))
        low, limit = found["median_95"][0], quickest[share]["median_95"][1]
        text = "-" if found["epochs"][1] is None else str(found["epochs"][1])
        alike = _number(low) <= _number(limit) and rows[tuner]["seeds"] == most
        cells.append(f"**{text}**" if alike and text != "-" else text)
    return " / ".join(cells)


def _number(value):
    return float("inf") if value is None else value


def main():
    """Trains, or replays, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", choices=("table", "replay", "variants", "ends", "peers", "bias", "page")
    )
    parser.add_argument("--problem", choices=tuple(_problems.PROBLEMS), default="digits")
    parser.add_argument("--tuners", nargs="*", help="names of tuners or variants; all by default")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--trials", type=int, nargs="*", default=[20, 40, 80], help="for `ends`")
    parser.add_argument("--table", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.what == "page":
        held = json.loads(arguments.out.read_text())
        tables = {"efficiency": medians(held), "ends": ends(held)}
        print(*tables.values(), sep="\n\n")
        _page.fill(PAGE if arguments.out == RESULTS else None, tables)
        return
    problem = _problems.PROBLEMS[arguments.problem]
    path = arguments.table or problem.path
    if arguments.what == "table":
        _table.train(problem, path)
        return
    if path is None:
        import _prior

        draw = functools.partial(_prior.draw, problem)
        table = draw(0)
    else:
        tables = _table.load(path)
        draw, table = functools.partial(_table.draw, tables), tables[0]
    if arguments.what == "bias":
        import _bias

        stopped = _bias.show_stopped(table, problem.space, arguments.seeds)
        keep(arguments, table, bias=_bias.show(table), stopped=stopped)
        return
    if arguments.what == "ends":
        run_ends(arguments, problem, table, draw)
        return
    import _replay

    kinds = {"replay": THEIRS, "variants": _replay.VARIANTS, "peers": PEERS}
    names = arguments.tuners or ["recdrop-tune", *kinds[arguments.what]]
    run(names, arguments, problem, table, draw)
    if arguments.what == "replay":
        compare(arguments)


if __name__ == "__main__":
    main()
