"""What a wrapper answers in its layer's name, so that it can stand where the layer stood."""

from __future__ import annotations

from typing import Any

import keras

from recdrop_tune.engine import cell_of
from recdrop_tune.errors import invalid_argument


def check_layer(layer: Any) -> None:
    """Refuses a layer that a dropout wrapper cannot wrap.

    Raises:
        InvalidArgumentError: It is not an LSTM, a GRU or a `Bidirectional` of one, or it already
            has dropout of its own.
    """
    directions = [layer]
    if isinstance(layer, keras.layers.Bidirectional):
        directions = [layer.forward_layer, layer.backward_layer]
    for direction in directions:
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


def _remedy(layer: Any) -> str:
    if isinstance(layer, type):
        return f"Pass an instance, such as {layer.__name__}(64)."
    if isinstance(layer, DelegatesToLayer):
        return 'One wrapper drops at several sites: placement="input+recurrent".'
    if isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
        return "A subclass with its own `call` or `inner_loop` has a kernel call that is not known."
    return "Other recurrent layers have no fused kernel."


class DelegatesToLayer:
    """Hands the recurrent layer's own attributes through.

    `keras.layers.Bidirectional` and users of stateful layers read these, and `Bidirectional` also sets two.
    """

    layer: Any

    @property
    def return_sequences(self) -> bool:
        """Whether the layer emits the whole sequence."""
        return bool(self.layer.return_sequences)

    @property
    def return_state(self) -> bool:
        """Whether the layer also returns its final states."""
        return bool(self.layer.return_state)

    @property
    def stateful(self) -> bool:
        """Whether the final states of a batch are the initial ones of the next."""
        return bool(self.layer.stateful)

    @property
    def go_backwards(self) -> bool:
        """Whether the layer reads time backwards; `False` for a `Bidirectional`."""
        return bool(getattr(self.layer, "go_backwards", False))

    @property
    def states(self) -> Any:
        """The states kept between batches by a stateful layer."""
        return self.layer.states

    @property
    def use_cudnn(self) -> Any:
        """The layer's `use_cudnn`."""
        return getattr(self.layer, "use_cudnn", "auto")

    @use_cudnn.setter
    def use_cudnn(self, value: Any) -> None:
        self.layer.use_cudnn = value

    @property
    def zero_output_for_mask(self) -> Any:
        """Whether masked steps emit zeros; `None` for a `Bidirectional`."""
        return getattr(self.layer, "zero_output_for_mask", None)

    @zero_output_for_mask.setter
    def zero_output_for_mask(self, value: bool) -> None:
        self.layer.zero_output_for_mask = value

    def reset_state(self) -> None:
        """Sets the states of a stateful layer back to zero."""
        self.layer.reset_state()

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """The wrapped layer's output shape."""
        return self.layer.compute_output_shape(sequences_shape)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """The wrapped layer's output mask."""
        return self.layer.compute_mask(inputs, mask)
