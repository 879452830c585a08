"""A project folder of which a file is gone or damaged: what its search makes of it when it goes on."""

import errno
import json
import math
import os
import resource
import shutil
import warnings
from collections import Counter
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import keras
import keras_tuner as kt
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError, ProjectWarning
from recdrop_tune.oracle import decide_whether_to_go_on, set_aside
from recdrop_tune.oracle.repairs import all_ids, in_order
from recdrop_tune.tuner import TrackedOracle, as_objectives
from recdrop_tune.tuner.tuners import ORACLES
from tests.laws.cases import over
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
    options = {"epochs": 4, "seed": 0, "verbose": 0, "tracking": rdt.MLflow(uri=uri), **more}
    return rdt.tune(
        data(8),
        data(8),
        model=model,
        tuner=tuner,
        directory=folder,
        max_trials=max_trials,
        **options,
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory, new_store):
    """Makes folders of searches that have ended, or were broken off in their fourth trial, each once."""

    @cache
    def made(tuner: str, state: str) -> Path:
        base = tmp_path_factory.mktemp("original")
        new_store(base)
        if state == "ended":
            search(base / "project", Quick(), tuner, DONE)
        else:
            with pytest.raises(KeyboardInterrupt):
                search(base / "project", Quick(DONE), tuner, MOST)
        return base

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
        kinds = Counter(run.data.tags["recdrop.kind"] for run in runs)
        assert kinds["search"] == 1
        trials = [run for run in runs if run.data.tags["recdrop.kind"] == "trial"]
        told = Counter(run.data.tags["recdrop.trial_id"] for run in trials)
        assert told == dict.fromkeys(ids, 1)
        assert {run.info.status for run in trials} == {"FINISHED"}


@pytest.fixture
def damaged(original, tmp_path):
    def make(tuner="optuna", state="broken off"):
        return Damaged(original(tuner, state), tmp_path / "damaged", tuner)

    return make


def test_without_damage_nothing_is_said(damaged):
    whole = damaged()
    whole.check(whole.go_on())
    assert whole.said == []


@pytest.mark.parametrize("tuner", TUNERS)
def test_the_folder_of_a_trial_is_gone(damaged, tuner):
    lost = damaged(tuner)
    shutil.rmtree(lost.folder / "trial_1")
    lost.check(lost.go_on())
    assert len(lost.said) == 1
    assert "trial_1/trial.json` was damaged or missing; it was written anew" in lost.said[0]


def test_the_state_of_keras_tuners_file_is_gone(damaged):
    lost = damaged("random")
    (lost.folder / "tuner0.json").unlink()
    lost.check(lost.go_on())
    assert lost.said == []  # There was nothing in it.


@pytest.mark.parametrize("tuner", TUNERS)
def test_the_state_of_the_oracle_is_made_anew(damaged, tuner):
    """What follows from the trials is what was there, but for what is drawn next."""
    lost = damaged(tuner)
    path = lost.folder / "oracle.json"
    saved = json.loads(path.read_text())
    path.write_text(path.read_text()[:500])
    oracle = make_oracle(tuner)
    oracle._set_project_dir(lost.folder.parent, "project")
    with pytest.warns(
        ProjectWarning, match=r"oracle\.json` was damaged or missing, and is kept as"
    ):
        oracle.reload()
    made = json.loads(path.read_text())
    for state in (saved, made):
        state["tried_so_far"].sort()
        state["hyperparameters"].pop("values")  # The last ones that were built.
    unlike = {name for name in saved if made[name] != saved[name]}
    # The trial under way waits to be run again, as it would without the damage.
    assert unlike <= {"seed_state", "ongoing_trials", "retry_queue", "display", "optuna"}
    assert made["seed_state"] >= saved["seed_state"]
    assert (lost.folder / "oracle.json.damaged").read_text() != path.read_text()


def make_oracle(tuner):
    plan = SimpleNamespace(
        optuna=rdt.Optuna(),
        goals=as_objectives("val_loss"),
        max_trials=MOST,
        epochs=4,
        timeout=None,
        study_name=None,
        seed=0,
    )
    return ORACLES[tuner](plan)


def test_what_cannot_be_read_is_not_damaged(damaged):
    """Too many open files, no rights, a disk that fails: nothing is given another name, nothing made anew."""
    whole = damaged("random")
    before = sorted(path.name for path in whole.folder.rglob("*"))
    oracle = make_oracle("random")
    oracle._set_project_dir(whole.folder.parent, "project")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(
            ProjectError, match=r"oracle\.json` cannot be read: .*Too many open files"
        ):
            oracle.reload()
        with pytest.raises((ProjectError, OSError), match="Too many open files"):
            decide_whether_to_go_on(whole.folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert sorted(path.name for path in whole.folder.rglob("*")) == before
    whole.check(whole.go_on())


def test_three_trials_in_a_row_of_which_nothing_is_left_end_no_search(damaged):
    """Keras Tuner ends a search whose trials fail three times in a row."""
    lost = damaged("random", "ended")
    for number in range(3):
        shutil.rmtree(lost.folder / f"trial_{number}")
    (lost.folder / "events.jsonl").unlink()
    assert len(lost.go_on()) == MOST - 3
    assert Counter(lost.result.trials["state"]) == {"COMPLETE": MOST - 3, "FAILED": 3}


def test_a_trial_that_was_lost_is_put_back_from_the_journal(damaged):
    """Something that does not know the journal has let it count as failed meanwhile."""
    lost = damaged("random")
    shutil.rmtree(lost.folder / "trial_1")
    oracle = make_oracle("random")
    oracle._set_project_dir(lost.folder.parent, "project")
    with pytest.warns(ProjectWarning, match="counts as failed"):
        oracle.reload()
    lost.check(lost.go_on())


def test_ids_of_a_search_that_was_extended():
    """Keras Tuner gives ids as many digits as `max_trials` called for at the time."""
    ids = ["0", "1", "08", "09", "10", "3", "2", "4", "6", "7"]
    order = ["0", "1", "2", "3", "4", "6", "7", "08", "09", "10"]
    assert in_order(ids) == order
    assert all_ids(dict.fromkeys(ids)) == [*order[:5], "5", *order[5:]]
    assert in_order(["b", "a"]) == ["a", "b"]


def test_an_end_that_could_not_be_written_is_not_told_of():
    told = []
    tracked = TrackedOracle(FullOracle(), None, SimpleNamespace(trial_ended=told.append))
    with pytest.raises(OSError, match="No space left"):
        tracked.end_trial(SimpleNamespace(trial_id="0", status="COMPLETED"))
    assert told == []


class FullOracle:
    """An oracle whose disk is full."""

    def end_trial(self, trial):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_nothing_tells_of_a_trial_any_more(damaged):
    """Its id is not given to another one, and the search goes on without it."""
    lost = damaged()
    shutil.rmtree(lost.folder / "trial_1")
    journal = lost.folder / "events.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '"trial_id": "1"' not in line))
    fits = lost.go_on()
    assert len(fits) == 2
    frame = lost.result.trials.set_index("trial_id")
    assert frame["state"].to_dict() == {id: "FAILED" if id == "1" else "COMPLETE" for id in "01234"}
    assert lost.trials()["0"] == lost.before["0"]
    assert lost.trials()["2"] == lost.before["2"]
    assert "trial_1/trial.json` is missing, and nothing else tells of the trial" in lost.said[0]
    lost.go_on()
    assert lost.said == []


def test_without_a_journal_of_events(tmp_path):
    """As in a search by a tuner that nobody tracks."""
    options = {"directory": tmp_path, "project_name": "project", "seed": 0}
    given = {"x": data(8)[0], "y": data(8)[1], "epochs": 2, "verbose": 0}

    def go_on(most):
        model = Quick()
        tuner = rdt.Tuner(rdt.OptunaOracle("val_loss", most, seed=0), model, **options)
        tuner.search(**given)
        return tuner, len(model.fits)

    first, _ = go_on(3)
    scores = {id: trial.score for id, trial in first.oracle.trials.items()}
    shutil.rmtree(tmp_path / "project" / "trial_1")
    (tmp_path / "project" / "trial_2" / "trial.json").write_text("{")
    with pytest.warns(ProjectWarning) as caught:
        second, trained = go_on(5)
    # One is damaged, and then two are missing.
    assert sum(each.category is ProjectWarning for each in caught) == 3
    assert trained == 2
    trials = second.oracle.trials
    assert sorted(trials) == list("01234")
    assert trials["0"].score == scores["0"]
    assert [trials[id].status for id in "12"] == ["FAILED", "FAILED"]
    assert (tmp_path / "project" / "trial_2" / "trial.json.damaged").read_text() == "{"


def test_a_score_that_all_else_contradicts(damaged):
    lost = damaged("random")
    path = lost.folder / "trial_2" / "trial.json"
    path.write_text(json.dumps({**lost.before["2"], "score": -1.0}))
    lost.check(lost.go_on())
    assert "trial_2/trial.json` was damaged" in lost.said[0]


def test_a_trial_whose_end_is_in_the_journal_alone(damaged):
    """As after a power cut on a disk that does not do what it is told."""
    lost = damaged("hyperband")
    path = lost.folder / "trial_2" / "trial.json"
    under_way = {"status": "RUNNING", "score": None, "best_step": 0, "metrics": {"metrics": {}}}
    path.write_text(json.dumps({**lost.before["2"], **under_way}))
    lost.check(lost.go_on())


def test_a_choice_may_offer_infinity(tmp_path, new_store):
    new_store(tmp_path)

    class Unlimited(Quick):
        def build(self, hp):
            hp.Choice("limit", [1.0, math.inf])
            return super().build(hp)

    result = search(tmp_path / "project", Unlimited(), "random", 6)
    assert set(result.trials["limit"]) == {1.0, math.inf}
    loaded = rdt.TuneResult.load(result.directory)
    assert loaded.trials["limit"].to_list() == result.trials["limit"].to_list()
    assert (result.directory / "result" / "report.html").exists()


def test_a_damaged_file_never_takes_the_place_of_another_one(tmp_path):
    for number, name in enumerate(("a.damaged", "a.damaged-2", "a.damaged-3")):
        (tmp_path / "a").write_text(str(number))
        assert set_aside(tmp_path / "a") == name
    assert [(tmp_path / f"a.damaged{end}").read_text() for end in ("", "-2", "-3")] == list("012")


def test_the_private_names_of_keras_tuners_are_there():
    oracle = kt.oracles.HyperbandOracle("val_loss", max_epochs=4)
    assert oracle._max_collisions == 20
    assert oracle._get_num_brackets() == 2
    assert oracle._get_num_rounds(1) == 2
    assert oracle._get_size(1, 0) == 5
    trial = kt.engine.trial.Trial(kt.HyperParameters(), trial_id="0")
    oracle._record_values(trial)
    assert len(oracle.get_state()["tried_so_far"]) == 1


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
    "oracle.json",
    "tuner0.json",
    "events.jsonl",
    "trial_0/trial.json",
    "trial_3/trial.json",
]
"""What a search goes on from."""

OTHERS = [
    "trial_0/build_config.json",
    "trial_0/checkpoint.weights.h5",
    "result/best_model.json",
    "result/best_model.keras",
    "result/best_model.py",
    "result/history.csv",
    "result/report.html",
    "result/summary.md",
    "result/trials.csv",
    "result/trials.json",
]
STATES, WAYS = ("ended", "broken off"), ("gone", "empty", "half", "flipped")


CASES = [
    (tuner, name, state, how)
    for tuner in TUNERS
    for name in OWN
    for state in STATES
    for how in WAYS
    if name != "trial_3/trial.json" or state == "broken off"  # A fourth trial was under way then.
    if (name, how) != ("events.jsonl", "flipped")  # That is an error.
]
# Nothing is read of these but by the report.
CASES += [("optuna", name, "ended", how) for name in OTHERS for how in ("gone", "half")]


@pytest.mark.heavy
@over(("tuner", "name", "state", "how"), CASES)
def test_every_file_damaged_in_every_way(damaged, tuner, state, name, how):
    found = damaged(tuner, state)
    damage(found.folder / name, how)
    most = DONE if state == "ended" else MOST
    found.check(found.go_on(most), most)
