"""Fills a small disk and searches on it, again and again; run by `test_full_disk` in a mount namespace.

    unshare -rm python -m tests.full_disk FOLDER SPOTS

Prints one line of JSON for each spot: how the search ended, what is in its folder, and what came of it with
room again. The first search has room, and the last one is the command's, with room for all but the result.
"""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from click.testing import CliRunner

import recdrop_tune as rdt
from recdrop_tune.cli import main as cli
from recdrop_tune.events import TrackingWarning, TrialEnded
from recdrop_tune.states import TrialState
from tests.small_search import data, tuned
from tests.tracked_events import events_of

PAGE = 4096


def fill(disk: Path, pages: int) -> None:
    """Fills a disk except for a number of pages."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            pass
    os.truncate(ballast, ballast.stat().st_size - pages * PAGE)


def search(folder: Path, max_trials: int) -> dict:
    """Searches; returns how that ended."""
    found: dict = {"unsaved": None, "error": None, "rows": None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrackingWarning)
            tracking = rdt.MLflow(uri=f"sqlite:///{folder.parent.parent}/mlflow.db")
            result = tuned(folder, tracking, max_trials=max_trials)
        frame = result.trials[["trial_id", "state", "wrapper", "val_loss"]].sort_values("trial_id")
        found |= {"unsaved": result.tracking.unsaved, "rows": frame.values.tolist()}
    except Exception as error:
        found["error"] = [type(error).__name__, str(error)]
    return found


def command(folder: Path, disk: Path) -> dict:
    """Runs `recdrop-tune run` where there is room for the trials and not for the result."""
    config = folder / "search.yaml"
    config.write_text(
        "model: tests.small_search:build\ndata: tests.full_disk:both\nmax_trials: 1\nepochs: 1\n"
        f"seed: 0\nverbose: 0\ntracking: {{uri: 'sqlite:///{folder}/mlflow.db'}}\n"
    )
    fill(disk, 200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrackingWarning)
        done = CliRunner().invoke(cli, ["run", str(config), "--directory", str(disk / "command")])
    return {"code": done.exit_code, "output": done.output}


def both():
    """Returns the training and the validation data."""
    return data(), data()


def main(folder: Path, spots: list[int]) -> None:
    """Searches with room, and then with each number of free pages."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    print(json.dumps(search(disk / "free", 3)), flush=True)
    for pages in spots:
        project = disk / f"project{pages}"
        fill(disk, pages)
        first = search(project, 3)
        (disk / "ballast").unlink()
        again = search(project, 3)
        ended = events_of(project, TrialEnded)
        ends = [each for each in ended if each.status != TrialState.INTERRUPTED]
        shutil.rmtree(project)
        outcome = {"pages": pages, "first": first, "again": again}
        print(json.dumps({**outcome, "ends": [each.trial_id for each in ends]}), flush=True)
    print(json.dumps(command(folder, disk)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
