"""The wrappers on a GPU, for whichever backend Keras has: on cuDNN, with the results of NumPy.

The tests marked `gpu` skip where that backend sees none. On JAX and PyTorch the same bodies run without one
for a few wrappers, with a CPU implementation in cuDNN's place (see `cudnn.py`); on TensorFlow law 1 does.

    KERAS_BACKEND=jax python -m pytest tests/test_gpu.py
"""

import keras
import numpy as np
import pytest

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.kernels import derive_seed, gpu_in_sight
from recdrop_tune.models import explain
from recdrop_tune.wrappers import wrap
from tests.cudnn import BACKEND, cudnn_operations, exact_float32, stand_in
from tests.expected import Draws, expect, slope
from tests.laws.cases import wrapper_id

BATCH, TIME, FEATURES, UNITS = 4, 6, 3, 16
RATE, SEED = 0.4, 7
KINDS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}

# Torch, of weights that do not lie in one piece: they are made anew in each call.
pytestmark = pytest.mark.filterwarnings("ignore:RNN module weights are not part of single")

ALL = [
    ("recurrent", "input+recurrent+output", {"per_step": True}),
    ("recurrent", "input+recurrent+output", {"per_step": False}),
    ("variational", "input+recurrent+output", {"tied_gates": True}),
    ("variational", "input+recurrent+output", {"tied_gates": False, "mask_groups": 3}),
    ("weight_drop", "input+recurrent", {}),
    ("zoneout", "recurrent", {}),
    ("update", "input+recurrent+output", {}),
    ("time_distributed", "input+output", {}),
    ("lambda", "input+output", {}),
    ("native", "input", {}),
    ("concrete", "input+recurrent+output", {"samples": 20}),
    ("concrete", "input+recurrent+output", {"samples": 20, "elements": True}),
]
"""What trains on cuDNN, at all its sites."""

HERE = [(ALL[0], "lstm"), (ALL[3], "gru"), (ALL[5], "lstm"), (ALL[10], "gru")]
"""What runs without a GPU on JAX and PyTorch."""


def on_each(here=HERE, everywhere=ALL):
    """Parametrizes over wrappers and cells: all of them on a GPU, and those of `here` without one."""
    gpu = [
        (w, cell, "gpu")
        for w in everywhere
        for cell in KINDS
        if TECHNIQUES[w[0]].cell in (None, cell)
    ]
    cpu = [(wrapper, cell, "cpu") for wrapper, cell in here if BACKEND != "tensorflow"]
    if not gpu_in_sight():
        gpu = gpu[:1]  # It says why the others are not there.
    ids = ["-".join([wrapper_id(wrapper), cell, device]) for wrapper, cell, device in cpu + gpu]
    cpu = [pytest.param(*row, marks=pytest.mark.backends) for row in cpu]
    gpu = [pytest.param(*row, marks=pytest.mark.gpu) for row in gpu]
    arguments = ("wrapper", "cell", "device")
    return pytest.mark.parametrize(arguments, cpu + gpu, indirect=["device"], ids=ids)


@pytest.fixture
def device(request, monkeypatch):
    """The device, and without a GPU the calls of what stands in for cuDNN."""
    if request.param == "gpu":
        if not gpu_in_sight():
            pytest.skip(f"Keras's {BACKEND} backend sees no GPU")
        with exact_float32():
            yield "gpu", None
    else:
        if gpu_in_sight():
            pytest.skip("runs on the GPU")
        yield "cpu", stand_in(monkeypatch)


def has_kernel(cell, half=False):
    """Whether Keras's backend has cuDNN for a cell: jax only for the LSTM, in full precision."""
    return BACKEND != "jax" or (cell == "lstm" and not half)


def make(wrapper, cell, bidirectional=False, **options):
    layer = KINDS[cell](UNITS, return_sequences=True, **options)
    layer = keras.layers.Bidirectional(layer) if bidirectional else layer
    layer.build((BATCH, TIME, FEATURES))
    generator = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(generator.normal(0.0, UNITS**-0.5, weight.shape))
    technique, placement, more = wrapper
    wrapped = wrap(layer, technique, placement=placement, rate=RATE, seed=SEED, **more)
    wrapped.build((BATCH, TIME, FEATURES))
    return layer, wrapped


def sequences():
    return np.random.default_rng(2).normal(size=(BATCH, TIME, FEATURES)).astype("float32")


def in_float64(layer):
    return [np.array(weight, "float64") for weight in layer.get_weights()]


def tolerance(digits=24):
    """As in `laws/test_law1_float32.py`: a rounding for each number that is added up."""
    return 2 * TIME * (FEATURES + UNITS) * 2.0**-digits


def assert_on_cudnn(wrapped, device, expected):
    where, calls = device
    if where == "gpu":
        assert bool(cudnn_operations(wrapped, sequences())) == expected
        assert (explain(wrapped).rows[0].kernel == "cuDNN") == expected
    else:
        before = len(calls)
        wrapped(sequences(), training=True)
        assert (len(calls) > before) == expected


@on_each()
def test_a_training_step(wrapper, cell, device):
    layer, wrapped = make(wrapper, cell)
    assert_on_cudnn(wrapped, device, has_kernel(cell))
    x, y = sequences(), np.ones((BATCH, TIME, UNITS), "float32")
    model = keras.Sequential([keras.Input((TIME, FEATURES)), wrapped])
    rate = 2.0**10  # so that a step shows the gradient, not the rounding of the weights
    model.compile(keras.optimizers.SGD(rate), "mse")
    before = in_float64(layer)
    wrapped.seed_generator.state.assign([derive_seed(SEED, layer.name, False), 0])
    added = wrapped.regularization()  # Its part of the weights' gradients is too small to measure.
    added = 0.0 if added is None else float(keras.ops.convert_to_numpy(added))
    loss = model.train_on_batch(x, y)

    draws = Draws(wrapper, layer, x.shape, RATE, SEED)

    def compute():
        return added + np.mean((expect(draws, before, x.astype("float64"))[0] - y) ** 2)

    assert float(loss) == pytest.approx(compute(), rel=tolerance())
    generator = np.random.default_rng(3)
    gradients = [(b - a) / rate for b, a in zip(before, in_float64(layer), strict=True)]
    for weight, gradient in zip(before, gradients, strict=True):
        for _ in range(3):
            direction = generator.normal(size=weight.shape)
            terms = gradient * direction
            allowed = 2 * tolerance() * np.abs(terms).sum()
            assert abs(terms.sum() - slope(compute, weight, direction)) < allowed


@on_each(here=[(ALL[0], "lstm"), (ALL[3], "gru")])
def test_both_directions(wrapper, cell, device):
    layer, wrapped = make(wrapper, cell, bidirectional=True)
    assert_on_cudnn(wrapped, device, has_kernel(cell))
    wrapped.seed_generator.state.assign([derive_seed(SEED, layer.name, False), 0])
    got = keras.ops.convert_to_numpy(wrapped(sequences(), training=True))
    draws = Draws(wrapper, layer, sequences().shape, RATE, SEED)
    wanted = expect(draws, in_float64(layer), sequences().astype("float64"))[0]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance())


@on_each(here=[(ALL[0], "gru")], everywhere=[ALL[0], ALL[3]])
@pytest.mark.parametrize(
    ("padding", "go_backwards"),
    [(kind, False) for kind in ("none", "right", "left", "holes", "an empty row")]
    + [("right", True), ("holes", True)],
)
def test_outputs_of_a_masked_batch(wrapper, cell, device, padding, go_backwards):
    mask = np.ones((BATCH, TIME), bool)
    rows = {"right": np.s_[1, 2:], "left": np.s_[1, :2], "holes": np.s_[1, 2:4]}
    mask[rows.get(padding, np.s_[:0])] = False
    if padding == "an empty row":
        mask[2] = False
    mask = None if padding == "none" else mask
    layer, wrapped = make(wrapper, cell, go_backwards=go_backwards)
    got = keras.ops.convert_to_numpy(wrapped(sequences(), mask=mask, training=True))
    draws = Draws(wrapper, layer, sequences().shape, RATE, SEED)
    wanted = expect(draws, in_float64(layer), sequences().astype("float64"), mask=mask)[0]
    if mask is not None:  # at the others cuDNN emits zeros, the loop what it emitted before
        valid = mask[:, ::-1] if go_backwards else mask
        got, wanted = got[valid], wanted[valid]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance())


@on_each(here=[(ALL[0], "lstm")])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_inference_is_the_plain_layer(wrapper, cell, device, go_backwards):
    layer, wrapped = make(wrapper, cell, go_backwards=go_backwards)
    plain, got = (keras.ops.convert_to_numpy(part(sequences())) for part in (layer, wrapped))
    if wrapper[0] in ("zoneout", "update"):
        assert not np.allclose(plain, got)  # its expectation, see law 1
    elif BACKEND == "jax" and cell == "lstm" and go_backwards:
        # There Keras gives a backward sequence in the order of time on cuDNN, not of emission.
        np.testing.assert_allclose(plain[:, ::-1], got, rtol=0, atol=tolerance())
    else:
        np.testing.assert_array_equal(plain, got)


@on_each(here=[(ALL[0], "lstm")], everywhere=[ALL[0]])
@pytest.mark.parametrize("stateful", [False, True])
def test_inference_in_both_directions(wrapper, cell, device, stateful):
    layer, wrapped = make(wrapper, cell, bidirectional=True, stateful=stateful)
    got = keras.ops.convert_to_numpy(wrapped(sequences()))
    if stateful:
        layer.reset_states()
    layer.forward_layer.use_cudnn = layer.backward_layer.use_cudnn = False
    plain = keras.ops.convert_to_numpy(layer(sequences()))
    np.testing.assert_allclose(got, plain, rtol=0, atol=tolerance())


@on_each(here=[(ALL[0], "lstm"), (ALL[0], "gru")])
def test_insisting_on_cudnn(wrapper, cell, device):
    _, wrapped = make(wrapper, cell, use_cudnn=True)
    if has_kernel(cell) or not set(wrapped.sites) & set(wrapped.rewritten_sites):
        output = wrapped(sequences(), training=True)
        assert np.isfinite(keras.ops.convert_to_numpy(output)).all()
    else:
        with pytest.raises(InvalidArgumentError, match="cuDNN cannot run this layer here"):
            wrapped(sequences(), training=True)


@on_each(here=[(ALL[0], "lstm"), (ALL[5], "gru")])
def test_mixed_precision(wrapper, cell, device):
    layer, wrapped = make(wrapper, cell, dtype="mixed_float16")
    if device[0] == "gpu":
        assert_on_cudnn(wrapped, device, has_kernel(cell, half=True))
    wrapped.seed_generator.state.assign([derive_seed(SEED, layer.name, False), 0])
    got = wrapped(sequences(), training=True)
    assert keras.backend.standardize_dtype(got.dtype) == "float16"
    draws = Draws(wrapper, layer, sequences().shape, RATE, SEED)
    wanted = expect(draws, in_float64(layer), sequences().astype("float64"))[0]
    got = keras.ops.convert_to_numpy(got).astype("float64")
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance(digits=11))
    model = keras.Sequential([keras.Input((TIME, FEATURES)), wrapped])
    model.compile("adam", "mse")
    assert np.isfinite(model.train_on_batch(sequences(), np.ones((BATCH, TIME, UNITS))))


def test_the_rows_are_what_trains_on_cudnn():
    assert {wrapper[0] for wrapper in ALL} == TECHNIQUES.keys() - {"none"}
