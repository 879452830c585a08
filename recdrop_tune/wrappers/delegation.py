"""What a wrapper answers in its layer's name, so that it can stand where the layer stood."""

from __future__ import annotations

import re
from typing import Any

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import cell_of


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


def given_name(layer: Any) -> str | None:
    """Returns the name that a user gave a layer; `None` if it looks like one that Keras made.

    Keras does not keep which of the two it is. It makes `lstm`, `lstm_1` of the class's name; a wrapper
    that took these would meet its own layer in models that hold both.

    Args:
        layer: A Keras layer.

    Example:
        >>> given_name(keras.layers.LSTM(4, name="encoder"))
        'encoder'
        >>> given_name(keras.layers.LSTM(4)) is None
        True
    """
    plain = re.sub(r"_\d+$", "", layer.name).replace("_", "")
    return None if plain == type(layer).__name__.lower() else str(layer.name)


def _of_layer(name: str, about: str) -> Any:
    """Makes a property that reads the layer's attribute of that name.

    Not for what holds variables, such as `cell`: Keras names weights in files by the first attribute, in
    the order of the alphabet, under which it finds them, and that has to stay `layer`.
    """
    return property(lambda self: getattr(self.layer, name), doc=about)


class DelegatesToLayer:
    """Hands the recurrent layer's own attributes through.

    `keras.layers.Bidirectional` and users of stateful layers read these, and `Bidirectional` also sets two.
    What the layer itself does not have, the wrapper has not either: a `Bidirectional` has no `units`.
    """

    layer: Any

    units = _of_layer("units", "Number of units.")
    state_size = _of_layer(
        "state_size", "Sizes of the layer's states: one for h, one for an LSTM's c."
    )
    unroll = _of_layer("unroll", "Whether the loop over time is unrolled.")
    activation = _of_layer("activation", "The layer's activation.")
    recurrent_activation = _of_layer("recurrent_activation", "The activation of its gates.")
    use_bias = _of_layer("use_bias", "Whether the layer has a bias.")
    unit_forget_bias = _of_layer("unit_forget_bias", "Whether an LSTM's forget bias begins at 1.")
    reset_after = _of_layer("reset_after", "Whether a GRU's reset gate comes after the product.")
    kernel_initializer = _of_layer("kernel_initializer", "Initializer of the kernel.")
    recurrent_initializer = _of_layer(
        "recurrent_initializer", "Initializer of the recurrent kernel."
    )
    bias_initializer = _of_layer("bias_initializer", "Initializer of the bias.")
    kernel_regularizer = _of_layer("kernel_regularizer", "Regularizer of the kernel.")
    recurrent_regularizer = _of_layer(
        "recurrent_regularizer", "Regularizer of the recurrent kernel."
    )
    bias_regularizer = _of_layer("bias_regularizer", "Regularizer of the bias.")
    kernel_constraint = _of_layer("kernel_constraint", "Constraint on the kernel.")
    recurrent_constraint = _of_layer("recurrent_constraint", "Constraint on the recurrent kernel.")
    bias_constraint = _of_layer("bias_constraint", "Constraint on the bias.")
    merge_mode = _of_layer("merge_mode", "How a `Bidirectional` merges its directions.")

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

    def reset_states(self) -> None:
        """The same as `reset_state`, by its older name."""
        self.reset_state()

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """Returns the states that a batch begins with: zeros of shape `(batch_size, units)`, one a state.

        Raises:
            AttributeError: The layer is a `Bidirectional`, which has none either.
        """
        return list(self.layer.get_initial_state(batch_size))

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """The wrapped layer's output shape."""
        return self.layer.compute_output_shape(sequences_shape)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """The wrapped layer's output mask."""
        return self.layer.compute_mask(inputs, mask)
