"""Whole numbers and flags among the arguments, and the line of an error that says what it is."""

import numpy as np
import pytest

from recdrop_tune.errors import InvalidArgumentError, check_flag, check_integer, exception_line


@pytest.mark.parametrize("value", [1, np.int64(7), np.uint8(3), 2**31 - 1])
def test_whole_numbers(value):
    assert type(check_integer("n", value)) is int
    assert check_integer("n", value) == value


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None, np.float32(2), [1]])
def test_no_whole_number_of_at_least_1(value):
    with pytest.raises(InvalidArgumentError, match=r"`n`\. Expected an integer of at least 1\. "):
        check_integer("n", value)


def test_a_number_larger_than_tensors():
    with pytest.raises(InvalidArgumentError, match=r"at least 0, below 2\*\*31\. Received: n=9999"):
        check_integer("n", 9999999999, least=0)


@pytest.mark.parametrize("value", [True, np.False_])
def test_flags(value):
    assert check_flag("f", value) is bool(value)


@pytest.mark.parametrize("value", ["no", 0, 1, None])
def test_no_flag(value):
    with pytest.raises(InvalidArgumentError, match=r"`f`\. Expected True or False\. Received: f="):
        check_flag("f", value)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("ValueError: one\n-----\nFor simplicity, frames were removed.", "ValueError: one"),
        (
            "X: Graph execution error:\n\nDetected at node a\nlabel 3 is outside\n\t [[node]] [Op:f]",
            "X: label 3 is outside",
        ),
    ],
    ids=["JAX", "TensorFlow"],
)
def test_the_line_of_a_traceback_that_says_what_it_is(error, line):
    assert exception_line(f"Traceback (most recent call last):\n  File\n{error}") == line
