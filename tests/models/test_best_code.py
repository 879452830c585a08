"""`best_code`: a script that makes the same model, or the lines to change in your code."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
from keras import layers

import recdrop_tune as rdt
from recdrop_tune.models import best_code

SHAPE = (None, 8)


def run(code):
    scope = {}
    exec(code, scope)
    return scope["model"]


def existing(*stack, space, **compiled):
    model = keras.Sequential([keras.Input(SHAPE), *stack])
    model.compile(**{"optimizer": "adam", "loss": "mse", **compiled})
    return rdt.ExistingModel(model, space)


def backward(**options):
    return layers.GRU(3, go_backwards=True, **options)


RECURRENT = {"wrapper": "recurrent", "rate": 0.3}
MODELS = {
    "masked": rdt.SequenceTagger(3, SHAPE, {"wrapper": "weight_drop", "rate": 0.2}, mask_value=0.0),
    "bidirectional": rdt.SequenceRegressor(
        (24, 2), SHAPE, {**RECURRENT, "bidirectional": True, "placement": "input+recurrent"}
    ),
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
    "name",
    ["masked", "tied", "sequential"]
    + [pytest.param(name, marks=pytest.mark.heavy) for name in ("bidirectional", "options")],
)
def test_the_script_makes_the_same_model(name):
    model = MODELS[name].build(kt.HyperParameters())
    made = run(best_code(model))
    made.set_weights(model.get_weights())
    made.run_eagerly = model.run_eagerly = True
    x = np.random.default_rng(0).integers(1, 50, (4, 5, 8)[: 2 if name == "tied" else 3])
    np.testing.assert_array_equal(made.predict(x, verbose=0), model.predict(x, verbose=0))
    pairs = [
        [each for each in one.layers if not isinstance(each, layers.InputLayer)]
        for one in (made, model)
    ]
    for one, other in zip(*pairs, strict=True):
        assert getattr(one, "configured_rates", None) == getattr(other, "configured_rates", None)
    assert made.optimizer.global_clipnorm == model.optimizer.global_clipnorm
    assert float(made.optimizer.learning_rate) == float(model.optimizer.learning_rate)
    assert [type(each) for each in made.metrics] == [type(each) for each in model.metrics]
    shape = model.predict(x, verbose=0).shape
    y = np.ones(shape[:-1] if name in ("masked", "tied") else shape)
    assert made.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_the_script_of_a_stateful_model_with_a_layer_that_is_called_twice():
    inputs = keras.Input((None, 4), batch_size=2)
    shared = layers.Dense(4, name="x-ray")
    outputs = layers.LSTM(3, stateful=True)(shared(shared(inputs)))
    made = run(best_code(keras.Model(inputs, outputs)))
    assert made.inputs[0].shape == (2, None, 4)
    assert [layer.name for layer in made.layers].count("x-ray") == 1


def test_it_is_what_a_person_would_write():
    values = {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.05, "units": 64}
    hypermodel = rdt.SequenceClassifier(10, SHAPE, {**values, "learning_rate": 0.003})
    model, options = hypermodel.build(kt.HyperParameters()), {"schedule": "linear", "seed": 7}
    code = best_code(model, 6, batch_size=32, schedule_epochs=20, **options)
    assert code.splitlines() == [
        "import keras",
        "import recdrop_tune as rdt",
        "",
        "keras.utils.set_random_seed(7)",
        "inputs = keras.Input((None, 8))",
        'x = rdt.wrap(keras.layers.LSTM(64), "recurrent", placement="recurrent", rate=0.05)(inputs)',
        'x = keras.layers.Dense(10, activation="softmax")(x)',
        "model = keras.Model(inputs, x)",
        "model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.003), "
        'loss="sparse_categorical_crossentropy", metrics=["accuracy"])',
        "# x_train and y_train: all your data. Instead of both, pass a dataset alone.",
        "model.fit(x_train, y_train, epochs=6, batch_size=32, "
        'callbacks=[rdt.RateSchedule("linear", epochs=20)])',
    ]
    assert best_code(model, 6, class_weight={0: 0.5, 1: 2.0}).endswith(
        "model.fit(x_train, y_train, epochs=6, class_weight={0: 0.5, 1: 2.0})\n"
    )


def test_what_is_missing_is_named():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        optimizer = keras.optimizers.AdamW(0.01)
        optimizer.exclude_from_weight_decay(var_names=["bias", "recurrent"])
        given = {"optimizer": optimizer, "weighted_metrics": ["mae"]}
        model = existing(layers.LSTM(2), space=RECURRENT, **given).build(kt.HyperParameters())
        code = best_code(model)
    finally:
        keras.config.set_dtype_policy(before)
    assert code.splitlines()[-1] == (
        "# Not written here: the dtype policy `mixed_float16`, `weighted_metrics` of `compile`, "
        "`exclude_from_weight_decay` of the optimizer"
    )
    assert run(code)


@pytest.mark.parametrize("option", [{"training": True}, {"mask": True}], ids=str)
def test_arguments_of_calls_are_kept(option):
    inputs = keras.Input(SHAPE)
    if "mask" in option:  # Not one that Keras has attached to the input.
        option = {"mask": keras.ops.any(inputs > 0, axis=-1)}
    model = keras.Model(inputs, layers.LSTM(2, dropout=0.5)(inputs, **option))
    model.compile("adam", "mse")
    code = best_code(model)
    assert ("training=True" in code) is ("training" in option)
    assert ("keras.Input" in code) is ("training" in option)


def focal(y, predicted):
    return keras.losses.mse(y, predicted)


class OwnMetric(keras.metrics.Mean):
    pass


def adapted():
    layer = layers.Normalization()
    layer.adapt(np.ones((2, 5, 8)))
    return layer


def two_inputs():
    one, two = keras.Input(SHAPE), keras.Input((4,))
    features = layers.Concatenate()([layers.GRU(4)(one), two])
    return keras.Model([one, two], layers.Dense(1)(features))


def stack(*others):
    return keras.Sequential([keras.Input(SHAPE), *others, layers.GRU(4), layers.Dense(1)])


@pytest.mark.parametrize(
    "model",
    [
        two_inputs,
        lambda: stack(layers.Dense(3, activation=focal)),
        lambda: stack(adapted()),
        lambda: keras.Sequential([keras.Input(SHAPE), stack()]),
    ],
    ids=["two inputs", "own function", "adapted", "nested"],
)
def test_for_other_models_it_lists_the_lines_to_change(model):
    made = model()
    made.compile("adam", focal, metrics=[OwnMetric(), lambda y, p: y - p])
    space = {"wrapper": "zoneout", "rate": 0.1, "activity_decay": 1.0}
    code = best_code(rdt.dropout_model(kt.HyperParameters(), made, space), epochs=6)
    wrapped = '"zoneout", placement="recurrent", rate=0.1, activity_decay=1.0)'
    assert f"# Recurrent layer: rdt.wrap(keras.layers.GRU(4), {wrapped}\n" in code
    assert "# Import or define: OwnMetric, focal, your_lambda\n" in code
    assert "loss=focal, " in code
    assert "inputs" not in code
    compile(code, "best_model.py", "exec")


def test_learned_rates_are_trained_by_the_fit_of_this_package():
    model = rdt.SequenceClassifier(10, SHAPE, {"wrapper": "concrete"}).build(kt.HyperParameters())
    code = best_code(model, epochs=6)
    assert "from recdrop_tune.models import fit\n" in code
    assert "\nfit(model, x_train, y_train, epochs=6)\n" in code
