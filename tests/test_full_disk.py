"""Searches on a disk that is full: a file system in memory, mounted where the test alone sees it."""

import errno
import json
import os
import pickle
import sqlite3
import subprocess
import sys

import pytest

from recdrop_tune.errors import StorageError
from recdrop_tune.storage_errors import is_storage_failure, storage_error
from tests.forks import ROOT

SPOTS = [0, 8, 200]
"""Free pages of 4 KiB: none, and enough to get into the first trial and to the result."""


def mounts() -> bool:
    """Returns whether this machine lets a process mount a file system."""
    trial = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    try:
        return subprocess.run(trial, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.heavy
@pytest.mark.skipif(not mounts(), reason="this machine lets nobody mount a file system")
def test_no_trial_is_lost_and_the_search_resumes(tmp_path):
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-m", "tests.full_disk", tmp_path, json.dumps(SPOTS)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr  # HDF5 used to crash at the end of the process.
    free, *spots, command = map(json.loads, done.stdout.splitlines())
    assert [spot["pages"] for spot in spots] == SPOTS
    for spot in spots:
        first, again = spot["first"], spot["again"]
        assert "FAILED" not in spot["states"].values(), spot
        assert "INVALID" not in spot["states"].values(), spot
        if spot is spots[-1]:  # All but the result was written.
            assert first["error"] is None
            assert "No space left on device" in first["unsaved"]
        else:
            kind, message = first["error"]
            assert kind == "StorageError"
            folder = tmp_path / "disk" / f"project{spot['pages']}"
            assert f"`{folder}`: [Errno 28] No space left on device. What is finished" in message
        assert (again["error"], again["unsaved"]) == (None, None)
        # The first trials are not drawn by the sampler, which goes another way after a break.
        assert again["rows"][:3] == free["rows"][:3]
        assert [row[1] for row in again["rows"]] == ["COMPLETE"] * 4
        assert sorted(spot["ends"]) == ["0", "1", "2", "3"]
    assert command["code"] == 1
    assert "2 trials, 2 complete." in command["output"]
    assert "Error: The result was not saved: OSError: [Errno 28]" in command["output"]


def test_what_is_a_failure_of_the_disk():
    full = OSError(errno.ENOSPC, "No space left on device")
    try:
        try:
            raise full
        except OSError as error:
            raise ValueError("could not write") from error
    except ValueError as error:
        wrapped = error
    assert is_storage_failure(full)
    assert is_storage_failure(wrapped)
    assert is_storage_failure(OSError("Can't write data (errno = 28, No space left on device)"))
    assert not is_storage_failure(FileNotFoundError(errno.ENOENT, "No such file"))
    assert not is_storage_failure(ValueError("No space left on device"))  # A user's own words.
    sent = pickle.loads(pickle.dumps(storage_error("worker", wrapped)))
    here = storage_error("runs/speech", sent)
    assert isinstance(here, StorageError)
    assert "in `runs/speech`: [Errno 28] No space left on device. What" in str(here)


def test_a_database_that_is_full(tmp_path):
    with sqlite3.connect(tmp_path / "small.db") as database:
        database.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as caught:
            database.execute("CREATE TABLE a (b)").execute("INSERT INTO a VALUES (zeroblob(90000))")
    database.close()
    assert is_storage_failure(caught.value)
