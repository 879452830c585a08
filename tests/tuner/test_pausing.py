"""Trainings that pause and go on: their numbers, their callbacks, and what they leave on disk."""

import keras
import numpy as np
import pytest
from sklearn.model_selection import ShuffleSplit

import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError
from recdrop_tune.oracle import optuna_oracle
from recdrop_tune.tuner import pausing
from tests.backends import on_tensorflow

pytestmark = pytest.mark.backends

EPOCHS = 6
RATES = (0.0, 0.1, 0.5)
X = np.random.default_rng(0).normal(size=(24, 5, 3)).astype("float32")
Y = X[:, :, 0].sum(axis=1, keepdims=True)


class Early(rdt.OptunaOracle):
    """Ends with one complete trial, and leaves others paused."""

    fewest, worth = 1, 0.1


class Straight(rdt.OptunaOracle):
    """Trains each trial to its end before the next one."""

    def _next(self, exhausted):
        self._chosen, self.is_settled = None, False
        paused = (id for id, trial in self.trials.items() if trial.status == "PAUSED")
        return next(paused, None)


class All(rdt.OptunaOracle):
    """Goes on until every trial is complete."""

    worth = -1.0


def build(hp):
    rate = hp.Choice("rate", list(RATES))
    layers = [keras.layers.LSTM(4), keras.layers.Dropout(rate), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    return model


def search(folder, kind=Early, make=build, callbacks=(), fit=(), **options):
    points = [{"rate": rate} for rate in RATES]
    oracle = kind("val_loss", len(RATES), seed=0, pruner="pause", try_first=points)
    tuner = rdt.Tuner(oracle, make, directory=folder, project_name="p", seed=0, **options)
    data = {} if "cv" in options else {"validation_data": (X, Y)}
    data |= {"epochs": EPOCHS, "batch_size": 8, "verbose": 0, **dict(fit)}
    tuner.search(X, Y, callbacks=callbacks, **data)
    return tuner


def curves(tuner):
    found = {}
    for trial in tuner.oracle.trials.values():
        history = trial.metrics.get_history("val_loss")
        found[trial.hyperparameters.get("rate")] = [each.value for each in history]
    return found


def states(tuner):
    return [trial.status for trial in tuner.oracle.trials.values()]


@pytest.mark.parametrize("options", [{"reuse_models": 0}, {"cv": 2}], ids=str)
def test_the_numbers_do_not_depend_on_pauses(tmp_path, options):
    def callbacks():
        return [
            keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=0.5),
            keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True),
        ]

    straight = search(tmp_path / "straight", Straight, callbacks=callbacks(), **options)
    paused = search(tmp_path / "paused", callbacks=callbacks(), **options)
    assert set(states(straight)) == {"COMPLETED"}
    assert "PAUSED" in states(paused)
    whole = curves(straight)
    for rate, curve in curves(paused).items():
        np.testing.assert_allclose(curve, whole[rate][: len(curve)], rtol=1e-5)
        assert len(curve) in (1, 3, len(whole[rate]))


def test_callbacks_and_the_optimizer_go_on_where_they_paused(tmp_path):
    seen = []

    class Watch(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.epochs, self.told = 0, print

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1
            seen.append((epoch, self.epochs, int(self.model.optimizer.iterations)))

    patient = keras.callbacks.EarlyStopping(patience=4, min_delta=100.0)
    log = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    search(tmp_path, Straight, callbacks=[Watch(), patient, log])
    # The first epoch counts as the best, so that each trial ends four epochs later.
    assert seen == [(epoch, epoch + 1, 3 * (epoch + 1)) for epoch in range(5)] * len(RATES)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", *map(str, range(5))]


@pytest.mark.parametrize("frequency", [4, 6])
def test_epochs_without_validation_can_be_the_last_ones(tmp_path, frequency):
    tuner = search(tmp_path, All, fit={"validation_freq": frequency})
    assert set(states(tuner)) == {"COMPLETED"}
    assert [len(curve) for curve in curves(tuner).values()] == [1] * len(RATES)


def test_a_search_can_be_resumed_with_other_callbacks(tmp_path):
    patient, plateau = (
        keras.callbacks.EarlyStopping(patience=9),
        keras.callbacks.ReduceLROnPlateau(),
    )
    assert "PAUSED" in states(search(tmp_path, callbacks=[patient, plateau]))
    tuner = search(tmp_path, All, callbacks=[plateau])
    assert set(states(tuner)) == {"COMPLETED"}


def test_a_search_with_tensorboard_pauses(tmp_path):
    pytest.importorskip("tensorflow")
    board = keras.callbacks.TensorBoard(str(tmp_path / "board"))
    assert "PAUSED" in states(search(tmp_path, callbacks=[board]))


def test_other_folds_each_time_are_not_mixed(tmp_path):
    """After a pause a model would be validated on samples that it was trained on."""
    tuner = search(tmp_path, cv=ShuffleSplit(2, test_size=0.5))
    assert set(states(tuner)) == {"COMPLETED"}


@on_tensorflow  # Elsewhere Keras builds every model before it is trained.
def test_what_has_paused_before_a_model_could_not_is_trained_anew(tmp_path):
    def make(hp):
        model = build(hp)
        if hp.get("rate") != RATES[-1]:
            return model
        late = keras.Sequential([keras.layers.LSTM(4), keras.layers.Dense(1)])
        late.compile(keras.optimizers.Adam(0.02), "mse")
        return late

    with pytest.warns(UserWarning, match="weights only after its first batch"):
        tuner = search(tmp_path, make=make)
    assert set(states(tuner)) == {"COMPLETED"}
    assert {len(curve) for curve in curves(tuner).values()} == {EPOCHS}


class Locked(keras.callbacks.Callback):
    """Has something that is not plain data."""

    def on_train_begin(self, logs=None):
        self.numbers = (number for number in range(3))


def test_with_a_callback_of_other_data_nothing_pauses(tmp_path):
    with pytest.warns(UserWarning, match="without pauses.*`Locked.numbers` has a generator"):
        tuner = search(tmp_path, callbacks=[Locked])
    assert set(states(tuner)) == {"COMPLETED"}


def test_a_damaged_state_is_named(tmp_path):
    """Without it the trial begins anew: `tests/oracle/test_pauses.py`."""
    search(tmp_path)
    paths = list(tmp_path.glob("p/trial_*/paused-*.npz"))
    assert paths
    for path in paths:
        path.write_bytes(b"damaged")
    with pytest.raises(ProjectError, match=r"paused-\d+\.npz` is damaged.*Delete it"):
        search(tmp_path, All)


class Spoils(keras.callbacks.Callback):
    """Makes the epochs after the second pause worse."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch >= 3:
            self.model.set_weights([each + 3.0 for each in self.model.get_weights()])


def test_the_best_weights_can_be_those_before_a_pause(tmp_path):
    tuner = search(tmp_path, All, callbacks=[Spoils()])
    for trial in tuner.oracle.trials.values():
        assert trial.best_step < 3
        model = tuner.load_model(trial)
        assert model.evaluate(X, Y, verbose=0) == pytest.approx(trial.score, rel=1e-4)


def test_weights_in_bfloat16_are_kept(tmp_path):
    weights = [keras.ops.convert_to_numpy(keras.ops.full((2,), 0.5, "bfloat16"))]
    pausing.PausedTrial(3, 1.0, weights).save(tmp_path)
    np.testing.assert_array_equal(pausing.load(tmp_path).weights, [[0.5, 0.5]])


def test_only_the_most_promising_states_are_kept(tmp_path, monkeypatch):
    searched = search(tmp_path / "whole")
    best = searched.oracle.get_best_trials()[0]
    model = searched.load_model(best)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(best.score, rel=1e-4)
    assert not list(tmp_path.glob(f"whole/p/trial_{best.trial_id}/paused-*"))
    monkeypatch.setattr(optuna_oracle, "MOST_PAUSED", 1)
    tuner = search(tmp_path)
    kept = [path for path in tmp_path.glob("p/trial_*/paused-*") if path.stat().st_size]
    assert len(kept) <= 1
    assert curves(tuner) == curves(searched)
