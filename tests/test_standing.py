"""Who is best, whose twin is whose, what dropout is worth: on planted records."""

import math

import pandas as pd
import pytest

from recdrop_tune import standing
from recdrop_tune.events import (
    SearchStarted,
    TrialEnded,
    TrialStarted,
)
from recdrop_tune.records import Records


def records(*trials, direction="min"):
    """Records of trials: each is a configuration, a score and perhaps a state and a spread."""
    names = dict.fromkeys(("search_id", "name", "experiment", "tuner"), "s")
    search = SearchStarted(**names, objective="score", direction=direction, max_trials=9, time=0.0)
    events = [search]
    for number, (values, score, *more) in enumerate(trials):
        id, status = str(number), more[0] if more else "COMPLETE"
        std = more[1] if len(more) > 1 else None
        events.append(TrialStarted(trial_id=id, number=number, hyperparameters=values, time=number))
        if score is not None:
            ended = {"status": status, "score": score, "std": std, "time": number + 1}
            events.append(TrialEnded(trial_id=id, **ended))
    return Records(events)


def ids(found):
    return [each.trial_id for each in found]


NONE = {"units": 8, "wrapper": "none", "rate": None}
SOME = {"units": 8, "wrapper": "zoneout", "rate": 0.1}
LARGE = {"units": 9, "wrapper": "none", "rate": None}


@pytest.mark.parametrize(
    ("direction", "order"), [("min", ["1", "0", "2"]), ("max", ["2", "0", "1"])]
)
def test_the_best_is_the_best_complete_trial(direction, order):
    others = [(SOME, math.inf), (SOME, math.nan), (SOME, None)]
    others += [(NONE, 0.0, "PRUNED"), (NONE, 9.0, "PRUNED")]
    found = records((NONE, 2.0), (SOME, 1.0), (SOME, 3.0), *others, direction=direction)
    assert ids(standing.ranked(found)) == order
    assert standing.best(found).trial_id == order[0]
    assert standing.best(records((SOME, None))) is None


@pytest.mark.parametrize(("direction", "gain"), [("min", 0.5), ("max", -0.5)])
def test_the_gain_is_over_the_twin(direction, gain):
    found = records((LARGE, 0.0), (NONE, 2.0), (SOME, 1.5), direction=direction)
    gained = standing.gain(found)
    assert (gained.value, gained.score, gained.twin_score) == (gain, 1.5, 2.0)
    assert ids([gained.trial, gained.twin]) == ["2", "1"]
    assert standing.gain(records((LARGE, 0.0), (SOME, 1.5))) is None
    # Active only without dropout.
    assert standing.gain(records(({**NONE, "l2": 0.1}, 2.0), ({**SOME, "l2": None}, 1.5)))
    assert standing.gain(records((LARGE, 0.0))) is None


@pytest.mark.parametrize(
    ("score", "spreads", "words"),
    [
        (1.5, (None, None), "gain 0.5000"),
        (2.5, (None, None), "gain -0.5000"),
        (2.0, (None, None), "no gain"),
        (1.5, (0.6, 0.8), "gain 0.5000 (spread 0.7071)"),  # The root mean square.
        (1.5, (0.1, 0.6), "gain 0.5000"),
    ],
)
def test_a_gain_below_the_spread_of_trainings_is_shown_with_it(score, spreads, words):
    trials = (NONE, 2.0, "COMPLETE", spreads[0]), (SOME, score, "COMPLETE", spreads[1])
    assert str(standing.gain(records(*trials))) == words


def test_the_table_has_a_row_for_each_wrapper_of_each_layer():
    names = ["none", "zoneout", "native", "lambda"]
    values = [{"a/wrapper": name, "b/wrapper": "none"} for name in names]
    ends = (2.0,), (1.5,), (1.0, "PRUNED"), (math.nan, "INTERRUPTED")
    found = records(*((each, *end) for each, end in zip(values, ends, strict=True)))
    offered = {"b/wrapper": ["none"], "a/wrapper": [*names, "concrete"]}
    table = standing.by_wrapper(found, offered)
    assert table["layer"].tolist() == ["a"] * 5 + ["b"]
    assert table["wrapper"].tolist() == ["zoneout", "none", "native", "lambda", "concrete", "none"]
    assert table["trials"].tolist() == [1, 1, 1, 1, 0, 4]
    assert table["complete"].tolist() == [1, 1, 0, 0, 0, 2]
    assert table["best"].tolist() == [1.5, 2.0, *[pd.NA] * 3, 1.5]
    assert table["gain"].tolist() == [0.5, *[pd.NA] * 5]
    assert table.index.tolist() == [*range(6)]
    states = [
        "complete",
        "complete",
        "only stopped early",
        "not finished",
        "never tried",
        "complete",
    ]
    assert table["state"].tolist() == states
    assert standing.never_tried(table) == "Never tried: a/concrete. More trials would."
    assert standing.never_tried(table[:2]) is None
