"""What `recdrop_tune.oracle` and `Tuner.save` rest on in Keras Tuner that is no public interface of it."""

import inspect
import json
from pathlib import Path

import keras_tuner as kt
import pytest

from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.tuner import Tuner
from tests.small_search import build, data


class Recording(OptunaOracle):
    """Notes each file that is written, in order."""

    def __init__(self, *args, **kwargs):
        self.written = []
        super().__init__(*args, **kwargs)

    def save(self):
        super().save()
        self.written.append("oracle.json")

    def _save_trial(self, trial):
        super()._save_trial(trial)
        self.written.append(f"{trial.trial_id} {trial.status}")


@pytest.fixture
def tuner(tmp_path):
    oracle = Recording("val_loss", max_trials=1, seed=1)
    made = Tuner(oracle, build, directory=tmp_path, project_name="p")
    x, y = data()
    made.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
    return made


def test_keras_tuner_writes_all_its_files_through_the_hooks(tuner):
    # The search begins; the trial is saved before the state that knows it, and both before it is handed
    # out; an epoch; the trial has ended before the state that knows so.
    assert tuner.oracle.written == [
        "oracle.json",
        "0 RUNNING",
        "oracle.json",
        "0 RUNNING",
        "0 COMPLETED",
        "oracle.json",
        "oracle.json",
    ]


def test_the_files_have_the_names_that_keras_tuner_reads(tuner):
    folder = Path(tuner.project_dir)
    oracle = tuner.oracle
    assert Path(oracle._project_dir) == folder
    assert Path(oracle._get_oracle_fname()) == folder / "oracle.json"
    assert Path(oracle._get_trial_dir("0")) == Path(tuner.get_trial_dir("0")) == folder / "trial_0"
    assert Path(tuner._get_tuner_fname()) == folder / "tuner0.json"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.json")}
    assert files == {
        "oracle.json",
        "tuner0.json",
        "trial_0/trial.json",
        "trial_0/build_config.json",
    }
    for name in files:
        json.loads((folder / name).read_text())


def test_no_other_place_of_keras_tuner_writes_a_trial_or_the_state():
    source = inspect.getsource(kt.Oracle)
    # In `create_trial`, `update_trial` and `end_trial`, and where it is defined.
    assert source.count("_save_trial(") == 4
    assert source.count("trial.save(") == 1
    # In `create_trial` (twice: a retry, a new trial) and `end_trial`; `save` itself calls `super().save`.
    assert source.count("self.save()") == 3
    assert source.count("_get_oracle_fname()") == 2
    # The state is consistent because a new trial is noted in `start_order` before that is saved.
    assert source.index("self.start_order.append(") < source.index("self._save_trial(trial)")
