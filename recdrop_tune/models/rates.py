"""Rates that change while a model trains: by a schedule, or learned with the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras

from recdrop_tune.errors import check_integer, invalid_argument
from recdrop_tune.kernels import excluded_from_decay
from recdrop_tune.models.layers import dropout_layers, learning_layers

Schedule = Callable[[float, float], float]
"""`(progress, rate) -> rate`: the rate to use for the configured `rate`, when `progress` runs from 0 in the
first epoch to 1 in the last."""


def _constant(progress: float, rate: float) -> float:
    del progress
    return rate


def _linear(progress: float, rate: float) -> float:
    return rate * progress


def _curriculum(progress: float, rate: float) -> float:
    # Morerio et al. recommend gamma = 10 / T for T steps: the rate is within 5 % of its target after 30 % of
    # the training.
    return rate * -math.expm1(-10.0 * progress)


def _annealed(progress: float, rate: float) -> float:
    return rate * max(0.0, 1.0 - progress)


def _ramp(progress: float, rate: float) -> float:
    # The best schedule of Cheng et al., `0@0, 0@0.20, p@0.5, 0@1` in Kaldi's notation.
    rise, peak = 0.2, 0.5
    if progress <= rise:
        return 0.0
    if progress <= peak:
        return rate * (progress - rise) / (peak - rise)
    return rate * (1.0 - progress) / (1.0 - peak)


# Liu et al. train 300 epochs, and switch at epoch 50.
_CUTOFF = 1 / 6


def _early(progress: float, rate: float) -> float:
    # Against underfitting: dropout lets the gradients of early batches agree more.
    return rate * max(0.0, 1.0 - progress / _CUTOFF)


def _late(progress: float, rate: float) -> float:
    # Against overfitting: the model learns undisturbed at first.
    return rate if progress >= _CUTOFF else 0.0


SCHEDULES: dict[str, Schedule] = {
    "constant": _constant,
    "linear": _linear,
    "curriculum": _curriculum,
    "annealed": _annealed,
    "ramp": _ramp,
    "early": _early,
    "late": _late,
}
"""The schedules that `RateSchedule` knows by name: `constant`, and those of `catalog.SCHEDULE_NAMES`."""


class RateSchedule(keras.callbacks.Callback):
    """Changes the dropout rates of a model during training, without a new trace.

        rate at progress t = schedule(t, configured rate),   t from 0 in the first to 1 in the last epoch

    It sets the rate variables of every dropout layer of this package in the model, including nested models
    and `Bidirectional`. The configured rates do not change, so a model saved at any time has them, and they
    are restored when training ends. (If `fit` raises, the next `fit` with a `RateSchedule` restores them, or
    `layer.configured_rates = layer.configured_rates`.) A model without dropout layers is trained as it is, so
    a search can include no dropout.

    | schedule | rate |
    |---|---|
    | `constant` | p |
    | `linear` | from 0 to p |
    | `curriculum` | p (1 - exp(-10 t)) (Morerio et al. 2017) |
    | `annealed` | p (1 - t) (Rennie et al. 2014) |
    | `ramp` | 0 until 20 %, up to p at 50 %, down to 0 at the end (Cheng et al. 2017) |
    | `early` | from p to 0 in the first sixth, then 0 (Liu et al. 2023) |
    | `late` | 0 in the first sixth, then p (Liu et al. 2023) |

    On JAX, `per="batch"` makes the trainer write its state back to the variables before each batch, which
    costs time in a model with many variables. With `steps_per_execution` above 1, the rate changes once an
    execution.

    Args:
        schedule: One of the names above, or a function `(progress, rate) -> rate`.
        epochs: Epochs over which progress runs from 0 to 1, where it stays; None for the epochs of `fit`.
        per: `"epoch"` sets the rates once an epoch, `"batch"` before each batch.
        layers: The dropout layers to change, or their names; None for all.

    Raises:
        InvalidArgumentError: An argument is invalid. When training begins: the model lacks one of `layers`,
            one of the layers learns its rates, or `per="batch"` and the number of batches is unknown. During
            training: the schedule returned a rate out of range.

    Example:
        >>> import keras, numpy as np
        >>> from recdrop_tune.models import RateSchedule
        >>> from recdrop_tune.wrappers import RecurrentDropoutWrapper
        >>> rnn = RecurrentDropoutWrapper(keras.layers.GRU(4), rate=0.3)
        >>> model = keras.Sequential([keras.Input((None, 2)), rnn, keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> history = model.fit(np.ones((4, 3, 2)), np.ones((4, 1)), epochs=3, verbose=0,
        ...                     callbacks=[RateSchedule("curriculum")])

    Reference:
        Morerio et al. (2017), arXiv 1703.06229; Rennie, Goel, Thomas (2014), IEEE SLT; Cheng et al.
        (2017), Interspeech; Liu et al. (2023), arXiv 2303.01500.
    """

    def __init__(
        self,
        schedule: str | Schedule,
        epochs: int | None = None,
        per: Literal["epoch", "batch"] = "epoch",
        layers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(per, str) or per not in ("epoch", "batch"):
            raise invalid_argument("per", expected="'epoch' or 'batch'", received=per)
        chosen = SCHEDULES.get(schedule) if isinstance(schedule, str) else schedule
        if not callable(chosen):
            raise invalid_argument(
                "schedule",
                expected=f"one of {', '.join(SCHEDULES)}, or a function (progress, rate) -> rate",
                received=schedule,
            )
        self.schedule = chosen
        self.epochs = None if epochs is None else check_integer("epochs", epochs)
        self.per = per
        self.counts_steps = per == "epoch"  # See `recdrop_tune.models.fit`.
        self.layers = layers
        self._moving: list[Any] = []
        self._epoch = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Finds the dropout layers."""
        self._moving = _picked(self.model, self.layers)
        if self.per == "batch" and not self.params.get("steps"):
            raise invalid_argument(
                "per",
                expected="'epoch', where the number of batches in an epoch is not known",
                received=self.per,
                fix="Pass steps_per_epoch to fit, or per='epoch'.",
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Sets the epoch's rates."""
        self._epoch = epoch
        if self.per == "epoch":
            self._move(epoch, self._total_epochs())

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Sets the batch's rates."""
        if self.per != "batch":
            return
        if hasattr(self.model, "jax_state_sync"):
            # The JAX trainer holds the state in its own arrays: write it back, or assignments are lost.
            self.model.jax_state_sync()
        steps = self.params["steps"]
        self._move(self._epoch * steps + batch, self._total_epochs() * steps)

    def on_train_end(self, logs: Any = None) -> None:
        """Restores the configured rates."""
        for layer in self._moving:
            layer.configured_rates = layer.configured_rates
        self._moving = []

    def _total_epochs(self) -> int:
        return int(self.params["epochs"] if self.epochs is None else self.epochs)

    def _move(self, done: int, total: int) -> None:
        progress = min(done / max(total - 1, 1), 1.0)
        for layer in self._moving:
            for name, configured in layer.configured_rates.items():
                rate = float(self.schedule(progress, configured))
                if not 0.0 <= rate < 1.0:
                    raise invalid_argument(
                        "schedule",
                        expected="a function whose rates are in 0 <= rate < 1",
                        received=f"{rate} at progress {progress:.3g} for rate {configured}",
                    )
                layer.rates[name].assign(rate)


def _picked(model: Any, chosen: Sequence[Any] | None) -> list[Any]:
    """Returns the layers of a model whose rates a schedule changes."""
    layers = picked = dropout_layers(model)
    if chosen is not None:
        picked = [layer for layer in layers if any(one in (layer, layer.name) for one in chosen)]
        missing = [one for one in chosen if not any(one in (each, each.name) for each in layers)]
        if missing or not picked:
            names = ", ".join(layer.name for layer in layers)
            expected = f"dropout layers of the model ({names})"
            raise invalid_argument("layers", expected=expected, received=chosen)
    if learned := [layer.name for layer in picked if layer.learns_rates]:
        raise invalid_argument(
            "layers",
            expected="layers whose rates are not learned: the optimizer changes those",
            received=learned,
            fix="Leave the schedule out, or name the other layers in `layers`.",
        )
    return picked


# Learned rates.


def learned_rates(root: Any) -> dict[str, float]:
    """Returns the current learned rates in a layer or model, by the name of their metric.

    The name is `learned_rate.recurrent`, or another site. If several layers learn, it starts with the layer:
    `encoder/learned_rate.recurrent`.
    """
    layers = learning_layers(root)
    return {
        f"{layer.name}/learned_rate.{site}" if len(layers) > 1 else f"learned_rate.{site}": rate
        for layer in layers
        for site, rate in layer.learned_rates.items()
    }


class LearnedRates(keras.callbacks.Callback):
    """Adds a model's learned rates, if any, to the metrics of each epoch. A search adds this callback itself.

    Example:
        >>> history = model.fit(x, y, callbacks=[LearnedRates()]).history
        >>> history["learned_rate.recurrent"]
    """

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the metrics, as Keras's own callbacks write the learning rate."""
        if logs is not None:
            logs.update(learned_rates(self.model))


def count_samples(model: Any, given: Mapping[str, Any]) -> None:
    """Sets how many targets the arguments of `fit` have, on the layers that learn rates without `samples`."""
    layers = [layer for layer in learning_layers(model) if layer.samples is None]
    targets = keras.tree.flatten(given.get("y"))
    shape = getattr(targets[0], "shape", ()) if targets else ()
    number = None
    if layers and shape:
        outputs = getattr(model, "outputs", None) or ()
        # Between the samples and the classes, an output has the steps, each with a target.
        steps = shape[1 : len(outputs[0].shape) - 1] if outputs else ()
        trained = math.floor(shape[0] * (1.0 - (given.get("validation_split") or 0.0)))
        number = trained * math.prod(map(int, steps))
    for layer in layers:
        if layer.training_samples != number:
            layer.training_samples = number
            model.train_function = None  # It has been traced with the other number.


def spare_rates(model: Any) -> None:
    """Excludes learned rates from weight decay, which would move them to 1/2, unless it is too late."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # For mixed precision.
    logits = [logit for layer in learning_layers(model) for logit in layer.logits.values()]
    if not logits or optimizer is None or optimizer.built:
        return
    if excluded_from_decay(optimizer) == (None, False):
        optimizer.exclude_from_weight_decay(var_list=logits)
