"""Law 7: with a GPU, the traced training graph has one cuDNN call per direction, and no loop.

Tracing needs no GPU: Keras is made to see one, and the graph is inspected, not run.
"""

from collections import Counter
from itertools import product

import keras
import pytest
from keras import ops

from recdrop_tune.wrappers import NativeDropoutWrapper, wrap
from tests.backends import on_tensorflow
from tests.cudnn import ops_of, see_a_gpu
from tests.laws.cases import (
    ALONE,
    WIDEST,
    WRAPPERS,
    gru_for,
    is_exact_at_inference,
    make_wrapper,
    over,
)

tf = pytest.importorskip("tensorflow")
pytestmark = on_tensorflow

LEAVES_CUDNN = [
    w for w in WRAPPERS if (w[0] == "native" and "recurrent" in w[1]) or "hidden_rate" in w[2]
]
ON_CUDNN = [w for w in WRAPPERS if w not in LEAVES_CUDNN]
KINDS = [keras.layers.LSTM, keras.layers.GRU]
LAYERS = [{}, {"return_sequences": True, "go_backwards": True}]
WIDEST_ON_CUDNN = [w for w in ON_CUDNN if w in WIDEST or "+" not in w[1]]

AT_ALL_SITES = [w for w in ON_CUDNN if w in WIDEST or w[0] == "native"]
ONE_EACH = [
    next(w for w in AT_ALL_SITES if w[0] == each) for each in dict.fromkeys(w[0] for w in ON_CUDNN)
]
IN_GROUPS = next(w for w in AT_ALL_SITES if "mask_groups" in w[2])
"""The wrapper that calls a kernel several times."""

ASKED = ("recurrent", "variational", "zoneout", "time_distributed")
"""A mask is looked at before a kernel call with noise in it, in groups, with forced gates, and as it is."""


@pytest.fixture
def gpu(monkeypatch):
    see_a_gpu(monkeypatch)


def operations(wrapped, *, mask=None, training=True):
    """How often each operation occurs in the traced graph, the bodies of conditionals included."""
    wrapped.build((None, None, 2))

    @tf.function
    def step(sequences, mask):
        with tf.GradientTape() as tape:
            result = wrapped(sequences, mask=mask, training=training)
            loss = sum(ops.sum(part) for part in [*tf.nest.flatten(result), *wrapped.losses])
        return tape.gradient(loss, [w.value for w in wrapped.trainable_weights])

    sequences = tf.TensorSpec((None, None, 2), "float32")
    return Counter(ops_of(step.get_concrete_function(sequences, mask)))


def has_its_options(wrapper, kind):
    """A GRU has no separate h."""
    return kind is keras.layers.LSTM or "hidden_rate" not in wrapper[2]


def groups(wrapper):
    """Kernel calls for one direction: one for each mask group, where the recurrence is masked."""
    return wrapper[2].get("mask_groups", 1) if "recurrent" in wrapper[1] else 1


def of_one(wrappers):
    return [(wrapper,) for wrapper in wrappers]


def assert_fused(counts, calls=1):
    assert counts.get("CudnnRNNV3") == calls
    assert counts.get("CudnnRNNBackpropV3") == calls
    assert not [op for op in counts if "While" in op]


@over(
    ("wrapper", "kind", "options"),
    product(ON_CUDNN, KINDS, LAYERS),
    among=lambda wrapper, kind, options: wrapper in (*AT_ALL_SITES, *ALONE),
)
def test_one_cudnn_call_and_no_loop(gpu, wrapper, kind, options):
    assert_fused(operations(make_wrapper(kind(4, **options), wrapper)), calls=groups(wrapper))


@over(("wrapper",), of_one(WIDEST_ON_CUDNN), few=of_one([*ONE_EACH[::3], IN_GROUPS]))
def test_one_call_for_each_direction(gpu, wrapper):
    bidirectional = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))
    assert_fused(operations(make_wrapper(bidirectional, wrapper)), calls=2 * groups(wrapper))


@over(("wrapper",), of_one(WIDEST_ON_CUDNN), few=of_one([*ONE_EACH[1::3], IN_GROUPS]))
def test_one_call_for_each_direction_outside(gpu, wrapper):
    outside = keras.layers.Bidirectional(make_wrapper(gru_for(wrapper)(4), wrapper))
    assert_fused(operations(outside), calls=2 * groups(wrapper))


@over(("wrapper", "kind"), [row for row in product(LEAVES_CUDNN, KINDS) if has_its_options(*row)])
def test_what_cudnn_cannot_compute_takes_the_loop(gpu, wrapper, kind):
    counts = operations(make_wrapper(kind(4), wrapper))
    assert "CudnnRNNV3" not in counts
    assert [op for op in counts if "While" in op]


@over(
    ("wrapper", "training"),
    # Zoneout's expectation at inference is computed in the loop.
    [(w, t) for w, t in product(WIDEST_ON_CUDNN, [True, False]) if t or is_exact_at_inference(w)],
    few=[(w, True) for w in (*ONE_EACH, IN_GROUPS) if w[0] in ASKED]
    + [(ON_CUDNN[0], False), (IN_GROUPS, False)],
)
def test_a_mask_is_checked_at_run_time(gpu, wrapper, training):
    """cuDNN stops at a mask that is not right-padded: such a batch takes the loop instead.

    At inference there is one call for all mask groups.
    """
    wrapped = make_wrapper(keras.layers.LSTM(4), wrapper)
    counts = operations(wrapped, mask=tf.TensorSpec((None, None), "bool"), training=training)
    assert counts["CudnnRNNBackpropV3"] == (groups(wrapper) if training else 1)
    assert [op for op in counts if op in ("If", "StatelessIf")]
    assert [op for op in counts if "While" in op]


@pytest.mark.parametrize(("wrapper", "rate"), [("none", {}), ("weight_drop", {"rate": 0.3})])
def test_decays_change_no_kernel(gpu, wrapper, rate):
    layer = keras.layers.LSTM(4, return_sequences=True)
    decaying = wrap(layer, wrapper, **rate, activity_decay=2.0, temporal_decay=1.0)
    counts = operations(decaying)
    assert_fused(counts)
    assert counts["DivNoNan"] >= 2


def test_other_cells_take_the_loop(gpu):
    for layer in (keras.layers.GRU(4, reset_after=False), keras.layers.LSTM(4, use_bias=False)):
        counts = operations(make_wrapper(layer, ("recurrent", "recurrent", {})))
        assert "CudnnRNNV3" not in counts


def test_insisting_on_cudnn_where_it_cannot_be_had(gpu):
    wrapped = NativeDropoutWrapper(keras.layers.LSTM(4, use_cudnn=True), rate=0.3)
    with pytest.raises(
        ValueError,
        match=r"Invalid value received for argument `use_cudnn`.*noise per sample and gate",
    ):
        wrapped(ops.ones((2, 3, 2)), training=True)
