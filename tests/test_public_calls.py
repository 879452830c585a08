"""Each public function and method, called with nothing but its required arguments.

Other tests pin options such as `seed=`, so they would not notice a default that fails.
"""

import inspect
import re
from functools import partial
from pathlib import Path
from pydoc import locate

import pytest

from tests.small_search import build, data, tuned

PAGES = Path(__file__).parents[1] / "docs/api"
BLOCK = re.compile(r"^::: recdrop_tune\.(\S+)((?:\n    .*)*)", re.M)
NOT_MADE_BY_USERS = re.compile(
    r"errors|events|standing|backends|results|.*(Abstract\w+|Warning|Error|Explanation|Prediction|Rates|Report|Gain|"
    r"Session|Sample|Distributed|ModelComparison|TuneResult)$"
)
SLOW = {"tune", "compare_models", "TuneResult.confirm"}
"""By default these train for half a minute."""

NEEDED = {
    "models.fit": dict(zip("xy", data(), strict=True)),
    "TuneResult.refit": {"y": data()[1]},
    "tune": {"validation": data()},
    "compare_models": {"validation": data()},
    "hyperparameters.Hyperparameter": {"choices": [1]},
    "Tuner": {"hypermodel": build},
    "wrappers.wrap": {"rate": 0.2},
}
"""Arguments that others, or their defaults, make necessary."""

AT_LEAST = {
    "TuneResult.pareto_front": ["epochs"],
}
"""The values of parameters that take any number, where none are too few."""


def public_names():
    """The functions and classes on the API pages, and the members that these show.

    Without `Distributed`, which starts Ray.
    """
    for page in sorted(PAGES.glob("*.md")):
        for name, options in BLOCK.findall(page.read_text()):
            if not NOT_MADE_BY_USERS.match(name):
                yield name
            members = re.search(r"(?<!_)members: \[(.+?)\]", options)
            if members and not name.endswith("Distributed"):
                yield from (f"{name}.{member}" for member in members[1].split(", "))


@pytest.fixture(scope="module")
def result(tmp_path_factory, running_eagerly):
    import recdrop_tune as rdt

    folder = tmp_path_factory.mktemp("searched") / "recdrop_runs" / "p"
    confirm = rdt.Confirm(1, seeds=2, max_seeds=2)
    with running_eagerly():
        return tuned(folder, None, max_trials=10, confirm=confirm, seed=None)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory, running_eagerly):
    import keras_tuner as kt

    import recdrop_tune as rdt

    models = {"a": build(kt.HyperParameters()), "b": partial(build, kt.HyperParameters())}
    folder = tmp_path_factory.mktemp("compared") / "p"
    options = {"epochs": 1, "seeds": 2, "max_seeds": 2, "tracking": None, "verbose": 0}
    with running_eagerly():
        return rdt.compare_models(models, data(), data(), directory=folder, **options)


@pytest.fixture(scope="module")
def objects(result, comparison, tmp_path_factory):
    """What the methods belong to, by class, and values of required parameters, by name."""
    import keras
    import keras_tuner as kt
    import numpy as np

    import recdrop_tune as rdt
    from recdrop_tune import hyperparameters, wrappers
    from recdrop_tune.oracle import HalvingPruner

    folder = tmp_path_factory.mktemp("others")
    concrete = wrappers.ConcreteDropoutWrapper(keras.layers.LSTM(3))
    layers = [keras.Input((5, 3)), keras.layers.LSTM(3), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential(layers)
    model.compile("sgd", "sparse_categorical_crossentropy")
    tuner = kt.RandomSearch(build, "val_loss", directory=folder, project_name="a", max_trials=1)
    oracle = rdt.OptunaOracle("val_loss", max_trials=1)
    hp, (x, y) = kt.HyperParameters(), data()
    owners = {
        "ExistingModel": rdt.ExistingModel(model),
        "models.Explanation": rdt.explain(model),
        "TuneResult": result,
        "results.Confirmation": result.confirmation,
        "ModelComparison": comparison,
        "SearchSpace": rdt.SearchSpace(),
        "session.SearchSession": rdt.track(tuner, tracking=None),
        "OptunaOracle": oracle,
        "hyperparameters.Hyperparameter": hyperparameters.Hyperparameter("x", choices=[1]),
        "oracle.HalvingPruner": HalvingPruner(),
        "Tuner": rdt.Tuner(oracle, build, directory=folder, project_name="b"),
        "wrappers.ConcreteDropoutWrapper": concrete,
    }
    new_oracle = rdt.OptunaOracle("val_loss", max_trials=1)
    new_tuner = kt.RandomSearch(build, "val_loss", directory=folder, project_name="c", max_trials=1)
    values = {
        "directory": result.directory,
        "hp": hp,
        "hypermodel": build,
        "input_shape": (5, 3),
        "layer": keras.layers.LSTM(3),
        "make_tuner": lambda: rdt.Tuner(new_oracle, build, directory=folder, project_name="d"),
        "max": 1,
        "min": 0,
        "model": model,
        "models": {"a": model, "b": partial(build, hp)},
        "num_classes": 2,
        "number": 100,
        "oracle": new_oracle,
        "point": {},
        "rate": 0.2,
        "root": concrete,
        "schedule": "linear",
        "source": "quick",
        "space": [],
        "step": 1,
        "target_shape": (1,),
        "tokens": np.arange(20).reshape(4, 5),
        "train": (x, y),
        "trial": result.best_id,
        "trial_id": "0",
        "tuner": new_tuner,
        "values": {},
        "vocab_size": 9,
        "wrapper": "recurrent",
        "x": x,
        "LanguageModel.from_data(train)": np.arange(20).reshape(4, 5),
        "SequenceTagger.from_data(train)": (x, x[:, :, 0] > 0),
        "mc_predict(model)": keras.Sequential([keras.Input((5, 3)), concrete]),
        "wrappers.EmbeddingDropout(layer)": keras.layers.Embedding(5, 3),
        "ModelComparison.load(directory)": comparison.folder,
        "ModelComparison.row(name)": comparison.ids[0],
        "results.Confirmation.row(name)": result.confirmation.ids[0],
    }
    return owners, values


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[pytest.mark.heavy] * (each in SLOW)) for each in public_names()],
)
def test_required_arguments_are_enough(name, result, objects, monkeypatch):
    monkeypatch.chdir(result.directory.parents[1])
    owners, values = objects
    owner, _, member = name.rpartition(".")
    called = getattr(owners[owner], member) if owner in owners else locate(f"recdrop_tune.{name}")
    if callable(called):
        given = {
            each.name: values.get(f"{name}({each.name})", values.get(each.name))
            for each in inspect.signature(called).parameters.values()
            if each.default is each.empty
            and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        }
        called(*AT_LEAST.get(name, ()), **given | NEEDED.get(name, {}))
