"""`best_code`: the best model of a search as Python source, of a loaded result too."""

import re
import shutil

import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError, RecdropError
from recdrop_tune.search import tune
from tests.models.test_best_code import run
from tests.small_search import data

SPACE = {
    "units": 4,
    "wrapper": "recurrent",
    "rate": {"min": 0.1, "max": 0.5},
    "schedule": "linear",
    "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True},
}


@pytest.fixture(scope="module")
def options(tmp_path_factory, new_store):
    folder = tmp_path_factory.mktemp("program")
    tracking = rdt.MLflow(uri=new_store(folder))
    places = {"directory": folder / "p", "tracking": tracking}
    return {**places, "max_trials": 2, "epochs": 2, "seed": 0, "verbose": 0}


@pytest.fixture(scope="module")
def result(options, running_eagerly):
    with running_eagerly():
        return tune(data(24), data(16), space=SPACE, **options)


def test_it_builds_the_best_model(result):
    code, best = result.best_code(), result.best_model()
    model = run(code)
    model.set_weights(best.get_weights())
    x, _ = data(16)
    np.testing.assert_array_equal(model.predict(x, verbose=0), best.predict(x, verbose=0))
    rates = [each.layers[1].rate for each in (model, best)]
    assert rates[0] == rates[1] == result.best_hyperparameters["rate"]
    learning_rates = [float(each.optimizer.learning_rate.numpy()) for each in (model, best)]
    assert learning_rates[0] == learning_rates[1]


def test_it_shows_how_the_search_trained_the_model(result):
    line = '# model.fit(x_train, y_train, epochs=2, batch_size=32, callbacks=[rdt.RateSchedule("linear")])'
    assert result.best_code().splitlines()[-1] == line


def test_a_loaded_result_has_it_too(result):
    assert rdt.TuneResult.load(result.directory).best_code() == result.best_code()


@pytest.fixture
def copied(result, tmp_path):
    return rdt.TuneResult.load(shutil.copytree(result.directory, tmp_path / "p"))


def test_a_folder_without_it(copied):
    code = copied.directory / "result" / "best_model.py"
    code.write_text("title\x1b]0;me\x07")
    assert copied.best_code() == r"title\x1b]0;me\x07"  # What a stranger wrote, as text.
    code.unlink()
    remedy = re.escape(f'directory="{copied.directory}"')
    with pytest.raises(RecdropError, match=rf"holds no source of trial \d, the best one.*{remedy}"):
        copied.best_code()
    code.symlink_to("/etc/hostname")
    with pytest.raises(ProjectError, match=r"best_model\.py"):
        copied.best_code()


def test_the_code_of_another_trial_is_not_that_of_the_best(copied):
    card = copied.directory / "result" / "best_model.json"
    card.write_text(card.read_text().replace('"trial_id": "', '"trial_id": "9'))
    with pytest.raises(RecdropError, match="holds no source of trial"):
        copied.best_code()
