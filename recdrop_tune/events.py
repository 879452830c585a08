"""The events of a search: the one stream that the journal, MLflow and the terminal read.

Every event is plain data, so it can be written as a line of JSON and read back unchanged.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Protocol, Self, runtime_checkable

from pydantic import Field, TypeAdapter

from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.states import SearchOutcome, TrialState

# Types for values in journals, which can be edited: others are not events.
FromZero = Annotated[int, Field(ge=0)]
FromOne = Annotated[int, Field(ge=1)]

CONFIG_FILE = "config_file"
"""The YAML file of `recdrop-tune run`, in the `info` of a search."""

CONFIRMATION = "confirmation"
"""About how many trainings the first round of the confirmation has, in the `info` of a search."""

FIT = ("batch_size", "shuffle", "steps_per_epoch", "class_weight")
"""The arguments of `Model.fit` in the `info` of a search. For a dataset, `tune` has no `batch_size`."""

PADDING = "padding"
"""`value` and `dtype` of sequences that were padded at their end, in the `info` of a search."""

STOPPED, EXHAUSTED, CONVERGED = "STOPPED", "EXHAUSTED", "CONVERGED"
"""Somebody asked the search to end, every configuration was tried, or another trial would hardly pay."""

MAX_TRIALS, TIMEOUT = "MAX_TRIALS", "TIMEOUT"
"""A limit of the search was reached."""


class TrackingWarning(UserWarning):
    """Tracking failed or is incomplete. The search continues."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened at a wall-clock time (seconds since 1970)."""

    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Process:
    """A process: its id and the name of its machine."""

    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)


@dataclass(frozen=True)
class Context:
    """The data of a search in words, and what a constant predictor scores on it.

    Attributes:
        words: The data in words, such as `"2 classes, 12 % positive, 2,000 sequences of 20 to 80 steps"`.
        predicts: What the constant predictor predicts, such as `"the mean of the training targets"`.
        constant: Its objective on the validation data, if known.
    """

    words: str = ""
    predicts: str = ""
    constant: float | None = None


@dataclass(frozen=True, kw_only=True)
class SearchStarted(Event):
    """A search starts or resumes.

    Attributes:
        search_id: Identity of the search; it keeps it when it resumes.
        name: Name of the search.
        experiment: Its MLflow experiment; `None` without MLflow.
        tuner: Class of the tuner.
        objective: Name of the objective.
        direction: `"min"` or `"max"`.
        max_trials: The most trials that are run.
        hyperparameters: The search space, each hyperparameter after those in its conditions.
        space: The search space as YAML, as it was given, if known.
        tracking_uri: Where MLflow's runs are, without credentials; `None` without MLflow.
        tags: The user's tags for all runs in MLflow.
        info: What else is worth recording: epochs, seed, sampler, versions.
        data: The data sets, as `describe_data` describes them.
        register_model: The name for the best model in MLflow's registry; `None` registers none.
        context: The data in words and the score of a constant predictor, if `tune` computed them.
        configurations: Number of configurations in the space, if it is less than `max_trials`.
        pid: Id of the process that started it.
        host: The machine of that process.
        resume_hint: How to resume it, in words or as a command, if known.
        models: The models that `compare_models` compares, the baseline first; none in a search.
    """

    search_id: str
    name: str
    experiment: str | None
    tuner: str
    objective: str
    direction: Literal["min", "max"]
    max_trials: FromZero | None = None
    hyperparameters: list[Hyperparameter] = field(default_factory=list)
    space: str | None = None
    info: dict[str, Any] = field(default_factory=dict)
    tracking_uri: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    register_model: str | None = None
    context: Context | None = None
    configurations: int | None = None
    pid: int | None = None
    host: str | None = None
    resume_hint: str | None = None
    models: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SpaceChanged(Event):
    """A model has registered further hyperparameters: Keras Tuner finds some only when it builds a model.

    Attributes:
        hyperparameters: The search space from here on.
    """

    hyperparameters: list[Hyperparameter]


@dataclass(frozen=True, kw_only=True)
class TrialStarted(Event):
    """A trial starts.

    Attributes:
        trial_id: Keras Tuner's id.
        number: Position in the order of starts, from 0.
        hyperparameters: All hyperparameters of the space by key, `None` if inactive.
        fixed: Names of those that have one value in the whole search.
        tags: Its worker, Optuna's number, Hyperband's bracket.
    """

    trial_id: str
    number: FromZero
    hyperparameters: dict[str, Any]
    fixed: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelBuilt(Event):
    """The model of a trial is built.

    Attributes:
        trial_id: The trial.
        parameters: Number of parameters of the model.
        kernel: The kernels that its recurrent layers train on, such as `"cuDNN"`.
    """

    trial_id: str
    parameters: FromZero
    kernel: str | None = None


@dataclass(frozen=True, kw_only=True)
class EpochEnded(Event):
    """An epoch of training has ended.

    Attributes:
        trial_id: The trial.
        epoch: Keras's number of the epoch, from 0.
        metrics: The metrics that Keras reported.
        seconds: How long it took.
        execution: Which training of the trial it belongs to, from 0.
        kept: 0 for an epoch that is trained now. A trial that continues reports those of its interrupted
            process first: then the number of them from this one on.
    """

    trial_id: str
    epoch: FromZero
    metrics: dict[str, float]
    seconds: float
    execution: FromZero = 0
    kept: FromZero = 0


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A trial has ended.

    Attributes:
        trial_id: The trial.
        status: The state in which it ended; where Keras Tuner tries a `FAILED` trial again, it starts again.
        score: The objective at the best epoch. A pruned trial has one too.
        best_step: Position of the best epoch among the trial's epochs, from 0.
        message: The error of a failed trial.
        metrics: All metrics at the best epoch, as means if there are several trainings.
        std: Sample standard deviation of the objective over several trainings at that epoch.
        seconds: How long it took, by a monotonic clock; `None` if another process saw its start.
        hyperparameters: All hyperparameters, if its model registered further ones.
    """

    trial_id: str
    status: TrialState
    score: float | None = None
    best_step: FromZero | None = None
    message: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    std: float | None = None
    seconds: float | None = None
    hyperparameters: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerLost(Event):
    """A worker was lost; another one repeats its trial.

    Attributes:
        worker: Name of the worker.
        trial_id: The trial that it was running, if any.
        reason: How it was lost.
        host: Its machine, if known.
        again: Whether the trial runs again. It does not after several workers were lost to it.
    """

    worker: str
    trial_id: str | None
    reason: str
    host: str | None = None
    again: bool = True


class Configuration(NamedTuple):
    """A configuration that a confirmation trains: that of a trial, with its own dropout or another one.

    In a comparison of models, `trial_id` is the position of the model. `twin` is whether it has no dropout,
    and `dropout_of` the trial whose dropout replaces its own.
    """

    trial_id: str
    twin: bool = False
    dropout_of: str | None = None

    @property
    def name(self) -> str:
        """Its name, which is unique."""
        return self.trial_id + self.suffix

    @property
    def suffix(self) -> str:
        """The part of its name after the trial's."""
        return "_twin" if self.twin else f"_with_{self.dropout_of}" if self.dropout_of else ""

    @classmethod
    def named(cls, name: str) -> Self:
        """Returns the configuration of that name."""
        trial_id, _, dropout_of = name.removesuffix("_twin").partition("_with_")
        return cls(trial_id, name.endswith("_twin"), dropout_of or None)


@dataclass(frozen=True, kw_only=True)
class ConfirmationStarted(Event):
    """A round of a confirmation starts or resumes: configurations are trained again with fresh seeds.

    Attributes:
        configurations: The names of what is trained; in later rounds only of what is still in question.
        seeds: How many seeds each of them has been trained with after this round.
        max_seeds: How many at most after the last one.
        margin: The largest difference that does not matter; `None`: a hundredth of the score without dropout.
    """

    configurations: list[str]
    seeds: FromOne
    max_seeds: FromOne
    margin: Annotated[float, Field(ge=0)] | None = None

    @property
    def total(self) -> int:
        """Number of trainings after this round, earlier ones of the same configurations included."""
        return self.seeds * len(self.configurations)


@dataclass(frozen=True, kw_only=True)
class ConfirmationEnded(Event):
    """A training of the confirmation has ended.

    Attributes:
        trial_id: The trial whose configuration was trained.
        twin: Whether its twin was trained instead: the same configuration without dropout.
        dropout_of: The trial whose dropout replaced its own.
        repeat: Which of its trainings, from 0; the same repeat of two trials has the same seed.
        seed: That seed.
        score: The objective at the best epoch; `None` if the training failed.
        best_epoch: That epoch, from 0.
        metrics: The metrics at that epoch, and those of the test data as `test_...`.
        seconds: How long it took.
        message: The error of a failed training.
    """

    trial_id: str
    repeat: FromZero
    seed: FromZero
    score: float | None
    best_epoch: FromZero | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    message: str | None = None
    twin: bool = False
    dropout_of: str | None = None

    @property
    def configuration(self) -> Configuration:
        """What was trained."""
        return Configuration(self.trial_id, self.twin, self.dropout_of)

    @property
    def key(self) -> tuple[str, int]:
        """The name of what was trained, and which of its trainings it was."""
        return self.configuration.name, self.repeat


@dataclass(frozen=True, kw_only=True)
class NoMoreTrials(Event):
    """A search starts no more trials.

    Attributes:
        reason: `STOPPED`, `EXHAUSTED`, `CONVERGED`, `MAX_TRIALS` or `TIMEOUT`.
        configurations: Number of configurations in the space, if it is exhausted.
        tried: How many of them were tried. A tuner that draws at random can miss some.
        gain: The gain that another trial promises, if known: a part of the best loss, or of the error rate,
            1 - value. It is scaled by the part of earlier promises that came true.
    """

    reason: str
    configurations: int | None = None
    tried: int | None = None
    gain: float | None = None


@dataclass(frozen=True, kw_only=True)
class ResultSaved(Event):
    """The result of a search was saved; all its files are complete.

    Attributes:
        files: The files, relative to the project folder.
        summary: The result as Markdown, short enough for the description of a run.
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
    """A search has ended."""

    status: SearchOutcome


class Listener(Protocol):
    """Receives every event of a search."""

    def on_event(self, event: Event) -> None:
        """Takes one event. An exception is reported once and never reaches the search."""


@runtime_checkable
class Guard(Listener, Protocol):
    """A listener that can end the search before an event is recorded."""

    def before(self, event: Event) -> None:
        """Raises an exception that ends the search."""


def to_json(event: Event) -> str:
    """Writes an event as one line of JSON."""
    return json.dumps({"event": type(event).__name__, **_strict(asdict(event))}, allow_nan=False)


def from_json(line: str) -> Event:
    """Reads what `to_json` wrote; raises `ValueError` for a line that is not an event."""
    data = json.loads(line)
    reader = _reader(str(data.pop("event", None))) if isinstance(data, dict) else None
    if reader is None:
        raise ValueError("unknown event")
    return reader.validate_python(data)  # Pydantic reads "nan" and "inf" as numbers.


@cache
def _reader(name: str) -> TypeAdapter[Event] | None:
    kinds = {kind.__name__: kind for kind in Event.__subclasses__()}
    return TypeAdapter(kinds[name]) if name in kinds else None


def _strict(value: Any) -> Any:
    """Replaces the numbers that JSON lacks (NaN, infinity) by strings that `float` reads."""
    if isinstance(value, dict):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_strict(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
