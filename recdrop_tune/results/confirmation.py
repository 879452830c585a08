"""The confirmation: the best configurations trained again with the same fresh seeds, so gains are paired.

The gain of a configuration is over its *twin*, the same configuration without dropout. Over any other
configuration it would be that of a learning rate too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from recdrop_tune.errors import exception_line
from recdrop_tune.events import Configuration
from recdrop_tune.hyperparameters import drops
from recdrop_tune.records import Records
from recdrop_tune.results.frames import shown
from recdrop_tune.results.intervals import (
    HELPED,
    HURT,
    NO_DIFFERENCE,
    NOT_KNOWN,
    Looks,
    Pair,
    PairedGain,
    paired_gains,
    shrunk,
)
from recdrop_tune.standing import after_advice, amount, gained, train_longer, values_of
from recdrop_tune.terminal import dropout_words


@dataclass(frozen=True)
class Confirmation:
    """The best configurations, their twins and the baselines, each trained again with the same fresh seeds.

    Attributes:
        runs: One row for each training. Columns: `trial_id`, `number`, `twin` (whether the twin of the trial
            was trained), `dropout_of` (the trial whose dropout it had instead of its own), `repeat`, `seed`,
            `best_epoch`, `seconds`, the objective, the other metrics at the best epoch, those on the test
            data as `test_...`, and `message`, the error of a failed training.
        table: One row for each configuration, the recommended one first, then the best mean. Columns:
            `trial_id`, `number`, `twin` (whether it is the twin of that trial, which the search has not
            tried), `dropout_of` (the trial whose dropout it has instead of its own), the active
            hyperparameters (`hp/<name>` if another column has the name), `search` (the score in the search),
            `n` (trainings with a score), `failed` (those without), `epochs` (the most of a training), `mean`
            and `std` of the objective; `gain` (over the twin; positive is better), `gain_low` and `gain_high`
            (its 95 % interval), `worst` (the worst difference of a seed), `better` (the share of the seeds
            with which it is better) and `outcome` (of this configuration). The intervals hold for all
            configurations together. With test data, the same for the objective on them: `test_loss`,
            `test_loss_std`, `test_gain`, ..., and `worst`, `better` and `outcome` are on them; and the means
            of the other test metrics.
        verdict: The conclusion, in a few sentences.
        outcome: `"helped"` if dropout helped in at least one configuration; else `"not known"` if that is
            open for one, `"no difference"` if it makes none in one, and `"hurt"` otherwise. It is judged by
            the test data, if there are any.
        best_id: The recommended configuration: a trial, its twin as `<trial>_twin`, or the trial with the
            dropout of another one as `<trial>_with_<other>`. Among those that are not known to be worse than
            the best mean, one whose dropout is known to help comes first, then the best mean.
        dropping_id: The configuration with dropout that `verdict` is about first: the recommended one or, if
            that has none, the best mean of those that show the outcome; `None` without any.
        gain: What its dropout is worth, corrected for the choice of the best; see `shrunk`. NaN without a
            twin.
        names: The configurations in words, by their ids.
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
        """The ids of the configurations, in the order of the table; see `best_id`."""
        return [each.name for each in _configurations(self.table)]

    @property
    def best(self) -> pd.Series[Any]:
        """The row of the recommended configuration."""
        return self.table.iloc[0]

    def row(self, name: str) -> pd.Series[Any]:
        """Returns the row of the table for a configuration.

        Args:
            name: One of `ids`.
        """
        return self.table.iloc[self.ids.index(name)]

    def trainings(self, name: str) -> pd.DataFrame:
        """Returns the rows of `runs` of a configuration.

        Args:
            name: One of `ids`.
        """
        return self.runs[[each.name == name for each in _configurations(self.runs)]]

    def brief(self) -> pd.DataFrame:
        """Returns the table for people: settings that vary, means with spreads, gains with intervals.

        All cells are text. Empty columns are left out.
        """
        table = self.table
        known = table.drop(columns="trial_id").dropna(axis="columns", how="all")
        settings = [*table][: [*table].index("search")]  # They come before the numbers.
        words: dict[str, list[str]] = {}
        for name in map(str, known):
            column, spread = known[name], "std" if name == "mean" else f"{name}_std"
            if name == "twin":
                words |= {name: ["twin" if each else "" for each in column]} if column.any() else {}
            elif name in settings and name != "number":
                if column.nunique(dropna=False) > 1:
                    words[name] = [shown(each, name) for each in column]
            elif f"{name}_low" in table:
                ends = zip(column, table[f"{name}_low"], table[f"{name}_high"], strict=True)
                words[name] = [
                    "-"
                    if pd.isna(gain)
                    else gained(gain)
                    + ("" if pd.isna(low) else f" ({amount(low)} to {amount(high)})")
                    for gain, low, high in ends
                ]
            elif name in ("search", "worst") or spread in table:
                spreads = table.get(spread, [math.nan] * len(table))
                words[name] = [
                    "-"
                    if pd.isna(mean)
                    else amount(mean) + ("" if pd.isna(std) else f" ± {amount(std)}")
                    for mean, std in zip(column, spreads, strict=True)
                ]
            elif not re.search(r"(_low|_high|std)$", name) and (name != "failed" or column.any()):
                words[name] = [shown(each) for each in column]
        # They are about the gains before them: on the test data, if there are any.
        words |= {name: words.pop(name) for name in _JUDGED if name in words}
        return pd.DataFrame(words)

    def text(self) -> str:
        """Writes the table for a terminal."""
        return str(self.brief().to_string(index=False))


def confirmation_of(records: Records) -> Confirmation | None:
    """Gathers the confirmation of a search; `None` if no confirmed training succeeded."""
    group = _Group(records)
    if group.failed.all():
        return None
    judged = group.judgement()
    return Confirmation(
        group.runs.drop(columns="key"),
        _table(group, judged),
        verdict(judged),
        judged.outcome,
        str(judged.best),
        judged.lead,
        judged.stated,
        judged.names,
    )


def in_question(records: Records) -> list[Configuration]:
    """Returns what the next round should train; none once the outcome of the best mean is known.

    These are the pairs whose outcome is not known, and the best mean. If that has no dropout while dropout
    helped elsewhere, a combination of both joins them, once in a confirmation.
    """
    group = _Group(records)
    judged = group.judgement()
    pairs = [each for each in judged.pairs if judged.outcome_of(each[0]) == NOT_KNOWN]
    if judged.order and judged.outcome_of(judged.order[0]) not in (None, NOT_KNOWN):
        pairs = []
    combination = group.combination(judged)
    if not pairs and combination is None:
        return []
    names = {*judged.order[:1], *(name for pair in pairs for name in pair)}
    wanted = [each for each in group.configurations if each.name in names]
    return wanted if combination is None else [*wanted, combination]


class _Group:
    """The trainings of a confirmation, and its `pairs`: each configuration with dropout, and its twin."""

    def __init__(self, records: Records) -> None:
        self.records, self.objective = records, records.objective
        self.runs = _runs(records)
        self._looks = Looks(
            sorted({each.seeds for each in records.rounds}),
            records.rounds[0].max_seeds if records.rounds else 1,
        )
        self.epochs, self.advice = records.epochs, train_longer(records)
        self._given_margin = records.rounds[-1].margin if records.rounds else None
        self.configurations = list(dict.fromkeys(_configurations(self.runs)))
        self.combined = [each for each in self.configurations if each.dropout_of]
        self.dropping: list[str] = []
        self.pairs: list[tuple[str, str]] = []
        for each in sorted(self.configurations, key=lambda each: each.name):
            if drops(values_of(records, each)):
                self.dropping.append(each.name)
                # Any dropout has the same twin.
                twin = self._same(Configuration(each.trial_id, twin=True))
                if twin is not None:
                    self.pairs.append((each.name, twin.name))

    def _same(self, wanted: Configuration) -> Configuration | None:
        """Finds the configuration that has the same values as another one."""
        values = values_of(self.records, wanted)
        same = (each for each in self.configurations if values_of(self.records, each) == values)
        return next(same, None)

    def scores(self, metric: str) -> pd.DataFrame:
        """Returns the values of a metric: a row for each seed, a column for each configuration.

        A training that failed has an infinite one; see `paired_gains`.
        """
        known = self.runs[["repeat", "key", metric]].assign(failed=self.failed)
        known[metric] = known[metric].astype(float).mask(known["failed"], math.inf)
        table = known.pivot(index="repeat", columns="key", values=metric)
        return table.reindex(range(int(table.index.max()) + 1) if len(table) else [])

    @property
    def failed(self) -> pd.Series[bool]:
        """Which trainings have failed, or have a score that is no finite number."""
        score = self.runs[self.objective].astype(float)
        return pd.Series(~np.isfinite(score.to_numpy()), index=self.runs.index, dtype=bool)

    def gains(self, metric: str) -> dict[str, PairedGain]:
        """Returns the gains by configuration. Their intervals hold together.

        A combined configuration joins after another one is known to have helped, and takes over that one's
        share of the chance of an error.
        """
        number = len(self.pairs) - len(self.combined)
        found = self._compared(metric, self.pairs, self.margin(metric), number)
        return {own: gain for (own, _), gain in zip(self.pairs, found, strict=True)}

    def _compared(self, metric: str, pairs: Sequence[Pair], *how: Any) -> list[PairedGain]:
        scores, direction = self.scores(metric), self.records.direction
        return paired_gains(scores, pairs, direction, self._looks, *how)

    def combination(self, judged: Judgement) -> Configuration | None:
        """Returns the best mean, if that has no dropout, with the best dropout that helped elsewhere."""
        helped = [key for key in judged.order if judged.outcome_of(key) == HELPED]
        if self.combined or not helped or judged.order[0] in judged.dropping:
            return None
        best, donor = (Configuration.named(each).trial_id for each in (judged.order[0], helped[0]))
        found = Configuration(best, dropout_of=donor)
        return None if self._same(found) else found

    def margin(self, metric: str) -> float:
        """Returns the largest difference of a metric that does not matter."""
        if self._given_margin is not None:
            return self._given_margin
        without = self.scores(metric)[[key for _, key in self.pairs]].to_numpy()
        without = without[np.isfinite(without)]
        return abs(float(without.mean())) / 100 if len(without) else 0.0

    def judgement(self) -> Judgement:
        """Gathers what the verdict needs."""
        name = self.objective
        metric = self.test_metric or name
        failures = self.runs.dropna(subset=["message"]).groupby("key")["message"].first()
        means = comparable_means(self.scores(name).replace(math.inf, math.nan))
        ascending = self.records.direction != "max"
        means = means.dropna().sort_values(ascending=ascending, kind="stable")
        order = [str(key) for key in means.index]
        compared = self._compared(name, [(key, order[0]) for key in order[1:]])
        worse = [key for key, gain in zip(order[1:], compared, strict=True) if gain.outcome == HURT]
        return Judgement(
            objective=name,
            metric=metric,
            order=order,
            worse=worse,
            names={each.name: _words(self.records, each) for each in self.configurations},
            dropping=self.dropping,
            pairs=self.pairs,
            gains=self.gains(metric),
            margin=self.margin(metric),
            messages={str(key): str(message) for key, message in failures.items()},
            advice=self.advice,
            seeds=dict(zip(self.runs["repeat"], self.runs["seed"], strict=True)),
        )

    @property
    def test_metric(self) -> str | None:
        """The name of the objective on the test data; `None` without test data."""
        name = f"test_{self.objective.removeprefix('val_')}"
        return name if name in self.runs and self.runs[name].notna().any() else None


def comparable_means(scores: pd.DataFrame) -> pd.Series[float]:
    """Returns the mean of each column as if all had been trained with all seeds; NaN for one without scores.

    Later rounds leave some out, and their seeds can be harder. The effect of each seed is
    subtracted.
    """
    everywhere = scores.dropna(axis=1, how="all").dropna()
    added = (scores - everywhere.mean()).mean(axis=1).fillna(0.0)
    return scores.sub(added, axis=0).mean() + added.mean()


def _runs(records: Records) -> pd.DataFrame:
    """Returns one row for each training of the confirmation; see `Confirmation.runs`."""
    name = records.objective
    rows = [
        {
            "trial_id": each.trial_id,
            "number": records.trials[each.trial_id].number,
            "twin": each.twin,
            "dropout_of": each.dropout_of,
            "repeat": each.repeat,
            "seed": each.seed,
            "best_epoch": each.best_epoch,
            "seconds": each.seconds,
            name: each.score,
            **each.metrics,
            "message": each.message,
            "key": each.configuration.name,
        }
        for each in records.confirmations
    ]
    leading = ["trial_id", "number", "twin", "dropout_of", "repeat", "seed"]
    leading += ["best_epoch", "seconds", name]
    extra = [key for row in rows for key in row if key not in (*leading, "message", "key")]
    columns = [*leading, *dict.fromkeys(extra), "message", "key"]
    types = dict.fromkeys(columns, "Float64") | {"twin": "bool"}
    types |= dict.fromkeys(("trial_id", "dropout_of", "message", "key"), "string")
    types |= dict.fromkeys(("number", "repeat", "seed", "best_epoch"), "Int64")
    frame = pd.DataFrame(rows, columns=columns).astype(types)
    # Lost results of a dead worker can be there twice.
    frame = frame.drop_duplicates(["key", "repeat"], keep="last")
    return frame.sort_values(["repeat", "number", "key"]).reset_index(drop=True)


def _configurations(frame: pd.DataFrame) -> list[Configuration]:
    """Returns the configuration of each row."""
    columns = frame[["trial_id", "twin", "dropout_of"]].astype(object)
    columns = columns.where(columns.notna(), None)
    return [Configuration(*row) for row in columns.itertuples(index=False)]


def _table(group: _Group, judged: Judgement) -> pd.DataFrame:
    """Makes `Confirmation.table`: columns for the objective, and for the objective on the test data."""
    scored = set(group.runs["key"][~group.failed])
    there = [each for each in group.configurations if each.name in scored]
    rows = {each.name: _about(group.records, each) for each in there}
    leading = ["trial_id", "number", "twin", "dropout_of"]
    settings = [name for row in rows.values() for name in row if name not in (*leading, "search")]
    columns = [*leading, *dict.fromkeys(settings), "search"]
    frame = pd.DataFrame(list(rows.values()), list(rows), columns)
    frame = frame.astype({"twin": "bool", "dropout_of": "string"})
    test = group.test_metric
    for metric in (group.objective, *([test] if test else ())):
        scores, gains = group.scores(metric), group.gains(metric)
        finite = scores[np.isfinite(scores)]
        if metric == test:
            mean, std, prefix = metric, f"{metric}_std", "test_"
        else:
            frame["n"], frame["failed"] = finite.count(), np.isinf(scores).sum()
            frame["epochs"] = pd.Series(group.epochs, frame.index, "Int64")
            mean, std, prefix = "mean", "std", ""
        frame[mean], frame[std] = finite.mean(), finite.std()
        for end in ("gain", "low", "high"):
            column = f"{prefix}gain" if end == "gain" else f"{prefix}gain_{end}"
            ends = {key: getattr(gain, end) for key, gain in gains.items()}
            frame[column] = pd.Series(ends, dtype=float)
        for name, kind in _JUDGED.items():
            values = {key: getattr(gain, name) for key, gain in gains.items()}
            frame[name] = pd.Series(values, dtype=kind)
    for name in map(str, group.runs):
        if name.startswith("test_") and name not in frame:
            frame[name] = group.runs.groupby("key")[name].mean().astype(float)
    order = sorted(judged.order, key=lambda key: key != judged.best)
    return frame.loc[order].reset_index(drop=True)


_JUDGED = {"worst": float, "better": float, "outcome": str}
"""Columns of `Confirmation.table` about the metric that is judged."""

_COLUMNS = {
    *("trial_id", "number", "twin", "dropout_of", "search", "n", "failed", "epochs"),
    *("mean", "std", "gain", "gain_low", "gain_high", *_JUDGED),
}
"""Columns of `Confirmation.table`; a hyperparameter of the same name is in the column `hp/<name>`."""


def _about(records: Records, configuration: Configuration) -> dict[str, Any]:
    trial = records.trials[configuration.trial_id]
    values = {
        f"hp/{key}" if key in _COLUMNS else key: value
        for key, value in values_of(records, configuration).items()
    }
    score = None if configuration.suffix or trial.ended is None else trial.ended.score
    return {
        **configuration._asdict(),
        "number": trial.number,
        **values,
        "search": math.nan if score is None else score,
    }


def _words(records: Records, configuration: Configuration) -> str:
    """Names a configuration: `trial 3 (recurrent, recurrent, rate 0.3)`."""
    name = f"trial {records.trials[configuration.trial_id].number}"
    if configuration.dropout_of is not None:
        other = _words(records, Configuration(configuration.dropout_of))
        return f"{name} with the dropout of {other}"
    values = values_of(records, configuration)
    if not drops(values):
        return f"{name} without {'its ' * configuration.twin}dropout"
    return f"{name} ({dropout_words(values)})"


@dataclass(frozen=True)
class Judgement:
    """The results of a confirmation, by the names of configurations.

    Attributes:
        objective: The metric of the means.
        metric: The metric of the gains: the objective, on the test data if given.
        order: The configurations with a score, the best mean first.
        worse: Those that are known to be worse than the first: by intervals like those of the gains.
        names: All in words.
        dropping: Those with dropout.
        pairs: Each of them, and its twin.
        gains: Their gains over the twins.
        margin: The largest difference that does not matter.
        messages: The error of a failed training.
        advice: See `train_longer`.
        seeds: The seed of each row of the scores.
    """

    objective: str
    metric: str
    order: Sequence[str]
    worse: Sequence[str]
    names: Mapping[str, str]
    dropping: Sequence[str]
    pairs: Sequence[Pair]
    gains: Mapping[str, PairedGain]
    margin: float
    messages: Mapping[str, str]
    advice: str | None
    seeds: Mapping[int, int]

    def outcome_of(self, key: str) -> str | None:
        """Returns the outcome of a configuration; `None` for one without dropout."""
        return self.gains[key].outcome if key in self.gains else None

    @property
    def outcome(self) -> str:
        """The outcome of all configurations together."""
        every = {each.outcome for each in self.gains.values()}
        if HELPED in every:
            return HELPED
        if NOT_KNOWN in every or not every:
            return NOT_KNOWN
        return NO_DIFFERENCE if NO_DIFFERENCE in every else HURT

    @property
    def best(self) -> str | None:
        """The recommended configuration; `None` if all trainings failed. See `Confirmation.best_id`."""
        rivals = [key for key in self.order if key not in self.worse]
        helped = [key for key in rivals if self.outcome_of(key) == HELPED]
        return next(iter([*helped, *rivals]), None)

    @property
    def lead(self) -> str | None:
        """The configuration with dropout that the verdict is about first; see `Confirmation.dropping_id`."""
        if self.best in self.dropping:
            return self.best
        there = [key for key in self.order if key in self.dropping]
        paired = [key for key in there if key in self.gains]
        shows = [key for key in paired if self.outcome_of(key) == self.outcome]
        return next(iter([*shows, *paired, *there]), None)

    @property
    def stated(self) -> float:
        """The gain of `lead`, as it is right on average; the mean difference if there is no interval."""
        lead = self.lead
        if lead is None or lead not in self.gains:
            return math.nan
        stated = dict(zip(self.gains, shrunk(list(self.gains.values())), strict=True))
        return self.gains[lead].gain if math.isnan(stated[lead]) else stated[lead]


def verdict(judged: Judgement) -> str:
    """Writes the verdict."""
    return after_advice(judged.advice, " ".join([*_sentences(judged), *_failed(judged)]))


def _sentences(judged: Judgement) -> Iterator[str]:
    best, lead, first = str(judged.best), judged.lead, judged.order[0]
    yield _recommendation(judged, best, lead)
    if first != best:
        name = judged.names[first]
        yield (
            f"{name[0].upper()}{name[1:]} has the better mean {judged.objective}, but is not known to be "
            "better."
        )
    gain = None if lead is None else judged.gains.get(lead)
    if gain is None:
        return
    if (row := gain.far_off) is not None:
        off = gain.differences[row]
        how = f"{amount(abs(off))} {'worse' if off < 0 else 'better'}"
        seed, name = judged.seeds[row], judged.names[str(lead)]
        yield f"With seed {seed}, {name} is {how}, far from the other seeds."
    words = {HELPED: "It helped in", HURT: "It hurt in", NO_DIFFERENCE: "It makes no difference in"}
    words[NOT_KNOWN] = "It is not known of"
    for each, begin in words.items():
        others = [k for k, g in judged.gains.items() if g.outcome == each and k != lead]
        if others:
            too = " too" if each == gain.outcome else ""
            yield f"{begin} {', '.join(judged.names[key] for key in others)}{too}."


def _recommendation(judged: Judgement, best: str, lead: str | None) -> str:
    """Writes which configuration to use, and what its dropout is worth, or that of `lead`."""
    use, unknown = f"Use {judged.names[best]}", "whether dropout helped is not known"
    if lead is None:
        return f"{use}: {unknown}, because no configuration with dropout was completed."
    gain, name = judged.gains.get(lead), "it" if lead == best else judged.names[lead]
    if gain is None or math.isnan(gain.gain):
        return f"{use}: {unknown}, because {name} was not trained without its dropout."
    size = judged.stated
    change = f"{amount(abs(size))} {'worse' if size < 0 else 'better'}" if size else "no better"
    about = "about " if size and not math.isnan(gain.low) else ""
    if math.isnan(gain.low):
        runs = f"{gain.trainings} training{'s' if gain.trainings != 1 else ''} each"
        proof = f"{runs}, which proves nothing"
    else:
        proof = (
            f"95 % interval of the gain {amount(gain.low)} to {amount(gain.high)}, {gain.trainings} "
            "fresh seeds"
        )
    begins = {
        HELPED: "dropout helped" + " only elsewhere" * (lead != best),
        HURT: "dropout hurt",
        NO_DIFFERENCE: f"dropout makes no difference of more than {amount(judged.margin)}",
        NOT_KNOWN: unknown,
    }
    return (
        f"{use}: {begins[gain.outcome]}; {name} is {about}{change} in {judged.metric} than the same without "
        f"dropout ({proof})."
    )


def _failed(judged: Judgement) -> Iterator[str]:
    """Yields which trainings have failed: those that have not may be the lucky ones."""
    for own, twin in judged.pairs:
        failed, count = judged.gains[own].failed, judged.gains[own].judged
        if any(failed):
            message = judged.messages.get(own if failed[0] else twin)
            why = f" ({exception_line(message)})" if message else ""
            yield (
                f"Of {judged.names[own]} {failed[0]} of {count} trainings failed, without its dropout "
                f"{failed[1]}{why}."
            )
