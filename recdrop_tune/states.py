"""The states of a trial, and how a search ends: the one vocabulary.

Keras Tuner, Optuna and MLflow have other words for them. One function translates for each:
`oracle.state_of`, `oracle.study.outcome` and `mlflow_store.contents.run_status`.
"""

from __future__ import annotations

from enum import StrEnum


class TrialState(StrEnum):
    """The state of a trial; a string, so that tables and JSON show its name.

    `PRUNED` trials were stopped early because they were not promising; those that Keras Tuner's Hyperband
    trains for a part of the epochs count as such. `FAILED` is not final where Keras Tuner tries a trial
    again. `INTERRUPTED` trials were running when the search ended (Ctrl-C, a full disk) or was killed. They
    run again, under the same id, when it resumes.
    """

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"
    RUNNING = "RUNNING"


FINAL = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
"""The states that count as ends; Keras Tuner may still try a failed trial again."""


class SearchOutcome(StrEnum):
    """How a search has ended, as MLflow names the end of a run; a `KILLED` one was interrupted."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
