"""Wrappers by name and as plain data: `get`, `serialize`, `deserialize`."""

import json
from itertools import cycle, product

import keras
import numpy as np
import pytest
import yaml

from recdrop_tune import wrappers
from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.wrappers import AbstractDropoutWrapper, RecurrentDropoutWrapper, wrap
from tests.laws.cases import WIDEST, make_wrapper, over

X = np.random.default_rng(0).normal(size=(3, 5, 1)).astype("float32")
IDS = [each.id for each in TECHNIQUES.values() if each.class_name]
LSTM = {"class_name": "LSTM", "config": {"units": 4}}


def through_yaml(data):
    return yaml.safe_load(yaml.safe_dump(data))


@pytest.mark.parametrize("identifier", IDS)
def test_an_id_names_a_class(identifier):
    cls = wrappers.get(identifier)
    assert issubclass(cls, AbstractDropoutWrapper)
    assert cls.technique_id == identifier
    wrapper = wrap(keras.layers.LSTM(4), identifier, rate=0.2)
    assert type(wrapper) is cls
    assert [wrappers.get(cls), wrappers.get(wrapper)] == [cls, wrapper]


LAYERS = list(product([False, True], [False, True]))


@over(
    ("wrapper", "bidirectional", "built"),
    [(wrapper, *layer) for wrapper in WIDEST for layer in LAYERS],
    few=[(wrapper, *layer) for wrapper, layer in zip(WIDEST, cycle(LAYERS))],
)
def test_through_yaml_and_json(wrapper, bidirectional, built):
    layer = keras.layers.LSTM(4, kernel_initializer="zeros", name="rnn")
    layer = keras.layers.Bidirectional(layer) if bidirectional else layer
    one = make_wrapper(layer, wrapper, rate=0.25)
    if built:
        one(X)
    data = wrappers.serialize(one)
    assert through_yaml(data) == json.loads(json.dumps(data)) == data
    for make in (wrappers.get, wrappers.deserialize, keras.layers.deserialize):
        other = make(through_yaml(data))
        assert type(other) is type(one)
        assert wrappers.serialize(other) == data
    assert other(X, training=True).shape == one(X).shape


def test_deserializes_what_keras_serializes():
    one = wrap(keras.layers.GRU(4), "variational", rate={"input": 0.1, "recurrent": 0.2},
               placement="input+recurrent", tied_gates=True, seed=3)  # fmt: skip
    other = wrappers.get(keras.layers.serialize(one))
    assert other.get_config() == one.get_config()
    data = wrappers.serialize(wrap(keras.layers.GRU(4), "lambda", rate=0.1, function="gaussian"))
    assert wrappers.get(data).function == "gaussian"


@keras.saving.register_keras_serializable(package="tests")
def doubled(shape, rate, seed):
    """Noise with a name."""
    return keras.ops.full(shape, 2.0)


def test_functions_are_serialized_by_name():
    data = wrappers.serialize(wrap(keras.layers.GRU(4), "lambda", rate=0.1, function=doubled))
    assert wrappers.get(through_yaml(data)).function is doubled
    wrapper = wrap(keras.layers.GRU(4), "lambda", rate=0.1, function=lambda *_: 1.0)
    with pytest.raises(InvalidArgumentError, match="Expected a function that is registered"):
        wrappers.serialize(wrapper)


def test_a_configuration_names_no_function_of_other_modules():
    written = {"class_name": "function", "module": "os", "config": "system", "registered_name": "x"}
    config = {"wrapper": "lambda", "rate": 0.2, "function": written, "layer": keras.layers.LSTM(2)}
    with pytest.raises(InvalidArgumentError, match=r"`function`.*registered with Keras"):
        wrappers.get(config)


def test_numbers_of_numpy_are_numbers():
    given = {"rate": np.float32(0.25), "seed": np.int64(1), "mask_groups": np.int64(2)}
    made = wrap(keras.layers.LSTM(2), "variational", **given, tied_gates=np.bool_(True))
    kinds = [type(made.get_config()[name]) for name in (*given, "tied_gates")]
    assert kinds == [float, int, int, bool]


TEXT = """
wrapper: recurrent
placement: input+recurrent
rate: {input: 0.1, recurrent: 0.3}
per_step: false
layer:
  class_name: LSTM
  config: {units: 4, return_sequences: true}
"""


def test_written_by_hand_as_the_arguments_of_wrap():
    given = yaml.safe_load(TEXT)
    wrapper = wrappers.get(given)
    assert given == yaml.safe_load(TEXT)
    assert isinstance(wrapper, RecurrentDropoutWrapper)
    assert wrapper.rate == {"input": 0.1, "recurrent": 0.3}
    assert (wrapper.layer.units, wrapper.return_sequences, wrapper.per_step) == (4, True, False)
    layer = keras.layers.GRU(4)
    assert wrappers.get({"wrapper": "zoneout", "rate": 0.1, "layer": layer}).layer is layer
    assert wrappers.get({"wrapper": "none", "layer": layer}) is layer


class Own(RecurrentDropoutWrapper):
    """A custom wrapper, which Keras finds only through `custom_objects`."""


def test_a_custom_wrapper():
    data = wrappers.serialize(Own(keras.layers.LSTM(4), rate=0.3))
    assert type(wrappers.deserialize(data, custom_objects={"Own": Own})) is Own
    with keras.saving.custom_object_scope({"Own": Own}):
        assert type(wrappers.get(data)) is Own
    with pytest.raises(InvalidArgumentError, match="`class_name`"):
        wrappers.get(data)


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("weight_dorp", r"`wrapper`\. Expected one of none, .*Did you mean `weight_drop`\?"),
        ("Gal", r"Did you mean `variational`\?"),
        (None, r"`wrapper`\. Expected one of none, native, .*Received: wrapper=None"),
        ("none", r"`wrap\(layer, \"none\"\)` returns the layer itself"),
        ({"wrapper": "zoneout", "rate": 0.1}, r"`layer`\. Expected the layer to wrap"),
        ({"wrapper": "zoneout", "layer": LSTM}, r"`rate`\. Expected 0 <= rate < 1 for the wrapper"),
        ({"wrapper": "zoneout", "rate": 0.1, "layer": "LSTM"}, r"`layer`\. .*layer='LSTM'"),
        (LSTM, r"`class_name`\. .*or instead `wrapper`, one of none.*class_name='LSTM'"),
        ({"class_name": "WeightDropWrapper", "config": {"rate": 2, "layer": LSTM}}, "`rate`"),
    ],
    ids=str,
)
def test_refused(identifier, message):
    with pytest.raises(InvalidArgumentError, match=message):
        wrappers.get(identifier)
