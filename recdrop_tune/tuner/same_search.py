"""Whether a tuner that goes on in a folder is for the search that the folder holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recdrop_tune.errors import ProjectError, shown, warn_caller
from recdrop_tune.oracle import HyperParameter, in_words, is_same, objectives


def goal(oracle: Any) -> str:
    """Says what an oracle searches for, such as `"val_loss (min)"`."""
    return ", ".join(f"{each.name} ({each.direction})" for each in objectives(oracle.objective))


def check_goal(before: str, oracle: Any, folder: str | Path) -> None:
    """Raises where the search of a folder is for another objective.

    Args:
        before: What `goal` said of the oracle that began it.
        oracle: The oracle that is to go on.
        folder: The project folder.

    Raises:
        ProjectError: It is.
    """
    now = goal(oracle)
    if before != now:
        raise ProjectError(
            f"The folder `{folder}` holds a search for the objective {shown(before)}, and this "
            f"one is for {shown(now)}: their scores do not compare. Give this one another "
            "`project_name`, or the objective of that one."
        )


def warn_of_other_ranges(
    build: Callable[[Any], Any], given: Any, oracle: Any, folder: str | Path
) -> None:
    """Warns where a hyperparameter has another range now than in the search that goes on.

    Keras Tuner keeps the space that a search began with, and says nothing. What is new it adds.

    Args:
        build: Builds a model of hyperparameters.
        given: The hyperparameters that the oracle was made with, which override those of the models.
        oracle: The oracle, with the space of the folder.
        folder: The project folder.
    """
    build(given)
    lines = list(_other_ranges(given.space, oracle.get_space().space))
    if lines:
        warn_caller(
            f"The search in the folder `{folder}` goes on in the search space that it began with, which is "
            "another one:\n" + "\n".join(lines) + "\nTo search the space of now, give another "
            "`project_name`, or delete the search there with `overwrite=True`."
        )


def _other_ranges(now: list[HyperParameter], held: list[HyperParameter]) -> Iterator[str]:
    """Yields a line for each hyperparameter that is searched, and was so under the same conditions."""
    for hp in now:
        for was in held:
            if was.name == hp.name and was.conditions == hp.conditions and not is_same(was, hp):
                yield f"  {hp.name}: {in_words(was)} there, {in_words(hp)} now"
