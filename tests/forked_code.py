"""Runs the `code` of an order in a fork that has imported what a search needs; see `tests.forks`."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import alembic.command  # noqa: F401
import mlflow.pyfunc
import mlflow.store.tracking.sqlalchemy_workspace_store  # noqa: F401

import recdrop_tune.search.tuning  # noqa: F401
from recdrop_tune.results import TuneResult
from tests import small_search  # noqa: F401
from tests.forks import serve
from tests.tracked_events import ended, journaled, started, trial

with TemporaryDirectory() as _folder:  # The first figures take Plotly a second.
    journaled(Path(_folder), started(), *trial(0), *trial(1), ended())
    TuneResult.load(_folder).report(Path(_folder, "report.html"))

if __name__ == "__main__":
    serve(lambda order: exec(order["code"], {}))
