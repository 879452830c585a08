"""Addresses of tracking stores."""

import pytest
from sqlalchemy import make_url

import recdrop_tune as rdt
from recdrop_tune.addresses import parse, resolve_uri
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.mlflow_store import leaderboard_url, ui_command


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", 3])
def test_folders_are_refused(uri):
    with pytest.raises(InvalidArgumentError, match=r"`tracking_uri`.*no longer writes to folders"):
        resolve_uri(uri)


def test_a_refused_address_keeps_its_password():
    with pytest.raises(InvalidArgumentError, match="a database or a server") as refused:
        resolve_uri("postgresql://ann:secret@db:54x/y")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("uri", ["databricks", "databricks-uc://ann", "uc:oss"])
def test_databricks_is_not_a_folder(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert resolve_uri(None) == uri
    assert ui_command(uri, "p") is None
    assert leaderboard_url(uri, "1", "a", ascending=True) is None


@pytest.mark.parametrize("name", ["a#b", "ann@work"])
def test_the_default_store_is_in_the_working_directory(name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = (tmp_path / name / "mlflow.db").resolve().as_posix()
    assert rdt.MLflow().store() == f"sqlite:///{path}"
    assert make_url(rdt.MLflow().store()).database == path


def test_punctuation_in_a_password_is_not_part_of_the_address():
    url = parse("http://ann:s@x:1@host:5000/x@y")
    assert (url.host, url.port) == ("host", 5000)
    uri = "postgresql://ann:se/cret@db:5432/x"
    assert resolve_uri(uri) == uri
