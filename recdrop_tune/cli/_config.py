"""The configuration of `recdrop-tune run`: the arguments of `tune` that make sense in a file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Tag,
    model_validator,
)


def _named(text: str) -> str:
    module, _, name = text.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise ValueError("`module:function`, such as `data:load`")
    return text


Reference = Annotated[str, AfterValidator(_named)]
"""A function of the user's, as `module:function`."""


def _form(value: object) -> str:
    return "<text>" if isinstance(value, str) else "<list>" if isinstance(value, list) else "<map>"


def _text_or_map(value: object) -> str:
    return "<text>" if isinstance(value, str) else "<map>"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DataFunctions(_Strict):
    """A function for each set of data.

    Attributes:
        train: Makes the training data.
        validation: Makes the validation data.
        test: Makes the data that a confirmation looks at.
    """

    train: Reference
    validation: Reference | None = None
    test: Reference | None = None


class Goal(_Strict):
    """A metric whose name does not tell whether more of it is better.

    Attributes:
        name: The metric.
        direction: Whether it is to shrink or to grow.
    """

    name: str
    direction: Literal["min", "max"]


_Data = Annotated[
    Annotated[Reference, Tag("<text>")] | Annotated[DataFunctions, Tag("<map>")],
    Discriminator(_text_or_map),
]
_Space = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[dict[Any, Any], Tag("<map>")],
    Discriminator(_text_or_map),
]
_Metric = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[Goal, Tag("<map>")], Discriminator(_text_or_map)
]
_Objective = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[_Metric], Tag("<list>")]
    | Annotated[Goal, Tag("<map>")],
    Discriminator(_form),
]


class RunConfig(_Strict):
    """What a configuration says; a key that is left out has the default of `tune`.

    The keys are the arguments of `recdrop_tune.tune`, but for `data`, which makes `train`, `validation` and
    `test`, and for `validation_split`, which is Keras's.
    """

    data: _Data
    space: _Space = "quick"
    hypermodel: Reference | None = None
    objective: _Objective = "val_loss"
    tuner: str = "optuna"
    max_trials: int = 20
    epochs: int = 20
    batch_size: int = 32
    validation_split: float = 0.0
    seed: int | None = None
    experiment: str = "recdrop-tune"
    tracking_uri: str | None = None
    directory: str | None = None
    overwrite: bool = False
    sampler: str | None = None
    pruner: str | None = None
    storage: str | None = None
    timeout: float | None = None
    executions_per_trial: int = 1
    cv: int | None = None
    confirm: int = 0
    confirm_seeds: int = 5
    register_model: str | None = None
    system_metrics: bool = False
    keep_checkpoints: int | None = 5
    reuse_models: int = 4
    callbacks: list[Reference] = []
    workers: int | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: float = 1
    ray_address: str | None = None
    trial_timeout: float | None = None
    verbose: int = 1

    @model_validator(mode="after")
    def _one_space(self) -> Self:
        if self.hypermodel is not None and "space" in self.model_fields_set:
            raise ValueError("no `space` beside a `hypermodel`, which has its own")
        return self

    def given(self) -> dict[str, Any]:
        """Returns the arguments of `tune` that are given as they are; the others have to be made."""
        made = {"data", "space", "hypermodel", "objective", "callbacks"}
        return {name: getattr(self, name) for name in self.model_fields_set - made}
