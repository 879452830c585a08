"""`recdrop-tune doctor`: its checks on this machine, and on what is broken on purpose."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import keras
import pytest
import sqlalchemy
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from recdrop_tune.backends import BACKENDS
from recdrop_tune.cli import doctor as _doctor
from recdrop_tune.cli import main
from recdrop_tune.cli.backend_times import BackendTimes
from recdrop_tune.cli.store import FAIL, OK, WARN, Check, mlflow_store
from recdrop_tune.credentials import hide_address
from recdrop_tune.kernels import gpu_in_sight
from tests import ROOT
from tests.mlflow_server import free_port
from tests.postgres import running_server

HERE = [name for name in BACKENDS if find_spec(name) is not None]
TIMED = [*HERE, "fastest"]
NAMES = ["python", "packages", "gpu", "cudnn", *TIMED, "mlflow", "ray", "folder"]


def called(*arguments):
    return CliRunner().invoke(main, ["doctor", *arguments])


def lines(said):
    """The level and the text of each check, by its name."""
    found = [re.fullmatch(r"(ok|warn|fail) +(\w+) +(\S.*)", each) for each in said.splitlines()]
    assert all(found), said
    return {match[2]: (match[1], match[3]) for match in found}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_this_machine(tmp_path):
    done = called("--size", "2", "5", "3", "4")
    assert done.exit_code == 0, done.output
    said = lines(done.output)
    assert list(said) == NAMES
    for name in ("tensorflow", "keras", "keras-tuner", "optuna", "mlflow", "pandas"):
        assert f"{name} {version(name)}" in said["packages"][1]
    assert said["ray"] == ("ok", version("ray"))
    for backend in HERE:
        words = r"(plain|recurrent|variational|recurrent_dropout) ([\d.]+) ms"
        times = dict(re.findall(words, said[backend][1]))
        assert len(times) == 4
        assert all(0 < float(value) < 10_000 for value in times.values())
    assert "an LSTM of batch 2, 5 steps, 3 features, 4 units (`--size`)" in said["fastest"][1]
    assert f"{tmp_path}/mlflow.db is not there yet" in said["mlflow"][1]
    assert f"{tmp_path}/recdrop_runs can be written to" in said["folder"][1]
    assert list(tmp_path.iterdir()) == []


def test_without_timing():
    assert list(lines(called("--no-timing").output)) == [
        name for name in NAMES if name not in TIMED
    ]


def test_the_exit_code_and_the_remedy_of_a_failure():
    done = called("--no-timing", "--tracking-uri", "mlruns")
    assert done.exit_code == 1
    level, text = lines(done.output)["mlflow"]
    assert level == "fail"
    assert text.endswith("Give another store with `--tracking-uri` or MLFLOW_TRACKING_URI.")


def test_a_check_that_breaks_is_a_line(monkeypatch):
    def broken():
        raise OSError("libcudart.so:\nno such file")

    def missing():
        raise ModuleNotFoundError("No module named 'jax'", name="jax")

    checks = {"first": broken, "second": missing, "third": lambda: Check(OK, "fine")}
    monkeypatch.setattr(_doctor, "_checks", lambda *_: checks)
    done = called()
    assert done.exit_code == 1
    said = lines(done.output)
    assert said["first"] == (
        "fail",
        "This could not be checked: OSError: libcudart.so: no such file. Reinstall the package that the "
        "error comes from; if that does not help, report it.",
    )
    assert "Install `jax`, or set KERAS_BACKEND" in said["second"][1]
    assert said["third"] == ("ok", "fine")


def test_a_warning_is_no_failure(monkeypatch):
    monkeypatch.setattr(_doctor, "_checks", lambda *_: {"one": lambda: Check(WARN, "hm", "Do it.")})
    done = called()
    assert (done.exit_code, done.output) == (0, "warn  one         hm. Do it.\n")


def test_packages_that_are_too_old(monkeypatch):
    monkeypatch.setattr(_doctor, "_least", lambda: {"optuna": "99.1", "keras": "3.0", "ray": "9"})
    check = _doctor.packages()
    assert (check.level, check.fix) == (FAIL, "Run `pip install 'optuna>=99.1'`.")
    monkeypatch.setattr(_doctor, "_least", lambda: {"ray": "999"})
    check = _doctor.ray()
    assert (check.level, check.text) == (WARN, f"{version('ray')}; `workers` needs 999")


def test_packages_that_are_newer_than_what_was_tested(monkeypatch):
    monkeypatch.setattr(_doctor, "_TESTED", {"optuna": "4.9", "keras": "99.0", "jax": "0.1"})
    monkeypatch.setattr(_doctor, "_version", {"jax": "0.1.9", "optuna": "5.0.0"}.get)
    monkeypatch.setattr(_doctor, "_least", dict)
    check = _doctor.packages()
    assert check.level == WARN
    assert check.text.endswith("newer than what was tested: optuna")
    assert check.fix == "If something fails, run `pip install 'optuna==4.9.*'`."


def test_packages_that_are_missing(monkeypatch):
    monkeypatch.setattr(_doctor, "_version", lambda name: None)
    check = _doctor.packages()
    assert check.level == FAIL
    assert "mlflow missing" in check.text
    assert "'optuna>=5.0'" in check.fix
    assert _doctor.ray() == Check(
        OK, "not installed; only `workers` needs it: `pip install 'recdrop-tune[ray]'`"
    )


def test_keras_on_another_backend_without_tensorflow(monkeypatch):
    here = {"tensorflow": None, "torch": "2.99.0+cpu", "jax": None}
    monkeypatch.setattr(_doctor, "_version", lambda name: here.get(name, "99"))
    monkeypatch.setattr(_doctor, "chosen", lambda: "torch")
    monkeypatch.setattr(_doctor, "_TESTED", {})
    check = _doctor.packages()
    assert check.level == OK
    assert "tensorflow missing" in check.text
    assert check.text.endswith("torch 2.99.0+cpu")
    here["optuna"] = "1.0"
    check = _doctor.packages()
    assert (check.level, check.fix) == (FAIL, "Run `pip install 'optuna>=5.0'`.")
    del here["optuna"]
    monkeypatch.setattr(_doctor, "chosen", lambda: "tensorflow")
    check = _doctor.packages()
    assert check.fix == "Run `pip install 'tensorflow>=2.20'`. Or set KERAS_BACKEND=torch."


def test_the_fastest_of_several_backends():
    size = (32, 50, 12, 32)
    times = BackendTimes(size, {"tensorflow": {"recurrent": 4.0}})
    (only,) = times.found
    assert times.fastest().text.startswith(f"{only} is the only backend that can be timed here")
    assert "pip install 'recdrop-tune[jax]'" in times.fastest().fix
    times.found |= {"jax": {"recurrent": 1.0}, "torch": {"recurrent": 32.0}}
    check = times.fastest()
    assert check.text == (
        "jax, 4.0 times as fast as tensorflow, 32.0 times as fast as torch, by a step of `recurrent` with an "
        "LSTM of batch 32, 50 steps, 12 features, 32 units (`--size`), compiling not counted"
    )
    assert check.fix.startswith(
        "Set KERAS_BACKEND=jax before keras is imported, or `recdrop-tune run "
    )
    times.found["tensorflow"] = {"recurrent": 0.5}
    assert times.fastest().text.endswith("; Keras is set to it")
    assert times.fastest().fix == ""


def test_a_backend_that_fails_is_a_warning():
    times = BackendTimes((2, 5, 3, 4))
    check = times.timed("theano")
    assert check.level == WARN
    assert "no training step can be timed: ValueError: " in check.text
    assert times.fastest().text == "not known: no backend could be timed"


def test_as_a_process_without_tensorflow(tmp_path):
    """With torch said to be installed, and not TensorFlow, which this Python cannot import."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for path in Path(keras.__file__).parent.parent.iterdir():
        if not path.name.startswith("tensorflow"):
            (packages / path.name).symlink_to(path)
    about = packages / "torch-2.13.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: torch\nVersion: 2.13.0\n")
    # Without `site`, which would find TensorFlow in this environment.
    command = [sys.executable, "-S", "-m", "recdrop_tune.cli", "doctor", "--no-timing"]
    places = os.pathsep.join([str(ROOT), str(packages)])
    environment = {**os.environ, "PYTHONPATH": places, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done.stderr
    said = lines(done.stdout)
    level, text = said["packages"]
    assert (level, "tensorflow missing" in text) == ("fail", True)
    assert "Run `pip install 'tensorflow>=2.20'`. Or set KERAS_BACKEND=torch." in text
    assert "Expected a backend that is installed here (none is)" in said["gpu"][1]


@pytest.mark.parametrize(
    ("found", "least", "older"),
    [
        ("2.21.0", "2.20", False),
        ("2.21.0rc1", "2.21", False),
        ("2.9", "2.20", True),
        ("5.0", "5.0", False),
        (None, "1", True),
    ],
)
def test_versions_are_compared_as_numbers(found, least, older):
    assert _doctor._older(found, least) is older


def test_a_gpu_that_is_not_seen(tmp_path, monkeypatch):
    if gpu_in_sight():
        pytest.skip("a GPU is seen")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    check = _doctor.gpus()
    assert check.level == WARN
    assert check.text == "TensorFlow sees none; this machine has NVIDIA H100 80GB HBM3"
    assert "pip install 'recdrop-tune[gpu]'" in check.fix
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert _doctor.gpus().fix == "CUDA_VISIBLE_DEVICES='' hides it: unset that."
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # As SLURM sets it.
    assert "pip install 'recdrop-tune[gpu]'" in _doctor.gpus().fix
    tool.write_text("#!/bin/sh\necho 'no driver'\nexit 9\n")
    assert _doctor.gpus() == Check(OK, "TensorFlow sees none; searches run on the CPU")


def test_cudnn_is_used_or_said_to_be_out_of_reach():
    check = _doctor.cudnn()
    assert check.level == OK
    kinds = (keras.layers.LSTM, keras.layers.GRU)
    reasons = [_doctor.cudnn_failure(kind) for kind in kinds]
    if gpu_in_sight():
        assert reasons == ["", ""]
        assert "LSTM and GRU run on cuDNN" in check.text
    else:
        assert all("cudnn" in reason.lower() for reason in reasons), reasons
        assert "sees no GPU" in check.text


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "recdrop_runs").write_text("a file")
    check = _doctor.folder()
    assert check.level == FAIL
    assert f"{tmp_path}/recdrop_runs cannot be written to: " in check.text


def test_stores_in_files(tmp_path, planted_uri):
    (tmp_path / "damaged.db").write_text("nothing that sqlite knows")
    (tmp_path / "empty.db").touch()
    (tmp_path / "file").touch()
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    found = {
        name: mlflow_store(f"sqlite:///{name}")
        for name in ("damaged.db", "empty.db", "other.db", "new/new.db", "file/new.db")
    }
    levels = {name: check.level for name, check in found.items()}
    assert levels == {
        "damaged.db": FAIL,
        "empty.db": OK,
        "other.db": WARN,
        "new/new.db": OK,
        "file/new.db": FAIL,
    }
    assert "is no sqlite database" in found["damaged.db"].text
    assert (tmp_path / "other.db").read_bytes() == before
    assert (tmp_path / "empty.db").stat().st_size == 0
    assert not (tmp_path / "new").exists()
    MlflowClient(planted_uri).search_experiments()
    check = mlflow_store(planted_uri)
    assert check.level == OK
    assert re.search(r" answers, with \d+ experiments?$", check.text)


def test_a_file_in_a_uri_of_sqlites_own(tmp_path, planted_uri):
    uri = "sqlite:///file:{}?mode=rwc&uri=true"
    check = mlflow_store(uri.format("new.db"))
    assert check == Check(OK, f"{tmp_path}/new.db is not there yet: the first search makes it")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    check = mlflow_store(uri.format(tmp_path / "empty.db"))
    assert check == Check(OK, f"{tmp_path}/empty.db is empty: the first search makes its tables")
    assert (tmp_path / "empty.db").stat().st_size == 0
    MlflowClient(planted_uri).search_experiments()
    planted = planted_uri.removeprefix("sqlite:///")
    check = mlflow_store(uri.format(planted))
    assert (check.level, check.text.partition(" answers, with ")[0]) == (OK, planted)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]


def test_databases_in_memory():
    for uri in ("sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"):
        assert mlflow_store(uri).text.endswith(" is empty: the first search makes its tables")


def test_a_database_of_an_older_mlflow_is_not_migrated(tmp_path, planted_uri):
    MlflowClient(planted_uri).search_experiments()
    shutil.copy(planted_uri.removeprefix("sqlite:///"), tmp_path / "old.db")
    with closing(sqlite3.connect("old.db")) as older:
        older.execute("DROP TABLE logged_model_tags")
    before = (tmp_path / "old.db").read_bytes()
    check = mlflow_store("sqlite:///old.db")
    assert (check.level, "would migrate it. Make a copy first" in check.line()) == (WARN, True)
    assert (tmp_path / "old.db").read_bytes() == before


def test_an_empty_database_of_a_server_stays_empty():
    with running_server() as url:
        check = mlflow_store(url)
        assert check == Check(
            OK, f"{hide_address(url)} is empty: the first search makes its tables"
        )
        engine = sqlalchemy.create_engine(url)
        assert sqlalchemy.inspect(engine).get_table_names() == []
        engine.dispose()


@pytest.mark.parametrize("kind", ["http", "postgresql"])
def test_nothing_answers(kind):
    check = mlflow_store(f"{kind}://ann:secret@127.0.0.1:{free_port()}")
    assert check.level == FAIL
    assert "Connection refused" in check.text
    assert "secret" not in check.line()
    assert "--tracking-uri" in check.fix


def test_as_a_process_it_prints_lines_alone():
    command = [sys.executable, "-m", "recdrop_tune.cli", "doctor", "--no-timing"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(NAMES) - len(TIMED)
