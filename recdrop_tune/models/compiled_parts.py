"""What a model is compiled with, from which the same is made for each copy of the model."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import (
    compile_arguments,
    excluded_from_decay,
    lost_arguments,
    wrapped_function,
)
from recdrop_tune.models.arguments import (
    check_arguments,
    not_made,
    remedy,
    writing_down,
)
from recdrop_tune.models.parts import is_own, parts_of
from recdrop_tune.models.recurrent_parts import Config

_FUNCTION = "recdrop_tune>wrapped_function"
"""What a function is called in a configuration: its own name may also be that of the metric around it."""


@dataclass(frozen=True)
class Described:
    """An optimizer or a metric, which has a state: each copy of a model has another one.

    Attributes:
        config: How Keras writes it down.
        custom: The classes and the function in it that are not Keras's, by the name in the configuration.
        undecayed: Names of variables that an optimizer excludes from weight decay, as a pattern.
    """

    config: Config
    custom: dict[str, Any]
    undecayed: str | None = None

    @classmethod
    def of(cls, part: Any, argument: str = "model") -> Described:
        """Describes an optimizer or a metric.

        Args:
            part: The optimizer or metric.
            argument: The argument that it came with, for errors.

        Raises:
            InvalidArgumentError: It cannot be made again with the arguments that it has; or it is an
                optimizer that excludes variables from weight decay: a copy of the model has others.
        """
        names, variables = excluded_from_decay(part)
        if variables:
            raise invalid_argument(
                argument,
                expected="an optimizer whose exclusions from weight decay can be copied",
                received="variables of this model, as `exclude_from_weight_decay(var_list=...)`",
                fix='Name them: `exclude_from_weight_decay(var_names=["bias"])`.',
            )
        try:
            found = cls(*_written(part), names)
            made = found.make()
        except Exception as error:  # A user's class may refuse in any way.
            raise not_made(argument, part, parts_of(part), error, remedy(part)) from error
        check_arguments(argument, parts_of(part), parts_of(made))
        return found

    def make(self) -> Any:
        """Makes another one, with no state."""
        # A copy, for Keras takes configurations apart. Safe mode guards against code in files; this
        # configuration comes from a live object.
        made = keras.saving.deserialize_keras_object(
            copy.deepcopy(self.config), custom_objects=self.custom, safe_mode=False
        )
        if self.undecayed is not None:
            decaying = getattr(made, "inner_optimizer", made)
            decaying.exclude_from_weight_decay(var_names=[self.undecayed])
        return made


def _written(part: Any) -> tuple[Config, dict[str, Any]]:
    """Returns the configuration of an optimizer or metric, and what in it is not Keras's."""
    with writing_down():
        described = keras.saving.serialize_keras_object(part)
        config = {**described["config"], **lost_arguments(part)}
    custom = {type(each).__name__: type(each) for each in parts_of(part) if is_own(type(each))}
    function = wrapped_function(part)
    if function is not None and "fn" in config:
        # Handed on as it is: Keras finds none of the user's by its name, and writes a loss down incompletely.
        config["fn"] = {"module": "builtins", "class_name": "function", "config": _FUNCTION}
        custom[_FUNCTION] = function
    return {**described, "config": config}, custom


def compiled_parts(model: Any) -> Config | None:
    """Returns what a model is compiled with, optimizers and metrics `Described`; `None` if it is nothing.

    Raises:
        InvalidArgumentError: The model has a `compile` of its own, or one of these cannot be described.
    """
    if not model.compiled:
        return None
    if type(model).compile is not keras.Model.compile:
        raise invalid_argument(
            "model",
            expected="a model with Keras's own `compile`, whose arguments can be copied",
            received=type(model).__name__,
            fix="Write a build function: `model = recdrop_tune.dropout_model(hp, new_model())` of a model "
            "that is not compiled yet, then `model.compile(...)`.",
        )
    # A loss has no state, and is not written down as it is: Keras 3.15 leaves out the delta of a Huber loss.
    stateful = keras.optimizers.Optimizer | keras.metrics.Metric
    found: Config = keras.tree.map_structure(
        lambda part: Described.of(part) if isinstance(part, stateful) else part,
        compile_arguments(model),
    )
    return found
