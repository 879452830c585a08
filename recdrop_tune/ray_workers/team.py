"""Runs a search with several workers: starts them, shows what they do, and replaces those that are lost."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from recdrop_tune.errors import ProjectError, RecdropError
from recdrop_tune.events import Event, TrackingWarning
from recdrop_tune.ray_workers.cluster import NAMESPACE, on_node, original
from recdrop_tune.ray_workers.host import OracleHost
from recdrop_tune.ray_workers.job import MARK, NOT_OPEN, Closed, Parcel, State
from recdrop_tune.ray_workers.resources import (
    Resources,
    described,
    gpus_of_each,
    host_environment,
    mlflow_environment,
    room,
    worker_environment,
)
from recdrop_tune.ray_workers.worker import Worker
from recdrop_tune.stopping import is_asked_to_stop
from recdrop_tune.storage_errors import is_storage_failure

# Starts the processes of a search in Ray, each with its share of the machines and its environment.

_RESTARTS = 20
"""How often the oracle's process may die; one that dies whenever it opens the search comes to an end."""


class Processes:
    """Starts actors.

    Args:
        ray: Ray, connected.
        resources: What each worker is given.
        gpus: How many GPUs each worker is given.
    """

    def __init__(self, ray: Any, resources: Resources, gpus: float) -> None:
        self._ray = ray
        self._resources = resources
        self._gpus = gpus
        self._backend = str(keras.backend.backend())

    def host(self, folder: Path, name: str) -> Any:
        """Starts the oracle's process, where this one is: that is where the project folder is.

        Raises:
            ProjectError: There is one for this folder already.
        """
        node = self._ray.get_runtime_context().get_node_id()
        options = self._ray.remote(OracleHost).options(
            name=f"oracle-{name}",
            namespace=NAMESPACE,
            num_cpus=0,
            max_restarts=_RESTARTS,
            max_task_retries=-1,
            scheduling_strategy=on_node(node),
            runtime_env={"env_vars": host_environment(self._backend)},
        )
        try:
            return options.remote(folder, self._resources.trial_timeout, mlflow_environment())
        except ValueError as error:
            raise ProjectError(
                f"Another process is running the search in `{folder}` on this cluster. Wait for it, or "
                "end it; of one that was killed Ray takes half a minute to notice."
            ) from error

    def worker(self, name: str, host: Any, parcel: Any) -> Any:
        """Starts a worker."""
        cpus = self._resources.cpus
        options = self._ray.remote(Worker).options(
            num_cpus=cpus,
            num_gpus=self._gpus,
            max_restarts=0,
            runtime_env={"env_vars": worker_environment(self._backend, self._gpus)},
        )
        return options.remote(name, host, parcel, cpus)


_POLL_SECONDS = 0.25
_FAREWELL_SECONDS = 3.0
_LOGS = "What they printed is in Ray's logs, by default in /tmp/ray/session_latest/logs."
_ALARM_SECONDS = 60.0
_FIRST_DEATHS = 3
"""How many workers may die in a row without having begun a trial: then none ever will."""


@dataclass
class _Member:
    """A worker, as the driver knows it."""

    name: str
    actor: Any
    run: Any
    where: Any
    reason: str | None = None


class Team:
    """The processes of one search.

    Args:
        ray: Ray, connected.
        parcel: The search.
        resources: What each worker is given.
        folder: The project folder.
        name: Name of the search in the whole cluster.
        show: Called with each event.
        note: Called with what else there is to say, in words.
        seen: How many events of the search are known already.
    """

    def __init__(
        self,
        ray: Any,
        parcel: Parcel,
        resources: Resources,
        folder: Path,
        name: str,
        show: Callable[[Event], None],
        note: Callable[[str], None],
        seen: int,
    ) -> None:
        cluster = ray.cluster_resources()
        self._ray = ray
        self._resources = resources
        self._gpus = gpus_of_each(resources, cluster)
        fits = room(resources, self._gpus, cluster)
        if fits < resources.number:
            note(
                f"Ray has room for {fits} of {resources.number} workers now ({described(cluster)}); the "
                "others start when there is more."
            )
        self._folder, self._mark, self._marked = folder, folder / MARK, False
        self._processes = Processes(ray, resources, self._gpus)
        self._parcel = ray.put(parcel)
        self._show, self._note, self._seen = show, note, seen
        self._alarm: float | None = time.monotonic() + _ALARM_SECONDS
        self._warned: list[str] = []
        self._members: list[_Member] = []
        self._actors: list[Any] = []  # Every one, as errors may keep their handles alive.
        self._started = 0
        self._deaths = 0
        self._host = self._processes.host(folder, name)

    def search(self) -> Closed:
        """Runs the search, from its beginning to its end; returns what the oracle's process knows then.

        Raises:
            Exception: What a worker or the oracle has raised.
        """
        try:
            self._run()
        except Exception as error:
            # What a full disk has broken off runs again.
            message = None if is_storage_failure(error) else f"{type(error).__name__}: {error}"
            with contextlib.suppress(Exception):
                self._close("FAILED", message)
            raise
        except BaseException:
            with contextlib.suppress(Exception):
                self._close("KILLED")
            raise
        else:
            return self._close("FINISHED")
        finally:
            if self._marked:  # Else it may be another process's.
                self._mark.unlink(missing_ok=True)

    def _run(self) -> None:
        # Their processes start, and import what they need, while the search is opened.
        actors = [self._make_worker() for _ in range(self._resources.number)]
        self._mark.touch()
        self._marked = True
        self._open(again=False)
        for name, actor in actors:
            self._add(name, actor)
        while self._members:
            runs = {member.run: member for member in self._members}
            done, _ = self._ray.wait(list(runs), timeout=_POLL_SECONDS)
            state = self._look()
            self._kill_overdue(state)
            if is_asked_to_stop(self._folder, now=True):
                raise KeyboardInterrupt  # The oracle's process forgets the request when it closes.
            for run in done:
                self._settle(runs[run], state.over)
            if state.over:  # Whoever is left has not begun, or is about to be told the same.
                left = [member.run for member in self._members]
                if left:  # So that they can put their folders away.
                    self._ray.wait(left, num_returns=len(left), timeout=_FAREWELL_SECONDS)
                return
            self._say_if_none_starts()

    def _close(self, status: str, message: str | None = None) -> Closed:
        """Ends all processes, the oracle's last; returns what it knows.

        Args:
            status: `FINISHED`, `FAILED` or `KILLED`.
            message: The error of trials that are under way.
        """
        for actor in self._actors:
            self._ray.kill(actor)
        try:
            if message is not None:
                self._ask("fail", message)
            closed: Closed = self._ask("close", status)
            self._look()
            return closed
        finally:
            self._ray.kill(self._host)

    def _look(self) -> State:
        state: State = self._ask("state", self._seen)
        for event in state.events:
            self._show(event)
        self._seen += len(state.events)
        for text in state.warnings:
            if text not in self._warned:
                self._warned.append(text)
                warnings.warn(text, TrackingWarning, stacklevel=2)
        return state

    def _open(self, again: bool) -> None:
        self._get(self._host.hear_warnings.remote())
        self._get(self._host.open.remote([self._parcel], again))

    def _ask(self, method: str, *args: Any) -> Any:
        """Asks the host, and opens it where Ray has had to start it again."""
        while (answer := self._get(self._host.ask.remote(method, *args))) == NOT_OPEN:
            self._open(again=True)
        return answer

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise original(error) from None
        except self._ray.exceptions.RayActorError as error:
            raise RecdropError(
                f"The oracle's process cannot run: {_reason(error)} {_LOGS} Is recdrop-tune installed, "
                "in the same version, wherever Ray runs?"
            ) from error

    def _settle(self, member: _Member, over: bool) -> None:
        """Handles a worker that has ended, or is lost."""
        self._members.remove(member)
        try:
            self._ray.get(member.run)
        except self._ray.exceptions.RayTaskError as error:
            raise original(error) from None
        except self._ray.exceptions.RayError as error:
            reason = member.reason or _reason(error)
            self._ray.kill(member.actor)  # It may be alive, and only out of reach.
            where = self._where(member)
            was_at_work = self._ask("give_up", member.name, reason, where)
            self._deaths = 0 if was_at_work else self._deaths + 1
            if self._deaths > max(_FIRST_DEATHS, self._resources.number):
                raise RecdropError(
                    f"The workers die before they can train: {reason} {_LOGS}"
                ) from None
            if not over:
                self._add(*self._make_worker())

    def _kill_overdue(self, state: State) -> None:
        for member in self._members:
            if member.name in state.overdue and member.reason is None:
                seconds = self._resources.trial_timeout
                member.reason = f"its trial took longer than trial_timeout={seconds:g} seconds"
                self._ray.kill(member.actor)

    def _say_if_none_starts(self) -> None:
        """Says once that there is no room for any worker; on a cluster that grows there will be."""
        if self._alarm is None:
            return
        starting = [member.where for member in self._members]
        if not starting or self._ray.wait(starting, timeout=0)[0]:
            self._alarm = time.monotonic() + _ALARM_SECONDS
        elif time.monotonic() > self._alarm:
            self._alarm = None
            free = described(self._ray.available_resources())
            self._note(
                f"No worker has started for {_ALARM_SECONDS:.0f} seconds. Each asks for "
                f"{self._resources.cpus:g} CPU and {self._gpus:g} GPU; free are: {free}. The "
                "search waits until there is room."
            )

    def _where(self, member: _Member) -> str | None:
        with contextlib.suppress(Exception):  # It may have died before it could say.
            return str(self._ray.get(member.where, timeout=0))
        return None

    def _make_worker(self) -> tuple[str, Any]:
        self._started += 1
        name = f"worker-{self._started}"
        self._actors.append(self._processes.worker(name, self._host, self._parcel))
        return name, self._actors[-1]

    def _add(self, name: str, actor: Any) -> None:
        where = actor.where.remote()
        self._members.append(_Member(name, actor, actor.run.remote(), where))


def _reason(error: Exception) -> str:
    """Puts Ray's pages about a dead actor into a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [
        line
        for line in lines
        if not line.startswith(("class_name", "actor_id", "pid", "name", "namespace", "ip"))
    ]
    return " ".join(useful[:3])[:400] or type(error).__name__
