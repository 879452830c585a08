"""Concrete dropout: dropout whose rates are learned with the weights."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Unpack

import keras
from keras import ops

from recdrop_tune.errors import check_flag, check_integer, invalid_argument
from recdrop_tune.kernels import bernoulli, directions_of, for_all_steps, relaxed_bernoulli
from recdrop_tune.rewrites import KernelCall, Tensor, drop_rows, drop_weights
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper, Shared, group_in_words


@keras.saving.register_keras_serializable(package="recdrop_tune")
class ConcreteDropoutWrapper(AbstractDropoutWrapper):
    r"""Learns its rates: each site has one, which the optimizer updates with the weights.

        z_g = (x_t * m_x) W_g + (h_{t-1} * m_h) U_g + b_g,   every m one draw for all steps
        m = (1 - sigmoid((log(p / (1 - p)) + log u - log(1 - u)) / temperature)) / (1 - p),   u uniform

    The masks are those of variational dropout, but soft: numbers from 0 to 1 / (1 - p), most of them close to
    one end, with a gradient in p. At the input and the output each sample has its own mask. The recurrent
    mask multiplies rows of the recurrent kernel, so the samples of a mask group share it and cuDNN can run
    it. The mean of the masks is 1 to within 0.0021 at the temperature 0.1 and rates up to 1/2
    (`recdrop_tune.kernels.relaxed_bernoulli` has the formula).

    In training only, each site adds to the loss

        c / N * (length_scale^2 / (2 (1 - p)) * |W|^2 + K * (p log p + (1 - p) log(1 - p)))

    W are the weights that multiply the masked values: the kernel at the input, the recurrent kernel inside.
    At the output they belong to the next layer, which the wrapper does not know, and their term is left out.
    K is the number of masked features or units or, with `elements`, weights. N is the number of targets in
    the training data. This is the paper's KL divergence, l^2 (1 - p) / 2 |M|^2 - K H(p), of weights that are
    M or 0: with inverted scaling, M is W / (1 - p).

    c is 1 for a loss that is a mean negative log-likelihood, such as a cross-entropy. The mean squared
    error is the negative log-likelihood of Gaussian noise times 2 / tau, where tau is the precision of the
    noise. So c is 2 / tau, and the factors are the paper's l^2 / (tau N) and 2 / (tau N).

    The entropy pulls p towards 1/2, more strongly for a larger c K / N; the cost of noise in the data pulls
    it towards 0. These terms are in the metric `loss`, but not in `val_loss`, which is therefore comparable
    with other wrappers. A custom training loop has to add `model.losses`, or it learns without the prior.
    Inference: the plain layer. `mc_predict` draws masks of 0 and 1 / (1 - p).

    The logits log(p / (1 - p)) are trainable weights. They come first in `wrapper.weights` and are saved with
    the layer's weights. `wrapper.layer.get_weights()` fits the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without its own dropout.
        rate: Initial rates, 0 < rate < 1. `wrapper.rate` keeps the configured value, and
            `wrapper.learned_rates` changes. Setting `rate` starts again.
        placement: `"input"`, `"recurrent"`, `"output"`, or several joined by `+`.
        elements: Whether the recurrent site drops single weights, as weight-drop does, instead of rows.
        mask_groups: The number of groups into which the batch is split, each with its own recurrent masks
            and kernel call.
        samples: N, the number of targets in the training data, over which the loss is a mean: sequences,
            or steps (without padding) if each step has a target. `None` leaves it to
            `recdrop_tune.models.fit`, which searches use: it takes the number from the arrays, with padding.
        tau: Precision of the noise in the targets, if the loss is the mean squared error; multiply it by D
            for targets of D numbers, over which the loss is a mean too. `None` for a negative log-likelihood.
        length_scale: l of the prior. A larger value expects smaller weights.
        temperature: Softness of the masks, above 0.
        **shared: `seed`, `activity_decay`, `temporal_decay`, `name`, `dtype` and `trainable`, as in
            `AbstractDropoutWrapper`, where the arguments of a call are too.

    Raises:
        InvalidArgumentError: The layer, a rate, the placement or an option is not as described above. In
            training: the number of samples is unknown.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import ConcreteDropoutWrapper
        >>> layer = ConcreteDropoutWrapper(keras.layers.LSTM(4), placement="input+recurrent", samples=600)
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 4])

    Reference:
        Gal, Hron, Kendall (2017), "Concrete Dropout", arXiv 1705.07832; for the masks Gal and Ghahramani
        (2016), arXiv 1512.05287.
    """

    technique_id = "concrete"
    options = ("elements", "mask_groups", "samples", "tau", "length_scale", "temperature")
    learns_rates = True

    def __init__(
        self,
        layer: Any,
        rate: Rate = 0.1,
        *,
        placement: str = "recurrent",
        elements: bool = False,
        mask_groups: int = 1,
        samples: int | None = None,
        tau: float | None = None,
        length_scale: float = 1e-4,
        temperature: float = 0.1,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(layer, rate, placement=placement, **shared)
        self.elements = check_flag("elements", elements)
        self.mask_groups = check_integer("mask_groups", mask_groups)
        self.samples = None if samples is None else check_integer("samples", samples)
        self.training_samples = self.samples
        """N: `samples`, or the number that the last training had; `None` before."""
        self.tau = None if tau is None else _check_number("tau", tau, 1e-12, 1e12)
        self.length_scale = _check_number("length_scale", length_scale, 1e-12, 1e12)
        self.temperature = _check_number("temperature", temperature, 1e-6, 1e12)
        self.hard_masks = False
        """Whether masks are 0 or 1 / (1 - p) in training too, without a gradient for the rates."""

    def _set_up_rates(self, rate: Rate, seed: int | None, default: int | None = None) -> None:
        self.logits: dict[str, Any] = {}
        super()._set_up_rates(rate, seed, default)

    def _add_rate(self, name: str, value: float) -> None:
        self._configured = {**self._configured, name: value}
        self.logits[name] = self.add_weight(
            name=f"{name}_logit",
            shape=(),
            # In half precision, the small steps of an optimizer would be rounded away.
            dtype="float64" if self.variable_dtype == "float64" else "float32",
            initializer=keras.initializers.Constant(_logit(value)),
            autocast=False,
        )

    def _assign_rate(self, name: str, value: float) -> None:
        self.logits[name].assign(_logit(value))

    @property
    def learned_rates(self) -> dict[str, float]:
        """The current rates by site."""
        return {
            site: float(ops.convert_to_numpy(ops.sigmoid(ops.convert_to_tensor(logit))))
            for site, logit in self.logits.items()
        }

    def noise(self, site: str, tensor: Tensor) -> Tensor:
        """Draws one factor for each sample and feature."""
        return self._masks(site, for_all_steps(ops.shape(tensor)))

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Drops rows, or elements, of the recurrent kernel."""
        if self.elements:
            noise = self._masks("recurrent", ops.shape(call.recurrent_kernel))
            return drop_weights(call, None, noise)
        return drop_rows(call, self._masks("recurrent", (call.units, 1)))

    def _masks(self, site: str, shape: tuple[Any, ...]) -> Tensor:
        logit = ops.convert_to_tensor(self.logits[site])
        if self.hard_masks:
            rate = ops.cast(ops.sigmoid(logit), "float32")
            return bernoulli(shape, rate, self.seed_generator)
        return relaxed_bernoulli(shape, logit, self.temperature, self.seed_generator)

    def regularization(self) -> Tensor | None:
        """Returns the divergence from the prior, without terms that are constant."""
        if self.hard_masks:
            return None
        if self.training_samples is None:
            raise invalid_argument(
                "samples",
                expected="the number of targets in the training data, on which learned rates depend",
                received=None,
                fix="Pass `samples=len(y)` to the wrapper (if each step has a target: the number of steps), "
                "or train on arrays with `recdrop_tune.models.fit`, which counts them.",
            )
        scale = (1.0 if self.tau is None else 2.0 / self.tau) / self.training_samples
        return scale * sum(self._divergence(site) for site in self.sites)

    def _divergence(self, site: str) -> Tensor:
        """Computes the terms of a site, multiplied by the number of samples."""
        logit, directions = ops.convert_to_tensor(self.logits[site]), directions_of(self.layer)
        cells = [direction.cell for direction in directions]
        weights = {
            "input": [cell.kernel for cell in cells],
            "recurrent": [cell.recurrent_kernel for cell in cells],
        }.get(site, [])
        squares = [ops.sum(ops.square(ops.cast(weight, logit.dtype))) for weight in weights]
        prior = 0.5 * self.length_scale**2 * (1.0 + ops.exp(logit)) * sum(squares)
        rate = ops.sigmoid(logit)
        # log(p) = -softplus(-logit) and log(1 - p) = -softplus(logit), also if p rounds to 0 or 1.
        entropy = rate * ops.softplus(-logit) + (1.0 - rate) * ops.softplus(logit)
        return prior - self._masked(site) * entropy

    def _masked(self, site: str) -> int:
        """Returns K: how many features, units or weights a site masks."""
        directions = directions_of(self.layer)
        cell, number = directions[0].cell, len(directions)
        if site == "input":
            return int(cell.kernel.shape[0])
        if site == "recurrent" and self.elements:
            return number * math.prod(map(int, cell.recurrent_kernel.shape))
        added = getattr(self.layer, "merge_mode", None) in ("sum", "mul", "ave")
        return int(cell.units) * (1 if site == "output" and added else number)

    @property
    def shares_mask(self) -> str:
        """All steps; with the recurrent site, also the samples of a group."""
        if "recurrent" not in self.sites:
            return "all steps of a sample"
        rest = "; input and output: of a sample" if len(self.sites) > 1 else ""
        return f"all steps of {group_in_words(self.mask_groups)}{rest}"

    def save_own_variables(self, store: Any) -> None:
        """Saves the logits. The wrapped layer saves its own weights."""
        for site, logit in self.logits.items():
            store[f"{site}_logit"] = ops.convert_to_numpy(logit)

    def load_own_variables(self, store: Any) -> None:
        """Loads the logits. Those missing in the file of another wrapper keep their values."""
        held = set(store.keys())
        for site, logit in self.logits.items():
            if f"{site}_logit" in held:
                logit.assign(store[f"{site}_logit"])


def _logit(rate: float) -> float:
    return math.log(rate) - math.log1p(-rate)


def _check_number(argument: str, value: Any, least: float, most: float) -> float:
    number = isinstance(value, Real) and not isinstance(value, bool)
    # Compared without conversion: an integer can be too large for a float.
    if not number or not least <= value <= most:
        expected = f"a number from {least:g} to {most:g}"
        raise invalid_argument(argument, expected=expected, received=value)
    return float(value)
