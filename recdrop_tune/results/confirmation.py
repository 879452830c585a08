"""The confirmation: the best configurations trained again with the same fresh seeds, so gains are paired.

There are two gains. The gain over the *twin*, the same configuration without dropout, shows what dropout is
worth at these settings. The gain over the best configuration without dropout that the search found shows what
the search is worth: a better learning rate can be part of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recdrop_tune.errors import ProjectError, shown
from recdrop_tune.files import JOURNAL, trial_folder
from recdrop_tune.oracle import (
    Configuration,
    first_value,
    has_dropout,
    objectives,
    ranked,
    twin_among,
    twin_of,
)
from recdrop_tune.results.intervals import PairedGain, paired_gains
from recdrop_tune.results.stored import StoredSearch
from recdrop_tune.results.verdict import (
    FOUND_GAIN,
    GAIN,
    NUMBERS,
    Judgement,
    brief,
    verdict,
)
from recdrop_tune.standing import has_wrapper
from recdrop_tune.tuner import load_weights, readable

CONFIRMED = "confirmed"
"""The subfolder of a project for the weights of confirmed configurations."""

FOUND, TWIN = "found", "twin"
"""The kinds of configurations: tried by the search, or the twin of such a one."""


@dataclass(frozen=True)
class Confirmation:
    """The best configurations, their twins and the baselines, each trained again with the same fresh seeds.

    Attributes:
        runs: One row for each training. Columns: `trial_id`, `number`, `kind` (`"found"`, or `"twin"` of
            the trial), `repeat`, `seed`, `best_epoch`, `seconds`, the objective, the other metrics at the
            best epoch, those on the test data as `test_...`, and `message`, the error of a failed training.
        table: One row for each configuration, the best mean first. Columns: `trial_id`, `number`, `kind`
            (`"found"` by the search, or the `"twin"` of that trial if the search has not tried it), the
            active hyperparameters, `search` (the score in the search), `n`
            (trainings), `mean` and `std` of the objective; `gain` (over the twin; positive is better),
            `gain_low` and `gain_high` (its 95 % interval), and `found_gain` with its interval, over the best
            configuration without dropout that the search found. The intervals of each gain hold for all
            configurations together. With test data, the same for the objective on them: `test_loss`,
            `test_loss_std`, `test_gain`, ...; and the means of the other test metrics. With several
            objectives, the same for each after the first: `ms_per_step`, `ms_per_step_std`,
            `ms_per_step_gain`, ...
        verdict: The conclusion, in a few sentences.
        outcome: Whether dropout `"helped"`, `"hurt"`, or that is `"not known"`: the best configuration with
            dropout against its twin, by the 95 % interval of the gain. With test data it is that on them.
        best_id: The trial with the best mean, among those that the search has tried.
        dropping_id: The trial with dropout that has the best mean, which `outcome` is about; `None` without
            such a trial.
    """

    runs: pd.DataFrame
    table: pd.DataFrame
    verdict: str
    outcome: str
    best_id: str
    dropping_id: str | None

    @property
    def found(self) -> pd.DataFrame:
        """The rows of the configurations that the search has tried."""
        return self.table[self.table["kind"] == FOUND]

    @property
    def best(self) -> pd.Series[Any]:
        """The row of the best configuration."""
        return self.row(self.best_id)

    def row(self, trial_id: str) -> pd.Series[Any]:
        """Returns the row of the table for the configuration of a trial.

        Args:
            trial_id: The trial.
        """
        return self.found[self.found["trial_id"] == trial_id].iloc[0]

    def model_of(self, trial_id: str, tuner: Any) -> Any:
        """Builds the model of a confirmed trial, with the weights of its best confirmed training.

        Args:
            trial_id: The trial.
            tuner: The tuner of the search.
        """
        folder = trial_folder(Path(tuner.project_dir) / CONFIRMED, trial_id, JOURNAL)
        model = tuner.hypermodel.build(tuner.oracle.trials[trial_id].hyperparameters)
        return load_weights(folder, model)

    def brief(self) -> pd.DataFrame:
        """Returns the table for people: settings that vary, means with spreads, gains with intervals."""
        return brief(self.table)

    def text(self) -> str:
        """Writes the table for a terminal."""
        return str(self.brief().to_string(index=False))


def confirmation_of(search: StoredSearch) -> Confirmation | None:
    """Gathers the confirmation of a search; `None` if no confirmed training succeeded.

    Raises:
        ProjectError: The journal names a trial that the search does not have.
    """
    oracle, runs = search.oracle, _runs(search)
    if runs.empty:
        return None
    group = _Group(oracle, runs)
    table = _table(group)
    if not (table["kind"] == FOUND).any():
        return None
    judged = [_judgement(group, table, goal) for goal in objectives(oracle.objective)]
    words, outcome = verdict(judged)
    best_id = str(table["trial_id"][table["kind"] == FOUND].iloc[0])
    return Confirmation(runs, table, words, outcome, best_id, judged[0].dropping_id)


def _runs(search: StoredSearch) -> pd.DataFrame:
    """Returns one row for each training of the confirmation; see `Confirmation.runs`."""
    oracle = search.oracle
    name = objectives(oracle.objective)[0].name
    rows: dict[tuple[str, bool, int], dict[str, Any]] = {}
    for each in search.records.confirmations:
        known = each.trial_id in oracle.trials and each.trial_id in oracle.start_order
        if not known or (
            each.twin and twin_of(oracle.trials[each.trial_id].hyperparameters) is None
        ):
            raise ProjectError(
                f"`{Path(search.project_dir, JOURNAL)}` is damaged: it has a confirmation of the "
                f"trial {shown(each.trial_id)}, which the search does not have."
            )
        # A training that was repeated after a failure replaces the failed one.
        rows[each.trial_id, each.twin, each.repeat] = {
            "trial_id": each.trial_id,
            "number": oracle.start_order.index(each.trial_id),
            "kind": TWIN if each.twin else FOUND,
            "repeat": each.repeat,
            "seed": each.seed,
            "best_epoch": each.best_epoch,
            "seconds": each.seconds,
            name: each.score,
            **each.metrics,
            "message": each.message,
        }
    leading = ["trial_id", "number", "kind", "repeat", "seed", "best_epoch", "seconds", name]
    extra = [key for row in rows.values() for key in row if key not in (*leading, "message")]
    columns = [*leading, *dict.fromkeys(extra), "message"]
    frame = pd.DataFrame(list(rows.values()), columns=columns)
    types = dict.fromkeys(columns, "Float64")
    types |= dict.fromkeys(("trial_id", "kind", "message"), "string")
    types |= dict.fromkeys(("number", "repeat", "seed", "best_epoch"), "Int64")
    return frame.astype(types).sort_values(["repeat", "number", "kind"]).reset_index(drop=True)


class _Group:
    """The configurations that were confirmed together, and the pairs to compare.

    Args:
        oracle: The oracle of the search.
        runs: The trainings.
    """

    def __init__(self, oracle: Any, runs: pd.DataFrame) -> None:
        self.oracle = oracle
        self.runs = runs.assign(key=[_key(each) for each in _configurations(runs)])
        scored = self.runs.dropna(subset=[objectives(oracle.objective)[0].name])
        self.configurations: list[Configuration] = list(dict.fromkeys(_configurations(scored)))
        there = {each[0] for each in self.configurations if not each[1]}
        self.dropping = [id for id in there if has_dropout(oracle.trials[id].hyperparameters)]
        self.pairs: dict[str, list[tuple[str, str]]] = {GAIN: [], FOUND_GAIN: []}
        without = self.best_without()
        for trial_id in sorted(self.dropping):
            twin = twin_among(oracle, oracle.trials[trial_id], self.configurations)
            if twin is not None:
                self.pairs[GAIN].append((trial_id, _key(twin)))
            if without is not None:
                self.pairs[FOUND_GAIN].append((trial_id, without))

    def best_without(self) -> str | None:
        """Returns the best confirmed trial without dropout, `None` if no such trial was confirmed."""
        for trial in ranked(self.oracle):
            plain = has_wrapper(readable(trial.hyperparameters), "none")
            if plain and (trial.trial_id, False) in self.configurations:
                return str(trial.trial_id)
        return None

    def scores(self, metric: str) -> pd.DataFrame:
        """Returns the values of a metric: a row for each seed, a column for each configuration."""
        # A user-defined `fit` can report only the first objective.
        known = self.runs.reindex(columns=["repeat", "key", metric])
        return known.pivot(index="repeat", columns="key", values=metric)

    def gains(self, kind: str, metric: str, direction: str) -> dict[str, PairedGain]:
        """Returns the gains of one kind by configuration. Their intervals hold together."""
        pairs = self.pairs[kind]
        found = paired_gains(self.scores(metric), pairs, direction)
        return {own: gain for (own, _), gain in zip(pairs, found, strict=True)}


def _table(group: _Group) -> pd.DataFrame:
    """Makes `Confirmation.table`: each objective has its columns, and those on the test data."""
    first, *others = goals = objectives(group.oracle.objective)
    rows = {_key(each): _about(group.oracle, *each) for each in group.configurations}
    # The metric, its direction, the columns of its mean and spread, and the prefix of its gains' columns.
    scored = [(first.name, first.direction, "mean", "std", "")]
    tests = [(goal, test) for goal in goals if (test := _on_test(goal.name, group.runs))]
    for goal, name in (*((goal, goal.name) for goal in others), *tests):
        prefix = "test_" if goal is first else f"{name}_"
        scored.append((name, goal.direction, name, f"{name}_std", prefix))
    tail = list[str]()
    for metric, direction, mean, std, prefix in scored:
        scores = group.scores(metric)
        gains = {kind: group.gains(kind, metric, direction) for kind in group.pairs}
        for key, row in rows.items():
            values = scores[key].dropna().astype(float)
            found = {mean: values.mean(), std: values.std(ddof=1)}
            for kind, by_key in gains.items():
                gain = by_key.get(key, PairedGain(math.nan, math.nan, math.nan))
                name = f"{prefix}{kind}"
                found |= {name: gain.gain, f"{name}_low": gain.low, f"{name}_high": gain.high}
            row |= found if prefix else {"n": len(values), **found}
            tail += found if prefix else []
    metrics = {metric for metric, *_ in scored}
    for name in map(str, group.runs):
        if name.startswith("test_") and name not in metrics:
            tail.append(name)
            for key, row in rows.items():
                own = group.runs.loc[group.runs["key"] == key, name]
                row[name] = float(own.astype(float).mean())
    settings = [name for row in rows.values() for name in row if name not in (*NUMBERS, *tail)]
    columns = dict.fromkeys(["trial_id", "number", "kind", *settings, *NUMBERS, *tail])
    frame = pd.DataFrame(list(rows.values()), columns=list(columns))
    ascending = first.direction != "max"
    return frame.sort_values("mean", ascending=ascending, kind="stable").reset_index(drop=True)


def _judgement(group: _Group, table: pd.DataFrame, goal: Any) -> Judgement:
    """Gathers what the verdict needs about one objective."""
    first = objectives(group.oracle.objective)[0]
    column = "mean" if goal is first else goal.name
    found = table[table["kind"] == FOUND].sort_values(
        column, ascending=goal.direction != "max", kind="stable"
    )
    dropping = [str(id) for id in found["trial_id"] if id in group.dropping]
    lead = dropping[0] if dropping else None
    metric = _on_test(goal.name, group.runs) or goal.name
    runs = group.runs[(group.runs["kind"] == TWIN) & (group.runs["trial_id"] == (lead or ""))]
    return Judgement(
        objective=goal.name,
        metric=metric,
        direction=goal.direction,
        scores=group.scores(metric),
        pairs=group.pairs[GAIN],
        gains=group.gains(GAIN, metric, goal.direction),
        found_gains=group.gains(FOUND_GAIN, metric, goal.direction),
        best_id=str(found["trial_id"].iloc[0]) if len(found) else None,
        dropping_id=lead,
        without_id=group.best_without(),
        failure=next(iter(runs["message"].dropna()), None),
    )


def _on_test(objective: str, runs: pd.DataFrame) -> str | None:
    """Returns the name of an objective on the test data; `None` without test data."""
    name = f"test_{objective.removeprefix('val_')}"
    return name if name in runs and runs[name].notna().any() else None


def _configurations(runs: pd.DataFrame) -> list[Configuration]:
    return [
        (str(id), kind == TWIN) for id, kind in zip(runs["trial_id"], runs["kind"], strict=True)
    ]


def _key(configuration: Configuration) -> str:
    trial_id, twin = configuration
    return f"{trial_id} {TWIN}" if twin else trial_id


def _about(oracle: Any, trial_id: str, twin: bool) -> dict[str, Any]:
    trial = oracle.trials[trial_id]
    hyperparameters = twin_of(trial.hyperparameters) if twin else trial.hyperparameters
    values = readable(hyperparameters)
    active = {name: value for name, value in values.items() if value is not None}
    return {
        "trial_id": trial_id,
        "number": oracle.start_order.index(trial_id),
        "kind": TWIN if twin else FOUND,
        **active,
        "search": math.nan if twin else first_value(trial, oracle.objective),
    }
