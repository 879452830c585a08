"""What every test needs: the same environment and seeds; and what runs on which backend."""

import gc
import os
import re
import shutil
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Ray starts workers with niceness 15: next to busy tests they would hardly get any time.
os.environ.setdefault("RAY_worker_niceness", "0")

import pytest
from xdist import is_xdist_worker

# These change where a search reports, and how it looks: a test that means one of them sets it.
for _name in (
    "CI",
    "FORCE_COLOR",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_TRACKING_URI",
    "RAY_ADDRESS",
):
    os.environ.pop(_name, None)

if os.environ["KERAS_BACKEND"] != "tensorflow":
    # The tests of what could come out differently there. The others may import TensorFlow, or what only the
    # extra `test` brings: files with neither the marker `backends` nor the module of that name.
    collect_ignore = [
        str(path)
        for path in Path(__file__).parent.rglob("test_*.py")
        if not re.search(r"(mark|tests)\.backends", path.read_text())
    ]


# Keras is imported by what uses it: the process that only hands out the tests would need five seconds for it.


def pytest_sessionstart(session):
    """Some 4,000 rows take each process some seconds to make, and are seldom asked for."""
    marks = session.config.option.markexpr
    if is_xdist_worker(session) or not session.config.option.numprocesses:
        _compile_quickly(marks)
        from tests.laws import cases

        cases.full_is_asked_for = bool(re.search(r"(?<!not )\bfull\b", marks))


def _compile_quickly(marks):
    """Has no graph optimized that is run a few times: JAX would take twice the time, TensorFlow a fifth more.

    For a GPU they are optimized; TensorFlow's also where `-m` asks for `backends`, with the nightly Keras.
    """
    if re.search(r"(?<!not )\bgpu\b", marks):
        return
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if os.environ["KERAS_BACKEND"] == "tensorflow" and "backends" not in marks:
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_finish():
    """Nothing of what was imported is looked through again; see `_frozen`."""
    with suppress(ImportError):
        import_module("hypothesis")  # It looks for what refers to its generators: not when frozen.
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _frozen():
    """Keeps the garbage collector from what earlier modules have left, some GB of TensorFlow's graphs.

    Keras and `tune` collect after every trial, which takes two seconds each at the end of a long run.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_seed():
    import keras

    from recdrop_tune.kernels.keras_internals import reset_names, seed_keeping_kernels

    # Keras's function discards TensorFlow's kernels: the next test would spend half of its time on new ones.
    if not seed_keeping_kernels(0):
        keras.utils.set_random_seed(0)
    reset_names()  # A given seed is combined with the layer's name: what ran before must not decide it.


@pytest.fixture(scope="session")
def running_eagerly():
    """A block without graphs: tracing one takes longer than a training of a few small batches."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return nullcontext
    import tensorflow as tf

    @contextmanager
    def block():
        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(False)

    return block


@pytest.fixture
def eagerly(running_eagerly):
    """Makes no graphs in a test."""
    with running_eagerly():
        yield


@pytest.fixture
def impatient(monkeypatch):
    """Counts a failure of MLflow at once, not after some seconds of failing, and soon tries again."""
    monkeypatch.setattr("recdrop_tune.mlflow_store.background._TOLERANCE", 0.0)
    monkeypatch.setattr("recdrop_tune.mlflow_store.background._FIRST_DELAY", 0.1)


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Runs code in processes of their own, which need not import TensorFlow; see `tests.forked_code`."""
    from tests.forks import Forks, hearing_ctrl_c

    with hearing_ctrl_c():
        server = Forks("tests.forked_code", tmp_path_factory.mktemp("forks") / "log")
    yield server
    server.close()


@pytest.fixture(scope="session")
def new_store(tmp_path_factory):
    """Puts an empty database of MLflow into a folder: a copy, as making one takes a second."""
    from recdrop_tune.mlflow_store.stores import prepare

    empty = tmp_path_factory.mktemp("mlflow") / "empty.db"
    prepare(f"sqlite:///{empty}")

    def put(folder: Path, name: str = "mlflow.db") -> str:
        return f"sqlite:///{shutil.copy(empty, folder / name)}"

    return put


@pytest.fixture(scope="session")
def planted_uri(tmp_path_factory, new_store) -> str:
    """One database for all planted searches."""
    return new_store(tmp_path_factory.mktemp("planted_uri"))


@pytest.fixture(scope="session")
def planted(tmp_path_factory, planted_uri):
    """The result of a search by Optuna with known outcome; see `tests.planted_search`."""
    # Here, because most tests can do without Keras Tuner's six seconds of imports.
    from recdrop_tune.oracle import OptunaOracle
    from tests.planted_search import planted_result

    # TPE also looks at what does not promise much: the plots want something of everything.
    oracle = OptunaOracle("val_loss", max_trials=30, sampler="tpe", seed=1)
    return planted_result(oracle, tmp_path_factory.mktemp("planted"), planted_uri, executions=2)
