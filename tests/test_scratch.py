"""Scratch folders disappear with their process, even if it is killed; other folders stay."""

import subprocess
import sys
from pathlib import Path

from recdrop_tune.files import IN_USE, remove_abandoned, scratch_folder
from tests import ROOT

PREFIX = "recdrop-[test]-"

HOLDING = f"""
import sys
from pathlib import Path
from recdrop_tune.files import scratch_folder
with scratch_folder({PREFIX!r}, Path(sys.argv[1])) as folder:
    (folder / "weights").write_text("some")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_the_next_process_removes_the_folder_of_a_killed_one(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        held = Path(process.stdout.readline().strip())
        with scratch_folder(PREFIX, tmp_path) as folder:
            assert (held / "weights").read_text() == "some"  # Its process lives.
            assert folder.is_dir()
        assert not folder.exists()
        process.kill()
    with scratch_folder(PREFIX, tmp_path):
        assert not held.exists()


def test_other_folders_stay(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for folder in (elsewhere, tmp_path / f"{PREFIX}unmarked"):
        folder.mkdir()
    (elsewhere / IN_USE).touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    before = sorted(tmp_path.rglob("*"))
    remove_abandoned(PREFIX, tmp_path)
    remove_abandoned(PREFIX, tmp_path / "missing")
    assert sorted(tmp_path.rglob("*")) == before
