"""Tests for `recdrop_tune.models.structure` and `renew`: which models can stand in for one another."""

import keras
import keras_tuner
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.models import SameDraws, renew, structure
from recdrop_tune.models.layers import kept_states
from recdrop_tune.wrappers import EmbeddingDropout, wrap
from tests.backends import BACKEND, array


def data(samples=24):
    x = np.random.default_rng(0).normal(size=(samples, 5, 3)).astype("float32")
    return x, (x.sum((1, 2)) > 0).astype("int64")


def model(wrapper="recurrent", units=4, learning_rate=0.01, loss="mse", seed=None, **options):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed or 0)
    layer = rdt.wrap(keras.layers.LSTM(units), wrapper, **{"rate": 0.3, **options})
    made = keras.Sequential([keras.Input((5, 3)), layer, keras.layers.Dense(1)])
    made.compile(keras.optimizers.Adam(learning_rate), loss)
    return made


@pytest.mark.backends
@pytest.mark.parametrize(
    "other",
    [
        {"rate": 0.5},
        {"learning_rate": 0.1},
        {"seed": 7},
        {"rate": 0.1, "seed": 3, "learning_rate": 1e-4},
    ],
)
def test_one_structure(other):
    assert structure(model()) == structure(model(**other))


@pytest.mark.parametrize(
    "other",
    [
        {"units": 5},
        {"wrapper": "variational"},
        {"placement": "input"},
        {"per_step": False},
        {"loss": "mae"},
        {"wrapper": "zoneout"},
    ],
)
def test_another_structure(other):
    assert structure(model()) != structure(model(**other))


def test_whether_the_hidden_rate_is_zero_is_structure():
    zero, some, more = (model("zoneout", hidden_rate=rate) for rate in (0.0, 0.1, 0.2))
    assert structure(zero) != structure(some)
    assert structure(some) == structure(more)


def test_stock_dropout_is_structure():
    def stock(rate):
        made = keras.Sequential([keras.Input((5,)), keras.layers.Dropout(rate)])
        made.compile("sgd", "mse")
        return made

    assert structure(stock(0.1)) != structure(stock(0.2))


def test_decays_are_structure():
    def decaying(decay):
        keras.utils.clear_session(free_memory=False)
        layer = wrap(keras.layers.GRU(2), "recurrent", rate=0.2, activity_decay=decay)
        made = keras.Sequential([keras.Input((5, 3)), layer])
        made.compile("sgd", "mse")
        return made

    assert structure(decaying(1.0)) == structure(decaying(1.0))
    assert structure(decaying(1.0)) != structure(decaying(2.0))


def closure(alpha):
    def loss(y, prediction):
        return alpha * keras.ops.mean((y - prediction) ** 2)

    return loss


class Own(keras.Model):
    def call(self, x):
        return x


def test_what_a_configuration_does_not_tell_is_not_shared():
    # Two losses of one name.
    assert structure(model(loss=closure(1.0))) is None
    own = Own()
    own.compile("sgd", "mse")
    own(np.ones((1, 2)))
    assert structure(own) is None
    uncompiled = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert structure(uncompiled) is None


def test_a_class_made_in_the_build_function_is_another_each_time():
    def build(alpha):
        class Scale(keras.layers.Layer):
            def call(self, x):
                return alpha * x

        keras.utils.clear_session(free_memory=False)
        made = keras.Sequential([keras.Input((2,)), Scale()])
        made.compile("sgd", "mse")
        return made

    one, same = build(1.0), build(1.0)
    assert structure(one) == structure(same) != structure(build(2.0))
    assert not renew(one, same)


def without_dropout(learning_rate=0.01, seed=None):
    """A model whose trace is soon made, where the kind of its layers is not the point."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed or 0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    made = keras.Sequential([keras.Input((5, 3)), *layers])
    made.compile(keras.optimizers.Adam(learning_rate), "mse")
    return made


def everything(trained):
    return [array(v) for v in (*trained.variables, *trained.optimizer.variables)]


def fit(trained, **options):
    x, y = data(26)
    keras.utils.set_random_seed(11)  # the order of the batches
    options = {"validation_data": (x, y), "callbacks": [SameDraws(11)], **options}
    return trained.fit(x, y, epochs=2, batch_size=8, verbose=0, **options).history


@pytest.mark.parametrize(
    "wrapper",
    [
        *(pytest.param(each, marks=pytest.mark.backends) for each in ("none", "recurrent")),
        "zoneout",
        *(
            pytest.param(each, marks=pytest.mark.full)
            for each in ("variational", "native", "lambda", "concrete")
        ),
    ],
)
def test_a_renewed_model_trains_as_a_fresh_one(wrapper):
    first, second = {}, {"rate": 0.45, "learning_rate": 0.05, "seed": 5}
    if wrapper == "none":
        second.pop("rate")
    if wrapper == "concrete":
        first["samples"] = second["samples"] = 26
    if wrapper == "zoneout":
        first["hidden_rate"] = 0.1
        second["hidden_rate"] = 0.3

    def build(**options):
        return without_dropout(**options) if wrapper == "none" else model(wrapper, **options)

    used = build(**first)
    fit(used)
    traced = used.train_function
    assert renew(used, build(**second))
    reused, fresh_model = fit(used), build(**second)
    fresh = fit(fresh_model)
    # To the last bit: same weights, masks, order and optimizer.
    assert reused == fresh
    if (
        BACKEND == "tensorflow"
    ):  # Torch compiles nothing, and jax makes the outermost function anew.
        assert used.train_function is traced
    for one, other in zip(everything(used), everything(fresh_model), strict=True):
        np.testing.assert_array_equal(one, other)
    if wrapper != "none":
        assert used.layers[0].rate == 0.45
    if wrapper == "zoneout":
        assert used.layers[0].hidden_rate == 0.3


@pytest.mark.backends
@pytest.mark.parametrize("options", [{"validation_split": 0.2}, {"validation_freq": 2}], ids=str)
def test_batches_come_in_the_order_that_a_fresh_model_has(options):
    """The first `fit` of a model draws a permutation more on jax and torch."""
    used = without_dropout()
    fit(used)
    assert renew(used, without_dropout(learning_rate=0.05))
    if "validation_split" in options:
        options = {**options, "validation_data": None}
    assert fit(used, **options) == fit(without_dropout(learning_rate=0.05), **options)


@pytest.mark.backends
def test_only_the_first_training_begins_anew():
    """Seeded twice, a hypermodel that trains in two parts would see the same batches in both."""
    np.random.seed(3)
    draws = SameDraws(11)
    found = []
    for _ in range(2):
        draws.on_train_begin()
        found.append(np.random.random())
    SameDraws(None).on_train_begin()
    found.append(np.random.random())
    expected = np.random.RandomState(3 if BACKEND == "tensorflow" else 11)
    assert found == expected.random(3).tolist()


@pytest.mark.backends
def test_the_rate_of_an_embedding_is_renewed():
    def build(rate):
        keras.utils.clear_session(free_memory=False)
        embedding = EmbeddingDropout(keras.layers.Embedding(10, 4), rate)
        made = keras.Sequential([keras.Input((5,)), embedding, keras.layers.LSTM(3)])
        made.compile("adam", "mse")
        return made

    one, other = build(0.1), build(0.4)
    assert structure(one) == structure(other)
    assert renew(one, other)
    assert one.layers[0].rate == 0.4


@pytest.mark.backends
@pytest.mark.parametrize("wrapped", [False, True])
def test_states_begin_anew(wrapped):
    def build():
        layer = keras.layers.LSTM(3, stateful=True)
        layer = rdt.wrap(layer, "recurrent", rate=0.2) if wrapped else layer
        made = keras.Sequential([keras.Input(batch_shape=(8, 5, 3)), layer, keras.layers.Dense(1)])
        made.compile("sgd", "mse")
        return made

    used = build()
    states = kept_states(used)
    assert len(states) == 2
    for state in states:  # As training does, but on jax, where it leaves them as they are.
        state.assign(np.ones(state.shape))
    assert renew(used, build())
    assert not any(np.any(array(state)) for state in states)


class Total(keras.metrics.Metric):
    """Counts on over all epochs."""

    def __init__(self, name="total"):
        super().__init__(name=name)
        self.total = self.add_weight(name="total", initializer="zeros")

    def update_state(self, y, prediction, sample_weight=None):
        self.total.assign_add(1.0)

    def result(self):
        return self.total + 0.0

    def reset_state(self):
        pass


def test_metrics_that_are_never_reset_begin_anew():
    def build():
        made = without_dropout()
        made.compile("sgd", "mse", metrics=[Total()])
        return made

    used = build()
    first = fit(used)
    assert None is not structure(used) == structure(build())
    assert renew(used, build())
    assert fit(used) == first


def test_an_optimizer_that_scales_losses_is_renewed():
    def build(rate):
        made = without_dropout()
        made.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(rate)), "mse")
        return made

    used = build(0.1)
    fit(used)
    assert renew(used, build(0.01))
    assert fit(used) == fit(build(0.01))


def test_other_variables_that_are_trained_are_another_structure():
    def build(frozen):
        made = without_dropout()
        made.layers[frozen].kernel.trainable = False
        made.compile("sgd", "mse")
        return made

    assert not renew(build(1), build(2))


def test_the_cache_keeps_the_last_structures():
    from recdrop_tune.tuner.lending import ModelCache

    cache = ModelCache(2)
    lent = []
    for units in (3, 4, 5, 4, 3):
        with cache.lend(model(units=units)) as got:
            lent.append(got)
    assert lent[3] is lent[1]  # 4 was kept,
    assert lent[4] is not lent[0]  # 3 was given up for 5.
    assert cache.reused == 1


def test_a_training_that_breaks_off_or_changes_the_model_is_not_kept():
    from recdrop_tune.tuner.lending import ModelCache

    cache = ModelCache(2)
    with pytest.raises(RuntimeError), cache.lend(model()) as broken:
        raise RuntimeError
    with cache.lend(model()) as changed:
        assert changed is not broken
        changed.layers[0].trainable = False
        changed.compile("sgd", "mse")
    with cache.lend(model()) as got:
        assert got is not changed


@pytest.mark.heavy
def test_a_search_gives_the_same_numbers_with_and_without_reuse(tmp_path):
    scores = []
    for reuse in (4, 0):
        hp_oracle = rdt.OptunaOracle("val_loss", 4, seed=0, pruner="none")
        space = {"cell": "gru", "units": 3, "wrapper": "recurrent", "placement": "recurrent"}
        space |= {"rate": {"min": 0.1, "max": 0.6, "step": 0.05}}
        space |= {"learning_rate": {"min": 1e-3, "max": 1e-1, "log": True}}
        hypermodel = rdt.SequenceClassifier(2, (None, 3), space=space)
        tuner = rdt.Tuner(
            hp_oracle,
            hypermodel,
            seed=0,
            reuse_models=reuse,
            directory=tmp_path / str(reuse),
            project_name="p",
        )
        x, y = data()
        tuner.search(x, y, validation_data=(x, y), epochs=2, batch_size=8, verbose=0)
        scores.append([trial.score for trial in hp_oracle.trials.values()])
        assert tuner.models_reused == (3 if reuse else 0)
    assert scores[0] == scores[1]
    assert len(set(scores[0])) > 1


class Power(keras.losses.Loss):
    def __init__(self, power):
        super().__init__()
        self.power = power

    def call(self, y, prediction):
        return self.power * keras.ops.mean((y - prediction) ** 2, -1)


def stateful(hp):
    layers = [keras.layers.SimpleRNN(3, stateful=True), keras.layers.Dense(1)]
    made = keras.Sequential([keras.Input(batch_shape=(8, 5, 3)), *layers])
    made.compile(keras.optimizers.SGD(hp.Choice("rate", [0.01, 0.1])), "mse")
    return made


def of_own_loss(hp):
    made = without_dropout()
    made.compile("sgd", Power(hp.Choice("power", [0.1, 1.0])))
    return made


def adapted(hp):
    layer = keras.layers.Normalization()
    layer.adapt(data()[0] * hp.Choice("scale", [0.1, 1.0]))
    made = keras.Sequential([keras.Input((5, 3)), layer, *without_dropout().layers])
    made.compile("sgd", "mse")
    return made


@pytest.mark.parametrize(("build", "reused"), [(stateful, 1), (of_own_loss, 0), (adapted, 0)])
def test_trials_have_the_numbers_of_fresh_models(build, reused, tmp_path):
    scores = {}
    for reuse in (0, 4):
        oracle = keras_tuner.oracles.GridSearchOracle("val_loss", max_trials=2, seed=1)
        place = {"directory": tmp_path / str(reuse), "project_name": "p"}
        tuner = rdt.Tuner(oracle, build, seed=0, reuse_models=reuse, **place)
        x, y = data()
        tuner.search(x, y, validation_data=(x, y), epochs=2, batch_size=8, verbose=0)
        scores[reuse] = [trial.score for trial in oracle.trials.values()]
        assert tuner.models_reused == (reused if reuse else 0)
    assert scores[4] == scores[0]
    assert scores[0][0] != scores[0][1]
