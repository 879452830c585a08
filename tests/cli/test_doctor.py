"""`recdrop-tune doctor`: its checks on this machine, and on things broken on purpose."""

import re
import sqlite3
from importlib.metadata import version

import pytest
import sqlalchemy
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from recdrop_tune.cli import doctor as _doctor
from recdrop_tune.cli import main
from recdrop_tune.kernels import gpu_in_sight
from tests.mlflow_server import free_port
from tests.postgres import running_server


def called(*arguments):
    return CliRunner().invoke(main, ["doctor", *arguments])


def lines(output):
    """The level and the text of each check, by its name."""
    found = [re.fullmatch(r"(ok|warn|fail) +(\w+) +(\S.*)", each) for each in output.splitlines()]
    assert all(found), output
    return {match[2]: (match[1], match[3]) for match in found}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.heavy
def test_this_machine(tmp_path):
    done = called()
    assert done.exit_code == 0, done.output
    found = lines(done.output)
    assert list(found) == ["packages", "gpu", "mlflow", "folder"]
    assert f"optuna {version('optuna')}" in found["packages"][1]
    assert f"{tmp_path}/mlflow.db does not exist yet" in found["mlflow"][1]
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_raises_is_a_failure_and_sets_the_exit_code(monkeypatch):
    def broken():
        raise OSError("libcudart.so:\nno such file")

    monkeypatch.setattr(_doctor, "packages", broken)
    done = called("--tracking-uri", "mlruns")
    found = lines(done.output)
    assert found["packages"] == ("fail", "OSError: libcudart.so: no such file")
    assert (done.exit_code, found["mlflow"][0], found["folder"][0]) == (1, "fail", "ok")


def test_versions(monkeypatch):
    asked = ["optuna>=5.0", "tensorflow>=2.20", "keras>=3.12"]
    here = {"optuna": "5.0.0", "keras": "3.15", "tensorflow": "2.20.0rc1", "jax": "0.1"}
    monkeypatch.setattr(_doctor, "requires", lambda name: asked)
    monkeypatch.setattr(_doctor, "_version", lambda name: here.get(name, "1"))
    assert _doctor.packages().level == "ok"
    here["optuna"] = "4.9"
    assert _doctor.packages()[::2] == ("fail", "Run `pip install 'optuna>=5.0'`.")
    here |= {"optuna": "99", "torch": "99", "tensorflow": None}
    for backend, level in (("torch", "ok"), ("tensorflow", "fail")):  # It alone needs TensorFlow.
        monkeypatch.setattr(_doctor, "chosen", lambda backend=backend: backend)
        assert _doctor.packages().level == level


def test_what_fails_here(tmp_path):
    (tmp_path / "recdrop_runs").write_text("a file")
    assert _doctor.folder().level == "fail"


def test_a_gpu_that_is_not_seen(tmp_path, monkeypatch):
    if gpu_in_sight():
        pytest.skip("a GPU is seen")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    check = _doctor.gpu()
    assert (check.level, "NVIDIA H100" in check.text) == ("warn", True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert _doctor.gpu().fix == "CUDA_VISIBLE_DEVICES='' hides it: unset that."


def test_databases_are_not_changed(tmp_path, planted_uri):
    """MLflow itself would create or migrate their tables."""
    (tmp_path / "damaged.db").write_text("nothing that sqlite knows")
    (tmp_path / "empty.db").touch()
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name, level in (("damaged", "fail"), ("empty", "ok"), ("other", "ok"), ("new", "ok")):
        assert _doctor.mlflow(f"sqlite:///{name}.db").level == level
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    MlflowClient(planted_uri).search_experiments()
    assert _doctor.mlflow(planted_uri).text.endswith(" answers")


@pytest.mark.heavy
def test_the_database_of_a_server_is_not_changed():
    with running_server() as url:
        assert _doctor.mlflow(url).level == "ok"
        engine = sqlalchemy.create_engine(url)
        assert sqlalchemy.inspect(engine).get_table_names() == []
        engine.dispose()


@pytest.mark.parametrize("kind", ["http", "postgresql"])
def test_nothing_answers(kind):
    check = _doctor.mlflow(f"{kind}://ann:secret@127.0.0.1:{free_port()}")
    assert (check.level, "Connection refused" in check.text) == ("fail", True)
    assert "secret" not in check.text
