"""Shampoo sales: a published table of dropout in an LSTM, and what a small search finds for it.

The table is Jason Brownlee's ("How to Use Dropout with LSTM Networks for Time Series Forecasting", 2017):
the root of the mean squared error on the last 12 of 36 months, mean and standard deviation of 30 trainings.
His protocol: differences of the sales, each forecast from the one before it, scaled to -1..1 by
the training data; 3 units, stateful, batches of 4 in the order of the months, Adam, 1000 epochs, states back
to zero after each; then three batches forecast the test months, each from the true one before it.

Keras's `fit` keeps no states from batch to batch on JAX. Here the loop carries them, as it does weights, and
trains all repeats of all rates of a network at once (`jax.vmap`): some seconds for 90 trainings.
"""

from dataclasses import asdict, dataclass
from functools import cache, cached_property

import keras
import numpy as np
from scipy import stats

from recdrop_tune.models import walk
from recdrop_tune.wrappers import wrap

BATCH, TEST, VALIDATION = 4, 12, 8
EPOCHS = 1000
RATES = (0.2, 0.4, 0.6)
PUBLISHED = {
    "recurrent": {0: (95.74, 9.22), 0.2: (93.66, 7.32), 0.4: (93.71, 5.59), 0.6: (97.35, 5.63)},
    "input": {0: (97.58, 7.93), 0.2: (89.45, 5.81), 0.4: (88.96, 4.07), 0.6: (89.81, 3.47)},
}
REPEATS = 30
SEARCHED_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


@dataclass(frozen=True)
class Network:
    """An LSTM with a dense layer.

    Attributes:
        wrapper: Id of the technique.
        placement: Where it drops.
        units: Units of the LSTM.
        hard: Whether the gates are piecewise linear, as they were by default in Keras 2.0.
    """

    wrapper: str = "none"
    placement: str = ""
    units: int = 3
    hard: bool = False

    def build(self, rate):
        """Makes the model. Under one seed, its initial weights do not depend on the dropout."""
        gates = _hard_sigmoid if self.hard else "sigmoid"
        layer = keras.layers.LSTM(self.units, stateful=True, recurrent_activation=gates)
        dense = keras.layers.Dense(1)  # Layers draw their seeds when they are made, wrappers too.
        if self.wrapper != "none":
            layer = wrap(layer, self.wrapper, **self._dropout(rate))
        return keras.Sequential([keras.Input(batch_shape=(BATCH, 1, 1)), layer, dense])

    def _dropout(self, rate):
        if (self.wrapper, self.placement) != ("native", "input"):
            return {"placement": self.placement, "rate": rate}
        # With the recurrent site, each gate has its own input mask, as in Keras 2.0.
        return {"placement": "input+recurrent", "rate": {"input": rate, "recurrent": 0.0}}


def _hard_sigmoid(x):
    """Computes the hard sigmoid of Keras 2.0; that of Keras 3 has another slope."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


FORMS = {
    "as in Keras 2.0": {"wrapper": "native", "hard": True},
    **{name: {"wrapper": name} for name in ("native", "variational", "weight_drop", "recurrent")},
}
"""At the input `variational` has one mask for all gates, as Keras 3 with `dropout` alone."""

SEARCHED = {
    "native": ("input", "recurrent", "input+recurrent"),
    "variational": ("input", "recurrent", "output", "input+recurrent"),
    "weight_drop": ("input", "recurrent", "input+recurrent"),
    "recurrent": ("recurrent", "input+recurrent"),
    "zoneout": ("recurrent",),
    "none": ("",),
}
"""The placements to try. For sequences of one step, the others compute the same, apart from `variational` at
the output and other sites, which is left out."""


@cache
def sales():
    """Returns the 36 months."""
    from sktime.datasets import load_shampoo_sales

    return load_shampoo_sales().to_numpy().astype(float)


def prepared(history, months):
    """Returns scaled pairs of differences to train on, those of the last months, and the scale's ends."""
    differences = np.diff(history)
    pairs = np.stack([differences[:-1], differences[1:]], axis=1)
    low, high = pairs[:-months].min(axis=0), pairs[:-months].max(axis=0)
    scaled = 2 * (pairs - low) / (high - low) - 1
    # The first two are left out, as in the published code: the others fill batches.
    return scaled[2:-months], scaled[-months:], (low[1], high[1])


def batches(pairs):
    """Returns inputs and targets as batches in their order."""
    x, y = pairs.astype("float32").T
    return x.reshape(-1, BATCH, 1, 1), y.reshape(-1, BATCH, 1)


def scores(network, lanes, history, months, epochs):
    """Trains a network many times at once and forecasts the last months of a history.

    Args:
        network: The `Network`.
        lanes: A rate and a seed for each training.
        history: The sales.
        months: How many to forecast.
        epochs: When to forecast: numbers of epochs, ascending.

    Returns:
        The root of the mean squared error by number of epochs and lane.
    """
    train, held, (low, high) = prepared(history, months)
    loop, carry = Loop.begin(network, lanes)
    found, done = [], 0
    for until in epochs:
        carry = loop.train(until - done, batches(train), carry)
        done = until
        scaled = np.asarray(loop.forecast(batches(held)[0], carry)).reshape(len(lanes), months)
        forecast = history[-months - 1 : -1] + low + (scaled + 1) / 2 * (high - low)
        found.append(np.sqrt(((forecast - history[-months:]) ** 2).mean(axis=1)))
    return np.array(found)


@dataclass(frozen=True)
class Loop:
    """Training and forecasting as functions of values: weights, other variables, the optimizer's, states.

    Attributes:
        model: The model that is traced.
        optimizer: Its optimizer.
        states: The variables of the stateful layer, which the model's do not have among them.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    states: list

    @classmethod
    def begin(cls, network, lanes):
        """Returns the loop, and the values at the beginning of each lane, stacked."""
        models = []
        for rate, seed in lanes:
            keras.utils.set_random_seed(seed)
            models.append(network.build(rate))
        optimizer = keras.optimizers.Adam()
        optimizer.build(models[0].trainable_variables)
        found = [part.states for part in walk(models[0]) if isinstance(part, keras.layers.LSTM)]
        loop = cls(models[0], optimizer, keras.tree.flatten(found))
        parts = [
            [model.trainable_variables for model in models],
            [model.non_trainable_variables for model in models],
            [optimizer.variables] * len(models),
            [loop.states] * len(models),
        ]
        return loop, tuple(
            [
                np.stack([np.asarray(each.value) for each in lane])
                for lane in zip(*part, strict=True)
            ]
            for part in parts
        )

    @cached_property
    def train(self):
        """The function that returns the values of each lane after some epochs; states begin each at zero."""
        import jax

        def train(epochs, data, carry):
            def epoch(carry, _):
                carry = (*carry[:3], [0 * each for each in carry[3]])
                return jax.lax.scan(self._step, carry, data)

            return jax.lax.scan(epoch, carry, length=epochs)[0]

        return jax.jit(jax.vmap(train, in_axes=(None, None, 0)), static_argnums=0)

    @cached_property
    def forecast(self):
        """The function that returns what each lane forecasts; states go from batch to batch."""
        import jax

        def forecast(x, carry):
            def batch(states, x):
                y, _, states = self._call(*carry[:2], states, x, training=False)
                return states, y

            return jax.lax.scan(batch, [0 * each for each in carry[3]], x)[1]

        return jax.jit(jax.vmap(forecast, in_axes=(None, 0)))

    def _step(self, carry, batch):
        import jax

        weights, others, optimizer, states = carry
        x, y = batch

        def loss(weights):
            forecast, *after = self._call(weights, others, states, x, training=True)
            return keras.ops.mean(keras.ops.square(forecast - y)), after

        gradients, (others, states) = jax.grad(loss, has_aux=True)(weights)
        weights, optimizer = self.optimizer.stateless_apply(optimizer, gradients, weights)
        return (weights, others, optimizer, states), None

    def _call(self, weights, others, states, x, training):
        model = self.model
        variables = [*model.trainable_variables, *model.non_trainable_variables, *self.states]
        given = zip(variables, [*weights, *others, *states], strict=True)
        with keras.StatelessScope(state_mapping=list(given)) as scope:
            y = model(x, training=training)
        after = [scope.get_current_value(each) for each in variables[len(weights) :]]
        return y, after[: len(others)], after[len(others) :]


def run(held, repeats, epochs, save):
    """Trains what is lacking.

    Args:
        held: The existing results, to which this adds.
        repeats: Trainings of a cell.
        epochs: Epochs of each.
        save: Called after each addition.
    """
    if keras.backend.backend() != "jax":
        raise SystemExit("The shampoo sales need JAX: KERAS_BACKEND=jax.")
    if held.setdefault("of", [repeats, epochs]) != [repeats, epochs]:
        was = "{} repeats of {} epochs".format(*held["of"])
        raise SystemExit(f"The existing results have {was}: use the same, or another --out.")
    rows, seeds = held.setdefault("cells", []), range(repeats)
    for form, placement, network in _cells():
        if any((row["form"], row["placement"]) == (form, placement) for row in rows):
            continue
        rates = RATES if placement else (0.0,)
        lanes = [(rate, seed) for rate in rates for seed in seeds]
        (found,) = scores(network, lanes, sales(), TEST, [epochs]).reshape(1, len(rates), -1)
        rows += [
            {"form": form, "placement": placement, "rate": rate, "test": list(each)}
            for rate, each in zip(rates, found, strict=True)
        ]
        save()
        print(f"{form} {placement}:", *(f"{each.mean():.2f}" for each in found), flush=True)
    search(held, repeats, epochs, save)


def _cells():
    for form, settings in FORMS.items():
        if form in ("as in Keras 2.0", "native"):
            yield form, "", Network(hard=settings.get("hard", False))
        for placement in PUBLISHED:
            if (form, placement) == ("recurrent", "input"):
                continue  # Its masks are of single steps, and sequences here have one.
            yield form, placement, Network(placement=placement, **settings)


def search(held, repeats, epochs, save):
    """Chooses a network by the last training months, and scores it on the test months."""
    tried, checks = held.setdefault("tried", []), [epochs * n // 4 for n in (1, 2, 3, 4)]
    seeds = range(1000, 1000 + max(1, repeats // 3))
    for network in _networks():
        about = asdict(network)
        if any(each["network"] == about for each in tried):
            continue
        rates = (0.0,) if network.wrapper == "none" else SEARCHED_RATES
        lanes = [(rate, seed) for rate in rates for seed in seeds]
        found = scores(network, lanes, sales()[:-TEST], VALIDATION, checks)
        means = found.reshape(len(checks), len(rates), -1).mean(axis=-1)
        tried.append({"network": about, "rates": rates, "epochs": checks, "means": means.tolist()})
        save()
        print(f"{network}: {means.min():.2f}", flush=True)
    if "best" not in held:
        held["best"] = [
            {**chosen, "test": list(_tested(chosen, repeats))} for chosen in choices(tried)
        ]
        save()


def _networks():
    for units in (3, 12):
        for wrapper, placements in SEARCHED.items():
            for placement in placements:
                yield Network(wrapper, placement, units)


def choices(tried):
    """Returns the best of all, its twin, the best without dropout, and the best of the published size."""
    rows = [
        {"network": each["network"], "rate": rate, "epochs": epochs, "validation": mean}
        for each in tried
        for epochs, means in zip(each["epochs"], each["means"], strict=True)
        for rate, mean in zip(each["rates"], means, strict=True)
    ]
    rows.sort(key=lambda row: row["validation"])
    best = rows[0]
    without = [row for row in rows if row["network"]["wrapper"] == "none"]
    size = best["network"]["units"], best["epochs"]
    twin = next(row for row in without if (row["network"]["units"], row["epochs"]) == size)
    return [
        {"what": "best found", **best},
        {"what": "its twin", **twin},
        {"what": "best without dropout", **without[0]},
        {"what": "best of 3 units", **next(row for row in rows if row["network"]["units"] == 3)},
    ]


def _tested(chosen, repeats):
    network, lanes = (
        Network(**chosen["network"]),
        [(chosen["rate"], seed) for seed in range(repeats)],
    )
    return scores(network, lanes, sales(), TEST, [chosen["epochs"]])[0]


def tables(held):
    """Returns the tables in Markdown by name."""
    made = {}
    if held.get("cells"):
        made["shampoo"] = _published_table(held["cells"])
    if held.get("best"):
        made["shampoo-search"] = _search_table(held["best"])
    return made


def _published_table(cells):
    found = {(row["form"], row["placement"], row["rate"]): np.array(row["test"]) for row in cells}
    lines = [
        f"| drops | rate | published | {' | '.join(FORMS)} | as in Keras 2.0, less published, 95 % |",
        "|---" * (len(FORMS) + 4) + "|",
    ]
    for placement, published in PUBLISHED.items():
        for rate, (mean, deviation) in published.items():
            keys = [(form, placement if rate else "", rate) for form in FORMS]
            shown = [_shown(found[key]) if key in found else "" for key in keys]
            away = ""
            if keys[0] in found:
                away = "{:+.2f} ({:+.2f} to {:+.2f})".format(
                    *difference(found[keys[0]], mean, deviation)
                )
            lines.append(
                f"| {placement} | {rate} | {mean} ± {deviation} | {' | '.join(shown)} | {away} |"
            )
    return "\n".join(lines)


def _search_table(best):
    lines = [
        "| | configuration | validation | test | less 88.96, 95 % |",
        "|---|---|---|---|---|",
    ]
    for row in best:
        network, test = row["network"], np.array(row["test"])
        drops = f"{network['placement']}, rate {row['rate']}, " if network["placement"] else ""
        said = f"{network['wrapper']}, {drops}{network['units']} units, {row['epochs']} epochs"
        more, least, most = difference(test, *PUBLISHED["input"][0.4])
        lines.append(
            f"| {row['what']} | {said} | {row['validation']:.2f} | {_shown(test)} "
            f"| {more:+.2f} ({least:+.2f} to {most:+.2f}) |"
        )
    return "\n".join(lines)


def _shown(test):
    return f"{test.mean():.2f} ± {test.std(ddof=1):.2f}"


def difference(test, mean, deviation):
    """Returns by how much a mean is above a published one, and Welch's 95 % interval."""
    ours, theirs = test.var(ddof=1) / len(test), deviation**2 / REPEATS
    freedom = (ours + theirs) ** 2 / (ours**2 / (len(test) - 1) + theirs**2 / (REPEATS - 1))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(ours + theirs)
    return test.mean() - mean, test.mean() - mean - half, test.mean() - mean + half
