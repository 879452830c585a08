"""`recdrop-tune run`: searches that a YAML file describes, and what it says of files that are wrong."""

import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.cli import main
from recdrop_tune.cli.config import RunConfig, read_config
from recdrop_tune.cli.run import arguments
from tests.forks import hearing_ctrl_c

CODE = """
import keras
import numpy as np

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


def nothing():
    pass


def environment():
    import os

    return os.environ["NOT_SET"]


def no_schedule():
    import recdrop_tune

    return recdrop_tune.RateSchedule("linear", epochs=0)


def number():
    return 3


def stopper():
    return keras.callbacks.TerminateOnNaN()


def build(hp):
    wrapper = hp.Choice("wrapper", ["none", "recurrent"])
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


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


def fails(hp):
    raise ValueError("not today")
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


def called(place, text, *options):
    (place / "search.yaml").write_text(text)
    # An exception that is no message of the command's is the test's failure.
    return CliRunner().invoke(main, ["run", str(place / "search.yaml"), *options])


def problem(place, text, *options):
    done = called(place, text, *options)
    assert done.exit_code == 1
    assert "Traceback" not in done.output
    assert done.exception.__class__ is SystemExit
    return done.output.replace(f"{place}/", "")


def test_a_search_is_that_of_tune(place):
    done = called(place, f"data: my_data:load\n{SMALL}tracking: filed\ndirectory: mine\n")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("2 trials, 2 complete. Best val_loss: ")
    # Relative to the current folder, not to that of the file.
    result = rdt.TuneResult.load("mine")
    assert f"Folder: {Path('mine').resolve()}" in done.output
    assert f" ui {Path('mine').resolve()}" in done.output
    assert result.experiment == "filed"
    assert list(result.trials.sort_values("number")["wrapper"]) == ["none", "recurrent"]
    sys.path.insert(0, str(place))
    from my_data import load

    space = yaml.safe_load(SPACE)["space"]
    own = rdt.tune(*load(), space=space, max_trials=2, epochs=1, seed=0, directory="own", verbose=0)
    columns = ["wrapper", "rate", "val_loss", "loss"]
    assert result.trials[columns].equals(own.trials[columns])


def test_options_go_before_the_file_and_a_search_goes_on(place):
    text = f"data: my_data:load\n{SMALL}"
    done = called(place, text, "--max-trials", "1", "--directory", "on", "--verbose", "1")
    assert done.exit_code == 0, done.output
    assert re.match(r"Task: classification, .*\nFolder: on ", done.output)
    assert len(rdt.TuneResult.load("on").trials) == 1
    assert called(place, text, "--directory", "on").exit_code == 0
    assert len(rdt.TuneResult.load("on").trials) == 2
    refused = problem(place, text, "--directory", "on", "--epochs", "2")
    assert "give another `directory` and `tuner: {try_first: [{wrapper: " in refused
    written = refused.partition("and `tuner: ")[2].partition("`")[0]
    done = called(place, f"{text}tuner: {written}\n", "--directory", "off", "--epochs", "2")
    assert done.exit_code == 0, done.output
    output = problem(place, text, "--directory", "on", "--epochs", "2", "--seed", "3")
    assert "The folder `on` holds another search. It differs in:" in output
    assert "epochs: 1 there, 2 now" in output
    assert "seed: 0 there, 3 now" in output


def test_functions_for_each_set_of_data_and_a_space_in_a_file(place):
    (place / "spaces").mkdir()
    (place / "spaces" / "small.yaml").write_text(
        "units: 4\nwrapper: [none, recurrent]\nplacement: recurrent\nrate: 0.3\n"
    )
    text = (
        "data:\n  train: my_data:train\n  validation: my_data:train\n  test: my_data:train\n"
        "space: spaces/small.yaml\nmax_trials: 2\nepochs: 1\nseed: 0\nverbose: 0\ndirectory: each\n"
        "confirm: {top: 1, seeds: 1}\ntraining: {callbacks: [my_data:stopper]}\n"
        "objective: [val_loss, {name: val_accuracy, direction: max}]\n"
    )
    done = called(place, text)
    assert done.exit_code == 0, done.output
    result = rdt.TuneResult.load("each")
    assert "test_loss" in result.confirmation.table
    assert [g.name for g in result.tuner.oracle.objective.objectives] == [
        "val_loss",
        "val_accuracy",
    ]


def test_a_hypermodel_and_three_sets_of_data(place):
    text = (
        "data: my_data:three\nmodel: my_data:build\nmax_trials: 2\nepochs: 1\nverbose: 0\nseed: 0\n"
    )
    assert called(place, f"{text}directory: built\n").exit_code == 0
    assert list(rdt.TuneResult.load("built").trials["wrapper"].dropna()) != []
    done = called(place, f"{text}directory: built\nconfirm: {{top: 1, seeds: 1}}\n")
    assert done.exit_code == 0, done.output
    assert "test_loss" in rdt.TuneResult.load("built").confirmation.table


def test_data_of_ones_own(place):
    """Lists of unequal lengths, groups of samples, and a task with its metrics."""
    done = called(
        place,
        "data: {train: my_data:lists}\nmodel: {metrics: [AUC]}\nobjective: {name: val_AUC, direction: max}\n"
        "training: {cv: 2, groups: my_data:groups, class_weight: balanced, early_stopping: 2}\n"
        "space: {wrapper: none, units: 2}\nmax_trials: 1\nepochs: 1\nverbose: 0\ndirectory: lists\n",
    )
    assert done.output.startswith("1 trials, 1 complete. Best val_AUC: "), done.output
    for text, words in (
        (
            "model: tag\n",
            "`model` in search.yaml, line 2. Expected `module:function`, or a task: class",
        ),
        ("model: {name: tag}\n", "Expected one of classification"),
        ("model: {mask: 0}\n", "Invalid key `model.mask` in search.yaml, line 2"),
        ("mask_value: 0\n", "Did you mean `model.mask_value`?"),
    ):
        assert words in problem(place, f"data: my_data:load\n{text}")


def test_a_model_that_a_function_makes_is_searched_over_the_space_of_the_file(place):
    done = called(
        place,
        "data: my_data:load\nmodel: my_data:ready\nspace: {wrapper: recurrent, rate: 0.2}\n"
        "max_trials: 1\nepochs: 1\nverbose: 0\ndirectory: ready\n",
    )
    assert "Best configuration: wrapper=recurrent, placement=" in done.output
    said = problem(place, "data: my_data:load\nmodel: my_data:build\nspace: quick\n")
    assert "search.yaml, line 3: Invalid value received for argument `space`" in said


@pytest.mark.parametrize(
    "split", ["training: {fit: {validation_split: 0.25}}", "training: {cv: 2}", "objective: loss"]
)
def test_training_data_alone(place, split):
    text = f"data: {{train: my_data:train}}\n{SMALL}{split}\ndirectory: alone\n"
    done = called(place, text, "--max-trials", "1")
    assert done.exit_code == 0, done.output


WRONG_FILES = [
    ("", "search.yaml holds no configuration: expected a mapping"),
    ("- a\n", "search.yaml holds no configuration: expected a mapping"),
    ("data: [x\n", 'search.yaml", line 1, column 7'),
    ("data: a:b\ndata: c:d\n", "the key `data` is given twice"),
    ("data: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ("max_trials: 3\n", "Missing key `data` in search.yaml. It names the function"),
    ("data: a\n", "`data` in search.yaml, line 1. Expected `module:function`"),
    ("data: 'a b:c'\n", "Expected `module:function`"),
    ("data: [1]\n", "Expected `module:function`, or a mapping of `train`"),
    (
        "data: {trian: a:b}\n",
        "Expected one of train, validation, test. Received: 'trian'. Did you mean `data.train`?",
    ),
    (
        "data: a:b\nmax_trial: 3\n",
        "`max_trial` in search.yaml, line 2. Expected one of data, model, space, objective, ",
    ),
    (
        "data: a:b\nzzz: 3\n",
        "Invalid key `zzz` in search.yaml, line 2. Expected one of data, model, space,",
    ),
    ("data: a:b\n1: 3\n", "Invalid key `1` in search.yaml"),
    ("data: a:b\n\nepochs: many\n", "`epochs` in search.yaml, line 3. Expected an integer."),
    pytest.param("data: 1" + ":00" * 200 + ".5\n", "cannot be read: int too large", id="base 60"),
    pytest.param(f"data: a:b\nepochs: [0x{'f' * 5000}]\n", "Expected an integer.", id="long"),
    pytest.param("#" * 300_000, "cannot be read: it is larger than 200,000 bytes", id="large"),
    ("data: a:b\nepochs: '3'\n", "Expected an integer. Received: epochs='3'"),
    ("data: a:b\nseed: true\n", "Expected an integer. Received: seed=True"),
    ("data: a:b\noverwrite: 1\n", "Expected true or false."),
    (
        "data: a:b\ntracking: {system_metrics: 1}\n",
        "`tracking.system_metrics` in search.yaml, line 2. Expected True or",
    ),
    (
        "data: a:b\ntracking: 3\n",
        "`tracking` in search.yaml, line 2. Expected an experiment's name, or a mapping",
    ),
    (
        "data: a:b\ntracking:\n  uri: mlruns\n",
        "`tracking.uri` in search.yaml, line 3. Expected a",
    ),
    (
        "data: a:b\ntuner:\n  samplr: tpe\n",
        "`tuner.samplr` in search.yaml, line 3. Expected one of sampler, ",
    ),
    (
        "data: a:b\ntuner:\n  sampler: tpee\n",
        "`tuner.sampler` in search.yaml, line 3. Expected one of cmaes, gp,",
    ),
    (
        "data: a:b\ntuner:\n  try_first: [recurrent]\n",
        "`tuner.try_first` in search.yaml, line 3. Expected a list of values by name,",
    ),
    (
        "data: a:b\ntuner: [optuna]\n",
        "`tuner` in search.yaml, line 2. Expected a tuner's name, or a mapping such",
    ),
    (
        "data: a:b\nworkers: {gpus: 1.5}\n",
        "`workers.gpus` in search.yaml, line 2. Expected a whole",
    ),
    ("data: a:b\nworkers: many\n", "`workers` in search.yaml, line 2. Expected an integer"),
    (
        "data: a:b\nconfirm: {test: a:b}\n",
        "`confirm.test` in search.yaml, line 2. Expected nothing: `data` names",
    ),
    (
        "data: a:b\nconfirm: {seeds: 0}\n",
        "`confirm.seeds` in search.yaml, line 2. Expected an integer of at least 1.",
    ),
    ("data: a:b\ntraining: 3\n", "`training` in search.yaml, line 2. Expected a mapping, such as"),
    (
        "data: a:b\ntraining: {executions: 0}\n",
        "`training.executions` in search.yaml, line 2. Expected an integer of",
    ),
    ("data: a:b\ntraining: {fit: {validation_split: 2}}\n", "0 <= validation_split < 1."),
    (
        "data: a:b\nsampler: tpe\n",
        "`sampler` in search.yaml, line 2. Did you mean `tuner.sampler`?",
    ),
    ("data: a:b\ntest: a:b\n", "Invalid key `test` in search.yaml, line 2. Expected one of data,"),
    ("data: a:b\ntimeout: long\n", "Expected a number."),
    ("data: a:b\nspace: 4\n", "Expected a preset, a YAML file, or a mapping."),
    ("data: a:b\nobjective: 3\n", "Expected a metric, a list of metrics, or a mapping"),
    (
        "data: a:b\nobjective: [3]\n",
        "`objective[0]` in search.yaml, line 2. Expected a metric, or a mapping",
    ),
    (
        "data: a:b\nobjective: {name: f1}\n",
        "Missing key `objective.direction` in search.yaml, line 2. Expected a mapping",
    ),
    (
        "data: a:b\nobjective: {name: f1, direction: up}\n",
        "`objective.direction` in search.yaml, line 2. Expected min or max. Received",
    ),
    (
        "data: a:b\ntraining: {callbacks: a:b}\n",
        "`training.callbacks` in search.yaml, line 2. Expected a list of `module:",
    ),
    (
        "data: a:b\ntraining:\n  callbacks: [a]\n",
        "`training.callbacks[0]` in search.yaml, line 3. Expected `module:function`",
    ),
    (
        "data: a:b\nspace: qick\n",
        "search.yaml, line 2: Invalid value received for argument `space`",
    ),
    ("data: a:b\nspace: no.yaml\n", "line 2: no.yaml cannot be read"),
    (
        "data: a:b\nspace: ~nobody-here/x.yaml\n",
        "line 2: ~nobody-here/x.yaml cannot be read",
    ),
    (
        "data: a:b\nspace:\n  wrapper: [recurent]\n",
        "search.yaml, line 3: Invalid value received for argument `wrapper[0]`",
    ),
]


@pytest.mark.parametrize(("text", "words"), WRONG_FILES)
def test_wrong_files(place, text, words):
    assert words in problem(place, text)


def test_a_wrong_file_is_told_without_loading_tensorflow(place):
    (place / "search.yaml").write_text(
        "data: a:b\nmax_trial: 3\ntuner: {sampler: tpe}\ncallback: 1\n"
    )
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom recdrop_tune.cli import main\n"
        f"done = CliRunner().invoke(main, ['run', {str(place / 'search.yaml')!r}])\nprint(done.output)\n"
        "print([m for m in ('tensorflow', 'keras', 'keras_tuner', 'optuna', 'mlflow', 'pandas')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Did you mean `max_trials`?" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_folder_with_dots_in_its_name(tmp_path):
    (tmp_path / "my. folder").mkdir()
    output = problem(tmp_path / "my. folder", "sampler: tpe\n")
    assert output.splitlines() == [
        "Error: Missing key `data` in search.yaml. It names the function that makes the data, such as "
        "`data: my_data:load`.",
        "Invalid key `sampler` in search.yaml, line 1. Did you mean `tuner.sampler`?",
    ]


def test_a_space_in_the_home_of_the_user(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place / "home"))
    (place / "home").mkdir()
    (place / "home" / "mine.yaml").write_text("wrapper: [recurent]\n")
    output = problem(place, "data: a:b\nspace: ~/mine.yaml\n")
    assert "~/mine.yaml, line 1: Invalid value received for argument `wrapper[0]`" in output


def test_all_problems_are_told_at_once_in_their_order(place):
    output = problem(place, "epochs: many\ndata: a\nmax_trial: 1\n")
    lines = output.removeprefix("Error: ").splitlines()
    assert [re.search(r"(`\w+` in .+?)\. ", line)[1] for line in lines] == [
        "`epochs` in search.yaml, line 1",
        "`data` in search.yaml, line 2",
        "`max_trial` in search.yaml, line 3",
    ]


WRONG_CODE = [
    ("data: my_dta:load\n", "there is no module `my_dta`, neither in "),
    ("data: my_dta:load\n", "Did you mean `my_data:load`?"),
    ("data: my_data:laod\n", "there is no `laod` in my_data.py. Did you mean `my_data:load`?"),
    ("data: my_data:NUMBER\n", "line 1: `my_data:NUMBER` is no function but 3."),
    (
        "data: my_data:broken\n",
        "search.yaml, line 1: `my_data:broken` failed: FileNotFoundError: [Errno 2] No such file or "
        "directory: '/nowhere/x.npy' (my_data.py, line 23)",
    ),
    ("data:\n  train: my_data:broken\n  validation: my_data:train\n", "line 2: `my_data:broken`"),
    ("data:\n  train: my_data:train\n  validation: my_data:broken\n", "line 3: `my_data:broken`"),
    ("data: my_data:train\n", "It returned (ndarray, ndarray). A function for the training data"),
    ("data: my_data:nothing\n", "line 1: `my_data:nothing` returned nothing."),
    (
        "data:\n  train: my_data:nothing\nobjective: loss\n",
        "line 2: `my_data:nothing` returned nothing.",
    ),
    (
        "data:\n  train: my_data:number\nobjective: loss\n",
        "line 2: Invalid value received for argument `train`.",
    ),
    ("data: syntax:load\n", "`syntax` cannot be imported: SyntaxError: invalid syntax"),
    (
        "data: needs:load\n",
        "`needs` cannot be imported: ModuleNotFoundError: No module named 'no_su",
    ),
    ("data: exits:load\n", "`exits` cannot be imported: SystemExit: 3 (exits.py, line 1)"),
    ("data: random:load\n", "`random` is "),
    ("data: my_data:load\nmodel: my_data:fails\n", "ValueError: not today"),
    ("data: my_data:load\nmodel: my_data:NUMBER\n", "line 2: Invalid value received for"),
    ("data: my_data:load\nmax_trials: 0\n", "line 2: Invalid value received for argument `max_tr"),
    (
        "data: my_data:load\ntuner: {storage: 'sqlite:///m.db'}\ntracking: {uri: 'sqlite:///m.db'}\n",
        "line 2: Invalid value received for argument `storage`. Expected another database",
    ),
    ("data: my_data:load\ntuner: optunna\n", "line 2: Invalid value received for argument `tuner`"),
    (
        "data: my_data:load\ntuner:\n  try_first: [{wrapper: none}, {wraper: none}]\n",
        "line 3: Invalid value received for argument `try_first`. Expected values of the hyperparameters",
    ),
    (
        "data: my_data:load\ntuner:\n  warm_start: [nowhere]\n",
        "line 3: Invalid value received for argument `warm_start`. Expected the project folder of an ear",
    ),
    ("data: my_data:load\nconfirm: -1\n", "line 2: Invalid value received for argument `confirm`"),
    (
        "data:\n  train: my_data:train\n  test: my_data:train\nobjective: loss\n",
        "line 3: no `test` was expected without `confirm`, which alone looks at it.",
    ),
    (
        "data: my_data:load\ntraining: {fit: {epocs: 3}}\n",
        "Invalid argument `epocs` received in `fit`.",
    ),
    (
        "data: my_data:load\nobjective: f1\n",
        "Write `objective: {name: f1, direction: min}`, or max.",
    ),
    ("data: my_data:load\nverbose: 7\n", "line 2: Invalid value received for argument `verbose`"),
]


@pytest.mark.parametrize(("text", "words"), WRONG_CODE)
def test_wrong_code(place, text, words):
    (place / "syntax.py").write_text("def load(:\n")
    (place / "needs.py").write_text("import no_such_package\n")
    (place / "exits.py").write_text("raise SystemExit(3)\n")
    (place / "random.py").write_text("def load():\n    return 1\n")
    assert words in problem(place, text)
    assert not Path("recdrop_runs").exists() or "fails" in text


def test_the_line_of_an_exception_is_the_users(place, monkeypatch):
    """Not one of Python's own, or of a library's in a virtual environment beside the configuration."""
    monkeypatch.chdir(place)
    package = place / ".venv" / "site-packages" / "some_library"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def load():\n    raise OSError('gone')\n")
    monkeypatch.syspath_prepend(package.parent)
    (place / "uses.py").write_text("import some_library\n\ndef load():\n    some_library.load()\n")
    assert "OSError: gone (uses.py, line 4)" in problem(place, "data: uses:load\n")
    assert "KeyError: 'NOT_SET' (my_data.py, line " in problem(place, "data: my_data:environment\n")


def test_an_error_of_the_users_code_is_not_blamed_on_the_file(place):
    keys = f"data: my_data:load\n{SPACE}epochs: 3\nmax_trials: 1\ndirectory: fails\n"
    output = called(place, f"{keys}training: {{callbacks: [my_data:no_schedule]}}\n").output
    assert "Received: epochs=0" in output
    assert "line 1" not in output.partition("Invalid value")[0]


@pytest.mark.parametrize(
    ("text", "workers"),
    [
        ("workers: {number: 2, cpus: 0.5}", rdt.Workers(4, cpus=0.5)),
        ("workers: 2", 4),
        ("seed: 0", 4),
    ],
)
def test_an_option_for_workers_leaves_them_what_the_file_gives(place, text, workers):
    (place / "search.yaml").write_text(f"data: my_data:load\n{text}\n")
    assert read_config(place / "search.yaml", {"workers": 4}).config.workers == workers


def test_settings_of_a_file_are_those_of_tune(place):
    text = (
        "data: my_data:three\ntuner: {sampler: tpe, storage: 'sqlite:///o.db'}\n"
        "training: {executions: 2, callbacks: [my_data:stopper], fit: {class_weight: {0: 1.0}}}\n"
        "confirm: {seeds: 2}\ntracking: {uri: 'sqlite:///m.db'}\n"
    )
    (place / "search.yaml").write_text(text)
    made = arguments(read_config(place / "search.yaml", {}))
    assert made["tuner"] == rdt.Optuna("tpe", storage="sqlite:///o.db")
    assert made["tracking"] == rdt.MLflow(uri="sqlite:///m.db")
    assert (made["confirm"].top, made["confirm"].seeds) == (3, 2)
    assert len(made["confirm"].test) == 2
    training = made["training"]
    assert (training.executions, training.fit) == (2, {"class_weight": {0: 1.0}})
    assert [each.__name__ for each in training.callbacks] == ["stopper"]
    assert type(training) is rdt.Training


def test_an_option_that_is_wrong_is_not_blamed_on_the_file(place):
    output = problem(place, "data: my_data:load\nmax_trials: 3\n", "--max-trials", "0")
    assert output.startswith("Error: Invalid value received for argument `max_trials`.")
    assert called(place, "data: my_data:load\n", "--max-trials", "few").exit_code == 2


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_no_file(place, name):
    done = CliRunner().invoke(main, ["run", name])
    assert (done.exit_code, done.output.startswith(f"Error: {name} cannot be read: ")) == (1, True)
    assert CliRunner().invoke(main, ["run"]).exit_code == 2


def test_every_argument_that_a_file_can_say_is_a_key_with_the_default_of_tune():
    parameters = inspect.signature(rdt.tune).parameters
    elsewhere = {"train", "validation"}
    # Keras has its backend before `tune` is called.
    assert set(RunConfig.model_fields) - {"data", "backend"} == set(parameters) - elsewhere
    for name, field in RunConfig.model_fields.items():
        if name in parameters:
            assert field.default == parameters[name].default, name


def test_the_example_of_the_documentation(place):
    """Its files are read out of the page, and run; every key is in its table."""
    text = (Path(rdt.__file__).parents[1] / "docs" / "cli.md").read_text()
    (config,), (code,) = (
        re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.M)
        for language in ("yaml", "python")
    )
    sys.modules.pop("my_data", None)
    (place / "my_data.py").write_text(code)
    options = ["--max-trials", "1", "--epochs", "1", "--directory", "shown"]
    done = called(place, config, *options)
    assert done.exit_code == 0, done.output
    assert "1 trials, 1 complete." in done.output
    assert rdt.TuneResult.load("shown").experiment == "digits"
    table = text.partition("### Keys")[2]
    for name in RunConfig.model_fields:
        assert re.search(rf"^\| .*`{name}`.* \|", table, re.M), name


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, -signal.SIGTERM),
        (signal.SIGHUP, -signal.SIGHUP),
    ],
)
def test_a_signal_ends_it_with_what_it_has(place, number, code):
    """By SIGTERM, as batch systems send it, or a closed terminal, as by Ctrl-C; shells see 143 and 129."""
    text = f"data: my_data:load\n{SPACE}max_trials: 3\nepochs: 100000\nverbose: 2\ndirectory: cut\n"
    (place / "search.yaml").write_text(f"{text}overwrite: true\n")
    with hearing_ctrl_c():
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "recdrop_tune.cli",
                "run",
                str(place / "search.yaml"),
                "--seed=1",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with process:
        while "epoch 3" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-2:] == [
        "Interrupted. Finished trials are kept in cut.",
        'To resume: run again with directory="cut" and overwrite=False',
    ]
    result = rdt.TuneResult.load("cut")
    assert list(result.trials["state"]) == ["INTERRUPTED"]
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    runs = client.search_runs(
        [client.get_experiment_by_name("recdrop-tune").experiment_id],
        f"tags.`recdrop.search_id` = '{result.search.records.search.search_id}'",
    )
    assert {run.info.status for run in runs} == {"KILLED"}
    assert len(runs) == 2


@pytest.mark.heavy
def test_workers_find_the_code(place):
    text = "data: {train: my_data:train, validation: my_data:train}\nworkers: 2\ndirectory: many\n"
    (place / "search.yaml").write_text(f"{SMALL}{text}")
    command = [sys.executable, "-m", "recdrop_tune.cli", "run", str(place / "search.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 trials, 2 complete.")
