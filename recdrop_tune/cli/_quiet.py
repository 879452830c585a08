"""Loads TensorFlow without what it prints while it is loaded."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module


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
