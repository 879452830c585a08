"""A PostgreSQL server for the tests: on loopback, on a free port, in a temporary folder."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

REQUIRED = "RECDROP_REQUIRE_POSTGRES"
"""Environment variable that makes a missing server a failure; `.ci/run` sets it."""


def find_server() -> Path | None:
    """Finds the folder of `initdb` and `postgres`; Debian keeps them out of the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in folders), default=None)


@contextlib.contextmanager
def running_server() -> Iterator[str]:
    """Runs a server; yields the URL of its database, password included."""
    programs = find_server()
    if programs is None:
        message = "no PostgreSQL server; on Debian: apt-get install postgresql"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(message)
        pytest.skip(message)
    folder, password = Path(tempfile.mkdtemp(prefix="recdrop-postgres-")), secrets.token_hex(8)
    try:
        user = _hand_over(folder, password)
        _initialize(programs, folder, user)
        yield from _serve(programs, folder, user, password)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hand_over(folder: Path, password: str) -> dict[str, object]:
    """Writes the password, and picks who runs the server, for it refuses to be run by root."""
    (folder / "password").write_text(password)
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    for path in (folder, folder / "password"):
        os.chown(path, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _initialize(programs: Path, folder: Path, user: dict[str, object]) -> None:
    command = [programs / "initdb", "-D", folder / "data", "-U", "tester", "-A", "scram-sha-256"]
    command += ["--pwfile", folder / "password", "-E", "UTF8", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, **user)


def _serve(programs: Path, folder: Path, user: dict[str, object], password: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": ""}
    settings |= {"fsync": "off"}
    command = [programs / "postgres", "-D", folder / "data"]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **user)
    try:
        _wait(server, f"host=127.0.0.1 port={port} user=tester password={password} dbname=postgres")
        yield f"postgresql+psycopg://tester:{password}@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # On SIGTERM it would wait for its clients.
        server.wait(30)


def _wait(server: subprocess.Popen, where: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(where, connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
