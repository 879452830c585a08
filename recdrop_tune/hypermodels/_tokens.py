"""Reads the vocabulary off data of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from recdrop_tune.errors import invalid_argument
from recdrop_tune.hypermodels._batches import batches, check_ends, peek


def infer_vocabulary(train: Any, mask_zero: bool) -> int:
    """Counts the words: one more than the largest token; a dataset is read through once.

    Args:
        train: Tokens of shape `(batch, time)`; `(x, y)` of such, y one step ahead of x; a batched
            `tf.data.Dataset`; or a `keras.utils.PyDataset`.
        mask_zero: Whether token 0 is padding.

    Raises:
        InvalidArgumentError: The data are not those of a language model.
    """
    largest = 0
    for x, y in _token_batches(train):
        _check_tokens("x", x)
        _check_tokens("y", y)
        _check_form(x, y, mask_zero)
        largest = max(largest, int(x.max(initial=0)), int(y.max(initial=0)))
    return largest + 1


def check_validation_tokens(vocab_size: int, validation: Any) -> None:
    """Raises for validation data with other words than the training data's.

    Raises:
        InvalidArgumentError: They have.
    """
    x, y = peek(validation)
    if y is None:
        return
    for argument, tokens in (("x", np.asarray(x)), ("y", np.asarray(y))):
        _check_tokens(argument, tokens)
        if tokens.max(initial=0) >= vocab_size:
            raise invalid_argument(
                "validation",
                expected=f"tokens 0 ... {vocab_size - 1}, as in the training data",
                received=f"token {tokens.max()}",
                fix="Pass LanguageModel(vocab_size) as the hypermodel.",
            )


def _token_batches(train: Any) -> Iterator[tuple[Any, Any]]:
    if hasattr(train, "shape"):
        yield np.asarray(train), np.asarray(train)
        return
    check_ends(train, "the words are counted", "Pass LanguageModel(vocab_size) as the hypermodel")
    for x, y in batches(train):
        yield np.asarray(x), np.asarray(y)


def _check_tokens(argument: str, tokens: Any) -> None:
    if tokens.dtype.kind not in "iu" or tokens.ndim != 2 or tokens.min(initial=0) < 0:
        raise invalid_argument(
            argument,
            expected="integer tokens >= 0 of shape (batch, time)",
            received=f"{tokens.dtype} of shape {tokens.shape}",
            fix="Cut a text into pieces of one length with "
            "`tokens[: len(tokens) // time * time].reshape(-1, time)`.",
        )


def _check_form(x: Any, y: Any, mask_zero: bool) -> None:
    if x.shape != y.shape:
        raise invalid_argument(
            "y",
            expected=f"the next token at each step, of shape {x.shape} as x",
            received=f"shape {y.shape}",
            fix="Make x and y of one array of tokens with `LanguageModel.shift(tokens)`.",
        )
    if mask_zero and np.any((x[:, 0] == 0) & np.any(x != 0, axis=1)):
        raise invalid_argument(
            "x",
            expected="padding on the right, with mask_zero=True",
            received="sequences that begin with token 0",
            fix="Pad with `keras.utils.pad_sequences(..., padding='post')`.",
        )
