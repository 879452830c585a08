"""A search that is killed by SIGKILL at any moment, and resumed in its folder until it is done."""

import json
import os
import random
import signal
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from recdrop_tune.events import ConfirmationEnded, TrialEnded, TrialStarted
from recdrop_tune.files import SEARCH as FILE
from recdrop_tune.files import is_leftover
from recdrop_tune.records import Records
from recdrop_tune.results import TuneResult
from tests.agreement import check_runs, check_study
from tests.forks import Forks, runs, wait_for
from tests.tracked_events import events_of


class Searches:
    """Starts searches through `tests.killed_search`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.forks = Forks("tests.killed_search", folder / "log")

    def start(
        self,
        name: str,
        kill_at: int | None = None,
        trains: bool = True,
        slow: float | None = None,
        save_every: float | None = None,
        **tune,
    ) -> int:
        tune |= {"directory": str(self.folder / name), "uri": self.uri}
        order = {"kill_at": kill_at, "trains": trains, "slow": slow, "save_every": save_every}
        return self.forks.start({**order, "tune": {**tune, "experiment": name}})

    def run(self, name: str, kill_at: int | None = None, **options) -> bool:
        """Runs a search until it is done or killed; returns whether it is done."""
        return self.is_done(self.start(name, kill_at, **options))

    def is_done(self, pid: int) -> bool:
        """Waits for the end of a search; returns whether it was not killed."""
        status = self.forks.wait(pid)
        assert status in (0, -signal.SIGKILL), self.forks.log.read_text()[-10_000:]
        return status == 0

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        assert self.forks.wait(pid) == -signal.SIGKILL


@pytest.fixture(scope="module")
def searches(tmp_path_factory, new_store):
    made = Searches(tmp_path_factory.mktemp("searches"))
    new_store(made.folder)
    yield made
    made.forks.close()


def finished_trials(folder: Path) -> dict[str, dict]:
    """Reads the trials that are complete from the folder of a killed search, all of whose files are whole."""
    for file in (FILE, "oracle.json", "tuner0.json"):
        if (folder / file).exists():
            json.loads((folder / file).read_text())
    trials = [json.loads(path.read_text()) for path in folder.glob("trial_*/trial.json")]
    return {trial["trial_id"]: trial for trial in trials if trial["status"] == "COMPLETED"}


def durations(folder: Path) -> dict[str, float]:
    started, taken = {}, {}
    for event in events_of(folder):
        if isinstance(event, TrialStarted):
            started[event.trial_id] = event.time
        elif isinstance(event, TrialEnded):
            taken[event.trial_id] = event.time - started[event.trial_id]
    return taken


class Ledger:
    """The trials that were finished before each kill of a search, and must be unchanged in the end."""

    def __init__(self, searches: Searches, name: str):
        self.searches, self.name = searches, name
        self.folder = searches.folder / name
        self.trials: dict[str, dict] = {}
        self.seconds: dict[str, float] = {}
        self.run_again: Counter[str] = Counter()
        self.kills = 0

    def note(self):
        self.kills += 1
        found = finished_trials(self.folder)
        assert set(self.trials) <= set(found)
        self.trials |= found
        taken = durations(self.folder)
        assert set(found) <= set(taken)  # An end is written to the journal first.
        self.seconds |= {id: taken[id] for id in found}
        self.run_again.update(set(taken) - set(found))

    def check(self, max_trials: int, confirmed: bool = False):
        result = TuneResult.load(self.folder)
        assert sorted(result.trials["number"]) == list(range(max_trials))
        assert {*result.trials["state"]} == {"COMPLETE"}
        ended = finished_trials(self.folder)
        for trial_id, trial in self.trials.items():
            assert ended[trial_id] == trial
        taken = durations(self.folder)
        assert taken == {**taken, **self.seconds}
        self.check_journal({*result.trials["trial_id"]})
        check_study(result)
        runs = check_runs(result)
        if confirmed:
            self.check_confirmations(runs)
        assert [path for path in self.folder.rglob("*") if is_leftover(path.name)] == []

    def check_journal(self, ids: set[str]):
        events = events_of(self.folder)
        counts = Counter(each.trial_id for each in events if isinstance(each, TrialEnded))
        assert set(counts) == ids == set(Records(events).trials)
        # Killed before the oracle had its end, a trial runs again.
        assert all(count <= 1 + self.run_again[id] for id, count in counts.items())
        done = set()
        for event in events:
            again = isinstance(event, TrialStarted) and event.trial_id in done
            assert not again or self.run_again[event.trial_id]
            if isinstance(event, TrialEnded):
                done.add(event.trial_id)
        repeats = [(e.trial_id, e.repeat) for e in events if isinstance(e, ConfirmationEnded)]
        assert len(repeats) == len(set(repeats))

    def check_confirmations(self, runs: dict):
        client = MlflowClient(self.searches.uri)
        for event in events_of(self.folder, ConfirmationEnded):
            history = client.get_metric_history(runs[event.trial_id].info.run_id, "confirmed")
            assert {each.step: each.value for each in history}[event.repeat] == event.score


def grows(path: Path, before: int) -> bool:
    return path.exists() and path.stat().st_size > before


def kill_after_a_sign_of_life(ledger: Ledger, delay: float, **options) -> bool:
    """Kills a search some time after its first new event; returns whether it was done before that."""
    events = ledger.folder / "events.jsonl"
    before = events.stat().st_size if events.exists() else 0
    pid = ledger.searches.start(ledger.name, **options)
    wait_for(lambda: grows(events, before) or not runs(pid))
    time.sleep(delay)
    if runs(pid):
        os.kill(pid, signal.SIGKILL)
    return ledger.searches.is_done(pid)


def kill_until_done(ledger: Ledger, kills: int, seed: int, max_trials: int, **options) -> None:
    """Kills a search at random moments and before random file operations, and then lets it end."""
    moments, options = random.Random(seed), {**options, "max_trials": max_trials}
    long = 0.1 * max_trials  # Seconds; less than a search with `max_trials` trials takes.
    while ledger.kills < kills:
        if ledger.kills % 2:
            done = kill_after_a_sign_of_life(ledger, moments.uniform(0.0, long), **options)
        else:
            done = ledger.searches.run(ledger.name, moments.randint(1, 40), **options)
        if done:
            break
        ledger.note()
    else:
        assert ledger.searches.run(ledger.name, **options)


@pytest.mark.parametrize(
    ("kills", "max_trials"),
    [
        pytest.param(4, 4, marks=pytest.mark.heavy),
        pytest.param(60, 20, marks=pytest.mark.full),
    ],
)
def test_a_search_is_killed_many_times(searches, kills, max_trials):
    # The space has 21 configurations. None is tried twice.
    ledger = Ledger(searches, f"killed {kills} times")
    kill_until_done(ledger, kills, seed=kills, max_trials=max_trials)
    assert ledger.kills > kills / 2
    ledger.check(max_trials)


@pytest.mark.parametrize(
    ("tuner", "first", "every"),
    [
        # A trial is 19 operations, the same for all tuners: together these meet each of them.
        pytest.param("optuna", 1, 11, marks=pytest.mark.heavy),
        pytest.param("grid", 2, 11, marks=pytest.mark.heavy),
        # Some 20 minutes of two processes.
        pytest.param("optuna", 1, 1, marks=pytest.mark.full),
    ],
)
def test_a_kill_before_any_operation_on_a_file(searches, tuner, first, every):
    """The trials train nothing: only their files matter."""
    options = {"trains": False, "max_trials": 3, "tuner": tuner, "epochs": 4}
    for kill_at in range(first, 1000, every):
        name = f"{tuner} {every} {kill_at}"
        ledger = Ledger(searches, name)
        if searches.run(name, kill_at, **options):
            break
        ledger.note()
        assert searches.run(name, **options)
        ledger.check(3)
    assert kill_at > 20


@pytest.mark.heavy
def test_a_kill_in_the_confirmation(searches):
    options = {"max_trials": 2, "confirm": {"top": 1, "seeds": 2, "max_seeds": 2}}
    ledger = Ledger(searches, "confirmed")
    events = ledger.folder / "events.jsonl"
    pid = searches.start("confirmed", **options)
    wait_for(lambda: events.exists() and "ConfirmationEnded" in events.read_text())
    searches.kill(pid)
    ledger.note()
    before = events_of(ledger.folder, ConfirmationEnded)
    assert searches.run("confirmed", **options)
    ledger.check(2, confirmed=True)
    after = events_of(ledger.folder, ConfirmationEnded)
    assert after[: len(before)] == before
    assert len(after) > len(before)


SAVE_EVERY = 0.3


def epochs_of(folder: Path) -> list[tuple[int, float]]:
    """Returns the number and the end of each trained epoch of a slow search."""
    path = folder / "epochs"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(line.split()[0]), float(line.split()[1])) for line in lines]


def curves_of(folder: Path) -> list[list[float]]:
    records = Records(events_of(folder))
    return [[e.metrics["val_loss"] for e in each.epochs] for each in records.trials.values()]


def due_and_lost(session: list, following: list) -> list[float]:
    """Returns the ends of the epochs that a killed session should have saved and the following trained again.

    The last snapshot was written before the first of the lost epochs ended.
    """
    lost = [end for number, end in session if number >= following[0][0]]
    return [end for end in lost if end >= lost[0] + SAVE_EVERY]


@pytest.mark.parametrize(
    ("kills", "epochs"),
    [
        pytest.param(3, 60, marks=pytest.mark.heavy),
        pytest.param(20, 360, marks=pytest.mark.full),
    ],
)
def test_a_slow_trial_is_killed_many_times(searches, kills, epochs):
    """It loses at most `save_every` and an epoch, and ends as if it had not been killed."""
    name, moments = f"slow {kills}", random.Random(kills)
    folder, options = searches.folder / name, {"max_trials": 1, "epochs": epochs}
    starts = [0]
    while len(starts) <= kills:
        pid = searches.start(name, slow=0.05, save_every=SAVE_EVERY, **options)
        wait_for(lambda: len(epochs_of(folder)) > starts[-1])
        time.sleep(moments.uniform(SAVE_EVERY, 4 * SAVE_EVERY))
        assert runs(pid)
        searches.kill(pid)
        starts.append(len(epochs_of(folder)))
    assert searches.run(name, slow=0.05, save_every=SAVE_EVERY, **options)
    sessions = [[*part] for part in np.split(np.array(epochs_of(folder)), starts[1:])]
    # One snapshot may have been in the making.
    assert max(len(due_and_lost(*each)) for each in pairwise(sessions)) <= 1
    assert searches.run("not killed", slow=0.0, save_every=None, **options)
    assert curves_of(folder) == curves_of(searches.folder / "not killed")
