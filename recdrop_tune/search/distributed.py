"""`distribute`: parallel trials for a `recdrop_tune.Tuner` with an `OptunaOracle`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recdrop_tune.backends import check_training, share_gpus
from recdrop_tune.errors import invalid_argument
from recdrop_tune.events import Process
from recdrop_tune.files import check_folder
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.ray_workers import DATA, import_ray
from recdrop_tune.results import TuneResult, read_records
from recdrop_tune.search.data import make
from recdrop_tune.search.execution import check_completed, runner
from recdrop_tune.search.interrupts import Interrupts
from recdrop_tune.search.settings import MLflow, SearchConfig, Workers
from recdrop_tune.search.tuner_tracking import track_in, with_active
from recdrop_tune.session import SearchSession
from recdrop_tune.terminal import print_search
from recdrop_tune.tuner import TrackedOracle, Tuner


def distribute(
    make_tuner: Callable[[], Tuner],
    *,
    workers: int | Workers = 2,
    tracking: str | MLflow | bool | None = True,
    verbose: int = 1,
) -> Distributed:
    """Runs the trials of a tuner in several workers at the same time, on one machine or on many.

    A separate process runs the tuner's oracle and writes to MLflow. A worker that dies is replaced, and its
    trial runs again.

    Args:
        make_tuner: A function that makes a `recdrop_tune.Tuner` with an `OptunaOracle`. This process and each
            worker call it once. It must not pass `overwrite=True`.
        workers: How many trials run at the same time; or `Workers`.
        tracking: Name of the MLflow experiment, by default the active one or else `"recdrop-tune"`; or
            `MLflow`. `None` or `False` turns MLflow off. An active run of MLflow becomes the parent.
        verbose: 0 prints nothing, 1 a line per trial, 2 also a line per epoch and what workers print.

    Returns:
        A stand-in for the tuner: its `search` is distributed, everything else is the tuner's.

    Raises:
        InvalidArgumentError: An argument is invalid.
        RecdropError: Ray is not installed.

    Example:
        >>> def make_tuner():
        ...     return Tuner(OptunaOracle("val_loss", 100), build, project_name="speech")
        >>> tuner = distribute(make_tuner, workers=4)
        >>> tuner.search(x, y, validation_data=(x_val, y_val))
        >>> tuner.get_best_models()
    """
    arguments: dict[str, Any] = {"workers": workers, "tracking": tracking, "verbose": verbose}
    config = SearchConfig(**arguments)
    if config.workers is None:
        expected = "an integer, or rdt.Workers(...)"
        raise invalid_argument("workers", expected=expected, received=workers)
    check_training()
    import_ray()
    share_gpus()
    return Distributed(make_tuner, config.workers, config.tracking, verbose)


class Distributed:
    """A tuner whose search runs in several workers; made by `distribute`.

    Attributes:
        tuner: The tuner in this process. It has the results after the search.
        result: The result of the search, as `tune` returns it; `None` before.
    """

    def __init__(
        self,
        make_tuner: Callable[[], Tuner],
        workers: Workers,
        tracking: MLflow | None,
        verbose: int,
    ) -> None:
        self._make_tuner = make_tuner
        self._workers = workers
        self._verbose = verbose
        self.tuner = _new_tuner(make_tuner)
        self._tracking = with_active(tracking, folder=self.tuner.project_dir)
        self.result: TuneResult | None = None

    def search(self, *args: Any, **kwargs: Any) -> None:
        """Searches; see `keras_tuner.Tuner.search`.

        Args:
            *args: Positional arguments of `Model.fit`. Instead of data that cannot be pickled, such as a
                `tf.data.Dataset`, pass a function that makes them.
            **kwargs: Its other arguments.

        Raises:
            InvalidArgumentError: One cannot be sent to the workers, or Ray lacks the GPUs.
            RecdropError: No trial was completed, or too many failed in a row.
            OSError: A disk is full or broken.
        """
        if isinstance(self.tuner.oracle, TrackedOracle):
            self.tuner = _new_tuner(self._make_tuner)  # It has searched before.
        folder, workers = Path(self.tuner.project_dir), self._workers
        check_folder(folder)
        # Only the first two have a name in `Model.fit`.
        names = ["x", "y", *(f"argument {number + 3}" for number in range(len(args)))]
        job = TunerSearch(
            self._make_tuner, dict(zip(names, args, strict=False)), kwargs, workers, self._tracking
        )
        how = "make the tuner again with the same `directory` and `project_name`, and `overwrite=False`"
        records = read_records(folder, self.tuner.oracle)
        with (
            Interrupts() as interrupts,
            runner(job, workers, self._verbose, interrupts) as run_trials,
            print_search(folder, records, how, self._verbose, workers.number) as listeners,
        ):
            tracking = run_trials(self.tuner, records, [*listeners, interrupts])
        self.result = TuneResult(self.tuner, tracking)
        check_completed(folder, records)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "tuner":
            raise AttributeError(name)
        return getattr(self.tuner, name)


@dataclass(frozen=True)
class TunerSearch:
    """A search by a tuner, as its processes need it; `positional` has names of `Model.fit` as keys."""

    make_tuner: Callable[[], Tuner]
    positional: Mapping[str, Any]
    named: Mapping[str, Any]
    workers: Workers
    tracking: MLflow | None
    compilation_cache: bool | Path = True
    process: Process = field(default_factory=Process)

    def new_tuner(self, directory: Path | None = None) -> Tuner:
        """Makes the tuner, in its own folder."""
        return self.make_tuner()

    def track(self, tuner: Tuner) -> SearchSession:
        """Tracks the tuner."""
        info = {"workers": self.workers.number}
        return track_in(self.tracking, tuner, info=info, process=self.process)

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Makes the arguments of `search`."""
        quiet = {"verbose": 0} if "verbose" in self.named else {}
        named = {name: make(value) if name in DATA else value for name, value in self.named.items()}
        return tuple(map(make, self.positional.values())), named | quiet

    def follow_up(self) -> None:
        """Returns `None`: nothing follows the search."""


def _new_tuner(make_tuner: Callable[[], Tuner]) -> Tuner:
    with contextlib.redirect_stdout(io.StringIO()):
        tuner = make_tuner()
    if not isinstance(tuner, Tuner) or not isinstance(tuner.oracle, OptunaOracle):
        raise invalid_argument(
            "make_tuner",
            expected="a function without arguments that makes a recdrop_tune.Tuner with an OptunaOracle and "
            "does not track it",
            received=tuner.oracle if isinstance(tuner, Tuner) else tuner,
        )
    return tuner
