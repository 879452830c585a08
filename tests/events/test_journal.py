"""The journal, and who can see that it is being written."""

import fcntl
import threading

from recdrop_tune.events import Journal, WorkerLost

LOST = WorkerLost(worker="1", trial_id=None, reason="gone")


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
