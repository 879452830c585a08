"""The settings of a search: what belongs together is one frozen object, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from recdrop_tune.addresses import absolute, resolve_uri
from recdrop_tune.catalog import TUNER_NAMES
from recdrop_tune.errors import (
    InvalidArgumentError,
    check_callbacks,
    check_cv,
    check_integer,
    invalid_argument,
)
from recdrop_tune.problems import suggestion
from recdrop_tune.search.validation import (
    by,
    check_address,
    check_cache,
    check_class_weight,
    check_cpus,
    check_experiment,
    check_fit,
    check_folders,
    check_gpus,
    check_groups,
    check_mask_value,
    check_measuring,
    check_metrics,
    check_not_negative,
    check_points,
    check_positive,
    check_positive_or_none,
    check_pruner,
    check_registered_name,
    check_sampler,
    check_storage,
    check_task,
    check_timeout,
    check_uri,
    checked,
)

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
else:  # Pydantic looks the types up; what is of them is checked below.
    BasePruner = BaseSampler = BaseStorage = Any

EXPERIMENT = "recdrop-tune"
"""The MLflow experiment of a search whose experiment nobody has named."""


@checked
class Task:
    """What the data are about, where they choose the model; given to `tune` as `model`.

    Attributes:
        name: `"classification"`, `"regression"`, `"tagging"`, `"forecast"` or `"language_model"`; by default
            the data tell. A regression whose targets have as many steps as the sequences is one for each
            step; a forecast is read off the last state.
        mask_value: Steps all of whose features have this value are skipped, as padding is; of a language
            model 0. Sequences of unequal lengths are padded with it; by default with a value that they do
            not have.
        metrics: Keras metrics, or their names, in the place of the model's usual ones. Each model has a copy:
            a class of yours needs a `get_config` with its arguments.
        loss: Keras loss, or the name of one, of a regression or a forecast.

    Raises:
        InvalidArgumentError: There is no such task, or a value cannot be worked with.

    Example:
        >>> Task("classification", metrics=["accuracy", "AUC"]).name
        'classification'
    """

    name: Annotated[str | None, by(check_task)] = None
    _: KW_ONLY
    mask_value: Annotated[float | None, by(check_mask_value)] = None
    metrics: Annotated[Sequence[Any], by(check_metrics)] = ()
    loss: Any = None

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of the hypermodel that the settings say."""
        said = {"metrics": self.metrics or None, "mask_value": self.mask_value, "loss": self.loss}
        return {name: value for name, value in said.items() if value is not None}


@checked
class Optuna:
    """How Optuna searches; given to `tune` as `tuner`.

    Attributes:
        sampler: Optuna sampler or the name of one: `"surrogate"` (the default; `"tpe"` with several
            objectives), `"tpe"`, `"random"`, `"qmc"`, `"gp"`, `"cmaes"`, `"nsga2"`.
        pruner: Optuna pruner or the name of one: `"halving"` (the default), `"patient_median"`,
            `"median"`, `"percentile"`, `"asha"`, `"hyperband"`, `"none"`. A trial always gets a third of
            its epochs, and at least ten: dropout slows the first ones down.
        storage: Optuna storage or storage URL; by default the study is made from the trials.
        try_first: Configurations to try after those that each search begins with, in their order: values by
            the names of `trial.hyperparameters.values` or of the columns of `result.trials`. What one leaves
            open takes the middle value of its range, or of the list of its values. None is tried twice.
        warm_start: The project folder of an earlier search for the same data, model and objective, or
            several: the sampler is told of their complete trials, as far as their values lie in the space of
            this search. They count for the sampler alone.

    Raises:
        InvalidArgumentError: There is no such sampler, pruner or storage; when the search begins, a
            configuration is none of its space, or a folder holds nothing to be used.

    Example:
        >>> Optuna("tpe", pruner="none", try_first=[{"wrapper": "recurrent", "rate": 0.3}]).pruner
        'none'
    """

    sampler: Annotated[BaseSampler | str | None, by(check_sampler)] = None
    _: KW_ONLY
    pruner: Annotated[BasePruner | str | None, by(check_pruner)] = None
    storage: Annotated[BaseStorage | str | None, by(check_storage)] = None
    try_first: Annotated[Sequence[Mapping[str, Any]], by(check_points)] = ()
    warm_start: Annotated[Any, by(check_folders)] = ()


@checked
class Training:
    """How each trial is trained; given to `tune` as `training`.

    Attributes:
        executions: Trainings of each trial, whose mean counts. The result has their spread; the best model
            has the weights of the training with the best epoch.
        cv: Number of folds, or a splitter such as `sklearn.model_selection.TimeSeriesSplit()`, in place of
            validation data: each trial is trained once for each fold. A number of folds has the classes in
            proportion where the targets are integers, each of which comes as often as there are folds. The
            result has the spread over the folds; the best model has the weights of its best fold, and is not
            trained on all data.
        groups: For each sample the group that it belongs to, such as a speaker or a patient: no group is in
            the training data and in the validation data of a fold. With a number of folds, or a splitter that
            takes groups, such as `sklearn.model_selection.GroupKFold(5)`.
        class_weight: Weights of the classes in the training loss, by label; or `"balanced"`, by which each
            class counts the same. The validation data are not weighted.
        early_stopping: Ends a training when the objective (the first one of several) has not been better for
            so many epochs. A trial is scored by its best epoch: with one training each this saves time, and
            changes a score only where a better epoch would have come. Of several trainings one that has
            ended counts with its best epoch from there on.
        callbacks: Keras callbacks (or one) for every training, each of which gets a copy; or functions
            that make one.
        keep_checkpoints: Of how many trials the weights are kept, the best by the objective; `None` for all.
            Of several objectives the first one counts, and those of the Pareto front are kept in any case.
        reuse_models: How many compiled models are kept for trials of the same structure; 0 for none.
        compilation_cache: Whether what JAX has compiled is kept in the user's folder of caches, for workers,
            for a search that goes on and for the next one; or the folder to keep it in.
        fit: Further arguments of `Model.fit`, or of a `fit` of the model's own, such as
            `{"validation_split": 0.2}`.

    Raises:
        InvalidArgumentError: A value cannot be worked with.

    Example:
        >>> Training(executions=3).keep_checkpoints
        5
    """

    executions: Annotated[int, by(check_positive)] = 1
    _: KW_ONLY
    cv: Annotated[Any, by(check_cv)] = None
    groups: Annotated[Any, by(check_groups)] = None
    class_weight: Annotated[Any, by(check_class_weight)] = None
    early_stopping: Annotated[int | None, by(check_positive_or_none)] = None
    callbacks: Annotated[Any, by(check_callbacks)] = ()
    keep_checkpoints: Annotated[int | None, by(check_positive_or_none)] = 5
    reuse_models: Annotated[int, by(check_not_negative)] = 4
    compilation_cache: Annotated[bool | Path, by(check_cache)] = True
    fit: Annotated[Mapping[str, Any], by(check_fit)] = field(default_factory=dict)


@checked
class Confirm:
    """What is trained again after the search, with fresh seeds; given to `tune` as `confirm`.

    Trained are the best configurations, the twin of each, the best one without dropout and the best one
    with Keras's own, all with the same seeds. Without it the best of many noisy trials looks better than it
    is.

    Attributes:
        top: How many of the best configurations.
        seeds: How many times each of them is trained.
        test: Data as `validation`, looked at in the confirmation alone, whose verdict is read on them.

    Raises:
        InvalidArgumentError: A number is no integer of at least 1.

    Example:
        >>> Confirm(2).seeds
        5
    """

    top: Annotated[int, by(check_positive)] = 3
    _: KW_ONLY
    seeds: Annotated[int, by(check_positive)] = 5
    test: Any = field(default=None, repr=False, compare=False)


@checked
class Workers:
    """Trials that run at the same time, each in a process of its own, with Ray (extra `ray`).

    What the workers are sent has to be picklable: for a `tf.data.Dataset` pass a function that makes it.

    Attributes:
        number: How many trials run at the same time.
        gpus: GPUs of each worker, also a fraction: 0.25 has four share a GPU. By default an equal share of
            the GPUs that Ray sees, one at most.
        cpus: CPU cores of each worker.
        address: A Ray cluster: `"auto"` for the one that this machine belongs to, `"host:port"` or
            `"ray://host:port"`. By default the one that this process or `RAY_ADDRESS` names, else a Ray of
            its own on this machine.
        trial_timeout: Seconds after which a trial's worker counts as hanging: it is killed, and the trial
            runs again, three times at most.

    Raises:
        InvalidArgumentError: A value cannot be worked with.

    Example:
        >>> Workers(4, gpus=0.25)
        Workers(number=4, gpus=0.25, cpus=1, address=None, trial_timeout=None)
    """

    number: Annotated[int, by(check_positive)] = 2
    _: KW_ONLY
    gpus: Annotated[float | None, by(check_gpus)] = None
    cpus: Annotated[float, by(check_cpus)] = 1
    address: Annotated[str | None, by(check_address)] = None
    trial_timeout: Annotated[float | None, by(check_timeout)] = None


@checked
class MLflow:
    """Where MLflow has the search, and what it gets; given to `tune`, `distribute` and `track` as `tracking`.

    Attributes:
        experiment: Name of the experiment; by default `recdrop-tune`, and the tuner's `project_name` for
            `track`.
        uri: Where MLflow keeps its runs: a database or a server. By default what `MLFLOW_TRACKING_URI`
            says, else `sqlite:///mlflow.db`.
        register_model: A name for the best model in MLflow's registry, where it gets the alias
            `champion`; by default it is not registered.
        system_metrics: Whether the use of processors, memory and GPUs is recorded for each trial; needs
            the extra `system-metrics`.

    Raises:
        InvalidArgumentError: The address is a folder, or a name is none that MLflow takes.
        RecdropError: `system_metrics` needs packages that are not installed.

    Example:
        >>> MLflow("speech", uri="http://tracking.example:5000").experiment
        'speech'
    """

    experiment: Annotated[str | None, by(check_experiment)] = None
    _: KW_ONLY
    uri: Annotated[str | None, by(check_uri)] = None
    register_model: Annotated[str | None, by(check_registered_name)] = None
    system_metrics: Annotated[bool, by(check_measuring)] = False

    def store(self) -> str:
        """Returns the address of the runs, the same in every folder.

        Raises:
            InvalidArgumentError: `MLFLOW_TRACKING_URI` names a folder, or nothing at all.
        """
        try:
            return absolute(resolve_uri(self.uri))
        except InvalidArgumentError as error:
            raise error.renamed("uri") from None


# What `tune` takes in their place: a name, a number, or nothing.


def as_optuna(tuner: Any) -> tuple[str, Optuna]:
    """Returns the name of a tuner, and Optuna's settings, which only `"optuna"` looks at."""
    if isinstance(tuner, Optuna):
        return "optuna", tuner
    if not isinstance(tuner, str) or tuner not in TUNER_NAMES:
        expected = f"one of {', '.join(TUNER_NAMES)}, or rdt.Optuna(...)"
        fix = suggestion(tuner, TUNER_NAMES)
        raise invalid_argument("tuner", expected=expected, received=tuner, fix=fix)
    return tuner, Optuna()


def as_task(model: Any) -> Task | None:
    """Returns the task of the data where they choose the model; `None` where there is one."""
    if model is None or isinstance(model, Task):
        return model or Task()
    if not isinstance(model, str):
        return None
    try:
        return Task(model)
    except InvalidArgumentError as error:
        raise error.renamed("model") from None


def as_training(training: Any) -> Training:
    """Returns the settings of the trainings; `None` has the defaults."""
    if training is None or isinstance(training, Training):
        return training or Training()
    expected = "rdt.Training(...) or None"
    raise invalid_argument("training", expected=expected, received=training)


def as_confirm(confirm: Any) -> Confirm | None:
    """Returns the settings of the confirmation; 0 is none."""
    if isinstance(confirm, Confirm):
        return confirm
    try:
        top = check_integer("confirm", confirm, 0)
    except InvalidArgumentError:
        expected = "an integer of at least 0, or rdt.Confirm(...)"
        raise invalid_argument("confirm", expected=expected, received=confirm) from None
    return Confirm(top) if top else None


def as_workers(workers: Any) -> Workers | None:
    """Returns the settings of the workers; `None` has the trials run here, one after the other."""
    if workers is None or isinstance(workers, Workers):
        return workers
    try:
        return Workers(check_integer("workers", workers))
    except InvalidArgumentError:
        expected = "None, an integer of at least 1, or rdt.Workers(...)"
        raise invalid_argument("workers", expected=expected, received=workers) from None


def as_mlflow(tracking: Any, experiment: str = EXPERIMENT) -> MLflow:
    """Returns the settings of the tracking; `experiment` is theirs where they name none."""
    if not isinstance(tracking, MLflow | str):
        expected = "the name of an experiment, or rdt.MLflow(...)"
        raise invalid_argument("tracking", expected=expected, received=tracking)
    if isinstance(tracking, str):
        try:
            return MLflow(tracking)
        except InvalidArgumentError as error:
            raise error.renamed("tracking") from None
    if tracking.experiment is not None:
        return tracking
    return replace(tracking, experiment=experiment)


CLASSES: Mapping[str, type[Any]] = {
    "model": Task,
    "tuner": Optuna,
    "training": Training,
    "confirm": Confirm,
    "workers": Workers,
    "tracking": MLflow,
}
"""The settings classes by the arguments of `tune` that take them."""


def fields_of(kind: type[Any]) -> Sequence[str]:
    """Lists the names of the values of a settings class."""
    return [each.name for each in fields(kind)]
