"""The hypermodel that the data decide, in `tune` without a model."""

import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.catalog import TASK_NAMES
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hypermodels import (
    LanguageModel,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
)
from recdrop_tune.search.hypermodel_of import as_hypermodel
from recdrop_tune.search.settings import Task
from tests.hypermodels.test_data import forms

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 5, 2)).astype("float32")
LABELS = np.arange(8) % 3
STEPS = RNG.integers(0, 3, (8, 5))
TOKENS = RNG.integers(1, 9, (8, 7))
FLOATS = RNG.normal(size=(8, 4, 3))


def inferred(train):
    return as_hypermodel(Task(), train, "quick")[0]


@pytest.mark.parametrize(
    ("x", "y", "kind", "attributes"),
    [
        (X, LABELS, SequenceClassifier, {"num_classes": 3, "one_hot": False}),
        (X, LABELS[:, None].astype("uint8"), SequenceClassifier, {"num_classes": 3}),
        (X, np.eye(3)[LABELS], SequenceClassifier, {"num_classes": 3, "one_hot": True}),
        (X, FLOATS[:, 0, 0], SequenceRegressor, {"target_shape": ()}),
        (X, FLOATS, SequenceRegressor, {"target_shape": (4, 3)}),
        (X, STEPS, SequenceTagger, {"num_classes": 3, "one_hot": False}),
        (X, STEPS[..., None], SequenceTagger, {"num_classes": 3}),
        (X, np.eye(3)[STEPS], SequenceTagger, {"num_classes": 3, "one_hot": True}),
        (TOKENS[:, :-1], TOKENS[:, 1:], LanguageModel, {"vocab_size": 9}),
    ],
)
def test_the_data_decide_the_task(x, y, kind, attributes):
    for form, train in forms(x, y).items():
        model = inferred(train)
        assert type(model) is kind, form
        assert {name: getattr(model, name) for name in attributes} == attributes, form


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        (X, LABELS.astype("float32"), "y of shape (8,) and type float32"),
        (X, np.eye(5, dtype=int)[LABELS], "y of shape (8, 5) and type int64"),
        (X, np.ones((8, 5, 3), int), "y of shape (8, 5, 3) and type int64"),
        (TOKENS, TOKENS, "Expected y to be x one step later, where x holds tokens."),
    ],
)
def test_ambiguous_data_are_refused(x, y, text):
    with pytest.raises(InvalidArgumentError) as caught:
        inferred((x, y))
    assert text in str(caught.value)
    assert all(repr(name) in str(caught.value) for name in TASK_NAMES)


@pytest.mark.heavy
def test_a_search_for_the_dropout_of_a_language_model(tmp_path, eagerly):
    space = {
        "units": 4,
        "layers": 1,
        "wrapper": ["none", "recurrent"],
        "placement": "recurrent",
        "rate": 0.3,
        "per_step": [True, False],
        "locked_rate": {"input": [0.1, 0.2], "output": 0.2},
        "embedding_rate": {"min": 0.0, "max": 0.2, "step": 0.1},
    }
    data = rdt.LanguageModel.shift(TOKENS)
    options = {"tuner": "random", "max_trials": 2, "epochs": 1, "seed": 0, "verbose": 0}
    options |= {"directory": tmp_path / "search", "tracking": None}
    trials = rdt.tune(data, data, space=space, **options).trials
    assert set(trials["state"]) == {"COMPLETE"}
    dropped = trials["wrapper"] == "recurrent"
    assert list(dropped) == [False, True]
    for name in ("locked_rate.input", "locked_rate.output", "embedding_rate", "per_step"):
        assert (trials[name].notna() == dropped).all()
    assert trials["per_step"].dtype == "boolean"
    assert "val_perplexity" in trials
