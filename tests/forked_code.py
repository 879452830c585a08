"""Runs the `code` of an order in a fork that has imported what a search needs; see `tests.forks`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

import recdrop_tune.search  # noqa: F401
from tests import small_search, tracked_events  # noqa: F401
from tests.forks import serve

if __name__ == "__main__":
    serve(lambda order: exec(order["code"], {}))
