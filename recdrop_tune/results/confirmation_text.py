"""The table of the confirmation as people read it: what varies, means with spreads, gains with intervals."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from recdrop_tune.tracking import amount, gained

GAIN, FOUND_GAIN = "gain", "found_gain"
"""The columns of the gain over the twin, and of that over the best found without dropout."""

NUMBERS = (
    *("kind", "search", "n", "mean", "std"),
    *(f"{name}{end}" for name in (GAIN, FOUND_GAIN) for end in ("", "_low", "_high")),
)


def columns_worth_showing(table: pd.DataFrame) -> list[str]:
    """Lists the columns of the table worth showing: what varies, and the numbers that there are.

    Args:
        table: One row for each configuration; see `confirmed_frame`.
    """
    known = table.dropna(axis="columns", how="all")
    names = [str(name) for name in known if name != "trial_id"]
    varying = [name for name in names if known[name].nunique(dropna=False) > 1]
    kept = [name for name in names if name in varying or name in NUMBERS]
    return ["number", *(name for name in kept if name != "number")]


def brief(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as text: a mean and its spread in one column, a gain and its interval in another.

    Args:
        table: One row for each configuration; see `confirmed_frame`.
    """
    columns = columns_worth_showing(table)
    numbers = [name for name in columns if name in NUMBERS or name not in _settings(table)]
    shown = table[[name for name in columns if name not in numbers]].astype(object)
    shown = shown.map(_shown).assign(kind=table["kind"], n=table["n"].astype(str))
    for name in numbers:
        ends = [f"{name}_low", f"{name}_high"]
        spread = "std" if name == "mean" else f"{name}_std"
        if ends[0] in table:
            shown[name] = [_interval(*each) for each in table[[name, *ends]].to_numpy()]
        elif spread in table:
            shown[name] = [_spread(*each) for each in table[[name, spread]].to_numpy()]
        elif not re.search(r"(_low|_high|std|^kind|^n)$", name):
            shown[name] = table[name].astype(object).map(_shown)
    # Where the twins are what the search has found, the two gains are one.
    names = [str(name) for name in shown if FOUND_GAIN in str(name)]
    same = [name for name in names if _is_same(shown, name)]
    return shown.drop(columns=same)


def _settings(table: pd.DataFrame) -> list[str]:
    """Lists the columns of trial and hyperparameters, which stand before the numbers."""
    names = [str(name) for name in table]
    return names[: names.index("search")]


def _shown(value: Any) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_same(shown: pd.DataFrame, name: str) -> bool:
    other = name.replace(FOUND_GAIN, GAIN)
    return other in shown and bool((shown[name] == shown[other]).all())


def _spread(mean: float, std: float) -> str:
    return "-" if pd.isna(mean) else f"{mean:.4f}" + ("" if pd.isna(std) else f" ± {std:.4f}")


def _interval(gain: float, low: float, high: float) -> str:
    if pd.isna(gain):
        return "-"
    return gained(gain) + ("" if pd.isna(low) else f" ({amount(low)} to {amount(high)})")
