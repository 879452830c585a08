"""The words of an answer: the advice after it."""

from dataclasses import replace

import pytest

from recdrop_tune.events import ConfirmationEnded
from recdrop_tune.results.verdict import format_advice
from tests.test_standing import SOME, records


def long_records(*ends, planned=4):
    """Records of complete trials, best first, by the number of their best epoch."""
    found = records(*(({**SOME, "units": 8 + n}, float(n)) for n, _ in enumerate(ends)))
    found.search = replace(found.search, info={} if planned is None else {"epochs": planned})
    for trial, end in zip(found.trials.values(), ends, strict=True):
        trial.ended = replace(trial.ended, best_step=end)
    return found


@pytest.mark.parametrize(
    ("ends", "options", "words"),
    [
        (
            (3, 3, 3, 1, 1),
            {},
            "Train longer: after 4 epochs, 3 of the 5 best trials had their best epoch at the end.",
        ),
        ((3, 3, 1), {"planned": None}, None),  # How long a trial can train is not known.
        ((1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3), {}, None),  # The others are worse.
        ((3, 3), {"planned": 9}, None),  # Early stopping ended them.
        ((1, 1), {"planned": 1}, None),  # There is no other epoch.
        ((3,), {}, None),
    ],
)
def test_more_epochs_are_advised_if_the_best_trials_ended_at_their_best(ends, options, words):
    advice = format_advice(long_records(*ends, **options))
    assert next(advice, None) == words


def test_an_objective_on_the_training_data_is_named():
    found = long_records(1, 1)
    assert [*format_advice(found)] == []
    for trial in found.trials.values():
        trial.ended = replace(trial.ended, metrics={"score": 1.0, "val_score": 2.0})
    (advice,) = format_advice(found)
    assert advice.startswith("score is measured on the training data")


def test_after_a_confirmation_its_trainings_tell_whether_they_were_long_enough():
    found = long_records(3, 3, 3)
    runs = [("0", False, 1), ("0", True, 3), ("1", False, 3)]
    for id, twin, end in runs:
        about = {"trial_id": id, "twin": twin, "repeat": 0, "seed": 0, "score": 1.0}
        found.confirmations.append(ConfirmationEnded(**about, best_epoch=end))
    (advice,) = format_advice(found)
    assert "after 4 epochs, 2 of the 3 trainings" in advice
    found.confirmations.pop()
    assert [*format_advice(found)] == []
