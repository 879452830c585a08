"""The confirmation on planted trainings: its tables, its verdict and its next round."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recdrop_tune.events import (
    Configuration,
    ConfirmationEnded,
    ConfirmationStarted,
)
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.results.confirmation import Confirmation
from recdrop_tune.results.intervals import comparable_means
from recdrop_tune.results.saving import save_result
from recdrop_tune.results.view import SearchView
from tests.test_standing import records

SPACE = [
    Hyperparameter("wrapper", choices=["none", "zoneout", "native"]),
    Hyperparameter("gain", choices=[1, 2, 3]),
]
TRIALS = [
    {"wrapper": "none", "gain": 1},
    {"wrapper": "zoneout", "gain": 2},
    {"wrapper": "native", "gain": 3},
]
SCORES = {
    "1": [0.20, 0.25, 0.18, 0.22, 0.24],
    "1_twin": [0.23, 0.28, 0.20, 0.26, 0.27],
    "2": [0.31, 0.33, 0.30, 0.34, 0.29],
    "2_twin": [0.31, 0.32, 0.32, 0.33, 0.30],
    "0": [0.25, 0.27, 0.24, 0.28, 0.23],
}


def planted(scores=SCORES, direction="min", margin=0.002, metrics=None, best_epoch=0):
    """Plants a search of three trials and the scores of its confirmation; `None` is a failed training."""
    trials = ((values, 0.1 * number) for number, values in enumerate(TRIALS))
    found = records(*trials, direction=direction)
    found.search = replace(found.search, objective="val_loss", info={"epochs": 2})
    found.space = [*SPACE]
    seeds = max(map(len, scores.values()))
    found.on_event(
        ConfirmationStarted(
            configurations=list(scores), seeds=seeds, max_seeds=seeds, margin=margin
        )
    )
    for name, values in scores.items():
        for repeat, score in enumerate(values):
            training = {**Configuration.named(name)._asdict(), "repeat": repeat}
            if score is None:
                training["message"] = "ValueError: no\nluck"
            elif metrics is not None:
                training["metrics"] = metrics(name, repeat)
            found.on_event(
                ConfirmationEnded(**training, seed=100 + repeat, score=score, best_epoch=best_epoch)
            )
    return Confirmation(found)


def only(*names, **changed):
    return {name: SCORES[name] for name in names} | changed


FIRST = ("1", "1_twin")
SWAPPED = {**SCORES, "1": SCORES["1_twin"], "1_twin": SCORES["1"]}
BETTER = {**SCORES, **{name: [each - 0.12 for each in SCORES[name]] for name in ("2", "2_twin")}}


VERDICTS = {
    "helped": (
        planted(),
        "helped",
        r"^Use trial 1 \(zoneout\): dropout helped; it is about 0\.02\d\d better in val_loss than the "
        r"same without dropout \(95 % interval of the gain 0\.01\d\d to 0\.04\d\d, 5 fresh seeds\)\. "
        r"It is not known of trial 2 \(native\)\.$",
    ),
    "better mean": (
        planted(BETTER),
        "helped",
        r"^Use trial 1 \(zoneout\): dropout helped; it is .* Trial 2 \(native\) has the better mean "
        r"val_loss, but is not known to be better\. It is not known of trial 2",
    ),
    "known worse": (
        planted(only(*FIRST, **{"0": [each - 0.2 for each in SCORES["1"]]})),
        "helped",
        r"^Use trial 0 without dropout: dropout helped only elsewhere; trial 1 \(zoneout\) is about 0",
    ),
    "hurt": (
        planted({name: SWAPPED[name] for name in FIRST}),
        "hurt",
        r"^Use trial 1 without its dropout: dropout hurt; trial 1 \(zoneout\) is .* worse in val_loss",
    ),
    "equal": (
        planted(only("2", "2_twin"), margin=0.05),
        "no difference",
        r"^Use trial 2 \(native\): dropout makes no difference of more than 0\.0500; it is no better in ",
    ),
    "mixed": (
        planted(SWAPPED),
        "not known",
        r"is not known; trial 2 .* 5 fresh seeds\)\. No number of seeds up to 100 is likely to decide\. "
        r"It hurt in trial 1 \(zoneout\)\.$",
    ),
    "failed": (
        planted(only(*FIRST, **{"1": [0.20, None, 0.18, None, 0.24]})),
        "not known",
        r"other seeds\. Of trial 1 \(zoneout\) 2 of 5 trainings failed, without its dropout 0 "
        r"\(ValueError: no\)\.$",
    ),
    "no dropout": (planted(only("0")), "not known", "no configuration with dropout was completed"),
    "no twin": (
        planted(only("1", "0")),
        "not known",
        r"^Use trial 1 \(zoneout\): whether .* because it was not trained without its dropout\.$",
    ),
    "one training": (
        planted({"1": [0.2], "1_twin": [0.3]}),
        "not known",
        r"; it is 0\.1000 better in val_loss .* \(1 training each, which proves nothing\)\.$",
    ),
    "far off": (
        planted(only(*FIRST, **{"1": [0.20, 0.25, 0.18, 0.22, 0.90]})),
        "not known",
        r"No number .* to decide\. With seed 104, trial 1 \(zoneout\) is 0\.6300 worse, far from the other",
    ),
    "short": (
        planted(best_epoch=1),
        "helped",
        r"^Use trial 1 \(zoneout\): dropout helped; .* Train longer: after 2 epochs, .* at the end\.$",
    ),
    "combined": (
        planted({**SCORES, "0_with_1": [each - 0.1 for each in SCORES["0"]]}),
        "helped",
        r"^Use trial 0 with the dropout of trial 1 \(zoneout\): dropout helped; it is about",
    ),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_verdicts(case):
    confirmation, outcome, words = VERDICTS[case]
    verdict = confirmation.verdict
    assert (confirmation.outcome, bool(re.search(words, verdict))) == (outcome, True), verdict


def test_an_accuracy_is_judged_like_a_loss():
    negative = {name: [-score for score in scores] for name, scores in SCORES.items()}
    lower, higher = planted(), planted(negative, direction="max")
    assert higher.verdict == lower.verdict
    assert higher.ids == lower.ids == ["1", "1_twin", "0", "2", "2_twin"]
    pd.testing.assert_series_equal(higher.table["mean"], -lower.table["mean"])
    same = ["std", "gain", "gain_low", "gain_high", "worst", "better", "outcome"]
    pd.testing.assert_frame_equal(higher.table[same], lower.table[same])


def test_a_failed_training_is_in_the_counts_alone():
    """Also one that reported metrics, but no finite objective."""
    failed = {**SCORES, "1": [0.20, None, math.nan, math.inf, 0.24]}
    metrics = {"test_loss": 0.3, "test_std": 0.7}
    confirmation = planted(failed, metrics=lambda name, repeat: metrics)
    row = confirmation.row("1")
    assert (row["n"], row["failed"], row["mean"]) == (2, 3, pytest.approx(0.22))
    assert (row["test_loss"], row["test_std"]) == (pytest.approx(0.3), pytest.approx(0.7))
    own = confirmation.scores[confirmation.scores["configuration"] == "1"]
    assert own.groupby("metric")["score"].agg(lambda each: np.isinf(each).sum()).tolist() == [3] * 3


def test_the_brief_table():
    """A metric can have any name, and a hyperparameter that of a column."""
    confirmation = planted(
        only("1", "1_twin", "0"),
        metrics=lambda name, repeat: {
            "test_loss": SCORES[name][repeat] + 0.1,
            "test_std": 0.1 * repeat,
        },
    )
    brief = confirmation.brief()
    names = ["outcome", "number", "twin", "wrapper", "hp/gain", "search", "n", "epochs", "mean"]
    assert [*brief] == [*names, "gain", "test_loss", "test_gain", "test_std", "worst", "better"]
    assert brief["number"].tolist() == ["1", "1", "0"]
    assert brief["twin"].tolist() == ["", "twin", ""]
    assert brief["hp/gain"].tolist() == ["2", "2", "1"]
    assert brief["search"].tolist() == ["0.1000", "-", "0.0000"]
    assert brief["mean"][0] == "0.2180 ± 0.0286"
    assert re.fullmatch(r"0\.0300 \(0\.0\d{3} to 0\.0\d{3}\)", brief["test_gain"][0])
    assert (brief["test_std"][0], brief["better"][0], brief["outcome"][2]) == ("0.2", "1", "-")


@pytest.mark.parametrize("values", [(1, 2, 3), ("a", "b", "c")])
def test_a_hyperparameter_is_no_confirmed_gain(values, tmp_path):
    found = planted(metrics=lambda name, repeat: {"test_loss": SCORES[name][repeat]})
    found.records.space.append(Hyperparameter("init_gain", choices=list(values)))
    for trial, value in zip(found.records.trials.values(), values, strict=True):
        trial.hyperparameters["init_gain"] = value
    found = Confirmation(found.records)
    saved = save_result(SearchView(found.records), tmp_path, None, str).metrics
    row = found.table.iloc[0]
    expected = {name: row[name] for name in ("gain", "gain_low", "gain_high")}
    expected |= {f"test_{name}": row[f"test_{name}"] for name in expected}
    expected["test_gain"] = found.gain
    confirmed = {name: value for name, value in saved.items() if name.startswith("confirmed_")}
    assert confirmed == {f"confirmed_{name}": value for name, value in expected.items()}


def test_the_next_round_trains_what_is_not_known():
    assert planted().in_question == []  # The best mean is known.
    assert planted(BETTER).in_question == ["2", "2_twin"]
    # The best has no dropout, and gets the one that helped.
    best = {**SCORES, "0": [each - 0.2 for each in SCORES["0"]]}
    assert planted(best).in_question == ["0", "2", "2_twin", "0_with_1"]
    assert "0_with_1" not in planted({**best, "0_with_1": SCORES["2"]}).in_question[:-1]


def test_an_objective_can_have_any_name():
    records = planted().records
    records.search = replace(records.search, objective="score")
    assert Confirmation(records).verdict == planted().verdict.replace("val_loss", "score")


def test_means_compare_after_rounds_that_left_some_configurations_out():
    """The third seed is hard, and only two of the three were trained with it; one training failed."""
    costs = {"a": [1.0, 2.0, 9.0], "b": [1.5, 2.5, 9.5], "c": [1.25, 2.25, math.nan]}
    means = comparable_means(pd.DataFrame({**costs, "failed": [math.nan] * 3}))
    assert list(means.dropna().sort_values().index) == ["a", "c", "b"]
    assert list(means["a":"c"]) == pytest.approx([4.0, 4.5, 4.25])
