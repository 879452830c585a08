"""Finds the search that a command is about and where its runs are; loads TensorFlow quietly."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from recdrop_tune.files import JOURNAL, RUNS

# Loads TensorFlow without what it prints while it is loaded.


def load_quietly(*modules: str) -> None:
    """Imports modules that load TensorFlow, without what is written to stderr meanwhile.

    TensorFlow's libraries write of oneDNN and of missing CUDA drivers before any setting of its log holds.
    If an import fails, all that was written is shown after all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" in sys.modules:
        return
    if sys.stderr is None:  # Closed, as by `2>&-`.
        _import(modules)
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        loaded = False
        try:
            _import(modules)
            loaded = True
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if not loaded:
                said.seek(0)
                os.write(2, said.read())


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        import_module(module)


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


def search_in(folder: Path) -> Any:
    """Reads how the search in a folder was begun: its last `SearchStarted`.

    Raises:
        click.ClickException: Its events do not say.
    """
    from recdrop_tune.errors import ProjectError
    from recdrop_tune.events import SearchStarted
    from recdrop_tune.journal import Journal

    try:
        events = Journal(folder / JOURNAL).read()
    except (OSError, ProjectError) as error:
        raise click.ClickException(f"{folder / JOURNAL} cannot be read: {error}") from None
    begun = [event for event in events if isinstance(event, SearchStarted)]
    if not begun:
        raise click.ClickException(f"No search has been started in {folder}.")
    return begun[-1]


def tracking_uri(given: str | None, search: Any) -> str:
    """Returns the tracking URI to use: the one given, that of the search, else the one that `tune` would use.

    Raises:
        click.ClickException: It is none that MLflow 3 can work with.
    """
    from recdrop_tune.addresses import resolve_uri
    from recdrop_tune.credentials import HIDDEN
    from recdrop_tune.errors import InvalidArgumentError

    kept = None if search is None else search.tracking_uri
    if given is None and kept is not None and HIDDEN not in kept:
        return str(kept)
    try:
        return resolve_uri(given)
    except InvalidArgumentError as error:
        raise click.ClickException(str(error)) from None


def be_quick_and_quiet() -> None:
    """Makes MLflow's client give up within seconds, not four minutes, and TensorFlow report no devices."""
    be_quiet()
    for name, value in (("MAX_RETRIES", "1"), ("BACKOFF_FACTOR", "1"), ("TIMEOUT", "20")):
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)


def be_quiet() -> None:
    """Keeps TensorFlow from reporting devices, and requests to this machine from going to a proxy."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A proxy has no business with this machine.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
