"""Keras Tuner's chief and workers, over gRPC on loopback, with `OptunaOracle` and `recdrop_tune.Tuner`."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import optuna
import pytest

from recdrop_tune.events import SearchStarted
from recdrop_tune.journal import Journal
from recdrop_tune.results import TuneResult
from tests.chief_search import EPOCHS, WORST, loss_of
from tests.forks import Forks, runs
from tests.tracked_events import image

pytestmark = pytest.mark.heavy


class Team:
    """A chief and its workers."""

    def __init__(self, folder: Path, forks: Forks):
        self.project = folder / "project"
        self.forks = forks
        self.pids: dict[str, int] = {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self, tuner_id: str, hangs: bool = False) -> None:
        environment = {
            "KERASTUNER_TUNER_ID": tuner_id,
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(self.port),
        }
        order = {"environment": environment, "folder": str(self.project), "hangs": hangs}
        self.pids[tuner_id] = self.forks.start(order)

    def kill_when_it_hangs(self, tuner_id: str) -> str:
        """Kills a worker in the middle of a trial; returns the id of the trial."""
        wait_until((self.project / f"{tuner_id}.hangs").exists)
        state = json.loads((self.project / "oracle.json").read_text())
        os.kill(self.pids[tuner_id], signal.SIGKILL)
        assert self.forks.wait(self.pids.pop(tuner_id)) == -signal.SIGKILL
        return state["ongoing_trials"][tuner_id]

    def ends(self, tuner_id: str, seconds: float = 120.0) -> int:
        wait_until(lambda: not runs(self.pids[tuner_id]), seconds)
        return self.forks.wait(self.pids.pop(tuner_id))

    def log(self) -> str:
        return self.forks.log.read_text()[-10_000:]

    def trials(self) -> dict[str, dict]:
        files = self.project.glob("trial_*/trial.json")
        trials = [json.loads(path.read_text()) for path in files]
        return {trial["trial_id"]: trial for trial in trials}

    def study(self) -> optuna.Study:
        return TuneResult.load(self.project).study()

    def close(self) -> None:
        for pid in self.pids.values():
            os.kill(pid, signal.SIGKILL)
            self.forks.wait(pid)


def wait_until(condition, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    made = Forks("tests.chief_search", tmp_path_factory.mktemp("forks") / "log")
    yield made
    made.close()


@pytest.fixture
def team(tmp_path, forks):
    made = Team(tmp_path, forks)
    yield made
    made.close()


def test_workers_that_die_and_one_that_comes_back(team):
    team.start("chief")
    team.start("first", hangs=True)
    team.start("second", hangs=True)
    lost, resumed = team.kill_when_it_hangs("first"), team.kill_when_it_hangs("second")
    team.start("second")  # Under its old id; the other one never comes back.
    assert team.ends("second") == 0, team.log()
    assert team.ends("chief") == 0, team.log()
    trials = team.trials()
    assert len(trials) == 10
    assert {lost, resumed} < set(trials)
    for trial in trials.values():
        loss = loss_of(trial["hyperparameters"]["values"])
        pruned = loss + 0.001 * (EPOCHS - 2) > WORST
        assert trial["status"] == ("STOPPED" if pruned else "COMPLETED"), team.log()
        epochs = trial["metrics"]["metrics"]["val_loss"]["observations"]
        assert [each["step"] for each in epochs] == list(range(2 if pruned else EPOCHS))
        # Each epoch was reported once: nothing is left of what a dead worker had reported.
        assert {len(each["value"]) for each in epochs} == {1}
        assert trial["score"] == (None if pruned else pytest.approx(loss))
    told = [each for each in team.study().trials if each.state.name != "FAIL"]
    states = {each.user_attrs["keras_tuner_id"]: each.state.name for each in told}
    expected = {"STOPPED": "PRUNED", "COMPLETED": "COMPLETE"}
    assert states == {id: expected[trial["status"]] for id, trial in trials.items()}
    assert len(told) == len(states)
    assert set(expected) == {trial["status"] for trial in trials.values()}
    check_tracked(team, trials)


def check_tracked(team, trials):
    """All processes are tracked alike: the chief, which sees every epoch, writes all of it, once."""
    found = image(f"sqlite:///{team.project.parent}/mlflow.db", "team", artifacts=False)
    kinds = [key[0] for key in found]
    assert kinds.count("search") == 1
    assert found[next(key for key in found if key[0] == "search")]["status"] == "FINISHED"
    assert kinds.count("superseded") == 2
    runs = {key[1]: run for key, run in found.items() if key[0] == "trial"}
    assert set(runs) == set(trials)
    for id, run in runs.items():
        epochs = trials[id]["metrics"]["metrics"]["val_loss"]["observations"]
        curve = [(step, float(value)) for step, _, value in run["curves"]["val_loss"]]
        assert curve == [(e["step"], pytest.approx(e["value"][0])) for e in epochs]
        assert run["status"] == "FINISHED"
    history = Journal(team.project / "events.jsonl").read()
    assert len([event for event in history if isinstance(event, SearchStarted)]) == 1


def test_a_chief_that_dies_and_comes_back(team):
    team.start("chief")
    team.start("first")
    wait_until(lambda: len(team.trials()) > 3)
    os.kill(team.pids["chief"], signal.SIGKILL)
    team.forks.wait(team.pids.pop("chief"))
    before = {id: t for id, t in team.trials().items() if t["status"] in ("COMPLETED", "STOPPED")}
    team.start("chief")
    if team.ends("first") != 0:  # A call of its was under way when the chief died.
        team.start("first")
        assert team.ends("first") == 0, team.log()
    assert team.ends("chief") == 0, team.log()
    trials = team.trials()
    assert len(trials) == 10
    assert {id: trials[id] for id in before} == before
    assert {trial["status"] for trial in trials.values()} == {"COMPLETED", "STOPPED"}
    told = [each for each in team.study().trials if each.state.name != "FAIL"]
    assert sorted(each.user_attrs["keras_tuner_id"] for each in told) == sorted(trials)
