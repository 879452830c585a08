"""A terminal for a program that looks whether it has one: what it prints, and what is on the screen."""

import os
import pty
import select
import subprocess
import sys
import time

import pyte

COLUMNS, LINES = 140, 40


class Terminal:
    """Runs `python -c CODE` in a folder, on a new terminal."""

    def __init__(self, code, folder, **environment):
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        ours, theirs = pty.openpty()
        self._ours = ours
        named = {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            env={**os.environ, **named, **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)

    def press(self, keys):
        """Sends keys, such as b"\\x03" for Ctrl-C."""
        os.write(self._ours, keys)

    def wait_for(self, seen, seconds=120):
        """Returns the screen's lines as soon as `seen` says that they are what is waited for."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            going_on = self._read()
            lines = [line.rstrip() for line in self._screen.display if line.strip()]
            if seen(lines):
                return lines
            assert going_on, "\n".join(["It ended with", *lines])
        raise AssertionError("\n".join(["It is not there in time. There is", *lines]))

    def rest(self, seconds=120):
        """Waits for the end, and returns the screen's lines."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, self._screen.display
        self.process.wait(10)
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def _read(self):
        ready, _, _ = select.select([self._ours], [], [], 0.2)
        try:
            data = os.read(self._ours, 65536) if ready else None
        except OSError:  # Linux says so at the end.
            data = b""
        if data:
            self._stream.feed(data)
        return data != b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)
        os.close(self._ours)


def _take_terminal():
    """Makes the terminal the one that Ctrl-C is heard from."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
