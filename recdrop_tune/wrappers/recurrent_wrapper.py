"""The base of all wrappers: the layers they take, their attributes, and the decays, which can be all."""

from __future__ import annotations

import copy
import re
from typing import Any

import keras
from keras import ops

from recdrop_tune.catalog import DECAYS
from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import (
    call_layer,
    cell_of,
    copy_input_shape,
    directions_of,
    fused_layer,
    merges_as_keras,
)
from recdrop_tune.rewrites import Tensor
from recdrop_tune.wrappers.decays import HasDecays


def check_wrappable(layer: Any) -> None:
    """Refuses a layer that a dropout wrapper cannot wrap."""
    directions = directions_of(layer)
    if any(cell_of(part) is None for part in (*directions, layer)):
        raise invalid_argument(
            "layer",
            expected="a `keras.layers.LSTM`, a `keras.layers.GRU`, or a "
            "`keras.layers.Bidirectional` of one",
            received=layer,
            fix=_remedy(layer),
        )
    for direction in directions:
        if direction.dropout or direction.recurrent_dropout:
            raise invalid_argument(
                "layer",
                expected="a layer without its own dropout",
                received=f"{type(direction).__name__}(dropout={direction.dropout}, "
                f"recurrent_dropout={direction.recurrent_dropout})",
                fix="Give the rates to a wrapper; `NativeDropoutWrapper` drops as Keras does.",
            )


def check_emits_steps(layer: Any) -> None:
    """Refuses a layer whose output has no steps, for a temporal decay."""
    if not getattr(layer, "return_sequences", True):
        raise invalid_argument(
            "temporal_decay",
            expected="0 for a layer that returns only its last step",
            received=f"{type(layer).__name__}(return_sequences=False)",
            fix="Remove `temporal_decay`, or pass `return_sequences=True` to the layer.",
        )


def _remedy(layer: Any) -> str:
    if isinstance(layer, type):
        return f"Pass an instance, such as {layer.__name__}(64)."
    if isinstance(layer, RecurrentWrapper):
        return 'One wrapper can drop at several sites: placement="input+recurrent".'
    if merges_as_keras(layer):
        return _remedy(layer.forward_layer)
    if isinstance(layer, keras.layers.LSTM | keras.layers.GRU | keras.layers.Bidirectional):
        return "The kernel call of a subclass with its own `call`, `inner_loop` or cell is unknown."
    same = fused_layer(layer)
    if same is not None:
        return (
            f"Pass a `keras.layers.{same.__name__}`: it computes the same, with the same weights."
        )
    return "Other recurrent layers have no fused kernel."


def given_name(layer: Any) -> str | None:
    """Returns the name that the user gave a layer; `None` if it looks like a default name.

    Keras does not record who chose a name. Its default names are `lstm`, `lstm_1`, after the class. A wrapper
    with such a name could clash with its own layer in a model that has both.
    """
    return None if is_default_name(layer.name, type(layer).__name__) else str(layer.name)


def is_default_name(name: str, class_name: str) -> bool:
    """Returns whether a name looks like Keras's default name for a layer of a class."""
    return re.sub(r"_\d+$", "", name).replace("_", "") == class_name.lower()


_WEIGHTS, _KINDS = ("kernel", "recurrent", "bias"), ("initializer", "regularizer", "constraint")
_OF_LAYER = {
    *("units", "state_size", "unroll", "activation", "recurrent_activation", "use_bias"),
    *("unit_forget_bias", "reset_after", "merge_mode", "forward_layer", "backward_layer"),
    *("return_sequences", "return_state", "stateful", "states", "go_backwards", "use_cudnn"),
    *("zero_output_for_mask", "reset_state", "reset_states", "get_initial_state"),
    *(f"{weight}_{kind}" for weight in _WEIGHTS for kind in _KINDS),
}
"""Attributes of the layer that `Bidirectional` and users of stateful layers use on the wrapper.

Not properties: Keras names the weights in a file after the first attribute in `dir` that leads to them, which
has to be `layer`.
"""


class RecurrentWrapper(HasDecays, keras.layers.Wrapper):
    """A layer that replaces the recurrent layer it wraps."""

    def __init__(
        self,
        layer: Any,
        *,
        activity_decay: float = 0.0,
        temporal_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        check_wrappable(layer)
        kwargs.setdefault("dtype", layer.dtype_policy)
        kwargs.setdefault("name", given_name(layer))
        super().__init__(layer, **kwargs)
        if not kwargs.get("trainable", True):
            layer.trainable = False  # Keras passes it on when it is set, but not from `__init__`.
        copy_input_shape(layer, self)
        self._set_up_decays(activity_decay, temporal_decay)
        if self.temporal_decay:
            check_emits_steps(layer)
        self.supports_masking = layer.supports_masking
        # With it, Keras checks the number of dimensions first.
        self.input_spec = getattr(layer, "forward_layer", layer).input_spec

    def __getattr__(self, name: str) -> Any:
        """Returns an attribute of the layer, if the layer has it."""
        if name in _OF_LAYER:
            return getattr(self.layer, name)
        # On PyTorch a layer is a module, which has this method too.
        find: Any = getattr(super(), "__getattr__", super().__getattribute__)
        return find(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute of the wrapper or of the layer."""
        if name in _OF_LAYER:
            setattr(self.layer, name, value)
        else:
            super().__setattr__(name, value)

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Returns the layer's output shape."""
        return self.layer.compute_output_shape(sequences_shape)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Returns the layer's output mask."""
        return self.layer.compute_mask(inputs, mask)

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Builds the wrapped layer."""
        if not self.layer.built:
            self.layer.build(sequences_shape)
            self.layer.built = True

    def _number_of_outputs(self) -> int:
        """Returns the number of outputs before the states: 2 for a `Bidirectional` that does not merge."""
        layer = self.layer
        halves = isinstance(layer, keras.layers.Bidirectional) and layer.merge_mode is None
        return 2 if halves else 1

    def _own_losses(self) -> list[Any]:
        """Returns the losses of the wrapper in this forward pass; Keras lists them before the layer's."""
        losses: list[Any] = self.losses
        return losses[: len(losses) - len(self.layer.losses)]

    def _decay(
        self,
        result: Any,
        dropped: Any,
        mask: Tensor | None,
        others: int = 0,
        noise: list[Tensor] | None = None,
    ) -> None:
        """Adds the decays of one call; `dropped` is its result after dropout at the output.

        `others` is the number of losses that the wrapper has added before its decays.
        """
        if not (self.activity_decay or self.temporal_decay):
            return
        number = self._number_of_outputs()
        emitted, dropped = (
            list(each[:number]) if isinstance(each, tuple) else [each] for each in (result, dropped)
        )
        if mask is not None and directions_of(self.layer)[0].go_backwards:
            mask = ops.flip(mask, axis=1)  # Outputs are in the order in which the layer reads.
        self._add_decays(emitted, dropped, mask, self._own_losses()[others:], noise)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration."""
        return {**super().get_config(), **{name: getattr(self, name) for name in DECAYS}}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Makes a wrapper from `get_config()`.

        `keras.layers.Bidirectional` makes its backward layer by adding `go_backwards` to the configuration
        of its layer. Here it belongs to the wrapped layer.
        """
        config = dict(config)
        layer = copy.deepcopy(config.pop("layer"))
        if "go_backwards" in config:
            layer["config"]["go_backwards"] = config.pop("go_backwards")
        layer = keras.saving.deserialize_keras_object(layer, custom_objects=custom_objects)
        return cls(layer, **config)


@keras.saving.register_keras_serializable(package="recdrop_tune")
class ActivityDecay(RecurrentWrapper):
    """Adds to the loss how large a layer's activations are, and how much they change from step to step.

        activity_decay * mean(d_t^2) + temporal_decay * mean((h_{t+1} - h_t)^2)

    h_t is the layer's output at a step, and d_t the same after dropout. The means are over samples, steps and
    units. Masked steps are left out of both; a pair of steps counts if both steps do. A `Bidirectional`
    counts the outputs of both directions. `RecurrentDropoutWrapper` drops units of an LSTM inside the layer:
    d_t has its masks, and the second mean is over the units that are kept at both steps, without their scale.

    This layer does not drop; `wrap(layer, "none", activity_decay=2.0)` returns it. All dropout wrappers take
    the two arguments too, so that models with and without dropout can have the same decays. They are added
    only in training, so `val_loss` stays the loss of the task. A custom training loop has to add
    `model.losses`. Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one.
        activity_decay: The factor of the first term (AR), 0 or more. If the layer returns only its last
            step, that step counts.
        temporal_decay: The factor of the second term (TAR), 0 or more; above 0 the layer must have
            `return_sequences=True`.
        **kwargs: `name`, `dtype`, `trainable`; see `AbstractDropoutWrapper`.

    Call arguments:
        sequences: Shape `(batch, time, features)`.
        initial_state: The layer's initial states, each of shape `(batch, units)`.
        mask: Booleans of shape `(batch, time)`; `False` marks steps to skip.
        training: Whether to add the decays.

    Raises:
        InvalidArgumentError: The layer or a decay is not as described above.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import ActivityDecay
        >>> layer = ActivityDecay(keras.layers.LSTM(4, return_sequences=True), activity_decay=2.0)
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 3, 4])
        >>> len(layer.losses)
        1

    Reference:
        Merity, McCann, Socher (2017), "Revisiting Activation Regularization for Language RNNs", arXiv
        1708.01009.
    """

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Any:
        """Runs the layer; in training, adds the decays. Arguments are in the order of Keras's RNNs."""
        result = call_layer(
            self.layer, sequences, rewrite=None, initial_state=initial_state, mask=mask
        )
        if training:
            self._decay(result, result, mask)
        return result
