"""Saves what a search found into its project folder: all of it or, after a crash, what was there before.

The best model is saved as a file that Keras loads without this package, wherever that is possible.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import keras_tuner as kt
import pandas as pd

from recdrop_tune.errors import RecdropError, exception_line
from recdrop_tune.events import COMPLETE, FAILED, PRUNED, ResultSaved, TrackingWarning
from recdrop_tune.files import delete_leftovers_of, fresh_path
from recdrop_tune.mlflow_store import (
    CODE,
    MODEL,
    MODEL_CARD,
    RESULT,
    harmless,
    load_flavor,
    read_card,
)
from recdrop_tune.models import own_layers, to_plain
from recdrop_tune.results.program import program
from recdrop_tune.results.report import report_page
from recdrop_tune.results.text import bounded, markdown
from recdrop_tune.storage_errors import is_storage_failure

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult

SUMMARY = "summary.md"
"""The outcome in words, beside the files of a result."""


def save_best_model(result: TuneResult, path: Path) -> None:
    """Writes the best model for inference; beside it its source, and a card with what MLflow records of it.

    The dropout of this package does nothing outside training, so the file holds stock Keras layers; see
    `to_plain`. Zoneout, and models that Keras cannot rebuild, are saved as they are, and the card says why. A
    model that cannot be described is kept all the same: a warning says why MLflow does not get it.

    Args:
        result: The result.
        path: The file, which ends in `.keras`.

    Raises:
        RecdropError: The search has no model: its trials train none, or its weights were not kept.
    """
    model, refusal = _load(result), None
    try:
        saved, plain = to_plain(model), True
    except Exception as failure:  # A user's layers may refuse in any way; it may still be saved.
        saved, plain = model, False
        refusal = _refusal(failure) if own_layers(model) else None
    saved.save(path)
    try:
        card = {
            "trial_id": str(result.best_trial.trial_id),
            "hyperparameters": result.best_hyperparameters,
            "plain": plain,
            "not_plain": refusal,
            "fingerprint": _fingerprint(saved),
            "signature": _signature(saved),
            "requirements": _requirements(plain),
        }
        text = json.dumps(card, indent=2) + "\n"
        path.with_name(MODEL_CARD).write_text(text, encoding="utf-8")
    except Exception as failure:
        if is_storage_failure(failure):
            raise
        path.with_name(MODEL_CARD).unlink(missing_ok=True)
        what = (
            f"The best model is saved, and MLflow does not get it: {MODEL_CARD} was not written: "
        )
        warnings.warn(what + _in_a_line(failure), TrackingWarning, stacklevel=2)
    try:
        code = program(result, model)
    except Exception:  # The same; and not every model can be written.
        return
    path.with_name(CODE).write_text(code, encoding="utf-8")


def _refusal(failure: Exception) -> str:
    """Says why `to_plain` has refused a model."""
    expected = getattr(failure, "expected", "")
    return f"it takes {expected}" if expected else _in_a_line(failure)


def _in_a_line(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}"


def _load(result: TuneResult) -> Any:
    if isinstance(result.tuner, kt.SklearnTuner):
        # It keeps its models as pickles, and anybody may have put one into the folder.
        raise RecdropError("The best model is no keras.Model.")
    try:
        with warnings.catch_warnings():
            # The optimizer's state is not wanted here.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model = result.best_model()
    except FileNotFoundError as missing:
        raise RecdropError(f"The weights of the best trial are not there: {missing}") from None
    except NotImplementedError:
        raise RecdropError("The tuner saves no models.") from None
    except kt.errors.FatalTypeError:
        raise RecdropError("What the tuner builds is no keras.Model.") from None
    if not isinstance(model, keras.Model):
        raise RecdropError(f"The best model is no keras.Model but a {type(model).__name__}.")
    return model


def _fingerprint(model: Any) -> str:
    """Identifies a model by its weights: two files of one model are not the same to the byte."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _signature(model: Any) -> dict[str, Any] | None:
    """Describes inputs and outputs in MLflow's way; `None` where Keras does not know them."""
    load_flavor()
    from mlflow.models import ModelSignature

    try:
        inputs, outputs = _schema(model.inputs), _schema(model.outputs)
    except (AttributeError, ValueError, TypeError):
        return None
    return dict(ModelSignature(inputs=inputs, outputs=outputs).to_dict())


def _schema(tensors: Any) -> Any:
    import numpy as np
    from mlflow.types import Schema, TensorSpec

    several = len(tensors) > 1
    return Schema(
        [
            TensorSpec(
                np.dtype(keras.backend.standardize_dtype(tensor.dtype)),
                # MLflow has one size that is open for sure: that of the batch.
                (-1, *(-1 if size is None else size for size in tensor.shape[1:])),
                tensor.name if several else None,
            )
            for tensor in tensors
        ]
    )


def _requirements(plain: bool) -> list[str]:
    """Lists what it takes to load the model; MLflow's own guess would take eight seconds."""
    backend = keras.backend.backend()
    # By the module: the package may be called keras-nightly, or tensorflow-cpu.
    found = {"keras": keras.__version__, backend: str(sys.modules[backend].__version__)}
    found |= {"numpy": version("numpy")} | (
        {} if plain else {"recdrop-tune": version("recdrop-tune")}
    )
    return [f"{name}=={of}" for name, of in found.items()]


def save_result(result: TuneResult) -> ResultSaved | None:
    """Writes the folder `result` of a project.

    It holds `report.html`, `trials.csv`, `trials.json`, `history.csv`, `summary.md` and, where there are
    such, `importances.json`, `confirmation.csv` and `best_model.keras`. What cannot be written is left out;
    the best model of the result before stays, if it is of the same trial.

    Args:
        result: The result of the search.

    Returns:
        What was saved; `None` if no trial is complete.
    """
    if not (result.trials["state"] == COMPLETE).any():
        return None
    # First: without these there is no result, and an earlier one stays.
    best_id, best = str(result.best_trial.trial_id), result.best_hyperparameters
    folder = result.directory / RESULT
    numbers: dict[str, float] = {}
    with _replaced(folder) as unfinished:
        missing, failed = _write(result, unfinished)
        kept = MODEL in missing and _keep_model(folder, unfinished, best_id)
        told = [
            f"`{folder / name}` was not written{', and that of before stays' * kept * (name == MODEL)}: "
            f"{missing[name]}"
            for name in failed
        ]
        if kept:
            del missing[MODEL]
        # Where these fail, what has been written, the best model above all, is kept.
        try:
            text = markdown(result, missing, _not_plain(unfinished))
        except Exception as failure:
            text = f"The summary could not be written: {exception_line(str(failure))}\n"
            told.append(f"`{folder / SUMMARY}` has no summary: {_in_a_line(failure)}")
        try:
            numbers = _numbers(result)
        except Exception as failure:
            told.append(f"The numbers of the search are not recorded: {_in_a_line(failure)}")
        (unfinished / SUMMARY).write_text(harmless(text), encoding="utf-8")
        files = sorted(f"{RESULT}/{path.name}" for path in unfinished.iterdir())
    for what in told:
        warnings.warn(what, TrackingWarning, stacklevel=2)
    return ResultSaved(
        files=files,
        summary=bounded(text),
        best_trial_id=best_id,
        best=best,
        metrics=numbers,
    )


def _write(result: TuneResult, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Writes the pieces; returns why some are missing, and which of them could not be written."""
    missing, failed = {}, []
    for name, write in _PIECES.items():
        try:
            write(result, folder / name)
            continue
        except RecdropError as reason:  # There is no such thing in this search.
            missing[name] = exception_line(str(reason))
        except Exception as failure:  # A user's model can fail in any way.
            if is_storage_failure(failure):
                raise  # There is no room for the other pieces either, and what was there stays.
            missing[name] = _in_a_line(failure)
            failed.append(name)
        (folder / name).unlink(missing_ok=True)
    return missing, failed


def _keep_model(earlier: Path, folder: Path, trial_id: str) -> bool:
    """Takes over the best model of an earlier result, if it is that of the same trial; says whether it is."""
    try:
        card = read_card(earlier.parent)
    except RecdropError:  # Somebody has changed it.
        return False
    if card is None or card["trial_id"] != trial_id or not (earlier / MODEL).is_file():
        return False
    for name in (MODEL, MODEL_CARD, CODE):
        path = earlier / name
        if path.is_file():
            shutil.copyfile(path, folder / name)
    return True


def _not_plain(folder: Path) -> str | None:
    """Reads why the model in a folder that is being written has layers of this package, if it has."""
    path = folder / MODEL_CARD
    return json.loads(path.read_text(encoding="utf-8")).get("not_plain") if path.exists() else None


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that takes the place of another one when all is in it."""
    earlier = folder.with_name(f"{folder.name}.old")
    if earlier.exists() and not folder.exists():  # A crash between the two renamings.
        earlier.rename(folder)
    shutil.rmtree(earlier, ignore_errors=True)
    delete_leftovers_of(folder)
    unfinished = fresh_path(folder)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(earlier)
    unfinished.rename(folder)
    shutil.rmtree(earlier, ignore_errors=True)


def _trials(result: TuneResult) -> pd.DataFrame:
    """The trials as the folder alone knows them: MLflow's ids are MLflow's affair."""
    return result.trials.drop(columns="mlflow_run_id")


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a table, with a quote before text that a spreadsheet would run as a formula."""

    def escaped(value: Any) -> Any:
        # https://owasp.org/www-community/attacks/CSV_Injection
        return re.sub(r"^(?=[=+\-@\t\r])", "'", value) if isinstance(value, str) else value

    table.astype(object).map(escaped).rename(columns=escaped).to_csv(path, index=False)


def _importances(result: TuneResult, path: Path) -> None:
    path.write_text(json.dumps(result.importances().to_dict(), indent=2) + "\n", encoding="utf-8")


def _confirmation(result: TuneResult, path: Path) -> None:
    if result.confirmation is None:
        raise RecdropError("There was no confirmation.")
    _write_csv(result.confirmation.table, path)


_PIECES: dict[str, Callable[[TuneResult, Path], object]] = {
    "trials.csv": lambda result, path: _write_csv(_trials(result), path),
    # As `MlflowClient.log_table` writes it, so that MLflow's pages show a table.
    "trials.json": lambda result, path: _trials(result).to_json(
        path, orient="split", index=False, date_format="iso"
    ),
    "history.csv": lambda result, path: _write_csv(result.history, path),
    "importances.json": _importances,
    "confirmation.csv": _confirmation,
    "best_model.keras": save_best_model,
    "report.html": lambda result, path: path.write_text(report_page(result), encoding="utf-8"),
}


def _numbers(result: TuneResult) -> dict[str, float]:
    states = result.trials["state"]
    numbers: dict[str, Any] = {"n_trials": len(states)}
    for state in (COMPLETE, PRUNED, FAILED):
        numbers[f"n_{state.lower()}"] = int((states == state).sum())
    if result.confirmation is not None:
        numbers["confirmed"] = result.confirmation.best["mean"]
        dropping = result.confirmation.dropping_id
        if dropping is not None:
            row = result.confirmation.row(dropping)
            gains = [name for name in row.index if re.search(r"gain(_low|_high)?$", str(name))]
            numbers |= {f"confirmed_{name}": row[name] for name in gains}
    elif not result.wrappers.empty:
        gain, found = result.twin_gain, result.gain_over("none")
        numbers |= {} if gain is None else {"gain": gain.gain}
        numbers |= {} if found is None else {"found_gain": found.gain}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
