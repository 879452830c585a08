"""What makes two searches the same one, where that is written, and what to do where they are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.errors import ProjectError, invalid_argument
from recdrop_tune.events import SearchStarted
from recdrop_tune.files import JOURNAL as EVENTS
from recdrop_tune.files import SEARCH
from recdrop_tune.journal import Journal
from recdrop_tune.oracle import (
    HyperParameter,
    in_words,
    is_same,
    read_object,
)

# The tuners of `tune` by what their events call them.
_TUNERS = {
    "OptunaOracle": "optuna",
    "RandomSearchOracle": "random",
    "BayesianOptimizationOracle": "bayesian",
    "HyperbandTuner": "hyperband",
    "GridSearchOracle": "grid",
}


@dataclass(frozen=True)
class Fingerprint:
    """What makes two searches the same one. `max_trials` is no part of it: a search can go on.

    Attributes:
        space: The search space as YAML, or the name of the hypermodel that defines it.
        objective: Name of the objective; several are joined by commas.
        direction: `"min"` or `"max"`, of each.
        tuner: Name of the tuner.
        epochs: Epochs of one trial.
        batch_size: Size of a batch.
        seed: Seed of the search; `None` where none is given.
        executions: Trainings of each trial.
        cv: Folds of cross-validation, in words.
        model: What is the same in all models of the search, as far as it is known.
        class_weight: Weights of the classes, in words.
        early_stopping: After how many epochs without a gain a training ends.
        loss: The loss of all models of the search, in words, as far as it is known.
        fit: Other arguments of `fit`, in words.
    """

    space: str
    objective: str
    direction: str
    tuner: str
    epochs: int
    batch_size: int
    seed: int | None
    executions: int = 1
    cv: str | None = None
    model: str | None = None
    class_weight: str | None = None
    early_stopping: int | None = None
    loss: str | None = None
    fit: str | None = None


_REMEDY = "Give another `directory`, or delete the search there with `overwrite=True`."

_LATER = ("model", "class_weight", "early_stopping", "loss", "fit")
"""Of these the folders of earlier versions do not say anything."""


@dataclass(frozen=True)
class Newcomer:
    """A search that comes to the folder of another one, as far as tells what it can take over.

    Attributes:
        space: Returns its hyperparameters; they are asked for where the two differ.
    """

    space: Callable[[], Sequence[HyperParameter]]


def read_identity(path: Path) -> dict[str, Any] | None:
    """Reads which search a folder belongs to; `None` where the file is missing or damaged."""
    held = read_object(path) or {}
    return held if isinstance(held.get("fingerprint"), dict) and held.get("id") else None


def read_journal(folder: Path) -> dict[str, Any] | None:
    """Finds the fingerprint of a search by `tune` in its journal, without executions, folds and model."""
    begun = [each for each in Journal(folder / EVENTS).read() if isinstance(each, SearchStarted)]
    if not begun or begun[-1].space is None or begun[-1].tuner not in _TUNERS:
        return None
    last = begun[-1]
    goals = last.objectives or {last.objective: last.direction}
    numbers = ("epochs", "batch_size", "seed")
    known: dict[str, Any] = {name: last.info[name] for name in numbers if name in last.info}
    if len(known) < len(numbers):
        return None
    known |= {"objective": ",".join(goals), "direction": ",".join(goals.values())}
    known |= {"space": last.space, "tuner": _TUNERS[last.tuner]}
    return {"id": begun[0].search_id, "fingerprint": known}


def compare(
    folder: Path, held: Mapping[str, Any], wanted: Mapping[str, Any], newcomer: Newcomer
) -> None:
    """Raises unless two fingerprints are the same.

    Args:
        folder: The project folder.
        held: The fingerprint of the search in it, which may be of an earlier version.
        wanted: That of the search that is to go on in it.
        newcomer: That search.

    Raises:
        ProjectError: They differ; it says in what, and what can be taken over into another folder.
    """
    held = {name: wanted.get(name) for name in _LATER} | dict(held)
    if wanted.get("seed") is None:  # The search goes on with the seed that it has.
        held["seed"] = None
    differing = [name for name, value in wanted.items() if held.get(name) != value]
    if not differing:
        return
    lines = "\n".join(
        f"  {name}: {_short(held.get(name))} there, {_short(wanted[name])} now"
        for name in differing
    )
    raise ProjectError(
        f"The folder `{folder}` holds another search. It differs in:\n{lines}\n"
        f"Nothing was changed. {_REMEDY}"
    )


def check_space(folder: Path, tuner: str, newcomer: Newcomer) -> None:
    """Raises where a model asks for other hyperparameters than the search in a folder has.

    A function or a hypermodel is told by its name alone, and Keras Tuner would go on with the old ranges.

    Args:
        folder: The project folder.
        tuner: Name of the tuner.
        newcomer: The search that is to go on in it.

    Raises:
        ProjectError: They differ; it says in what, and what can be taken over into another folder.
    """
    saved = (read_object(folder / "oracle.json") or {}).get("hyperparameters")
    try:
        held = kt.HyperParameters.from_config(saved).space
    except (AttributeError, LookupError, TypeError, ValueError):
        return  # There is none yet, or it is damaged and will be mended.
    lines = [line for hp in newcomer.space() if (line := _difference(hp, held))]
    if lines:
        raise ProjectError(
            f"The search in the folder `{folder}` has another search space. It differs in:\n"
            + "\n".join(lines)
            + f"\nNothing was changed. {_REMEDY}"
        )


def check_comparable(folder: Path, wanted: Mapping[str, Any], newcomer: Newcomer) -> None:
    """Raises where scores in the folder of another search do not compare with those of a new one.

    Args:
        folder: The folder of the other search.
        wanted: The fingerprint of the new one.
        newcomer: The new one.

    Raises:
        InvalidArgumentError: The objective or the number of epochs is another; or the loss, where it is what
            is scored, and both searches know theirs.
    """
    held = (read_identity(folder / SEARCH) or read_journal(folder) or {}).get("fingerprint", {})
    compared = ["objective", "direction", "epochs"]
    # An accuracy is one whatever the loss.
    if "loss" in wanted["objective"] and None not in (held.get("loss"), wanted["loss"]):
        compared.append("loss")
    differing = [name for name in compared if name in held and held[name] != wanted[name]]
    if not differing:
        return
    said = ", ".join(f"{n} {_short(held[n])} there, {_short(wanted[n])} now" for n in differing)
    raise invalid_argument(
        "warm_start",
        expected="folders of searches with the same objective, loss and epochs, whose scores compare",
        received=str(folder),
        fix=f"It differs: {said}.",
    )


def _difference(hp: Any, held: Sequence[Any]) -> str | None:
    """Says in what a hyperparameter is another one than before; `None` where it is the same."""
    there = [each for each in held if each.name == hp.name]
    if any(is_same(each, hp) for each in there):
        return None
    was = in_words(there[0]) if there else "not"
    if was == in_words(hp):
        return f"  {hp.name}: active with other values of the others"
    return f"  {hp.name}: {was} there, {in_words(hp)} now"


def _short(value: object) -> str:
    return repr(value.strip().replace("\n", "; ") if isinstance(value, str) else value)
