"""The base of all wrappers: the layers they take, their attributes, and the decays."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from recdrop_tune.catalog import DECAYS
from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import cell_of, copy_input_shape, fused_layer, merges_as_keras
from recdrop_tune.rewrites import Tensor
from recdrop_tune.wrappers.decays import HasDecays


def check_layer(layer: Any) -> None:
    """Refuses a layer that a dropout wrapper cannot wrap.

    Raises:
        InvalidArgumentError: It is not an LSTM, a GRU or a `Bidirectional` of one, or it already has
            dropout.
    """
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
    """Refuses a layer whose output has no steps, for a temporal decay.

    Raises:
        InvalidArgumentError: It returns only its last step.
    """
    if not getattr(layer, "return_sequences", True):
        raise invalid_argument(
            "temporal_decay",
            expected="0 for a layer that returns only its last step",
            received=f"{type(layer).__name__}(return_sequences=False)",
            fix="Remove `temporal_decay`, or pass `return_sequences=True` to the layer.",
        )


def directions_of(layer: Any) -> list[Any]:
    """Returns the two layers in a `Bidirectional`, or the layer itself."""
    if isinstance(layer, keras.layers.Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    return [layer]


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

    Example:
        >>> given_name(keras.layers.LSTM(4, name="encoder"))
        'encoder'
        >>> given_name(keras.layers.LSTM(4)) is None
        True
    """
    return None if is_default_name(layer.name, type(layer).__name__) else str(layer.name)


def is_default_name(name: str, class_name: str) -> bool:
    """Returns whether a name looks like Keras's default name for a layer of a class.

    Example:
        >>> is_default_name("recurrent_dropout_wrapper_1", "RecurrentDropoutWrapper")
        True
    """
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
    """A layer that replaces the recurrent layer it wraps.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without its own dropout.
        activity_decay: See `ActivityDecay`.
        temporal_decay: See `ActivityDecay`.
        **kwargs: `name`, `dtype`, `trainable`.

    Raises:
        InvalidArgumentError: The layer or a decay is not as described above.
    """

    needed: tuple[str, ...] = ()
    """Keys that a configuration needs in addition to `layer`."""

    def __init__(
        self,
        layer: Any,
        *,
        activity_decay: float = 0.0,
        temporal_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        check_layer(layer)
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
        """Adds the decays of one call.

        Args:
            result: The result of the layer.
            dropped: The same after dropout at the output.
            mask: The mask of the call.
            others: The number of losses that the wrapper has added before its decays.
            noise: The noise of recurrent dropout in the outputs, or `None`.
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

        Raises:
            InvalidArgumentError: It is not such a configuration.
        """
        layer: Any = config.get("layer") if isinstance(config, Mapping) else None
        whole = isinstance(layer, Mapping) and isinstance(layer.get("config"), Mapping)
        if not whole or any(name not in config for name in cls.needed):
            needed = "".join(f"a `{name}` and " for name in cls.needed)
            raise invalid_argument(
                "config",
                expected=f"the result of `get_config()`, with {needed}the configuration of a `layer`",
                received=config,
            )
        config, layer = dict(config), copy.deepcopy(dict(layer))
        del config["layer"]
        if "go_backwards" in config:
            layer["config"] = {**layer["config"], "go_backwards": config.pop("go_backwards")}
        layer = keras.saving.deserialize_keras_object(layer, custom_objects=custom_objects)
        return cls(layer, **config)
