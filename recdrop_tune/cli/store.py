"""What several commands need: the folder of a search, and MLflow and TensorFlow that are quiet."""

from __future__ import annotations

import os
from pathlib import Path

from recdrop_tune.errors import RecdropError
from recdrop_tune.files import JOURNAL, RUNS


def project_folder(directory: Path | None) -> Path:
    """Returns the folder of a search: `directory`, or by default the newest one in `recdrop_runs`."""
    if directory is None:
        journals = Path(RUNS).glob(f"*/{JOURNAL}")
        newest = max(journals, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            raise RecdropError("There is no search in recdrop_runs. Give its folder.")
        return newest.parent
    if not directory.is_dir():
        raise RecdropError(f"There is no folder {directory}.")
    if not (directory / JOURNAL).exists():
        raise RecdropError(
            f"The folder {directory} holds no search of recdrop-tune: it has no {JOURNAL}."
        )
    return directory


def be_quick_and_quiet() -> None:
    """Makes MLflow's client give up within seconds instead of minutes; see also `be_quiet`."""
    be_quiet()
    for name, value in (("MAX_RETRIES", "1"), ("BACKOFF_FACTOR", "1"), ("TIMEOUT", "20")):
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)


def be_quiet() -> None:
    """Silences TensorFlow's log, and keeps requests to this machine away from a proxy."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
