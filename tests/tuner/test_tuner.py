"""Tests for `recdrop_tune.Tuner`: what it reports, when it stops, what it keeps, how it fails."""

import copy
import math

import keras
import keras_tuner as kt
import numpy as np
import pytest
from sklearn.model_selection import TimeSeriesSplit

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError
from recdrop_tune.tuner import GroupedFolds, retrain
from recdrop_tune.tuner.reports import is_nearly_over
from recdrop_tune.tuner.trainings import folds
from tests.small_search import Curves, build, data


def oracle(max_trials=2, objective="val_loss", **kwargs):
    return rdt.OptunaOracle(objective, max_trials, seed=0, **kwargs)


def search(tmp_path, hypermodel=build, own=None, tuner=None, **fit):
    tuner = rdt.Tuner(
        own or oracle(), hypermodel, directory=tmp_path, project_name="p", seed=0, **(tuner or {})
    )
    x, y = data()
    given = {"epochs": 2, "batch_size": len(x), "verbose": 0}
    if tuner.cv is None and not isinstance(hypermodel, Curves):  # They say what is found.
        given["validation_data"] = (x, y)
    tuner.search(x, y, **given | fit)
    return tuner


def trial_of(tuner, number=0):
    return tuner.oracle.trials[tuner.oracle.start_order[number]]


def model_with(fit):
    """A hypermodel with this `fit`, which takes the model and the arguments of `Model.fit`."""

    class Own(kt.HyperModel):
        def build(self, hp):
            hp.Float("x", 0.0, 1.0)
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            return fit(model, *args, **kwargs)

    return Own()


# Which epoch counts otherwise: `tests/oracle/test_scores_agree.py`.
def test_every_epoch_reaches_the_oracle_and_the_best_one_counts(tmp_path):
    tuner = search(tmp_path, Curves([0.5, 0.2, 0.4, math.nan]), oracle(1))
    trial = trial_of(tuner)
    assert [each.step for each in trial.metrics.get_history("val_loss")] == [0, 1, 2]
    assert trial.status == "COMPLETED"
    assert (trial.score, trial.best_step) == (0.2, 1)
    # The study has the curve too.
    (optuna_trial,) = tuner.oracle.study.trials
    assert optuna_trial.intermediate_values == {0: 0.5, 1: 0.2, 2: 0.4}
    assert optuna_trial.value == 0.2


def test_a_trial_that_diverges_fails_with_its_reason_and_the_search_goes_on(tmp_path):
    nan = [math.nan, math.nan]
    tuner = search(tmp_path, Curves(nan, nan, nan, nan, [0.3]), oracle(5))
    states = [trial_of(tuner, number).status for number in range(5)]
    assert states == ["FAILED"] * 4 + ["COMPLETED"]
    assert "`val_loss` was NaN or infinite in every epoch" in trial_of(tuner).message
    assert [each.state.name for each in tuner.oracle.study.trials] == ["FAIL"] * 4 + ["COMPLETE"]


def test_training_ends_where_the_loss_is_no_number(tmp_path):
    def explode(hp):
        hp.Float("x", 0.0, 1.0)
        model = build(hp)
        model.compile(keras.optimizers.SGD(1e30), "mse")
        return model

    tuner = search(tmp_path, explode, oracle(1, objective="loss"), epochs=50)
    histories = trial_of(tuner).metrics.metrics
    assert not histories or len(histories["loss"].get_history()) < 5


@pytest.mark.parametrize("first", [[math.nan], None], ids=["diverged", "error"])
def test_a_retry_is_judged_by_itself(tmp_path, first):
    tuner = search(tmp_path, Curves(first, [0.3, 0.4]), oracle(1, max_retries_per_trial=1))
    trial = trial_of(tuner)
    assert (trial.status, trial.score, trial.best_step) == ("COMPLETED", 0.3, 0)
    first, second = tuner.oracle.study.trials
    assert (first.state.name, second.state.name) == ("FAIL", "COMPLETE")
    assert second.params == first.params


class OutOfMemoryError(RuntimeError):
    """The name that torch gives it."""


def raising(error):
    def fit(*args, **kwargs):
        raise error

    return model_with(fit)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("too much"),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes"),
    ],
)
def test_out_of_memory_fails_the_trial_alone(tmp_path, error):
    """As the three backends and Python say it."""
    # Four in a row are more than the three failures that end a search of broken trials.
    tuner = search(tmp_path, raising(error), oracle(4, max_retries_per_trial=3))
    assert [trial_of(tuner, number).status for number in range(4)] == ["FAILED"] * 4
    assert trial_of(tuner).message.startswith("Out of memory: ")
    assert "MemoryError" in trial_of(tuner).message or "RuntimeError" in trial_of(tuner).message


def test_broken_trials_end_the_search_and_the_next_one_can_go_on(tmp_path):
    own = oracle(10)
    with pytest.raises(RuntimeError, match="exceeded the limit of 3"):
        search(tmp_path, raising(ValueError("a bug")), own)
    assert [each.state.name for each in own.study.trials] == ["FAIL"] * 3
    # Keras Tuner would refuse this folder for ever.
    tuner = search(tmp_path, Curves([0.5], [0.4]), oracle(5))
    assert len(tuner.oracle.trials) == 5


@pytest.mark.parametrize(
    ("epoch", "epochs", "nearly"),
    [
        (4, 8, False),
        (5, 8, True),  # Two are left.
        (35, 40, False),  # Four are left: a tenth.
        (36, 40, True),
        (3, None, False),
    ],
)
def test_near_its_end_a_trial_is_not_stopped(epoch, epochs, nearly):
    assert is_nearly_over(epoch, epochs) == nearly


class Impatient(kt.oracles.RandomSearchOracle):
    """Any oracle that has a trial stopped after its third epoch."""

    def update_trial(self, trial_id, metrics, step=0):
        trial = copy.copy(super().update_trial(trial_id, metrics, step))
        trial.status = "STOPPED" if step == 2 else trial.status
        return trial


def test_any_oracle_can_stop_a_trial(tmp_path):
    curves = Curves([0.5, 0.4, 0.45, 0.3, 0.2, 0.1])
    tuner = search(tmp_path, curves, Impatient(kt.Objective("val_loss", "min"), 1, seed=1))
    assert curves.epochs == [3]
    assert trial_of(tuner).status == "STOPPED"


def test_executions_start_from_other_weights_and_the_same_seed_repeats_them(tmp_path):
    def fit(model, *args, **kwargs):
        seen.append(model.get_weights()[0].copy())
        return model.fit(*args, **kwargs)

    seen = []
    for name in "ab":
        search(tmp_path / name, model_with(fit), oracle(1), {"executions_per_trial": 2})
    assert not np.allclose(seen[0], seen[1])
    assert all(map(np.array_equal, seen[:2], seen[2:]))


@pytest.mark.parametrize("cv", [3, pytest.param(TimeSeriesSplit(3), marks=pytest.mark.heavy)])
def test_cross_validation_trains_once_a_fold(tmp_path, cv):
    def fit(model, *args, x, y, validation_data, **kwargs):
        parts.append((len(x), len(validation_data[0])))
        return model.fit(x, y, validation_data=validation_data, **kwargs)

    parts = []
    tuner = search(tmp_path, model_with(fit), oracle(1), {"cv": cv})
    assert parts == ([(16, 8)] * 3 if isinstance(cv, int) else [(6, 6), (12, 6), (18, 6)])
    assert len(trial_of(tuner).metrics.get_history("val_loss")[0].value) == 3


def test_without_a_seed_all_trials_have_the_same_folds(tmp_path):
    """Also after an interruption, or a fold would be judged on samples that it was trained on."""

    def fit(model, *args, x, validation_data, **kwargs):
        held_out.append(validation_data[0])
        return model.fit(x, validation_data=validation_data, **kwargs)

    held_out = []
    tuner = rdt.Tuner(oracle(2), model_with(fit), directory=tmp_path, cv=2)
    tuner.search(*data(), epochs=1, verbose=0)
    assert all(map(np.array_equal, held_out[:2], held_out[2:]))


@pytest.mark.parametrize(
    ("cv", "fit", "message"),
    [
        (2, {"validation_data": data()}, "takes them from the training data"),
        (25, {}, "`cv`. Expected at most 24 folds, the number of samples. Received: cv=25"),
    ],
)
def test_what_cannot_be_split_is_refused_before_anything_is_trained(tmp_path, cv, fit, message):
    with pytest.raises(InvalidArgumentError, match=message):
        search(tmp_path, own=oracle(1), tuner={"cv": cv}, **fit)
    assert not list(tmp_path.glob("p/trial_*"))


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("targets", "stratified"),
    [
        (np.repeat([0, 1], [6, 12]), True),
        (np.repeat([0, 1, 2], [2, 6, 10]), False),  # A class that not each fold can have.
        (np.arange(18), False),
        (np.arange(18)[:, None], False),
    ],
)
def test_targets_are_classes_if_each_fold_can_have_them(targets, stratified, grouped):
    """A regression on integers has folds too."""
    fit = {"x": np.zeros((18, 2)), "y": targets}
    cv = GroupedFolds(3, np.arange(18)) if grouped else 3
    held_out = [part["validation_data"][1].ravel().tolist() for part in folds(cv, 0, fit)]
    assert sorted(label for part in held_out for label in part) == sorted(targets.ravel().tolist())
    assert all(len(part) == 6 for part in held_out)
    assert all(part.count(0) == 2 for part in held_out) == stratified


def test_the_weights_of_the_best_are_kept(tmp_path):
    """Also in a resumed search."""
    begun = iter([0.5, 0.4, 0.3, 0.35, 0.6, 0.32])
    hypermodel = model_with(lambda *_, **__: next(begun))
    left = {}
    for trials in (5, 6):
        search(tmp_path, hypermodel, oracle(trials), {"keep_checkpoints": 2})
        kept = tmp_path.rglob("*.weights.h5")
        left[trials] = sorted(int(path.parent.name.removeprefix("trial_")) for path in kept)
    assert left == {5: [2, 3], 6: [2, 5]}


class Remembers(Curves):
    seen = ()

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        class See(keras.callbacks.Callback):
            def on_epoch_end(see, epoch, logs=None):
                self.seen = (*self.seen, see.model.get_weights())

        return super().fit(hp, model, *args, callbacks=[See(), *callbacks], **kwargs)


def test_the_weights_are_those_of_the_best_epoch_of_all_trainings(tmp_path):
    hypermodel = Remembers([0.5, 0.4], [0.5, 0.1, 0.3])
    tuner = search(tmp_path, hypermodel, oracle(1), {"cv": 2})
    loaded = tuner.get_best_models(1)[0].get_weights()
    best, last = hypermodel.seen[-2:]
    for weights, expected, other in zip(loaded, best, last, strict=True):
        np.testing.assert_array_equal(weights, expected)
        assert not np.array_equal(weights, other)


class Stages(Remembers):
    """Fits twice in each training: for a start, and then in earnest."""

    def __init__(self, returned, *curves):
        super().__init__(*curves)
        self.returned = returned

    def fit(self, *args, **kwargs):
        return self.returned([super(Stages, self).fit(*args, **kwargs) for _ in range(2)])


@pytest.mark.parametrize(
    ("returned", "score", "best", "epochs"),
    [
        (lambda histories: histories[1], 0.4, 3, 3),
        pytest.param(lambda histories: histories[0], 0.1, 0, 1, marks=pytest.mark.heavy),
        pytest.param(lambda histories: histories, 0.25, 0, 1, marks=pytest.mark.heavy),
    ],
    ids=["last", "first", "both"],
)
def test_what_is_returned_after_several_fits_of_a_training_counts(
    tmp_path, returned, score, best, epochs
):
    hypermodel = Stages(returned, *[[0.1, 0.2], [0.5, 0.4, 0.6]] * 2)
    tuner = search(tmp_path, hypermodel, oracle(1))
    trial, (x, y) = trial_of(tuner), data()
    assert trial.score == pytest.approx(score)
    # Never the mean of two epochs of one number.
    history = trial.metrics.get_history("val_loss")
    assert [len(each.value) for each in history] == [1] * epochs
    kept = tuner.get_best_models()[0].get_weights()
    again = retrain(tuner, trial, 5, {"x": x, "y": y, "verbose": 0})
    assert again.score == pytest.approx(score)
    for weights, of in ((kept, best), (again.weights, best + 5)):
        assert all(map(np.array_equal, weights, hypermodel.seen[of]))


@pytest.mark.heavy
def test_several_fits_of_several_trainings(tmp_path):
    curves = [[0.1], [0.5, 0.4], [0.1], [0.7, 0.2]]
    hypermodel = Stages(lambda histories: histories[1], *curves)
    tuner = search(tmp_path, hypermodel, oracle(1), {"executions_per_trial": 2})
    history = trial_of(tuner).metrics.get_history("val_loss")
    assert [each.value for each in history] == [[0.5, 0.7], [0.4, 0.2]]


@pytest.mark.heavy
def test_each_fold_is_tested_with_its_own_weights(tmp_path):
    hypermodel = Remembers([0.5], [0.5], [0.5, 0.1, 0.3], [0.5, 0.6])
    tuner = search(tmp_path, hypermodel, oracle(1), {"cv": 2})
    trial, (x, y) = trial_of(tuner), data()
    again = retrain(tuner, trial, 5, {"x": x, "y": y, "verbose": 0}, (x, y))
    bests = hypermodel.seen[3], hypermodel.seen[5]
    model, losses = tuner.hypermodel.build(trial.hyperparameters), []
    for best in bests:
        model.set_weights(best)
        losses.append(model.evaluate(x, y, verbose=0)[0])
    assert again.test["loss"] == pytest.approx(np.mean(losses))
    assert losses[0] != pytest.approx(losses[1])
    assert all(map(np.array_equal, again.weights, bests[0]))


def test_the_weights_of_the_largest_objective_are_kept_if_it_is_maximized(tmp_path):
    """Also where the configuration is trained once more."""
    hypermodel = Remembers(*[[0.5, 0.9, 0.7]] * 2, metric="val_accuracy")
    own = oracle(1, objective=kt.Objective("val_accuracy", "max"))
    tuner = search(tmp_path, hypermodel, own)
    trial = trial_of(tuner)
    assert (trial.best_step, trial.score) == (1, pytest.approx(0.9))
    kept = tuner.get_best_models(1)[0].get_weights()
    x, y = data()
    fit = {"x": x, "y": y, "epochs": 3, "verbose": 0}
    again = retrain(tuner, trial, 5, fit, (x, y))
    assert (again.best_epoch, again.score) == (1, pytest.approx(0.9))
    for weights, best in ((kept, hypermodel.seen[1]), (again.weights, hypermodel.seen[4])):
        assert all(map(np.array_equal, weights, best))
    model = tuner.hypermodel.build(trial.hyperparameters)
    model.set_weights(again.weights)
    assert again.test["loss"] == pytest.approx(model.evaluate(x, y, verbose=0)[0])


def test_callbacks_are_copied_or_made_for_each_training(tmp_path):
    class Uncopyable(keras.callbacks.Callback):
        made = 0

        def __init__(self):
            super().__init__()
            Uncopyable.made += 1

        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle a lock")

    search(tmp_path / "a", own=oracle(2), callbacks=[Uncopyable, lambda: Uncopyable()])
    assert Uncopyable.made == 4
    with pytest.raises(RecdropError, match=r"Pass a function that makes one: callbacks=\[lambda"):
        search(tmp_path / "b", callbacks=[Uncopyable()])
    with pytest.raises(RecdropError, match="did not return a callback"):
        search(tmp_path / "c", callbacks=[lambda: "nothing"])


@pytest.mark.heavy
def test_a_subclassed_model_that_is_not_built_can_be_loaded(tmp_path):
    class Own(keras.Model):
        def __init__(self, rnn):
            super().__init__()
            self.rnn, self.head = rnn, keras.layers.Dense(2, "softmax")

        def call(self, inputs, training=False):
            return self.head(self.rnn(inputs, training=training))

    def subclassed(hp):
        space = {"wrapper": "recurrent", "rate": 0.3}
        model = Own(rdt.dropout_rnn(hp, keras.layers.GRU(3), space=space))
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        return model

    tuner = search(tmp_path, subclassed, oracle(1))
    loss = tuner.get_best_models()[0].evaluate(*data(), verbose=0)
    assert loss == pytest.approx(trial_of(tuner).score)


def test_a_folder_keeps_its_objective(tmp_path):
    search(tmp_path, own=oracle(1))
    words = r"objective {'val_loss': 'min'}.*{'val_accuracy': 'max'}.*project_name"
    with pytest.raises(ProjectError, match=words):
        search(tmp_path, own=oracle(2, "val_accuracy"))
    assert len(search(tmp_path, own=oracle(2)).oracle.trials) == 2


@pytest.mark.heavy
def test_a_folder_keeps_its_ranges_and_says_so(tmp_path, recwarn):
    def with_share(highest, new="a"):
        def searched(hp):
            hp.Float("share", 0.0, highest)
            hp.Int(new, 1, 9)  # New ones are added.
            return build(hp)

        return searched

    search(tmp_path, with_share(0.5), oracle(1))
    search(tmp_path, with_share(0.5, "b"), oracle(2))
    assert not [each for each in recwarn if "space" in str(each.message)]
    words = r"(?s)resumes .*began with.*\n  share.high: 0.5 there, 0.8 now\n.*project_name"
    with pytest.warns(UserWarning, match=words):
        tuner = search(tmp_path, with_share(0.8), oracle(3))
    assert len(tuner.oracle.trials) == 3


@pytest.mark.parametrize(
    ("argument", "steps"), [("x", "steps_per_epoch"), ("validation_data", "validation_steps")]
)
def test_a_generator_that_ends_is_refused(tmp_path, argument, steps):
    tuner = rdt.Tuner(oracle(2), build, directory=tmp_path)
    x, y = data()

    def endless():
        while True:
            yield x, y

    given = {"x": x, "y": y, "validation_data": (x, y), argument: endless()}
    if argument == "x":
        del given["y"]
    with pytest.raises(InvalidArgumentError, match=rf"can read again.*`{steps}` too"):
        tuner.search(**given, verbose=0)
    tuner.search(**given, verbose=0, **{steps: 1})
    assert len(tuner.oracle.trials) == 2


@pytest.mark.parametrize(
    ("returned", "message"),
    [(None, r"HyperModel.fit\(\) is None. Did you forget"), ({"f": 1}, "val_loss")],
)
def test_a_fit_that_returns_nothing_useful_ends_the_search(tmp_path, returned, message):
    with pytest.raises(kt.errors.FatalError, match=message):
        search(tmp_path, model_with(lambda *_, **__: returned))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("keep_checkpoints", 0), ("reuse_models", -1), ("oracle", "optuna"), ("hypermodel", None)],
)
def test_invalid_arguments_are_refused(tmp_path, argument, value):
    given = {"oracle": oracle(), "hypermodel": build, argument: value}
    with pytest.raises(InvalidArgumentError, match=f"`{argument}`"):
        rdt.Tuner(directory=tmp_path, **given)


def of_two_kinds(hp):
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["a"]):
        hp.Int("x", 1, 4)
    with hp.conditional_scope("kind", ["b"]):
        hp.Float("x", 0.1, 0.9)
    return build(hp)


@pytest.mark.parametrize(
    ("tuner", "own"),
    [
        (rdt.Tuner, kt.oracles.RandomSearchOracle("val_loss", 2)),
        (kt.Tuner, rdt.OptunaOracle("val_loss", 2)),
    ],
)
def test_two_hyperparameters_of_one_name_are_refused(tmp_path, tuner, own):
    """Keras Tuner would lose the value of one, and draw another one instead of the proposed one."""
    with pytest.raises(InvalidArgumentError, match="`x` is registered under several conditions"):
        tuner(own, of_two_kinds, directory=tmp_path).search()


@pytest.mark.heavy
def test_a_policy_of_dtypes_stays(tmp_path):
    """Keras forgets it when its session is cleared, which every training begins with."""
    policies = []

    def fit(model, *args, **kwargs):
        policies.append(model.dtype_policy.name)
        return model.fit(*args, **kwargs)

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        search(tmp_path, model_with(fit))
    finally:
        keras.config.set_dtype_policy("float32")
    assert set(policies) == {"mixed_bfloat16"}


def test_keras_tuners_chief_serves_and_trains_nothing(tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr("keras_tuner.src.distribute.oracle_chief.start_server", served.append)
    part = {"TUNER_ID": "chief", "ORACLE_IP": "127.0.0.1", "ORACLE_PORT": "1"}
    for name, value in part.items():
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    tuner = rdt.Tuner(rdt.OptunaOracle("val_loss", 1), build, directory=tmp_path)
    tuner.search(*data())
    assert served == [tuner.oracle]
    assert not tuner.oracle.trials
