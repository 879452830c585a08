"""What all dropout wrappers share: the order of events in a call, and standing where the layer stood."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from recdrop_tune.catalog import TECHNIQUES, parse_placement
from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import Obstacle, Rewriting, call_layer, cell_of, hand_on_input_shape
from recdrop_tune.rewrites import KernelCall, Rewrite, Tensor
from recdrop_tune.wrappers.rates import HasRates, Rate


def check_layer(layer: Any) -> None:
    """Refuses a layer that a dropout wrapper cannot wrap.

    Raises:
        InvalidArgumentError: It is not an LSTM, a GRU or a `Bidirectional` of one, or it already
            has dropout of its own.
    """
    for direction in directions_of(layer):
        if cell_of(direction) is None:
            raise invalid_argument(
                "layer",
                expected="a `keras.layers.LSTM`, a `keras.layers.GRU`, or a "
                "`keras.layers.Bidirectional` of one",
                received=layer,
                fix=_remedy(layer),
            )
        if direction.dropout or direction.recurrent_dropout:
            raise invalid_argument(
                "layer",
                expected="a layer without dropout of its own",
                received=f"{type(direction).__name__}(dropout={direction.dropout}, "
                f"recurrent_dropout={direction.recurrent_dropout})",
                fix="Give the rates to a wrapper instead; `NativeDropoutWrapper` drops as Keras does.",
            )


def directions_of(layer: Any) -> list[Any]:
    """Returns the two layers in a `Bidirectional`; of another layer, itself."""
    if isinstance(layer, keras.layers.Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    return [layer]


def group_in_words(groups: int) -> str:
    """Says of a mask that a group of the batch shares, whose it is."""
    words = {1: "the batch", 2: "half the batch", 3: "a third of the batch"}
    return words.get(groups, f"a {groups}th of the batch")


def _remedy(layer: Any) -> str:
    if isinstance(layer, type):
        return f"Pass an instance, such as {layer.__name__}(64)."
    if isinstance(layer, AbstractDropoutWrapper):
        return 'One wrapper drops at several sites: placement="input+recurrent".'
    if isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
        return "A subclass with its own `call` or `inner_loop` has a kernel call that is not known."
    return "Other recurrent layers have no fused kernel."


def given_name(layer: Any) -> str | None:
    """Returns the name that a user gave a layer; `None` if it looks like one that Keras made.

    Keras does not keep which of the two it is. It makes `lstm`, `lstm_1` of the class's name; a wrapper
    that took these would meet its own layer in models that hold both.

    Example:
        >>> given_name(keras.layers.LSTM(4, name="encoder"))
        'encoder'
        >>> given_name(keras.layers.LSTM(4)) is None
        True
    """
    return None if is_default_name(layer.name, type(layer).__name__) else str(layer.name)


def is_default_name(name: str, class_name: str) -> bool:
    """Says whether a name looks like one that Keras made for a layer of a class.

    Example:
        >>> is_default_name("recurrent_dropout_wrapper_1", "RecurrentDropoutWrapper")
        True
    """
    return re.sub(r"_\d+$", "", name).replace("_", "") == class_name.lower()


def _of_layer(name: str, *default: Any, settable: bool = False) -> Any:
    """Makes a property that reads, and where `settable` sets, the layer's attribute of that name.

    Not for what holds variables, such as `cell`: Keras names weights in files by the first attribute, in
    the order of the alphabet, under which it finds them, and that has to stay `layer`.
    """

    def write(wrapper: Any, value: Any) -> None:
        setattr(wrapper.layer, name, value)

    return property(
        lambda wrapper: getattr(wrapper.layer, name, *default),
        write if settable else None,
        doc=f"The layer's `{name}`.",
    )


class StandsForLayer:
    """Hands the recurrent layer's own attributes through.

    `keras.layers.Bidirectional` and users of stateful layers read these, and `Bidirectional` also sets two.
    An attribute that the layer lacks, the wrapper lacks too: a `Bidirectional` has no `units`.
    """

    layer: Any

    units = _of_layer("units")
    state_size = _of_layer("state_size")
    unroll = _of_layer("unroll")
    activation = _of_layer("activation")
    recurrent_activation = _of_layer("recurrent_activation")
    use_bias = _of_layer("use_bias")
    unit_forget_bias = _of_layer("unit_forget_bias")
    reset_after = _of_layer("reset_after")
    kernel_initializer = _of_layer("kernel_initializer")
    recurrent_initializer = _of_layer("recurrent_initializer")
    bias_initializer = _of_layer("bias_initializer")
    kernel_regularizer = _of_layer("kernel_regularizer")
    recurrent_regularizer = _of_layer("recurrent_regularizer")
    bias_regularizer = _of_layer("bias_regularizer")
    kernel_constraint = _of_layer("kernel_constraint")
    recurrent_constraint = _of_layer("recurrent_constraint")
    bias_constraint = _of_layer("bias_constraint")
    merge_mode = _of_layer("merge_mode")
    return_sequences = _of_layer("return_sequences")
    return_state = _of_layer("return_state")
    stateful = _of_layer("stateful")
    states = _of_layer("states")
    go_backwards = _of_layer("go_backwards", False)
    use_cudnn = _of_layer("use_cudnn", "auto", settable=True)
    zero_output_for_mask = _of_layer("zero_output_for_mask", None, settable=True)

    def reset_state(self) -> None:
        """Sets the states of a stateful layer back to zero."""
        self.layer.reset_state()

    def reset_states(self) -> None:
        """Does what `reset_state` does, by its older name."""
        self.reset_state()

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """Returns the states that a batch begins with: zeros of shape `(batch_size, units)`, one a state.

        Raises:
            AttributeError: The layer is a `Bidirectional`, which has none either.
        """
        return list(self.layer.get_initial_state(batch_size))

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Returns the layer's output shape."""
        return self.layer.compute_output_shape(sequences_shape)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Returns the layer's output mask."""
        return self.layer.compute_mask(inputs, mask)


class AbstractDropoutWrapper(HasRates, StandsForLayer, keras.layers.Wrapper):
    """A recurrent layer with dropout at one or several sites.

    In training, noise meets the sequences before the layer (`input`), what units feed back inside
    it (`recurrent`), or what it emits (`output`). At inference the wrapped layer itself runs. The
    wrapped layer is never changed: used alone it is still the plain layer, and both share weights.

    Each rate lives in a non-trainable variable, so `wrapper.rate = 0.4` takes effect in a compiled
    model without a new trace. Rates are configuration, not weights: `weights`, `get_weights()` and
    checkpoints hold the wrapped layer's weights alone. (Where rates are learned, by `concrete`, they are
    weights, in files too.)

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without dropout of its own.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: One of the technique's sites, or several joined by `+`.
        seed: Integer seed of the noise; `None` takes one from Keras's global seed.
        **kwargs: `name`, `dtype`, `trainable`. By default the dtype policy is the wrapped layer's, and so is
            the name if the layer was given one: `model.get_layer` finds the wrapper by it.

    Call arguments:
        sequences: Shape `(batch, time, features)`.
        mask: Booleans of shape `(batch, time)`; `False` marks steps to skip.
        training: Whether to drop.
        initial_state: The layer's initial states, each of shape `(batch, units)`.

    Raises:
        InvalidArgumentError: The layer, a rate, the placement or an option is not one of the above.
    """

    technique_id: str
    rewritten_sites: tuple[str, ...] = ("recurrent",)
    """The sites that `rewrite` takes care of."""
    mask_groups = 1
    """Into how many groups the batch is split, each with a kernel call, and so masks, of its own."""
    forces_gates = False
    """Whether `rewrite` forces gates."""

    def __init__(
        self,
        layer: Any,
        rate: Rate,
        placement: str = "recurrent",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_layer(layer)
        kwargs.setdefault("dtype", layer.dtype_policy)
        kwargs.setdefault("name", given_name(layer))
        super().__init__(layer, **kwargs)
        hand_on_input_shape(layer, self)
        self.sites = parse_placement(placement, TECHNIQUES[self.technique_id])
        self.placement = "+".join(self.sites)
        # The two directions of a Bidirectional are cloned from one config: offset one of them, or a
        # seed given by the user would make both drop the same units.
        self._set_up_rates(rate, seed, offset=int(bool(self.go_backwards)))
        self.supports_masking = True
        # Keras checks the number of dimensions by it, before anything else.
        self.input_spec = getattr(layer, "forward_layer", layer).input_spec

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Builds the wrapped layer."""
        if not self.layer.built:
            self.layer.build(sequences_shape)
            self.layer.built = True

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Any:
        """Runs the layer, with noise at the sites when training. The order is that of Keras's RNNs."""
        if not training:
            rewrite = self.inference_rewrite()
        else:
            loss = self.regularization()
            # Once in a forward pass, however often a model calls the layer: its own are beside the layer's.
            if loss is not None and len(self.losses) == len(self.layer.losses):
                self.add_loss(loss)
            rewrite = self.rewrite if self._is_rewritten else None
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
        return self._drop_output(result) if training and "output" in self.sites else result

    @property
    def _is_rewritten(self) -> bool:
        return bool(set(self.sites) & set(self.rewritten_sites))

    def inference_rewrite(self) -> Rewrite | None:
        """Returns the rewrite at inference, for a technique that is not the plain layer there."""
        return None

    def noise(self, site: str, tensor: Tensor) -> Tensor | None:
        """Draws the factor for what passes a site, for techniques that drop at the input or the output.

        Args:
            site: `"input"` or `"output"`.
            tensor: What passes: `(batch, time, features)`, or at the output also `(batch, units)`.

        Returns:
            What broadcasts to the tensor's shape; `None` leaves the tensor to `rewrite`.
        """
        return None

    def regularization(self) -> Tensor | None:
        """Returns what the technique adds to the loss in training: a scalar, or `None` for nothing.

        It is added once in a forward pass of a model, in which the layer may be called several times.
        """
        return None

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Rewrites the kernel call for the `rewritten_sites` among the wrapper's sites."""
        return call

    @property
    def shares_mask(self) -> str:
        """Who shares a mask, in words, for `explain`."""
        return ""

    @property
    def obstacle(self) -> Obstacle | None:
        """What training asks for that no fused kernel computes; `None` if nothing."""
        return None

    @property
    def rewriting(self) -> Rewriting:
        """What the technique does to the layer's kernel call in training."""
        return Rewriting(
            wrapped=True,
            rewritten=self._is_rewritten,
            forces_gates=self.forces_gates and "recurrent" in self.sites,
            obstacle=self.obstacle,
        )

    def _drop(self, site: str, tensor: Tensor) -> Tensor:
        noise = self.noise(site, tensor)
        return tensor if noise is None else tensor * ops.cast(noise, tensor.dtype)

    def _drop_output(self, result: Any) -> Any:
        if not isinstance(result, tuple):
            return self._drop("output", result)
        layer = self.layer
        halves = isinstance(layer, keras.layers.Bidirectional) and layer.merge_mode is None
        emitted = 2 if halves else 1
        outputs = (self._drop("output", output) for output in result[:emitted])
        return (*outputs, *result[emitted:])

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration: the wrapped layer's, the rates, the placement and the seed."""
        return {**super().get_config(), "placement": self.placement}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Makes a wrapper from `get_config()`.

        `keras.layers.Bidirectional` makes its backward layer by adding `go_backwards` to the config
        of the layer it is given: here it belongs to the wrapped layer.

        Raises:
            InvalidArgumentError: It is no such configuration.
        """
        layer: Any = config.get("layer") if isinstance(config, Mapping) else None
        whole = isinstance(layer, Mapping) and isinstance(layer.get("config"), Mapping)
        if not whole or "rate" not in config:
            raise invalid_argument(
                "config",
                expected="what `get_config()` returns, with a `rate` and the configuration of a `layer`",
                received=config,
            )
        config, layer = dict(config), copy.deepcopy(dict(layer))
        del config["layer"]
        if "go_backwards" in config:
            layer["config"] = {**layer["config"], "go_backwards": config.pop("go_backwards")}
        layer = keras.saving.deserialize_keras_object(layer, custom_objects=custom_objects)
        return cls(layer, **config)
