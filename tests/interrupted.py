"""Ends forks of itself by signals while they are in an `Interrupts`; run by `test_interrupts`.

Prints one line of JSON: what became of each.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.eager.context import Context

from recdrop_tune.search.interrupts import Interrupts, Terminated


def end_of(action: Callable[[], None]) -> int:
    """Returns how a fork ends: the exit code, or the number of a signal, negative."""
    pid = os.fork()
    if not pid:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def once() -> None:
    """Gets SIGTERM, and while it closes SIGTERM again and Ctrl-C."""
    with Interrupts():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Terminated:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGINT)
            os.write(1, b"closed ")


def after_ctrl_c() -> None:
    """Is told to end while it ends by Ctrl-C."""
    with Interrupts():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGTERM)
            os.write(1, b"closed ")


def without_a_terminal() -> None:
    """Gets SIGHUP from a closed terminal, to which nothing can be written."""
    outside, inside = os.openpty()
    os.dup2(inside, 2)
    sys.stderr = os.fdopen(2, "w")
    os.close(inside)
    os.close(outside)
    with Interrupts():
        try:
            signal.raise_signal(signal.SIGHUP)
        except Terminated as error:
            error.add_note("Broken off.")
            raise


def fork_of_a_search() -> None:
    """Sends SIGTERM to its forked process, and continues."""
    with Interrupts():
        ended = end_of(lambda: signal.raise_signal(signal.SIGTERM))
        os._exit(0 if ended == -signal.SIGTERM else 2)


def in_tensorflow() -> None:
    """Gets SIGTERM in a function in which an exception would crash the process."""
    function = Context._handle.fget.__code__

    def hook(frame, event, argument):
        if event == "call" and frame.f_code is function:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGTERM)

    with Interrupts():
        sys.setprofile(hook)
        tf.constant([1])
        time.sleep(60)


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` has all below it ignore this one.
    actions = (once, after_ctrl_c, without_a_terminal, fork_of_a_search, in_tensorflow)
    ends = {each.__name__: end_of(each) for each in actions}
    print(json.dumps(ends), flush=True)
