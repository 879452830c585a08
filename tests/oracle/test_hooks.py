"""The private hooks of Keras Tuner that `recdrop_tune.oracle` and `Tuner.save` rely on."""

from pathlib import Path

from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.tuner import Tuner
from tests.small_search import build, data


class Recording(OptunaOracle):
    def __init__(self, *args, **kwargs):
        self.written = []
        super().__init__(*args, **kwargs)

    def save(self):
        super().save()
        self.written.append("oracle.json")

    def _save_trial(self, trial):
        super()._save_trial(trial)
        self.written.append(f"{trial.trial_id} {trial.status}")


def test_keras_tuner_writes_all_its_files_through_the_hooks(tmp_path):
    oracle = Recording("val_loss", max_trials=1, seed=1)
    tuner = Tuner(oracle, build, directory=tmp_path, project_name="p")
    x, y = data()
    tuner.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
    # The search begins; the trial is saved before the state that lists it, and both before it is handed
    # out; an epoch; the trial has ended before the state that notes it.
    assert oracle.written == [
        "oracle.json",
        "0 RUNNING",
        "oracle.json",
        "0 RUNNING",
        "0 COMPLETED",
        "oracle.json",
        "oracle.json",
    ]
    folder = tmp_path / "p"
    assert Path(oracle._project_dir) == folder
    assert Path(oracle._get_oracle_fname()) == folder / "oracle.json"
    assert Path(oracle._get_trial_dir("0")) == folder / "trial_0"
    # Nothing else: the study is in memory.
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        "oracle.json",
        "tuner0.json",
        "trial_0/trial.json",
        "trial_0/build_config.json",
        "trial_0/checkpoint.weights.h5",
    }
