"""Law 5: configurations, `.keras` files, clones and checkpoints."""

import json
import subprocess
import sys
from functools import partial
from itertools import cycle, product

import keras
import numpy as np
import pytest

from recdrop_tune.wrappers import LambdaDropoutWrapper, Perplexity, RecurrentDropoutWrapper
from tests.backends import BACKEND, JIT_COMPILE, array
from tests.laws.cases import (
    FEATURES,
    TIME,
    UNITS,
    WIDEST,
    WRAPPERS,
    gru_for,
    is_exact_at_inference,
    learns_rates,
    make_wrapper,
    over,
    wrapper_id,
)

X = np.random.default_rng(0).normal(size=(6, TIME, FEATURES)).astype("float32")
EXACT = [wrapper for wrapper in WIDEST if is_exact_at_inference(wrapper)]
KINDS = [keras.layers.LSTM, keras.layers.GRU]


def make_model(wrapper, kind=keras.layers.LSTM):
    rnn = kind(UNITS) if wrapper is None else make_wrapper(kind(UNITS), wrapper)
    return keras.Sequential([keras.Input((None, FEATURES)), rnn, keras.layers.Dense(1)])


def same_configuration(one, other):
    """Alike but for how Keras notes that the wrapped layer was built."""
    first, second = one.get_config(), other.get_config()
    assert first.pop("layer")["config"] == second.pop("layer")["config"]
    assert first == second


@over(
    ("wrapper",),
    [(wrapper,) for wrapper in WRAPPERS],
    few=[(wrapper,) for wrapper in WIDEST],
    backends=lambda wrapper: True,
)
def test_config_round_trip(wrapper):
    one = make_wrapper(gru_for(wrapper)(UNITS, name="g"), wrapper, rate=0.25)
    other = type(one).from_config(one.get_config())
    assert other.get_config() == one.get_config()
    assert other.layer is not one.layer
    np.testing.assert_array_equal(
        array(other.seed_generator.state), array(one.seed_generator.state)
    )
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(one)))
    assert keras.saving.deserialize_keras_object(saved).get_config() == one.get_config()
    rates = other.learned_rates if learns_rates(wrapper) else other.rates
    assert [float(array(v)) for v in rates.values()] == pytest.approx([0.25] * len(one.sites))


@pytest.mark.backends
@pytest.mark.parametrize("wrapper", WIDEST, ids=wrapper_id)
def test_keras_file_in_safe_mode(wrapper, tmp_path):
    model = make_model(wrapper)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(array(model(X)), array(loaded(X)))
    same_configuration(loaded.layers[0], model.layers[0])


LOAD = """
model = keras.models.load_model("model.keras")
clone = keras.models.clone_model(model)
clone.load_weights("model.weights.h5")
print(float(clone(np.ones((1, 2, 2), "float32"))[0, 0]))
"""

IMPORTS = ["keras, recdrop_tune", "recdrop_tune, keras"]


@pytest.mark.heavy
@pytest.mark.backends
@pytest.mark.parametrize("imports", IMPORTS if BACKEND == "tensorflow" else IMPORTS[1:])
def test_a_process_that_imports_the_package_loads_a_model(imports, tmp_path):
    model = make_model(WIDEST[0])
    model.compile(metrics=[Perplexity()])
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    code = f"import numpy as np, {imports}\n{LOAD}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = array(model(np.ones((1, 2, 2), "float32")))[0, 0]
    assert float(done.stdout) == pytest.approx(expected, rel=1e-6)


@over(
    ("wrapper", "kind"),
    product(EXACT, KINDS),
    few=zip(EXACT, cycle(KINDS)),
    backends=lambda wrapper, kind: kind is keras.layers.LSTM,
)
def test_weights_interchange_with_the_plain_layer(wrapper, kind, tmp_path):
    wrapped, plain = make_model(wrapper, kind), make_model(None, kind)
    weights = [w for w in wrapped.weights if not w.name.endswith("_logit")]
    assert (len(weights) < len(wrapped.weights)) == learns_rates(wrapper)
    assert [w.shape for w in weights] == [w.shape for w in plain.weights]
    plain.set_weights([array(w) for w in weights])
    np.testing.assert_array_equal(array(wrapped(X)), array(plain(X)))
    wrapped.layers[0].layer.set_weights(make_model(None, kind).layers[0].get_weights())
    wrapped.save_weights(tmp_path / "w.weights.h5")
    another = make_model(wrapper, kind)
    another.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(array(wrapped(X)), array(another(X)))


@pytest.mark.backends
@pytest.mark.parametrize("kind", ["model.keras", "model.weights.h5"])
@pytest.mark.usefixtures("eagerly")
def test_learned_rates_are_saved_beside_the_weights(kind, tmp_path):
    wrapper = ("concrete", "input+recurrent", {"samples": 20})
    model, path = make_model(wrapper), tmp_path / kind
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=JIT_COMPILE[0])
    model.fit(X, np.ones((6, 1)), verbose=0)  # One step, in which Adam moves each logit by 0.1.
    learned = model.layers[0].learned_rates
    assert all(abs(rate - 0.4) > 0.01 for rate in learned.values())
    assert model.layers[0].rate == 0.4
    if kind == "model.keras":
        model.save(path)
        other = keras.models.load_model(path, safe_mode=True)
        # The state of the optimizer goes with the weights; that of the masks does not.
        for each in (model, other):
            each.layers[0].seed_generator.state.assign([1, 0])
            each.fit(X, np.ones((6, 1)), shuffle=False, verbose=0)
        learned = model.layers[0].learned_rates
    else:
        model.save_weights(path)
        other = make_model(wrapper)
        other.load_weights(path)
    assert other.layers[0].learned_rates == pytest.approx(learned)
    assert other.layers[0].rate == 0.4


@pytest.mark.backends
def test_a_rate_set_later_is_saved(tmp_path):
    model = make_model(("recurrent", "recurrent+input", {}))
    assert model.layers[0].placement == "input+recurrent"
    model.layers[0].rate = {"input": 0.1, "recurrent": 0.6}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0]
    assert loaded.rate == {"input": 0.1, "recurrent": 0.6}
    assert float(array(loaded.rates["recurrent"])) == pytest.approx(0.6)


@keras.saving.register_keras_serializable(package="tests")
def halves(shape, rate, seed):
    """Keeps the first half of the features, doubled."""
    del rate, seed
    kept = shape[-1] // 2
    return keras.ops.concatenate(
        [keras.ops.full((kept,), 2.0), keras.ops.zeros((shape[-1] - kept,))]
    )


@pytest.mark.backends
def test_a_mask_function_of_ones_own(tmp_path):
    wrapped = LambdaDropoutWrapper(
        keras.layers.LSTM(UNITS), rate=0.5, placement="output", function=halves
    )
    model = keras.Sequential([keras.Input((None, FEATURES)), wrapped])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True).layers[0]
    assert loaded.function is halves
    same_configuration(loaded, wrapped)
    plain, noisy = array(wrapped(X)), array(loaded(X, training=True))
    np.testing.assert_allclose(noisy, np.concatenate([plain[:, :2] * 2, plain[:, 2:] * 0], axis=1))


@pytest.mark.parametrize("given", [partial, lambda function: function])
def test_a_function_that_keras_could_not_load_serves_all_the_same(tmp_path, given):
    @given
    def function(shape, rate, seed):
        return keras.ops.full(shape, 3.0)

    wrapped = LambdaDropoutWrapper(
        keras.layers.LSTM(UNITS), 0.5, placement="output", function=function
    )
    model = keras.Sequential([keras.Input((None, FEATURES)), wrapped])
    clone = keras.models.clone_model(model)
    assert clone.layers[0].function is function
    model.save_weights(tmp_path / "w.weights.h5")
    clone.load_weights(tmp_path / "w.weights.h5")
    noisy, plain = array(clone(X, training=True)), array(model(X))
    np.testing.assert_allclose(noisy, 3 * plain, rtol=1e-5)


@pytest.mark.backends
def test_bidirectional_config_round_trip():
    outside = keras.layers.Bidirectional(
        RecurrentDropoutWrapper(keras.layers.LSTM(UNITS), rate=0.3, seed=3)
    )
    again = keras.layers.Bidirectional.from_config(outside.get_config())
    for layer in (outside, again):
        assert not layer.forward_layer.go_backwards
        assert layer.backward_layer.go_backwards
        assert layer.backward_layer.layer.go_backwards
