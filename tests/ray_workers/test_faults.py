"""Faults while several workers search, on a real Ray: nothing is lost, and nothing runs twice."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray

import recdrop_tune as rdt
from recdrop_tune.events import EpochEnded, SearchEnded
from recdrop_tune.scratch import IN_USE, remove_abandoned
from recdrop_tune.tuner import SNAPSHOT
from tests import ROOT
from tests.forks import hearing_ctrl_c
from tests.ray_searches import (
    Faulty,
    Killing,
    Mishap,
    attempts,
    check_agreement,
    ends_of_trials,
    losses,
    processes,
    search,
    some_events,
    wait_for,
)
from tests.small_search import build

pytestmark = pytest.mark.heavy


DRIVER = """
import sys
from pathlib import Path
from tests.ray_searches import Faulty, search
search(Path(sys.argv[1]), Faulty(seconds=0.5), max_trials=8, workers=1)
"""


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    """One Ray for all tests: `tune` uses the one that the process is connected to."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Noting(Faulty):
    """Leaves a file named by each process whose training never ended."""

    def __init__(self, *mishaps, notes):
        super().__init__(*mishaps)
        self.notes = notes

    def fit(self, hp, model, *args, **kwargs):
        note = self.notes / f"process-{os.getpid()}"
        note.touch()
        try:
            return super().fit(hp, model, *args, **kwargs)
        finally:
            note.unlink()


def test_a_worker_that_is_killed_and_a_trial_that_runs_out_of_memory(tmp_path):
    mishaps = Mishap("memory", wrapper="none"), Mishap("kill", tmp_path / "sign")
    result = search(tmp_path / "project", Noting(*mishaps, notes=tmp_path))
    check_agreement(result, trials=6, failed=1)
    (failed,) = failures(result)
    assert result.tracking.records.trials[failed].ended.message.startswith("Out of memory")
    # The trial of the worker was started twice, and no other one.
    (lost,) = losses(result)
    counts = attempts(result.directory)
    assert counts[lost.trial_id] == 2
    assert sorted(counts.values()) == [1, 1, 1, 1, 1, 2]
    # The next worker removes the folder of the one that was killed; the search may have needed no other.
    (killed,) = (path.name.partition("-")[2] for path in tmp_path.glob("process-*"))
    remove_abandoned("recdrop-worker-", Path(tempfile.gettempdir()))
    left = Path(tempfile.gettempdir()).glob(f"recdrop-worker-*/{IN_USE}")
    assert killed not in [path.read_text() for path in left]


def test_another_worker_continues_the_trial_of_one_that_is_killed(tmp_path):
    training = rdt.Training(callbacks=[Killing(tmp_path)], save_every=1e-9)
    result = search(tmp_path / "project", build, training=training)
    check_agreement(result, trials=6)
    (lost,) = losses(result)
    assert attempts(result.directory)[lost.trial_id] == 2
    # No epoch of a trial was trained twice.
    trained = (tmp_path / "epochs").read_text().split()
    epochs = sum(record.total_epochs for record in result.tracking.records.trials.values())
    assert len(trained) == epochs
    assert not [*result.directory.rglob(SNAPSHOT)]


def test_a_worker_that_hangs_and_a_trial_that_ends_its_process(tmp_path):
    """The process ends every time, so that one trial fails."""
    mishaps = Mishap("exit", wrapper="none"), Mishap("hang", tmp_path / "sign")
    workers = rdt.Workers(2, trial_timeout=25.0)
    result = search(tmp_path / "project", Faulty(*mishaps), workers=workers)
    check_agreement(result, trials=6, failed=1)
    (failed,) = failures(result)
    message = result.tracking.records.trials[failed].ended.message
    assert message.startswith("3 workers were lost over this trial; the last one: ")
    (hung,) = [lost for lost in losses(result) if lost.trial_id != failed]
    assert hung.reason == "its trial took longer than trial_timeout=25 seconds"
    assert len(losses(result)) == 4
    counts = attempts(result.directory)
    assert (counts[failed], counts[hung.trial_id]) == (3, 2)
    assert sorted(counts.values()) == [1, 1, 1, 1, 2, 3]


def failures(result):
    """The ids of the trials that failed, which are those without dropout."""
    frame = result.trials[result.trials["state"] == "FAILED"]
    assert set(frame["wrapper"]) == {"none"}
    return list(frame["trial_id"])


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
    """Has its mishaps from the fifth training on: in the confirmation, after a search of four trials."""

    def __init__(self, *mishaps, notes, seconds):
        super().__init__(*mishaps, seconds=seconds)
        self.notes = notes

    def fit(self, hp, model, *args, **kwargs):
        self.notes.mkdir(exist_ok=True)
        (self.notes / uuid.uuid4().hex).touch()
        mishaps = self.mishaps if len(list(self.notes.iterdir())) > 4 else ()
        return Faulty(*mishaps, seconds=self.seconds).fit(hp, model, *args, **kwargs)


def test_the_oracle_is_killed_and_a_task_of_the_confirmation(tmp_path):
    """Workers continue their trials when the oracle is killed, and no epoch is lost."""
    folder = tmp_path / "project"
    hypermodel = Later(Mishap("kill", tmp_path / "sign"), notes=tmp_path / "trainings", seconds=0.5)
    with killing_the_oracle(folder):
        confirm = rdt.Confirm(1, seeds=2, max_seeds=2)
        result = search(folder, hypermodel, max_trials=4, confirm=confirm)
    check_agreement(result, trials=4)
    assert set(attempts(folder).values()) == {1}
    (lost,) = losses(result)
    assert lost.trial_id is None
    # Each contender was trained with both seeds, once.
    done = [(each.trial_id, each.repeat) for each in result.tracking.records.confirmations]
    assert all(each.score is not None for each in result.tracking.records.confirmations)
    assert len(done) == len(set(done)) == 2 * len({trial for trial, _ in done}) > 0


def test_the_driver_is_ended_three_times(tmp_path):
    """By Ctrl-C, which all processes of the terminal get, by SIGTERM, by SIGKILL: the search resumes."""
    folder = tmp_path / "project"
    done = {}
    for ends, number in enumerate((signal.SIGINT, signal.SIGTERM), start=1):
        printed, ended = end_a_driver(folder, number)
        done |= ended
        assert ("KeyboardInterrupt" in printed) == (number == signal.SIGINT)
        assert f'To resume: run again with directory="{folder}"' in printed
        said = some_events(folder, SearchEnded, ends)
        assert [event.status for event in said] == ["KILLED"] * ends
    done |= end_a_driver(folder, signal.SIGKILL)[1]
    check_agreement(search(folder, Faulty(), max_trials=8, workers=1), trials=8)
    counts = attempts(folder)
    assert {trial: counts[trial] for trial in done} == done
    assert 1 < max(counts.values()) <= 4


def end_a_driver(folder, number):
    """Runs the search with its own Ray, and ends it by a signal after one more trial.

    Returns:
        What it printed, and how many times each finished trial was started.
    """
    before = len(ends_of_trials(folder))
    with hearing_ctrl_c():
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        wait_for(lambda: len(ends_of_trials(folder)) > before, seconds=300)
        ended = ends_of_trials(folder)
        counts = attempts(folder)
        ours = processes_of(driver)
        assert len(ours) == 2
        (os.killpg if number == signal.SIGINT else os.kill)(driver.pid, number)
        _, printed = driver.communicate(timeout=120)
    finally:
        driver.kill()
    assert driver.returncode == -number
    wait_for(lambda: not any(process.is_running() for process in ours))  # Ray's end after it.
    return printed, {event.trial_id: counts[event.trial_id] for event in ended}


def processes_of(driver):
    """The oracle's process and the worker's."""
    names = ("ray::OracleHost", "ray::Worker.run")
    return [process for name in names for process in processes(name, driver.pid)]
