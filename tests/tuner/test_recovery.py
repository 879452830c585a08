"""Trials that are interrupted and continue: they end as those that were not, to the digit."""

import itertools
import re

import keras
import keras_tuner as kt
import numpy as np
import pytest
from sklearn.model_selection import KFold

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.journal import Journal
from recdrop_tune.kernels import CALLBACK_STATE
from recdrop_tune.records import Records
from recdrop_tune.tuner import SNAPSHOT, retrain
from recdrop_tune.tuner.recovery import Snapshot, SnapshotError
from tests.backends import BACKEND

pytestmark = pytest.mark.backends

EPOCHS = 6
X = np.random.default_rng(0).normal(size=(42, 2, 3)).astype("float32")
Y = X[:, :, 0].sum(axis=1, keepdims=True)


class Interruption(keras.callbacks.Callback):
    """Interrupts a search before an epoch: the one of this number in all trainings."""

    left = itertools.count(10**6, -1)

    def on_epoch_begin(self, epoch, logs=None):
        if next(Interruption.left) == 0:
            raise KeyboardInterrupt


def model_of(layer, optimizer=None, built=True):
    """A model whose training draws masks, in layers and wrappers."""
    inputs = [keras.Input((2, 3))] if built else []
    head = [keras.layers.Dropout(0.2), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    model = keras.Sequential([*inputs, layer, *head])
    model.compile(optimizer or keras.optimizers.Adam(0.02), "mse")
    return model


def wrapped(technique, **options):
    return lambda hp: model_of(rdt.wrap(keras.layers.LSTM(4), technique, **options))


def decaying(hp):
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 4, 0.7)
    return model_of(keras.layers.GRU(4, dropout=0.3), keras.optimizers.SGD(rate, momentum=0.9))


def unbuilt(hp):
    return model_of(keras.layers.LSTM(4), built=False)


def stopping():
    return [
        keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=0.5),
        keras.callbacks.EarlyStopping(patience=3, min_delta=0.1, restore_best_weights=True),
    ]


def slower():
    return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.7 * rate)]


def moving():
    return [*slower(), rdt.RateSchedule("linear")]


def tuner_in(folder, build, kind=rdt.Tuner, **options):
    oracle = rdt.OptunaOracle("val_loss", max_trials=1, seed=0)
    where = {"directory": folder, "project_name": "p", "seed": 0, "save_every": 1e-9}
    return kind(oracle, build, **where | options)


def search(folder, build, callbacks=(), interrupt_at=None, tracked=False, **options):
    """Runs a search; returns its tuner, or None if it was interrupted."""
    tuner = tuner_in(folder, build, **options)
    if tracked:
        rdt.track(tuner, tracking=None)
    fit = {"epochs": EPOCHS, "batch_size": 32 if build is tiny else 16, "verbose": 0}
    if tuner.cv is None:
        fit["validation_split"] = 0.2
    Interruption.left = itertools.count(10**6 if interrupt_at is None else interrupt_at, -1)
    try:
        tuner.search(X, Y, callbacks=[*callbacks, Interruption()], **fit)
    except KeyboardInterrupt:
        return None
    return tuner


def outcome(tuner):
    """Everything that a trial has measured, but for times, and its weights."""
    (trial,) = tuner.oracle.trials.values()
    assert trial.status == "COMPLETED", trial.message
    curves = {
        name: [(each.step, each.value) for each in trial.metrics.get_history(name)]
        for name in trial.metrics.metrics
        if name != "ms_per_step"
    }
    return curves, trial.score, trial.best_step, tuner.load_model(trial).get_weights()


def snapshot_in(folder):
    (path,) = folder.rglob(SNAPSHOT)
    return path


def check_same(one, other):
    assert one[:3] == other[:3]
    for mine, others in zip(one[3], other[3], strict=True):
        np.testing.assert_array_equal(mine, others)


# The numbers of the epochs before which each of the processes is interrupted, counted from where it begins.
CASES = {
    "plain": (unbuilt, list, {}, [3]),
    "stopping": (wrapped("recurrent", rate=0.3), stopping, {"executions_per_trial": 2}, [2, 2, 4]),
    "schedules": (wrapped("recurrent", rate=0.4), moving, {}, [1, 3]),
    "decay": (decaying, list, {"cv": KFold(3)}, [8, 6]),
    "concrete": (wrapped("concrete"), stopping, {}, [2, 1]),
    # The second process is interrupted between the trainings, the third one has no epoch left in the first.
    "variational": (wrapped("variational", rate=0.3), slower, {"executions_per_trial": 2}, [2, 4]),
}

FEWER = ("concrete", "variational")
"""The generators, optimizers and learned rates of other backends, and the weights of a second training."""


@pytest.mark.heavy
@pytest.mark.parametrize("name", CASES if BACKEND == "tensorflow" else FEWER)
def test_an_interrupted_trial_ends_as_if_it_had_not_been(tmp_path, name, request):
    if name not in ("plain", "stopping"):
        request.getfixturevalue("eagerly")
    build, callbacks, options, interruptions = CASES[name]
    for at in interruptions:
        assert search(tmp_path / "parts", build, callbacks(), at, **options) is None
    # Otherwise it would have begun anew.
    assert Snapshot.load(snapshot_in(tmp_path / "parts")).curves
    parts = search(tmp_path / "parts", build, callbacks(), **options)
    check_same(outcome(parts), outcome(search(tmp_path / "whole", build, callbacks(), **options)))
    assert not [*tmp_path.rglob(SNAPSHOT)]


def tiny(hp):
    model = keras.Sequential([keras.Input((2, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    # A graph would take longer to trace.
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", run_eagerly=True)
    return model


def unfinished(folder, *callbacks, at=3, **options):
    assert search(folder, tiny, callbacks, at, **options) is None


def trained_epochs(folder, *callbacks, **options):
    """Resumes a search; returns the epochs that it trains."""
    epochs = []
    notes = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch))
    outcome(search(folder, tiny, [*callbacks, lambda: notes], **options))
    return epochs


@pytest.mark.heavy
def test_history_and_journal_have_all_epochs_of_all_trainings(tmp_path):
    histories = []

    class Watching(rdt.Tuner):
        def run_trial(self, trial, *args, **kwargs):
            histories.extend(super().run_trial(trial, *args, **kwargs))

    options = {"executions_per_trial": 2, "tracked": True}
    unfinished(tmp_path, at=EPOCHS + 2, **options)
    tuner = search(tmp_path, tiny, kind=Watching, **options)
    (record,) = Records(Journal(tmp_path / "p" / "events.jsonl").read()).trials.values()
    assert record.parameters
    kept = [each.kept for each in (*record.epochs, *record.repeats)]
    assert kept == [*range(EPOCHS + 2, 0, -1), *[0] * (EPOCHS - 2)]
    trainings = (record.epochs, record.repeats)
    for history, events in zip(histories, trainings, strict=True):
        assert history.epoch == [each.epoch for each in events] == [*range(EPOCHS)]
        assert history.history["val_loss"] == [each.metrics["val_loss"] for each in events]
    means = outcome(tuner)[0]["val_loss"]
    both = zip(*(each.history["val_loss"] for each in histories), strict=True)
    assert means == [(epoch, [*values]) for epoch, values in enumerate(both)]


@pytest.mark.heavy
def test_a_training_of_the_confirmation_continues(tmp_path):
    def confirm(folder, at=None):
        tuner = tuner_in(folder, tiny, cv=3)
        trial = tuner.oracle.create_trial("one")
        Interruption.left = itertools.count(10**6 if at is None else at, -1)
        fit = {"x": X, "y": Y, "epochs": 3, "verbose": 0, "callbacks": [Interruption()]}
        return retrain(tuner, trial, 5, fit, (X[:8], Y[:8]))

    for at in (5, 2):
        with pytest.raises(KeyboardInterrupt):
            confirm(tmp_path / "parts", at)
        assert [*tmp_path.rglob("confirmation_*_5.npy")]
    parts, whole = confirm(tmp_path / "parts"), confirm(tmp_path / "whole")
    assert not [*tmp_path.rglob("*.npy")]
    assert (parts.score, parts.best_epoch, parts.test) == (
        whole.score,
        whole.best_epoch,
        whole.test,
    )
    for mine, others in zip(parts.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(mine, others)


def keras_callbacks(folder):
    of_keras = keras.callbacks
    made = [
        of_keras.EarlyStopping(patience=9, restore_best_weights=True),
        of_keras.ReduceLROnPlateau(patience=1),
        of_keras.ModelCheckpoint(folder / "best.keras", save_best_only=True),
        of_keras.ModelCheckpoint(folder / "some.keras", save_freq=4),
        of_keras.BackupAndRestore(folder / "backup"),
        of_keras.SwapEMAWeights(swap_on_epoch=True),
        of_keras.CSVLogger(folder / "log.csv"),
    ]
    if BACKEND == "tensorflow":  # TensorBoard comes with it.
        made.append(of_keras.TensorBoard(folder / "board"))
    return made


def averaging(hp):
    model = tiny(hp)
    model.compile(keras.optimizers.SGD(0.01, use_ema=True), "mse", run_eagerly=True)
    return model


SET_AGAIN = {
    *("monitor_op", "min_delta", "_current_epoch"),
    *("keys", "writer", "csv_file", "append", "append_header"),
    *("_should_write_train_graph", "_writers"),
}
"""The attributes of `keras_callbacks` that a training sets when it or an epoch begins."""


def test_the_state_of_keras_callbacks_is_known(tmp_path):
    """An upgrade of Keras can add some."""
    callbacks, states = keras_callbacks(tmp_path), []

    def note(*_):
        states.append({(each, k): repr(v) for each in callbacks for k, v in vars(each).items()})

    noting = keras.callbacks.LambdaCallback(on_train_begin=note, on_epoch_end=note)
    fit = {"validation_split": 0.5, "epochs": 3, "batch_size": 7, "verbose": 0}
    averaging(None).fit(X, Y, callbacks=[*callbacks, noting], **fit)
    begun = states[0].items()
    changed = {name for state in states for (_, name), _ in state.items() - begun}
    assert changed - {*CALLBACK_STATE} <= SET_AGAIN
    if BACKEND == "tensorflow":  # It has TensorBoard.
        assert {*CALLBACK_STATE} <= {name for _, name in states[0]}


class Breaking(keras.callbacks.Callback):
    """Interrupts a training after an epoch, before it is saved."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 3:
            raise KeyboardInterrupt


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # An open log.
def test_keras_callbacks_continue(tmp_path):
    """The last epoch that `BackupAndRestore` has seen is not in the snapshot."""
    folders = [tmp_path / "parts", tmp_path / "whole"]
    for folder in folders:
        folder.mkdir()
    stopped = search(folders[0], averaging, [*keras_callbacks(folders[0]), Breaking()])
    assert stopped is None
    assert snapshot_in(folders[0])
    check_same(*(outcome(search(each, averaging, keras_callbacks(each))) for each in folders))
    lines = (folders[0] / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", *"0123345"]


def test_a_strangers_snapshot_does_not_say_where_a_callback_writes(tmp_path):
    stopping = keras.callbacks.EarlyStopping(patience=9)
    unfinished(tmp_path, stopping)
    snapshot = Snapshot.load(snapshot_in(tmp_path))
    snapshot.callbacks[0][1].update(patience=["/elsewhere"], paths={"dir": "/elsewhere"})
    snapshot.save(snapshot_in(tmp_path))
    assert trained_epochs(tmp_path, lambda: stopping) == [3, 4, 5]
    assert "/elsewhere" not in str(vars(stopping))


def test_a_search_can_be_resumed_with_other_callbacks(tmp_path):
    stopping = keras.callbacks.EarlyStopping(patience=9)
    unfinished(tmp_path, stopping, keras.callbacks.ReduceLROnPlateau())
    assert trained_epochs(tmp_path, keras.callbacks.ReduceLROnPlateau()) == [3, 4, 5]


class Steady(keras.callbacks.Callback):
    """Does not change once the training has begun."""

    def __init__(self, *given):
        super().__init__()
        self.given = given

    def on_train_begin(self, logs=None):
        self.layers = self.model.layers


class Counting(keras.callbacks.Callback):
    """Has a state of its own."""

    def __init__(self):
        super().__init__()
        self.counts = {"epochs": [0]}

    def on_epoch_end(self, epoch, logs=None):
        self.counts["epochs"][0] += 1


def test_callbacks_that_do_not_change_need_nothing(tmp_path):
    steady = Steady(tmp_path, X, print, lambda: 0)
    unfinished(tmp_path, steady)
    assert trained_epochs(tmp_path, steady) == [3, 4, 5]


class Fitting(kt.HyperModel):
    def build(self, hp):
        return tiny(hp)

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)


@pytest.mark.parametrize(
    ("callback", "build", "why"),
    [
        (Counting, tiny, "the state of its callback `Counting` cannot be saved"),
        (lambda: Steady(_ for _ in ()), tiny, "the state of its callback `Steady` cannot be saved"),
        (keras.callbacks.Callback, Fitting(), "it has a `fit` of its own"),
    ],
)
def test_what_cannot_be_saved_begins_anew_and_says_so_once(tmp_path, callback, build, why):
    line = f"A trial that is interrupted will begin anew: {why}."
    with pytest.warns(match=line) as warned:
        assert search(tmp_path, build, [callback], 3) is None
    assert len([each for each in warned if re.fullmatch(line, str(each.message))]) == 1
    assert not [*tmp_path.rglob(SNAPSHOT)]


@pytest.mark.heavy
def test_a_second_call_of_run_trial_does_not_continue_the_first(tmp_path):
    class Twice(rdt.Tuner):
        def run_trial(self, trial, *args, **kwargs):
            super().run_trial(trial, *args, **kwargs)
            super().run_trial(trial, *args, **kwargs)

    with pytest.warns(match="will begin anew: its `run_trial` trains several times"):
        search(tmp_path, tiny, kind=Twice)
    assert next(Interruption.left) == 10**6 - 2 * EPOCHS


@pytest.mark.heavy
@pytest.mark.parametrize("save_every", [30.0, None])
def test_a_short_trial_is_never_saved(tmp_path, save_every):
    unfinished(tmp_path, save_every=save_every)
    assert not [*tmp_path.rglob(SNAPSHOT)]
    assert trained_epochs(tmp_path) == [*range(EPOCHS)]


def test_the_seconds_of_a_search_can_be_changed_and_are_checked(tmp_path):
    unfinished(tmp_path)
    assert trained_epochs(tmp_path, save_every=None) == [3, 4, 5]
    for seconds in (0, "x", -1.0):
        with pytest.raises(InvalidArgumentError, match="`save_every`"):
            tuner_in(tmp_path / "other", tiny, save_every=seconds)


@pytest.mark.heavy
def test_with_a_damaged_snapshot_a_trial_begins_anew(tmp_path):
    unfinished(tmp_path)
    snapshot_in(tmp_path).write_bytes(b"damaged")
    with pytest.warns(match=r"snapshot.npy` is damaged, so its trial begins anew"):
        assert trained_epochs(tmp_path) == [*range(EPOCHS)]


def test_a_snapshot_of_another_model_ends_the_search(tmp_path):
    unfinished(tmp_path)
    with pytest.raises(SnapshotError, match=r"snapshot.npy` was saved by .* another model. Delete"):
        search(tmp_path, unbuilt)


def test_weights_in_bfloat16_are_kept(tmp_path):
    weights = [keras.ops.convert_to_numpy(keras.ops.full((2,), 0.5, "bfloat16"))]
    Snapshot([], [], [], {}, weights, [], []).save(tmp_path / SNAPSHOT)
    np.testing.assert_array_equal(Snapshot.load(tmp_path / SNAPSHOT).variables, [[0.5, 0.5]])
