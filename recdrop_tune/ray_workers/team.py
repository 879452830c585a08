"""Runs a search with several workers: starts them, shows their events, and replaces those that are lost."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import keras

from recdrop_tune.errors import ProjectError, RecdropError, is_disk_failure
from recdrop_tune.events import Event, TrackingWarning
from recdrop_tune.ray_workers.cluster import NAMESPACE, original
from recdrop_tune.ray_workers.host import End, OracleHost, State
from recdrop_tune.ray_workers.job import MARK, Parcel
from recdrop_tune.ray_workers.resources import (
    Resources,
    format_resources,
    gpus_of_each,
    host_environment,
    worker_environment,
)
from recdrop_tune.ray_workers.worker import Worker
from recdrop_tune.states import SearchOutcome
from recdrop_tune.tuner import SnapshotError

_POLL_SECONDS = 0.25
_FAREWELL_SECONDS = 3.0
_ALARM_SECONDS = 60.0
_FIRST_DEATHS = 3
"""How many workers in a row can die before they begin a trial: then none ever will."""

_LOGS = "Their output is in Ray's logs, by default in /tmp/ray/session_latest/logs."


@dataclass
class _Member:
    """A worker, as seen by the driver."""

    name: str
    actor: Any
    run: Any
    where: Any
    reason: str | None = None


class Team:
    """The processes of one search, whose `name` is unique in the cluster.

    `show` is called with each event after the first `seen` ones, and `note` with other messages for the
    user.
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
        self._ray = ray
        self._resources = resources
        self._gpus = gpus_of_each(resources, ray.cluster_resources())
        self._backend = str(keras.backend.backend())
        self._folder, self._mark, self._marked = folder, folder / MARK, False
        self._parcel = ray.put(parcel)
        self._show, self._note, self._seen = show, note, seen
        self._alarm: float | None = time.monotonic() + _ALARM_SECONDS
        self._warned: list[str] = []
        self._members: list[_Member] = []
        self._actors: list[Any] = []  # All of them: errors can keep their handles alive.
        self._deaths = 0
        self._host = self._start_host(name)

    def search(self) -> End:
        """Runs the search; returns what the oracle's process knows at its end."""
        try:
            self._run()
        except Exception:
            with contextlib.suppress(Exception):
                self._close(SearchOutcome.FAILED)
            raise
        except BaseException:
            with contextlib.suppress(Exception):
                self._close(SearchOutcome.KILLED)
            raise
        else:
            return self._close(SearchOutcome.FINISHED)
        finally:
            if self._marked:  # Otherwise it might be another process's.
                self._mark.unlink(missing_ok=True)

    def _run(self) -> None:
        # The workers' processes start, and import their modules, while the search is opened.
        actors = [self._start_worker() for _ in range(self._resources.number)]
        self._mark.touch()
        self._marked = True
        self._ask("collect_warnings")
        self._ask("open", [self._parcel])
        for name, actor in actors:
            self._add(name, actor)
        while self._members:
            runs = {member.run: member for member in self._members}
            done, _ = self._ray.wait(list(runs), timeout=_POLL_SECONDS)
            state = self._show_news()
            self._kill_overdue(state)
            for run in done:
                self._settle(runs[run], state.over)
            if state.over:  # The others have not begun, or will be told the same.
                left = [member.run for member in self._members]
                if left:  # They can still remove their folders.
                    self._ray.wait(left, num_returns=len(left), timeout=_FAREWELL_SECONDS)
                return
            self._note_if_none_starts()

    def _start_host(self, name: str) -> Any:
        """Starts the oracle's process on this machine, which has the project folder."""
        strategies = import_module("ray.util.scheduling_strategies")
        node = self._ray.get_runtime_context().get_node_id()
        options = self._ray.remote(OracleHost).options(
            name=f"oracle-{name}",
            namespace=NAMESPACE,
            num_cpus=0,
            max_restarts=0,
            scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node, soft=False),
            runtime_env={"env_vars": host_environment(self._backend)},
        )
        secrets = {name: each for name, each in os.environ.items() if name.startswith("MLFLOW_")}
        try:
            return options.remote(self._folder, self._resources.trial_timeout, secrets)
        except ValueError as error:
            raise ProjectError(
                f"Another process is running the search in `{self._folder}` on this cluster. Wait for it, or "
                "end it; Ray takes half a minute to notice that a process was killed."
            ) from error

    def _start_worker(self) -> tuple[str, Any]:
        name, cpus = f"worker-{len(self._actors) + 1}", self._resources.cpus
        options = self._ray.remote(Worker).options(
            num_cpus=cpus,
            num_gpus=self._gpus,
            max_restarts=0,
            runtime_env={"env_vars": worker_environment(self._backend, self._gpus)},
        )
        self._actors.append(options.remote(name, self._host, self._parcel, cpus))
        return name, self._actors[-1]

    def _add(self, name: str, actor: Any) -> None:
        where = actor.where.remote()
        self._members.append(_Member(name, actor, actor.run.remote(), where))

    def _close(self, status: SearchOutcome) -> End:
        """Ends the workers, whose trials will run again, then the oracle's process."""
        for actor in self._actors:
            self._ray.kill(actor)
        try:
            end: End = self._ask("close", status)
            self._show_news()
            return end
        finally:
            self._ray.kill(self._host)

    def _show_news(self) -> State:
        state: State = self._ask("state", self._seen)
        for event in state.events:
            self._seen += 1  # First, as an interrupt can end the showing.
            self._show(event)
        for text in state.warnings:
            if text not in self._warned:
                self._warned.append(text)
                warnings.warn(text, TrackingWarning, stacklevel=2)
        return state

    def _ask(self, method: str, *args: Any) -> Any:
        """Calls a method of the host."""
        try:
            return self._ray.get(getattr(self._host, method).remote(*args))
        except self._ray.exceptions.RayTaskError as error:
            raise original(error) from None
        except self._ray.exceptions.RayActorError as error:
            raise RecdropError(
                f"The oracle's process died: {_reason(error)} Run the search again with its folder "
                f"`{self._folder}`: what has finished is not lost. {_LOGS} If it dies at once, is "
                "recdrop-tune installed, in the same version, wherever Ray runs?"
            ) from error

    def _settle(self, member: _Member, over: bool) -> None:
        """Removes a worker that has ended; replaces it if it died."""
        self._members.remove(member)
        try:
            self._ray.get(member.run)
        except self._ray.exceptions.RayTaskError as error:
            cause = original(error)
            # As in one process. The trials of the other workers will run again.
            if not (is_disk_failure(cause) or isinstance(cause, SnapshotError)):
                with contextlib.suppress(Exception):
                    self._ask("fail", member.name, f"{type(cause).__name__}: {cause}")
            raise cause from None
        except self._ray.exceptions.RayError as error:
            reason = member.reason or _reason(error)
            self._ray.kill(member.actor)  # It might be alive, but out of reach.
            where = None
            with contextlib.suppress(Exception):  # It might have died before it could answer.
                where = str(self._ray.get(member.where, timeout=0))
            was_at_work = self._ask("give_up", member.name, reason, where)
            self._deaths = 0 if was_at_work else self._deaths + 1
            if self._deaths > max(_FIRST_DEATHS, self._resources.number):
                raise RecdropError(
                    f"The workers die before they can train: {reason} {_LOGS}"
                ) from None
            if not over:
                self._add(*self._start_worker())

    def _kill_overdue(self, state: State) -> None:
        for member in self._members:
            if member.name in state.overdue and member.reason is None:
                seconds = self._resources.trial_timeout
                member.reason = f"its trial took longer than trial_timeout={seconds:g} seconds"
                self._ray.kill(member.actor)

    def _note_if_none_starts(self) -> None:
        """Prints once that the cluster has no room for a worker. It may still grow."""
        if self._alarm is None:
            return
        starting = [member.where for member in self._members]
        if not starting or self._ray.wait(starting, timeout=0)[0]:
            self._alarm = time.monotonic() + _ALARM_SECONDS
        elif time.monotonic() > self._alarm:
            self._alarm = None
            free = format_resources(self._ray.available_resources())
            self._note(
                f"No worker has started for {_ALARM_SECONDS:.0f} seconds. Each needs "
                f"{self._resources.cpus:g} CPU and {self._gpus:g} GPU; free are: {free}. The "
                "search waits until there is room."
            )


def _reason(error: Exception) -> str:
    """Shortens Ray's pages about a dead actor to one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    details = ("class_name", "actor_id", "pid", "name", "namespace", "ip")
    useful = [line for line in lines if not line.startswith(details)]
    return " ".join(useful[:3])[:400] or type(error).__name__
