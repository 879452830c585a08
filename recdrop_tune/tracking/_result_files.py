"""The files of a result: where they are in a project folder, and how MLflow's pages get them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recdrop_tune.errors import plain
from recdrop_tune.paths import inside
from recdrop_tune.tracking._events import ResultSaved
from recdrop_tune.tracking._journal import FILE as JOURNAL

RESULT = "result"
"""The folder of a result, in the project's."""

MODEL, MODEL_CARD = "best_model.keras", "best_model.json"
"""The best model, and what MLflow is told of it."""

TABLE = "trials.json"
"""The trials in the format of MLflow's `log_table`."""

NOTE_LENGTH = 5000
"""The longest description of a run, for the oldest servers (MLflow 3 takes 8000 characters of a tag)."""


def harmless(markdown: str) -> str:
    """Makes Markdown that quotes others' words one in which there are no links, images and HTML.

    Whoever opens the page of a run would load an image from an address that the words name. Applied twice it
    changes nothing more.

    Example:
        >>> harmless("| rate | ![](http://host/pixel) <img> |")
        '| rate | !&#91;](http://host/pixel) &lt;img> |'
    """
    return plain(markdown).replace("[", "&#91;").replace("<", "&lt;")


def files_of(folder: str | Path, event: ResultSaved) -> list[Path]:
    """Returns the files of a result that are there.

    Args:
        folder: The project folder.
        event: What the journal says was saved there.

    Raises:
        ProjectError: The journal names a file elsewhere.
    """
    paths = [inside(folder, name, JOURNAL) for name in event.files]
    return [path for path in paths if path.is_file()]


def upload_result(client: Any, run_id: str, folder: str | Path, event: ResultSaved) -> None:
    """Gives the files of a result to a run, and its summary as the run's description.

    Doing it again replaces what was there. The model is left out: see `log_model`.

    Args:
        client: An `MlflowClient`.
        run_id: The run of the search.
        folder: The project folder.
        event: What was saved there.
    """
    paths = [path for path in files_of(folder, event) if path.name not in (MODEL, MODEL_CARD)]
    for path in paths:
        client.log_artifact(run_id, str(path), RESULT)
    client.set_tag(run_id, "mlflow.note.content", harmless(event.summary)[:NOTE_LENGTH])
    if any(path.name == TABLE for path in paths):
        # As `MlflowClient.log_table` does, which would add the rows to those that are there.
        logged = [{"path": f"{RESULT}/{TABLE}", "type": "table"}]
        client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(logged))
