"""Saves a result into its project folder: as a whole, so that a crash leaves the one before."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
import numpy as np
import pandas as pd

from recdrop_tune.data_description import tensor_specs
from recdrop_tune.errors import RecdropError, is_disk_failure
from recdrop_tune.events import ResultSaved, TrackingWarning
from recdrop_tune.files import (
    CODE,
    MODEL,
    MODEL_CARD,
    RESULT,
    delete_leftovers_of,
    fresh_path,
    inside,
    name_file_in_errors,
)
from recdrop_tune.markdown import NOTE_LENGTH
from recdrop_tune.models import own_layers, to_plain
from recdrop_tune.results.model_comparison import ModelComparison, comparison_outline
from recdrop_tune.results.outline import full_outline, outline
from recdrop_tune.results.render import as_markdown, as_page
from recdrop_tune.results.stored import saved_trial
from recdrop_tune.results.view import SearchView
from recdrop_tune.states import FINAL

_TOP = 5
"""How many trials the description of the run in MLflow lists."""

_CUT = "\n\n(The rest is in `summary.md`.)\n"

_ABSENT = (RecdropError, NotImplementedError, FileNotFoundError, kt.errors.FatalTypeError)
"""Errors of searches that have no such piece: the tuner keeps no Keras models, or no code exists."""


def save_result(
    view: SearchView, directory: Path, model: Callable[[], Any] | None, code: Callable[[], str]
) -> ResultSaved | None:
    """Writes the folder `result` of a project; returns `None` if no trial is complete.

    `model` builds the best model, `None` if it is not safe to load, and `code` writes it as Python. A piece
    that cannot be written, such as a model with layers that Keras cannot save, is left out with a warning.
    """
    if not view.ranking:
        return None
    best_id, best = view.ranking[0], view.values_of(view.ranking[0])
    trials = view.trials.drop(columns="mlflow_run_id")  # The folder alone does not know it.
    # What writes a piece; or returns its text.
    pieces: dict[str, Callable[[Path], object]] = {
        "summary.md": lambda path: as_markdown(outline(view, _TOP)),
        "trials.csv": lambda path: _as_csv(trials),
        # As `MlflowClient.log_table` writes it, so that MLflow's pages show a table.
        "trials.json": lambda path: trials.to_json(orient="split", index=False, date_format="iso"),
        "history.csv": lambda path: _as_csv(view.history),
        "report.html": lambda path: as_page(directory.name, full_outline(view)),
    }
    if (shares := view.importances) is not None:
        pieces["importances.json"] = lambda path: json.dumps(shares.to_dict(), indent=2)
    if (confirmation := view.confirmation) is not None:
        pieces["confirmation.csv"] = lambda path: _as_csv(confirmation.table)
    if model is not None:
        pieces[MODEL] = lambda path: _save_model(path, model, best_id, best)
        pieces[CODE] = lambda path: code()
    return _save(directory, pieces, best_id, best, _numbers(view))


def save_comparison(comparison: ModelComparison) -> ResultSaved | None:
    """Writes the folder `result` of a comparison of models; returns `None` if no training has a score."""
    lead = comparison.lead
    if lead is None:
        return None
    sections, gain = comparison_outline(comparison), comparison.judged[lead]
    pieces: dict[str, Callable[[Path], object]] = {
        "summary.md": lambda path: as_markdown(sections[:2]),
        "models.csv": lambda path: _as_csv(comparison.table),
        "runs.csv": lambda path: _as_csv(comparison.runs),
        "report.html": lambda path: as_page(comparison.folder.name, sections),
    }
    best = {"model": comparison.names[lead], "outcome": comparison.outcome}
    numbers = {"gain": gain.gain, "gain_low": gain.low, "gain_high": gain.high}
    return _save(comparison.folder, pieces, lead, best, numbers)


def _save(
    directory: Path,
    pieces: Mapping[str, Callable[[Path], object]],
    best_id: str,
    best: dict[str, Any],
    numbers: Mapping[str, float],
) -> ResultSaved:
    """Writes the folder `result`; what cannot be written is left out."""
    place = directory / RESULT
    with _replaced(place) as folder:
        for name, write in pieces.items():
            if name == CODE and not (folder / MODEL).exists():
                continue
            try:
                with name_file_in_errors(place / name):
                    text = write(folder / name)
                    if isinstance(text, str):
                        (folder / name).write_bytes(text.encode())
                continue
            except _ABSENT:
                pass
            except Exception as error:  # A user's model can fail in any way.
                if is_disk_failure(error):
                    raise  # There is no room for the other pieces either.
                what = f"`{place / name}` was not written: {type(error).__name__}: {error}"
                warnings.warn(what, TrackingWarning, stacklevel=3)
            (folder / name).unlink(missing_ok=True)
        if not (folder / MODEL).exists():
            _keep_model(directory, folder, best_id)
        path = folder / "summary.md"
        summary = path.read_text(encoding="utf-8") if path.exists() else ""
        if len(summary) > NOTE_LENGTH:
            summary = summary[: NOTE_LENGTH - len(_CUT)].rpartition("\n")[0] + _CUT
        files = sorted(f"{RESULT}/{path.name}" for path in folder.iterdir())
    return ResultSaved(
        files=files,
        summary=summary,
        best_trial_id=best_id,
        best=best,
        metrics={name: float(each) for name, each in numbers.items() if math.isfinite(each)},
    )


def _save_model(
    path: Path, build: Callable[[], Any], trial_id: str, hyperparameters: dict[str, Any]
) -> None:
    """Writes a model for inference, in stock Keras layers if possible, and its description for MLflow."""
    with warnings.catch_warnings():
        # The optimizer's state is not needed here.
        warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
        model = build()
    if not isinstance(model, keras.Model):
        raise RecdropError("The best model is not a keras.Model.")
    try:
        model, plain = to_plain(model), True
    except Exception:  # A user's layers may refuse in any way, and can still be saved.
        plain = not own_layers(model)
    model.save(path)
    digest = hashlib.sha256()  # Two files of one model are not the same to the byte.
    for array in model.get_weights():
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    backend = keras.backend.backend()
    # By the module: the package may be called keras-nightly, or tensorflow-cpu.
    versions = {"keras": keras.__version__, backend: sys.modules[backend].__version__}
    versions |= {name: version(name) for name in ("numpy", *["recdrop-tune"][plain:])}
    card = {
        "trial_id": trial_id,
        "hyperparameters": hyperparameters,
        "plain": plain,
        "fingerprint": digest.hexdigest(),
        "signature": _signature(model),
        # MLflow's own guess would take eight seconds.
        "requirements": [f"{name}=={number}" for name, number in versions.items()],
    }
    path.with_name(MODEL_CARD).write_bytes(json.dumps(card, indent=2).encode())


def _signature(model: keras.Model) -> dict[str, str | None] | None:
    """Describes inputs and outputs as MLflow's `ModelSignature`; `None` if Keras does not know them."""

    def schema(tensors: list[Any]) -> str:
        return tensor_specs(
            (
                tensor.name if len(tensors) > 1 else None,
                np.dtype(keras.backend.standardize_dtype(tensor.dtype)),
                # MLflow is certain about one open size only: the batch's.
                (-1, *(-1 if size is None else size for size in tensor.shape[1:])),
            )
            for tensor in tensors
        )

    try:
        return {"inputs": schema(model.inputs), "outputs": schema(model.outputs), "params": None}
    except (AttributeError, ValueError, TypeError):
        return None


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Yields an empty folder, which replaces another one once all is in it."""
    earlier = folder.with_name(f"{folder.name}.old")
    if earlier.exists() and not folder.exists():  # A crash between the two renamings.
        earlier.rename(folder)
    shutil.rmtree(earlier, ignore_errors=True)
    delete_leftovers_of(folder)
    unfinished = fresh_path(folder)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        if folder.exists():
            folder.rename(earlier)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(earlier, ignore_errors=True)


def _keep_model(directory: Path, folder: Path, trial_id: str) -> None:
    """Copies the model of the result before, if it is of the same trial: its weights can be gone."""
    if saved_trial(directory) == trial_id and (directory / RESULT / MODEL).is_file():
        for name in (MODEL, MODEL_CARD, CODE):
            path = inside(directory, f"{RESULT}/{name}", RESULT)
            if path.is_file():
                shutil.copyfile(path, folder / name)


def _as_csv(table: pd.DataFrame) -> str:
    """Writes a table as CSV, with a quote before text that a spreadsheet would run as a formula."""

    def escaped(value: Any) -> Any:
        # https://owasp.org/www-community/attacks/CSV_Injection
        return re.sub(r"^(?=[=+\-@\t\r])", "'", value) if isinstance(value, str) else value

    return table.astype(object).map(escaped).rename(columns=escaped).to_csv(index=False)


def _numbers(view: SearchView) -> dict[str, float]:
    """Returns the numbers of the search as a whole, which MLflow shows next to its name."""
    counts = view.trials["state"].value_counts()
    numbers: dict[str, float] = {"n_trials": len(view.trials)}
    numbers |= {f"n_{each.lower()}": counts.get(each, 0) for each in FINAL}
    if view.confirmation is not None:
        numbers["confirmed"] = view.confirmation.best["mean"]
        for metric, gains in view.confirmation.gains.items():
            if (gain := gains.get(view.confirmation.dropping_id or "")) is not None:
                name = f"confirmed_{'test_' if metric != view.objective else ''}gain"
                numbers |= {name: gain.gain, f"{name}_low": gain.low, f"{name}_high": gain.high}
                if metric == view.confirmation.metric:
                    numbers[name] = view.confirmation.gain
    elif view.gain is not None:
        numbers["gain"] = view.gain.stated
    return numbers
