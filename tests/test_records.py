"""Records: the events of a search, folded."""

import pytest

from recdrop_tune.events import (
    EpochEnded,
    SearchEnded,
    SearchStarted,
    SpaceChanged,
    TrialEnded,
    TrialStarted,
    from_json,
    to_json,
)
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.mlflow_store.contents import contents_of
from recdrop_tune.records import Records

ABOUT = dict.fromkeys(("search_id", "name", "experiment", "tuner"), "s")


def search(time=0.0, hyperparameters=(), **info):
    about = {**ABOUT, "objective": "val_loss", "direction": "min", "info": info}
    return SearchStarted(**about, time=time, hyperparameters=list(hyperparameters))


def begun(number=0, time=1.0):
    values = {"units": number}
    return TrialStarted(trial_id=str(number), number=number, hyperparameters=values, time=time)


def test_the_time_of_a_step_is_the_median_of_all_trainings():
    epochs = [
        EpochEnded(trial_id="0", epoch=epoch, metrics=metrics, seconds=1.0, execution=execution)
        for execution, epoch, metrics in [
            (0, 0, {"ms_per_step": 900.0}),
            (0, 1, {"ms_per_step": 2.0}),
            (1, 0, {"ms_per_step": 3.0}),
            (1, 1, {"loss": 1.0}),
        ]
    ]
    record = Records([begun(), *epochs]).trials["0"]
    assert (record.ms_per_step, len(record.epochs), len(record.repeats)) == (3.0, 2, 2)
    assert Records([begun()]).trials["0"].ms_per_step is None


@pytest.mark.parametrize(("seconds", "expected"), [(5.0, 5.0), (None, 0.0)])
def test_a_trial_never_takes_less_than_no_time(seconds, expected):
    """The clock can be set back."""
    ended = TrialEnded(trial_id="0", status="COMPLETE", score=1.0, seconds=seconds, time=400.0)
    record = Records([begun(time=1000.0), ended]).trials["0"]
    assert record.seconds == expected
    assert record.ended_at == 1000.0
    run = contents_of([search(), begun(time=1000.0), ended], alive=True).latest["0"]
    assert run.end == ("FINISHED", 1000.0)


def test_breaks_between_sessions_do_not_count():
    over = SearchEnded(status="FINISHED", time=7.0)
    earlier = SearchEnded(status="FINISHED", time=90.0)  # The clock was set back.
    records = Records(
        [search(2.0), begun(time=3.0), over, search(100.0), begun(time=104.0), earlier]
    )
    assert (records.seconds, records.began) == (5.0 + 4.0, 2.0)
    assert Records([]).seconds == 0.0


def test_a_trial_runs_until_it_or_its_session_ends():
    ended = TrialEnded(trial_id="0", status="FAILED")
    records = Records([search(), begun(0), begun(1), begun(2), ended])
    assert [each.trial_id for each in records.running] == ["1", "2"]
    for event in (SearchEnded(status="KILLED"), search()):  # A killed search reports no end.
        found = Records([search(), begun(0), event])
        assert (found.running, found.trials["0"].state) == ([], "INTERRUPTED")
    assert len(Records([search(), begun(0), search(), begun(0)]).running) == 1


def test_a_backend_counts_once_it_has_trained():
    events = [
        search(backend="jax"),
        begun(0),
        search(backend="torch"),
        search(backend="jax"),
        begun(1),
    ]
    assert Records(events).backends == ["jax"]
    events += [search(backend="torch"), begun(2), search(backend="torch"), begun(3)]
    assert Records(events).backends == ["jax", "torch"]


SPACE = [
    Hyperparameter("wrapper", choices=["none", "lambda"]),
    Hyperparameter("bias", choices=[False, True]),
    Hyperparameter("layers", choices=[1, 2]),
    Hyperparameter("scale", choices=[1.0, 2.5]),
    Hyperparameter("units", low=8, high=32, step=8),
    Hyperparameter("steps", low=1, high=100, log=True, mirrored=True),
    Hyperparameter("rate.lambda", "rate", low=0.0, high=1.0, when={"wrapper": ["lambda"]}),
]


def test_a_space_comes_back_from_the_journal_with_its_types():
    started = search(hyperparameters=SPACE)
    read = from_json(to_json(started))
    # In a repr 1, 1.0 and True differ.
    assert repr(read.hyperparameters) == repr(SPACE)
    assert read == started


def test_the_space_is_the_last_one_with_what_earlier_trials_had():
    """A resumed oracle with `tune_new_entries=False` has forgotten what models registered."""
    values = {"wrapper": "none", "bias": True}
    grown = SpaceChanged(hyperparameters=SPACE)
    ended = TrialEnded(trial_id="0", status="COMPLETE", hyperparameters=values)
    records = Records([search(hyperparameters=SPACE[:1]), begun(), grown, ended])
    assert records.space == SPACE
    assert records.trials["0"].hyperparameters == values
    wrapper = Hyperparameter("wrapper", choices=["none", "lambda", "zoneout"])
    records.on_event(search(hyperparameters=[wrapper]))
    assert records.space == [wrapper, *SPACE[1:]]
