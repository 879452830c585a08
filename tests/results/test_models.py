"""The models of a result: `best_model`, `best_models`, `model_of` and `best_code`, loaded ones too."""

import re
import shutil

import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError
from tests.models.test_best_code import check_layers
from tests.small_search import data, tuned

X, Y = data()
SPACE = {
    "units": 4,
    "wrapper": "recurrent",
    "rate": {"min": 0.1, "max": 0.5},
    "schedule": "linear",
    "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True},
}


@pytest.fixture(scope="module")
def result(tmp_path_factory, running_eagerly):
    folder = tmp_path_factory.mktemp("trained") / "p"
    options = {"space": SPACE, "max_trials": 3, "epochs": 2}
    with running_eagerly():
        return tuned(folder, None, None, **options, training=rdt.Training(keep_checkpoints=2))


@pytest.fixture
def copied(result, tmp_path):
    return rdt.TuneResult.load(shutil.copytree(result.directory, tmp_path / "p"))


def loss_of(model):
    probabilities = model.predict(X, verbose=0)[:, 0]
    return -np.log(np.where(Y, probabilities, 1 - probabilities)).mean()


@pytest.mark.heavy
def test_the_best_models_are_those_of_the_first_rows(result):
    losses = [loss_of(model) for model in result.best_models(2)]
    assert losses == pytest.approx([*result.trials["val_loss"][:2]], rel=1e-4)
    assert loss_of(result.best_model()) == losses[0]
    third = result.trials["trial_id"][2]
    for ask in (lambda: result.model_of(third), lambda: result.best_models()):
        with pytest.raises(RecdropError, match=f"trial_{third}`.*`keep_checkpoints`"):
            ask()
    for number in ("a", -1):
        with pytest.raises(InvalidArgumentError, match=r"`n`.*an integer of at least 1"):
            result.best_models(number)
    for trial in ("99", 4, -1, result.trials.head(1)):
        with pytest.raises(InvalidArgumentError, match="the number of a complete trial"):
            result.model_of(trial)
    row = result.trials.iloc[1]
    trial = result.tuner.oracle.trials[row["trial_id"]]
    for named in (row, row["trial_id"], row["number"], [*result.trials.itertuples()][1], trial):
        assert loss_of(result.model_of(named)) == losses[1]


def test_a_loaded_result_has_the_best_one(result, copied):
    first, second = result.trials["trial_id"][:2]
    for model in (*copied.best_models(1), copied.model_of(first)):
        assert loss_of(model) == pytest.approx(result.trials["val_loss"][0], rel=1e-4)
    for ask in (lambda: copied.model_of(second), lambda: copied.best_models(2)):
        with pytest.raises(RecdropError, match=f"that of trial {first}, and no model of"):
            ask()


def test_the_best_code_has_the_layers_of_the_best_model(result):
    code, best = result.best_code(), result.best_hyperparameters
    check_layers(code, result.best_model())
    *_, comment = code.splitlines()
    epochs = int(result.trials["best_epoch"][0]) + 1
    assert f"rate={best['rate']!r}" in comment
    assert comment.endswith(f'seed=0, batch_size=32, epochs={epochs}, schedule="linear"')
    assert rdt.TuneResult.load(result.directory).best_code() == code


def test_a_folder_without_the_code_of_the_best_model(copied):
    card = copied.directory / "result" / "best_model.json"
    saved = card.read_text()
    card.write_text(saved.replace('"trial_id": "', '"trial_id": "9'))
    with pytest.raises(RecdropError, match=r"that of trial 9\d, and no source of trial"):
        copied.best_code()
    card.write_text(saved)
    code = copied.directory / "result" / "best_model.py"
    code.write_text("title\x1b]0;me\x07")
    assert copied.best_code() == r"title\x1b]0;me\x07"  # What a stranger wrote, as text.
    code.unlink()
    remedy = re.escape(f'directory="{copied.directory}"')
    with pytest.raises(RecdropError, match=rf"holds no source of trial \d.*{remedy}"):
        copied.best_code()
    code.symlink_to("/etc/hostname")
    with pytest.raises(ProjectError, match=r"best_model\.py"):
        copied.best_code()
