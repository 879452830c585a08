"""Tests for `OptunaOracle` with its study in a real PostgreSQL database."""

import gc

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

import recdrop_tune as rdt
from tests.postgres import running_server
from tests.small_search import build, data


@pytest.fixture(scope="module")
def url():
    with running_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _closed_connections():
    """Optuna leaves it to the end of the process to close them."""
    yield
    for each in gc.get_objects():
        if isinstance(each, sqlalchemy.Engine) and each.dialect.name == "postgresql":
            each.dispose()


@pytest.fixture
def options(tmp_path, url):
    return {
        "model": build,
        "tuner": rdt.Optuna(storage=url),
        "directory": tmp_path / "project",
        "tracking": rdt.MLflow(uri=f"sqlite:///{tmp_path}/mlflow.db"),
        "epochs": 1,
        "seed": 0,
        "verbose": 0,
    }


@pytest.mark.heavy
def test_a_search_goes_on_in_postgresql(options, url, tmp_path):
    first = rdt.tune(data(), data(), max_trials=2, **options)
    second = rdt.tune(data(), data(), max_trials=4, **options)
    name = second.tuner.oracle.study.study_name
    study = optuna.load_study(study_name=name, storage=url)
    told = {each.user_attrs["keras_tuner_id"]: each for each in study.trials}
    assert [each.state for each in study.trials] == [TrialState.COMPLETE] * 4
    for row in second.trials.to_dict("records"):
        assert told[row["trial_id"]].value == row["val_loss"]
        assert told[row["trial_id"]].params["wrapper"] == row["wrapper"]
    done, both = (
        set(zip(f["trial_id"], f["val_loss"], strict=True)) for f in (first.trials, second.trials)
    )
    assert done < both
    # The password is for the database alone.
    password = url.partition("tester:")[2].partition("@")[0]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert not any(password.encode() in path.read_bytes() for path in written)
