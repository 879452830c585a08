"""Several workers on a real Ray of this machine: they find what one process finds, for any tuner."""

import keras
import keras_tuner as kt
import numpy as np
import pandas as pd
import pytest
import ray

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError
from recdrop_tune.executors._host import MARK, OracleHost
from recdrop_tune.facade import ObjectiveNotReportedError
from tests.small_search import Failing, build, data


@pytest.fixture(scope="module")
def local_ray():
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def search(tmp_path, local_ray):
    """Searches with two workers, unless told otherwise."""

    def run(name="project", **kwargs):
        given = {"hypermodel": build, "epochs": 2, "max_trials": 5, "seed": 0, "workers": 2}
        given |= {"verbose": 0, "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db", **kwargs}
        train, validation = given.pop("train", data(40)), given.pop("validation", data())
        return rdt.tune(train, validation, directory=tmp_path / name, **given)

    return run


def batches():
    """What cannot be pickled."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(data(40)).batch(32)


def test_two_workers_find_what_one_process_finds(search, capfd):
    same = {"sampler": "random", "pruner": "none", "confirm": 1, "confirm_seeds": 2}
    alone = search("alone", workers=None, **same)
    capfd.readouterr()
    together = search("together", verbose=1, **same)
    found = [
        result.trials.sort_values("trial_id").reset_index(drop=True) for result in (alone, together)
    ]
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
    printed = capfd.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()][:6] == ["Folder:"] + ["trial"] * 5
    # The same folder goes on, by one process or by several.
    more = search("together", max_trials=6, workers=None, sampler="random", pruner="none")
    assert len(more.trials) == 6


def test_data_by_a_function(search):
    result = search(train=batches, validation=batches, max_trials=2)
    assert len(result.trials) == 2
    alone = search("alone", train=batches, validation=batches, max_trials=2, workers=None)
    assert len(alone.trials) == 2


@pytest.mark.heavy
@pytest.mark.parametrize("tuner", ["hyperband", "grid"])
def test_other_tuners(tuner, search):
    """Hyperband goes on with the weights that another worker has sent."""
    result = search(tuner=tuner, epochs=4, max_trials=6)
    assert len(result.trials) == 6
    assert set(result.trials["state"]) <= {"COMPLETE", "PRUNED"}
    result.best_model()


def test_what_cannot_be_pickled(search, tmp_path):
    for name, value, fix in [
        ("train", batches(), "`train=lambda: ...`"),
        ("validation", batches(), "`validation=lambda: ...`"),
        ("callbacks", [Unpicklable()], "callbacks"),
        ("hypermodel", Unpicklable().build, "hypermodel"),
    ]:
        with pytest.raises(InvalidArgumentError, match="what can be pickled") as error:
            search(**{name: value})
        assert f"`{name}`" in str(error.value)
        assert fix in str(error.value)
    assert not (tmp_path / "project").exists()


class Unpicklable(keras.callbacks.Callback):
    def __reduce__(self):
        raise TypeError("it holds a lock")

    def build(self, hp):
        return build(hp)


@pytest.mark.heavy
def test_errors_of_workers_are_those_of_one_process(search):
    with pytest.raises(ObjectiveNotReportedError, match="no metric named `val_f1`"):
        search(objective=kt.Objective("val_f1", "max"))
    with pytest.raises(RecdropError, match="none was completed") as error:
        search("failing", hypermodel=Failing(("none", "lambda", "recurrent")))
    assert "the loss went to the moon" in str(error.value)


def test_more_than_the_cluster_has(search, tmp_path):
    with pytest.raises(InvalidArgumentError, match="at most the 0 GPUs that Ray sees") as error:
        search(gpus_per_trial=0.5)
    assert "Ray's resources are: 4 CPU, " in str(error.value)
    with pytest.raises(InvalidArgumentError, match="at most the 4 CPU cores that Ray sees"):
        search(cpus_per_trial=5)
    assert not (tmp_path / "project").exists()


def test_a_search_that_is_run_already(search, tmp_path, local_ray):
    """By another process on the same cluster: an actor of its name is there."""
    from recdrop_tune.executors import _ray
    from recdrop_tune.facade._workers import actor_name

    name = actor_name(tmp_path / "project")
    other = local_ray.remote(OracleHost).options(name=f"oracle-{name}", namespace=_ray.NAMESPACE)
    handle = other.remote(tmp_path, None)
    with pytest.raises(ProjectError, match="Another process is running the search"):
        search()
    local_ray.kill(handle)


def test_a_folder_that_is_not_shared(tmp_path, local_ray):
    host = OracleHost(tmp_path, None)
    assert host.ask("state", 0) == "not open"
    job = local_ray.put(None)
    with pytest.raises(ProjectError, match="a file system that this machine and the head"):
        host.open([job], again=False)
    assert not (tmp_path / MARK).exists()


class TestDistribute:
    """`distribute`: any tuner of Keras Tuner's."""

    @pytest.fixture
    def distribute(self, tmp_path, local_ray):
        def made(make_tuner, **kwargs):
            given = {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db", "verbose": 0, **kwargs}
            return rdt.distribute(make_tuner, workers=2, **given)

        return made

    def test_hyperband(self, distribute, tmp_path):
        def make_tuner():
            return kt.Hyperband(
                build, "val_loss", max_epochs=4, seed=1, directory=tmp_path, project_name="project"
            )

        tuner = distribute(make_tuner)
        tuner.search(batches, validation_data=data())
        frame = tuner.result.trials
        assert len(frame) == 10
        assert set(frame["state"]) == {"COMPLETE"}
        assert frame["mlflow_run_id"].is_unique
        # Two rounds have gone on from trials of the round before.
        assert sum(
            "tuner/trial_id" in t.hyperparameters.values for t in tuner.oracle.trials.values()
        )
        model = tuner.get_best_models()[0]
        x, y = data()
        best = tuner.oracle.get_best_trials()[0]
        assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(best.score, rel=1e-4)

    @pytest.mark.heavy
    def test_a_search_that_is_over(self, distribute, tmp_path):
        def make_tuner():
            return kt.RandomSearch(build, "val_loss", max_trials=2, directory=tmp_path)

        for _ in range(2):
            tuner = distribute(make_tuner)
            tuner.search(*data(), validation_data=data())
            assert len(tuner.result.trials) == 2
        tuner.search(*data(), validation_data=data())
        assert len(tuner.result.trials) == 2

    def test_a_tuner_that_deletes_its_folder(self, distribute, tmp_path):
        def make_tuner():
            return kt.RandomSearch(
                build, "val_loss", max_trials=2, directory=tmp_path, overwrite=True
            )

        with pytest.raises(InvalidArgumentError, match="without `overwrite=True`"):
            distribute(make_tuner).search(*data(), validation_data=data())

    def test_what_makes_no_tuner(self, distribute, tmp_path):
        with pytest.raises(InvalidArgumentError, match="a function without arguments"):
            distribute(kt.RandomSearch(build, "val_loss", max_trials=1, directory=tmp_path))
        with pytest.raises(InvalidArgumentError, match=r"makes a keras_tuner\.Tuner"):
            distribute(lambda: np.zeros(3))

        def tracked():
            tuner = kt.RandomSearch(build, "val_loss", max_trials=1, directory=tmp_path)
            rdt.track(tuner, experiment="one", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
            return tuner

        with pytest.raises(InvalidArgumentError, match="without tracking it"):
            distribute(tracked)
