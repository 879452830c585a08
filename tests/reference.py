"""LSTM and GRU with dropout, written as slowly and plainly as their definitions, in NumPy.

One sample at a time, one step at a time. Written from the papers' equations, not from the package:
no gate is forced, no weight is rewritten. Noise is given as factors (0, or 1 / (1 - rate)).
"""

import numpy as np


def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-x))


def softly_dropped(uniform, rate, temperature):
    """Noise of concrete dropout: what survives of numbers drawn in (0, 1), its mean about 1."""
    with np.errstate(divide="ignore"):
        odds = logit(rate) + np.log(uniform) - np.log1p(-uniform)
    return (1.0 - sigmoid(odds / temperature)) / (1.0 - rate)


def logit(rate):
    return np.log(rate) - np.log1p(-rate)


def kept_as_logit(rate):
    """A rate as its logit holds it: Keras rounds the first value of a variable to float32."""
    return sigmoid(np.float64(np.float32(logit(rate))))


def prior_terms(rate, weights, masked, samples, factor, length_scale):
    """What concrete dropout adds to the loss for one site."""
    squares = sum(np.sum(each**2) for each in weights)
    entropy = -rate * np.log(rate) - (1.0 - rate) * np.log(1.0 - rate)
    prior = length_scale**2 / (2.0 * (1.0 - rate)) * squares
    return factor / samples * (prior - masked * entropy)


def run(
    cell,
    sequences,
    states,
    kernel,
    recurrent_kernel,
    bias,
    *,
    mask=None,
    go_backwards=False,
    reset_after=True,
    step_noise=None,
    initial_noise=None,
    gate_input_noise=None,
    gate_state_noise=None,
    kept=None,
    hidden_kept=None,
    update_noise=None,
):
    """Returns the emitted sequence, in the order of emission, and the final states.

    Args:
        step_noise: (batch, time, units): for the h fed back from each step (LSTM), or for what the
            candidate reads at each step (GRU).
        initial_noise: (batch, units): for the initial h (LSTM).
        gate_input_noise: (gates, batch, features); gate_state_noise: (gates, batch, units).
        kept: (batch, time, units): fraction of c (LSTM) or h (GRU) that stays from the step before.
        hidden_kept: (batch, time, units): the same for the h of an LSTM.
        update_noise: (batch, time, units): for the candidate of an LSTM.
    """
    batch, time, _ = sequences.shape
    emitted, finals = [], []
    for b in range(batch):
        one = {
            "cell": cell,
            "kernel": kernel,
            "recurrent_kernel": recurrent_kernel,
            "bias": bias,
            "reset_after": reset_after,
            "x_noise": None if gate_input_noise is None else gate_input_noise[:, b],
            "h_noise": None if gate_state_noise is None else gate_state_noise[:, b],
            "kept": np.zeros((time, 1)) if kept is None else kept[b],
            "hidden_kept": np.zeros((time, 1)) if hidden_kept is None else hidden_kept[b],
            "update_noise": np.ones((time, 1)) if update_noise is None else update_noise[b],
        }
        valid = np.ones(time, bool) if mask is None else mask[b]
        order = range(time - 1, -1, -1) if go_backwards else range(time)
        out, final = _run_sample(
            sequences[b],
            [state[b] for state in states],
            [t for t in order if valid[t]],
            list(order),
            one,
            None if step_noise is None else step_noise[b],
            None if initial_noise is None else initial_noise[b],
        )
        emitted.append(out)
        finals.append(final)
    return np.array(emitted), [np.array(part) for part in zip(*finals, strict=True)]


def _run_sample(x, states, steps, order, one, step_noise, initial_noise):
    units = states[0].shape[0]
    emissions = {}
    feedback = np.ones(units) if initial_noise is None else initial_noise
    for t in steps:
        noise = np.ones(units) if step_noise is None else step_noise[t]
        if one["cell"] == "lstm":
            states = _lstm(x[t], states, feedback, one, t)
            last = t == steps[-1]
            # the unit is dropped onwards too
            emissions[t] = states[0] if last else states[0] * noise
            feedback = noise
        else:
            states = _gru(x[t], states, noise, one, t)
            emissions[t] = states[0]
    out, previous = [], np.zeros(units)
    for t in order:  # a masked step repeats what was emitted before it, as Keras does
        previous = emissions.get(t, previous)
        out.append(previous)
    return np.array(out), states


def _products(vector, weights, noise, gates):
    blocks = np.split(weights, gates, axis=1)
    return [
        (vector if noise is None else vector * noise[g]) @ block for g, block in enumerate(blocks)
    ]


def _lstm(x, states, feedback, one, t):
    h, c = states
    bias = np.zeros(4 * h.shape[0]) if one["bias"] is None else one["bias"]
    from_x = _products(x, one["kernel"], one["x_noise"], 4)
    from_h = _products(h * feedback, one["recurrent_kernel"], one["h_noise"], 4)
    i, f, g, o = (a + b + c_ for a, b, c_ in zip(from_x, from_h, np.split(bias, 4), strict=True))
    new = sigmoid(f) * c + sigmoid(i) * one["update_noise"][t] * np.tanh(g)
    c = one["kept"][t] * c + (1 - one["kept"][t]) * new
    stays = one["hidden_kept"][t]
    return [stays * h + (1 - stays) * sigmoid(o) * np.tanh(c), c]


def _gru(x, states, noise, one, t):
    (h,) = states
    units = h.shape[0]
    if one["bias"] is None:
        b_x, b_h = np.zeros(3 * units), np.zeros(3 * units)
    else:
        b_x, b_h = one["bias"] if one["reset_after"] else (one["bias"], np.zeros(3 * units))
    xz, xr, xn = (
        a + b
        for a, b in zip(
            _products(x, one["kernel"], one["x_noise"], 3), np.split(b_x, 3), strict=True
        )
    )
    hz, hr, hn = (
        a + b
        for a, b in zip(
            _products(h, one["recurrent_kernel"], one["h_noise"], 3), np.split(b_h, 3), strict=True
        )
    )
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    if one["reset_after"]:
        candidate = np.tanh(xn + noise * r * hn)
    else:
        gated = r * noise * h if one["h_noise"] is None else r * noise * h * one["h_noise"][2]
        candidate = np.tanh(xn + gated @ np.split(one["recurrent_kernel"], 3, axis=1)[2])
    return [one["kept"][t] * h + (1 - one["kept"][t]) * (z * h + (1 - z) * candidate)]
