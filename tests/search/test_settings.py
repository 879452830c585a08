"""The settings of a search, and what they refuse."""

import copy
import dataclasses
import inspect
import pickle
from pathlib import Path

import keras
import numpy as np
import optuna
import pytest

import recdrop_tune as rdt
from recdrop_tune.catalog import PRUNER_NAMES, SAMPLER_NAMES, TUNER_NAMES
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.oracle import make_pruner, make_sampler
from recdrop_tune.search.settings import CLASSES
from recdrop_tune.tuner import TUNERS

PARAMETERS = inspect.signature(rdt.tune).parameters


def test_the_names_that_are_listed_are_those_there_are():
    """They are listed so that nothing heavy is loaded to read them."""
    assert tuple(TUNERS) == TUNER_NAMES
    for names, kind, make in (
        (SAMPLER_NAMES, "sampler", lambda name: make_sampler(name, 0)),
        (PRUNER_NAMES, "pruner", make_pruner),
    ):
        with pytest.raises(InvalidArgumentError, match=f"one of {', '.join(names)}, or a {kind}"):
            make("no such")


def test_tune_has_few_arguments():
    assert len(PARAMETERS) <= 18


WRONG = [
    (rdt.Optuna, {"sampler": "gradient"}, r"`sampler`.*one of cmaes, gp.*'gradient'"),
    (rdt.Optuna, {"sampler": 3}, r"`sampler`.*a sampler of Optuna's.*sampler=3"),
    (rdt.Optuna, {"pruner": "harsh"}, "`pruner`.*one of asha, halving, hyperband, median, none"),
    (rdt.Optuna, {"pruner": np.array([1, 2])}, "`pruner`"),
    (rdt.Optuna, {"storage": "study"}, "`storage`.*URL of a database"),
    (rdt.Optuna, {"storage": 3}, "`storage`.*URL of a database"),
    (rdt.Optuna, {"storage": "postgresql://a:b:c/d"}, "`storage`.*URL of a database"),
    (rdt.Training, {"executions": 0}, "`executions`.*at least 1"),
    (rdt.Training, {"cv": 1}, "`cv`.*number of folds of at least 2"),
    (rdt.Training, {"cv": "5"}, "`cv`.*cv='5'"),
    (rdt.Training, {"callbacks": [3]}, r"`callbacks`.*Callback objects.*callbacks=\[3\]"),
    (rdt.Training, {"callbacks": 3}, "`callbacks`.*Callback objects.*callbacks=3"),
    (rdt.Training, {"keep_checkpoints": 0}, "`keep_checkpoints`.*at least 1"),
    (rdt.Training, {"reuse_models": -1}, "`reuse_models`.*at least 0"),
    (
        rdt.Training,
        {"compilation_cache": 3},
        "`compilation_cache`.*True, False or the path of a folder",
    ),
    (rdt.Training, {"fit": [1]}, "`fit`.*a mapping.*fit='list'"),
    (rdt.Training, {"fit": {1: 2}}, "`fit`.*a mapping"),
    (rdt.Training, {"fit": {"validation_split": np.array([0.1, 0.2])}}, "validation_split < 1"),
    (rdt.Training, {"fit": {"validation_split": 10**400}}, "validation_split < 1"),
    (rdt.Confirm, {"top": 0}, "`top`.*at least 1"),
    (rdt.Confirm, {"seeds": True}, "`seeds`.*seeds=True"),
    (rdt.Workers, {"number": 0}, "`number`.*at least 1"),
    (rdt.Workers, {"number": 2.0}, "`number`.*an integer"),
    (rdt.Workers, {"gpus": -1}, "`gpus`.*a fraction"),
    (rdt.Workers, {"gpus": 1.5}, "`gpus`.*a fraction"),
    (rdt.Workers, {"gpus": float("nan")}, "`gpus`.*a fraction"),
    (rdt.Workers, {"gpus": "one"}, "`gpus`.*a fraction"),
    (rdt.Workers, {"cpus": 0}, "`cpus`.*CPU cores"),
    (rdt.Workers, {"cpus": 2.5}, "`cpus`.*CPU cores"),
    (rdt.Workers, {"cpus": None}, "`cpus`.*CPU cores"),
    (rdt.Workers, {"address": ""}, "`address`.*'auto'"),
    (rdt.Workers, {"address": 6379}, "`address`.*'auto'"),
    (rdt.Workers, {"trial_timeout": 0}, "`trial_timeout`.*more than 0"),
    (rdt.Workers, {"trial_timeout": "soon"}, "`trial_timeout`.*more than 0"),
    (rdt.MLflow, {"experiment": ""}, "`experiment`.*a name"),
    (rdt.MLflow, {"experiment": "a\nb"}, "`experiment`.*in one line"),
    (rdt.MLflow, {"experiment": "x" * 501}, "`experiment`.*500"),
    (rdt.MLflow, {"uri": "./mlruns"}, r"`uri`.*sqlite:///mlflow\.db"),
    (rdt.MLflow, {"uri": 0}, "`uri`.*uri=0"),
    (rdt.MLflow, {"uri": "http://["}, "`uri`"),
    (rdt.MLflow, {"register_model": "a/b"}, "`register_model`.*without `/`"),
    (rdt.MLflow, {"system_metrics": 1}, "`system_metrics`.*True or False"),
]


@pytest.mark.parametrize(("kind", "values", "message"), WRONG)
def test_a_wrong_value_is_refused_where_it_is_given(kind, values, message):
    with pytest.raises(InvalidArgumentError, match=message) as refused:
        kind(**values)
    assert "pydantic" not in str(refused.value)


@pytest.mark.parametrize("kind", CLASSES.values())
def test_a_name_that_there_is_not(kind):
    first, *others = (each.name for each in dataclasses.fields(kind))
    with pytest.raises(InvalidArgumentError, match=rf"Did you mean `{first}`\?"):
        kind(**{f"{first}z": 1})
    with pytest.raises(InvalidArgumentError, match=rf"There are: {first}, {others[0]}"):
        kind(zzz=1)
    with pytest.raises(InvalidArgumentError, match=f"one argument without a name, `{first}`"):
        kind(getattr(kind(), first), None)


@pytest.mark.parametrize("kind", CLASSES.values())
def test_settings_are_frozen_and_can_be_copied(kind):
    made = kind()
    for name in (each.name for each in dataclasses.fields(kind)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, getattr(made, name))
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made


def test_what_is_kept_is_of_one_form():
    training = rdt.Training(np.int64(2), callbacks=keras.callbacks.TerminateOnNaN)
    assert type(training.executions) is int
    assert training.callbacks == (keras.callbacks.TerminateOnNaN,)
    assert rdt.Training(compilation_cache="~/x").compilation_cache == Path("~/x").expanduser()
    given = {"shuffle": False}
    kept = rdt.Training(fit=given)
    given["shuffle"] = True
    assert kept.fit == {"shuffle": False}
    sampler = optuna.samplers.RandomSampler()
    assert rdt.Optuna(sampler).sampler is sampler


def test_the_environment_says_where_runs_go_unless_the_settings_do(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    assert rdt.MLflow(uri="http://host:5000").store() == "http://host:5000"
    with pytest.raises(InvalidArgumentError, match=r"`uri`.*'\./mlruns'"):
        rdt.MLflow().store()
