"""The matrix of the laws: wrapper x placement x cell x scenario of a Keras RNN.

By default a covering array of each matrix runs: few rows that contain each pair of values of the matrix, or
of those of its rows that can fail where no other would. The other rows have the mark `full`, and are made
only when `-m` asks for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import keras
import numpy as np
import pytest

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.wrappers import wrap
from tests.backends import BACKEND, PRECISE, array

full_is_asked_for = False
"""Set by `conftest`."""

BATCH, TIME, FEATURES, UNITS = 3, 5, 2, 4

OPTIONS = {
    "recurrent": ({"per_step": True}, {"per_step": False}),
    "update": ({"per_step": True}, {"per_step": False}),
    "variational": ({"tied_gates": True}, {"tied_gates": False}, {"mask_groups": 2}),
    "zoneout": ({}, {"hidden_rate": 0.3}),
    "concrete": (
        {"samples": 20},
        {"samples": 20, "elements": True},
        {"samples": 20, "mask_groups": 2},
    ),
}
"""Options of a wrapper that change who shares a mask: each is a row of the matrix."""

WRAPPERS = [
    (technique.id, placement, options)
    for technique in TECHNIQUES.values()
    for placement in technique.placements
    for options in OPTIONS.get(technique.id, ({},))
]

WIDEST = [w for w in WRAPPERS if w[1] == TECHNIQUES[w[0]].placements[-1]]
"""Each wrapper once for each option, at all its sites: for tests that take seconds."""

ONE_EACH = [next(w for w in WIDEST if w[0] == each) for each in dict.fromkeys(w[0] for w in WIDEST)]
"""Each wrapper once."""

SLOWLY = [pytest.param(w, marks=pytest.mark.heavy if i % 4 else ()) for i, w in enumerate(ONE_EACH)]
"""Each wrapper once: a few are enough for a test that takes a second, unless heavy ones run."""

ALONE = [w for w in WRAPPERS if "+" not in w[1] and w[2] == OPTIONS.get(w[0], ({},))[0]]
"""Each wrapper at each of its sites alone, with the first of its options."""

CELLS = {
    "lstm": (keras.layers.LSTM, {}),
    "lstm_no_bias": (keras.layers.LSTM, {"use_bias": False}),
    "gru": (keras.layers.GRU, {}),
    "gru_reset_before": (keras.layers.GRU, {"reset_after": False}),
}

MASKS = {
    "none": None,
    "right": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], bool),
    "left": np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]], bool),
    "holed": np.array([[1, 0, 1, 1, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool),
}


@dataclass(frozen=True)
class Scenario:
    """A use of a Keras RNN layer."""

    layer: dict = field(default_factory=dict)
    mask: str = "none"
    initial_state: bool = False


SCENARIOS = {
    "last": Scenario(),
    "sequences": Scenario({"return_sequences": True}),
    "states": Scenario({"return_sequences": True, "return_state": True}),
    "last_and_states": Scenario({"return_state": True}),
    "backwards": Scenario({"return_sequences": True, "return_state": True, "go_backwards": True}),
    "initial_state": Scenario({"return_state": True}, initial_state=True),
    "stateful": Scenario({"stateful": True, "return_state": True}),
    "unrolled": Scenario({"unroll": True, "return_sequences": True}),
    "right_padded": Scenario({"return_sequences": True, "return_state": True}, mask="right"),
    "left_padded": Scenario({"return_sequences": True, "return_state": True}, mask="left"),
    "holed_backwards": Scenario(
        {"return_sequences": True, "return_state": True, "go_backwards": True}, mask="holed"
    ),
    "masked_last": Scenario({"return_state": True}, mask="right"),
}

RETURNED_ELSEWHERE = ("states", "last_and_states")
"""Scenarios whose settings are part of other scenarios."""

FEW = ("sequences", "holed_backwards")
"""Scenarios for rows that differ little from others."""


def has_cell(wrapper, cell):
    """Whether a technique is for a cell: a name of `CELLS`, or a class."""
    only = TECHNIQUES[wrapper[0]].cell
    return only is None or _word(cell).lower().startswith(only)


def gru_for(wrapper):
    """A GRU's class, or an LSTM's if the technique is for LSTMs alone."""
    return keras.layers.GRU if has_cell(wrapper, "gru") else keras.layers.LSTM


def _fits(row):
    """Whether a row has no wrapper, or one that its cell has."""
    wrappers = [value for value in row if isinstance(value, tuple)]
    cells = [v for v in row if _word(v).lower().startswith(("lstm", "gru"))]
    return all(has_cell(wrapper, cell) for wrapper in wrappers for cell in cells)


def _scenarios(wrapper, cell):
    # Some of a wrapper's sites add little to each site alone and all of them together.
    in_between = "+" in wrapper[1] and wrapper not in WIDEST
    return FEW if in_between or cell not in ("lstm", "gru") else SCENARIOS


MATRIX = [
    (wrapper, cell, scenario)
    for wrapper in WRAPPERS
    for cell in CELLS
    for scenario in _scenarios(wrapper, cell)
]
"""Every wrapper with every cell, in all scenarios that can make a difference."""


def make_layer(cell, seed=1, **options):
    """A Keras layer with weights worth testing: biases that are not zero."""
    kind, defaults = CELLS[cell]
    layer = kind(UNITS, **{"dtype": PRECISE, **defaults, **options})
    layer.build((BATCH, TIME, FEATURES))
    generator = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(generator.normal(0.0, 0.5, weight.shape))
    return layer


def learns_rates(wrapper):
    """Whether a wrapper learns its rates, which cannot start at 0."""
    return TECHNIQUES[wrapper[0]].learns_rate


def is_exact_at_inference(wrapper):
    """Whether a wrapper is the plain layer at inference: not if it uses an expectation."""
    return wrapper[0] != "zoneout" and (wrapper[0] != "update" or "recurrent" not in wrapper[1])


def make_wrapper(layer, wrapper, rate=0.4, seed=7):
    technique_id, placement, options = wrapper
    inner = getattr(layer, "forward_layer", layer)
    if isinstance(inner, keras.layers.GRU):  # It has no separate h.
        options = {name: value for name, value in options.items() if name != "hidden_rate"}
    if rate == 0.0 and "hidden_rate" in options:
        options = {**options, "hidden_rate": 0.0}
    return wrap(layer, technique_id, placement=placement, rate=rate, seed=seed, **options)


def make_inputs(cell, initial_state=False, seed=2):
    generator = np.random.default_rng(seed)
    sequences = generator.normal(size=(BATCH, TIME, FEATURES))
    count = 2 if cell.startswith("lstm") else 1
    states = [generator.normal(size=(BATCH, UNITS)) for _ in range(count)]
    return sequences, states if initial_state else None


def arrays(result):
    """The results of a layer as a list of NumPy arrays."""
    parts = result if isinstance(result, (list, tuple)) else [result]
    return [array(part) for part in parts]


def wrapper_id(wrapper):
    technique_id, placement, options = wrapper
    return "-".join([technique_id, placement, *(f"{k}={v}" for k, v in options.items())])


def in_matrix(among=lambda *row: True):
    """Parametrizes a test over `MATRIX`; by default the rows selected by `among` run, see `over`."""

    def taken(wrapper, cell, scenario):
        return scenario not in RETURNED_ELSEWHERE and among(wrapper, cell, scenario)

    return over(("wrapper", "cell", "scenario"), MATRIX, backends=_few, among=taken)


def _few(wrapper, cell, scenario):
    return wrapper in WIDEST and cell in ("lstm", "gru") and scenario in FEW


def no_row(*row):
    """Selects nothing."""
    return False


def over(names, rows, *, backends=no_row, among=lambda *row: True, few=None, heavy=no_row):
    """Parametrizes a test; CI runs some of the rows selected by `backends` on Keras's other backends too.

    By default a covering array of the rows selected by `among` runs; or the rows `few`, if a covering array
    is too large for a slow test. JAX and PyTorch share one covering array, in which the backend is a factor.
    On TensorFlow, `-m backends` selects all of it. Rows with a cell that a technique is not for are left out.
    """
    rows = [row for row in rows if _fits(row)]
    if few is None:
        taken = [index for index, row in enumerate(rows) if among(*row)]
        chosen = {taken[at] for at in covering([_factors(rows[index]) for index in taken])}
    else:
        few = list(few)
        chosen = {index for index, row in enumerate(rows) if row in few}
    shared = [
        (index, backend)
        for index, row in enumerate(rows)
        for backend in ("jax", "torch")
        if backends(*row)
    ]
    picked = covering([(*_factors(rows[index]), backend) for index, backend in shared])
    elsewhere = {shared[at][0] for at in picked if BACKEND in ("tensorflow", shared[at][1])}
    params = []
    for index, row in enumerate(rows):
        marks = [pytest.mark.backends] if index in elsewhere else []
        marks += [] if index in chosen else [pytest.mark.full]
        marks += [pytest.mark.heavy] if heavy(*row) else []
        if index in chosen | elsewhere or full_is_asked_for:
            params.append(pytest.param(*row, id="-".join(map(_word, row)), marks=marks))
    return pytest.mark.parametrize(names, params)


def covering(rows: Sequence[tuple]) -> set[int]:
    """Returns the indices of few rows that contain every pair of values of all rows.

    Greedy: the next row is always the one with the most new pairs.
    """
    pairs = [set(combinations(enumerate(row), 2)) for row in rows]
    missing = set[tuple]().union(*pairs)
    chosen = set()
    while missing:
        best = max(range(len(rows)), key=lambda index: len(pairs[index] & missing))
        chosen.add(best)
        missing -= pairs[best]
    return chosen


def _factors(row):
    """The values of a row. A wrapper is two values: technique with options, and placement."""
    values = []
    for value in row:
        if isinstance(value, tuple):
            technique, placement, options = value
            values += [wrapper_id((technique, "", options)), placement]
        else:
            values.append(_word(value))
    return tuple(values)


def _word(value):
    if isinstance(value, tuple):
        return wrapper_id(value)
    return getattr(value, "__name__", str(value))
