"""Faults while several workers search, on a real Ray: nothing is lost, and nothing runs twice."""

import contextlib
import os
import signal
import tempfile
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import pytest
import ray

import recdrop_tune as rdt
from recdrop_tune.errors import RecdropError
from recdrop_tune.events import EpochEnded, SearchEnded
from recdrop_tune.files import IN_USE, remove_abandoned
from recdrop_tune.tuner import SNAPSHOT
from tests.forks import wait_for
from tests.ray_searches import (
    FAULTS,
    Faulty,
    Mishap,
    attempts,
    check_agreement,
    ends_of_trials,
    losses,
    processes,
    search,
    some_events,
)
from tests.small_search import build

pytestmark = pytest.mark.heavy


DRIVER = """
import os
os.setsid()
from pathlib import Path
from tests.ray_searches import Faulty, search
search(Path({folder!r}), Faulty(seconds=0.3), max_trials=8, workers=1)
"""


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    """One Ray for all tests: `tune` uses the one that the process is connected to."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Mishaps(keras.callbacks.Callback):
    """Notes each epoch that is trained; the third ones of the first trials have one of `FAULTS` each."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_begin(self, epoch, logs=None):
        for fault in FAULTS if epoch == 2 else ():
            Mishap(fault, self.folder / fault).happen_once()
        with (self.folder / "epochs").open("a") as file:
            file.write(f"{epoch}\n")


def test_a_worker_is_killed_one_hangs_and_a_trial_runs_out_of_memory(tmp_path):
    """Others continue the trials of the two workers, and no other one is started again."""
    result = search(
        tmp_path / "project",
        build,
        workers=rdt.Workers(2, trial_timeout=25.0),
        training=rdt.Training(callbacks=[Mishaps(tmp_path)], save_every=1e-9),
    )
    check_agreement(result, trials=6, failed=1)
    (failed,) = result.trials.loc[result.trials["state"] == "FAILED", "trial_id"]
    records = result.tracking.records.trials
    assert records[failed].ended.message.startswith("Out of memory")
    killed, hung = losses(result)
    assert hung.reason == "its trial took longer than trial_timeout=25 seconds"
    assert killed.reason != hung.reason
    assert attempts(result.directory) == Counter([*records, killed.trial_id, hung.trial_id])
    # No epoch of a trial was trained twice.
    trained = (tmp_path / "epochs").read_text().split()
    assert len(trained) == sum(record.total_epochs for record in records.values())
    assert not [*result.directory.rglob(SNAPSHOT)]
    # The next worker removes the folders of lost ones; the search may have needed no other.
    remove_abandoned("recdrop-worker-", Path(tempfile.gettempdir()))
    left = Path(tempfile.gettempdir()).glob(f"recdrop-worker-*/{IN_USE}")
    gone = {(tmp_path / fault).read_text() for fault in ("kill", "hang")}
    assert gone.isdisjoint(path.read_text() for path in left)


@contextlib.contextmanager
def killing_the_oracle(folder):
    """Kills the oracle's process once a search has ended six epochs."""

    def kill():
        wait_for(lambda: some_events(folder, EpochEnded, 6))
        (host,) = processes("ray::OracleHost")
        host.kill()

    with ThreadPoolExecutor() as pool:
        killing = pool.submit(kill)
        yield
        killing.result()


class Later(Faulty):
    """Has its mishaps from the sixth training on: after four trials, one of which began twice."""

    def __init__(self, *mishaps, notes, seconds):
        super().__init__(*mishaps, seconds=seconds)
        self.notes = notes

    def fit(self, hp, model, *args, **kwargs):
        self.notes.mkdir(exist_ok=True)
        (self.notes / uuid.uuid4().hex).touch()
        mishaps = self.mishaps if len(list(self.notes.iterdir())) > 5 else ()
        return Faulty(*mishaps, seconds=self.seconds).fit(hp, model, *args, **kwargs)


def test_the_oracle_is_killed_and_a_task_of_the_confirmation(tmp_path):
    """The search ends with an error; when it is run again with its folder, nothing finished is repeated."""
    folder = tmp_path / "project"
    hypermodel = Later(Mishap("kill", tmp_path / "sign"), notes=tmp_path / "trainings", seconds=0.5)
    given = {"max_trials": 4, "confirm": rdt.Confirm(1, seeds=2, max_seeds=2), "workers": 1}
    again = pytest.raises(RecdropError, match=rf"oracle's process died.*folder `{folder}`")
    with again, killing_the_oracle(folder):
        search(folder, hypermodel, **given)
    finished = ends_of_trials(folder)
    assert finished
    result = search(folder, hypermodel, **given)
    check_agreement(result, trials=4)
    counts = attempts(folder)
    assert all(counts[event.trial_id] == 1 for event in finished)
    assert sum(counts.values()) == 5  # The running one began a second time.
    (lost,) = losses(result)
    assert lost.trial_id is None
    # Each contender was trained with both seeds, once.
    done = [(each.trial_id, each.repeat) for each in result.tracking.records.confirmations]
    assert all(each.score is not None for each in result.tracking.records.confirmations)
    assert len(done) == len(set(done)) == 2 * len({trial for trial, _ in done}) > 0


def test_the_driver_is_ended_three_times(tmp_path, forks):
    """By Ctrl-C, which all processes of the terminal get, by SIGTERM, by SIGKILL: the search resumes."""
    folder = tmp_path / "project"
    done = {}
    for ends, number in enumerate((signal.SIGINT, signal.SIGTERM), start=1):
        printed, ended = end_a_driver(forks, folder, number)
        done |= ended
        assert ("KeyboardInterrupt" in printed) == (number == signal.SIGINT)
        assert f'To resume: run again with directory="{folder}"' in printed
        said = some_events(folder, SearchEnded, ends)
        assert [event.status for event in said] == ["KILLED"] * ends
    done |= end_a_driver(forks, folder, signal.SIGKILL)[1]
    check_agreement(search(folder, Faulty(), max_trials=8, workers=1), trials=8)
    counts = attempts(folder)
    assert {trial: counts[trial] for trial in done} == done
    assert 1 < max(counts.values()) <= 4


def end_a_driver(forks, folder, number):
    """Runs the search with its own Ray, and ends it by a signal after one more trial.

    Returns:
        What it printed, and how many times each finished trial was started.
    """
    before = len(ends_of_trials(folder))
    log = folder.with_name(f"{number.name}.log")
    driver = forks.start({"code": DRIVER.format(folder=str(folder)), "log": str(log)})
    wait_for(lambda: len(ends_of_trials(folder)) > before, seconds=300)
    ended = ends_of_trials(folder)
    counts = attempts(folder)
    ours = processes_of(driver)
    assert len(ours) == 2
    (os.killpg if number == signal.SIGINT else os.kill)(driver, number)
    # What a fork raises is printed, and its status is 1.
    assert forks.wait(driver) == (1 if number == signal.SIGINT else -number)
    wait_for(lambda: not any(process.is_running() for process in ours))  # Ray's end after it.
    return log.read_text(), {event.trial_id: counts[event.trial_id] for event in ended}


def processes_of(driver):
    """The oracle's process and the worker's."""
    names = ("ray::OracleHost", "ray::Worker.run")
    return [process for name in names for process in processes(name, driver)]
