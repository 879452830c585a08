"""The base of all dropout wrappers: the order of events in a call."""

from __future__ import annotations

from typing import Any, TypedDict

import keras
from keras import ops

from recdrop_tune.catalog import TECHNIQUES, check_cell, parse_placement
from recdrop_tune.kernels import (
    Obstacle,
    Rewriting,
    call_layer,
    cell_of,
    default_seed,
    directions_of,
)
from recdrop_tune.rewrites import KernelCall, Rewrite, Tensor, chain, output_noise
from recdrop_tune.wrappers.rates import HasRates, Rate
from recdrop_tune.wrappers.recurrent_wrapper import RecurrentWrapper


def group_in_words(groups: int) -> str:
    """Describes the part of a batch that shares a mask."""
    return "the batch" if groups == 1 else f"1/{groups} of the batch"


class Shared(TypedDict, total=False):
    """The arguments that every technique passes on to `AbstractDropoutWrapper`."""

    seed: int | None
    activity_decay: float
    temporal_decay: float
    name: str | None
    dtype: Any
    trainable: bool


class AbstractDropoutWrapper(HasRates, RecurrentWrapper):
    """A recurrent layer with dropout at one or several sites.

    In training, noise multiplies the sequences before the layer (`input`), the fed-back state inside it
    (`recurrent`), or its outputs (`output`). At inference the wrapped layer itself runs (except for
    zoneout and update). It is never changed: used alone it is still the plain layer, and both share weights.

    Each rate is a non-trainable variable, so `wrapper.rate = 0.4` takes effect in a compiled
    model without a new trace. Rates are configuration, not weights: `weights`, `get_weights()` and
    checkpoints contain only the wrapped layer's weights. (The learned rates of `concrete` are weights,
    in files too.)

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without its own dropout.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: One of the technique's sites, or several joined by `+`.
        seed: Integer seed of the noise. It is combined with the wrapped layer's name and direction. Layers
            that share all three, such as those of two towers, are numbered in the order in which a model
            calls them. So all layers of a model can have one seed. Keras's default names (`lstm`, `lstm_1`)
            count on in a process: name the layer to draw the same masks in another model. With `None`,
            `keras.utils.set_random_seed` decides, and the first weights of later layers are those of a model
            without dropout.
        activity_decay: Factor of the mean square of the layer's outputs, after dropout, which is added to
            the training loss; 0 adds nothing. See `ActivityDecay`.
        temporal_decay: Factor of the mean square of their change from step to step, without the masks.
        **kwargs: `name`, `dtype`, `trainable`. The default dtype policy is the wrapped layer's, and so is the
            name if you gave the layer one, so `model.get_layer` finds the wrapper.

    Call arguments:
        sequences: Shape `(batch, time, features)`.
        mask: Booleans of shape `(batch, time)`; `False` marks steps to skip.
        training: Whether to drop.
        initial_state: The layer's initial states, each of shape `(batch, units)`.

    Raises:
        InvalidArgumentError: The layer, a rate, the placement or an option is not as described above.
    """

    technique_id: str
    options: tuple[str, ...] = ()
    """The technique's own arguments, which are attributes too."""
    rewritten_sites: tuple[str, ...] = ("recurrent",)
    """The sites that `rewrite` implements."""
    mask_groups = 1
    """The number of groups into which the batch is split, each with its own kernel call and masks."""
    forces_gates = False
    """Whether `rewrite` forces gates."""

    def __init__(
        self,
        layer: Any,
        rate: Rate,
        *,
        placement: str = "recurrent",
        seed: int | None = None,
        activity_decay: float = 0.0,
        temporal_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            layer, activity_decay=activity_decay, temporal_decay=temporal_decay, **kwargs
        )
        technique = TECHNIQUES[self.technique_id]
        check_cell(technique, cell_of(layer))
        self.sites = parse_placement(placement, technique)
        self.placement = "+".join(self.sites)
        # Outside of a model, nothing else tells layers apart that were wrapped one after the other.
        state = directions_of(layer)[0].cell.seed_generator.state
        self._set_up_rates(rate, seed, default_seed(int(ops.convert_to_numpy(state)[0])))

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Any:
        """Runs the layer; in training, with noise. Arguments are in the order of Keras's RNNs."""
        loss, rewritten = None, list[KernelCall]()

        def note(call: KernelCall) -> KernelCall:
            rewritten.append(call)
            return call

        if not training:
            rewrite = self.inference_rewrite()
        else:
            loss = self.regularization()
            # Once per forward pass, however often a model calls the layer.
            if loss is not None and not self._own_losses():
                # Keras sums losses in this type, whatever the type of the layer.
                self.add_loss(ops.cast(loss, keras.config.floatx()))
            rewrite = chain(self.rewrite, note) if self._is_rewritten else None
            if "input" in self.sites and "input" not in self.rewritten_sites:
                sequences = self._drop("input", sequences)
        result = call_layer(
            self.layer,
            sequences,
            rewrite=rewrite,
            groups=self.mask_groups,
            initial_state=initial_state,
            mask=mask,
        )
        if not training:
            return result
        dropped = self._drop_output(result) if "output" in self.sites else result
        noise = self._output_noise(rewritten) if self.temporal_decay else None
        self._decay(result, dropped, mask, others=int(loss is not None), noise=noise)
        return dropped

    @property
    def _is_rewritten(self) -> bool:
        return bool(set(self.sites) & set(self.rewritten_sites))

    def inference_rewrite(self) -> Rewrite | None:
        """Returns the rewrite at inference; `None` for the plain layer."""
        return None

    def noise(self, site: str, tensor: Tensor) -> Tensor | None:
        """Draws noise that broadcasts to the tensor at a site; `None` leaves the tensor to `rewrite`.

        The tensor has shape `(batch, time, features)` at the `"input"`, and can also have `(batch, units)` at
        the `"output"`.
        """
        return None

    def regularization(self) -> Tensor | None:
        """Returns the technique's loss, added once per forward pass of a model: a scalar, or `None`."""
        return None

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Rewrites the kernel call for the `rewritten_sites` among the wrapper's sites."""
        return call

    @property
    def shares_mask(self) -> str:
        """Who shares a mask, in words; shown by `explain`."""
        return ""

    @property
    def obstacle(self) -> Obstacle | None:
        """The part of the technique that no fused kernel computes, or `None`."""
        return None

    @property
    def rewriting(self) -> Rewriting:
        """How the technique rewrites the layer's kernel call in training."""
        return Rewriting(
            rewritten=self._is_rewritten,
            forces_gates=self.forces_gates and "recurrent" in self.sites,
            obstacle=self.obstacle,
        )

    def _output_noise(self, rewritten: list[KernelCall]) -> list[Tensor] | None:
        """Returns the noise that the rewrite put on each of the layer's outputs, or `None`."""
        noise = [each for each in map(output_noise, rewritten) if each is not None]
        if len(noise) < 2:  # One for each direction.
            return noise or None
        forward, backward = noise[0], ops.flip(noise[1], axis=1)
        mode = self.layer.merge_mode
        if mode is None:
            return [forward, backward]
        if mode == "concat":
            return [ops.concatenate([forward, backward], axis=-1)]
        if mode == "mul":
            return [forward * backward]
        # The scale of a sum can only be undone where it is the same in both directions.
        return [ops.where(forward == backward, forward, 0.0)]

    def _drop(self, site: str, tensor: Tensor) -> Tensor:
        noise = self.noise(site, tensor)
        return tensor if noise is None else self._times(tensor, noise)

    def _drop_output(self, result: Any) -> Any:
        if not isinstance(result, tuple):
            return self._drop("output", result)
        emitted = self._number_of_outputs()
        outputs = (self._drop("output", output) for output in result[:emitted])
        return (*outputs, *result[emitted:])

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration: the wrapped layer, rates, placement, seed, decays and options."""
        own = {name: getattr(self, name) for name in ("placement", *self.options)}
        return {**super().get_config(), **own}
