"""`recdrop_tune.Tuner` replaces `keras_tuner.Tuner`: the same scripts give the same results.

The scripts do what Keras Tuner's guides and public tutorials do. Their models begin with given weights and
see the data in order, so that both tuners reach the same numbers.
"""

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt

pytestmark = [
    # A model that has not been trained has no slots for the optimizer's state yet, which Keras says.
    pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer"),
    # Keras Tuner's word for a `run_trial` that reports by itself.
    pytest.mark.filterwarnings("ignore:The use case of calling:DeprecationWarning"),
]

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X.sum(1, keepdims=True)
FIT = {"validation_data": (X, Y), "epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0}


def build(hp, run_eagerly=True):
    rate = hp.Choice("learning_rate", [0.001, 0.01, 0.1, 1.0])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=run_eagerly)
    return model


def traced(hp):
    """All other models run eagerly: tracing takes longer than such a training."""
    return build(hp, run_eagerly=False)


def oracle(max_trials=2, objective="val_loss", **kwargs):
    return kt.oracles.RandomSearchOracle(objective, max_trials, seed=1, **kwargs)


def score(name="score"):
    return kt.Objective(name, "min")


def run(tuner, *args, **kwargs):
    tuner.search(*args, **kwargs)
    return trials_of(tuner)


def search(tuner, **kwargs):
    return run(tuner, X, Y, **{**FIT, **kwargs})


def trials_of(tuner):
    return [
        (
            trial.trial_id,
            trial.status,
            dict(trial.hyperparameters.values),
            trial.score,
            trial.best_step,
        )
        for trial in tuner.oracle.trials.values()
    ]


def weights_of(model):
    return [weight.tolist() for weight in model.get_weights()]


SCRIPTS = {}


def script(function):
    """Registers a script. It takes a class of tuners and the arguments for the folder."""
    SCRIPTS[function.__name__] = function
    return function


@script
def a_build_function(kind, where):
    tuner = kind(oracle(), traced, **where)
    tuner.search_space_summary()
    left = tuner.remaining_trials
    found = search(tuner)
    tuner.results_summary()
    best = tuner.get_best_hyperparameters(2)
    model = tuner.get_best_models()[0]
    again = tuner.hypermodel.build(best[0])
    return (
        [found, left, tuner.remaining_trials, [hp.values for hp in best]]
        + [weights_of(model), weights_of(again), model.evaluate(X, Y, verbose=0)]
        + [weights_of(tuner.load_model(tuner.oracle.get_best_trials(2)[1]))]
        + [trial.trial_id for trial in tuner.oracle.get_best_trials(3)]
    )


def fits(fit, build=build, **options):
    """A script with a hypermodel that overrides `fit`."""

    def run(kind, where):
        model = type("Own", (kt.HyperModel,), {"build": lambda self, hp: build(hp), "fit": fit})
        return search(kind(oracle(**options), model(), **where))

    return run


def fit_with_a_batch_size(self, hp, model, *args, **kwargs):
    return model.fit(*args, **{**kwargs, "batch_size": hp.Choice("batch_size", [4, 8])})


def fit_and_return_a_list(self, hp, model, *args, **kwargs):
    return [hp["learning_rate"], {"score": 1.0, "more": 2.0}, np.float32(3.0)]


def build_without_shapes(hp):
    hp.Choice("learning_rate", [0.1, 0.2, 0.3])
    return keras.Sequential([keras.layers.Dense(1)])


def return_the_rate(self, hp, *args, **kwargs):
    return hp["learning_rate"]


SCRIPTS |= {
    "a_hypermodel_with_a_fit": fits(fit_with_a_batch_size),
    "a_fit_that_returns_a_list": fits(fit_and_return_a_list, objective=score()),
    "a_fit_that_never_builds_the_model": fits(return_the_rate, build_without_shapes),
    "an_objective_that_is_left_unspecified": fits(return_the_rate, objective=None),
}


@script
def a_training_loop(kind, where):
    """As in the guide: it calls the callbacks, and the weights of the best epoch are kept."""

    class Own(kt.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, x, y, validation_data, callbacks=None, **kwargs):
            for callback in callbacks:
                callback.set_model(model)
            losses = []
            for epoch, value in enumerate((3.0, 1.0, 2.0)):
                model.set_weights([np.full((3, 1), value), np.zeros(1)])
                losses.append(value + hp["learning_rate"])
                for callback in callbacks:
                    callback.on_epoch_end(epoch, logs={"score": losses[-1]})
            return min(losses)

    tuner = kind(oracle(objective=score()), Own(), **where)
    return [search(tuner), weights_of(tuner.get_best_models()[0])]


@script
def a_black_box(kind, where):
    class Own(kind):
        def run_trial(self, trial, *args, **kwargs):
            return trial.hyperparameters.Float("x", -1.0, 1.0) ** 2

    return run(Own(oracle(), **where))


def runs(method, name="run_trial"):
    """A script with a subclass of the tuner; its method gets that of the tuner as its last argument."""

    def run(kind, where):
        def own(self, trial, *args, **kwargs):
            return method(self, trial, *args, above=getattr(super(Own, self), name), **kwargs)

        Own = type("Own", (kind,), {name: own})
        return search(Own(oracle(), build, **where))

    return run


def run_and_score_anew(self, trial, *args, above, **kwargs):
    above(trial, *args, **kwargs)
    return {"val_loss": 7.0 + trial.hyperparameters["learning_rate"]}


def fit_and_report(self, trial, x, y, above, **kwargs):
    history = self.hypermodel.build(trial.hyperparameters).fit(x, y, **kwargs)
    self.oracle.update_trial(trial.trial_id, {"val_loss": history.history["val_loss"][-1]})


def fit_with_folds(self, trial, x, y, above, **kwargs):
    kwargs.pop("validation_data")
    losses = []
    for part in (slice(0, 8), slice(8, 16)):
        model = self._try_build(trial.hyperparameters)
        model.fit(x[part], y[part], validation_data=(x, y), **kwargs)
        losses.append(model.evaluate(x, y, verbose=0))
    return {"val_loss": float(np.mean(losses)), "worst": max(losses)}


SCRIPTS |= {
    "a_run_trial_that_scores_anew": runs(run_and_score_anew),
    "a_run_trial_that_reports_by_itself": runs(fit_and_report),
    "a_build_and_fit_model_with_folds": runs(fit_with_folds, "_build_and_fit_model"),
}


@script
def a_run_trial_that_forgets_to_return(kind, where):
    class Own(kind):
        def run_trial(self, trial, *args, **kwargs):
            self.hypermodel.build(trial.hyperparameters)

    with pytest.raises(kt.errors.FatalTypeError) as caught:
        search(Own(oracle(), build, **where))
    return str(caught.value).partition("metrics? ")[0]


@script
def arguments_of_compile_over_a_models_own(kind, where):
    tuner = kind(oracle(2), build, None, "sgd", "mae", **where)
    return search(tuner)


@script
def a_model_that_is_too_large(kind, where):
    tuner = kind(oracle(2), build, max_model_size=3, **where)
    found = search(tuner)
    messages = [trial.message for trial in tuner.oracle.trials.values()]
    return [found, ["Oversized model: 4 parameters" in message for message in messages]]


@script
def a_model_that_is_none(kind, where):
    with pytest.raises(kt.errors.FatalTypeError):
        search(kind(oracle(), lambda hp: "no model", **where))


@script
def callbacks(kind, where):
    """Each training has copies of them, which know each other."""

    class Asks(keras.callbacks.Callback):
        def __init__(self, other):
            super().__init__()
            self.other = other

        def on_train_end(self, logs=None):
            seen.append(self.other.best)

    stop = keras.callbacks.EarlyStopping("val_loss", min_delta=10.0, patience=1)
    seen = []
    found = search(kind(oracle(), build, **where), callbacks=[stop, Asks(stop)], epochs=9)
    return [found, seen, stop.stopped_epoch]


@script
def tensorboard(kind, where):
    folder = where["directory"] / "board"
    search(kind(oracle(2), build, **where), callbacks=[keras.callbacks.TensorBoard(folder)])
    files = [path.relative_to(folder).parts[:3] for path in folder.rglob("events*")]
    # Each training has a file of the hyperparameters, and those of Keras's callback.
    return sorted((*parts[:2], parts[2].split(".")[0]) for parts in files)


@script
def the_hooks_of_a_tuner(kind, where):
    calls = []

    def noting(name):
        def hook(self, *args, **kwargs):
            calls.append((name, len(args), sorted(kwargs)))
            return getattr(super(Own, self), name)(*args, **kwargs)

        return hook

    names = ["epoch_begin", "epoch_end", "batch_begin", "batch_end", "trial_begin", "trial_end"]
    names += ["search_begin", "search_end"]
    Own = type("Own", (kind,), {f"on_{name}": noting(f"on_{name}") for name in names})
    search(Own(oracle(1), build, **where))
    return calls


@script
def a_distribution_strategy(kind, where):
    """Without a training: TensorFlow (2.21) has died in one of a segmentation fault."""
    tf = pytest.importorskip("tensorflow")
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")

    class Own(kt.HyperModel):
        def build(self, hp):
            model = build(hp)
            model.strategy = tf.distribute.get_strategy()
            return model

        def fit(self, hp, model, *args, **kwargs):
            assert model.strategy is strategy
            return hp["learning_rate"]

    return search(kind(oracle(), Own(), distribution_strategy=strategy, **where))


@script
def several_objectives(kind, where):
    goals = ["val_loss", kt.Objective("loss", "min")]
    tuner = kind(oracle(objective=goals), build, **where)
    search(tuner, epochs=1)
    return trials_of(tuner)


@script
def a_search_goes_on_and_begins_anew(kind, where):
    found = []
    for max_trials, overwrite in [(1, False), (2, False), (1, True)]:
        tuner = kind(oracle(max_trials), build, overwrite=overwrite, **where)
        found.append(search(tuner))
    other = kind(oracle(9), build, **where)
    other.reload()
    return [*found, trials_of(other), other.remaining_trials]


def same(one, other):
    """Returns whether two results are the same, numbers up to rounding."""
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, float):
        return one == pytest.approx(other, rel=1e-5)
    return one == other


HEAVY = (
    "a_build_and_fit_model_with_folds",
    "a_hypermodel_with_a_fit",
    "a_run_trial_that_reports_by_itself",
    "a_run_trial_that_scores_anew",
    "a_search_goes_on_and_begins_anew",
    "arguments_of_compile_over_a_models_own",
    "callbacks",
    "several_objectives",
    "tensorboard",
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.heavy if name in HEAVY else ()) for name in SCRIPTS],
)
def test_the_same_comes_out_as_with_keras_tuner(tmp_path, capsys, name):
    found, printed = [], []
    for kind in (kt.Tuner, rdt.Tuner):
        where = {"directory": tmp_path / kind.__module__, "project_name": "p"}
        found.append(SCRIPTS[name](kind, where))
        printed.append(capsys.readouterr().out.replace(str(where["directory"]), "DIRECTORY"))
    stock, ours = found
    assert same(stock, ours), f"{stock}\n{ours}"
    assert printed[0] == printed[1] or name != "a_build_function"


def test_a_run_trial_may_save_its_model(tmp_path):
    class Own(rdt.Tuner):
        def run_trial(self, trial, x, y, **kwargs):
            model = self.hypermodel.build(trial.hyperparameters)
            history = model.fit(x, y, **kwargs)
            self.save_model(trial.trial_id, model)
            saved[trial.trial_id] = weights_of(model)
            return history

    saved = {}
    tuner = Own(oracle(), build, directory=tmp_path)
    search(tuner)
    best = tuner.oracle.get_best_trials()[0]
    assert weights_of(tuner.get_best_models()[0]) == saved[best.trial_id]
