"""What can go wrong while several workers search, on a real Ray: nothing is lost, and nothing comes twice."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import keras_tuner as kt
import pytest
import ray

import recdrop_tune as rdt
from recdrop_tune.events import EpochEnded, SearchEnded, TrialEnded
from recdrop_tune.scratch import IN_USE
from tests import ROOT
from tests.forks import hearing_ctrl_c
from tests.ray_searches import (
    EPOCHS,
    Faulty,
    attempts,
    check_agreement,
    losses,
    processes,
    search,
    some_events,
    wait_for,
)
from tests.small_search import data

pytestmark = pytest.mark.heavy


DRIVER = """
import sys
from pathlib import Path
from tests.ray_searches import Faulty, search
search(Path(sys.argv[1]), Faulty(seconds=0.5))
"""


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    """One Ray for all of them: `tune` uses the one that the process is connected to."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_a_worker_that_is_killed(tmp_path):
    result = search(tmp_path / "project", Faulty("kill", tmp_path / "sign"))
    check_agreement(result, trials=6)
    (lost,) = losses(result)
    assert lost.trial_id in attempts(result)
    # One trial was begun twice, and no other one.
    assert sorted(attempts(result).values()) == [1, 1, 1, 1, 1, 2]
    assert attempts(result)[lost.trial_id] == 2


class Noting(Faulty):
    """Leaves a file with the number of the process whose training never came to an end."""

    def fit(self, hp, model, *args, **kwargs):
        note = self.sign.parent / f"process-{os.getpid()}"
        note.touch()
        try:
            return super().fit(hp, model, *args, **kwargs)
        finally:
            note.unlink()


def test_the_next_worker_removes_the_folder_of_one_that_was_killed(tmp_path):
    result = search(tmp_path / "project", Noting("kill", tmp_path / "sign"))
    assert len(losses(result)) == 1
    (killed,) = (path.name.partition("-")[2] for path in tmp_path.glob("process-*"))
    left = Path(tempfile.gettempdir()).glob(f"recdrop-worker-*/{IN_USE}")
    assert killed not in [path.read_text().partition(" ")[0] for path in left]


def test_a_worker_that_hangs(tmp_path):
    result = search(
        tmp_path / "project",
        Faulty("hang", tmp_path / "sign"),
        workers=rdt.Workers(2, trial_timeout=8.0),
    )
    check_agreement(result, trials=6)
    (lost,) = losses(result)
    assert lost.reason == "its trial took longer than trial_timeout=8 seconds"
    assert sorted(attempts(result).values()) == [1, 1, 1, 1, 1, 2]


def test_a_trial_that_ends_its_process(tmp_path):
    """Every time: it fails in the end, and alone."""
    result = search(tmp_path / "project", Faulty("exit", wrapper="none"))
    check_agreement(result, trials=6, failed=1)
    (row,) = result.trials[result.trials["state"] == "FAILED"].itertuples()
    assert row.wrapper == "none"
    assert attempts(result)[row.trial_id] == 3
    assert [lost.trial_id for lost in losses(result)] == [row.trial_id] * 3
    message = result.tracking.records.trials[row.trial_id].ended.message
    assert message.startswith("3 workers were lost over this trial; the last one: ")


def test_a_trial_that_runs_out_of_memory(tmp_path):
    result = search(tmp_path / "project", Faulty("memory", wrapper="none"))
    check_agreement(result, trials=6, failed=1)
    assert losses(result) == []
    (row,) = result.trials[result.trials["state"] == "FAILED"].itertuples()
    assert row.wrapper == "none"
    assert result.tracking.records.trials[row.trial_id].ended.message.startswith("Out of memory")


def test_the_oracle_is_killed(tmp_path):
    """Its workers go on with their trials; of the epochs before and after none is missing."""
    folder, killed = tmp_path / "project", []

    def kill():
        events = wait_for(lambda: some_events(folder, EpochEnded, 6))
        killed.append(len(events))
        (host,) = processes("ray::OracleHost")
        host.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    result = search(folder, Faulty(seconds=0.5), confirm=rdt.Confirm(1, seeds=2))
    thread.join()
    assert killed
    check_agreement(result, trials=6)
    assert losses(result) == []
    assert set(attempts(result).values()) == {1}
    check_confirmations(result)


def test_the_oracle_of_keras_tuners_own_grid_search_is_killed(tmp_path):
    """Keras Tuner's oracle would forget its place in the grid."""

    def make_tuner():
        hypermodel = Faulty(seconds=0.5)
        return kt.GridSearch(
            hypermodel, "val_loss", max_trials=10, directory=tmp_path, project_name="project"
        )

    def kill():
        wait_for(lambda: some_events(tmp_path / "project", EpochEnded, 6))
        (host,) = processes("ray::OracleHost")
        host.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tuner = rdt.distribute(make_tuner, workers=2, tracking=rdt.MLflow(uri=uri), verbose=0)
    tuner.search(*data(), validation_data=data(), epochs=EPOCHS)
    thread.join()
    frame = tuner.result.trials
    assert len(frame) == 10
    assert set(frame["state"]) == {"COMPLETE"}
    assert not frame[["wrapper", "placement", "rate"]].astype(str).duplicated().any()
    assert set(attempts(tuner.result).values()) == {1}


def test_the_driver_is_killed_and_the_search_goes_on(tmp_path):
    folder = tmp_path / "project"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DRIVER, str(folder)]
    driver = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        done = {e.trial_id for e in wait_for(lambda: some_events(folder, TrialEnded, 2))}
        ours = processes_of(driver)
        assert len(ours) == 3
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    wait_for(lambda: not any(process.is_running() for process in ours))
    result = search(folder, Faulty(seconds=0.1))
    check_agreement(result, trials=6)
    assert {trial for trial, count in attempts(result).items() if count > 1}.isdisjoint(done)
    assert max(attempts(result).values()) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_driver_is_interrupted(tmp_path, number):
    """By Ctrl-C, which every process of the terminal gets, or by SIGTERM: all end, and the search goes on."""
    folder = tmp_path / "project"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DRIVER, str(folder)]
    with hearing_ctrl_c():
        driver = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
    wait_for(lambda: some_events(folder, TrialEnded, 1))
    ours = processes_of(driver)
    (os.killpg if number == signal.SIGINT else os.kill)(driver.pid, number)
    _, printed = driver.communicate(timeout=60)
    assert driver.returncode == -number
    assert ("KeyboardInterrupt" in printed) == (number == signal.SIGINT)
    assert f'run again with directory="{folder}" to go on' in printed
    wait_for(lambda: not any(process.is_running() for process in ours))  # Ray's end after it.
    (ended,) = some_events(folder, SearchEnded, 1)
    assert ended.status == "KILLED"
    check_agreement(search(folder, Faulty(seconds=0.1)), trials=6)


def test_a_task_of_the_confirmation_is_killed(tmp_path):
    """Each contender has its trainings, each once."""
    hypermodel = KilledLater("kill", tmp_path / "sign")
    result = search(tmp_path / "project", hypermodel, max_trials=4, confirm=rdt.Confirm(1, seeds=2))
    check_agreement(result, trials=4)
    (lost,) = losses(result)
    assert lost.trial_id is None
    check_confirmations(result)


def processes_of(driver):
    """The oracle's process and the workers'."""
    names = ("ray::OracleHost", "ray::Worker.run")
    return [process for name in names for process in processes(name, driver.pid)]


def check_confirmations(result):
    """Each contender was trained with both seeds, once."""
    done = [(each.trial_id, each.repeat) for each in result.tracking.records.confirmations]
    assert all(each.score is not None for each in result.tracking.records.confirmations)
    assert len(done) == len(set(done)) == 2 * len({trial for trial, _ in done}) > 0


class KilledLater(Faulty):
    """Kills its process in the fifth training: the confirmation, after a search of four trials."""

    def fit(self, hp, model, *args, **kwargs):
        folder = self.sign.parent / "trainings"
        folder.mkdir(exist_ok=True)
        (folder / f"{os.getpid()}-{len(list(folder.iterdir()))}").touch()
        self.wrapper = None if len(list(folder.iterdir())) > 4 else "no such wrapper"
        return super().fit(hp, model, *args, **kwargs)
