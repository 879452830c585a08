"""Trainings that pause: what they leave on disk, and how they continue."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import ProjectError
from recdrop_tune.files import write_atomically

# What belongs to a process: callbacks find it again when their training begins.
_OF_PROCESS = (keras.layers.Layer, keras.Variable, keras.optimizers.Optimizer)
_NOT_KEPT = {
    keras.callbacks.Callback: ("_model", "params"),
    # They change the sign when the first epoch ends.
    keras.callbacks.EarlyStopping: ("min_delta",),
    keras.callbacks.ReduceLROnPlateau: ("min_delta",),
    # It looks at its file when the training begins.
    keras.callbacks.CSVLogger: ("append", "append_header", "keys"),
}


def state_path(folder: Path, epoch: int) -> Path:
    """Returns the file of the trainings of a trial that have paused after a number of epochs."""
    return folder / f"paused-{epoch}.npz"


def _states(folder: Path) -> dict[int, Path]:
    names = {path.stem.removeprefix("paused-"): path for path in folder.glob("paused-*.npz")}
    return {int(name): path for name, path in names.items() if name.isdecimal()}


def paused_epoch(folder: Path) -> int:
    """Returns the number of epochs after which the trial of a folder can continue; 0 if it begins anew."""
    return max(_states(folder), default=0)


def drop_states(folder: Path, before: float = math.inf) -> None:
    """Deletes the files of paused trainings, or those with fewer epochs."""
    for epoch, path in _states(folder).items():
        if epoch < before:
            path.unlink(missing_ok=True)


@dataclass
class PausedTraining:
    """One training of a trial.

    Attributes:
        curve: The metrics of its epochs so far, by number.
        variables: The values of the model's and the optimizer's variables; None if it is over.
        callbacks: The class and the attributes of each callback of the user.
    """

    curve: dict[int, dict[str, float]]
    variables: list[Any] | None = None
    callbacks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@dataclass
class PausedTrial:
    """All trainings of a trial.

    Attributes:
        epoch: The number of epochs so far.
        best: The objective at the best epoch so far.
        weights: The weights of that epoch. They are written as a checkpoint when the trial ends.
        trainings: One for each execution and fold.
    """

    epoch: int = 0
    best: float | None = None
    weights: list[Any] | None = None
    trainings: list[PausedTraining] = field(default_factory=list)

    def training(self, number: int) -> PausedTraining | None:
        """Returns one of the trainings, or None before the first pause."""
        return self.trainings[number] if self.epoch else None

    def save(self, folder: Path) -> None:
        """Writes the file of the trial, all of it or nothing, and deletes the one before."""
        arrays: list[Any] = []
        about = np.array(json.dumps(_encoded(asdict(self), arrays)))
        file = io.BytesIO()
        np.savez(file, about, *arrays)
        write_atomically(state_path(folder, self.epoch), file.getvalue())
        drop_states(folder, before=self.epoch)


def load(folder: Path) -> PausedTrial:
    """Reads what a paused trial has left; without a file, it begins anew.

    Raises:
        ProjectError: The file is damaged.
    """
    epoch = paused_epoch(folder)
    if not epoch:
        return PausedTrial()
    path = state_path(folder, epoch)
    try:
        with np.load(path) as file:  # Without pickles: anybody may have put a file into the folder.
            about, *arrays = (file[f"arr_{number}"] for number in range(len(file.files)))
        state = _decoded(json.loads(str(about)), arrays)
        trainings = [PausedTraining(**each) for each in state["trainings"]]
        return PausedTrial(int(state["epoch"]), state["best"], state["weights"], trainings)
    except Exception as error:  # A damaged file can raise anything.
        raise ProjectError(
            f"`{path}` is damaged ({type(error).__name__}: {error}). Delete it, and its trial begins anew."
        ) from error


def _encoded(value: Any, arrays: list[Any]) -> Any:
    """Returns a value for JSON, with numbers for its arrays, which are added to a list.

    Raises:
        TypeError: It has something else than numbers, text, arrays, and lists, tuples and dicts of them.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.name == "bfloat16":
        value = value.astype("float32")  # NumPy's files have no bfloat16.
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_encoded(each, arrays) for each in value]}
    if type(value) is dict:
        pairs = value.items()
        return {"dict": [[_encoded(k, arrays), _encoded(v, arrays)] for k, v in pairs]}
    raise TypeError(type(value).__name__)


def _decoded(value: Any, arrays: Sequence[Any]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {_decoded(k, arrays): _decoded(v, arrays) for k, v in content}
    values = [_decoded(each, arrays) for each in content]
    return values if kind == "list" else tuple(values)


class Pause(keras.callbacks.Callback):
    """Stops a training after an epoch, and lets it continue there. Has to be the last callback.

    Each part of a training is a separate `fit`. The callbacks of the user begin each time, and then get their
    attributes back, but for text, functions and what belongs to the process.

    Args:
        at: The number of epochs after which it stops; None: it trains to its end.
        callbacks: The callbacks of the user.
        before: What the training left when it paused, or None.

    Attributes:
        after: What it leaves now; None if it is over.
        failure: Why it could not pause, or None.
    """

    counts_steps = True  # It has no methods for batches.

    def __init__(
        self, at: int | None, callbacks: Sequence[Any], before: PausedTraining | None
    ) -> None:
        super().__init__()
        self._at, self._callbacks, self._before = at, list(callbacks), before
        self._number = 0
        self.after: PausedTraining | None = None
        self.failure: str | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Restores variables and callbacks."""
        before = self._before
        self._number = len(_variables(self.model)) if self.model.weights else 0
        if before is None or before.variables is None:
            return
        for variable, value in zip(_variables(self.model), before.variables, strict=True):
            variable.assign(value)
        waiting = list(before.callbacks)
        for callback in self._callbacks:
            # A search can be resumed with other callbacks.
            state = next((each for each in waiting if each[0] == type(callback).__name__), None)
            if state is not None:
                waiting.remove(state)
                _restore(callback, state[1])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keeps variables and callbacks, and stops."""
        if self._at is None or epoch + 1 < self._at or self.model.stop_training:
            return
        try:
            attributes = [(type(each).__name__, _attributes(each)) for each in self._callbacks]
        except TypeError as error:
            self.failure = str(error)
            return
        variables = _variables(self.model)
        if len(variables) != self._number:
            self.failure = "the model has its weights only after its first batch"
            return
        # Copies: PyTorch's arrays share the memory of the variables.
        values = [np.array(keras.ops.convert_to_numpy(each)) for each in variables]
        self.after = PausedTraining({}, values, attributes)
        self.model.stop_training = True


def _variables(model: Any) -> list[Any]:
    """Lists the weights and the optimizer's variables. Seeds are new after each pause, and metrics too."""
    optimizer = model.optimizer
    if optimizer is None:
        return list(model.weights)
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return [*model.weights, *optimizer.variables]


def _restore(callback: Any, attributes: dict[str, Any]) -> None:
    """Restores attributes, but no text: a stranger's folder must not say where a callback writes."""
    own = vars(callback)
    for name, value in attributes.items():
        if not isinstance(value, str) and not isinstance(own.get(name), str):
            own[name] = value


def _attributes(callback: Any) -> dict[str, Any]:
    """Returns the attributes of a callback, but for text, functions and what belongs to the process.

    Raises:
        TypeError: One of them cannot be kept.
    """
    kinds = [names for kind, names in _NOT_KEPT.items() if isinstance(callback, kind)]
    is_library = type(callback).__module__.partition(".")[0] in ("keras", "tensorboard")
    attributes = {}
    for name, value in vars(callback).items():
        is_kept = not (isinstance(value, str) or callable(value) or _is_of_process(value))
        if not is_kept or any(name in names for names in kinds):
            continue
        try:
            _encoded(value, [])
        except TypeError as error:
            if is_library:  # Such as a file, which it opens when its training begins.
                continue
            raise TypeError(f"`{type(callback).__name__}.{name}` has a {error}") from None
        attributes[name] = value
    return attributes


def _is_of_process(value: Any) -> bool:
    parts = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(each, _OF_PROCESS) for each in parts)


def before_fit(callbacks: Sequence[Any], before: PausedTraining | None) -> None:
    """Lets the callbacks of a training that continues append to their files."""
    for callback in callbacks if before is not None else ():
        if isinstance(callback, keras.callbacks.CSVLogger):
            callback.append = True
