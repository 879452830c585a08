"""Several workers on a real Ray: they find the same as one process."""

import base64
import contextlib
import os
import runpy
import subprocess
import sys
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import keras_tuner as kt
import mlflow
import pandas as pd
import pytest
import ray
import tensorflow as tf
import yaml
from mlflow import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError
from recdrop_tune.events import TrackingWarning, TrialEnded
from recdrop_tune.journal import Journal
from recdrop_tune.ray_workers import cluster as _ray
from recdrop_tune.ray_workers.host import OracleHost
from recdrop_tune.search import ObjectiveNotReportedError
from recdrop_tune.search.execution import actor_name
from tests import ROOT
from tests.mlflow_server import free_port, overloaded
from tests.small_search import Batches, build, data


@pytest.fixture
def search(tmp_path, local_ray, new_store):
    """Searches with two workers, unless told otherwise: each process more takes ten seconds to start."""
    tracking = rdt.MLflow(uri=new_store(tmp_path))

    def run(name="project", **kwargs):
        given = {"model": build, "epochs": 2, "max_trials": 5, "seed": 0, "workers": 2}
        given |= {"verbose": 0, "tracking": tracking} | kwargs
        train, validation = given.pop("train", data(40)), given.pop("validation", data())
        return rdt.tune(train, validation, directory=tmp_path / name, **given)

    return run


def batches():
    """A dataset, which cannot be pickled."""
    return tf.data.Dataset.from_tensor_slices(data(40)).batch(32)


@pytest.mark.heavy
def test_two_workers_find_what_one_process_finds(search, capfd):
    same = {
        "tuner": rdt.Optuna(sampler="random", pruner="none"),
        "confirm": rdt.Confirm(1, seeds=2, max_seeds=2),
        "max_trials": 3,
        "epochs": 1,
    }
    alone = search("alone", workers=None, **same)
    capfd.readouterr()
    together = search("together", verbose=1, **same)
    found = [each.trials.sort_values("trial_id", ignore_index=True) for each in (alone, together)]
    changing = ["seconds", "ms_per_step", "mlflow_run_id"]
    pd.testing.assert_frame_equal(*(f.drop(columns=changing) for f in found), rtol=1e-4)
    assert found[1]["mlflow_run_id"].notna().all()
    assert found[1]["seconds"].gt(0).all()
    scores = [
        {(c.trial_id, c.repeat): c.score for c in r.tracking.records.confirmations}
        for r in (alone, together)
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    x, y = data()
    models = [result.best_model() for result in (alone, together)]
    losses = [model.evaluate(x, y, verbose=0)[0] for model in models]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert (together.directory / "result" / "report.html").exists()
    assert rdt.TuneResult.load(together.directory).context == together.context == alone.context
    assert alone.context.constant
    printed = capfd.readouterr().out
    words = [line.split()[0] for line in printed.splitlines()]
    assert words[:5] == ["Folder:", "trial", "Going", "trial", "trial"]
    # One process resumes the search of several.
    more = search("together", workers=None, **same | {"max_trials": 4, "confirm": None})
    assert len(more.trials) == 4


def own_model():
    """A model with a layer and a loss that another process cannot import."""

    class Scaled(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=shape[-1:], initializer="ones")

        def call(self, inputs):
            return inputs * self.scale

    def own_loss(y_true, y_pred):
        return keras.ops.square(keras.ops.cast(y_true, y_pred.dtype) - y_pred)

    layers = [Scaled(), keras.layers.GRU(2), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    model.compile("adam", own_loss, run_eagerly=True)
    return {"model": model, "space": {"wrapper": ["none", "recurrent"], "rate": 0.2}}


class Counted(Batches):
    """Data that leave a file each time they are sent or received."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def __getstate__(self):
        (self.folder / f"sent {uuid.uuid4()}").touch()
        return {"folder": self.folder}

    def __setstate__(self, state):
        self.__init__(state["folder"])
        (self.folder / f"received {uuid.uuid4()}").touch()


@pytest.mark.heavy
def test_models_are_compared_as_in_one_process(local_ray, tmp_path):
    """Data go once into Ray's store, and from there once to each process."""
    counts = tmp_path / "counts"
    counts.mkdir()

    def built():
        return build(kt.HyperParameters())

    def compare(name, workers):
        return rdt.compare_models(
            {"given": built(), "function": built},
            Counted(counts),
            data(),
            epochs=1,
            seeds=2,
            max_seeds=2,
            workers=workers,
            seed=0,
            tracking=False,
            directory=tmp_path / name,
            verbose=0,
        )

    runs = [compare(name, workers).runs for name, workers in (("ray", 1), ("alone", None))]
    columns = ["model", "repeat", "seed", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(*(run[columns] for run in runs), rtol=1e-5)
    events = Counter(path.name.split()[0] for path in counts.iterdir())
    assert events == {"sent": 1, "received": 2}  # The oracle's process and the worker.


@pytest.mark.heavy
def test_what_cannot_be_pickled(search, tmp_path):
    locked = Unpicklable()
    for name, given in [
        ("train", {"train": batches()}),
        ("validation", {"validation": batches()}),
        ("test", {"confirm": rdt.Confirm(test=batches())}),
        ("callbacks", {"training": rdt.Training(callbacks=[locked])}),
        ("fit", {"training": rdt.Training(fit={"class_weight": locked})}),
        ("model", {"model": locked.build}),
    ]:
        data_fix = f"`{name}=lambda: ...`" if name in ("train", "validation", "test") else ""
        with pytest.raises(InvalidArgumentError, match=f"`{name}`.*can be pickled") as error:
            search(**given)
        assert (data_fix or "It must not contain locks") in str(error.value)
    assert not (tmp_path / "project").exists()


class Unpicklable(keras.callbacks.Callback):
    def __reduce__(self):
        raise TypeError("it holds a lock")

    def build(self, hp):
        return build(hp)


class Surroundings(keras.callbacks.Callback):
    """Fails unless the process is set as the one that began the search."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs=None):
        assert Path.cwd() == self.folder
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
        assert tf.config.threading.get_intra_op_parallelism_threads() == 1


@pytest.mark.heavy
def test_workers_are_set_as_the_process_that_began(search, tmp_path, monkeypatch):
    """For a model as it is, and data by a function, which each process calls."""
    monkeypatch.chdir(tmp_path)
    same = {"train": batches, "validation": batches, "max_trials": 2, **own_model()}
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        training = rdt.Training(callbacks=Surroundings(tmp_path))
        result = search(workers=1, training=training, **same)
    finally:
        keras.config.set_dtype_policy("float32")
    found, alone = result.trials, search("alone", workers=None, **same).trials
    assert found["state"].tolist() == ["COMPLETE"] * 2
    first = [each.sort_values("number")["val_loss"].iloc[0] for each in (found, alone)]
    assert first[0] == pytest.approx(first[1], rel=1e-5)
    tags = (
        MlflowClient(result.search.tracking_uri)
        .get_run(result.trials["mlflow_run_id"][0])
        .data.tags
    )
    assert tags["recdrop.worker"] == "worker-1"


@pytest.mark.heavy
def test_an_error_of_a_worker_is_that_of_one_process(search, tmp_path):
    # A function that makes a callback: what that reports is not known before.
    training = rdt.Training(callbacks=[keras.callbacks.TerminateOnNaN])
    for workers in (1, None):
        refused = pytest.raises(ObjectiveNotReportedError, match="no metric named `val_f1`")
        given = {"objective": kt.Objective("val_f1", "max"), "training": training}
        with refused:
            search(f"{workers}", workers=workers, **given)
        events = Journal(tmp_path / f"{workers}" / "events.jsonl").read()
        ends = [event.status for event in events if isinstance(event, TrialEnded)]
        assert ends == ["FAILED"]


@pytest.mark.heavy
def test_workers_that_need_more_than_the_cluster_has(search, tmp_path):
    with pytest.raises(InvalidArgumentError, match="at most the 0 GPUs that Ray sees") as error:
        search(workers=rdt.Workers(2, gpus=0.5))
    assert "Ray's resources are: 4 CPU" in str(error.value)
    with pytest.raises(InvalidArgumentError, match="at most the 4 CPU cores that Ray sees"):
        search(workers=rdt.Workers(2, cpus=5))
    assert not (tmp_path / "project").exists()


@pytest.mark.heavy
def test_a_search_that_runs_already(search, tmp_path, local_ray):
    """Another process on the same cluster runs it: an actor has its name."""

    class Host:
        """Its name is taken as soon as it begins."""

    name = actor_name(tmp_path / "project")
    other = ray.remote(Host).options(name=f"oracle-{name}", namespace=_ray.NAMESPACE)
    handle = other.remote()
    with pytest.raises(ProjectError, match="Another process is running the search"):
        search()
    ray.kill(handle)


@pytest.mark.heavy
def test_a_folder_that_is_not_shared(tmp_path, local_ray):
    host = OracleHost(tmp_path, None)
    job = ray.put(None)
    with pytest.raises(ProjectError, match="a file system that this machine and the head"):
        host.open([job])
    assert list(tmp_path.iterdir()) == []


class TwoFits(kt.HyperModel):
    """Warms a model up, which does not count: its score is that of the weights that are kept."""

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, **kwargs):
        model.fit(*args, **kwargs)
        return model.fit(*args, **kwargs)


def tuner_in(folder):
    """Makes a function that makes a tuner."""

    def make_tuner():
        oracle = rdt.OptunaOracle("val_loss", 4, pruner="none", seed=1)
        return rdt.Tuner(oracle, TwoFits(), directory=folder, project_name="project")

    return make_tuner


@pytest.mark.heavy
def test_a_tuner(tmp_path, local_ray, new_store):
    uri = new_store(tmp_path)
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run() as active:
            tuner = rdt.distribute(
                tuner_in(tmp_path), workers=1, tracking=rdt.MLflow(uri=uri), verbose=0
            )
            tuner.search(batches, validation_data=data(), epochs=2)
    finally:
        mlflow.set_tracking_uri(None)
    (run,) = MlflowClient(tuner.result.search.tracking_uri).search_runs(
        ["0"], "tags.`recdrop.kind` = 'search'"
    )
    assert run.data.tags["mlflow.parentRunId"] == active.info.run_id
    frame = tuner.result.trials
    assert len(frame) == 4
    assert set(frame["state"]) == {"COMPLETE"}
    assert frame["mlflow_run_id"].is_unique
    model = tuner.get_best_models()[0]
    x, y = data()
    best = tuner.oracle.get_best_trials()[0]
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(best.score, rel=1e-4)


def other_oracle(folder):
    return rdt.Tuner(kt.oracles.GridSearchOracle("val_loss"), build, directory=folder)


def other_tuner(folder):
    return kt.Tuner(rdt.OptunaOracle("val_loss", 1), build, directory=folder)


def tracked(folder):
    tuner = rdt.Tuner(rdt.OptunaOracle("val_loss", 1), build, directory=folder)
    rdt.track(tuner, rdt.MLflow("one", uri=f"sqlite:///{folder}/mlflow.db"))
    return tuner


@pytest.mark.parametrize("make", [other_oracle, other_tuner, tracked])
def test_what_is_not_distributed(make, tmp_path):
    expected = (
        r"`make_tuner`.*makes a recdrop_tune\.Tuner with an OptunaOracle and does not track it"
    )
    with pytest.raises(InvalidArgumentError, match=expected):
        rdt.distribute(lambda: make(tmp_path))


EXAMPLES = ROOT / "examples"


@pytest.mark.heavy
def test_example(tmp_path, monkeypatch, capfd, local_ray, new_store):
    script = EXAMPLES / "ray_cluster.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_store(tmp_path))
    few = ["--workers=1", "--trials=2", "--epochs=1"]
    monkeypatch.setattr(sys, "argv", [str(script), *few])
    runpy.run_path(str(script), run_name="__main__")
    printed = capfd.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("Task: classification")
    assert lines[1].startswith("Folder: ray_cluster_run")
    trials = [line.split()[:2] for line in lines if line.startswith("trial ")]
    assert trials == [["trial", "0"], ["trial", "1"]]
    assert "2 trials, 2 complete." in printed.out
    assert "ERROR" not in printed.err


def test_slurm_script():
    subprocess.run(["bash", "-n", EXAMPLES / "ray_cluster.sbatch"], check=True)


def test_kubernetes_manifest():
    _, job = yaml.safe_load_all((EXAMPLES / "ray_cluster.yaml").read_text())
    options = [word for word in job["spec"]["entrypoint"].split() if word.startswith("--")]
    known = (EXAMPLES / "ray_cluster.py").read_text()
    assert all(f'"{option}"' in known for option in options)


def lists_of_processes(secret, stop):
    """Returns whether a secret is ever in the command line of a process, until `stop` is set."""
    found = False
    while not stop.wait(0.005):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # It has ended.
                found = found or secret in path.read_bytes()
    return found


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's list of processes")
def test_a_password_of_mlflow_is_seen_by_the_server_alone(search, monkeypatch):
    """Neither in Ray's logs, which all users of the machine can read, nor in the list of processes.

    The server refuses everything: this process gets the warning, and the search continues.
    """
    password = uuid.uuid4().hex
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    stop = threading.Event()
    refused = overloaded(free_port(), lambda *_: "before")
    with refused as (uri, asked), ThreadPoolExecutor() as pool:
        looking = pool.submit(lists_of_processes, password.encode(), stop)
        try:
            with pytest.warns(TrackingWarning, match="failed") as warned:
                result = search(max_trials=2, workers=1, tracking=rdt.MLflow(uri=uri))
        finally:
            stop.set()
        assert not looking.result()
    assert any(f"MLflow at {uri} failed" in str(each.message) for each in warned)
    assert len(result.trials) == 2
    assert result.tracking.failure
    assert (
        asked[0][1]["Authorization"]
        == f"Basic {base64.b64encode(f'ann:{password}'.encode()).decode()}"
    )
    logs = Path(ray.nodes()[0]["ObjectStoreSocketName"]).parents[1]
    assert (logs / "logs" / "runtime_env_agent.log").exists()
    for path in filter(Path.is_file, logs.rglob("*")):
        assert password.encode() not in path.read_bytes(), path
