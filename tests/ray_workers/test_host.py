"""The parts of a search with several workers, in one process and without Ray."""

import copy
import errno
import json
import sys

import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, RecdropError
from recdrop_tune.events import TrialEnded
from recdrop_tune.journal import Journal
from recdrop_tune.ray_workers import connected, host, pack
from recdrop_tune.ray_workers.job import MARK, WAIT, Tasks
from recdrop_tune.ray_workers.resources import gpus_of_each, worker_environment
from recdrop_tune.search.distributed import TunerSearch
from tests.small_search import build


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    missing = pytest.raises(RecdropError, match=r"pip install 'recdrop-tune\[ray\]'")
    with missing, connected(rdt.Workers(2)):
        pass


@pytest.mark.parametrize(
    ("address", "error"), [("nowhere", "ValueError"), ("127.0.0.1:9", "ConnectionRefusedError")]
)
@pytest.mark.timeout(60)
def test_an_address_without_a_cluster(address, error):
    """Also where nobody answers, for which Ray waits ten minutes."""
    refused = pytest.raises(RecdropError, match=f"cannot connect to address='{address}': {error}")
    with refused, connected(rdt.Workers(2, address=address)):
        pass


@pytest.mark.parametrize(
    ("workers", "cluster", "share"),
    [
        (rdt.Workers(1), 2.0, 1.0),
        (rdt.Workers(3), 1.0, 0.3333),
        # A share is of one GPU: two of three workers share one.
        (rdt.Workers(3), 2.0, 0.5),
        (rdt.Workers(2), 0.0, 0.0),
        (rdt.Workers(4, gpus=0.25), 2.0, 0.25),
    ],
)
def test_each_worker_gets_an_equal_share_of_the_gpus(workers, cluster, share):
    assert gpus_of_each(workers, {"CPU": 8.0, "GPU": cluster}) == share


def test_memory_of_gpus_grows():
    environment = worker_environment("tensorflow", gpus=0.5)
    assert "CUDA_VISIBLE_DEVICES" not in environment  # Ray sets it.
    assert worker_environment("tensorflow", gpus=0)["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


class TwoRounds:
    """A follow-up of two tasks, and then of a third one."""

    def __init__(self):
        self.gone = []
        self.rounds = [[{"number": 1}, {"number": 2}], [{"number": 3}], []]

    def tasks(self, tuner, tracking):
        return self.rounds.pop(0)

    def failed(self, tracking, task, reason):
        self.gone.append((task["number"], reason))


def test_tasks_after_the_search():
    after = TwoRounds()
    none = Tasks(None, None, None, losses=2)
    assert none.next("a") is None
    assert none.over
    tasks = Tasks(after, None, None, losses=2)
    assert tasks.next("a") == {"number": 1}
    assert tasks.next("b") == {"number": 2}
    assert tasks.next("c") == WAIT
    tasks.give_up("a", "killed")
    assert tasks.next("c") == {"number": 1}
    tasks.give_up("c", "killed too")
    assert after.gone == [(1, "killed too")]
    assert tasks.next("b") == {"number": 3}
    assert tasks.next("c") == WAIT
    assert not tasks.over
    assert tasks.next("b") is None
    assert tasks.over


def test_no_round_follows_when_it_is_cancelled():
    tasks = Tasks(TwoRounds(), None, None, losses=2)
    assert tasks.next("a") == {"number": 1}
    tasks.cancel()
    assert tasks.next("b") == WAIT
    assert tasks.next("a") is None
    assert tasks.over


class LocalRay:
    """Ray's object store, where all processes are one."""

    @staticmethod
    def put(value):
        return value

    @staticmethod
    def get(value):
        return value


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Makes the process of a search's oracle, which is this one."""
    monkeypatch.setattr(host, "import_ray", lambda: LocalRay)

    def made(overwrite=False, **options):
        def make_tuner():
            oracle = rdt.OptunaOracle("val_loss", seed=1, **options)
            place = {"directory": tmp_path, "project_name": "p", "overwrite": overwrite}
            return rdt.Tuner(oracle, build, **place)

        (tmp_path / "p").mkdir()
        (tmp_path / "p" / MARK).touch()
        search = TunerSearch(make_tuner, {}, {}, rdt.Workers(2), None)
        process = host.OracleHost(tmp_path / "p", None)
        process.open([pack(LocalRay, search)])
        return process

    return made


def ended(trial, status, message=None):
    """A trial as a worker sends it at its end."""
    trial = copy.deepcopy(trial)
    trial.status, trial.message = status, message
    return trial


def test_a_worker_that_was_given_up_has_no_trial(opened):
    process = opened(max_trials=4)
    first, second = process.create_trial("one"), process.create_trial("two")
    assert process.give_up("one", "killed", None)
    assert process.create_trial("three").trial_id == first.trial_id
    report = "two", second.trial_id, {"val_loss": 0.5}, 0
    assert process.update_trial(*report) == "RUNNING"
    process.give_up(
        "two", "killed", None
    )  # But it lives: it is stopped, and its end does not count.
    assert process.update_trial(*report) == "STOPPED"
    process.end_trial("two", ended(second, "COMPLETED"), {})
    assert process.ask_oracle("get_trial", second.trial_id).status == "RUNNING"
    assert not process.give_up("nobody", "killed", None)
    process.close("FINISHED")


def test_a_trial_that_ends_three_processes_fails(opened):
    process = opened(max_trials=4)
    for name in ("one", "two", "three"):
        trial = process.create_trial(name)
        assert trial.status == "RUNNING"
        assert process.give_up(name, f"{name} was killed", None)
    failed = process.ask_oracle("get_trial", trial.trial_id)
    message = "3 workers were lost over this trial; the last one: three was killed"
    assert (failed.status, failed.message) == ("FAILED", message)
    assert process.create_trial("four").trial_id != failed.trial_id
    process.close("FINISHED")


def test_an_error_of_a_worker_fails_its_own_trial(opened, tmp_path):
    """The search ends, and the trials of the other workers go on when it is resumed."""
    process = opened(max_trials=4)
    first, second = process.create_trial("one"), process.create_trial("two")
    process.fail("one", "RuntimeError: it broke")
    process.close("FAILED")
    events = Journal(tmp_path / "p" / "events.jsonl").read()
    ends = {event.trial_id: event.status for event in events if isinstance(event, TrialEnded)}
    assert ends == {first.trial_id: "FAILED", second.trial_id: "INTERRUPTED"}


def test_a_trial_whose_end_cannot_be_written_keeps_its_snapshot(opened, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "the disk is full")

    process = opened(max_trials=4)
    trial = process.create_trial("one")
    process.keep_snapshot("one", trial.trial_id, b"where it was")
    with monkeypatch.context() as patch:
        patch.setattr(rdt.OptunaOracle, "end_trial", full)
        with pytest.raises(OSError, match="full"):
            process.end_trial("one", ended(trial, "COMPLETED"), {})
    assert process.snapshot(trial.trial_id)
    process.end_trial("one", ended(trial, "FAILED", "it broke"), {})
    assert not process.snapshot(trial.trial_id)
    process.close("FINISHED")


def test_a_tuner_that_deletes_its_folder(opened):
    with pytest.raises(InvalidArgumentError, match="without `overwrite=True`"):
        opened(overwrite=True)


def test_a_worker_that_gets_no_trial_waits_for_the_others(opened):
    process = opened(max_trials=1)
    trial = process.create_trial("one")
    assert process.create_trial("two").status == "IDLE"
    process.update_trial("one", trial.trial_id, {"val_loss": 0.5}, 0)
    process.end_trial("one", ended(trial, "COMPLETED"), {})
    assert process.create_trial("two").status == "STOPPED"
    process.close("FINISHED")


def test_too_many_failures_end_the_search_of_all(opened, tmp_path):
    process = opened(max_trials=4, max_consecutive_failed_trials=1)
    first, second = process.create_trial("one"), process.create_trial("two")
    process.end_trial("one", ended(first, "FAILED", "it broke"), {})
    assert process.create_trial("one").status == "IDLE"
    process.end_trial("two", ended(second, "FAILED", "it broke too"), {})
    assert process.create_trial("one").status == "STOPPED"
    saved = json.loads((tmp_path / "p" / f"trial_{first.trial_id}" / "trial.json").read_text())
    assert (saved["status"], saved["message"]) == ("FAILED", "it broke")
    process.close("FINISHED")
    assert Journal(tmp_path / "p" / "events.jsonl").read()[-1].status == "FAILED"
