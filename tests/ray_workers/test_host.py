"""The parts of a search with several workers, in one process and without Ray."""

import sys

import keras_tuner as kt
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import RecdropError
from recdrop_tune.oracle import Workers
from recdrop_tune.ray_workers import connected
from recdrop_tune.ray_workers.job import WAIT, Tasks
from recdrop_tune.ray_workers.resources import gpus_of_each, worker_environment


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    missing = pytest.raises(RecdropError, match=r"pip install 'recdrop-tune\[ray\]'")
    with missing, connected(rdt.Workers(2)):
        pass


def test_an_address_that_ray_refuses():
    refused = pytest.raises(
        RecdropError, match="Ray cannot connect to address='nowhere': ValueError"
    )
    with refused, connected(rdt.Workers(2, address="nowhere")):
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


@pytest.mark.parametrize("has_ended", [True, False])
def test_keras_tuners_grid_search_keeps_its_place(tmp_path, has_ended):
    """Its oracle does not save it."""

    def oracle():
        hp = kt.HyperParameters()
        hp.Choice("a", [1, 2, 3])
        hp.Choice("b", [1, 2])
        made = kt.oracles.GridSearchOracle("val_loss", max_trials=10, hyperparameters=hp)
        made._set_project_dir(tmp_path, "p")
        made.verbose = 0
        return made

    def end(workers, trial):
        workers.update_trial(trial.trial_id, {"val_loss": 0.1})
        trial.status = "COMPLETED"
        workers.end_trial(trial)

    first = Workers(oracle())
    end(first, first.create_trial("one"))
    running = first.create_trial("two")
    if has_ended:
        end(first, running)
    again = oracle()
    again.reload()
    again = Workers(again)
    again.take_back()
    while (trial := again.create_trial("one")).status == "RUNNING":
        end(again, trial)
    if not has_ended:
        end(again, running)
    while (trial := again.create_trial("one")).status == "RUNNING":
        end(again, trial)
    tried = [tuple(trial.hyperparameters.values.values()) for trial in again.trials.values()]
    assert len(tried) == len(set(tried)) == 6
