"""Searches interrupted by Ctrl-C: finished trials are saved, and the running one runs again."""

import traceback

import keras
import keras_tuner as kt
import pandas as pd
import pytest
from keras import layers

import recdrop_tune as rdt
from recdrop_tune.errors import RecdropError
from recdrop_tune.events import SearchEnded, TrialEnded
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.records import Records
from recdrop_tune.states import TrialState
from tests.small_search import Failing, build, data, tuned
from tests.tracked_events import events_of


class Breaking(Failing):
    """Is interrupted at the end of one of its trainings, by default the second; 0 for none."""

    def __init__(self, at=2):
        super().__init__()
        self.left = at

    def fit(self, hp, model, *args, **kwargs):
        history = model.fit(*args, **kwargs)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return history


pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.mark.heavy
def test_finished_trials_are_saved_and_the_search_resumes(tmp_path):
    folder, options = tmp_path / "p", {"max_trials": 3, "epochs": 2}
    # Not by a helper, which has a frame of its own.
    own = {**options, "directory": folder, "tracking": None, "seed": 0, "verbose": 0}
    with pytest.raises(KeyboardInterrupt) as caught:
        rdt.tune(data(), data(), Breaking(), **own)
    *shown, _, _, _ = "".join(traceback.format_exception(caught.value)).splitlines()
    assert len(shown) <= 10  # The training's frames are a hundred lines.
    assert __file__ in shown[1]
    expected = [TrialState.COMPLETE, TrialState.INTERRUPTED]
    kept, best, how = caught.value.__notes__
    assert kept == f"Interrupted. Finished trials are kept in {folder}."
    result = rdt.TuneResult.load(folder)
    assert sorted(result.trials["state"]) == expected
    score = result.trials["val_loss"][0]
    assert best.startswith(f"Best so far: val_loss {score:.4f} with ")
    assert best.endswith(f"(trial {result.trials['number'][0]})")
    assert how == f'To resume: run again with directory="{folder}"'
    assert sorted(pd.read_csv(folder / "result" / "trials.csv")["state"]) == expected
    assert "1 interrupted. Best" in (folder / "result" / "summary.md").read_text()
    # The resumed search equals one that was not interrupted.
    resumed = tuned(folder, None, Breaking(0), **options)
    assert list(resumed.trials["state"]) == [TrialState.COMPLETE] * 3
    at_once = tuned(tmp_path / "q", None, Breaking(0), **options)
    left_out = ["seconds", "ms_per_step", "mlflow_run_id"]
    frames = [each.trials.drop(columns=left_out) for each in (resumed, at_once)]
    pd.testing.assert_frame_equal(*frames)
    params = [[trial.params for trial in each.study().trials] for each in (resumed, at_once)]
    assert params[0] == params[1]


class Stopping(OptunaOracle):
    """Is interrupted after the end of a trial is saved."""

    def end_trial(self, *args, **kwargs):
        super().end_trial(*args, **kwargs)
        raise KeyboardInterrupt


class Losing(OptunaOracle):
    """Is interrupted after the end of a trial is reported and before it is saved."""

    def _save_trial(self, trial):
        if trial.status == "COMPLETED":
            raise KeyboardInterrupt
        super()._save_trial(trial)


@pytest.mark.parametrize(("kind", "trainings"), [(Stopping, 1), (Losing, 2)])
def test_an_end_of_a_trial_counts_once_it_is_reported(tmp_path, kind, trainings):
    def search(kind):
        oracle = kind("val_loss", 2, seed=0)
        tuner = rdt.Tuner(oracle, build, seed=0, directory=tmp_path, project_name="p")
        with rdt.track(tuner, None):
            tuner.search(*data(), validation_data=data(), epochs=1, verbose=0)

    with pytest.raises(KeyboardInterrupt):
        search(kind)
    (row,) = rdt.TuneResult.load(tmp_path / "p").trials.itertuples()
    assert row.state == TrialState.COMPLETE
    search(OptunaOracle)
    frame = rdt.TuneResult.load(tmp_path / "p").trials.set_index("trial_id")
    assert list(frame["state"]) == [TrialState.COMPLETE] * 2
    ends = events_of(tmp_path / "p", TrialEnded)
    # If the oracle does not know of the end, the trial runs again.
    assert [each.trial_id for each in ends].count(row.trial_id) == trainings
    assert {each.score for each in ends if each.trial_id == row.trial_id} == {row.val_loss}
    assert frame["val_loss"][row.trial_id] == row.val_loss


def test_a_retry_that_waits_is_not_interrupted(tmp_path):
    """It does not run."""
    oracle = kt.oracles.RandomSearchOracle("val_loss", 1, max_retries_per_trial=1)
    tuner = kt.Tuner(oracle, build, directory=tmp_path, project_name="p")
    tracking = rdt.track(tuner, None)
    trial = tuner.oracle.create_trial("tuner0")
    trial.status = "INVALID"
    tuner.oracle.end_trial(trial)
    tracking.close("KILLED")
    events = events_of(tmp_path / "p")
    assert [each.status for each in events if isinstance(each, TrialEnded)] == [TrialState.FAILED]
    assert isinstance(events[-1], SearchEnded)
    assert Records(events).running == []


class Halting(keras.callbacks.Callback):
    """Interrupts after the second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_a_trial_runs_again_once_the_snapshot_of_another_model_is_deleted(tmp_path):
    def search(units, *callbacks):
        def model(hp):
            made = keras.Sequential([keras.Input((5, 3)), layers.Flatten(), layers.Dense(units)])
            made.add(layers.Dense(1))
            made.compile(keras.optimizers.SGD(hp.Float("rate", 0.1, 0.2)), "mse")
            return made

        training = rdt.Training(callbacks=callbacks, save_every=1e-9)
        options = {"max_trials": 1, "epochs": 3, "training": training}
        return tuned(tmp_path / "p", None, model, **options)

    with pytest.raises(KeyboardInterrupt):
        search(2, Halting())
    with pytest.raises(RecdropError, match=r"snapshot.npy"):
        search(3)
    (snapshot,) = tmp_path.rglob("snapshot.npy")
    snapshot.unlink()
    assert [*search(3).trials["state"]] == [TrialState.COMPLETE]
