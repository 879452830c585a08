"""What a result tells of rates that models have learned, which are no hyperparameters."""

import pytest

import recdrop_tune as rdt
from recdrop_tune.results.outline import best_trials
from recdrop_tune.search import tune
from tests.planted_search import description, page
from tests.small_search import data

SPACE = {"units": 8, "wrapper": ["concrete", "variational"], "placement": "recurrent", "rate": 0.3}


@pytest.fixture(scope="module")
def result(tmp_path_factory, new_store, running_eagerly):
    folder = tmp_path_factory.mktemp("learned")
    places = {"directory": folder / "p", "tracking": rdt.MLflow(uri=new_store(folder))}
    # The terms by which rates are learned lower the loss: the trial that has them is the best.
    numbers = {"objective": "loss", "max_trials": 2, "epochs": 2, "seed": 0, "verbose": 0}
    with running_eagerly():
        return tune(data(24), data(16), space=SPACE, **places, **numbers)


@pytest.fixture(scope="module")
def learned(result):
    """The rate that the trial with `concrete` has learned, as text."""
    (rate,) = result.trials["learned_rate.recurrent"].dropna()
    return f"{rate:.4g}"


def test_the_table_does_not_say_that_there_is_no_rate(result):
    table = best_trials(result.found, 2).set_index("wrapper")["rate"]
    assert dict(table) == {"concrete": "learned", "variational": 0.3}


def test_what_the_best_trial_has_learned(result, learned):
    line = f"Its learned rates: learned_rate.recurrent={learned}"
    for text in (result.summary(), description(result), page(result)):
        assert line in text


def test_the_line_of_the_code_that_trains_runs(result):
    code = result.best_code()
    x, y = data(24)
    names = {"x_train": x, "y_train": y}
    exec(code, names)
    assert names["model"].layers[1].counted_samples == 24
