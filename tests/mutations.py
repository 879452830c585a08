"""Changes single lines of the package at random, and tells which changes no test notices.

A suite is worth what it notices. Each change is one line of a copy of the package: a comparison, an
operator, a number, a truth value. The tests of its folder or file run on the copy until one fails. What
survives them is run with the rows that have the mark `full` too, which tells whether the covering arrays
of `tests/laws/cases.py` miss something that the whole matrices would find.

    python -m tests.mutations --number 40 --seed 0
    python -m tests.mutations --parts standing.py results/intervals.py

A change takes about a minute if it is noticed and several if not, on 2 CPU cores; with the rows that have
the mark `full` (`--no-whole` leaves them out) half an hour. Some survive for good
reasons: a number that only makes a search quicker, an error's words, a branch for a GPU.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tests import ROOT

LAYERS = "kernels laws wrappers models/test_explanation.py test_gpu.py"
ORACLE = "oracle tuner search/test_first_trials.py search/test_tune.py test_damage.py"
RECORDS = (
    "test_standing.py test_comparison.py test_records.py test_journal.py terminal results mlflow_store "
    "search/test_tune.py"
)
TESTS = {
    "rewrites": LAYERS,
    "kernels": LAYERS,
    "wrappers": LAYERS,
    "oracle": ORACLE,
    **dict.fromkeys(
        ("hyperparameters.py", "encoding.py", "optuna_forms.py"),
        f"test_hyperparameters.py {ORACLE}",
    ),
    **dict.fromkeys(("events.py", "records.py", "journal.py"), RECORDS),
    "standing.py": "test_standing.py test_comparison.py terminal",
    "results/intervals.py": "results/test_intervals.py results/test_tune_result.py",
    "results": "results test_standing.py",
}
"""The tests of each folder or file."""

OPERATORS = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.Div: "*",
    ast.And: "or",
    ast.Or: "and",
}


@dataclass(frozen=True)
class Mutation:
    """One line of the package, and what it becomes."""

    path: str
    line: int
    before: str
    after: str


def mutations(path: Path) -> list[Mutation]:
    """Every change of one line of a file."""
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    found = []
    for node in ast.walk(_without_annotations(ast.parse(text))):
        for start, end, new in _changes(node):
            if start[0] != end[0]:
                continue
            old = lines[start[0] - 1]
            after = old[: start[1]] + new(old[start[1] : end[1]]) + old[end[1] :]
            if after != old:
                found.append(Mutation(str(path.relative_to(ROOT)), start[0], old, after))
    return found


def _without_annotations(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, None)
    return tree


def _changes(node):
    """The places of a node that can change: where they begin and end, and what stands there then."""
    if isinstance(node, ast.Constant) and type(node.value) in (bool, int):
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield *_place(node, node), lambda _: repr(value)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
        yield _between(node.left, node.comparators[0], OPERATORS[type(node.ops[0])])
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield _between(node.left, node.right, OPERATORS[type(node.op)])
    if isinstance(node, ast.BoolOp):
        yield _between(node.values[0], node.values[1], OPERATORS[type(node.op)])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield *_place(node, node), lambda old: f"({old.removeprefix('not ')})"


def _place(first, last):
    return (first.lineno, first.col_offset), (last.end_lineno, last.end_col_offset)


def _between(left, right, operator):
    """Brackets stay where they are: only the operator between two operands is another one."""
    start, end = (left.end_lineno, left.end_col_offset), (right.lineno, right.col_offset)

    def new(old):
        closing, opening = old.count(")"), old.count("(")
        return ")" * closing + f" {operator} " + "(" * opening

    return start, end, new


def files(part: Path) -> list[Path]:
    """Lists the files of a folder, or the one file."""
    return [part] if part.is_file() else sorted(part.rglob("*.py"))


def run(copy: Path, tests: str, marks: str) -> bool:
    """Whether a test fails on the copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "2", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-m", marks, *(f"tests/{name}" for name in tests.split())],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
    )
    return done.returncode != 0


def main() -> None:
    """Tries a number of changes, and writes down which ones were noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=TESTS, default=list(TESTS))
    parser.add_argument("--whole", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    each = {
        part: [m for path in files(ROOT / "recdrop_tune" / part) for m in mutations(path)]
        for part in arguments.parts
    }
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        for number in range(arguments.number):
            part = arguments.parts[number % len(arguments.parts)]
            mutation = chance.choice(each[part])
            shutil.rmtree(copy, ignore_errors=True)
            ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", "site", "recdrop_runs")
            shutil.copytree(ROOT, copy, ignore=ignored)
            changed = (copy / mutation.path).read_text(encoding="utf-8").split("\n")
            changed[mutation.line - 1] = mutation.after
            (copy / mutation.path).write_text("\n".join(changed), encoding="utf-8")
            lean = run(copy, TESTS[part], "not heavy and not full")
            whole = lean or (arguments.whole and run(copy, TESTS[part], "full and not heavy"))
            rows.append({**asdict(mutation), "lean": lean, "whole": whole})
            word = (
                "noticed" if lean else "noticed by the whole matrix alone" if whole else "survives"
            )
            print(
                f"{mutation.path}:{mutation.line}: {word}\n  - {mutation.before.strip()}\n"
                f"  + {mutation.after.strip()}",
                flush=True,
            )
            if arguments.out:
                arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    noticed = [sum(row[kind] for row in rows) for kind in ("lean", "whole")]
    print(
        f"Of {len(rows)} changes {noticed[0]} are noticed, and {noticed[1]} with the whole matrices."
    )


if __name__ == "__main__":
    main()
