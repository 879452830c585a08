"""The events of a search: the one stream that the journal, MLflow and the terminal read.

Every event is plain data, so that it can be a line of JSON and come back unchanged.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, Protocol

from pydantic import Field, TypeAdapter

COMPLETE, PRUNED, FAILED = "COMPLETE", "PRUNED", "FAILED"
RETRY, KILLED, INTERRUPTED = "RETRY", "KILLED", "INTERRUPTED"
"""How a trial can end. `PRUNED`: stopped early, for it promised nothing.

`RETRY` is not the end: Keras Tuner runs it once more under the same id. Nor is `INTERRUPTED`: the search was
ended while the trial was under way (Ctrl-C, SIGTERM, a full disk), and begins it anew when it goes on. Where
a process was killed nobody could say so (`KILLED`).
"""

STATES = {"COMPLETED": COMPLETE, "STOPPED": PRUNED, "FAILED": FAILED, "INVALID": RETRY}
"""The same by the words that Keras Tuner has for them."""

STOPPED, EXHAUSTED = "STOPPED", "EXHAUSTED"
"""Why a search begins no more trials: somebody has asked it to end, or every configuration was tried."""

# Bounds of what is read from a journal: anybody may have written any number there.
Moment = Annotated[float, Field(ge=0, le=253_370_764_800)]
"""Seconds since 1970, until the year 9999, which is the last one that calendars here know."""

Seconds = Annotated[float, Field(ge=-1e12, le=1e12)]
"""How long something took; less than nothing where the clock was set back."""

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""What MLflow's databases hold."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened at a wall-clock time (seconds since 1970)."""

    time: Moment = field(default_factory=time.time)


@dataclass(frozen=True)
class Process:
    """A process, by its number and the name of its machine."""

    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)


@dataclass(frozen=True)
class Context:
    """What a search is about, and what a constant predictor scores.

    Attributes:
        words: The data in words, such as `"2 classes, 12 % positive, 2,000 sequences of 20 to 80 steps"`.
        predicts: What the constant predictor predicts, by the name of the objective, as far as that is known.
        constant: What it scores on the validation data, by the same names.
        noise: The standard errors of these scores, or more where luck can do more; by the same names.
    """

    words: str = ""
    predicts: dict[str, str] = field(default_factory=dict)
    constant: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SearchStarted(Event):
    """A search begins, or goes on.

    Attributes:
        search_id: Identity of the search; the same when it goes on.
        name: Name of the search.
        experiment: Experiment that it belongs to.
        tuner: Class of the tuner.
        objective: Name of the objective.
        direction: `"min"` or `"max"`.
        objectives: The directions of all objectives by name, where there are several.
        max_trials: The most trials that are run.
        space: The search space as YAML, where it is known.
        tracking_uri: Where MLflow's runs are, without credentials.
        info: What else is worth recording: epochs, seed, sampler, versions.
        data: The data sets, as `describe_data` describes them.
        register_model: The name under which MLflow's registry gets the best model, if it is to.
        context: What the search is about, where `tune` has looked at the data.
        configurations: How many configurations the space has, where these are fewer than `max_trials`.
        pid: The process in which it was begun.
        host: The machine of that process.
        go_on: How to go on with it, in words or as a command, where `tune` or a command has begun it.
    """

    search_id: str
    name: str
    experiment: str
    tuner: str
    objective: str
    direction: str
    max_trials: Count | None = None
    space: str | None = None
    info: dict[str, Any] = field(default_factory=dict)
    tracking_uri: str | None = None
    data: list[dict[str, Any]] = field(default_factory=list)
    register_model: str | None = None
    objectives: dict[str, str] = field(default_factory=dict)
    context: Context | None = None
    configurations: Count | None = None
    pid: Count | None = None
    host: str | None = None
    go_on: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrialStarted(Event):
    """A trial begins.

    Attributes:
        trial_id: Keras Tuner's id.
        number: Position in the order of starts, from 0.
        hyperparameters: All of the space, `None` where inactive.
        fixed: Names of those that have one value in the whole search.
        tags: What else is known of it: its worker, Optuna's number, Hyperband's bracket.
        values: The values of its hyperparameters as Keras Tuner keeps them, what a tuner has added included.
    """

    trial_id: str
    number: Count
    hyperparameters: dict[str, Any]
    fixed: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelBuilt(Event):
    """The model of a trial is there.

    Attributes:
        trial_id: The trial.
        parameters: Number of its parameters.
        kernel: What its recurrent layers train on; see `kernels_of`.
    """

    trial_id: str
    parameters: Count
    kernel: str | None = None


@dataclass(frozen=True, kw_only=True)
class EpochEnded(Event):
    """An epoch of training is over.

    Attributes:
        trial_id: The trial.
        epoch: Keras's number of the epoch, from 0.
        metrics: What Keras reported.
        seconds: How long it took.
        execution: Which training of the trial's configuration it is, from 0.
    """

    trial_id: str
    epoch: Count
    metrics: dict[str, float]
    seconds: Seconds
    execution: Count = 0


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A trial is over.

    Attributes:
        trial_id: The trial.
        status: `COMPLETE`, `PRUNED`, `FAILED`, `RETRY`, `INTERRUPTED` or `KILLED`.
        score: Value of the objective at the best epoch; of a trial that was pruned the best until then.
        best_step: Position of the best epoch among the trial's epochs, from 0.
        message: The error of a failed trial.
        metrics: All metrics at the best epoch, those of several trainings as means.
        std: Sample standard deviation of the objective over the trainings there, where there are several.
        seconds: How long it took, by a clock that cannot be set; `None` where the process that saw its
            beginning did not see its end.
    """

    trial_id: str
    status: str
    score: float | None = None
    best_step: Count | None = None
    message: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    std: float | None = None
    seconds: Seconds | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerLost(Event):
    """One of several workers is gone; another one trains again what it was training.

    Attributes:
        worker: Its name.
        trial_id: The trial that it was running, if it was.
        reason: What became of it.
        host: The machine on which it ran, if that is known.
        again: Whether the trial is run again: not if it has cost several workers.
    """

    worker: str
    trial_id: str | None
    reason: str
    host: str | None = None
    again: bool = True


@dataclass(frozen=True, kw_only=True)
class ConfirmationStarted(Event):
    """The best configurations and the baselines are trained again; or that goes on.

    Attributes:
        trial_ids: The trials whose configurations they are.
        twins: The trials the twins of whose configurations are trained too.
        total: How many trainings there are, those included that were done earlier.
    """

    trial_ids: list[str]
    total: Count
    twins: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ConfirmationEnded(Event):
    """A configuration of the search has been trained once more, with a seed of its own.

    Attributes:
        trial_id: The trial whose configuration it is.
        twin: Whether it is the twin of that configuration, which has no dropout.
        repeat: Which of its trainings, from 0; the same repeat of two trials has the same seed.
        seed: That seed.
        score: Value of the objective at the best epoch.
        best_epoch: That epoch, from 0.
        metrics: The metrics of that epoch, and those of the test data under `test_...`.
        seconds: How long it took.
        total: How many trainings of this kind there will be.
        message: The error, of a training that failed.
    """

    trial_id: str
    repeat: Count
    seed: int
    score: float | None
    best_epoch: Count | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: Seconds = 0.0
    total: Count = 0
    message: str | None = None
    twin: bool = False


@dataclass(frozen=True, kw_only=True)
class NoMoreTrials(Event):
    """No more trials are begun, though the search might have had more.

    Attributes:
        reason: `STOPPED` or `EXHAUSTED`.
        configurations: How many configurations the search space has, if it was exhausted.
        tried: How many of them were tried: a tuner that draws at random may miss some.
    """

    reason: str
    configurations: Count | None = None
    tried: Count | None = None


@dataclass(frozen=True, kw_only=True)
class ResultSaved(Event):
    """What the search found is in files now, each of them whole.

    Attributes:
        files: The files, relative to the project folder.
        summary: The outcome as Markdown, short enough for the description of a run.
        best_trial_id: The best trial.
        best: The active hyperparameters of the best trial.
        metrics: Numbers of the search as a whole.
    """

    files: list[str]
    summary: str
    best_trial_id: str
    best: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SearchEnded(Event):
    """A search is over: `FINISHED`, `FAILED` or `KILLED`."""

    status: str


class Listener(Protocol):
    """What gets every event of a search."""

    def on_event(self, event: Event) -> None:
        """Takes one event in. An exception is reported once and never reaches the search."""


class TrackingWarning(UserWarning):
    """Tracking failed or is incomplete. The search continues."""


_KINDS = {
    kind.__name__: kind
    for kind in (
        SearchStarted,
        TrialStarted,
        ModelBuilt,
        EpochEnded,
        TrialEnded,
        WorkerLost,
        ConfirmationStarted,
        ConfirmationEnded,
        NoMoreTrials,
        ResultSaved,
        SearchEnded,
    )
}


def to_json(event: Event) -> str:
    """Writes an event as one line of JSON."""
    return json.dumps({"event": type(event).__name__, **_strict(asdict(event))}, allow_nan=False)


def from_json(line: str) -> Event | None:
    """Reads what `to_json` wrote; `None` for a kind of event that this version does not know.

    Raises:
        ValueError: It is something else.
    """
    try:
        data = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(data, dict) or not isinstance(data.get("event"), str):
        raise ValueError("no event")
    kind = _KINDS.get(data.pop("event"))
    # Pydantic ignores fields of later versions, and reads the numbers that JSON lacks.
    return None if kind is None else _reader(kind).validate_python(data)


@cache
def _reader(kind: type[Event]) -> TypeAdapter[Event]:
    return TypeAdapter(kind)


def _strict(value: Any) -> Any:
    """Makes numbers that JSON lacks (NaN, infinity) strings that `float` reads back."""
    if isinstance(value, dict):
        return {name: _strict(each) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
