"""`recdrop-tune list`: the searches of a folder, one row each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from recdrop_tune.errors import RecdropError, plain
from recdrop_tune.standing import format_number

if TYPE_CHECKING:
    import pandas as pd


@click.command("list")
@click.argument("directories", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path))
def searches(directories: tuple[Path, ...]) -> None:
    """Lists searches, for each objective the best first.

    DIR is a project folder, or a folder that contains some; by default recdrop_runs. Loads no TensorFlow.
    Gains are those of the best trial with dropout over its twin, the same settings without dropout.
    """
    from recdrop_tune.comparison import compare

    try:
        frame = compare(*directories)
    except OSError as error:
        raise RecdropError(str(error)) from None
    if frame.empty:
        raise RecdropError(
            "There is no search; `recdrop-tune report` shows a comparison of models."
        )
    # A stranger's folder cannot print control sequences or further lines.
    click.echo(plain(_table(frame)))


def _table(frame: pd.DataFrame) -> str:
    """Writes the searches without empty columns. The longest column comes last."""
    states = ["complete", "pruned", "failed"]
    table = frame.assign(
        trials=[_format_trials(*row) for row in frame[["trials", *states]].itertuples(index=False)],
        seconds=[_format_duration(seconds) for seconds in frame["seconds"]],
        began=frame["began"].dt.strftime("%Y-%m-%d %H:%M"),
    ).rename(columns={"seconds": "time"})
    table = table.drop(columns=states).dropna(axis="columns", how="all")
    table = table[sorted(table, key=lambda name: name == "data")]
    cells = table.astype(object).where(table.notna(), "-").map(_format_cell)
    return str(cells.to_string(index=False))


def _format_trials(trials: int, complete: int, pruned: int, failed: int) -> str:
    """Writes how many trials there are, and how many are not complete: `30 (6 pruned, 2 failed)`."""
    others = {"pruned": pruned, "failed": failed, "unfinished": trials - complete - pruned - failed}
    words = ", ".join(f"{number} {state}" for state, number in others.items() if number)
    return f"{trials} ({words})" if words else str(trials)


def _format_duration(seconds: float) -> str:
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _format_cell(value: object) -> str:
    return format_number(value) if isinstance(value, float) else " ".join(str(value).split())
