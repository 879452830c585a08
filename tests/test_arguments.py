"""Integers and flags among the arguments, and the tracebacks of failed trials."""

import traceback

import pytest

from recdrop_tune.errors import (
    InvalidArgumentError,
    check_integer,
    exception_line,
    failure_text,
)


@pytest.mark.parametrize("value", [0, 1.0, True, "1"])
def test_no_counts(value):
    with pytest.raises(InvalidArgumentError, match=r"`n`\. Expected an integer of at least 1"):
        check_integer("n", value)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("ValueError: one\n-----\nFor simplicity, frames were removed.", "ValueError: one"),
        (
            "X: Graph execution error:\n\nDetected at node a\nlabel 3 is outside\n\t [[node]] [Op:f]",
            "X: label 3 is outside",
        ),
        (
            "X: Exception encountered when calling Mine.call().\n\n"
            "\x1b[1m{{function_node __wrapped__Sub_device_/job:x}} 4 is not 7 [Op:Sub] name: \x1b[0m\n\n"
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
