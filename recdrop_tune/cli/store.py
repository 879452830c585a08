"""Which search a command is about, and where its runs are."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

# Loads TensorFlow without what it prints while it is loaded.


def load_quietly(*modules: str) -> None:
    """Imports modules that load TensorFlow, and keeps what is written to stderr meanwhile to itself.

    TensorFlow's libraries tell of oneDNN and of missing CUDA drivers before any setting of its log holds.
    If an import fails, all that was written is shown after all.

    Args:
        *modules: Their names.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Each structure that a search tries is traced anew: that is no news, and in the middle of its lines.
    logging.getLogger("tensorflow").addFilter(_is_news)
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


def _is_news(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


EVENTS = "events.jsonl"
"""The journal of a search: `tracking.FILE`, without the imports of `tracking`, which take seconds."""

RUNS = Path("recdrop_runs")
"""Where searches have their project folders by default."""


def project_folder(directory: Path | None) -> Path | None:
    """Returns the folder of a search: the one given, else the newest one in `recdrop_runs`.

    Raises:
        click.ClickException: The one given is not the folder of a search.
    """
    if directory is None:
        folders = [path.parent for path in RUNS.glob(f"*/{EVENTS}")]
        return max(folders, key=lambda folder: (folder / EVENTS).stat().st_mtime, default=None)
    if not directory.is_dir():
        raise click.ClickException(f"There is no folder {directory}.")
    if not (directory / EVENTS).exists():
        raise click.ClickException(
            f"The folder {directory} holds no search of recdrop-tune: it has no {EVENTS}."
        )
    return directory


def search_in(folder: Path) -> Any:
    """Reads how the search in a folder was begun: its last `SearchStarted`.

    Raises:
        click.ClickException: Its events do not say.
    """
    from recdrop_tune.events import Journal, SearchStarted

    try:
        events = Journal(folder / EVENTS).read()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise click.ClickException(
            f"{folder / EVENTS} is damaged, or another program's: {type(error).__name__}: {error}"
        ) from None
    begun = [event for event in events if isinstance(event, SearchStarted)]
    if not begun:
        raise click.ClickException(f"No search has been started in {folder}.")
    return begun[-1]


def tracking_uri(given: str | None, search: Any) -> str:
    """Returns the tracking URI to use: that of the search, else the one that `tune` would use.

    Args:
        given: What the user has said, which goes first.
        search: The beginning of the search, if one is meant.

    Raises:
        click.ClickException: It is none that MLflow 3 can work with.
    """
    from recdrop_tune.credentials import HIDDEN
    from recdrop_tune.errors import InvalidArgumentError
    from recdrop_tune.mlflow_store import resolve_uri

    kept = None if search is None else search.tracking_uri
    if given is None and kept is not None and HIDDEN not in kept:
        return str(kept)
    try:
        return resolve_uri(given)
    except InvalidArgumentError as error:
        raise click.ClickException(str(error)) from None


def be_quick_and_quiet() -> None:
    """Has MLflow's client give up within seconds, not four minutes, and TensorFlow report no devices."""
    be_quiet()
    for name, value in (("MAX_RETRIES", "1"), ("BACKOFF_FACTOR", "1"), ("TIMEOUT", "20")):
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)


def be_quiet() -> None:
    """Has TensorFlow report no devices, and no proxy asked for this machine."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A proxy has no business with this machine.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
