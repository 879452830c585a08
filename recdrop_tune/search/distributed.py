"""`distribute`: many trials at once for any tuner of Keras Tuner's."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.errors import check_integer, invalid_argument
from recdrop_tune.events import TrackedOracle
from recdrop_tune.mlflow_store import Tracking, absolute, resolve_uri
from recdrop_tune.paths import check_folder
from recdrop_tune.ray_workers import (
    DATA,
    Job,
    Resources,
    check_resources,
    connected,
    import_ray,
    process_settings,
    put_parts,
    share_gpus,
)
from recdrop_tune.results import TuneResult
from recdrop_tune.search.checks import check_words
from recdrop_tune.search.data_arguments import data_of
from recdrop_tune.search.interrupts import Interrupts
from recdrop_tune.search.run_by_workers import found_elsewhere, run_job
from recdrop_tune.search.run_here import check_completed, watched
from recdrop_tune.search.tuner_tracking import track
from recdrop_tune.storage_errors import storage_failures_named


def distribute(
    make_tuner: Callable[[], Any],
    *,
    workers: int = 2,
    gpus_per_trial: float | None = None,
    cpus_per_trial: float = 1,
    ray_address: str | None = None,
    trial_timeout: float | None = None,
    experiment: str = "recdrop-tune",
    tracking_uri: str | None = None,
    verbose: int = 1,
) -> Distributed:
    """Has several workers run the trials of a tuner at the same time, on one machine or on many.

    The tuner's oracle runs in a process of its own, where MLflow is written to as well. A worker that dies
    is replaced, and its trial is run again.

    Args:
        make_tuner: Makes the tuner. It is called here and once in each process, and must not pass
            `overwrite=True`.
        workers: How many trials run at the same time.
        gpus_per_trial: GPUs of each worker, also a fraction: 0.25 has four share a GPU. By default an
            equal share of the GPUs that Ray sees, one at most.
        cpus_per_trial: CPU cores of each worker.
        ray_address: A Ray cluster: `"auto"` for the one that this machine belongs to, `"host:port"` or
            `"ray://host:port"`. By default the one that this process or `RAY_ADDRESS` names, else a Ray of
            its own on this machine.
        trial_timeout: Seconds after which a trial's worker counts as hanging: it is killed, and the trial
            runs again, three times at most.
        experiment: Name of the MLflow experiment.
        tracking_uri: Where MLflow keeps its runs; see `tune`.
        verbose: 0 is silent, 1 prints a line a trial, 2 a line an epoch as well and what workers print.

    Returns:
        The tuner, as it were: its `search` is distributed, all else is the tuner's own.

    Raises:
        InvalidArgumentError: An argument cannot be worked with.
        RecdropError: Ray is not installed.

    Example:
        >>> def make_tuner():
        ...     return keras_tuner.Hyperband(build, "val_loss", max_epochs=30, project_name="speech")
        >>> tuner = distribute(make_tuner, workers=4)
        >>> tuner.search(x, y, validation_data=(x_val, y_val))
        >>> tuner.get_best_models()
    """
    workers = check_integer("workers", workers)
    resources = Resources(workers, gpus_per_trial, cpus_per_trial, ray_address, trial_timeout)
    check_resources(resources)
    check_words(experiment, None, verbose)
    import_ray()
    share_gpus()
    uri = absolute(resolve_uri(tracking_uri))
    tracked = {"experiment": experiment, "tracking_uri": uri, "info": {"workers": workers}}
    return Distributed(make_tuner, resources, tracked, verbose)


class Distributed:
    """A tuner whose search is run by several workers; made by `distribute`.

    Attributes:
        tuner: The tuner in this process. After the search it knows what was found.
        result: The result of the search, as `tune` returns it; `None` before.
    """

    def __init__(
        self,
        make_tuner: Callable[[], Any],
        resources: Resources,
        tracked: Mapping[str, Any],
        verbose: int,
    ) -> None:
        self._make_tuner = make_tuner
        self._resources = resources
        self._tracked = tracked
        self._verbose = verbose
        self.tuner = _made(make_tuner)
        self.result: TuneResult | None = None

    def search(self, *args: Any, **kwargs: Any) -> None:
        """Searches; see `keras_tuner.Tuner.search`.

        Args:
            *args: Positional arguments of `Model.fit`. Instead of data that cannot be pickled, such as a
                `tf.data.Dataset`, a function that makes them.
            **kwargs: Its other arguments.

        Raises:
            InvalidArgumentError: One cannot be sent to the workers, or Ray has not the GPUs asked for.
            RecdropError: No trial was completed, or too many failed in a row.
            StorageError: A disk is full or broken.
        """
        if isinstance(self.tuner.oracle, TrackedOracle):
            self.tuner = _made(self._make_tuner)  # It has searched before.
        folder = Path(self.tuner.project_dir)
        check_folder(folder)
        # By the names that `Model.fit` has for them, as far as it does.
        names = ["x", "y", *(f"argument {number + 3}" for number in range(len(args)))]
        given = dict(zip(names, args, strict=False))
        spec = _Spec(tuple(given), tuple(kwargs), self._tracked)
        workers = self._resources.workers
        with (
            Interrupts() as interrupts,
            storage_failures_named(folder),
            connected(self._resources, self._verbose) as ray,
            watched(folder, self._verbose, workers) as listeners,
        ):
            interrupts.listen()  # Ray has put its own handlers there.
            parts = put_parts(ray, {"make_tuner": self._make_tuner, **given, **kwargs})
            job = Job(
                parts,
                spec.make_tuner,
                spec.track,
                spec.arguments,
                spec.follow_up,
                process_settings(),
            )
            ended = run_job(ray, self._resources, job, folder, [*listeners, interrupts])
        tracking = found_elsewhere(self.tuner, ended, self._tracked)
        self.result = TuneResult(self.tuner, tracking)
        check_completed(self.tuner, ended.stopped_by)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "tuner":
            raise AttributeError(name)
        return getattr(self.tuner, name)


@dataclass(frozen=True)
class _Spec:
    """A search by any tuner as its processes get it."""

    positional: tuple[str, ...]
    named: tuple[str, ...]
    tracked: Mapping[str, Any]

    def make_tuner(self, parts: Mapping[str, Any], directory: Path | None) -> Any:
        return parts["make_tuner"]()

    def track(self, parts: Mapping[str, Any], tuner: Any) -> Tracking:
        return track(tuner, **self.tracked)

    def arguments(self, parts: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args = tuple(data_of(parts[name]) for name in self.positional)
        kwargs = {
            name: data_of(parts[name]) if name in DATA else parts[name] for name in self.named
        }
        if "verbose" in kwargs:
            kwargs["verbose"] = 0
        return args, kwargs

    def follow_up(self, parts: Mapping[str, Any]) -> None:
        return None


def _made(make_tuner: Any) -> Any:
    if not callable(make_tuner) or isinstance(make_tuner, kt.Tuner):
        raise invalid_argument(
            "make_tuner",
            expected="a function without arguments that makes a tuner",
            received=make_tuner,
            fix="Each process makes its own: `distribute(lambda: keras_tuner.RandomSearch(...))`.",
        )
    with contextlib.redirect_stdout(io.StringIO()):
        tuner = make_tuner()
    if not isinstance(tuner, kt.engine.base_tuner.BaseTuner):
        expected = "a function that makes a keras_tuner.Tuner"
        raise invalid_argument(
            "make_tuner", expected=expected, received=f"one that makes {tuner!r}"
        )
    if isinstance(tuner.oracle, TrackedOracle):
        raise invalid_argument(
            "make_tuner",
            expected="a function that makes a tuner without tracking it",
            received="one that calls `track`",
            fix="Pass `experiment=` and `tracking_uri=` to `distribute`.",
        )
    return tuner
