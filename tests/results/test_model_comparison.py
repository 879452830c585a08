"""The answer of `compare_models` on planted trainings: its words, its table, its pages and its next round."""

import re
from dataclasses import replace

import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError
from recdrop_tune.events import ConfirmationEnded, ConfirmationStarted, SearchStarted, to_json
from recdrop_tune.files import JOURNAL
from recdrop_tune.records import Records

PLAIN = [0.31, 0.33, 0.30, 0.34, 0.29]
WOBBLE = np.array([0.003, -0.002, 0.001, -0.001, -0.001])


def events(
    scores, direction="min", metric="val_loss", margin=0.01, tests=None, looks=None, most=20
):
    """Plants a comparison; `None` is a failed training. The first of the models is the baseline."""
    about = dict.fromkeys(("search_id", "name", "experiment", "tuner"), "s")
    about |= {"objective": metric, "direction": direction, "info": {"epochs": 9}}
    planted = [SearchStarted(**about, models=list(scores), max_trials=0)]
    seeds = max(map(len, scores.values()))
    for number in looks or [seeds]:
        names = [str(place) for place in range(len(scores))]
        about = {"seeds": number, "max_seeds": most, "margin": margin}
        planted.append(ConfirmationStarted(configurations=names, **about))
    for place, (model, values) in enumerate(scores.items()):
        for repeat, score in enumerate(values):
            training = {"trial_id": str(place), "repeat": repeat, "seed": 100 + repeat}
            if score is None:
                training["message"] = "ValueError: no\nluck"
            elif tests is not None:
                training["metrics"] = {"test_loss": tests[model][repeat]}
            planted.append(ConfirmationEnded(**training, score=score, best_epoch=0))
    return planted


def compared(scores, **about):
    return rdt.ModelComparison(Records(events(scores, **about)))


def shifted(by):
    return list(np.array(PLAIN) - by + WOBBLE)


@pytest.mark.parametrize(
    ("other", "outcome", "words"),
    [
        (
            shifted(0.1),
            "better",
            "zoneout is better than plain: val_loss lower by 0.1000 (95 % interval 0.09",
        ),
        (shifted(-0.1), "worse", "zoneout is worse than plain: val_loss higher by 0.1000 (95 %"),
        (
            shifted(0.0),
            "no difference",
            "Between zoneout and plain there is no difference of more than 0.0100: val_loss ",
        ),
        (
            [0.2, 0.5, 0.1, 0.4, 0.3],
            "not known",
            "Whether zoneout is better than plain is not known: val_loss lower by 0.0140 (95 % interval -0.",
        ),
        (
            [None] * 5,
            "not known",
            "not known: scores exist only for plain. Of zoneout 5 of 5 trainings failed, of plain 0 "
            "(ValueError: no).",
        ),
    ],
)
def test_answers(other, outcome, words):
    answer = compared({"plain": PLAIN, "zoneout": other})
    assert (answer.outcome, words in str(answer)) == (outcome, True), str(answer)


def test_no_difference_is_said_with_the_interval_that_decided():
    """That of two one-sided tests in the last round, where the other one reaches beyond the margin."""
    scores = {"plain": PLAIN * 4, "zoneout": shifted(0.0) * 4}
    answer = compared(scores, margin=0.0009, looks=[5, 8, 13, 20])
    low, high = re.search(r"90 % interval (\S+) to (\S+), 20 seeds", str(answer)).groups()
    assert -0.0009 < float(low) < 0 < float(high) < 0.0009
    row = answer.table.loc[answer.table["model"] == "zoneout"].iloc[0]
    assert (row["outcome"], row["gain_high"] > 0.0009) == ("no difference", True)


def test_a_metric_to_maximize_is_higher_where_it_is_better():
    accuracy = {"plain": PLAIN, "zoneout": shifted(-0.1)}
    answer = compared(accuracy, direction="max", metric="val_accuracy")
    assert answer.outcome == "better"
    assert "val_accuracy higher by 0.1000 (95 % interval 0.0" in str(answer)
    assert answer.table["model"].to_list() == ["zoneout", "plain"]


def test_the_answer_is_about_the_test_data_if_there_are_any():
    tests = {"plain": PLAIN, "zoneout": shifted(-0.1)}
    answer = compared({"plain": PLAIN, "zoneout": shifted(0.1)}, tests=tests)
    assert answer.outcome == "worse"
    assert "test_loss higher by 0.1000" in str(answer)
    assert answer.table.loc[0, ["gain", "test_gain"]].to_list() == pytest.approx([0.1, -0.1])


FOUR = {"a": PLAIN, "b": shifted(0.1), "c": [0.2, 0.5, 0.1, 0.4, 0.3], "d": shifted(-0.1)}


def test_the_first_sentence_is_about_the_best_of_the_compared_models_and_the_table_about_all():
    answer = compared(FOUR)
    first, *others = answer.verdict.split(". ")
    assert str(answer).endswith(answer.brief().to_string(index=False))
    assert first.startswith("b is better than a")
    assert [words.split(":")[0] for words in others] == [
        "Whether c is better than a is not known",
        "d is worse than a",
    ]
    table = answer.table.set_index("model")
    assert table.index.to_list() == ["b", "c", "a", "d"]
    assert table["outcome"].fillna("").to_list() == ["better", "not known", "", "worse"]
    assert table.loc["b", "gain"] == pytest.approx(0.1)
    assert (table.loc["d", "worst"], table.loc["d", "better"]) == (pytest.approx(-0.103), 0.0)
    assert answer.runs.groupby("model")["seed"].apply(list).to_list() == [[*range(100, 105)]] * 4


def test_rounds_end_when_the_best_compared_model_is_known_and_else_train_what_is_not():
    assert compared(FOUR).in_question == []
    unknown = {"a": PLAIN, "c": FOUR["c"], "d": FOUR["d"]}
    assert compared(unknown).in_question == ["0", "1"]  # d is known to be worse.
    baseline_is_best = {"a": PLAIN, "d": FOUR["d"], "e": shifted(-0.2)}
    assert compared(baseline_is_best).in_question == []


@pytest.mark.parametrize(
    ("gain", "margin", "most", "words"),
    [
        (1.0, 0.0, 20, r"5 seeds\)\. About 1\d more seeds would show a difference of this size\.$"),
        (0.6, 0.0, 5, r"unlikely .*, about 4\d would show a difference of this size\.$"),
        (0.1, 0.8, 20, r"1\d more seeds would show that the difference is less than 0\.8000\.$"),
        (0.0, 0.0, 20, r"5 seeds\)\. No number of seeds up to 100 is likely to decide\.$"),
    ],
)
def test_an_open_answer_tells_how_many_seeds_would_decide(gain, margin, most, words):
    seen = np.array([-1, -1, 0, 1, 1]) + gain
    scores = {"a": [1.0] * 5, "b": list(1.0 - seen)}
    answer = compared(scores, margin=margin, most=most)
    assert re.search(words, answer.verdict), answer.verdict
    # Once the best is known, the others get no more seeds.
    known = compared(scores | {"c": list(-9.0 - seen)}, margin=margin, most=most)
    assert re.search(r"b is better than a is not known: .* 5 seeds\)\.$", known.verdict)


def test_a_failure_is_no_luck():
    lucky = [*shifted(0.1)[:4], None]
    assert compared({"plain": PLAIN, "zoneout": lucky}).outcome == "not known"
    assert compared({"plain": [*PLAIN[:4], None], "zoneout": shifted(0.1)}).outcome == "better"
    diverged = compared({"plain": PLAIN, "zoneout": [float("nan"), *shifted(0.1)[1:]]})
    assert diverged.table.set_index("model").loc["zoneout", "failed"] == 1


def test_what_always_fails_is_not_trained_again():
    assert compared({"plain": PLAIN, "b": [None] * 5, "c": FOUR["c"]}).in_question == ["0", "2"]
    assert compared({"plain": PLAIN, "b": [None] * 5}).in_question == []


def test_test_data_that_only_some_trainings_saw_do_not_count():
    planted = events({"plain": PLAIN, "zoneout": shifted(0.1)})
    seen = replace(planted[-1], metrics={"test_loss": 0.1})
    answer = rdt.ModelComparison(Records([*planted[:-1], seen]))
    assert (answer.metric, answer.outcome) == ("val_loss", "better")
    tests = {"plain": PLAIN, "zoneout": [*shifted(0.1)[:4], float("nan")]}
    diverged = compared({"plain": PLAIN, "zoneout": shifted(0.1)}, tests=tests)
    assert diverged.metric == "test_loss"
    assert diverged.table.set_index("model").loc["zoneout", "failed"] == 1


def test_before_the_first_training_nothing_is_known(tmp_path):
    answer = compared({"plain": [], "zoneout": []}, looks=[5])
    assert (answer.outcome, answer.ids, len(answer.runs)) == ("not known", [], 0)
    assert str(answer) == "Which model is better is not known: none has a score."
    assert str(answer) in answer.report(tmp_path / "page.html").read_text()


def test_a_baseline_that_is_not_trained_yet_has_no_scores():
    answer = compared({"plain": [], "b": [0.2], "c": [0.1]}, looks=[5])
    assert "is not known: scores exist only for c, b." in str(answer)


def test_it_is_written_as_a_figure_a_page_and_latex(tmp_path):
    named = {"plain": PLAIN, "50 % <i>zone_out</i>": shifted(0.1)}
    answer = compared(named)
    *points, gains = answer.plot().data
    assert [len(each.x) for each in points] == [5, 5]
    assert list(gains.x) == pytest.approx([0.1])
    assert [*gains.y] == ["50 % &lt;i&gt;zone_out&lt;/i&gt;"]
    alike = compared({"plain": PLAIN, **{f"{'long ' * 20}{n}": shifted(0.1) for n in (1, 2)}})
    assert len({*alike.plot().data[-1].y}) == 2
    page = answer.report(tmp_path / "page.html").read_text()
    assert "better than plain" in page.partition("<h2")[0]
    assert "<i>zone" not in page.partition("plotly")[0]
    latex = answer.to_latex()
    assert r"50 \% <i>zone\_out</i> & 5 & 9 & 0.2140 $\pm$ 0.0" in latex
    assert latex.startswith("\\begin{tabular}{lrrrrl}")
    assert r"model & n & epochs & mean & gain & outcome \\" in latex
    assert "better than plain" in answer._repr_html_()


def test_it_is_read_from_its_folder_and_searches_are_told_apart(tmp_path, planted):
    (tmp_path / JOURNAL).write_text("".join(f"{to_json(each)}\n" for each in events(FOUR)))
    loaded = rdt.ModelComparison.load(tmp_path)
    assert loaded.table.equals(compared(FOUR).table)
    with pytest.raises(ProjectError, match=r"a comparison of models. .*ModelComparison.load"):
        rdt.TuneResult.load(tmp_path)
    with pytest.raises(ProjectError, match=r"a search by `tune`. .*TuneResult.load"):
        rdt.ModelComparison.load(planted.directory)
    with (tmp_path / JOURNAL).open("a") as journal:
        journal.write(to_json(ConfirmationEnded(trial_id="4", repeat=0, seed=1, score=0.1)) + "\n")
    with pytest.raises(ProjectError, match="no round of the confirmation has the training of '4'"):
        rdt.ModelComparison.load(tmp_path)
