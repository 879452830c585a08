"""Searches on Keras's jax and torch backends."""

from importlib import import_module

import keras
import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from tests.backends import BACKEND, array

if BACKEND == "tensorflow":
    pytest.skip("the other tests run on TensorFlow", allow_module_level=True)

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.events import SearchStarted
from recdrop_tune.search.data import Data
from recdrop_tune.search.data_check import check_data
from tests.backend_search import SPACE, data, make_tuner
from tests.tracked_events import events_of

pytestmark = pytest.mark.backends

TRAIN, VALIDATION = data()[:2]
DROPS = {**SPACE, "wrapper": "recurrent"}
SMALL = {"space": SPACE, "batch_size": 10, "seed": 0, "verbose": 0}
"""The last batch of the training data is smaller, so jax compiles it separately."""


def on_jax(reason):
    return pytest.mark.skipif(BACKEND != "jax", reason=reason)


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    made = rdt.MLflow(uri=f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db")
    MlflowClient(made.uri).search_experiments()  # Its tables are made, which may take long.
    return made


@pytest.fixture(scope="module")
def searched(tmp_path_factory, uri):
    """A confirmed search of two trials, resumed with a third: its first trials, and its result."""
    if BACKEND == "jax":
        import_module("jax").clear_caches()  # What other tests compiled would not be kept.
    folder = tmp_path_factory.mktemp("searches") / "first"
    training = rdt.Training(compilation_cache=folder.parent / "compiled")
    given = {**SMALL, "epochs": 2, "directory": folder, "tracking": uri, "training": training}
    confirm = rdt.Confirm(top=1, seeds=1, max_seeds=1)
    first = rdt.tune(TRAIN, VALIDATION, max_trials=2, confirm=confirm, **given)
    before = first.trials.copy()
    return before, rdt.tune(TRAIN, VALIDATION, max_trials=3, **given)


def test_a_search_is_confirmed_and_resumes(searched):
    before, result = searched
    assert list(before["state"]) == ["COMPLETE"] * 2
    trials = result.trials.set_index("trial_id")
    assert (trials["state"] == "COMPLETE").sum() == 3
    for row in before.itertuples():
        assert trials.loc[row.trial_id, "val_loss"] == row.val_loss
    begun = events_of(result.directory, SearchStarted)
    assert [each.info["backend"] for each in begun] == [BACKEND] * 2
    assert "several backends" not in result.summary()
    kept = list((result.directory.parent / "compiled").rglob("*-cache"))
    assert (kept != []) == (BACKEND == "jax")
    loaded = rdt.TuneResult.load(result.directory)
    predicted = [each.best_model().predict(VALIDATION[0], verbose=0) for each in (result, loaded)]
    np.testing.assert_allclose(*predicted, rtol=1e-5)


@on_jax("JAX alone keeps what it compiles")
def test_a_search_finds_all_that_an_earlier_one_has_compiled(searched, tmp_path, uri):
    import jax

    noted = []

    def note(event, *_, **__):
        noted.append(event)

    jax.clear_caches()  # As in another process.
    jax.monitoring.register_event_listener(note)
    jax.monitoring.register_event_duration_secs_listener(note)
    training = rdt.Training(compilation_cache=searched[1].directory.parent / "compiled")
    given = {**SMALL, "directory": tmp_path / "second", "tracking": uri, "training": training}
    rdt.tune(TRAIN, VALIDATION, max_trials=2, epochs=2, **given)
    jax.monitoring.unregister_event_listener(note)
    jax.monitoring.unregister_event_duration_listener(note)
    programs = noted.count("/jax/core/compile/backend_compile_duration")
    assert noted.count("/jax/compilation_cache/cache_hits") == programs > 0


@on_jax("the other backends raise an error themselves")
def test_labels_in_tensors_are_looked_at(tmp_path, uri):
    """Jax trains with a label that the model has no output for, and says nothing."""
    x, y = map(keras.ops.convert_to_tensor, TRAIN)
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    with pytest.raises(
        InvalidArgumentError, match=r"labels 0 \.\.\. 1.*Received: labels 1 \.\.\. 2"
    ):
        rdt.tune((x, y + 1), VALIDATION, model, directory=tmp_path / "none", tracking=uri)


@on_jax("JAX alone compiles each op")
def test_the_second_part_of_the_data_is_looked_at_without_compiling():
    """Both parts give as many samples, also if the first ones of one part are the extreme targets, too."""
    import jax

    compiled = []

    def note(event, duration, **_):
        compiled.append(event.endswith("/backend_compile_duration"))

    model = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = TRAIN
    first, other = np.argsort(y), np.argsort(y)[::-1]
    alternating = np.stack([first[:4], other[:4]], axis=1).ravel()
    check_data({"training": (x[first], y[first])}, model, 8, {})
    jax.monitoring.register_event_duration_secs_listener(note)
    check_data({"training": (x[alternating], y[alternating])}, model, 8, {})
    jax.monitoring.unregister_event_duration_listener(note)
    assert not any(compiled)


@pytest.mark.skipif(BACKEND != "torch", reason="torch is installed there alone")
def test_loaders_of_torch():
    """An object of a user-defined loader class is a loader, a dataset is not."""
    from torch.utils import data as torch_data

    class Loader(torch_data.DataLoader):
        pass

    dataset = torch_data.TensorDataset(*map(keras.ops.convert_to_tensor, TRAIN))
    loader = Loader(dataset, batch_size=8)
    assert Data(loader, loader).parts["validation"] is loader
    with pytest.raises(InvalidArgumentError, match="torch DataLoader"):
        _ = Data(dataset).parts


@on_jax("Ray is installed there alone")
def test_workers_have_the_backend_of_their_driver(tmp_path, uri, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))  # Workers have it too.
    tuner = rdt.distribute(make_tuner(tmp_path), workers=2, tracking=uri, verbose=0)
    x, y = TRAIN
    tuner.search(x, y, validation_data=VALIDATION, epochs=1, verbose=0)
    assert list(tuner.result.trials["state"]) == ["COMPLETE"] * 2
    assert list((tmp_path / "caches").rglob("*-cache"))


@pytest.mark.skipif(
    BACKEND != "torch", reason="Keras's jax backend keeps no states in what it compiles"
)
@pytest.mark.parametrize(
    ("cell", "wrapper"),
    [(keras.layers.LSTM, "recurrent"), (keras.layers.GRU, "time_distributed")],
)
def test_stateful_layers_train(cell, wrapper):
    """Keras's own do not (keras-team/keras#23462): their states are written too early."""
    layer = rdt.wrap(cell(4, stateful=True), wrapper, rate=0.3)
    inputs = keras.Input((5, 3), batch_size=8)
    model = keras.Sequential([inputs, layer, keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(*TRAIN, batch_size=8, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.any(array(state)) for state in layer.layer.states)
