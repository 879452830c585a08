"""The journal, who can see that it is being written, and the file that asks a search to end."""

import fcntl
import threading

import pytest

from recdrop_tune.errors import ProjectError
from recdrop_tune.events import TrackingWarning, WorkerLost
from recdrop_tune.files import ask_to_stop, forget_stop, is_asked_to_stop
from recdrop_tune.journal import Dispatcher, Journal

LOST = WorkerLost(worker="1", trial_id=None, reason="gone", time=1.0)


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "events.jsonl")
    yield journal
    journal.close()


def test_others_see_that_it_is_being_written(journal):
    assert not journal.is_being_written()
    journal.on_event(LOST)
    assert Journal(journal.path).is_being_written()
    journal.close()
    assert not Journal(journal.path).is_being_written()


def test_they_see_it_even_if_one_looked_while_it_was_opened(journal):
    journal.path.touch()
    with journal.path.open("r+b") as looking:
        fcntl.flock(looking, fcntl.LOCK_EX)
        threading.Timer(0.2, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        journal.on_event(LOST)
    assert Journal(journal.path).is_being_written()


def test_reading_continues_where_it_stopped(journal):
    assert journal.read_from(0) == ([], 0)
    journal.on_event(LOST)
    found, end = journal.read_from(0)
    assert (found, end) == ([LOST], journal.path.stat().st_size)
    assert journal.read_from(end) == ([], end)
    journal.on_event(LOST)
    with journal.path.open("a") as file:
        file.write('{"event": "Worker')  # Its rest is still to come.
    assert journal.read_from(end) == ([LOST], 2 * end)


def test_a_line_that_a_crash_has_cut_is_removed(journal):
    journal.path.write_text('{"event": "Worker')
    journal.on_event(LOST)
    assert journal.read() == [LOST]


ROW = b'{"event": "SpaceChanged", "hyperparameters": [{"name": "units", "low": 8, "high": null}]}'


@pytest.mark.parametrize("line", [b"", b"7", b"{}", b"\xff", b'{"event": "WorkerLost"}', ROW])
def test_a_line_that_is_not_an_event_is_damage(journal, line):
    journal.on_event(LOST)
    journal.close()
    journal.path.write_bytes(line + b"\n" + journal.path.read_bytes())
    with pytest.raises(ProjectError, match=r"events\.jsonl` is damaged: .* is not an event"):
        journal.read()


def test_a_listener_that_fails_is_dropped_and_the_others_are_not(journal):
    class Bad:
        def on_event(self, event):
            raise OSError("no route to host")

    class Good(list):
        def on_event(self, event):
            self.append(event)

    good = Good()
    dispatcher = Dispatcher(journal, [Bad(), good])
    with pytest.warns(
        TrackingWarning, match=r"Bad failed and gets no more events.*no route to host"
    ):
        dispatcher.emit(LOST)
    dispatcher.emit(LOST)  # A second warning would be an error.
    assert good == journal.read() == [LOST, LOST]


def test_a_request_to_stop(tmp_path):
    assert not is_asked_to_stop(tmp_path)
    forget_stop(tmp_path)
    ask_to_stop(tmp_path)
    ask_to_stop(tmp_path)
    assert is_asked_to_stop(tmp_path)
    forget_stop(tmp_path)
    assert list(tmp_path.iterdir()) == []
