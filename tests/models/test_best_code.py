"""`best_code`: the layers with dropout, and `compile`, as lines of code."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
from keras import layers

import recdrop_tune as rdt
from recdrop_tune.models import best_code

SHAPE = (None, 8)


def run(code, model):
    """Runs the lines, which compile a model, and returns their layers."""
    scope = {"model": model}
    exec(code, scope)
    return scope["layers"]


def check_layers(code, model, count=1):
    """Checks that the code makes the layers of a model, and compiles it in the same way."""
    compiled, before = model.get_compile_config(), model.optimizer
    made = run(code, model)
    assert len(made) == count
    kinds = tuple(map(type, made))
    held = [layer for layer in model.layers if isinstance(layer, kinds)]
    for one, other in zip(made, held, strict=True):
        assert getattr(one, "configured_rates", None) == getattr(other, "configured_rates", None)
        shape = keras.tree.flatten(other.input)[0].shape  # Behind it can be a mask.
        one.build(shape)
        one.set_weights(other.get_weights())
        x = np.ones((2, 5, *shape[2:]))
        np.testing.assert_array_equal(*(np.asarray(each(x)) for each in (one, other)))
    assert model.optimizer is not before
    names = ("name", "optimizer")
    again = model.get_compile_config()
    assert {k: v for k, v in again.items() if k not in names} == {
        k: v for k, v in compiled.items() if k not in names
    }
    assert model.optimizer.get_config() == before.get_config() | {"name": model.optimizer.name}


def existing(*stack, space, **compiled):
    model = keras.Sequential([keras.Input(SHAPE), *stack])
    model.compile(**{"optimizer": "adam", "loss": "mse", **compiled})
    return rdt.ExistingModel(model, space)


def backward(**options):
    return layers.GRU(3, go_backwards=True, **options)


RECURRENT = {"wrapper": "recurrent", "rate": 0.3}
MODELS = {
    "masked": rdt.SequenceTagger(3, SHAPE, {"wrapper": "weight_drop", "rate": 0.2}, mask_value=0.0),
    "options": rdt.SequenceRegressor(
        (),
        SHAPE,
        {"wrapper": "zoneout", "rate": 0.3, "hidden_rate": 0.1, "locked_rate": 0.1}
        | {"global_clipnorm": 1.0, "activity_decay": 2.0},
        loss=keras.losses.Huber(delta=2.0),
    ),
    "tied": rdt.LanguageModel(
        50,
        {"wrapper": "variational", "placement": "input+recurrent", "rate": 0.2}
        | {"embedding_rate": 0.1},
        tie_weights=True,
    ),
    "sequential": existing(
        layers.Bidirectional(layers.LSTM(4, return_sequences=True, name="first")),
        layers.TimeDistributed(
            layers.Dense(3, "tanh", kernel_regularizer=keras.regularizers.L2(0.1))
        ),
        layers.Reshape((-1, 3)),
        layers.Bidirectional(layers.GRU(3), backward_layer=backward(use_bias=False)),
        space=RECURRENT,
        optimizer=keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 9, 0.5)),
        metrics=[keras.metrics.MeanAbsoluteError(name="error")],
    ),
}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("masked", 1),
        ("tied", 2),
        ("sequential", 2),
        pytest.param("options", 3, marks=pytest.mark.heavy),
    ],
)
def test_the_lines_make_the_same_layers(name, count):
    model = MODELS[name].build(kt.HyperParameters())
    check_layers(best_code(model), model, count)


def test_it_is_what_a_person_would_write():
    values = {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.05, "units": 64}
    hypermodel = rdt.SequenceClassifier(10, SHAPE, {**values, "learning_rate": 0.003})
    model = hypermodel.build(kt.HyperParameters())
    model.compile(model.optimizer, model.loss, metrics=["accuracy"], weighted_metrics=["mae"])
    code = best_code(model, {"units": 64, "epochs": 6, "class_weight": {0: 0.5, 1: 2.0}})
    assert code.splitlines() == [
        "import keras",
        "import recdrop_tune as rdt",
        "",
        "layers = [",
        '    rdt.wrap(keras.layers.LSTM(64), "recurrent", placement="recurrent", rate=0.05),',
        "]",
        "model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.003), "
        'loss="sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["mae"])',
        "# Hyperparameters: units=64, epochs=6, class_weight={0: 0.5, 1: 2.0}",
    ]


def focal(y, predicted):
    return keras.losses.mse(y, predicted)


class OwnMetric(keras.metrics.Mean):
    pass


def test_what_is_yours_is_named():
    inner = keras.Sequential([keras.Input(SHAPE), layers.GRU(4), layers.Dense(1)])
    made = keras.Sequential([keras.Input(SHAPE), inner])
    made.compile("adam", focal, metrics=[OwnMetric(), lambda y, p: y - p])
    space = {"wrapper": "zoneout", "rate": 0.1, "activity_decay": 1.0}
    code = best_code(rdt.dropout_model(kt.HyperParameters(), made, space))
    wrapped = '"zoneout", placement="recurrent", rate=0.1, activity_decay=1.0)'
    assert f"layers = [\n    rdt.wrap(keras.layers.GRU(4), {wrapped},\n]\n" in code
    assert "# Import or define: OwnMetric, focal, your_lambda\n" in code
    assert "loss=focal, " in code
    compile(code, "best_model.py", "exec")
