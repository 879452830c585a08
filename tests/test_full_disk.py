"""Searches on a disk that is full: a file system in memory, mounted where the test alone sees it."""

import errno
import json
import os
import subprocess
import sys

import pytest

from recdrop_tune.errors import is_disk_failure
from recdrop_tune.files import write_atomically
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
        if spot is spots[-1]:  # All but the result was written.
            assert first["error"] is None
            assert "No space left on device" in first["unsaved"]
        else:
            kind, message = first["error"]
            assert kind == "OSError"
            folder = tmp_path / "disk" / f"project{spot['pages']}"
            assert f"[Errno 28] No space left on device: '{folder}" in message
        assert (again["error"], again["unsaved"]) == (None, None)
        # These trials are not drawn by the sampler, which goes another way after a break.
        assert again["rows"] == free["rows"]
        assert [row[1] for row in again["rows"]] == ["COMPLETE"] * 3
        assert sorted(spot["ends"]) == ["0", "1", "2"]
    assert command["code"] == 1
    assert "1 trials, 1 complete." in command["output"]
    assert "Error: The result was not saved: OSError: [Errno 28]" in command["output"]


def test_which_failures_are_those_of_a_disk():
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = ValueError("could not write")
    wrapped.__cause__ = full
    assert is_disk_failure(full)
    assert is_disk_failure(wrapped)
    assert not is_disk_failure(FileNotFoundError(errno.ENOENT, "No such file"))
    itself = ValueError("No space left on device")
    itself.__cause__ = itself
    assert not is_disk_failure(itself)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's full device")
def test_the_error_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "fresh").symlink_to("/dev/full")
    monkeypatch.setattr("recdrop_tune.files.fresh_path", lambda path: tmp_path / "fresh")
    with pytest.raises(OSError, match=r"No space left on device: '.*search\.json'"):
        write_atomically(tmp_path / "search.json", "{}")
