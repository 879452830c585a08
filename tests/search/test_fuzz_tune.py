"""Whatever `tune` is given, it accepts, or refuses with an error of its own and leaves nothing behind."""

import contextlib
import dataclasses
import decimal
import fractions
import inspect
import json
import math
import os
import shutil
import signal
import warnings
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError
from recdrop_tune.events import WorkerLost
from recdrop_tune.journal import Journal
from tests.fuzzing import OddEquality, OddTruth, hold, profiles, refused
from tests.small_search import build, data

# A folder has a test of its own, and workers would start Ray.
ARGUMENTS = [
    name for name in inspect.signature(rdt.tune).parameters if name not in ("directory", "workers")
]
SETTINGS = [
    (kind, each.name)
    for kind in (rdt.Optuna, rdt.Training, rdt.Confirm, rdt.Workers, rdt.MLflow)
    for each in dataclasses.fields(kind)
]

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, 2**31, 2**32 - 1, -1, 0, 1, 2]),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(
        ["x" * 5000, "a/b", "a\nb", "\0", "\ud800", "../x", "no", "inf", "1", "val_loss"]
    ),
    st.sampled_from(
        ["http://[", "http://a:b:c", "sqlite:///", "sqlite:///x.db", "file:///x", "://"]
    ),
    st.binary(max_size=5),
    st.builds(OddEquality),
    st.builds(OddTruth),
    st.builds(np.array, st.sampled_from([1, [], [1, 2], ["x"], [[None]]])),
    st.sampled_from([np.float64("nan"), np.int64(1), decimal.Decimal(1), fractions.Fraction(1, 2)]),
    st.sampled_from([1j, range(3), print, object, Path("x"), Exception("x"), ..., NotImplemented]),
    st.builds(lambda: pd.DataFrame({"a": [1]})),
    st.builds(lambda: iter([1])),
    st.sampled_from([keras.layers.Dense(1), keras.callbacks.Callback(), keras.Sequential()]),
    st.lists(st.none() | st.integers() | st.sampled_from(["val_loss", "loss"]), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Checks arguments with which a search is refused in the end, if not before: its folder is a file."""
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.chdir(tmp_path)
    # What a function among the junk prints, or a Keras object warns of, is its own affair.
    common = {"directory": "file", "model": build, "verbose": 0, "max_trials": 1, "epochs": 1}

    def check(arguments):
        given = {"train": data(8), "validation": data(8), **common, **arguments}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            error = refused(lambda: rdt.tune(given.pop("train"), given.pop("validation"), **given))
        assert isinstance(error, InvalidArgumentError | ProjectError)
        assert os.listdir(tmp_path) == ["file"]

    return check


@profiles
def test_one_argument(profile, nowhere):
    one = st.tuples(st.sampled_from(ARGUMENTS), junk)
    hold(profile, 400, one, lambda pair: nowhere(dict([pair])))


@profiles
def test_several_arguments(profile, nowhere):
    several = st.dictionaries(st.sampled_from(ARGUMENTS), junk, min_size=2, max_size=4)
    hold(profile, 50, several, nowhere)


@profiles
def test_one_setting(profile):
    def check(given):
        (kind, name), value = given
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refused(lambda: kind(**{name: value}))

    hold(profile, 400, st.tuples(st.sampled_from(SETTINGS), junk), check)


dtypes = [
    "float32",
    "float64",
    "float16",
    "int64",
    "uint8",
    "bool",
    "U3",
    "S3",
    "O",
    "complex64",
    "M8[s]",
]
sizes = st.lists(st.integers(0, 5), max_size=4)


@st.composite
def arrays(draw):
    """Arrays that are mostly none which a search could use."""
    shape = tuple(draw(sizes | st.sampled_from([[8, 5, 3], [8], [8, 2], [8, 5]])))
    kind = draw(st.sampled_from(dtypes))
    filling = draw(st.sampled_from([0, 1, -1, "nan", math.nan, math.inf, None]))
    try:
        with np.errstate(all="ignore"):
            return np.full(shape, filling).astype(kind)
    except (TypeError, ValueError, OverflowError):
        return np.zeros(shape, kind)


@profiles
def test_data(profile, nowhere):
    parts = st.lists(arrays() | junk, min_size=0, max_size=4).map(tuple)
    near = st.tuples(
        st.builds(lambda: data(8)[0]) | arrays(), st.builds(lambda: data(8)[1]) | arrays()
    )
    pairs = st.tuples(parts | near, near | parts | st.none())

    def check(pair):
        train, validation = pair
        with np.errstate(all="ignore"):
            nowhere({"train": train, "validation": validation, "model": None, "space": "quick"})

    hold(profile, 250, pairs, check)


@profiles
def test_folders(profile, tmp_path, monkeypatch):
    """A search that cannot be set up leaves no folder, however deep it would have been."""
    monkeypatch.chdir(tmp_path)
    paths = st.text(max_size=8) | st.sampled_from(
        ["a/b/c", "x" * 5000, "a\0b", "\ud800", "~x", ".", " "]
    )

    def fail(hp):
        raise ValueError("no model")

    def check(path):
        there = sorted(os.listdir(tmp_path))
        if os.path.isabs(path) or ".." in path:
            return
        error = refused(lambda: rdt.tune(data(8), data(8), directory=path, model=fail, verbose=0))
        assert isinstance(error, RecdropError)
        assert sorted(os.listdir(tmp_path)) == there

    hold(profile, 40, paths, check)


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Of a search whose folder and database are in the current folder, where nothing is so far."""
    monkeypatch.chdir(tmp_path)
    return {"model": build, "directory": "project", "verbose": 0}


ONE = {"max_trials": 1, "epochs": 1}


@pytest.fixture(scope="module")
def ended(tmp_path_factory, new_store):
    """The folder above that of a search of one trial, with its database."""
    above = tmp_path_factory.mktemp("ended")
    tracking = rdt.MLflow(uri=new_store(above))
    options = {"model": build, "verbose": 0, "directory": above / "project", "tracking": tracking}
    rdt.tune(data(8), data(8), **ONE, **options)
    return above


@pytest.fixture
def project(ended, options, tmp_path):
    """Options that go on with a copy of that search."""
    shutil.copytree(ended, tmp_path, dirs_exist_ok=True)
    return options | {"tracking": rdt.MLflow(uri=f"sqlite:///{tmp_path}/mlflow.db")}


@pytest.fixture
def quick(options, planted_uri):
    """Options of a search whose database is there already."""
    return options | {"tracking": rdt.MLflow(uri=planted_uri)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"overwrite": "no"}, "`overwrite`.*valid boolean"),
        ({"objective": ["val_loss", "val_loss"]}, "`objective`.*different metrics"),
        ({"objective": np.array([1, 2])}, "`objective`.*name of a metric"),
        ({"space": np.array([1, 2])}, "`space`.*with a function"),
        ({"tuner": ["optuna"]}, r"`tuner`.*\['optuna'\]"),
        ({"seed": 2**32}, r"`seed`.*less than 4294967295"),
        ({"validation": (np.float32(0), np.zeros(8)), "model": None}, "`validation`"),
        ({"confirm": rdt.Confirm(1, test=3)}, "`test`"),
        ({"tracking": "a\nb"}, "`tracking`.*in one line"),
        ({"tracking": "x" * 501}, "`tracking`.*500"),
        ({"directory": "a\0b"}, "cannot be written to: .*null"),
        ({"directory": "x" * 5000}, "cannot be written to: .*too long"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_arguments_that_are_refused(options, tmp_path, wrong, message):
    given = {"validation": data(8), **options, **wrong}
    with pytest.raises(RecdropError, match=message):
        rdt.tune(data(8), given.pop("validation"), **given)
    assert os.listdir(tmp_path) == []


def test_numbers_of_numpy_are_numbers(quick):
    numbers = {"max_trials": np.int64(1), "epochs": np.int32(1), "batch_size": np.uint8(8)}
    numbers |= {
        "seed": np.int64(0),
        "training": rdt.Training(keep_checkpoints=np.int64(1), executions=np.int8(1)),
        "timeout": np.float32(600),
        "verbose": np.int64(0),
    }
    result = rdt.tune(data(8), data(8), **{**quick, **numbers})
    assert len(result.trials) == 1


def fail(hp):
    raise ValueError("no model")


def test_a_search_that_cannot_be_set_up_leaves_nothing(options, tmp_path):
    options |= {"model": fail, "directory": "a/b/project"}
    with pytest.raises(RecdropError, match="cannot be built"):
        rdt.tune(data(8), data(8), **options)
    assert os.listdir(tmp_path) == []


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_search_that_cannot_be_set_up_does_not_overwrite(project, tmp_path):
    held = files(tmp_path / "project")
    with pytest.raises(RecdropError, match="cannot be built"):
        rdt.tune(data(8), data(8), overwrite=True, **{**project, "model": fail})
    assert files(tmp_path / "project") == held
    result = rdt.tune(data(8), data(8), max_trials=2, epochs=1, overwrite=True, seed=1, **project)
    assert len(result.trials) == 2


def test_a_folder_in_which_a_search_is_running(project, tmp_path, monkeypatch):
    monkeypatch.setattr("recdrop_tune.search.identity.PATIENCE", 0.3)
    other = Journal(tmp_path / "project" / "events.jsonl")
    other.on_event(WorkerLost(worker="1", trial_id=None, reason="it writes here"))
    held = files(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(ProjectError, match="search is running"):
            rdt.tune(data(8), data(8), max_trials=2, epochs=1, overwrite=overwrite, **project)
        assert files(tmp_path) == held
    other.close()
    assert len(rdt.tune(data(8), data(8), max_trials=2, epochs=1, **project).trials) == 2


def test_a_folder_in_which_a_search_is_being_set_up(quick, monkeypatch):
    """No event has been written by then, so the journal does not tell."""
    monkeypatch.setattr("recdrop_tune.search.identity.PATIENCE", 0.1)
    builds, refusals = [], []

    def second(hp):
        builds.append(hp)
        # The first build checks the data, before the folder is claimed.
        while len(builds) > 1 and len(refusals) < 2:
            with pytest.raises(ProjectError, match="search is running") as refused:
                rdt.tune(data(8), data(8), overwrite=bool(refusals), **ONE, **quick)
            refusals.append(refused)
        return build(hp)

    assert len(rdt.tune(data(8), data(8), **ONE, **{**quick, "model": second}).trials) == 1
    assert refusals


@pytest.mark.parametrize("lost", [True, False])
def test_a_ctrl_c_is_not_lost(quick, lost):
    """Python loses one that comes in a destructor, of which training has many."""

    class Presses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                with contextlib.suppress(KeyboardInterrupt) if lost else contextlib.nullcontext():
                    signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            rdt.tune(
                data(8),
                data(8),
                max_trials=3,
                epochs=3,
                training=rdt.Training(callbacks=Presses()),
                **quick,
            )
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    trials = rdt.TuneResult.load(quick["directory"]).trials
    assert list(trials["state"]) == ["INTERRUPTED"]
    assert len(rdt.tune(data(8), data(8), max_trials=1, epochs=3, **quick).trials) == 1


def test_a_journal_that_cannot_be_opened(options, tmp_path):
    (tmp_path / "project" / "events.jsonl").mkdir(parents=True)
    with pytest.raises(ProjectError, match=r"events\.jsonl` cannot be written to"):
        rdt.tune(data(8), data(8), max_trials=1, epochs=1, **options)


def test_a_search_without_end(quick):
    """No number goes into the journal that JSON has not."""
    for trials, timeout in ((1, math.inf), (2, 1e300)):
        result = rdt.tune(data(8), data(8), max_trials=trials, epochs=1, timeout=timeout, **quick)
        assert len(result.trials) == trials
        for line in (result.directory / "events.jsonl").read_text().splitlines():
            json.loads(line, parse_constant=pytest.fail)


def test_a_home_is_found(quick, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    rdt.tune(data(8), data(8), **ONE, **{**quick, "directory": "~/runs/one"})
    assert (tmp_path / "home" / "runs" / "one" / "search.json").exists()
    with pytest.raises(InvalidArgumentError, match=r"`directory`.*a home that exists"):
        rdt.tune(data(8), data(8), **ONE, **{**quick, "directory": "~nobody-of-that-name/runs"})


def test_a_folder_behind_a_link_is_overwritten(project, tmp_path):
    os.rename(tmp_path / "project", tmp_path / "elsewhere")
    (tmp_path / "project").symlink_to("elsewhere")
    before = (tmp_path / "elsewhere" / "search.json").read_text()
    rdt.tune(data(8), data(8), seed=1, overwrite=True, **ONE, **project)
    assert (tmp_path / "project").is_symlink()
    assert (tmp_path / "elsewhere" / "search.json").read_text() != before
