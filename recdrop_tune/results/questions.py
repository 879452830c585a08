"""What paired trainings ask, as data: of a search what its dropout is worth, of models which is better.

The gain of a configuration is over its *twin*, the same configuration without dropout. Over any other
configuration it would be that of a learning rate too. The gain of a model is over the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recdrop_tune import standing
from recdrop_tune.catalog import MILLISECONDS
from recdrop_tune.events import Configuration
from recdrop_tune.hyperparameters import drops, is_twin
from recdrop_tune.records import Records
from recdrop_tune.results.frames import format_cell
from recdrop_tune.results.intervals import HELPED, HURT, Pair
from recdrop_tune.standing import format_number
from recdrop_tune.terminal import format_dropout

GAIN = {"gain": "gain", "gain_low": "low", "gain_high": "high"}
JUDGED = {"worst": "worst", "better": "better", "outcome": "outcome"}
"""Columns of `PairedTrainings.estimates` by the attributes of `PairedGain` that they show."""

_ABOUT = ("trial_id", "number", "twin", "dropout_of")
_COLUMNS = (*_ABOUT, "search", "n", "failed", "epochs", "mean", "std", *GAIN, *JUDGED)
"""Columns of `Confirmation.table`; a hyperparameter of the same name is in the column `hp/<name>`."""


@dataclass(frozen=True)
class Questions:
    """Which of the trained configurations are compared, and what distinguishes them. All are by name.

    `names` are all configurations in words, in the order of the trainings with one seed. `settings` are
    their first columns in the table; those in `about` tell them apart in `runs`. `pairs` are configurations,
    each with the one that it is compared with, which is `base` in words. The chance of an error is divided
    between `number` pairs. The best mean among `leads` ends the trainings once its outcome is known.

    `dropping` have dropout, and `joins` are configurations that join, by the best mean and the best one that
    has helped. `listed` are in the table even without a score. `shown` writes the columns that `brief` has
    even where they do not vary, `measured` are metrics whose medians are in the table, and `words` replace
    outcomes in it.
    """

    names: dict[str, str]
    about: Sequence[str]
    settings: Mapping[str, Mapping[str, Any]]
    pairs: Sequence[Pair]
    base: str
    number: int
    leads: Sequence[str]
    shown: Mapping[str, Callable[[Any], str]]
    dropping: Sequence[str] = ()
    joins: Mapping[Pair, str] = field(default_factory=dict)
    listed: Sequence[str] = ()
    measured: Sequence[str] = ()
    words: Mapping[str, str] = field(default_factory=dict)


def questions_of(records: Records) -> Questions:
    """Returns what the trainings of a journal ask."""
    trained = {each.configuration for each in records.confirmations}
    return (_which_model if records.models else _what_dropout_is_worth)(records, trained)


def _which_model(records: Records, trained: set[Configuration]) -> Questions:
    """Asks whether models are better than the first of them."""
    names = records.models
    known = [name for name in names if Configuration(name) in trained]
    baseline, *compared = names
    pairs = [(name, baseline) for name in compared if {name, baseline} <= {*known}]
    return Questions(
        names,
        ["model"],
        {name: {"model": model} for name, model in names.items()},
        pairs,
        base=names[baseline],
        number=len(pairs),
        leads=[own for own, _ in pairs],
        shown=dict.fromkeys(("model", MILLISECONDS), format_cell),
        listed=known,
        measured=[MILLISECONDS],
        words={HELPED: "better", HURT: "worse"},
    )


def _what_dropout_is_worth(records: Records, trained: set[Configuration]) -> Questions:
    """Asks of each configuration with dropout whether it is better than the same without."""
    trials = records.trials
    ordered = sorted(trained, key=lambda each: (trials[each.trial_id].number, each.name))
    values = {each.name: standing.values_of(records, each) for each in ordered}
    dropping = sorted(name for name in values if drops(values[name]))
    twins = {
        own: [name for name in values if is_twin(values[name], values[own])] for own in dropping
    }
    pairs = [(own, others[0]) for own, others in twins.items() if others]
    settings, joins = {}, {}
    for each in ordered:
        trial = trials[each.trial_id]
        settings[each.name] = {
            "trial_id": each.trial_id,
            "number": trial.number,
            "twin": each.twin,
            "dropout_of": each.dropout_of,
            **{f"hp/{key}" if key in _COLUMNS else key: v for key, v in values[each.name].items()},
            "search": math.nan if each.suffix or trial.score is None else trial.score,
        }
    # One combination joins. It takes over the share of the dropout that is known to have helped elsewhere.
    combined = [each for each in ordered if each.dropout_of]
    for best in [] if combined else [each for each in ordered if each.name not in dropping]:
        for donor, _ in pairs:
            other = Configuration(best.trial_id, dropout_of=Configuration.named(donor).trial_id)
            if standing.values_of(records, other) not in values.values():
                joins[best.name, donor] = other.name
    return Questions(
        {each.name: format_configuration(records, each) for each in ordered},
        _ABOUT,
        settings,
        pairs,
        base="the same without dropout",
        number=len(pairs) - len(combined),
        leads=[*values],
        shown={
            "number": format_cell,
            "twin": {True: "twin", False: ""}.__getitem__,
            "search": format_if_known,
        },
        dropping=dropping,
        joins=joins,
    )


def format_configuration(records: Records, configuration: Configuration) -> str:
    """Names a configuration: `trial 3 (recurrent, recurrent, rate 0.3)`."""
    name = f"trial {records.trials[configuration.trial_id].number}"
    if configuration.dropout_of is not None:
        other = format_configuration(records, Configuration(configuration.dropout_of))
        return f"{name} with the dropout of {other}"
    values = records.trials[configuration.trial_id].active
    if configuration.twin or not drops(values):
        return f"{name} without {'its ' * configuration.twin}dropout"
    return f"{name} ({format_dropout(values)})"


def format_if_known(value: float) -> str:
    """Writes a number, or `-` for a missing one."""
    return "-" if math.isnan(value) else format_number(value)
