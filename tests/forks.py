"""Processes that a test starts and kills: what they need is imported once, and each is a fork of that.

A module that calls `serve` in its `__main__` is run by `Forks`. No TensorFlow operation and no gRPC channel
may come before `serve`: threads are lost in a fork.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import ROOT


class Forks:
    """The side of the test: has a module carry out orders, in processes that write to a log.

    An order can name another `log`.
    """

    def __init__(self, module: str, log: Path):
        self.log = log
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        )

    def start(self, order: dict) -> int:
        """Starts a process; returns its id."""
        return self._ask(order)

    def wait(self, pid: int) -> int:
        """Waits for a process; returns its exit status, negative for a signal."""
        return self._ask(pid)

    def _ask(self, what) -> int:
        print(json.dumps(what), file=self._server.stdin, flush=True)
        answer = self._server.stdout.readline()
        assert answer, self.log.read_text() if self.log.exists() else "no log"
        return int(answer)

    def wait_for_output(self, pid: int, log: Path, text: str) -> None:
        """Waits until a process has printed a text to its log; fails if it ends before."""
        while not log.exists() or text not in log.read_text():
            assert runs(pid), log.read_text()
            time.sleep(0.05)

    def close(self) -> None:
        """Ends the server, and what still runs."""
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Waits until a condition has a true value, and returns that."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


@contextlib.contextmanager
def hearing_ctrl_c() -> Iterator[None]:
    """Has the processes that are started in the block hear Ctrl-C, and that a terminal was closed.

    Afterwards this process handles these signals as before.

    A shell starts what is to run in the background with Ctrl-C ignored, `nohup` anything with SIGHUP
    ignored, and so are all below it.
    """
    heard = {signal.SIGINT: signal.default_int_handler}
    heard |= dict.fromkeys((signal.SIGHUP, signal.SIGTERM), signal.SIG_DFL)
    before = {number: signal.signal(number, handler) for number, handler in heard.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def runs(pid: int) -> bool:
    """Returns whether a process has not ended. A zombie has."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def serve(action: Callable[[dict], None]) -> None:
    """Forks a process for each order, which carries it out; kills those that nobody waited for."""
    gc.freeze()  # No fork looks through what was imported, a second each time.
    left = set()
    for line in sys.stdin:
        order = json.loads(line)
        if isinstance(order, int):
            left.remove(order)
            _, status = os.waitpid(order, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if not pid:
            _carry_out(action, order)
        left.add(pid)
        print(pid, flush=True)
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def _carry_out(action: Callable[[dict], None], order: dict) -> None:
    log = os.open(order.get("log", sys.argv[1]), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(log, stream)
    status = 1
    try:
        action(order)
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
