"""The settings of a search: what they accept and refuse, in Python and in a file."""

import inspect
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args, get_origin, get_type_hints

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.oracle.samplers import make_sampler
from recdrop_tune.search import CLASSES, SearchConfig
from recdrop_tune.search.plan import TUNERS
from recdrop_tune.search.settings import Goal

WRONG = [
    (rdt.Task, {"metrics": [3]}, r"`metrics\[0\]`.*keras.metrics.Metric"),
    (rdt.Optuna, {"sampler": "tpee"}, "`sampler`.*optuna.samplers.BaseSampler.*mean `tpe`"),
    (rdt.Optuna, {"samplr": "tpe"}, r"no `samplr`\. Did you mean `sampler`"),
    (rdt.Optuna, {"warm_start": 3}, "`warm_start`.*project folder"),
    (rdt.Training, {"executions": 0}, "`executions`.*greater than or equal to 1.*executions=0"),
    (rdt.Training, {"cv": "5"}, "`cv`.*a splitter"),
    (rdt.Training, {"callbacks": ["early"]}, "`callbacks`.*Callback objects"),
    (rdt.Workers, {"gpus": float("nan")}, "`gpus`.*finite"),
    (rdt.MLflow, {"uri": "./mlruns"}, r"`uri`.*sqlite:///mlflow\.db"),
    (rdt.MLflow, {"experiment": "a\nb"}, "`experiment`.*in one line"),
    (rdt.MLflow, {"register_model": "a/b"}, "`register_model`.*without `/`"),
    (SearchConfig, {"seed": 2**32}, "`seed`.*less than 4294967295"),
    (SearchConfig, {"model": "taging"}, "`model`.*Did you mean `tagging`"),
    (SearchConfig, {"objective": kt.Objective("f1", "maximize")}, "'min' or 'max'"),
    (SearchConfig, {"tuner": "evolution"}, "`tuner`.*'random'.*rdt.Optuna"),
    (SearchConfig, {"confirm": 1.5}, "`confirm`.*rdt.Confirm.*confirm=1.5"),
    (SearchConfig, {"tracking": 3}, "`tracking`.*name of an experiment.*True or False"),
    (
        SearchConfig,
        {"objective": ["loss", "val_loss"]},
        "`objective`.*one metric.*result.pareto_front",
    ),
]


@pytest.mark.parametrize(("kind", "values", "message"), WRONG)
def test_a_wrong_value_is_refused(kind, values, message, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InvalidArgumentError, match=message):
        kind(**values)


def test_what_a_user_can_write():
    training = rdt.Training(np.int64(2), callbacks=keras.callbacks.TerminateOnNaN)
    assert type(training.executions) is int
    assert training.callbacks == (keras.callbacks.TerminateOnNaN,)
    numbers = SearchConfig(seed=np.int64(0), timeout=np.float32(600))
    assert [type(n) for n in (numbers.seed, numbers.timeout)] == [int, float]
    assert SearchConfig(directory="~/runs").directory == Path("~/runs").expanduser()
    assert rdt.Training(compilation_cache="~/x").compilation_cache == Path("~/x").expanduser()
    config = SearchConfig(
        model="tagging",
        objective=kt.Objective("f1", "max"),
        confirm=2,
        workers=np.int64(4),
    )
    assert config.model == rdt.Task("tagging")
    assert config.objective == Goal("f1", direction="max")
    assert SearchConfig().objective == Goal("val_loss")
    assert (config.confirm, config.workers) == (rdt.Confirm(2), rdt.Workers(4))
    assert SearchConfig(workers=MappingProxyType({"number": 4})).workers == rdt.Workers(4)
    assert "executions: int = 1" in str(inspect.signature(rdt.Training.__init__))


@pytest.mark.parametrize("kind", CLASSES.values())
def test_one_value_is_positional_and_none_can_be_changed(kind):
    first = fields(kind)[0].name
    with pytest.raises(TypeError, match=f"one positional argument, `{first}`"):
        kind(getattr(kind(), first), None)
    with pytest.raises(FrozenInstanceError):
        setattr(kind(), first, None)


def test_tune_has_the_arguments_of_a_search():
    parameters = inspect.signature(rdt.tune).parameters
    names = {each.name for each in fields(SearchConfig)}
    assert names | {"train", "validation"} == set(parameters)
    assert len(parameters) <= 18
    defaults = {name: parameters[name].default for name in names}
    assert SearchConfig(**defaults) == SearchConfig(confirm=0)


def listed(kind, argument):
    """The names among the values of a setting."""
    accepted = get_args(get_type_hints(kind)[argument])
    return next(get_args(each) for each in accepted if get_origin(each) is Literal)


def test_the_listed_names_exist():
    """They are listed so that nothing heavy is loaded to check a value."""
    assert listed(SearchConfig, "tuner") == tuple(TUNERS)
    for name in listed(rdt.Optuna, "sampler"):
        make_sampler(name, 0)
    for name in listed(rdt.Optuna, "pruner"):
        rdt.OptunaOracle("val_loss", pruner=name)


def test_the_environment_decides_where_runs_go_by_default(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    assert rdt.MLflow(uri="http://host:5000").store() == "http://host:5000"
    with pytest.raises(InvalidArgumentError, match=r"`uri`.*'\./mlruns'"):
        rdt.MLflow().store()
