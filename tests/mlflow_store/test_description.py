"""What MLflow's pages say of a search first: the descriptions of its run and of its experiment."""

import re

import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.events import ResultSaved
from recdrop_tune.mlflow_store.description import EXPERIMENT, NOTE, NOTE_LENGTH
from tests.tracked_events import Sender, ended, image, journaled, started, trial

GO_ON = 'run again with directory="speech"'
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
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("speech").experiment_id
    (run,) = client.search_runs([experiment], "tags.`recdrop.kind` = 'search'")
    return run


def note_of(uri):
    return run_of(uri).data.tags[NOTE]


def test_a_search_that_runs_says_how_it_stands(sender, uri):
    sender.send(started(go_on=GO_ON), *trial(0))
    first = note_of(uri)
    assert (
        "**Running**, as of 2026-09-21 14:13 UTC: 1 of at most 9 trials begun, 1 complete." in first
    )
    sender.send(*trial(1), *trial(2, epochs=2), *trial(3, status="PRUNED"))
    note = note_of(uri)
    links, state, *_ = note.split("\n\n")
    assert state.startswith(
        "**Running**, as of 2026-09-21 14:13 UTC: 4 of at most 9 trials begun, "
    )
    assert "3 complete, 1 pruned. Best val_loss so far: 0.6667, by wrapper none, rate 0." in state
    assert re.fullmatch(r"\[All trials, best first\]\(#/experiments/1/runs\?[^ )]+\)", links)
    rows = [line for line in note.splitlines() if line.startswith("| 000")]
    scores = ["0.6667", "0.6767", "1.0200"]  # A pruned trial is none of the best.
    assert [row.split(" | ")[1].removesuffix(" |") for row in rows] == scores
    assert rows[1].startswith("| 0001 recurrent 0.1 |")
    assert f"To go on: `{GO_ON}`" in note


@pytest.mark.parametrize(
    ("status", "word", "more"),
    [("FINISHED", "Over", ", with a larger `max_trials`"), ("KILLED", "Broken off", "")],
)
def test_a_search_without_a_result_says_how_it_ended(sender, uri, status, word, more):
    sender.send(started(), *trial(0, status="FAILED"), ended(status))
    note = note_of(uri)
    assert f"**{word}** (2026-09-21 14:30 UTC): 1 of at most 9 trials begun, 1 failed." in note
    assert f"To go on{more}: make the tuner again with the same `directory`" in note


def test_a_search_that_is_over_shows_its_summary(sender, uri, tmp_path):
    sender.send(started(go_on=GO_ON), *trial(0), SAVED, ended())
    note = note_of(uri)
    assert "\n\n**Best val_loss: 0.6**\n\nIt helped.\n\nTo go on, with a larger" in note
    assert "Running" not in note
    sender.close()
    rdt.sync(tmp_path, uri)
    assert note_of(uri) == note
    sender = Sender(tmp_path, uri)
    sender.send(started(when=1_790_002_000.0))  # It goes on.
    sender.close()
    assert "**Running**" in note_of(uri)
    assert "**Best val_loss" not in note_of(uri)


def test_a_report_is_linked_once_it_is_there(sender, uri, tmp_path):
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "report.html").write_text("<p>Well.</p>")
    saved = ResultSaved(files=["result/report.html"], summary="Well.", best_trial_id="0")
    sender.send(started(), *trial(0))
    assert "report.html" not in note_of(uri)
    sender.send(saved)
    sender.send(ended())
    run = run_of(uri)
    page = f"#/experiments/1/runs/{run.info.run_id}/artifacts/result/report.html"
    assert run.data.tags[NOTE].startswith(f"[Report with figures]({page}?")


def test_sync_describes_a_search_that_was_killed(tmp_path, uri):
    journaled(tmp_path, started(), *trial(0), *trial(1, status=None))
    rdt.sync(tmp_path, uri)
    assert "**Broken off** (2026-09-21 14:13 UTC): 2 of at most 9" in note_of(uri)
    assert len(image(uri)) == 3


@pytest.mark.parametrize("own", ["Mine.", "**Running**, I think.\n\nMine."])
def test_what_somebody_wrote_stays(sender, uri, own):
    sender.send(started(), *trial(0))
    run = run_of(uri)
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


def test_a_long_summary_keeps_its_links_and_how_to_go_on(sender, uri):
    rows = "\n".join(f"| line {number} | [x](http://host) |" for number in range(1000))
    saved = ResultSaved(files=[], summary=f"Best.\n\n{rows}", best_trial_id="0")
    sender.send(started(go_on=GO_ON), *trial(0), saved, ended())
    note = note_of(uri)
    assert NOTE_LENGTH - 100 < len(note) <= NOTE_LENGTH
    assert note.startswith("[All trials, best first](#/")
    assert f"`{GO_ON}`" in note
    assert "[x]" not in note.partition("\n\n")[2]
    assert note.split("\n\n")[-3].splitlines()[-1].endswith("(http://host) |")


@pytest.mark.parametrize(
    ("before", "after"), [(None, EXPERIMENT), ("", EXPERIMENT), ("Ours.",) * 2]
)
def test_an_experiment_without_a_description_gets_one(sender, uri, before, after):
    client = MlflowClient(uri)
    if before is not None:
        client.create_experiment("speech", tags={NOTE: before} if before else {})
    sender.send(started())
    assert client.get_experiment_by_name("speech").tags[NOTE] == after
