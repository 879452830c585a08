"""The trained models of a result: that of the best trial, of the best ones, or of any that was completed."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

from recdrop_tune.errors import RecdropError, check_integer, invalid_argument
from recdrop_tune.events import COMPLETE, PRUNED
from recdrop_tune.oracle import ranked
from recdrop_tune.results.confirmation import FOUND

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


def best_models(result: TuneResult, n: int) -> list[Any]:
    """Builds the models of the best trials; see `TuneResult.best_models`."""
    n = check_integer("n", n)
    # Before any model is built: the last one may be the one that is not there.
    chosen = _best_first(result)[:n]
    if not chosen:
        raise RecdropError("No trial of this search was completed.")
    if _is_loaded(result) and len(chosen) > 1:
        raise RecdropError(
            f"A result that was loaded from its folder has one model, the best. {_go_on(result)} has more."
        )
    return [trained_model(result, trial_id) for trial_id in chosen]


def _best_first(result: TuneResult) -> list[str]:
    """Lists the complete trials; after a confirmation the confirmed ones come first, by their means."""
    found = [str(trial.trial_id) for trial in ranked(result.search.oracle)]
    if result.confirmation is None:
        return found
    table = result.confirmation.table
    return [*dict.fromkeys([*table.loc[table["kind"] == FOUND, "trial_id"], *found])]


def model_of(result: TuneResult, trial: Any) -> Any:
    """Builds the model of one trial; see `TuneResult.model_of`."""
    trial_id = _trial_id(result, trial)
    rows = result.trials[result.trials["trial_id"] == trial_id]
    number, state = rows["number"].iloc[0], rows["state"].iloc[0]
    if state != COMPLETE:
        kept = (
            "a trial that is stopped early keeps no weights"
            if state == PRUNED
            else "it has no weights"
        )
        raise invalid_argument(
            "trial",
            expected="a trial that was completed",
            received=f"{trial_id} (trial {number}, {state.lower()})",
            fix=f"There is no model: {kept}. Build its hyperparameters and train them.",
        )
    if _is_loaded(result) and trial_id != result.best_trial.trial_id:
        raise RecdropError(
            "A result that was loaded from its folder has one model, that of trial "
            f"{result.best_trial.trial_id}, the best. {_go_on(result)} has that of trial {trial_id} too, "
            "as long as its weights are kept."
        )
    return trained_model(result, trial_id)


def _trial_id(result: TuneResult, trial: Any) -> str:
    """Reads which trial is meant.

    Raises:
        InvalidArgumentError: There is no such trial.
    """
    order = [str(trial_id) for trial_id in result.search.oracle.start_order]
    if isinstance(trial, Integral) and not isinstance(trial, bool):
        if 0 <= int(trial) < len(order):
            return order[int(trial)]
    elif not isinstance(trial, str):
        mapping = isinstance(trial, Mapping)
        trial = trial.get("trial_id") if mapping else getattr(trial, "trial_id", trial)
    if isinstance(trial, str) and trial in order:
        return trial
    raise invalid_argument(
        "trial",
        expected=f"the `trial_id` of one of the {len(order)} trials, its `number`, or a row of `trials`",
        received=trial,
    )


def trained_model(result: TuneResult, trial_id: str) -> Any:
    """Builds the model of a complete trial, with its weights.

    Args:
        result: The result.
        trial_id: The trial. Of one that was confirmed the weights are those of its best confirmed training.

    Raises:
        RecdropError: The weights are not kept any more.
    """
    if _is_loaded(result):
        return result.search.saved_model(trial_id)
    if result.confirmation is not None and result.confirmation.has(trial_id):
        return result.confirmation.model_of(trial_id, result.tuner)
    return result.tuner.load_model(result.tuner.oracle.trials[trial_id])


def _is_loaded(result: TuneResult) -> bool:
    return result.tuner is result.search


def _go_on(result: TuneResult) -> str:
    return (
        f'`tune` with the same arguments and directory="{result.directory}" trains nothing twice, and the '
        "result that it returns"
    )
