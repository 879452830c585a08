"""The requests that the writer sends to MLflow."""

import threading
from contextlib import contextmanager

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.events import TrackingWarning
from recdrop_tune.mlflow_store.contents import contents_of
from recdrop_tune.mlflow_store.writer import TrackingError, writing_alone
from tests.tracked_events import Sender, ended, image, journaled, started, trial, written

REQUESTS = ["create_run", "delete_tag", "get_run", "log_batch", "log_inputs", "log_text"]
REQUESTS += ["search_runs", "set_tag", "set_terminated", "update_run"]


@pytest.fixture(scope="module")
def uri(tmp_path_factory, new_store):
    """The address of a store for searches of one name each."""
    return new_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def sent(monkeypatch):
    """The requests that MLflow's client has sent, by name."""
    found = []
    for name in REQUESTS:
        kept = getattr(MlflowClient, name)

        def counted(self, *args, _name=name, _kept=kept, **kwargs):
            found.append(_name)
            return _kept(self, *args, **kwargs)

        monkeypatch.setattr(MlflowClient, name, counted)
    return found


@contextmanager
def searching(folder, uri, name):
    """A search that has begun, and what sends its events."""
    sender = Sender(folder, uri)
    sender.send(started(search_id=name, experiment=name, space=None))
    yield sender
    sender.background.flush(60)
    sender.close()
    assert sender.background.failure is None


def test_an_epoch_is_one_request(tmp_path, uri, sent):
    begin, built, *epochs, end = trial(0)
    with searching(tmp_path, uri, "epochs") as sender:
        sender.send(begin, built)
        for epoch in epochs:
            sent.clear()
            sender.send(epoch)
            assert sent == ["log_batch"]
        sent.clear()
        sender.send(end)
        # The last ones are of the search: whether its description is the user's, and its best.
        assert sent == ["log_batch", "set_terminated", "get_run", "log_batch"]


def test_sync_takes_three_requests_a_run(tmp_path, uri, sent):
    begin = started(search_id="three", experiment="three", space=None)
    journaled(tmp_path, begin, *(e for number in range(5) for e in trial(number)), ended())
    rdt.sync(tmp_path, uri)
    counts = {name: sent.count(name) for name in set(sent) - {"log_text", "get_run"}}
    each = dict.fromkeys(("create_run", "log_batch", "set_terminated"), 6)
    assert counts == each | {"search_runs": 1}


def test_what_comes_up_meanwhile_is_one_request(tmp_path, uri, sent):
    begin, *others, end = trial(0, epochs=9)
    with searching(tmp_path, uri, "meanwhile") as sender:
        sender.send(begin)
        sent.clear()
        with writing_alone(tmp_path, 10.0):  # The writer waits.
            sender.send(*others, flush=False)
        sender.send(flush=True)
        assert sent in (["log_batch"], ["log_batch"] * 2)
        sender.send(end, ended())
    points = image(uri, "meanwhile")["trial", "0", int(begin.time * 1000)]["curves"]["loss"]
    assert [step for step, *_ in points] == [*range(9)]


def test_a_writer_that_hangs_is_a_failure_until_it_is_through(tmp_path, uri):
    with searching(tmp_path, uri, "hangs") as sender, writing_alone(tmp_path, 10.0):
        sender.send(*trial(0), flush=False)
        assert sender.background.failure is None
        with pytest.warns(
            TrackingWarning, match=r"did not take.*every event is in .*events\.jsonl"
        ):
            assert not sender.background.flush(0.01)
        assert sender.background.failure == "it did not take the last events within 0 s"


def test_a_writer_that_fails_for_a_moment_is_not_reported(tmp_path, uri, monkeypatch):
    monkeypatch.setattr("recdrop_tune.mlflow_store.background._FIRST_DELAY", 0.1)
    with searching(tmp_path, uri, "moment") as sender, monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_batch", refuse)
        threading.Timer(0.2, broken.undo).start()
        sender.send(*trial(0))  # Warnings are errors here.
        assert MlflowClient.log_batch is not refuse


def test_the_thousandth_trial_costs_what_the_first_does(tmp_path, uri, sent):
    with searching(tmp_path, uri, "many") as sender:
        counts = []
        for number in range(5):
            sent.clear()
            sender.send(*trial(number))
            counts.append(sorted(set(sent) - {"log_batch"}))
        assert counts == [["create_run", "get_run", "set_terminated"]] * 5
    contents = contents_of([started(), *(e for number in range(50) for e in trial(number))], True)
    contents.changed.clear()
    contents.take(trial(50)[0])
    assert [attempt.trial_id for attempt in contents.changed.values()] == ["50"]


@pytest.mark.usefixtures("impatient")
def test_after_a_failure_it_looks_once_and_writes_what_is_lacking(
    tmp_path, uri, sent, monkeypatch, new_store
):
    monkeypatch.setattr("recdrop_tune.mlflow_store.background._FIRST_DELAY", 60.0)
    first, second = trial(0), trial(1, status="FAILED")
    with searching(tmp_path / "failed", uri, "failed") as sender:
        sender.send(*first, second[0])
        with monkeypatch.context() as broken:
            broken.setattr(MlflowClient, "log_batch", refuse)
            with pytest.warns(TrackingWarning, match="no paper"):
                sender.send(*second[1:-1])
            assert sender.background.failure is not None
        sent.clear()
        sender.send(second[-1])
        lacking = ["get_run", "log_batch", "log_batch", "log_text", "search_runs", "set_terminated"]
        assert sorted(sent) == lacking
        sender.send(ended())
    other = new_store(tmp_path, "other.db")
    assert rdt.sync(tmp_path / "failed", other).written == 2
    assert image(other, "failed") == image(uri, "failed")


def refuse(*args, **kwargs):
    raise MlflowException("no paper")


def test_an_end_that_is_told_after_the_search_counts(tmp_path, uri):
    """The search was broken off between the end of a trial in its folder and the word of it."""
    *epochs, end = trial(0)
    later = started(search_id="after", experiment="after", when=1_790_001_100.0, space=None)
    with searching(tmp_path, uri, "after") as sender:
        sender.send(*epochs, ended("KILLED"))
        sender.send(end, later, ended(when=1_790_001_200.0))
    run = image(uri, "after")["trial", "0", int(epochs[0].time * 1000)]
    assert (run["status"], run["tags"]["recdrop.state"]) == ("FINISHED", "COMPLETE")
    assert run["ended"] == int(end.time * 1000)


@pytest.mark.usefixtures("impatient")
def test_artifacts_that_are_lacking_are_written_after_another_outage(
    tmp_path, uri, monkeypatch, new_store
):
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_text", refuse)
        with searching(tmp_path / "first", uri, "artifacts") as sender:
            sender.send(*trial(0, status="FAILED"), *trial(1, status="FAILED"), ended())
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_batch", refuse)
        with pytest.raises(TrackingError, match="no paper"):
            rdt.sync(tmp_path / "first", uri)
    assert rdt.sync(tmp_path / "first", uri).written == 2
    other = new_store(tmp_path, "other.db")
    rdt.sync(tmp_path / "first", other)
    assert image(uri, "artifacts") == image(other, "artifacts")


def test_a_run_whose_trial_the_journal_has_lost_is_superseded(tmp_path, uri):
    """As after a power cut, when the trial runs again in the resumed search."""
    with searching(tmp_path, uri, "lost") as sender:
        sender.send(*trial(0), *trial(1, status=None))
        path = sender.journal.path
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"trial_id": "1"' not in line))
    when = 1_790_000_500.0
    again = started(search_id="lost", experiment="lost", when=when - 1, space=None)
    written(tmp_path, uri, again, *trial(1, when=when), ended())
    kinds = [kind for kind, id, _ in image(uri, "lost") if id == "1"]
    assert sorted(kinds) == ["superseded", "trial"]
