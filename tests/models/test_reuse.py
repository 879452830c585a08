"""Reuse of compiled models, with the numbers of fresh models."""

import keras
import keras_tuner as kt
import numpy as np
import optuna
import pytest
from keras import layers, losses

import recdrop_tune as rdt
from recdrop_tune import models
from recdrop_tune.models import ModelCache, dropout_layers, renew, structure
from recdrop_tune.models.layers import is_of_layers, kept_states, smallest_model
from tests.backends import BACKEND, array

SHAPE = (5, 3)
SPACE = {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.3, "units": 4}
FREE = {**SPACE, "rate": {"min": 0.1, "max": 0.5}, "learning_rate": {"min": 1e-3, "max": 1e-1}}


def data(samples=26):
    x = np.random.default_rng(0).normal(size=(samples, *SHAPE)).astype("float32")
    return x, x.sum((1, 2))


@pytest.fixture(autouse=True)
def _first_names():
    keras.utils.clear_session(free_memory=False)


def sequential(*stack, loss="mse", optimizer="sgd", seed=0, shape=None, **compiled):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(batch_shape=shape or (None, *SHAPE), name="x")
    made = keras.Sequential([inputs, *stack, layers.Dense(1)])
    made.compile(optimizer, loss, **compiled)
    # The layers of the next model get the same names, as in every trial.
    keras.utils.clear_session(free_memory=False)
    return made


def wrapped(wrapper="recurrent", units=4, learning_rate=0.01, seed=0, **options):
    layer = rdt.wrap(layers.LSTM(units), wrapper, **{"rate": 0.3, **options})
    return sequential(layer, optimizer=keras.optimizers.Adam(learning_rate), seed=seed)


def dense(learning_rate=0.01, seed=0):
    """Returns a model that is traced quickly, for tests that do not depend on its layers."""
    optimizer = keras.optimizers.Adam(learning_rate)
    return sequential(layers.Flatten(), layers.Dense(4, "tanh"), optimizer=optimizer, seed=seed)


def built(hypermodel, **values):
    keras.utils.clear_session(free_memory=False)
    hp = kt.HyperParameters()
    hp.values |= values
    return hypermodel.build(hp)


def existing(**options):
    model = sequential(layers.LSTM(4), optimizer=keras.optimizers.AdamW(0.01))
    dropout = {key: FREE[key] for key in ("wrapper", "placement", "rate")}
    return rdt.ExistingModel(model, dropout, **options)


HYPERMODELS = {
    "classifier": rdt.SequenceClassifier(3, SHAPE, FREE, mask_value=0.0),
    "regressor": rdt.SequenceRegressor((), SHAPE, FREE, loss=losses.Huber(delta=2.0)),
    "language": rdt.LanguageModel(
        20, {**FREE, "locked_rate": FREE["rate"], "embedding_rate": FREE["rate"]}, tie_weights=True
    ),
    "existing": existing(),
    "fine-tuning": existing(keep_weights=True),
}


@pytest.mark.parametrize("name", HYPERMODELS)
def test_trials_that_differ_in_variables_share_a_structure(name):
    names = ("rate", "locked_rate", "embedding_rate", "learning_rate")
    one, other = (built(HYPERMODELS[name], **dict.fromkeys(names, rate)) for rate in (0.2, 0.4))
    assert structure(one) == structure(other) is not None
    renew(one, other)
    dropping = zip(dropout_layers(one), dropout_layers(other), strict=True)
    assert all(used.rate == fresh.rate for used, fresh in dropping)


@pytest.mark.backends
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {"rate": 0.1, "seed": 3, "learning_rate": 1e-4}, True),
        ({}, {"units": 5}, False),
        ({}, {"placement": "input"}, False),
        ({}, {"per_step": False}, False),
        ({"activity_decay": 1.0}, {"activity_decay": 2.0}, False),
        # A hidden rate of 0 stays on cuDNN.
        ({"wrapper": "zoneout"}, {"wrapper": "zoneout", "hidden_rate": 0.1}, False),
        (
            {"wrapper": "zoneout", "hidden_rate": 0.2},
            {"wrapper": "zoneout", "hidden_rate": 0.1},
            True,
        ),
    ],
    ids=str,
)
def test_which_wrapped_models_share_a_structure(one, other, same):
    assert (structure(wrapped(**one)) == structure(wrapped(**other))) is same


def frozen(number):
    model = dense()
    model.layers[number].kernel.trainable = False
    model.compile("sgd", "mse")
    return model


def restrained(strength):
    model = dense()
    model.layers[1].kernel.regularizer = keras.regularizers.L2(strength)
    return model


def excluding(names):
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.exclude_from_weight_decay(var_names=names)
    return sequential(layers.LSTM(2), optimizer=optimizer)


@pytest.mark.parametrize(
    ("build", "one", "other"),
    [
        (lambda rate: sequential(layers.Dropout(rate)), 0.1, 0.2),
        (lambda loss: sequential(loss=loss), "mse", "mae"),
        (lambda delta: sequential(loss=losses.Huber(delta)), 1.0, 2.0),  # Keras does not save it.
        (frozen, 1, 2),
        (restrained, 0.1, 0.2),
        (lambda cast: sequential(layers.Dense(2, autocast=cast)), True, False),
        (excluding, ["bias"], ["kernel"]),
    ],
)
def test_which_models_of_keras_do_not(build, one, other):
    structures = [structure(build(each)) for each in (one, one, other)]
    assert structures[0] == structures[1] != structures[2]


class Own(layers.Dense):
    pass


class Subclassed(keras.Model):
    def call(self, x):
        return x


def tanh(x):  # Keras saves it as its own function of that name.
    return 2 * x


def adapted():
    layer = layers.Normalization()
    layer.adapt(np.ones((2, *SHAPE)))
    return layer


def excluding_variables():
    model = sequential(layers.LSTM(2), optimizer=keras.optimizers.AdamW())
    model.optimizer.exclude_from_weight_decay(var_list=model.trainable_variables[:1])
    return model


def with_its_own(name, value):
    model = dense()
    setattr(model, name, value)
    return model


def subclassed():
    model = Subclassed()
    model.compile("sgd", "mse")
    model(np.ones((1, 2)))
    return model


@pytest.mark.parametrize(
    "build",
    [
        lambda: sequential(keras.Sequential([Own(2)])),
        lambda: sequential(layers.Dense(2, activation=tanh)),
        lambda: sequential(layers.Lambda(lambda x: x)),
        lambda: sequential(adapted()),
        lambda: sequential(metrics=[lambda y, p: keras.ops.mean(abs(y - p), -1)]),
        lambda: sequential(loss=lambda y, p: keras.ops.mean(abs(y - p), -1)),
        lambda: keras.Sequential([keras.Input(SHAPE), layers.Dense(1)]),  # Not compiled.
        excluding_variables,
        lambda: with_its_own("train_step", lambda data: {"loss": 0.0}),
        lambda: with_its_own("scale", 2.0),
        subclassed,
    ],
)
def test_models_with_user_defined_parts_are_built_anew(build):
    assert structure(build()) is None


def everything(trained):
    return [array(v) for v in (*trained.variables, *trained.optimizer.variables)]


def fit(trained, **options):
    x, y = data()
    keras.utils.set_random_seed(11)  # The order of the batches.
    given = {"validation_data": (x, y), "epochs": 2, "batch_size": 8, "verbose": 0, **options}
    return models.fit(trained, x, y, **given).history


def scaling(learning_rate=0.01):
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(learning_rate))
    return sequential(layers.Flatten(), optimizer=scaled)


OTHER = {"learning_rate": 0.05, "seed": 5}
ZONEOUT = {"wrapper": "zoneout", "hidden_rate": 0.1}
LEARNED = {"wrapper": "concrete", "samples": 26}


@pytest.mark.parametrize(
    ("build", "first", "second"),
    [
        pytest.param(dense, {}, OTHER, marks=pytest.mark.backends),
        pytest.param(
            wrapped, {}, {"rate": 0.45, **OTHER}, marks=(pytest.mark.backends, pytest.mark.heavy)
        ),
        pytest.param(scaling, {}, {"learning_rate": 0.05}, marks=pytest.mark.heavy),
        pytest.param(wrapped, ZONEOUT, {**ZONEOUT, "hidden_rate": 0.3}, marks=pytest.mark.full),
        pytest.param(wrapped, LEARNED, {**LEARNED, "rate": 0.45}, marks=pytest.mark.full),
    ],
    ids=["none", "recurrent", "scaling", "zoneout", "concrete"],
)
def test_a_renewed_model_trains_as_a_fresh_one(build, first, second):
    used = build(**first)
    fit(used)
    traced = used.train_function
    renew(used, build(**second))
    reused, fresh_model = fit(used), build(**second)
    # To the last bit: same weights, masks, order and optimizer.
    assert reused == fit(fresh_model)
    if BACKEND == "tensorflow":  # Torch compiles nothing; JAX makes the outermost function anew.
        assert used.train_function is traced
    np.testing.assert_equal(everything(used), everything(fresh_model))


@pytest.mark.backends
def test_states_begin_anew():
    def build():
        layer = rdt.wrap(layers.LSTM(3, stateful=True), "recurrent", rate=0.2)
        return sequential(layer, shape=(8, *SHAPE))

    used = build()
    states = kept_states(used)
    assert len(states) == 2
    for state in states:
        state.assign(np.ones(state.shape))
    renew(used, build())
    assert not any(np.any(array(state)) for state in states)


def test_the_names_of_later_layers_count_on_as_before():
    smallest_model.cache_clear()
    is_of_layers(dense())
    inputs, layer = keras.Input((1,)), layers.Identity()
    names = [layer.name, keras.Model(inputs, layer(inputs)).name]
    assert names == ["identity", "functional"]


def test_the_cache_keeps_the_latest_structures():
    cache = ModelCache(size=2)
    lent = []
    for units in (3, 4, 5, 4, 3):
        with cache.lend(wrapped(units=units)) as model:
            lent.append(model)
    assert lent[3] is lent[1]
    assert lent[4] is not lent[0]  # Dropped for 5 units.
    assert cache.reused == 1


def test_the_cache_keeps_no_model_whose_training_failed_or_changed_it():
    cache = ModelCache(size=2)
    with pytest.raises(RuntimeError), cache.lend(dense()) as broken:
        raise RuntimeError
    with cache.lend(dense()) as changed:
        assert changed is not broken
        changed.layers[1].trainable = False
        changed.compile("sgd", "mse")
    with cache.lend(dense()) as model:
        assert model is not changed


class KeepsItsModel(kt.HyperModel):
    def build(self, hp):
        optimizer = keras.optimizers.SGD(hp.Choice("rate", [0.01, 0.1]))
        self.model = sequential(layers.Flatten(), optimizer=optimizer)
        return self.model

    def fit(self, hp, model, *args, **kwargs):
        return self.model.fit(*args, **kwargs)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("hypermodel", "reused"),
    [
        (HYPERMODELS["regressor"], 1),
        (KeepsItsModel(), 0),
    ],
    ids=["built in", "own fit"],
)
@pytest.mark.usefixtures("eagerly")
def test_a_search_gives_the_same_numbers_with_and_without_reuse(hypermodel, reused, tmp_path):
    scores = {}
    for reuse in (0, 4):
        oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=2, seed=1)
        place = {"directory": tmp_path / str(reuse), "project_name": "p"}
        tuner = rdt.Tuner(oracle, hypermodel, seed=0, reuse_models=reuse, **place)
        x, y = data(24)
        tuner.search(x, y, validation_data=(x, y), epochs=1, batch_size=8, verbose=0)
        scores[reuse] = [trial.score for trial in oracle.trials.values()]
        assert tuner.models_reused == (reused if reuse else 0)
    assert scores[4] == scores[0]
    assert scores[0][0] != scores[0][1]


class PrunesTheFirst(optuna.pruners.BasePruner):
    def prune(self, study, trial):
        return trial.number == 0


@pytest.mark.usefixtures("eagerly")
def test_the_model_of_a_pruned_trial_is_lent_again(tmp_path):
    oracle = rdt.OptunaOracle("val_loss", 2, pruner=PrunesTheFirst())
    tuner = rdt.Tuner(oracle, HYPERMODELS["regressor"], directory=tmp_path)
    x, y = data(24)
    tuner.search(x, y, validation_data=(x, y), epochs=4, verbose=0)
    assert [trial.status for trial in oracle.trials.values()] == ["STOPPED", "COMPLETED"]
    assert tuner.models_reused == 1
