"""Finds the search that a command is about and where its runs are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from recdrop_tune.files import JOURNAL, RUNS


def project_folder(directory: Path | None) -> Path:
    """Returns the folder of a search: `directory`, or by default the newest one in `recdrop_runs`.

    Raises:
        click.ClickException: There is no search.
    """
    if directory is None:
        journals = Path(RUNS).glob(f"*/{JOURNAL}")
        newest = max(journals, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            raise click.ClickException("There is no search in recdrop_runs. Give its folder.")
        return newest.parent
    if not directory.is_dir():
        raise click.ClickException(f"There is no folder {directory}.")
    if not (directory / JOURNAL).exists():
        raise click.ClickException(
            f"The folder {directory} holds no search of recdrop-tune: it has no {JOURNAL}."
        )
    return directory


def tracking_uri(given: str | None, search: Any) -> str:
    """Returns the tracking URI to use: the given one, that of the search, or `tune`'s default.

    Raises:
        click.ClickException: MLflow 3 does not support it.
    """
    from recdrop_tune.addresses import resolve_uri
    from recdrop_tune.credentials import HIDDEN
    from recdrop_tune.errors import InvalidArgumentError

    if given is None and search.tracking_uri and HIDDEN not in search.tracking_uri:
        return str(search.tracking_uri)
    try:
        return resolve_uri(given)
    except InvalidArgumentError as error:
        raise click.ClickException(str(error)) from None


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
