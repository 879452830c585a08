"""A real MLflow server for the tests: on loopback, on a free port, and gone afterwards."""

import atexit
import contextlib
import functools
import http.client
import http.server
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.forks import Forks, runs, serve


def free_port() -> int:
    """Returns a port of loopback that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@functools.cache
def _servers() -> Forks:
    """The process that all servers are forks of: it takes seconds to import MLflow's pages."""
    forks = Forks("tests.mlflow_server", Path(os.devnull))
    atexit.register(forks.close)
    return forks


def answers(port: int) -> bool:
    """Returns whether something listens at a port of loopback."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class MLflowServer:
    """A server with its database and artifacts in a folder; it can be killed and started again."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = Path(folder)
        self.port = port or free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.database = f"sqlite:///{self.folder / 'mlflow.db'}"
        self.log = self.folder / "server.log"
        self.pid = 0

    def start(self, seconds: float = 120) -> None:
        """Starts the server, on the same port and store as before, and waits until it answers."""
        order = {"port": self.port, "database": self.database, "folder": str(self.folder)}
        self.pid = _servers().start({**order, "log": str(self.log)})
        self._wait(seconds)

    def kill(self) -> None:
        """Kills the server with SIGKILL, as a crash of the machine would."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            _servers().wait(self.pid)
            self.pid = 0

    def _wait(self, seconds: float) -> None:
        # Not `urlopen`: a proxy of the environment has no business with loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + seconds
        while True:
            try:
                opener.open(f"{self.uri}/health", timeout=5).close()
                return
            except (urllib.error.URLError, OSError) as error:
                ended = not runs(self.pid)
                if ended or time.monotonic() > deadline:
                    what = "ended" if ended else f"did not answer within {seconds:.0f} s"
                    raise RuntimeError(f"mlflow server {what}:\n{self.log.read_text()}") from error
                time.sleep(0.05)


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int | None = None) -> Iterator[MLflowServer]:
    """Runs a server; it is stopped at the end in any case."""
    server = MLflowServer(folder, port)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def overloaded(port: int, refuses: Callable[[str, str], str]) -> Iterator[tuple[str, list[str]]]:
    """Runs a proxy that refuses some requests to a server, like an overloaded one.

    Args:
        port: The server's port.
        refuses: Gets the method and the path of each request. Returns `"before"` to answer it with 503,
            `"after"` to do so after the server has handled it, and `""` to pass it on.

    Yields:
        The address, and the list of requested paths, which grows.
    """
    asked: list[str] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(self.path)
            refused = refuses(self.command, self.path)
            if refused == "before":
                self.reply(503, b"overloaded", "text/plain")
                return
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            found = connection.getresponse()
            said, kind = found.read(), found.getheader("Content-Type") or "text/plain"
            connection.close()
            if refused:
                self.reply(503, b"overloaded", "text/plain")
            else:
                self.reply(found.status, said, kind)

        def reply(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", asked
        finally:
            listening.shutdown()
            thread.join()


def _run(order: dict) -> None:
    import uvicorn
    from mlflow import server
    from mlflow.server import handlers

    os.environ |= {
        server.BACKEND_STORE_URI_ENV_VAR: order["database"],
        server.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        server.ARTIFACTS_DESTINATION_ENV_VAR: f"{order['folder']}/artifacts",
        server.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    # As `mlflow server` does: the first request would have to wait until the tables are made.
    handlers.initialize_backend_stores(order["database"], None, "mlflow-artifacts:/")
    uvicorn.run("mlflow.server.fastapi_app:app", port=order["port"])


if __name__ == "__main__":
    for name in [each for each in os.environ if each.startswith("MLFLOW_")]:
        del os.environ[name]
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # Eight processes, for evaluating LLMs.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    import mlflow.server.fastapi_app  # Not in every fork.  # noqa: F401

    serve(_run)
