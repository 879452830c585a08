"""`recdrop-tune run`: searches that a YAML file describes, and what it says of files that are wrong."""

import os
import re
import signal
import sys
from pathlib import Path

import keras_tuner as kt
import pandas as pd
import pytest
import yaml

import recdrop_tune as rdt
from recdrop_tune.cli.config import RunFile, read_config
from recdrop_tune.errors import RecdropError, invalid_argument
from recdrop_tune.events import SearchEnded, SearchStarted
from recdrop_tune.files import is_asked_to_stop
from recdrop_tune.search import names_of
from tests.commands import called, output_of, refusal_of
from tests.small_search import tuned
from tests.tracked_events import ended, events_of, journaled, runs_of, started, trial

CODE = """
from pathlib import Path

import keras
import numpy as np

from recdrop_tune.files import ask_to_stop

NUMBER = 3


def load():
    x = np.random.default_rng(0).normal(size=(24, 5, 3)).astype("float32")
    y = (x.sum((1, 2)) > 0).astype("int64")
    return (x, y), (x, y)


def train():
    return load()[0]


def three():
    return (*load(), load()[1])


def broken():
    return open("/nowhere/x.npy")


def stopper():
    return keras.callbacks.TerminateOnNaN()


class Asking(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        ask_to_stop(Path(__file__).parents[1] / "here" / "many")


def asker():
    return Asking()


def build(hp):
    return ready()


def lists():
    lengths = np.random.default_rng(0).integers(2, 5, 24)
    x = [np.full((length, 3), length / 3 - 1, "float32") for length in lengths]
    return x, (lengths > 2).astype("int64")


def groups():
    return np.arange(24) % 4


def ready():
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(2), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
"""
pytestmark = pytest.mark.usefixtures("eagerly")

SPACE = "space: {units: 4, wrapper: [none, recurrent], placement: recurrent, rate: [0.1, 0.3]}\n"
SMALL = f"{SPACE}max_trials: 2\nepochs: 1\nseed: 0\nverbose: 0\n"


@pytest.fixture
def place(tmp_path, monkeypatch, planted_uri):
    """A folder with code, which is not the current one; its modules are forgotten afterwards."""
    (tmp_path / "here").mkdir()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "my_data.py").write_text(CODE)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", planted_uri)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path / "code"
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def written(place, text):
    (place / "search.yaml").write_text(text)
    return place / "search.yaml"


def run(place, text, *options):
    return output_of("run", written(place, text), *options)


def problem(place, text, *options):
    output = refusal_of("run", written(place, text), *options)
    assert "Traceback" not in output
    return output.replace(f"{place}/", "")


@pytest.mark.heavy
def test_a_search_is_that_of_tune_and_goes_on(place):
    """Options go before the file. Folders are relative to the current one."""
    text = f"data: my_data:load\n{SMALL}tracking: filed\ndirectory: mine\n"
    output = run(place, text, "--max-trials", 1, "--verbose", 1)
    assert re.match(r"Task: classification.*\nFolder: mine ", output)
    assert len(rdt.TuneResult.load("mine").trials) == 1
    output = run(place, text)
    assert "2 trials, 2 complete. Best val_loss: " in output
    assert f"Folder: {Path('mine').resolve()}" in output
    assert f" ui {Path('mine').resolve()}" in output
    result = rdt.TuneResult.load("mine")
    assert result.search.experiment == "filed"
    own = tuned("own", None, None, space=yaml.safe_load(SPACE)["space"])
    columns = ["wrapper", "rate", "val_loss", "loss"]
    assert result.trials[columns].equals(own.trials[columns])
    assert "another search" in problem(place, text, "--epochs", "2", "--seed", "3")


@pytest.mark.heavy
def test_data_of_ones_own(place):
    """Lists of unequal lengths, groups of samples, and a task with its metrics."""
    output = run(
        place,
        "data: {train: my_data:lists}\nmodel: {metrics: [AUC]}\nobjective: {name: val_AUC, direction: max}\n"
        "training: {cv: 2, groups: my_data:groups, class_weight: balanced, early_stopping: 2}\n"
        "space: {wrapper: none, units: 2}\nmax_trials: 1\nepochs: 1\nverbose: 0\ndirectory: lists\n",
    )
    assert "1 trials, 1 complete. Best val_AUC: " in output


@pytest.mark.heavy
def test_a_model_that_a_function_makes_is_searched_over_the_space_of_the_file(place):
    output = run(
        place,
        "data: my_data:load\nmodel: my_data:ready\nspace: {wrapper: recurrent, rate: 0.2}\n"
        "max_trials: 1\nepochs: 1\nverbose: 0\ndirectory: ready\n",
    )
    assert "Best configuration: wrapper=recurrent, placement=" in output
    said = problem(place, "data: my_data:load\nmodel: my_data:build\nspace: quick\n")
    assert "search.yaml, line 3: Invalid value received for argument `space`" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "search.yaml has no mapping"),
        ("data: [x\n", 'search.yaml", line 1, column 7'),
        ("max_trials: 3\n", "`data`. Expected a value"),
        ("data: {test: a:b}\n", "line 1: Invalid value received for argument `data`"),
        ("data: {train: a:b, test: a:b}\n", "without `confirm`"),
        ("data: a:b\nsampler: tpe\n", "line 2: There is no `sampler`. Did you mean `tuner.sampl"),
        ("data: a:b\ntracking:\n  uri: mlruns\n", "line 3: Invalid value received for argument"),
        ("data: a:b\nspace:\n  wrapper: [recurent]\n", "line 3: "),
    ],
)
def test_wrong_files(place, text, words):
    assert words in problem(place, text)


def test_every_problem_has_its_line(place):
    text = "epochs: many\ndata: a\nmax_trial: 1\ntraining: {executions: 0}\n"
    output = problem(place, f"{text}space: quik\n")
    lines = output.removeprefix("Error: ").splitlines()
    found = {re.search(r"`(\S+)`", line)[1]: line.partition(":")[0] for line in lines}
    assert found == {
        "epochs": "search.yaml, line 1",
        "data": "search.yaml, line 2",
        "max_trial": "search.yaml, line 3",
        "training.executions": "search.yaml, line 4",
        "space": "search.yaml, line 5",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: my_dta:load\n", "`my_dta:load` cannot be imported: ModuleNotFoundError"),
        ("data: my_data:NUMBER\n", "`my_data:NUMBER` is not a function but 3."),
        (
            "data: {train: my_data:broken}\nobjective: loss\n",
            "`my_data:broken` failed: FileNotFoundError: [Errno 2] No such file or directory: "
            "'/nowhere/x.npy' (my_data.py, line ",
        ),
        ("data: my_data:train\n", "It returned ['ndarray', 'ndarray']."),
        ("data: exits:load\n", "`exits:load` cannot be imported: SystemExit: 3 (exits.py, line 1)"),
        (
            "data: my_data:load\ntraining: {callbacks: my_data:no}\n",
            "`my_data:no` cannot be imported: AttributeError: module 'my_data' has no attribute 'no'",
        ),
        ("data: my_data:load\nobjective: f1\n", "line 2: The model reports no metric named `f1`"),
    ],
)
def test_wrong_code(place, text, words):
    (place / "exits.py").write_text("raise SystemExit(3)\nload = None\n")
    assert words in problem(place, text)
    assert not Path("recdrop_runs").exists()


def test_the_line_of_an_exception_is_the_users(place, monkeypatch):
    """Not one of Python's own, or of a library's in a virtual environment next to the file."""
    monkeypatch.chdir(place)
    package = place / ".venv" / "site-packages" / "some_library"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def load():\n    raise OSError('gone')\n")
    monkeypatch.syspath_prepend(package.parent)
    (place / "uses.py").write_text("import some_library\n\ndef load():\n    some_library.load()\n")
    assert "OSError: gone (uses.py, line 4)" in problem(place, "data: uses:load\n")


def test_a_file_has_the_settings_of_python(place):
    file = written(
        place,
        "data: my_data:three\nmodel: {name: tagging, mask_value: 0}\n"
        "objective: {name: f1, direction: max}\ntimeout: 1e3\n"
        "tuner: {sampler: tpe, try_first: [{rate: 0.1}]}\n"
        "training: {executions: 2, callbacks: [my_data:stopper], fit: {class_weight: {0: 1.0}}}\n"
        "confirm: {seeds: 2, max_seeds: 2}\nworkers: {number: 2, gpus: 0.5}\n"
        "tracking: {experiment: speech, tags: {team: 7}}\n",
    )
    # An option for workers keeps their other settings.
    assert read_config(file, {"epochs": 3, "workers": 4}).config() == RunFile(
        data="my_data:three",
        model=rdt.Task("tagging", mask_value=0),
        objective=kt.Objective("f1", "max"),
        timeout=1000,
        tuner=rdt.Optuna("tpe", try_first={"rate": 0.1}),
        training=rdt.Training(2, callbacks="my_data:stopper", fit={"class_weight": {0: 1.0}}),
        confirm=rdt.Confirm(seeds=2, max_seeds=2),
        workers=rdt.Workers(4, gpus=0.5),
        tracking=rdt.MLflow("speech", tags={"team": "7"}),
        epochs=3,
    )
    file = written(place, "data: my_data:three\ntracking: false\n")
    assert read_config(file, {}).config().tracking is None


def test_what_is_not_wrong_with_the_file_is_not_blamed_on_it(place):
    file = written(place, "data: a:b\nepochs: 3\n")
    # The user's code can have an argument with the same name.
    error = invalid_argument("epochs", expected="at least 1", received=0)
    assert read_config(file, {}).explained(error) == str(error)
    output = problem(place, "data: my_data:load\nmax_trials: 3\n", "--max-trials", "0")
    assert output.startswith("Error: Invalid value received for argument `max_trials`.")
    assert called("run", place / "search.yaml", "--max-trials", "few").exit_code == 2


def test_no_file(place):
    assert refusal_of("run", "missing.yaml").startswith("Error: missing.yaml cannot be read")


PAGE = (Path(rdt.__file__).parents[1] / "docs" / "cli.md").read_text()


@pytest.mark.heavy
def test_the_example_of_the_documentation(place):
    """Its files are read out of the page, and run."""
    (config,), (code,) = (
        re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.M)
        for language in ("yaml", "python")
    )
    sys.modules.pop("my_data", None)
    (place / "my_data.py").write_text(code)
    options = ["--max-trials", 1, "--epochs", 1, "--directory", "shown"]
    assert "1 trials, 1 complete." in run(place, config, *options)
    assert rdt.TuneResult.load("shown").search.experiment == "digits"


def test_every_key_is_in_the_table_of_the_documentation():
    table = PAGE.partition("### Keys")[2]
    for name in names_of(RunFile):
        assert re.search(rf"^\| .*`{name}`.* \|", table, re.M), name


COMMAND = """
import os
from recdrop_tune.cli import main
os.chdir({folder!r})
os.environ["MLFLOW_TRACKING_URI"] = {uri!r}
main(["run", {file!r}])
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_signal_ends_it_with_what_it_has(place, forks, number, code):
    """By SIGTERM, as batch systems send it, as by Ctrl-C; shells see 143."""
    text = f"data: my_data:load\n{SPACE}max_trials: 3\nepochs: 100000\nverbose: 2\ndirectory: cut\nseed: 1\n"
    file = str(written(place, f"{text}overwrite: true\n"))
    log, uri = place / "log", os.environ["MLFLOW_TRACKING_URI"]
    call = COMMAND.format(folder=str(Path.cwd()), uri=uri, file=file)
    process = forks.start({"code": call, "log": str(log)})
    forks.wait_for_output(process, log, "epoch 3")
    os.kill(process, number)
    assert forks.wait(process) == code, log.read_text()
    output = log.read_text()
    assert "Traceback" not in output
    assert output.splitlines()[-2:] == [
        "Interrupted. Finished trials are kept in cut.",
        'To resume: run again with directory="cut" and overwrite=False',
    ]
    result = rdt.TuneResult.load("cut")
    assert list(result.trials["state"]) == ["INTERRUPTED"]
    runs = runs_of(uri, "recdrop-tune", search_id=result.records.search.search_id)
    assert [run.info.status for run in runs] == ["KILLED"] * 2


@pytest.mark.heavy
def test_a_search_is_confirmed_from_its_folder(place, monkeypatch):
    """With its space in a file."""
    (place / "spaces").mkdir()
    space = SPACE.partition(": ")[2]
    (place / "spaces" / "small.yaml").write_text(space)
    text = (
        "data: my_data:three\nspace: spaces/small.yaml\n"
        "epochs: 1\nseed: 0\nverbose: 0\ndirectory: sure\n"
        "confirm: {top: 1, seeds: 1, max_seeds: 1}\ntraining: {callbacks: [my_data:stopper]}\n"
    )
    run(place, text, "--max-trials", 2)
    before = rdt.TuneResult.load("sure")
    with pytest.raises(RecdropError, match="no data to train with"):
        before.confirm()
    first = before.confirmation
    assert "test_loss" in first.table
    # The options of that command are in the folder, and the file is found from everywhere.
    monkeypatch.chdir(place.parent)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(place)])
    output = output_of("confirm", "here/sure", "--seeds", 2, "--max-seeds", 2)
    result = rdt.TuneResult.load("here/sure")
    assert len(result.trials) == 2
    same = ["trial_id", "twin", "seed", "val_loss", "test_loss"]
    again = result.confirmation.runs[same].head(len(first.runs))
    pd.testing.assert_frame_equal(again, first.runs[same])  # These are not trained again.
    assert result.confirmation.table["n"].max() == 2
    assert "test_loss" in result.confirmation.table
    assert (result.search.experiment, result.search.tracking_uri) == (
        before.search.experiment,
        before.search.tracking_uri,
    )
    assert f"Chosen by confirmation: trial {result.confirmation.best['number']}" in output
    (place / "search.yaml").unlink()
    assert str(place / "search.yaml") in refusal_of("confirm", "here/sure")


def test_a_search_in_python_is_confirmed_there(tmp_path):
    journaled(tmp_path, started(), *trial(0), ended())
    assert "`result.confirm(3)` confirms it" in refusal_of("confirm", tmp_path)


@pytest.mark.heavy
def test_a_worker_finds_the_code_and_a_request_to_stop_is_obeyed(place):
    """The oracle's process starts no more trials. The running one is finished."""
    text = "data: {train: my_data:train, validation: my_data:train}\nworkers: 1\ndirectory: many\n"
    output = run(place, f"{SMALL}{text}training: {{callbacks: [my_data:asker]}}\n", "--verbose=1")
    assert "Starting Ray, with workers: 1." in output
    assert "Stopped by request after 1 of at most 2 trials." in output
    result = rdt.TuneResult.load("many")
    assert list(result.trials["state"]) == ["COMPLETE"]
    assert [each.status for each in events_of("many", SearchEnded)] == ["FINISHED"]
    assert [each.pid for each in events_of("many", SearchStarted)] == [os.getpid()]
    assert not is_asked_to_stop("many")
    assert not Path("many", "several-workers").exists()


def test_the_folder_of_the_file_does_not_hide_modules_while_keras_loads(place, monkeypatch):
    seen = []
    monkeypatch.setattr("recdrop_tune.cli.run.load_quietly", lambda name: seen.extend(sys.path))
    assert "no_such" in problem(place, "data: no_such:load\n")
    assert str(place) not in seen != []
