"""Integers and flags among the arguments, and the tracebacks of failed trials."""

import traceback

import numpy as np
import pytest

from recdrop_tune.errors import (
    InvalidArgumentError,
    check_flag,
    check_integer,
    exception_line,
    failure_text,
)


@pytest.mark.parametrize(
    ("check", "value", "found"),
    [
        *((check_integer, value, int(value)) for value in (1, np.int64(7), np.uint8(3), 2**31 - 1)),
        (check_flag, True, True),
        (check_flag, np.False_, False),
    ],
)
def test_numbers_of_numpy_become_those_of_python(check, value, found):
    assert check("n", value) == found
    assert type(check("n", value)) is type(found)


NOT_COUNTS = [0, -1, 1.0, True, "1", None, np.float32(2), [1]]
NOT_FLAGS = ["no", 0, 1, None]


@pytest.mark.parametrize(
    ("check", "value", "expected"),
    [
        *((check_integer, value, "an integer of at least 1") for value in NOT_COUNTS),
        # Larger than a tensor can be.
        (check_integer, 9999999999, r"an integer of at least 1, below 2\*\*31"),
        *((check_flag, value, "True or False") for value in NOT_FLAGS),
    ],
)
def test_other_values_are_refused(check, value, expected):
    with pytest.raises(InvalidArgumentError, match=rf"`n`\. Expected {expected}\. Received: n="):
        check("n", value)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("ValueError: one\n-----\nFor simplicity, frames were removed.", "ValueError: one"),
        (
            "X: Graph execution error:\n\nDetected at node a\nlabel 3 is outside\n\t [[node]] [Op:f]",
            "X: label 3 is outside",
        ),
        (
            "X: Exception encountered when calling Mine.call().\n\n\x1b[1m4 is not 7\x1b[0m\n\n"
            "Arguments received by Mine.call():\n  • args",
            "X: 4 is not 7 (in Mine.call())",
        ),
        (
            "X: Not built.\nException encountered:\n'Exception encountered when calling Mine.call().\n\n"
            "\x1b[1mNo shape. Error encountered:\n\n4 is not 7\x1b[0m\n\nArguments received",
            "X: 4 is not 7 (in Mine.call())",
        ),
    ],
    ids=["JAX", "TensorFlow", "Keras's layer", "Keras's build"],
)
def test_the_line_of_a_traceback_with_the_exception(error, line):
    assert exception_line(f"Traceback (most recent call last):\n  File\n{error}") == line


def test_a_failure_has_its_cause_first_and_no_frames_of_this_package():
    try:
        check_integer("\x1b[1mn\x1b[0m", 0)
    except InvalidArgumentError:
        text = failure_text(traceback.format_exc())
    assert text.startswith("recdrop_tune.errors.InvalidArgumentError: Invalid value received")
    assert text.count('  File "') == 1
    assert f'  File "{__file__}", line ' in text
    assert "\x1b" not in text
    assert "raise " not in text
