"""The journal, and who can see that it is being written."""

import fcntl
import threading

import pytest

from recdrop_tune.errors import ProjectError
from recdrop_tune.events import WorkerLost
from recdrop_tune.journal import Journal

LOST = WorkerLost(worker="1", trial_id=None, reason="gone", time=1.0)


def test_others_see_that_it_is_being_written(tmp_path):
    journal = Journal(tmp_path / "events.jsonl")
    assert not journal.is_being_written()
    journal.on_event(LOST)
    assert Journal(journal.path).is_being_written()
    journal.close()
    assert not Journal(journal.path).is_being_written()


def test_they_see_it_though_one_looked_as_it_was_opened(tmp_path):
    journal = Journal(tmp_path / "events.jsonl")
    journal.path.touch()
    with journal.path.open("r+b") as looking:
        fcntl.flock(looking, fcntl.LOCK_EX)
        threading.Timer(0.2, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        journal.on_event(LOST)
    assert Journal(journal.path).is_being_written()
    journal.close()


def test_it_is_read_on_where_the_last_reading_stopped(tmp_path):
    journal = Journal(tmp_path / "events.jsonl")
    assert journal.read_from(0) == ([], 0)
    journal.on_event(LOST)
    found, end = journal.read_from(0)
    assert (found, end) == ([LOST], journal.path.stat().st_size)
    assert journal.read_from(end) == ([], end)
    journal.on_event(LOST)
    with journal.path.open("a") as file:
        file.write('{"event": "Worker')  # A line of which the rest is still to come.
    assert journal.read_from(end) == ([LOST], 2 * end)
    journal.close()
    journal.path.unlink()
    assert journal.read_from(end) == ([], end)


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"7", b"{}", b"[" * 100_000, b"\xff", b'{"event": "WorkerLost", "worker": 1}'],
)
def test_a_line_that_is_not_an_event_is_damage(tmp_path, line):
    journal = Journal(tmp_path / "events.jsonl")
    journal.on_event(LOST)
    journal.close()
    journal.path.write_bytes(line + b"\n" + journal.path.read_bytes())
    with pytest.raises(ProjectError, match=r"events\.jsonl` is damaged: .* is not an event"):
        journal.read()
