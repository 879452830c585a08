"""Names and values that MLflow refuses, or would show badly: everything that is given is in its runs."""

import math

import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import hide
from recdrop_tune.events import EpochEnded, SearchStarted, TrialStarted
from recdrop_tune.mlflow_store.runs import LONGEST_NAME, clean_names, parameter, tag
from tests.mlflow_server import mlflow_server
from tests.small_search import tuned
from tests.tracked_events import ended, events_of, runs_of, started, trial, written

NAMES = ["top 5% (val)[x]", "a%", "a[", "a_", "/etc/passwd", "../../x", "a//b", "a/./b", "a/"]
NAMES += [".", "..", "", "tune/../rate", "naïve Größe", "损失", "line\nbreak", "enc:rate"]
NAMES += ["x" * 400, "x" * 399 + "y"]


@pytest.fixture
def sent(tmp_path, new_store):
    """Sends the events of a search, and returns MLflow's client and the run of its first trial."""

    def send(*events):
        uri = new_store(tmp_path)
        ids = written(tmp_path, uri, *events).writer.ids
        client = MlflowClient(uri)
        return client, client.get_run(ids.run_ids["0"])

    return send


def test_every_name_finds_its_way(sent):
    values = dict.fromkeys(NAMES, 0.5)
    _, run = sent(
        started(experiment="100 % / [new] ../x"),
        TrialStarted(trial_id="0", number=0, hyperparameters=values),
        EpochEnded(trial_id="0", epoch=0, metrics=values, seconds=1.0),
        *trial(1),
        ended(),
    )
    names = clean_names(NAMES)
    assert len(set(names.values())) == len(NAMES)
    assert run.data.params == dict.fromkeys(names.values(), "0.5")
    assert run.data.metrics == dict.fromkeys(names.values(), 0.5)
    assert max(map(len, names.values())) == LONGEST_NAME
    assert names["a_"] == "a_"  # A good name stays, even if others turn into it.


def test_values_that_are_too_long_are_cut(sent):
    long = {f"layers_{number}": "x" * 9000 for number in range(150)}
    first = TrialStarted(trial_id="0", number=0, hyperparameters=long, tags={"note": "y" * 9000})
    _, run = sent(started(space="z" * 9000), first, *trial(1, status="FAILED"), ended())
    assert run.data.params == {name: parameter("x" * 9000) for name in long}
    assert run.data.tags["note"] == tag("y" * 9000)
    assert run.data.tags["note"].endswith("y…")


def test_what_is_no_number_is_none_for_charts_either(sent):
    begin, built, *_ = trial(0)
    epochs = [
        EpochEnded(trial_id="0", epoch=epoch, metrics={"loss": each}, seconds=1.0)
        for epoch, each in enumerate([1.0, math.inf, -math.inf, math.nan])
    ]
    client, run = sent(started(), begin, built, *epochs, ended())
    first, *others = client.get_metric_history(run.info.run_id, "loss")
    assert first.value == 1.0
    assert [math.isnan(each.value) for each in others] == [True] * 3


@pytest.mark.heavy
def test_a_password_is_nowhere(tmp_path, capfd, monkeypatch):
    """Neither in a file of the search, nor in MLflow, nor in anything that is printed."""
    monkeypatch.chdir(tmp_path)
    secret = "s3cr3t-pa55"
    with mlflow_server(tmp_path) as server:
        uri = server.uri.replace("://", f"://ann:{secret}@")
        result = tuned("search", rdt.MLflow("secret", uri=uri), verbose=1)
        print(result.summary())
        assert result.tracking.failure is None
        runs = runs_of(uri, "secret")
        assert len(runs) == 3
        assert secret not in str([run.to_dictionary() for run in runs])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"events.jsonl", "report.html"} <= {path.name for path in files}
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    assert secret not in "".join(capfd.readouterr())
    (begin,) = events_of("search", SearchStarted)
    assert begin.tracking_uri == hide(uri)
