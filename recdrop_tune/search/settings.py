"""The arguments of a search: `tune`, `distribute` and the files of `recdrop-tune run` fill in these classes.

The type of a value is its check, when an object is made. Nothing here loads Keras, Optuna or MLflow.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, field, fields
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    dataclass_transform,
    get_type_hints,
)

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictStr,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from recdrop_tune.addresses import absolute, resolve_uri
from recdrop_tune.documents import explain
from recdrop_tune.errors import (
    InvalidArgumentError,
    check_callbacks,
    check_cv,
    check_model_name,
    check_one_objective,
    format_repr,
    is_name,
)
from recdrop_tune.files import as_folders
from recdrop_tune.standing import MIN_GAIN

EXPERIMENT = "recdrop-tune"
"""The default MLflow experiment."""

T = TypeVar("T")

_CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def settings_class(kind: type[T]) -> type[T]:
    """Makes a frozen dataclass that checks its values by their types; `help` shows these plainly."""
    settings: Any = dataclass(frozen=True, repr=False, config=_CONFIG)(kind)
    fill_in, first = settings.__init__, fields(settings)[0].name
    plain, shown = get_type_hints(settings), signature(settings)
    parameters = [p.replace(annotation=plain[p.name]) for p in shown.parameters.values()]
    settings.__signature__ = shown.replace(parameters=parameters)

    @wraps(fill_in)
    def __init__(self: Any, *args: Any, **values: Any) -> None:
        if len(args) > 1 or (args and first in values):
            raise TypeError(f"{kind.__name__} takes one positional argument, `{first}`")
        values |= dict(zip([first], args, strict=False))
        try:
            fill_in(self, **values)
        except ValidationError as error:
            raise explain(error, values, known_names(settings)) from None

    settings.__init__, settings.__repr__ = __init__, _repr
    itself = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = shown.replace(parameters=[itself, *parameters])  # type: ignore[attr-defined]
    return settings  # type: ignore[no-any-return]


def settings_of(kind: type[T], values: Mapping[Any, Any]) -> T:
    """Makes an object of a settings class from a mapping; raises pydantic's `ValidationError`."""
    return TypeAdapter(kind).validate_python(dict(values))  # It takes no other mappings.


def names_of(kind: Any) -> list[str]:
    """Lists the names of the values of a settings class."""
    return [each.name for each in fields(kind)]


def known_names(kind: Any) -> dict[Any, Sequence[str]]:
    """Lists the names of the values of a class and of the settings in it, by the keys that lead there."""
    names = names_of(kind)
    nested = {(name,): names_of(each) for name, each in CLASSES.items() if name in names}
    return {(): names, **nested}


def _repr(self: Any) -> str:
    """Writes the values in a few lines, without passwords."""
    parts = [
        f"{each.name}={format_repr(getattr(self, each.name))}" for each in fields(self) if each.repr
    ]
    return f"{type(self).__name__}({', '.join(parts)})"


def _that(accepts: Callable[[Any], bool], expected: str) -> AfterValidator:
    """Accepts some of the values of a type."""

    def check(value: T) -> T:
        if not accepts(value):
            raise ValueError(expected)
        return value

    return AfterValidator(check)


def _instance(kind: str) -> AfterValidator:
    """Accepts objects of a class whose module is slow to import. Before that is imported, none exist."""
    module, _, name = kind.rpartition(".")

    def is_instance(value: Any) -> bool:
        return isinstance(value, getattr(sys.modules.get(module), name, ()))

    return _that(is_instance, f"an object of {kind}")


def _passing(check: Callable[[Any], Any]) -> AfterValidator:
    """Accepts what a function does not raise an error for."""

    def passed(value: T) -> T:
        check(value)
        return value

    return AfterValidator(passed)


def _plain(value: Any) -> Any:
    """Turns NumPy's numbers into Python's, for the strict types below."""
    return value.item() if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0 else value


def _as_tuple(value: Any) -> Any:
    """Lets a user write one value, or none, where several are possible."""
    if isinstance(value, list | tuple):
        return tuple(value)
    return () if value is None else (value,)


def _folders(value: Any) -> Any:
    return tuple(as_folders("", () if value is None else value))


def _callbacks(value: Any) -> Any:
    listed = _as_tuple(value)
    check_callbacks([callback for callback in listed if not is_reference(callback)])
    return listed


_REFERENCE = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


def is_reference(value: object) -> bool:
    """Returns whether a value names a function, as `module:function`."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


Integer = Annotated[int, Field(strict=True), BeforeValidator(_plain)]
Count = Annotated[int, Field(strict=True, ge=1, lt=2**31), BeforeValidator(_plain)]
CountOrZero = Annotated[int, Field(strict=True, ge=0, lt=2**31), BeforeValidator(_plain)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32 - 1), BeforeValidator(_plain)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_plain)]
Seconds = Annotated[float, Field(strict=True, gt=0), BeforeValidator(_plain)]
Flag = Annotated[StrictBool, BeforeValidator(_plain)]
Metric = Annotated[Any, _instance("keras.metrics.Metric")]
# MLflow refuses other names once the search runs, and a tracking failure stops no search.
Name = Annotated[StrictStr, _that(is_name, "a name of at most 500 characters, in one line")]
Reference = Annotated[StrictStr, _that(is_reference, "`module:function`, such as `my_data:load`")]

TaskName = Literal["classification", "regression", "tagging", "forecast", "language_model"]
SamplerName = Literal["cmaes", "gp", "grid", "qmc", "random", "surrogate", "tpe"]
PrunerName = Literal[
    "asha", "halving", "hyperband", "median", "none", "patient_median", "percentile"
]

if TYPE_CHECKING:
    from optuna.pruners import BasePruner as Pruner
    from optuna.samplers import BaseSampler as Sampler

    Several = Sequence[T]
else:
    Several = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
    Sampler = Annotated[Any, _instance("optuna.samplers.BaseSampler")]
    Pruner = Annotated[Any, _instance("optuna.pruners.BasePruner")]


@settings_class
class Task:
    """Lets the data choose the model, and helps them; given to `tune` as `model`.

    Attributes:
        name: `"classification"`, `"regression"`, `"tagging"`, `"forecast"` or `"language_model"`. By default
            the data decide. A regression predicts a value per step if the targets have as many steps as the
            sequences; a forecast predicts all of them from the last state.
        mask_value: Steps whose features all have this value are padding and are skipped; for a language
            model, 0. Sequences of unequal lengths are padded with it, or by default with a value that does
            not occur in them.
        metrics: Keras metrics or their names, instead of the model's usual ones. Every model gets a copy, so
            a metric class of your own needs `get_config`.
        loss: Keras loss or its name, for a regression or a forecast.

    Raises:
        InvalidArgumentError: A value is invalid.

    Example:
        >>> Task("classification", metrics=["accuracy", "AUC"]).name
        'classification'
    """

    name: TaskName | None = None
    _: KW_ONLY
    mask_value: Integer | Number | None = None
    metrics: Several[StrictStr | Metric] = ()
    loss: Any = None

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of the hypermodel."""
        given = {"metrics": self.metrics or None, "mask_value": self.mask_value, "loss": self.loss}
        return {name: value for name, value in given.items() if value is not None}


@settings_class
class Optuna:
    """How Optuna searches; given to `tune` as `tuner`.

    Attributes:
        sampler: Optuna sampler, or a name: `"surrogate"` (the default), `"tpe"`, `"random"`, `"grid"`,
            `"qmc"`, `"gp"` or `"cmaes"`.
        pruner: Optuna pruner, or a name: `"halving"` (the default), `"patient_median"`, `"median"`,
            `"percentile"`, `"asha"`, `"hyperband"` or `"none"`. A trial always gets a third of its epochs and
            at least ten, because dropout slows down the first ones.
        try_first: Configurations to try after the baselines, in this order: values by the names that
            `result.trials` shows. A value that is left out is the middle of its range, or of the list of its
            values. None is tried twice.
        warm_start: Project folder of an earlier search with the same data, model and objective, or several.
            The sampler learns from their complete trials whose values lie in the space of this search.
        min_gain: The gain that is worth another trial, for `max_trials=None`: a part of the best loss, or of
            the error rate, 1 - value, if the objective is maximized.

    Raises:
        InvalidArgumentError: A value is invalid; when the search begins, a configuration is not in its space
            or a folder has nothing to learn from.

    Example:
        >>> Optuna("tpe", pruner="none", try_first=[{"wrapper": "recurrent", "rate": 0.3}]).pruner
        'none'
    """

    sampler: SamplerName | Sampler | None = None
    _: KW_ONLY
    pruner: PrunerName | Pruner | None = None
    try_first: Several[dict[str, Any]] = ()
    warm_start: Annotated[Any, PlainValidator(_folders)] = ()
    min_gain: Annotated[Number, Field(gt=0, lt=1)] = MIN_GAIN


@settings_class
class Training:
    """How each trial is trained; given to `tune` as `training`.

    Attributes:
        executions: Trainings per trial. Their mean is its score; the best model has the weights of the best
            one.
        cv: Number of folds, or a splitter such as `sklearn.model_selection.TimeSeriesSplit()`, instead of
            validation data. A number of folds keeps the proportions of the classes, if the targets are
            integers that each occur at least as often. The best model has the weights of its best fold; it is
            not trained again on all data.
        groups: The group of each sample, such as a speaker or a patient, or a function that returns them. No
            group is on both sides of a fold. Needs `cv`, a number or a splitter that takes groups.
        class_weight: Weights of the classes in the training loss by label, or `"balanced"`. Validation data
            are not weighted.
        early_stopping: A training ends after this many epochs without a better objective. A training that
            stops early keeps its best score for the remaining epochs.
        callbacks: Keras callbacks, or functions that make one. Every training gets a copy.
        keep_checkpoints: The weights of how many trials to keep, the best ones; `None` keeps all.
        reuse_models: How many compiled models to keep for trials with the same structure; 0 for none.
        save_every: Seconds after which a running training is saved at the end of an epoch. Once resumed, an
            interrupted one continues from there, with the numbers that it would have had. Shorter trials are
            never saved; `None` saves none.
        compilation_cache: Whether to keep what JAX has compiled for workers and later searches, or the folder
            for it.
        fit: Further arguments of `Model.fit`, such as `{"validation_split": 0.2}`.

    Raises:
        InvalidArgumentError: A value is invalid.

    Example:
        >>> Training(executions=3).keep_checkpoints
        5
    """

    executions: Count = 1
    _: KW_ONLY
    cv: Annotated[Any, PlainValidator(check_cv)] = None
    groups: Any = None
    class_weight: Literal["balanced"] | dict[Integer, Annotated[Number, Field(ge=0)]] | None = None
    early_stopping: Count | None = None
    callbacks: Annotated[Any, PlainValidator(_callbacks)] = ()
    keep_checkpoints: Count | None = 5
    reuse_models: CountOrZero = 16
    save_every: Seconds | None = 30.0
    compilation_cache: (
        Flag | Annotated[Path, AfterValidator(Path.expanduser), AfterValidator(Path.absolute)]
    ) = True
    fit: dict[str, Any] = field(default_factory=dict)


@settings_class
class Confirm:
    """What to train again after the search, with fresh seeds; given to `tune` as `confirm`.

    These are the best configurations, the twin of each without dropout, and the best ones without dropout
    and with Keras's own, all with the same seeds. The best of many noisy trials looks better than it is;
    this tells by how much. Until the outcome of the best configuration is known, seeds are added in rounds
    (5, 8, 13, 20) for those whose outcome is not known. The intervals hold whenever it stops.

    Attributes:
        top: How many of the best configurations.
        seeds: How many times to train each in the first round.
        max_seeds: How many times at most; never fewer than `seeds`.
        margin: The largest difference that does not matter, in units of the objective. By default a
            hundredth of the mean score without dropout.
        test: Data like `validation` that only the confirmation sees, and judges by.

    Raises:
        InvalidArgumentError: A value is invalid.

    Example:
        >>> Confirm(2).max_seeds
        20
    """

    top: Count = 3
    _: KW_ONLY
    seeds: Count = 5
    max_seeds: Count = 20
    margin: Annotated[Number, Field(ge=0)] | None = None
    test: Any = field(default=None, repr=False, compare=False)


@settings_class
class Workers:
    """Trials that run in parallel, each in its own process, with Ray (extra `ray`); given as `workers`.

    Everything sent to the workers must be picklable. For a `tf.data.Dataset`, pass a function that makes it.

    Attributes:
        number: How many trials run at the same time.
        gpus: GPUs per worker. A fraction shares one: 0.25 lets four workers use the same GPU. By default an
            equal share of what Ray sees, one at most.
        cpus: CPU cores per worker.
        address: Ray cluster: `"auto"` for the one that this machine belongs to, or the `"host:port"` of its
            head. By default the one that this process or `RAY_ADDRESS` names, or else a new one on this
            machine.
        trial_timeout: Seconds after which a trial counts as stuck. Its worker is killed and the trial runs
            again, at most three times.

    Raises:
        InvalidArgumentError: A value is invalid.

    Example:
        >>> Workers(4, gpus=0.25)
        Workers(number=4, gpus=0.25, cpus=1, address=None, trial_timeout=None)
    """

    number: Count = 2
    _: KW_ONLY
    gpus: Annotated[Number, Field(ge=0)] | None = None
    cpus: Annotated[Number, Field(gt=0)] = 1
    address: StrictStr | None = None
    trial_timeout: Seconds | None = None


@settings_class
class MLflow:
    """Where MLflow keeps the search; given to `tune`, `distribute` and `track` as `tracking`.

    Attributes:
        experiment: Name of the experiment. By default the active one; without one `"recdrop-tune"`, and for
            `track` the `project_name`.
        uri: Database or server of the runs. By default `MLFLOW_TRACKING_URI`, which `mlflow.set_tracking_uri`
            sets, or else `sqlite:///mlflow.db`.
        tags: Tags for the run of the search and for those of its trials.
        register_model: Name for the best model in MLflow's registry, with the alias `champion`.

    Raises:
        InvalidArgumentError: A value is invalid.

    Example:
        >>> MLflow("speech", uri="http://tracking.example:5000").experiment
        'speech'
    """

    experiment: Name | None = None
    _: KW_ONLY
    uri: Annotated[StrictStr, _passing(resolve_uri)] | None = None
    tags: dict[StrictStr, Annotated[str, BeforeValidator(str)]] = field(default_factory=dict)
    register_model: Annotated[StrictStr, _passing(check_model_name)] | None = None

    def store(self) -> str:
        """Returns the address of the runs, which means the same in every folder."""
        try:
            return absolute(resolve_uri(self.uri))
        except InvalidArgumentError as error:
            raise error.renamed("uri") from None


@settings_class
class Goal:
    """A metric to optimize. Without a direction, Keras Tuner decides by the name."""

    name: StrictStr
    direction: Literal["min", "max"] | None = None


def _maker(kind: Any, expected: str, *short: type) -> Callable[[Any], Any]:
    """Makes a function that accepts settings, a mapping of them, or the first value alone (`workers=4`)."""

    def make(value: Any) -> Any:
        value = _plain(value)
        if isinstance(value, kind):
            return value
        if isinstance(value, short) and not isinstance(value, bool):
            value = {names_of(kind)[0]: value}
        if not isinstance(value, Mapping):
            raise ValueError(expected)
        return settings_of(kind, value)

    return make


_make_goal = _maker(Goal, "the name of a metric, or a keras_tuner.Objective", str)
_make_task = _maker(Task, "the name of a task", str)
_make_optuna = _maker(Optuna, "rdt.Optuna(...)")
_make_training = _maker(Training, "rdt.Training(...)")
_make_confirm = _maker(Confirm, "an integer, or rdt.Confirm(...)", int)
_make_workers = _maker(Workers, "an integer, or rdt.Workers(...)", int)
_make_mlflow = _maker(MLflow, "the name of an experiment, rdt.MLflow(...), True or False", str)


def _goal(value: Any) -> Any:
    """Lets a user give the name of a metric, or a `keras_tuner.Objective`."""
    check_one_objective(value)
    if hasattr(value, "direction") and hasattr(value, "name"):
        value = {"name": value.name, "direction": value.direction}
    return _make_goal(value)


def _tracking(value: Any) -> Any:
    """Lets a user turn MLflow on and off."""
    return None if value is None or value is False else _make_mlflow({} if value is True else value)


def _task(model: Any) -> Any:
    """Lets the data choose the model: by default, by the name of a task, or by its settings."""
    if model is None or isinstance(model, Mapping) or (isinstance(model, str) and ":" not in model):
        return _make_task({} if model is None else model)
    return model


@settings_class
class SearchConfig:
    """The arguments of `tune` without the data; `recdrop_tune.tune` describes them."""

    _: KW_ONLY
    model: Annotated[Any, PlainValidator(_task)] = field(default_factory=Task)
    space: Any = None
    objective: Annotated[Goal, PlainValidator(_goal)] = Goal("val_loss")
    max_trials: Count | None = 20
    epochs: Count = 20
    batch_size: Count = 32
    timeout: Seconds | None = None
    tuner: (
        Literal["optuna", "random", "bayesian", "hyperband", "grid"]
        | Annotated[Optuna, PlainValidator(_make_optuna)]
    ) = "optuna"
    training: Annotated[Training, PlainValidator(_make_training)] | None = None
    confirm: Literal[0] | Annotated[Confirm, PlainValidator(_make_confirm)] | None = None
    workers: Annotated[Workers, PlainValidator(_make_workers)] | None = None
    tracking: Annotated[MLflow | None, PlainValidator(_tracking)] = MLflow()
    directory: Annotated[Path, AfterValidator(Path.expanduser)] | None = None
    seed: Seed | None = None
    verbose: Literal[0, 1, 2] = 1
    overwrite: Flag = False

    @property
    def tuner_name(self) -> str:
        """The name of the tuner."""
        return "optuna" if isinstance(self.tuner, Optuna) else self.tuner

    @property
    def optuna(self) -> Optuna:
        """The settings of Optuna, for the tuner `"optuna"`."""
        return self.tuner if isinstance(self.tuner, Optuna) else Optuna()


CLASSES: Mapping[str, Any] = {
    "model": Task,
    "tuner": Optuna,
    "training": Training,
    "confirm": Confirm,
    "workers": Workers,
    "tracking": MLflow,
}
"""The settings classes by the argument of `tune` that takes them."""
