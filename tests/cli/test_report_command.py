"""`recdrop-tune report` and `TuneResult.load`: a search read back from its folder alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import recdrop_tune as rdt
from recdrop_tune.cli import main
from recdrop_tune.errors import ProjectError, RecdropError, invalid_argument
from recdrop_tune.files import JOURNAL
from tests.small_search import Failing, data
from tests.tracked_events import journaled, started


def called(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def without_mlflow(frame):
    return frame.drop(columns="mlflow_run_id")


SEARCH = {
    "space": {"units": 4, "wrapper": ["none", "recurrent"], "rate": [0.1, 0.3]},
    "max_trials": 3,
    "epochs": 2,
    "seed": 0,
}


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory, planted_uri, running_eagerly):
    """A search by `tune` with a confirmation."""
    with running_eagerly():
        return rdt.tune(
            data(),
            data(),
            **SEARCH,
            confirm=rdt.Confirm(1, seeds=2, max_seeds=2),
            tracking=rdt.MLflow("stored", uri=planted_uri),
            directory=tmp_path_factory.mktemp("stored") / "speech",
            verbose=0,
        )


@pytest.mark.parametrize("name", ["planted", "traded"])
def test_everything_but_models_and_mlflow_is_there(name, request):
    result = request.getfixturevalue(name)
    loaded = rdt.TuneResult.load(result.directory)
    frames = [(without_mlflow(each.trials), each.history, each.pareto) for each in (result, loaded)]
    pd.testing.assert_frame_equal(frames[0][0], frames[1][0])
    pd.testing.assert_frame_equal(frames[0][1], frames[1][1])
    assert list(frames[0][2]["trial_id"]) == list(frames[1][2]["trial_id"])
    pd.testing.assert_frame_equal(result.importances(), loaded.importances())
    assert loaded.best_hyperparameters == result.best_hyperparameters
    assert (loaded.objective, loaded.direction) == (result.objective, result.direction)
    assert list(loaded.plots()) == list(result.plots())
    ours, theirs = loaded.summary().splitlines(), result.summary().splitlines()
    assert ours == theirs[: len(ours)]
    assert len(theirs) - len(ours) <= 1  # The address in MLflow's pages.


@pytest.mark.heavy
def test_the_confirmation_is_there(confirmed):
    loaded = rdt.TuneResult.load(str(confirmed.directory))
    pd.testing.assert_frame_equal(loaded.confirmation.table, confirmed.confirmation.table)
    assert loaded.confirmation.verdict == confirmed.confirmation.verdict
    assert loaded.ui_command == confirmed.ui_command
    assert loaded.ui_url is None
    assert loaded.trials["mlflow_run_id"].isna().all()


def test_the_best_model_is_there_without_what_built_it(confirmed):
    before = {path: path.stat().st_mtime_ns for path in confirmed.directory.rglob("*")}
    loaded, (x, _) = rdt.TuneResult.load(confirmed.directory), data()
    assert loaded.summary()
    model, best = loaded.best_model(), confirmed.best_model()
    np.testing.assert_allclose(model.predict(x, verbose=0), best.predict(x, verbose=0), atol=1e-6)
    assert {path: path.stat().st_mtime_ns for path in confirmed.directory.rglob("*")} == before


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (None, "holds no model of"),
        ("{", "holds no model of"),
        ('{"trial_id": "77"}', "holds that of trial 77, and no model of"),
    ],
)
def test_a_model_that_is_not_the_best_one_is_refused(confirmed, tmp_path, card, said):
    folder = shutil.copytree(confirmed.directory, tmp_path / "copy")
    path = folder / "result" / "best_model.json"
    path.unlink() if card is None else path.write_text(card)
    with pytest.raises(RecdropError, match=f"{said} trial .* Run `tune` again"):
        rdt.TuneResult.load(folder).best_model()


def test_the_command_writes_the_page_and_says_what_was_found(confirmed, tmp_path):
    page = tmp_path / "new" / "page.html"
    done = called(confirmed.directory, "--output", page)
    assert done.exit_code == 0, done.output
    summary = rdt.TuneResult.load(confirmed.directory).summary()
    assert done.output == f"{summary}\nReport: {page}\n"
    for words in ("Confirmation", "Search space", confirmed.confirmation.verdict.split("`")[0]):
        assert words in page.read_text()


def test_the_newest_search_and_the_usual_place(confirmed, planted_uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recdrop_runs").mkdir()
    shutil.copytree(confirmed.directory, "recdrop_runs/speech")
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    done = called("--open")
    assert done.output.endswith("Report: recdrop_runs/speech/report.html\n")
    page = tmp_path / "recdrop_runs" / "speech" / "report.html"
    assert opened == [page.as_uri()]
    assert page.stat().st_size > 1_000_000
    # A folder with a report in it is still the folder of its search.
    again = rdt.tune(
        data(),
        data(),
        **SEARCH,
        tracking=rdt.MLflow(uri=planted_uri),
        directory="recdrop_runs/speech",
        verbose=0,
    )
    assert len(again.trials) == 3


def test_a_search_that_is_under_way(tmp_path, planted_uri):
    seen = []

    class Looking(Failing):
        def fit(self, hp, model, *args, **kwargs):
            seen.append(called(tmp_path / "p", "--output", tmp_path / f"{len(seen)}.html"))
            return super().fit(hp, model, *args, **kwargs)

    rdt.tune(
        data(),
        data(),
        model=Looking(wrappers=()),
        max_trials=2,
        epochs=1,
        seed=0,
        tracking=rdt.MLflow("under way", uri=planted_uri),
        directory=tmp_path / "p",
        verbose=0,
    )
    assert [each.exit_code for each in seen] == [0, 0]
    first, second = (each.output for each in seen)
    note = "The search is still running.\n"
    assert first == f"{note}No trial is complete: 1 running.\nReport: {tmp_path}/0.html\n"
    assert second.startswith(note)
    assert "2 trials, 1 complete, 1 running. Best val_loss: " in second
    assert "RUNNING" in (tmp_path / "1.html").read_text()
    after = called(tmp_path / "p").output
    assert "2 trials, 2 complete." in after


def test_a_search_that_was_broken_off(tmp_path, planted_uri):
    class Breaking(Failing):
        def fit(self, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rdt.tune(
            data(),
            data(),
            model=Breaking(),
            max_trials=2,
            epochs=1,
            tracking=rdt.MLflow(uri=planted_uri),
            directory=tmp_path / "p",
            verbose=0,
        )
    done = called(tmp_path / "p")
    assert (done.exit_code, done.output.splitlines()[0]) == (
        0,
        "No trial is complete: 1 interrupted.",
    )


def test_a_search_without_a_trial(tmp_path):
    journaled(tmp_path / "p", started())
    done = called(tmp_path / "p")
    assert (done.exit_code, done.output.splitlines()[0]) == (0, "No trial has started.")
    assert rdt.TuneResult.load(tmp_path / "p").trials.empty


def cut(path):
    path.write_text(path.read_text()[:300])


def no_hyperparameter(path):
    """What would have Keras make another kind of object."""
    state = json.loads(path.read_text())
    state["hyperparameters"]["space"][0]["class_name"] = "LambdaDropoutWrapper"
    path.write_text(json.dumps(state))


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("oracle.json", cut, "`{0}` is damaged"),
        ("oracle.json", Path.unlink, "`{0}` is damaged"),
        ("oracle.json", lambda path: path.write_text("[]"), "`{0}` is damaged"),
        (
            "oracle.json",
            no_hyperparameter,
            "`LambdaDropoutWrapper` is not a kind of hyperparameter",
        ),
        ("trial_0/trial.json", Path.unlink, "`{0}` is damaged"),
        ("trial_1/trial.json", cut, "`{0}` is damaged"),
        ("trial_1/trial.json", no_hyperparameter, "is not a kind of hyperparameter"),
        ("trial_1/trial.json", lambda path: path.write_text("{}"), "`{0}` is damaged"),
        (JOURNAL, lambda path: path.write_text('[1]\n{"a": 2}\n'), "`{0}` is damaged"),
        (JOURNAL, lambda path: path.write_bytes(bytes(range(256)) * 9), "`{0}` is damaged"),
        (JOURNAL, lambda path: path.write_text(""), "holds no search"),
    ],
)
def test_damage_is_told_and_not_raised(confirmed, tmp_path, file, damage, words):
    folder = shutil.copytree(confirmed.directory, tmp_path / "copy")
    damage(folder / file)
    with pytest.raises(ProjectError) as caught:
        rdt.TuneResult.load(folder)
    assert words.format(folder / file) in str(caught.value)
    done = called(folder)
    assert done.exit_code == 1
    assert done.output == f"Error: {caught.value}\n"


def test_damage_that_shows_late(confirmed, tmp_path):
    folder = shutil.copytree(confirmed.directory, tmp_path / "copy")
    state = json.loads((folder / "trial_1" / "trial.json").read_text())
    (folder / "trial_1" / "trial.json").write_text(json.dumps({**state, "score": "much"}))
    done = called(folder)
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: The search in {folder} cannot be read (ValueError: ")


def test_a_page_that_cannot_be_written(confirmed, tmp_path):
    (tmp_path / "file").touch()
    for page in (tmp_path, tmp_path / "file" / "page.html"):
        done = called(confirmed.directory, "--output", page)
        assert done.exit_code == 1
        assert "`--output`. Expected a file that can be written." in done.output


def test_as_a_process_it_prints_nothing_else(confirmed, tmp_path):
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "recdrop_tune.cli", "report", str(confirmed.directory)]
    done = subprocess.run([*command, "--output", str(page)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"Report: {page}\n")


def test_only_a_wrong_output_is_blamed_on_the_option(tmp_path, monkeypatch):
    journaled(tmp_path, started())

    def refuse():
        raise invalid_argument("KERAS_BACKEND", expected="a backend", received="foo")

    monkeypatch.setattr("recdrop_tune.cli.report.check_importable", refuse)
    done = called(tmp_path)
    assert done.exit_code == 1
    assert "KERAS_BACKEND" in done.output
    assert "--output" not in done.output
