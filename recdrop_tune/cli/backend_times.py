"""Which of the installed backends trains fastest here: each is timed in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recdrop_tune.backends import VARIABLE, chosen
from recdrop_tune.cli.store import OK, WARN, Check

_SECONDS = 300.0
"""The longest that a backend is waited for: it is imported and compiles four models first."""

_BY = "recurrent"
"""What the backends are compared by: this package's dropout, as most of a search trains it."""

Size = tuple[int, int, int, int]
"""Samples in a batch, steps of a sequence, features, units."""


@dataclass
class BackendTimes:
    """Times training steps on one backend after the other, and compares them.

    Attributes:
        size: Of the LSTM and its data.
        found: Milliseconds of a step by backend and by what is timed.
    """

    size: Size
    found: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def timed(self, backend: str) -> Check:
        """Times a backend. One that fails is a warning: the others can be used."""
        try:
            times = step_times_of(backend, self.size)
        except subprocess.TimeoutExpired:
            return Check(WARN, f"no training step can be timed: not ready after {_SECONDS:.0f} s")
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            fix = f"`{VARIABLE}={backend} python -c 'import keras'` may say more."
            return Check(WARN, f"no training step can be timed: {error}", fix)
        self.found[backend] = times
        said = ", ".join(f"{name} {value:.2f} ms" for name, value in times.items())
        return Check(OK, f"a training step: {said}")

    def fastest(self) -> Check:
        """Says which of the backends is the fastest at this size, and how to use it."""
        if not self.found:
            return Check(OK, "not known: no backend could be timed")
        batch, steps, features, units = self.size
        at = f"an LSTM of batch {batch}, {steps} steps, {features} features, {units} units (`--size`)"
        ranked = sorted(self.found, key=lambda backend: self.found[backend][_BY])
        first, others = ranked[0], ranked[1:]
        if not others:
            text = f"{first} is the only backend that can be timed here, with {at}"
            if first == "jax":
                return Check(OK, text)
            more = "jax may be faster: run `pip install 'recdrop-tune[jax]'` and this again."
            return Check(OK, text, more)
        ratios = ", ".join(
            f"{self.found[each][_BY] / self.found[first][_BY]:.1f} times as fast as {each}"
            for each in others
        )
        text = f"{first}, {ratios}, by a step of `{_BY}` with {at}, compiling not counted"
        if first == chosen():
            return Check(OK, f"{text}; Keras is set to it")
        use = f"Set {VARIABLE}={first} before keras is imported, or `recdrop-tune run --backend {first}`."
        return Check(OK, text, use)


def step_times_of(backend: str, size: Size) -> dict[str, float]:
    """Returns the milliseconds of training steps, measured by `step_times` in a process of its own.

    Raises:
        ValueError: It could not train; the message is the last line that it wrote.
        subprocess.TimeoutExpired: It took too long.
    """
    root = str(Path(__file__).parents[2])  # So that it is this package, wherever that is.
    places = filter(None, [root, os.environ.get("PYTHONPATH")])
    environment = {
        **os.environ,
        VARIABLE: backend,
        "PYTHONPATH": os.pathsep.join(places),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-P", "-m", "recdrop_tune.cli.step_times", *map(str, size)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=_SECONDS
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ValueError(lines[-1] if lines else f"exit code {done.returncode}")
    times: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return times
