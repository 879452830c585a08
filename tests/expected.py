"""The output that a wrapper with a known seed must have in training: masks drawn by hand, the rest in NumPy.

For layers of any shape, including `Bidirectional`, on every Keras backend.
"""

import keras
import numpy as np
from keras import ops

from recdrop_tune.kernels import bernoulli, derive_seed, dropped
from tests import reference

GATES = {"lstm": 4, "gru": 3}


def cell_of(layer):
    inner = getattr(layer, "forward_layer", layer)
    return "lstm" if isinstance(inner, keras.layers.LSTM) else "gru"


def directions_of(layer):
    if isinstance(layer, keras.layers.Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    return [layer]


class Draws:
    """The masks of one call, drawn in the order of a wrapper with that seed: in, inside, out.

    Args:
        wrapper: `(technique, placement, options)`, as in `laws/cases.py`.
        layer: The wrapped layer.
        shape: `(batch, time, features)`.
        rate: The rate, or for concrete dropout a dict of learned rates by site.
        seed: The seed.
    """

    def __init__(self, wrapper, layer, shape, rate, seed):
        self.technique, placement, self.options = wrapper
        self.sites = placement.split("+")
        self.soft = self.technique == "concrete"
        self.layer, self.rate = layer, rate
        self.batch, self.time, self.features = shape
        self.units = directions_of(layer)[0].units
        self.gates = GATES[cell_of(layer)]
        backwards = bool(getattr(layer, "go_backwards", False))
        self.seed = keras.random.SeedGenerator(derive_seed(seed, layer.name, backwards))
        self.input = self._input()
        self.inside = [self._inside() for _ in directions_of(layer)]
        self.output = self._output()

    def _factor(self, site, *shape):
        if self.soft:
            uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed)
            uniform = np.asarray(ops.convert_to_numpy(uniform), "float64")
            learned = isinstance(self.rate, dict)
            rate = self.rate[site] if learned else reference.kept_as_logit(self.rate)
            return reference.softly_dropped(uniform, rate, 0.1)
        drawn = bernoulli(shape, self.rate, self.seed)
        return np.asarray(ops.convert_to_numpy(drawn), "float64")

    def _bits(self, *shape, rate=None):
        drawn = dropped(shape, self.rate if rate is None else rate, self.seed)
        return np.asarray(ops.convert_to_numpy(drawn), "float64")

    def _kept(self, *shape):
        # The package computes the scale in float32, for layers of any type.
        return (1.0 - self._bits(*shape)) * float(1 / (1 - np.float32(self.rate)))

    def _steps(self):
        """How many masks a sequence has at the input and the output."""
        if self.technique in ("variational", "concrete") or not self.options.get("per_step", True):
            return 1
        return self.time

    def _input(self):
        inside = self.technique == "weight_drop" or (
            self.technique == "native" and "recurrent" in self.sites
        )
        if "input" not in self.sites or inside:
            return 1.0
        steps = 1 if self.technique == "native" else self._steps()
        return self._factor("input", self.batch, steps, self.features)

    def _output(self):
        if "output" not in self.sites:
            return 1.0
        width = self.units * len(directions_of(self.layer))
        if not self.layer.return_sequences:
            return self._factor("output", self.batch, width)
        return self._factor("output", self.batch, self._steps(), width)

    def _inside(self):
        """One direction's, as arguments of `reference.run` and factors of the two kernels."""
        return getattr(self, f"_{self.technique}", dict)()

    def _native(self):
        if "recurrent" not in self.sites:
            return {}
        shapes = {"gate_input_noise": self.features, "gate_state_noise": self.units}
        if "input" not in self.sites:
            del shapes["gate_input_noise"]
        return {k: self._factor(k, self.gates, self.batch, width) for k, width in shapes.items()}

    def _weight_drop(self):
        rows = {"input": ("kernel", self.features), "recurrent": ("recurrent_kernel", self.units)}
        taken = [rows[site] for site in ("input", "recurrent") if site in self.sites]
        return {n: self._factor(n, count, self.gates * self.units) for n, count in taken}

    def _zoneout(self):
        shape = self.batch, self.time, self.units
        noise = {"kept": self._bits(*shape)}
        if self.options.get("hidden_rate") and self.gates == GATES["lstm"]:
            rate = np.float32(self.options["hidden_rate"])
            noise["hidden_kept"] = self._bits(*shape, rate=rate)
        return noise

    def _update(self):
        if "recurrent" not in self.sites:
            return {}
        drawn = self._bits(self.batch, self._steps(), self.units)
        noise = np.broadcast_to(1.0 - drawn, (self.batch, self.time, self.units))
        return {"update_noise": noise}

    def _recurrent(self):
        if "recurrent" not in self.sites:
            return {}
        full, steps = (self.batch, self.time, self.units), self._steps()
        noise = np.broadcast_to(self._kept(self.batch, steps, self.units), full)
        fresh = self.options.get("per_step", True)
        initial = self._kept(self.batch, self.units) if fresh else noise[:, 0]
        return {"step_noise": noise, "initial_noise": initial}

    def _concrete(self):
        if "recurrent" in self.sites and self.options.get("elements"):
            weights = self.units, self.gates * self.units
            return {"recurrent_kernel": self._factor("recurrent", *weights)}
        return self._variational()

    def _variational(self):
        if "recurrent" not in self.sites:
            return {}
        groups = self.options.get("mask_groups", 1)
        size = -(-self.batch // groups)
        own = 1 if self.options.get("tied_gates", True) else self.gates
        masks = [self._factor("recurrent", self.units, own) for _ in range(groups)]
        full = self.units, self.gates
        each = [np.broadcast_to(masks[b // size], full) for b in range(self.batch)]
        return {"gate_state_noise": np.transpose(each, (2, 0, 1))}  # (gates, batch, units)


def expect(draws, weights, sequences, states=None, mask=None):
    """Computes `[output, *states]` by the definition, in float64.

    Args:
        draws: The masks.
        weights: The layer's, as `get_weights()` has them, in float64.
        sequences: Shape `(batch, time, features)`.
        states: `None`, or the initial states of all directions.
        mask: `None`, or booleans `(batch, time)`.
    """
    layer, parts = draws.layer, directions_of(draws.layer)
    cell = cell_of(layer)
    count, held = 2 if cell == "lstm" else 1, len(weights) // len(parts)
    if states is None:
        states = [np.zeros((draws.batch, draws.units))] * (count * len(parts))
    outputs, finals = [], []
    for i, part in enumerate(parts):
        emitted, final = _run(
            part,
            dict(draws.inside[i]),
            weights[held * i : held * (i + 1)],
            sequences * draws.input,
            states[count * i : count * (i + 1)],
            mask,
        )
        backward_of_two = i == 1
        emitted = emitted if part.return_sequences else emitted[:, -1]
        outputs.append(emitted[:, ::-1] if backward_of_two and emitted.ndim == 3 else emitted)
        finals += final
    output = np.concatenate(outputs, axis=-1) * draws.output
    return [output, *(finals if layer.return_state else [])]


def _run(layer, noise, weights, sequences, states, mask):
    kernel, recurrent_kernel, *bias = weights
    emitted, finals = reference.run(
        "lstm" if isinstance(layer, keras.layers.LSTM) else "gru",
        sequences,
        states,
        kernel * noise.pop("kernel", 1.0),
        recurrent_kernel * noise.pop("recurrent_kernel", 1.0),
        bias[0] if bias else None,
        mask=mask,
        go_backwards=layer.go_backwards,
        reset_after=getattr(layer, "reset_after", True),
        **noise,
    )
    if layer.zero_output_for_mask and mask is not None:  # a Bidirectional has its layers do so
        emitted = emitted * (mask[:, ::-1] if layer.go_backwards else mask)[..., None]
    return emitted, finals


def slope(function, array, direction, step=1e-5):
    """The derivative of a scalar function of an array along a direction, by central differences.

    Args:
        function: Reads `array`, which is moved and put back.
    """
    kept = array.copy()
    array += step * direction
    above = function()
    array[...] = kept - step * direction
    below = function()
    array[...] = kept
    return (above - below) / (2 * step)
