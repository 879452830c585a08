"""The keys of a search space: their types, what they mean, and which of them contradict each other."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, StrictBool, model_validator

from recdrop_tune.catalog import (
    OPTIONS,
    SCHEDULE_NAMES,
    SEARCHED,
    SITES,
    TECHNIQUES,
    check_cell,
)
from recdrop_tune.errors import invalid_argument
from recdrop_tune.spaces.values import (
    STRICT,
    Count,
    Counts,
    Decay,
    Decays,
    LockedRates,
    Number,
    OneOf,
    OneRate,
    Placement,
    Positive,
    Positives,
    Range,
    SiteRates,
    Word,
    as_words,
    as_written,
)

_Cell = Annotated[str, OneOf(("lstm", "gru"))]
_Wrapper = Annotated[str, OneOf(tuple(TECHNIQUES))]
_Schedule = Annotated[str, OneOf(SCHEDULE_NAMES)]
_Function = Annotated[str, OneOf(("bernoulli", "gaussian"))]


def _key(description: str) -> Any:
    """Makes a key that can be left out, but cannot be `None`."""
    return Field(default=None, description=description)


class Keys(BaseModel):
    """The keys of a search space; see `SearchSpace`."""

    model_config = STRICT

    cell: Word[_Cell] = _key('"lstm" or "gru". Default: "lstm".')
    units: Number[Count, Counts] = _key("Units of each recurrent layer. Default: 64.")
    layers: Number[Count, Counts] = _key("Number of recurrent layers. Default: 1.")
    bidirectional: Word[StrictBool] = _key(
        "Whether the layers read the sequence in both directions. Default: false."
    )
    wrapper: Word[_Wrapper] = Field(
        default=SEARCHED,
        description="Ids of the techniques in recdrop_tune.catalog. Default: all except "
        '"concrete", which learns its rates, and "update", which is for LSTMs alone.',
    )
    placement: Word[Placement] = _key(
        'Sites joined by +, such as "input+recurrent". Each is offered only under the wrappers that '
        "have it. Default: every placement each wrapper has (with a rate per site: those whose sites "
        "all have a rate)."
    )
    rate: SiteRates = _key(
        'Dropout rate, 0 <= rate < 1; or one per site: {"input": ..., "recurrent": ...}. '
        'Not offered under "concrete", which learns it. Default: 0.05 to 0.6 in steps of 0.05.'
    )
    schedule: _Schedule = _key(
        "How the rate changes during training, the same in every trial: a name of "
        'recdrop_tune.models.SCHEDULES. Not with "zoneout" and "update", whose inference uses the '
        'rate, nor with "concrete", which learns it. Default: it does not change.'
    )
    per_step: Word[StrictBool] = _key(
        "For the wrappers recurrent and update: whether each step has its own mask. Default: true."
    )
    tied_gates: Word[StrictBool] = _key(
        "For the wrapper variational at the recurrent site: whether all gates share a mask. "
        "Default: true."
    )
    mask_groups: Number[Count, Counts] = _key(
        "For the wrappers variational and concrete at the recurrent site: the number of groups, each "
        "with its own masks, into which a batch is split. Default: 1."
    )
    elements: Word[StrictBool] = _key(
        "For the wrapper concrete at the recurrent site: whether it drops single weights, as "
        "weight_drop does. Default: false."
    )
    hidden_rate: OneRate = _key(
        "For the wrapper zoneout with the cell lstm: the rate for h, while rate is the one for c. "
        "Above 0 it leaves cuDNN. Default: 0."
    )
    samples: Number[Count, Counts] = _key(
        "For the wrapper concrete: the number of targets in the training data, where they cannot be "
        "counted; see docs/techniques.md#concrete. Default: they are counted."
    )
    tau: Number[Positive, Positives] = _key(
        "For the wrapper concrete: the precision (1 / variance) of the noise in the targets, if the "
        "loss is the mean squared error. Default: the loss is a mean negative log-likelihood."
    )
    function: Word[_Function] = _key(
        'For the wrapper lambda: "bernoulli" or "gaussian" noise. Default: "bernoulli".'
    )
    locked_rate: LockedRates = _key(
        "Rate of locked dropout, in addition to the wrapper: one mask for all steps of a sequence, at "
        "the input of the recurrent layers, between them and at their output. Or one rate per place: "
        '{"input": ..., "between": ..., "output": ...}; `between` needs 2 or more layers. Default: none.'
    )
    embedding_rate: OneRate = _key(
        "Dropout rate of word types, if the model has an embedding (LanguageModel). Default: none."
    )
    activity_decay: Number[Decay, Decays] = _key(
        "Adds the mean square of the last recurrent layer's outputs, times this, to the training "
        "loss: activation regularization (AR). Independent of the wrapper. Default: none."
    )
    temporal_decay: Number[Decay, Decays] = _key(
        "The same for the difference between the outputs of neighbouring steps (TAR), in models with "
        "an output per step. Default: none."
    )
    learning_rate: Number[Positive, Positives] = _key(
        "Learning rate of the optimizer. Default: 1e-3."
    )
    global_clipnorm: Number[Positive, Positives] = _key(
        "The largest norm of all gradients together; larger ones are scaled down to it. Default: no "
        "clipping."
    )

    def placements_of(self, wrapper: str) -> tuple[str, ...]:
        """Returns the placements that are offered under a wrapper, in the order of the space."""
        technique = TECHNIQUES[wrapper]
        if self.placement is not None:
            return tuple(each for each in as_words(self.placement) if each in technique.placements)
        if isinstance(self.rate, dict) and not technique.learns_rate:
            sites = set(self.rate)
            return tuple(each for each in technique.placements if set(each.split("+")) <= sites)
        return technique.placements

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuses keys that contradict each other: a part of the space would silently not be searched."""

        def refuse(key: str, expected: str, fix: str = "") -> None:
            received = as_written(getattr(self, key))
            raise invalid_argument(key, expected=expected, received=received, fix=fix)

        wrappers = [wrapper for wrapper in as_words(self.wrapper) if wrapper != "none"]
        rated = [wrapper for wrapper in wrappers if not TECHNIQUES[wrapper].learns_rate]
        for wrapper in wrappers:
            technique = TECHNIQUES[wrapper]
            for cell in as_words(self.cell or "lstm"):
                check_cell(technique, cell)
            fix = f"Add one, or remove `{wrapper}` from `wrapper`."
            if not self.placements_of(wrapper):
                key = "rate" if self.placement is None else "placement"
                has = ", ".join(technique.placements)
                refuse(key, f"a placement that the wrapper `{wrapper}` has: {has}", fix)
            # Checkpoints contain only weights. If inference reads the rate, the model of the best epoch would
            # also need the rate of that epoch.
            if self.schedule and (technique.rate_at_inference or technique.learns_rate):
                refuse(
                    "schedule",
                    f"none, because of the wrapper `{wrapper}`",
                    "Remove one of the two.",
                )
        if self.rate is not None and wrappers and not rated:
            refuse("rate", f"no rate, because the wrapper {', '.join(wrappers)} learns it")
        if isinstance(self.rate, dict):
            used = {
                site
                for wrapper in rated
                for at in self.placements_of(wrapper)
                for site in at.split("+")
            }
            if missing := [site for site in SITES if site in used and site not in self.rate]:
                refuse(
                    "rate", f"a rate for each site of `placement`, also for {', '.join(missing)}"
                )
        # Keras Tuner cannot make a hyperparameter conditional on two others, such as wrapper and cell.
        if self.hidden_rate is not None and self.cell not in (None, "lstm"):
            refuse("cell", "only lstm, because `hidden_rate` is the rate of an LSTM's h")
        layers = self.layers or 1
        fewest = layers.min if isinstance(layers, Range) else min(as_words(layers))
        if isinstance(self.locked_rate, dict) and "between" in self.locked_rate and fewest < 2:
            refuse("layers", "2 or more, because of `locked_rate.between`")
        return self

    def of_cell(self, cell: str) -> Self:
        """Returns the space without the wrappers that the cell lacks; raises if none is left that drops."""
        wrappers = as_words(self.wrapper)
        fitting = tuple(each for each in wrappers if TECHNIQUES[each].cell in (None, cell))
        if len(fitting) == len(wrappers):
            return self
        if not set(fitting) - {"none"}:
            check_cell(TECHNIQUES[next(each for each in wrappers if each not in fitting)], cell)
        return self.model_copy(update={"wrapper": fitting})

    def options(self, cell: str = "lstm") -> dict[str, Any]:
        """Returns the wrappers' options that the space names and a layer with the cell has."""
        return {
            name: getattr(self, name)
            for name, option in OPTIONS.items()
            if getattr(self, name) is not None and option.cell in (None, cell)
        }
