"""The confirmation: the best configurations trained again with the same fresh seeds, so gains are paired.

The gain of a configuration is over its *twin*, the same configuration without dropout. Over any other
configuration it would be that of a learning rate too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recdrop_tune.errors import ProjectError, shown
from recdrop_tune.files import JOURNAL, trial_folder
from recdrop_tune.oracle import (
    Configuration,
    configuration_name,
    first_value,
    has_dropout,
    objectives,
    twin_among,
    twin_of,
)
from recdrop_tune.records import Records
from recdrop_tune.results.intervals import NOT_KNOWN, Looks, PairedGain, paired_gains
from recdrop_tune.results.stored import StoredSearch
from recdrop_tune.results.verdict import NUMBERS, Judgement, brief, verdict
from recdrop_tune.terminal import dropout_words
from recdrop_tune.tuner import load_weights, readable

CONFIRMED = "confirmed"
"""The subfolder of a project for the weights of confirmed configurations."""


@dataclass(frozen=True)
class Confirmation:
    """The best configurations, their twins and the baselines, each trained again with the same fresh seeds.

    Attributes:
        runs: One row for each training. Columns: `trial_id`, `number`, `twin` (whether the twin of the trial
            was trained), `repeat`, `seed`, `best_epoch`, `seconds`, the objective, the other metrics at the
            best epoch, those on the test data as `test_...`, and `message`, the error of a failed training.
        table: One row for each configuration, the best mean first. Columns: `trial_id`, `number`, `twin`
            (whether it is the twin of that trial, which the search has not tried), the active
            hyperparameters, `search` (the score in the search), `n` (trainings with a score), `failed`
            (those without), `mean` and `std` of the objective; `gain` (over the twin; positive is better),
            `gain_low` and `gain_high` (its 95 % interval) and `outcome` (of this configuration). The
            intervals hold for all configurations together. With test data, the same for the objective on
            them: `test_loss`, `test_loss_std`, `test_gain`, ..., and `outcome` is on them; and the means of
            the other test metrics. With several objectives, the same for each after the first:
            `ms_per_step`, `ms_per_step_std`, `ms_per_step_gain`, ...
        verdict: The conclusion, in a few sentences.
        outcome: Whether dropout `"helped"` in one configuration at least, `"hurt"` in all, makes
            `"no difference"` larger than the margin, or that is `"not known"`. With test data it is that on
            them.
        best_id: The configuration with the best mean: a trial, or its twin as `<trial>_twin`.
        dropping_id: The trial with dropout that `verdict` is about first: the best mean of those that
            show the outcome; `None` without such a trial.
        gain: What its dropout is worth, corrected for the choice of the best; see `shrunk`. NaN without a
            twin.
        names: The configurations with dropout in words, by `trial_id`.
    """

    runs: pd.DataFrame
    table: pd.DataFrame
    verdict: str
    outcome: str
    best_id: str
    dropping_id: str | None
    gain: float
    names: Mapping[str, str]

    @property
    def ids(self) -> list[str]:
        """The ids of the configurations, the best mean first; those of twins end in `_twin`."""
        rows = zip(self.table["trial_id"], self.table["twin"], strict=True)
        return [configuration_name(each) for each in rows]

    @property
    def best(self) -> pd.Series[Any]:
        """The row of the best configuration."""
        return self.table.iloc[0]

    def row(self, name: str) -> pd.Series[Any]:
        """Returns the row of the table for a configuration.

        Args:
            name: One of `ids`.
        """
        return self.table.iloc[self.ids.index(name)]

    def model_of(self, trial: Any, tuner: Any) -> Any:
        """Builds the model of a confirmed configuration, with the weights of its best training.

        Args:
            trial: The trial, or its twin as one.
            tuner: The tuner of the search.
        """
        folder = trial_folder(Path(tuner.project_dir) / CONFIRMED, trial.trial_id, JOURNAL)
        return load_weights(folder, tuner.hypermodel.build(trial.hyperparameters))

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
    _check_trials(search)
    group = _Group(search.oracle, search.records)
    table = _table(group)
    if not len(table):
        return None
    judged = [group.judgement(goal) for goal in objectives(search.oracle.objective)]
    words, outcome = verdict(judged)
    best_id = configuration_name((table["trial_id"].iloc[0], bool(table["twin"].iloc[0])))
    runs, lead = group.runs.drop(columns="key"), judged[0].lead
    names = judged[0].names
    return Confirmation(runs, table, words, outcome, best_id, lead, judged[0].stated, names)


def open_configurations(oracle: Any, records: Records) -> list[Configuration]:
    """Returns the configurations that a further round should train.

    These are the pairs whose outcome is not known. There are none once a dropout is known to help.

    Args:
        oracle: The oracle of the search.
        records: Its records.
    """
    group = _Group(oracle, records)
    judged = group.judgement(objectives(oracle.objective)[0])
    if judged.outcome != NOT_KNOWN:
        return []
    keys = {
        key for pair in judged.pairs if judged.gains[pair[0]].outcome == NOT_KNOWN for key in pair
    }
    return [each for each in group.configurations if configuration_name(each) in keys]


def _check_trials(search: StoredSearch) -> None:
    for each in search.records.confirmations:
        known = each.trial_id in search.oracle.trials
        known = known and each.trial_id in search.oracle.start_order
        if not known or (
            each.twin and twin_of(search.oracle.trials[each.trial_id].hyperparameters) is None
        ):
            raise ProjectError(
                f"`{Path(search.project_dir, JOURNAL)}` is damaged: it has a confirmation of the "
                f"trial {shown(each.trial_id)}, which the search does not have."
            )


class _Group:
    """The trainings of a confirmation, with what is needed to compare them.

    Attributes:
        oracle: The oracle of the search.
        runs: One row for each training; see `Confirmation.runs`.
        configurations: What was trained.
        dropping: The trials with dropout among them.
        pairs: Each of these, and its twin.
    """

    def __init__(self, oracle: Any, records: Records) -> None:
        self.oracle = oracle
        self.runs = _runs(oracle, records)
        self._looks = Looks(
            sorted({each.seeds for each in records.rounds}),
            records.rounds[0].max_seeds if records.rounds else 1,
        )
        self._given_margin = records.rounds[-1].margin if records.rounds else None
        self.configurations: list[Configuration] = list(
            dict.fromkeys(zip(self.runs["trial_id"], self.runs["twin"], strict=True))
        )
        there = sorted(trial_id for trial_id, twin in self.configurations if not twin)
        self.dropping = [id for id in there if has_dropout(oracle.trials[id].hyperparameters)]
        self.pairs: list[tuple[str, str]] = []
        for trial_id in self.dropping:
            twin = twin_among(oracle, oracle.trials[trial_id], self.configurations)
            if twin is not None:
                self.pairs.append((trial_id, configuration_name(twin)))

    def scores(self, metric: str) -> pd.DataFrame:
        """Returns the values of a metric: a row for each seed, a column for each configuration.

        A training that failed has an infinite one; see `paired_gains`.
        """
        # A user-defined `fit` can report only the first objective.
        known = self.runs.reindex(columns=["repeat", "key", metric]).assign(failed=self.failed)
        known[metric] = known[metric].astype(float).mask(known["failed"], math.inf)
        table = known.pivot(index="repeat", columns="key", values=metric)
        return table.reindex(range(int(table.index.max()) + 1) if len(table) else [])

    @property
    def failed(self) -> pd.Series[bool]:
        """Which trainings have failed, or have a score that is no finite number."""
        score = self.runs[objectives(self.oracle.objective)[0].name].astype(float)
        return pd.Series(~np.isfinite(score), index=self.runs.index)

    def gains(self, metric: str, goal: Any) -> dict[str, PairedGain]:
        """Returns the gains by configuration. Their intervals hold together."""
        scores, margin = self.scores(metric), self.margin(metric, goal)
        found = paired_gains(scores, self.pairs, goal.direction, self._looks, margin)
        return {own: gain for (own, _), gain in zip(self.pairs, found, strict=True)}

    def margin(self, metric: str, goal: Any) -> float:
        """Returns the largest difference of a metric that does not matter."""
        first = objectives(self.oracle.objective)[0].name == goal.name
        if first and self._given_margin is not None:
            return self._given_margin
        without = self.scores(metric)[[key for _, key in self.pairs]].to_numpy()
        without = without[np.isfinite(without)]
        return abs(float(without.mean())) / 100 if len(without) else 0.0

    def judgement(self, goal: Any) -> Judgement:
        """Gathers what the verdict needs about one objective."""
        metric = self.on_test(goal.name) or goal.name
        failures = self.runs.dropna(subset=["message"]).groupby("key")["message"].first()
        means = self.scores(goal.name).replace(math.inf, math.nan).mean()
        order = means.dropna().sort_values(ascending=goal.direction != "max", kind="stable")
        return Judgement(
            objective=goal.name,
            metric=metric,
            order=[str(key) for key in order.index],
            names={id: _words(self.oracle, id) for id in self.dropping},
            pairs=self.pairs,
            gains=self.gains(metric, goal),
            margin=self.margin(metric, goal),
            messages={str(key): str(message) for key, message in failures.items()},
        )

    def on_test(self, objective: str) -> str | None:
        """Returns the name of an objective on the test data; `None` without test data."""
        name = f"test_{objective.removeprefix('val_')}"
        return name if name in self.runs and self.runs[name].notna().any() else None


def _runs(oracle: Any, records: Records) -> pd.DataFrame:
    """Returns one row for each training of the confirmation; see `Confirmation.runs`."""
    name = objectives(oracle.objective)[0].name
    rows = [
        {
            "trial_id": each.trial_id,
            "number": oracle.start_order.index(each.trial_id),
            "twin": each.twin,
            "repeat": each.repeat,
            "seed": each.seed,
            "best_epoch": each.best_epoch,
            "seconds": each.seconds,
            name: each.score,
            **each.metrics,
            "message": each.message,
            "key": configuration_name((each.trial_id, each.twin)),
        }
        for each in records.confirmations
    ]
    leading = ["trial_id", "number", "twin", "repeat", "seed", "best_epoch", "seconds", name]
    extra = [key for row in rows for key in row if key not in (*leading, "message", "key")]
    columns = [*leading, *dict.fromkeys(extra), "message", "key"]
    types = dict.fromkeys(columns, "Float64") | {"twin": "bool"}
    types |= dict.fromkeys(("trial_id", "message", "key"), "string")
    types |= dict.fromkeys(("number", "repeat", "seed", "best_epoch"), "Int64")
    frame = pd.DataFrame(rows, columns=columns).astype(types)
    # Lost results of a dead worker can be there twice.
    frame = frame.drop_duplicates(["key", "repeat"], keep="last")
    return frame.sort_values(["repeat", "number", "twin"]).reset_index(drop=True)


def _table(group: _Group) -> pd.DataFrame:
    """Makes `Confirmation.table`: each objective has its columns, and those on the test data."""
    first, *others = goals = objectives(group.oracle.objective)
    scored = set(group.runs["key"][~group.failed])
    there = [each for each in group.configurations if configuration_name(each) in scored]
    rows = {configuration_name(each): _about(group.oracle, *each) for each in there}
    # The goal, its metric, the columns of its mean and spread, and the prefix of its gains' columns.
    every = [(first, first.name, "mean", "std", "")]
    tests = [(goal, test) for goal in goals if (test := group.on_test(goal.name))]
    for goal, name in (*((goal, goal.name) for goal in others), *tests):
        prefix = "test_" if goal is first else f"{name}_"
        every.append((goal, name, name, f"{name}_std", prefix))
    tail = list[str]()
    for goal, metric, mean, std, prefix in every:
        scores, gains = group.scores(metric), group.gains(metric, goal)
        for key, row in rows.items():
            values = scores[key][np.isfinite(scores[key])]
            found: dict[str, Any] = {mean: values.mean(), std: values.std(ddof=1)}
            gain = gains.get(key)
            ends = (math.nan,) * 3 if gain is None else (gain.gain, gain.low, gain.high)
            found |= dict(
                zip((f"{prefix}gain{end}" for end in ("", "_low", "_high")), ends, strict=True)
            )
            if goal is first:
                row["outcome"] = None if gain is None else gain.outcome
            if not prefix:
                row |= {"n": len(values), "failed": int(np.isinf(scores[key]).sum())}
            row |= found
            tail += found if prefix else []
    metrics = {metric for _, metric, *_ in every}
    for name in map(str, group.runs):
        if name.startswith("test_") and name not in metrics:
            tail.append(name)
            for key, row in rows.items():
                own = group.runs.loc[group.runs["key"] == key, name]
                row[name] = float(own.astype(float).mean())
    settings = [name for row in rows.values() for name in row if name not in (*NUMBERS, *tail)]
    columns = dict.fromkeys(["trial_id", "number", "twin", *settings, *NUMBERS, *tail])
    frame = pd.DataFrame(list(rows.values()), columns=list(columns)).astype({"twin": bool})
    ascending = first.direction != "max"
    return frame.sort_values("mean", ascending=ascending, kind="stable").reset_index(drop=True)


def _about(oracle: Any, trial_id: str, twin: bool) -> dict[str, Any]:
    trial = oracle.trials[trial_id]
    hyperparameters = twin_of(trial.hyperparameters) if twin else trial.hyperparameters
    values = readable(hyperparameters)
    active = {name: value for name, value in values.items() if value is not None}
    return {
        "trial_id": trial_id,
        "number": oracle.start_order.index(trial_id),
        "twin": twin,
        **active,
        "search": math.nan if twin else first_value(trial, oracle.objective),
    }


def _words(oracle: Any, trial_id: str) -> str:
    """Names a configuration: `trial 3 (recurrent, recurrent, rate 0.3)`."""
    dropout = dropout_words(readable(oracle.trials[trial_id].hyperparameters))
    return f"trial {oracle.start_order.index(trial_id)} ({dropout})"
