"""`SearchSpace`: a checked mapping of what to search, and its Keras Tuner hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic.json_schema import GenerateJsonSchema

from recdrop_tune.catalog import DECAYS, OPTIONS, SCHEDULE_NAMES, SEARCHED, TECHNIQUES
from recdrop_tune.errors import SearchSpaceError
from recdrop_tune.problems import Keys, in_words, refusal
from recdrop_tune.spaces.consistency import as_words, as_written, contradictions, offered_placements
from recdrop_tune.spaces.counter import Counter
from recdrop_tune.spaces.sampling import (
    DropoutPlan,
    DropoutSample,
    Group,
    Sample,
    has_sites,
    named,
    plain_names,
    register,
    sample_dropout,
    sample_locked,
    sample_under,
)
from recdrop_tune.spaces.sources import preset_names, read_source
from recdrop_tune.spaces.values import (
    ALSO,
    MAPPINGS,
    STRICT,
    Count,
    Counts,
    Decay,
    Decays,
    Flag,
    LockedRates,
    Number,
    OneRate,
    Placement,
    Plain,
    Positive,
    Positives,
    Range,
    SiteRates,
    Words,
    left_out,
)

_CONSTANTS: dict[str, Any] = {
    "cell": "lstm",
    "units": 64,
    "layers": 1,
    "bidirectional": False,
    "learning_rate": 1e-3,
}
"""What is built where the space does not name the field."""

_OF_DROPOUT = ("wrapper", "placement", "rate", "schedule", *OPTIONS, *DECAYS)
"""The fields that are about what is done to one layer."""

_RATE = Range(min=0.05, max=0.6, step=0.05)

_Cell = Annotated[str, Words("lstm", "gru")]
_Wrapper = Annotated[str, Words(*TECHNIQUES, nothing="Write `none` for no dropout.")]
_Schedule = Annotated[
    str, Words(*SCHEDULE_NAMES, nothing="Write `constant` for a rate that stays as it is.")
]
_Function = Annotated[str, Words("bernoulli", "gaussian")]


class _Schema(GenerateJsonSchema):
    """Leaves out of a JSON schema what no editor needs: that a key is left out by default, and titles."""

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """Describes the value without its default; see `GenerateJsonSchema`."""
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Says that the key is title enough; see `GenerateJsonSchema`."""
        return False


class SearchSpace(BaseModel):
    """What to search: for each key a fixed value, a choice, or a range.

    A bare value is fixed, a list is a choice, a mapping `{min, max, step, log}` is a range, both
    ends included. A key that is left out is no hyperparameter, and a constant is used; only
    `wrapper`, `placement` and `rate` are always searched. Under the wrapper `"none"` nothing drops.
    `SearchSpace.json_schema()` describes each key.

    Raises:
        SearchSpaceError: Something is wrong; the message has a line for each problem.

    Example:
        >>> space = SearchSpace(wrapper=["none", "recurrent"], placement="recurrent", rate=[0.1, 0.3])
        >>> space.grid_size()
        3
    """

    model_config = STRICT

    cell: Plain[_Cell] = left_out('"lstm" or "gru". Left out: "lstm".')
    units: Number[Count, Counts] = left_out("Units of each recurrent layer. Left out: 64.")
    layers: Number[Count, Counts] = left_out("Number of recurrent layers. Left out: 1.")
    bidirectional: Plain[Flag] = left_out(
        "Whether the layers read the sequence both ways. Left out: no."
    )
    wrapper: Plain[_Wrapper] = Field(
        default=SEARCHED,
        description="Ids of the techniques in recdrop_tune.catalog. Left out: all of them but "
        '"concrete", which learns its rates.',
    )
    placement: Plain[Placement] = left_out(
        'Sites joined by +, such as "input+recurrent"; each is offered only under the wrappers '
        "that have it. Left out: every placement each wrapper has (where rate is one per site: those among "
        "the sites which have a rate).",
    )
    rate: SiteRates = left_out(
        'Dropout rate, 0 <= rate < 1; or one per site: {"input": ..., "recurrent": ...}. '
        'Left out: 0.05 to 0.6 in steps of 0.05. Not offered under the wrapper "concrete", which learns it.',
    )
    schedule: Plain[_Schedule] = left_out(
        "How the rate moves while a model trains: names of recdrop_tune.models.SCHEDULES. "
        'Offered under the wrappers whose inference is the plain layer: not under "none", nor under '
        '"zoneout", whose rate stays, nor under "concrete", which learns it. Left out: "constant".',
    )
    per_step: Plain[Flag] = left_out(
        "Of the wrapper recurrent: whether each step has a mask of its own. Left out: yes.",
    )
    tied_gates: Plain[Flag] = left_out(
        "Of the wrapper variational at the recurrent site: whether all gates share a mask. "
        "Left out: yes.",
    )
    mask_groups: Number[Count, Counts] = left_out(
        "Of the wrappers variational and concrete at the recurrent site: into how many groups with masks of "
        "their own the batch is split. Left out: 1.",
    )
    elements: Plain[Flag] = left_out(
        "Of the wrapper concrete at the recurrent site: whether it drops single weights, as weight_drop. "
        "Left out: no.",
    )
    hidden_rate: OneRate = left_out(
        'Of the wrapper zoneout, with the cell "lstm" alone: the rate for h, where rate is that '
        "of the cell. Above 0 it leaves cuDNN. Left out: 0.",
    )
    samples: Number[Count, Counts] = left_out(
        "Of the wrapper concrete: the number of targets in the training data, where they cannot be counted: "
        "see docs/techniques.md#concrete. Left out: they are counted.",
    )
    tau: Number[Positive, Positives] = left_out(
        "Of the wrapper concrete: the precision (1 / variance) of the noise in the targets, where the loss "
        "is the mean squared error. Left out: the loss is a mean negative log-likelihood.",
    )
    function: Plain[_Function] = left_out(
        'Of the wrapper lambda: "bernoulli" or "gaussian" noise. Left out: Bernoulli.',
    )
    locked_rate: LockedRates = left_out(
        "Rate of locked dropout beside the wrapper: one mask for all steps of a sequence, on "
        "what goes into the recurrent layers, between them and out of them. Or one per site: "
        '{"input": ..., "between": ..., "output": ...}, between with 2 or more layers only. Left out: none.',
    )
    embedding_rate: OneRate = left_out(
        "Rate of dropout of word types, where the model has an embedding (LanguageModel). "
        "Left out: none.",
    )
    activity_decay: Number[Decay, Decays] = left_out(
        "What the mean square of the outputs of the last recurrent layer adds to the loss in training, "
        "times this: activation regularization, under every wrapper and without one. Left out: nothing.",
    )
    temporal_decay: Number[Decay, Decays] = left_out(
        "The same of the difference between the outputs of neighbouring steps, in models that have an "
        "output for each step. Left out: nothing.",
    )
    learning_rate: Number[Positive, Positives] = left_out(
        "Learning rate of the optimizer. Left out: 1e-3."
    )
    global_clipnorm: Number[Positive, Positives] = left_out(
        "The norm that all gradients together are scaled down to where theirs is larger. Left out: they are "
        "not clipped."
    )

    def __init__(self, **keys: Any) -> None:
        self._read(keys, "the arguments", {})

    def _read(self, raw: Any, source: str, lines: Mapping[Keys, int]) -> None:
        try:
            self.__pydantic_validator__.validate_python(raw, self_instance=self)
        except ValidationError as error:
            mappings = {"": tuple(type(self).model_fields), **MAPPINGS}
            raise SearchSpaceError(in_words(error, source, lines, mappings, also=ALSO)) from None

    @classmethod
    def read(cls, raw: Mapping[Any, Any], source: str, lines: Mapping[Keys, int]) -> Self:
        """Makes a search space of the mapping in a document.

        Args:
            raw: The mapping.
            source: What errors call the document.
            lines: The line of each key, by the keys that lead there.

        Raises:
            SearchSpaceError: Something is wrong; the message has a line for each problem.
        """
        space = cls.__new__(cls)
        space._read(dict(raw), source, lines)
        return space

    @model_validator(mode="after")
    def _together(self) -> Self:
        """Checks what the keys say together."""
        if wrong := list(contradictions(self)):
            raise refusal(wrong)
        return self

    @classmethod
    def load(cls, source: object) -> Self:
        """Reads a search space.

        Args:
            source: A `SearchSpace` (returned as it is), a mapping, the name of a preset
                (`SearchSpace.presets()`), or the path of a YAML file: a string that ends in `.yaml`
                or `.yml`, or an `os.PathLike`.

        Raises:
            SearchSpaceError: There is no such file or preset, or it describes no valid space. The
                message names the file and line, the key, what is allowed and what came, for every problem.

        Example:
            >>> SearchSpace.load({"wrapper": "recurrent", "rate": 0.3}).rate
            0.3
        """
        return source if isinstance(source, cls) else cls.read(*read_source(source))

    @staticmethod
    def presets() -> tuple[str, ...]:
        """Lists the names of the presets that come with the package."""
        return preset_names()

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Returns the JSON schema (draft 7) of a search space, for editors and other tools.

        It knows every key and every single value. What keys say together (`min` below `max`, a
        placement which the wrapper has), only `load` checks.
        """
        schema = cls.model_json_schema(schema_generator=_Schema)
        about = {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Search space of recdrop-tune",
            "description": "A bare value is fixed, a list is a choice, a mapping is a range.",
        }
        return {**schema, **about}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data in the form users write; `load` turns it into an equal space."""
        return {name: as_written(value) for name, value in self if value is not None}

    def to_yaml(self) -> str:
        """Returns the space as YAML text, in the form users write."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)

    def sample(self, hp: Any, name: str | None = None, embedding: bool = False) -> Sample:
        """Registers the whole space on `hp` and returns the values active now.

        Args:
            hp: `keras_tuner.HyperParameters`. The names are the keys of the space; where `rate` (or
                `locked_rate`) is one per site they are `rate.input`, `rate.recurrent`,
                `rate.output`. Where some wrappers are offered other placements than others, each
                such group has its own `placement`, such as `placement.time_distributed-lambda`; see
                `plain_names`.
            name: Where given, every name is prefixed by `name/`.
            embedding: Whether the model has an embedding; only then `embedding_rate` is searched.

        Returns:
            The configuration to build. `placement` and `rate` are `None` where the wrapper is
            `"none"`, `rate` too where it is learned.
        """
        with named(hp, name):
            values = {key: self._sample_field(hp, key) for key in list(_CONSTANTS)[:-1]}
            plan = self._plan()
            dropout = sample_dropout(plan, hp)
            values["locked_rate"] = sample_locked(hp, self.locked_rate, plan.dropping)
            if embedding:
                rate = sample_under(hp, plan.dropping, "embedding_rate", self.embedding_rate)
                values["embedding_rate"] = rate
            values["learning_rate"] = self._sample_field(hp, "learning_rate")
            if self.global_clipnorm is not None:
                values["global_clipnorm"] = register(hp, "global_clipnorm", self.global_clipnorm)
        return Sample(**vars(dropout), **values)

    def sample_dropout(self, hp: Any, name: str | None = None, cell: str = "lstm") -> DropoutSample:
        """Registers only the wrapper, its placement, rate and options, and the decays; else as `sample`.

        Args:
            hp: `keras_tuner.HyperParameters`.
            name: Where given, every name is prefixed by `name/`.
            cell: The cell of the layer, `"lstm"` or `"gru"`; what it does not have is not asked.
        """
        with named(hp, name):
            return sample_dropout(self._plan(cell), hp)

    def of_dropout(self) -> SearchSpace:
        """Returns the part of the space that is about the dropout of one layer, as `sample_dropout` uses it.

        Example:
            >>> SearchSpace(wrapper=["none", "recurrent"], rate=0.3, units=[16, 32]).of_dropout().to_dict()
            {'wrapper': ['none', 'recurrent'], 'rate': 0.3}
        """
        values = {name: value for name, value in self.to_dict().items() if name in _OF_DROPOUT}
        return type(self).load(values)

    def grid_size(self) -> int | None:
        """Returns how many configurations there are, or `None` where a range is a continuum."""
        counter = Counter()
        self.sample(counter, embedding=True)
        return counter.count()

    def searched(self) -> list[str]:
        """Lists the hyperparameters that have more than one value, as tables name them.

        Example:
            >>> SearchSpace(wrapper=["none", "recurrent"], placement="recurrent", rate=0.3).searched()
            ['wrapper']
        """
        counter = Counter()
        self.sample(counter, embedding=True)
        return list(plain_names(dict.fromkeys(counter.searched())))

    def _sample_field(self, hp: Any, key: str) -> Any:
        value = getattr(self, key)
        drawn = None if value is None else register(hp, key, value)
        return _CONSTANTS[key] if drawn is None else drawn

    def _plan(self, cell: str = "lstm") -> DropoutPlan:
        """Works out what is offered under which wrapper, around a layer with the cell."""
        wrappers, options = as_words(self.wrapper), self._options(cell)
        offers: dict[tuple[tuple[str, ...], str], list[str]] = {}
        for wrapper in wrappers:
            if wrapper != "none":
                offered = offered_placements(wrapper, self.placement, self.rate)
                learned = TECHNIQUES[wrapper].learns_rate
                alone = wrapper if learned or has_sites(wrapper, options) else ""
                offers.setdefault((offered, alone), []).append(wrapper)
        groups = tuple(
            Group(
                tuple(ids),
                offered,
                f".{'-'.join(ids)}" if len(offers) > 1 else "",
                rated=not any(TECHNIQUES[wrapper].learns_rate for wrapper in ids),
            )
            for (offered, _), ids in offers.items()
        )
        rate: Any = _RATE if self.rate is None else self.rate
        decays = {name: getattr(self, name) for name in DECAYS if getattr(self, name) is not None}
        return DropoutPlan(
            wrappers, groups, rate, options, self.schedule, self._scheduled(), decays
        )

    def _scheduled(self) -> tuple[str, ...]:
        """Lists the wrappers that have all the schedules of the space."""
        asked = set(as_words(self.schedule))
        return tuple(w for w in as_words(self.wrapper) if asked <= set(TECHNIQUES[w].schedules))

    def _options(self, cell: str) -> dict[str, Any]:
        """Returns the options of wrappers that the space names and a cell has."""
        return {
            name: getattr(self, name)
            for name, option in OPTIONS.items()
            if getattr(self, name) is not None and option.cell in (None, cell)
        }
