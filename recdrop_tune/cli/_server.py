"""An MLflow server as a child process: started, waited for, and ended with the command."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Self
from urllib.request import ProxyHandler, build_opener

import click

from recdrop_tune.scratch import ScratchFolder

_HOST = "127.0.0.1"
_FIRST, _PORTS = 5000, 100
_START_SECONDS = 120.0
_STOP_SECONDS = 5.0


def pick_port(port: int | None) -> int:
    """Returns a port of loopback that is free: the one given, else the first one from 5000 on.

    Raises:
        click.ClickException: The one given is taken.
    """
    if port is not None:
        if not _is_free(port):
            raise click.ClickException(
                f"Port {port} is taken. Give another `--port`, or leave it out for a free one."
            )
        return port
    free = next((each for each in range(_FIRST, _FIRST + _PORTS) if _is_free(each)), None)
    if free is None:
        raise click.ClickException(f"The ports {_FIRST} to {_FIRST + _PORTS - 1} are all taken.")
    return free


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server does: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError):
            return False
        return True


class Server:
    """Serves MLflow's pages on a database, to this machine alone, for as long as a block lasts.

    Args:
        store: Tracking URI of the database.
        port: The port.
    """

    def __init__(self, store: str, port: int) -> None:
        self.uri = f"http://{_HOST}:{port}"
        self._folder = ScratchFolder("recdrop-ui-")
        self._log = self._folder.path / "server.log"
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", _HOST, "--port", str(port)]
        # A database's password is nothing for the list of processes.
        environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": store}
        # Eight more processes, which evaluate language models.
        environment.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        environment.pop("MLFLOW_TRACKING_URI", None)
        # `-m` looks for modules in the current folder first, here and where MLflow starts uvicorn, which then
        # does so by itself: a `yaml.py` that lies there would be run.
        environment.update(PYTHONSAFEPATH="1", UVICORN_APP_DIR=str(self._folder.path))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                # So that it keeps its folder where this process is killed and it lives on.
                pass_fds=() if self._folder.lock is None else (self._folder.lock,),
            )

    def __enter__(self) -> Self:
        """Returns itself, to be ended with the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the server and its workers."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._signal(signal.SIGKILL)  # Its workers, if it has left any.
        self._process.wait()
        self._folder.remove()

    def wait_until_up(self) -> None:
        """Waits until the server answers.

        Raises:
            click.ClickException: It has ended, or does not answer within two minutes.
        """
        # A proxy of the environment has no business with loopback.
        opener = build_opener(ProxyHandler({}))
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                opener.open(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                if self._process.poll() is not None:
                    raise self._failure("could not be started") from None
                if time.monotonic() > deadline:
                    raise self._failure(f"did not answer within {_START_SECONDS:.0f} s") from None
                time.sleep(0.2)

    def wait_until_down(self) -> None:
        """Waits for ever, or until the server ends.

        Raises:
            click.ClickException: It has ended.
        """
        self._process.wait()
        raise self._failure("has ended")

    def _failure(self, what: str) -> click.ClickException:
        from recdrop_tune.credentials import hide

        lines = self._log.read_text(errors="replace").splitlines()
        # SQLAlchemy and MLflow quote the address of a database that they cannot open.
        said = "\n".join(hide(line) for line in lines[-12:])
        return click.ClickException(f"MLflow's server {what}. It said:\n{said}")

    def _signal(self, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, which)
