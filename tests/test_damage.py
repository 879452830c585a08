"""A project folder of which a file is gone or damaged: what its search makes of it when it goes on."""

import json
import shutil
import sqlite3
import warnings
from collections import Counter
from pathlib import Path

import keras
import keras_tuner as kt
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError, ProjectWarning
from tests.small_search import build, data

TUNERS = ("optuna", "random", "hyperband")
DONE, MOST = 3, 5
"""How many trials are complete before the damage, and how many the search is to have."""


class Quick(kt.HyperModel):
    """Reports epochs without any training, and counts.

    Args:
        breaks_off_at: The training at which the user breaks off; `None` for none.
    """

    def __init__(self, breaks_off_at=None):
        super().__init__()
        self.breaks_off_at = breaks_off_at
        self.fits = []

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, callbacks=(), epochs=1, initial_epoch=0, **kwargs):
        if len(self.fits) == self.breaks_off_at:
            raise KeyboardInterrupt
        self.fits.append(dict(hp.values))
        rate = hp.get("rate") if "rate" in hp else 0.6
        history = keras.callbacks.History()
        told = keras.callbacks.CallbackList([history, *callbacks], model=model)
        told.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            told.on_epoch_begin(epoch)
            worse = 0.1 * abs(epoch - 1) + (0.01 if "output" in str(hp.values) else 0.0)
            told.on_epoch_end(epoch, {"loss": 1.0, "val_loss": abs(rate - 0.3) + worse})
        told.on_train_end()
        return history


def search(folder: Path, model: Quick, tuner: str, max_trials: int, **more):
    uri = f"sqlite:///{folder.parent}/mlflow.db"
    options = {"epochs": 4, "seed": 0, "verbose": 0, "tracking_uri": uri, **more}
    return rdt.tune(
        data(8),
        data(8),
        hypermodel=model,
        tuner=tuner,
        directory=folder,
        max_trials=max_trials,
        **options,
    )


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Folders of searches that have ended, and of ones that were broken off in their fourth trial."""
    above = tmp_path_factory.mktemp("originals")
    search(above / "first", Quick(), "random", 1)  # Makes the database of MLflow.
    made = {}
    for tuner in TUNERS:
        for name, breaks_off_at in (("ended", None), ("broken off", DONE)):
            base = above / f"{tuner} {name}"
            base.mkdir()
            shutil.copy(above / "mlflow.db", base / "mlflow.db")
            if breaks_off_at is None:
                search(base / "project", Quick(), tuner, DONE)
            else:
                with pytest.raises(KeyboardInterrupt):
                    search(base / "project", Quick(breaks_off_at), tuner, MOST)
            made[tuner, name] = base
    return made


class Damaged:
    """A copy of such a folder, to be damaged and to go on."""

    def __init__(self, original: Path, where: Path, tuner: str):
        shutil.copytree(original, where)
        self.folder, self.tuner = where / "project", tuner
        self.before = self.trials()
        self.said: list[str] = []
        self.result = None

    def trials(self) -> dict[str, dict]:
        files = self.folder.glob("trial_*/trial.json")
        return {each["trial_id"]: each for each in (json.loads(f.read_text()) for f in files)}

    def go_on(self, max_trials: int = MOST, **more) -> list[dict]:
        """Goes on with the search; returns what was trained."""
        model = Quick()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.result = search(self.folder, model, self.tuner, max_trials, **more)
        self.said = [str(each.message) for each in caught if each.category is ProjectWarning]
        others = [each for each in caught if issubclass(each.category, UserWarning)]
        assert [str(o.message) for o in others if o.category is not ProjectWarning] == []
        return model.fits

    def check(self, fits: list[dict], max_trials: int = MOST) -> None:
        """Checks that nothing finished was trained again or changed, and that all is there once."""
        done = {id: t for id, t in self.before.items() if t["status"] in ("COMPLETED", "STOPPED")}
        after = self.trials()
        for id, trial in done.items():
            for key in ("score", "best_step", "status"):
                assert after[id][key] == trial[key], (id, key)
            assert after[id]["hyperparameters"]["values"] == trial["hyperparameters"]["values"]
            values = {name: m["observations"] for name, m in trial["metrics"]["metrics"].items()}
            told = after[id]["metrics"]["metrics"]
            assert {name: m["observations"] for name, m in told.items()} == values
        frame = self.result.trials
        assert sorted(frame["trial_id"]) == sorted(after)
        assert len(frame) == max_trials
        assert set(frame["state"]) == {"COMPLETE"}
        assert len(fits) == max_trials - len(done)
        self.check_mlflow(set(after))

    def check_mlflow(self, ids: set[str]) -> None:
        client = MlflowClient(f"sqlite:///{self.folder.parent}/mlflow.db")
        experiment = client.get_experiment_by_name("recdrop-tune").experiment_id
        runs = client.search_runs([experiment], "tags.`recdrop.kind` != 'x'", max_results=1000)
        own = [run for run in runs if run.info.start_time >= self.begun()]
        kinds = Counter(run.data.tags["recdrop.kind"] for run in own)
        assert kinds["search"] == 1
        told = Counter(
            run.data.tags["recdrop.trial_id"]
            for run in own
            if run.data.tags["recdrop.kind"] == "trial"
        )
        assert told == dict.fromkeys(ids, 1)
        assert {run.info.status for run in own if run.data.tags["recdrop.kind"] == "trial"} == {
            "FINISHED"
        }

    def begun(self) -> int:
        """When the search began, in milliseconds; the database has a run from before that."""
        with sqlite3.connect(self.folder.parent / "mlflow.db") as database:
            rows = database.execute(
                "select r.start_time from runs r join tags t on r.run_uuid = t.run_uuid "
                "where t.key = 'recdrop.kind' and t.value = 'search' order by 1"
            ).fetchall()
        return rows[1][0]


@pytest.fixture
def damaged(originals, tmp_path):
    def make(tuner="optuna", name="broken off"):
        return Damaged(originals[tuner, name], tmp_path / "damaged", tuner)

    return make


@pytest.mark.parametrize("tuner", TUNERS)
def test_without_damage_nothing_is_said(damaged, tuner):
    whole = damaged(tuner)
    whole.check(whole.go_on())
    assert whole.said == []


@pytest.mark.parametrize("tuner", TUNERS)
def test_the_folder_of_a_trial_is_gone(damaged, tuner):
    lost = damaged(tuner)
    shutil.rmtree(lost.folder / "trial_1")
    lost.check(lost.go_on())
    assert len(lost.said) == 1
    assert "trial_1/trial.json` was damaged or missing; it was written anew" in lost.said[0]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
        return
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0x80]) if content else b""
    made = {"empty": b"", "half": content[:middle], "flipped": flipped + content[middle + 1 :]}
    path.write_bytes(made[how])


OWN = [
    "search.json",
    "oracle.json",
    "tuner0.json",
    "events.jsonl",
    "optuna.journal",
    "trial_0/trial.json",
    "trial_3/trial.json",
]
"""What a search goes on from."""

OTHERS = [
    "trial_0/build_config.json",
    "trial_0/checkpoint.weights.h5",
    "result/best_model.json",
    "result/best_model.keras",
    "result/history.csv",
    "result/report.html",
    "result/summary.md",
    "result/trials.csv",
    "result/trials.json",
]
FILES = [(tuner, name) for tuner in TUNERS for name in OWN] + [("optuna", name) for name in OTHERS]


@pytest.mark.heavy
@pytest.mark.parametrize("how", ["gone", "empty", "half", "flipped"])
@pytest.mark.parametrize("state", ["ended", "broken off"])
@pytest.mark.parametrize(("tuner", "name"), FILES)
def test_every_file_damaged_in_every_way(damaged, tuner, state, name, how):
    found = damaged(tuner, state)
    path = found.folder / name
    if not path.exists():
        pytest.skip("such a search has no such file")
    damage(path, how)
    most = DONE if state == "ended" else MOST
    if name == "search.json":  # What the search is about is not known then.
        with pytest.raises(ProjectError, match=r"search\.json"):
            found.go_on(most)
        return
    found.check(found.go_on(most), most)
