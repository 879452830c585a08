"""`explain`: what it returns for each layer, and that the kernel is the one that runs."""

import importlib
import itertools
import math

import keras
import pytest

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.kernels import gpu_in_sight, keras_internals
from recdrop_tune.models import explain
from recdrop_tune.wrappers import (
    LockedDropout,
    NativeDropoutWrapper,
    RecurrentDropoutWrapper,
    ZoneoutWrapper,
    wrap,
)
from tests.backends import BACKEND
from tests.cudnn import see_a_gpu

pytestmark = pytest.mark.backends
LSTM, GRU = keras.layers.LSTM, keras.layers.GRU


@pytest.fixture
def gpu(monkeypatch):
    see_a_gpu(monkeypatch)
    monkeypatch.setattr(keras_internals, "runs_on_cpu", lambda: False)


def only(model):
    (row,) = explain(model).rows
    return row


# Dropout

ALONE = "nobody: one per sample and step"
SHARED = {
    "native": ("all steps of a sample", "all steps of a sample, not its gates"),
    "recurrent": (ALONE, ALONE),
    "variational": ("all steps of a sample", "all steps of the batch"),
    "weight_drop": ("all samples and steps of a batch", "all samples and steps of a batch"),
    "concrete": ("all steps of a sample", "all steps of the batch"),
    "update": (ALONE, ALONE),
    "zoneout": (None, ALONE),
    "time_distributed": (ALONE, None),
    "lambda": (ALONE, None),
}
"""Who shares a mask, without and with the recurrent site."""


@pytest.mark.parametrize("technique", [t for t in TECHNIQUES.values() if t.class_name])
def test_every_technique_at_every_placement(technique):
    for placement in technique.placements:
        layer = wrap(LSTM(4, name="rnn"), technique.id, placement=placement, rate=0.25, name="w")
        row = only(layer)
        assert (row.name, row.cell, row.technique) == ("w", "LSTM", technique.id)
        rate = "0.25, learned" if technique.learns_rate else "0.25"
        assert (row.placement, row.rate) == (placement, rate)
        assert row.shares_mask.partition(";")[0] == SHARED[technique.id]["recurrent" in placement]
        leaves = technique.id == "native" and "recurrent" in placement
        assert (row.on_gpu == "cuDNN") != leaves


def test_rates():
    each = {"input": 0.1, "recurrent": 0.3}
    layer = RecurrentDropoutWrapper(LSTM(4), each, placement="input+recurrent")
    assert only(layer).rate == "input 0.1, recurrent 0.3"
    assert only(ZoneoutWrapper(LSTM(4), 0.1, hidden_rate=0.05)).rate == "0.1, hidden 0.05"
    learned = wrap(LSTM(4), "concrete", placement="input+recurrent", rate=0.2)
    logit = learned.logits["recurrent"]
    logit.assign(logit + 1.0)
    rate = 1 / (1 + 4 * math.exp(-1))
    assert only(learned).rate == f"input 0.2, recurrent {rate:.3g}, learned"


def test_the_dropout_of_plain_layers():
    row = only(LSTM(4, dropout=0.2, recurrent_dropout=0.3))
    assert (row.technique, row.placement) == ("native", "input+recurrent")
    assert row.rate == "input 0.2, recurrent 0.3"
    assert row.on_gpu.startswith("each sample and gate has its own noise")
    assert "use the wrapper `recurrent` or `variational`" in row.change
    row = only(LSTM(4, dropout=0.2))
    assert (row.placement, row.rate, row.on_gpu) == ("input", "0.2", "cuDNN")
    assert only(LSTM(4)).technique == "none"


def test_layers_are_found_wherever_they_are():
    inner = keras.Sequential(
        [keras.Input((5, 2)), RecurrentDropoutWrapper(GRU(3), 0.2, name="drops")], name="inner"
    )

    class Custom(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="custom")
            self.parts = [keras.layers.SimpleRNN(3, return_sequences=True, name="simple")]

        def call(self, inputs):
            return self.parts[0](inputs)

    inputs = keras.Input((4, 5, 2))
    shared = keras.layers.Bidirectional(wrap(LSTM(3, name="a"), "weight_drop", rate=0.1, name="wa"))
    hidden = keras.layers.TimeDistributed(inner, name="each")(inputs)
    both = keras.layers.Bidirectional(GRU(3, return_sequences=True, name="g"))
    hidden = wrap(both, "recurrent", rate=0.3, name="around")(hidden)
    hidden = Custom()(hidden)
    hidden = keras.layers.RNN(keras.layers.LSTMCell(2), return_sequences=True, name="r")(hidden)
    outputs = keras.layers.Add()([shared(hidden), shared(hidden)])
    rows = explain(keras.Model(inputs, outputs)).rows
    assert [(row.name, row.cell, row.technique) for row in rows] == [
        ("each/inner/drops", "GRU", "recurrent"),
        ("around/forward_g", "GRU", "recurrent"),
        ("around/backward_g", "GRU", "recurrent"),
        ("custom/simple", "SimpleRNN", "none"),
        ("r", "RNN(LSTMCell)", "none"),
        (f"{shared.name}/forward_wa", "LSTM", "weight_drop"),
        (f"{shared.name}/backward_wa", "LSTM", "weight_drop"),
    ]
    assert rows[3].on_gpu == rows[4].on_gpu == "cuDNN has no kernel for this cell in Keras"


# The kernel


def test_without_a_gpu():
    assert not gpu_in_sight()
    row = only(wrap(LSTM(4), "recurrent", rate=0.2))
    assert row.kernel != "cuDNN"
    assert row.why == f"no GPU is seen by Keras's {BACKEND} backend"
    assert row.change.startswith("use a machine with a GPU")
    assert row.on_gpu == "cuDNN"
    row = only(LSTM(4, use_cudnn=True))
    assert (row.kernel, row.on_gpu) == ("error", "cuDNN")
    assert "use_cudnn=True insists" in row.why


@pytest.mark.parametrize(
    ("options", "why", "change"),
    [
        ({}, "", ""),
        ({"activation": "relu"}, "activation is not tanh", 'pass activation="tanh"'),
        ({"use_bias": False}, "use_bias=False", "pass use_bias=True"),
        ({"use_cudnn": False}, "use_cudnn=False", 'pass use_cudnn="auto"'),
    ],
)
def test_what_keeps_a_layer_off_cudnn(gpu, options, why, change):
    assert gpu_in_sight()
    row = only(wrap(LSTM(4, **options), "recurrent", rate=0.2))
    assert (row.why, row.change, row.on_gpu) == (why, change, why or "cuDNN")
    assert (row.kernel == "cuDNN") == (not why)


def test_other_obstacles(gpu):
    row = only(NativeDropoutWrapper(LSTM(4, unroll=True, use_bias=False), 0.2))
    assert row.why.startswith("each sample and gate")
    assert row.why.endswith("; use_bias=False; unroll=True")
    assert "reset_after=False" in only(GRU(4, reset_after=False)).why
    assert only(ZoneoutWrapper(LSTM(4), 0.1)).on_gpu == "cuDNN"
    row = only(wrap(LSTM(4), "update", 0.1))
    assert row.on_gpu == row.kernel == "cuDNN"
    assert "inference" in row.why
    assert "inference" not in only(wrap(LSTM(4), "update", 0.1, placement="input")).why
    assert "hidden_rate" in only(ZoneoutWrapper(LSTM(4), 0.1, hidden_rate=0.1)).why
    for layer, why in (
        (GRU(4), "no cuDNN kernel for the GRU"),
        (LSTM(4, dtype="mixed_float16"), "takes no half precision"),
    ):
        assert (only(layer).kernel == "cuDNN") == (BACKEND != "jax")
        assert (why in only(layer).why) == (BACKEND == "jax")


def test_a_subclass_with_its_own_call(gpu):
    class Odd(LSTM):
        def call(self, sequences, **kwargs):
            return super().call(sequences, **kwargs) + 1

    row = only(Odd(4))
    assert (row.cell, row.kernel, row.on_gpu) == ("Odd", "unknown", "unknown")


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_the_conditions_are_those_of_keras(gpu, kind):
    """Every combination of options: explained as cuDNN exactly where Keras's own layer would take it."""
    options = {
        "activation": ("tanh", "relu"),
        "recurrent_activation": ("sigmoid", "hard_sigmoid"),
        "use_bias": (True, False),
        "unroll": (True, False),
        "use_cudnn": ("auto", False),
        **({"reset_after": (True, False)} if kind is GRU else {}),
    }
    if BACKEND == "tensorflow":  # The backend's own functions count as Keras's.
        tf = importlib.import_module("tensorflow")
        options["activation"] += (tf.tanh,)
        options["recurrent_activation"] += (tf.sigmoid,)
    for values in itertools.product(*options.values()):
        given = dict(zip(options, values, strict=True))
        layer = kind(4, **given)
        expected = given.pop("use_cudnn") and given.pop("reset_after", True)
        names = ("activation", "recurrent_activation", "unroll", "use_bias")
        expected = expected and keras_internals.cudnn_ok(**{n: getattr(layer, n) for n in names})
        expected = expected and (BACKEND, kind) != ("jax", GRU)
        assert (only(layer).kernel == "cuDNN") == bool(expected), values


@pytest.mark.skipif(BACKEND == "jax", reason="jax has no such op")
def test_the_fused_cpu_op_is_named_exactly_where_it_runs(monkeypatch):
    module, ran = importlib.import_module(BACKEND), []
    owner, name = (module, "lstm") if BACKEND == "torch" else (module.raw_ops, "BlockLSTM")
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *a, **kw: ran.append(1) or original(*a, **kw))
    layers = [wrap(GRU(32), "recurrent", rate=0.2), wrap(LSTM(8), "native", rate=0.2)]
    layers += [wrap(LSTM(units), "recurrent", rate=0.2) for units in (32, 64)]  # Forces gates.
    layers += [wrap(LSTM(units), "weight_drop", rate=0.2) for units in (64, 128)]
    unfused = ({"unroll": True}, {"dtype": "float64"}, {"activation": "relu"}, {"use_cudnn": False})
    layers += [wrap(LSTM(32, **each), "recurrent", rate=0.2) for each in ({}, *unfused)]
    layers.append(ZoneoutWrapper(LSTM(8), 0.1, hidden_rate=0.1))
    rows = [only(layer) for layer in layers]
    kernels = [row.kernel for row in rows]
    assert kernels[-6:] == ["fused CPU op", *["step loop"] * 5]
    # What has an obstacle of its own on cuDNN needs no other reason.
    plain = [row for row in rows if row.on_gpu == "cuDNN"]
    assert all(("fused CPU op" in row.why) == (row.kernel == "step loop") for row in plain)
    for layer, kernel in zip(layers, kernels, strict=True):
        ran.clear()
        layer(keras.ops.ones((2, 3, 2)), training=True)
        assert bool(ran) == (kernel == "fused CPU op")
    assert {"fused CPU op", "step loop"} == set(kernels)
    inputs = [keras.Input((None, 2)), keras.layers.Masking()]
    masked = keras.Sequential([*inputs, wrap(LSTM(4), "recurrent", rate=0.2)])
    assert only(masked).why.endswith("; the fused CPU op takes no mask")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_mask(gpu, bidirectional):
    def row(layer):
        layer = keras.layers.Bidirectional(layer) if bidirectional else layer
        inputs = keras.Input((None,), dtype="int32")
        hidden = keras.layers.Embedding(9, 3, mask_zero=True)(inputs)
        return explain(keras.Model(inputs, layer(hidden))).rows[0]

    wrapped, plain = row(wrap(LSTM(4), "recurrent", rate=0.2)), row(LSTM(4))
    if BACKEND == "tensorflow":
        assert wrapped.kernel == plain.kernel == "cuDNN"
        assert wrapped.why == "a batch whose mask is not right-padded takes the step loop"
        assert plain.why == "Keras stops with an error at a batch whose mask is not right-padded"
    else:
        assert wrapped.kernel == plain.kernel == "step loop"
        assert wrapped.why.startswith("a mask reaches the layer")


# The table


def test_the_table_as_text_in_a_notebook_and_as_a_data_frame():
    model = keras.Sequential(
        [
            keras.Input((None, 2)),
            RecurrentDropoutWrapper(LSTM(4, return_sequences=True), 0.3, name="first"),
            LSTM(4, recurrent_dropout=0.25, name="second"),
        ]
    )
    explanation = explain(model)
    lines = str(explanation).splitlines()
    assert lines[1].index("recurrent  ") == lines[0].index("technique")
    assert f"  {explanation.rows[0].kernel} [1]" in lines[1]
    assert "  step loop [2]  " in lines[2]
    assert lines[2].endswith("  not cuDNN")
    assert "decay" not in lines[0]
    assert lines[3].startswith("[1] no GPU is seen by")
    assert "To change it: use the wrapper `recurrent` or `variational`; " in lines[4]
    html = explanation._repr_html_()
    assert html.count("<tr") == 3
    assert html.count("<br>[2] ") == 1
    assert list(explanation.to_frame()["name"]) == ["first", "second"]
    empty = explain(keras.layers.Dense(1))
    assert str(empty) == "No recurrent layer in this model."
    assert empty._repr_html_() == "<p>No recurrent layer in this model.</p>"
    assert len(empty.to_frame()) == 0


def test_decays_have_a_column_if_there_are_any():
    first = wrap(
        LSTM(4, return_sequences=True, name="a"), "none", activity_decay=2, temporal_decay=0.5
    )
    second = wrap(LSTM(4, name="b"), "weight_drop", rate=0.2, activity_decay=1)
    both = keras.layers.Bidirectional(LSTM(3, return_sequences=True, name="g"))
    third = wrap(both, "none", temporal_decay=1, name="c")
    explanation = explain(keras.Sequential([keras.Input((5, 2)), third, first, second]))
    assert [(row.name, row.technique, row.decay) for row in explanation.rows] == [
        ("c/forward_g", "none", "temporal 1"),
        ("c/backward_g", "none", "temporal 1"),
        ("a", "none", "activity 2, temporal 0.5"),
        ("b", "weight_drop", "activity 1"),
    ]
    assert [row.on_gpu for row in explanation.rows] == ["cuDNN"] * 4
    head, *lines = str(explanation).splitlines()
    assert lines[2][head.index("decay") :].startswith("activity 2, temporal 0.5  ")
    assert "<th>decay</th>" in explanation._repr_html_()


def test_the_decay_of_a_locked_dropout_is_below_the_table():
    locked = LockedDropout(0.4, activity_decay=2, name="out")
    recurrent = LSTM(4, return_sequences=True, name="a")
    stack = keras.Sequential([keras.Input((5, 2)), recurrent, locked], name="stack")
    explanation = explain(keras.Sequential([stack, LockedDropout(0.4)]))
    assert explanation.decays == {"stack/out": "activity 2"}
    line = "Decay at the LockedDropout stack/out: activity 2."
    assert str(explanation).splitlines()[-1] == line
    assert explanation._repr_html_().endswith(f"<br>{line}</p>")
