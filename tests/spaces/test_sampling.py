"""Search spaces: the hyperparameters they become, walked by oracles of Keras Tuner and of this package."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import keras_tuner as kt
import pytest

from recdrop_tune.catalog import OPTIONS as ALL_OPTIONS
from recdrop_tune.catalog import SCHEDULE_NAMES, TECHNIQUES
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.models import SCHEDULES
from recdrop_tune.spaces import Sample, SearchSpace, plain_names
from tests.spaces.test_space import DECAYS, FULL, LOCKED, OPTIONS, PER_SITE

OBJECTIVE = kt.Objective("val_loss", "min")


class _Walker(kt.engine.base_tuner.BaseTuner):
    """Keras Tuner's own loop around a hypermodel that returns the sample instead of a model."""

    def __init__(self, space: SearchSpace, oracle: kt.Oracle, folder: Path) -> None:
        self.samples: list[Sample] = []
        super().__init__(oracle, space.sample, directory=str(folder))

    def run_trial(self, trial, **kwargs):
        sample = self.hypermodel.build(trial.hyperparameters)
        self.samples.append(sample)
        return {"val_loss": float(len(self.samples) % 7)}


def walk(space: object, oracle: kt.Oracle, folder: Path) -> list[Sample]:
    walker = _Walker(SearchSpace.load(space), oracle, folder)
    walker.search(verbose=0)
    return walker.samples


def drawn(space, embedding=False, **values):
    """The sample of a space for the given values, by their names in Keras Tuner."""
    hp = kt.HyperParameters()
    space = SearchSpace.load(space)
    space.sample(hp, embedding=embedding)
    hp.values.update(values)
    hp.ensure_active_values()
    return space.sample(hp, embedding=embedding), hp


def assert_valid(sample: Sample) -> None:
    technique = TECHNIQUES[sample.wrapper]
    if sample.wrapper == "none":
        assert (sample.placement, sample.rate, sample.options) == (None, None, {})
        return
    assert sample.placement in technique.placements
    if technique.learns_rate:
        assert sample.rate is None
        return
    sites = sample.placement.split("+")
    rates = sample.rate if isinstance(sample.rate, dict) else dict.fromkeys(sites, sample.rate)
    assert set(rates) == set(sites)
    assert all(0 <= rate < 1 for rate in rates.values())


@pytest.mark.parametrize(
    "raw",
    [PER_SITE, "three_ways", {**LOCKED, "embedding_rate": 0.1}, DECAYS],
    ids=["site", "ways", "locked", "decays"],
)
def test_a_grid_search_visits_every_configuration_once(raw, tmp_path):
    samples = walk(raw, kt.oracles.GridSearchOracle(OBJECTIVE), tmp_path)
    assert len(samples) == SearchSpace.load(raw).grid_size()
    assert len({repr(sample) for sample in samples}) == len(samples)
    for sample in samples:
        assert_valid(sample)


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        ({"wrapper": ["none", "lambda"], "placement": "input", "rate": [0.1, 0.2]}, 3),
        ({"wrapper": "none", "units": {"min": 1, "max": 100, "log": True}}, 100),
        ({"wrapper": "none", "learning_rate": {"min": 0.1, "max": 0.2}}, None),
        ({"wrapper": "none", "rate": {"min": 0.1, "max": 0.2}}, 1),
    ],
)
def test_grid_size(raw, size):
    assert SearchSpace.load(raw).grid_size() == size


# Names and kinds of hyperparameters.


def test_names_are_the_keys_and_the_types_fit():
    _, hp = drawn({**FULL, "wrapper": ["recurrent", "none"]})
    assert {p.name: type(p).__name__ for p in hp.space} == {
        "cell": "Choice",
        "units": "Int",
        "layers": "Choice",
        "bidirectional": "Boolean",
        "wrapper": "Choice",
        "placement": "Choice",
        "rate": "Float",
        "learning_rate": "Float",
    }


def test_wrappers_with_the_same_placements_share_one():
    _, hp = drawn(FULL)
    assert {p.name: p.values for p in hp.space if p.name.startswith("placement")} == {
        "placement.native": ["input", "recurrent", "input+recurrent"],
        "placement.recurrent": ["input", "recurrent", "input+recurrent", "output"],
        "placement.time_distributed-lambda": ["input", "output"],
    }
    for raw in (FULL, PER_SITE, OPTIONS):
        # Keras Tuner's `ensure_active_values` loses the value of a name that is used twice.
        _, hp = drawn(raw)
        assert max(Counter(p.name for p in hp.space).values()) == 1


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0.05, 0.6, 0.05), (0.1, 0.9, 0.1), (0.1, 0.55, 0.1)]
)
def test_a_stepped_range_reaches_its_end_without_noise(low, high, step):
    space = SearchSpace(wrapper="lambda", rate={"min": low, "max": high, "step": step})
    hp = kt.HyperParameters()
    space.sample(hp)
    (rate,) = (p for p in hp.space if p.name == "rate")
    expected = Hyperparameter("rate", low=low, high=high, step=step).values
    assert [round(value, 10) for value in rate.values] == expected
    assert rate.max_value == pytest.approx(expected[-1], abs=1e-12)
    for value in rate.values:
        hp.values["rate"] = value
        assert space.sample(hp).rate in expected


# Values that are active.


def test_left_over_values_do_not_leak():
    hp = kt.HyperParameters()
    hp.values.update({"placement": "output", "rate": 0.4, "rate.input": 0.2, "wrapper": "none"})
    sample = SearchSpace(wrapper=["none", "recurrent"]).sample(hp)
    assert (sample.placement, sample.rate) == (None, None)


def test_a_wrapper_outside_the_space_is_refused():
    hp = kt.HyperParameters()
    hp.Fixed("wrapper", "native")
    with pytest.raises(InvalidArgumentError, match=r"none, lambda\. Received: wrapper='native'"):
        SearchSpace(wrapper=["none", "lambda"]).sample(hp)


def test_there_is_no_dropout_inside_an_inactive_scope():
    hp = kt.HyperParameters()
    hp.Choice("model", ["mlp", "rnn"])
    with hp.conditional_scope("model", ["rnn"]):
        sample = SearchSpace.load(FULL).sample(hp)
    assert (sample.wrapper, sample.placement, sample.rate, sample.units) == ("none", None, None, 64)
    assert set(hp.values) == {"model"}


def test_rates_per_site_are_those_of_the_placement():
    space = {
        "wrapper": "recurrent",
        "placement": ["input", "input+recurrent"],
        "rate": {"input": [0.1, 0.2], "recurrent": 0.4, "output": 0.5},
    }
    sample, hp = drawn(space)
    assert sample.rate == {"input": 0.1}
    assert "rate.output" not in {p.name for p in hp.space}
    assert drawn(space, placement="input+recurrent")[0].rate == {"input": 0.1, "recurrent": 0.4}
    # Without `placement`, the sites with a rate decide.
    _, hp = drawn({"wrapper": ["recurrent", "native"], "rate": {"input": 0.1, "recurrent": 0.2}})
    assert hp.space[1].values == ["input", "recurrent", "input+recurrent"]


def test_a_learned_rate_is_not_searched():
    space = {
        "wrapper": ["concrete", "variational"],
        "rate": {"input": 0.1, "recurrent": [0.2, 0.3]},
    }
    sample, hp = drawn(space, wrapper="concrete", **{"placement.concrete": "input+output"})
    assert sample.wrap_arguments() == {"placement": "input+output"}
    assert not [name for name in hp.values if name.startswith("rate")]
    sample, _ = drawn(space, wrapper="variational", **{"placement.variational": "input"})
    assert sample.wrap_arguments() == {"placement": "input", "rate": {"input": 0.1}}
    # All placements of concrete; those of variational that have a rate: input, recurrent (2), both (2).
    assert SearchSpace.load(space).grid_size() == 7 + 1 + 2 + 2


# Options, schedule, locked dropout and decays.


def test_an_option_is_searched_only_where_it_has_an_effect(tmp_path):
    samples, seen = walk(OPTIONS, kt.oracles.GridSearchOracle(OBJECTIVE), tmp_path), set()
    assert len({repr(sample) for sample in samples}) == SearchSpace.load(OPTIONS).grid_size()
    for sample in samples:
        recurrent = "recurrent" in (sample.placement or "")
        expected = {
            name
            for name, option in ALL_OPTIONS.items()
            if sample.wrapper in option.techniques and (option.site is None or recurrent)
        }
        assert set(sample.options) == expected
        assert (sample.rate is None) == (sample.wrapper in ("none", "concrete"))
        rate = {"rate"} if sample.rate is not None else set()
        arguments = set() if sample.wrapper == "none" else {"placement", *rate, *expected}
        assert set(sample.wrap_arguments()) == arguments
        seen |= set(sample.options.items())
    assert seen == {(name, value) for name in ALL_OPTIONS for value in OPTIONS[name]}


def test_an_option_of_two_groups_has_one_name_in_tables():
    space = {**OPTIONS, "wrapper": ["variational", "concrete"]}
    del space["rate"]
    for wrapper, groups in (("variational", 1), ("concrete", 2)):
        own = f"mask_groups.{wrapper}"
        sample, hp = drawn(
            space, wrapper=wrapper, **{f"placement.{wrapper}": "recurrent", own: groups}
        )
        assert sample.options["mask_groups"] == groups
        assert [name for name in hp.values if "mask_groups" in name] == [own]
        assert plain_names(hp.values)["mask_groups"] == groups
        # The only group has the name of the key.
        _, hp = drawn({**space, "wrapper": wrapper}, placement="recurrent")
        assert "mask_groups" in hp.values
    own = {"placement.left": 1, "rate.input": 2}
    assert plain_names(own) == own


def test_only_an_lstm_is_offered_update():
    space = SearchSpace(wrapper=["none", "update", "recurrent"], rate=0.1)
    for cell, offered in (("lstm", [*space.wrapper]), ("gru", ["none", "recurrent"])):
        hp = kt.HyperParameters()
        space.sample_dropout(hp, cell=cell)
        assert next(p.values for p in hp.space if p.name == "wrapper") == offered
    assert "update" not in SearchSpace().wrapper
    with pytest.raises(InvalidArgumentError, match="`zoneout`"):
        SearchSpace(wrapper=["none", "update"]).sample_dropout(kt.HyperParameters(), cell="gru")


def test_a_schedule_is_no_hyperparameter():
    assert tuple(SCHEDULES) == ("constant", *SCHEDULE_NAMES)
    _, hp = drawn({"wrapper": "recurrent", "schedule": "linear"})
    assert set(hp.values) == {"wrapper", "placement", "rate"}


def test_locked_rates_and_the_rate_of_an_embedding():
    given = {"locked_rate.input": 0.2, "locked_rate.between": 0.3}
    sample, hp = drawn(LOCKED, wrapper="weight_drop", **given)
    assert sample.locked_rate == {"input": 0.2, "between": 0.3, "output": 0.6}
    named = {name: value for name, value in hp.values.items() if name.startswith("locked")}
    assert named == {**given, "locked_rate.output": 0.6}
    assert sample.embedding_rate is None
    assert "embedding_rate" not in {p.name for p in hp.space}
    given = {"wrapper": "weight_drop", "embedding_rate": 0.1}
    assert drawn(LOCKED, embedding=True, **given)[0].embedding_rate == 0.1
    sample, hp = drawn({"wrapper": "lambda", "rate": 0.1, "locked_rate": [0.3, 0.4]})
    assert sample.locked_rate == {"input": 0.3, "between": 0.3, "output": 0.3}
    assert hp.values["locked_rate"] == 0.3
    # Keras Tuner compares conditions when a search is resumed: group by group, as ever.
    _, hp = drawn({"wrapper": ["weight_drop", "zoneout", "native"], "locked_rate": [0.3, 0.4]})
    (locked,) = (each for each in hp.space if each.name == "locked_rate")
    assert list(locked.conditions[0].values) == ["weight_drop", "native", "zoneout"]


def test_without_a_wrapper_nothing_drops():
    sample, hp = drawn({"wrapper": "none", "locked_rate": 0.3, "embedding_rate": 0.1}, True)
    assert (sample.locked_rate, sample.embedding_rate) == ({}, None)
    assert [p.name for p in hp.space] == ["wrapper"]
    sample, hp = drawn(LOCKED, embedding=True, wrapper="none")
    assert (sample.locked_rate, sample.embedding_rate) == ({}, None)
    assert set(hp.values) == {"layers", "wrapper"}


@pytest.mark.parametrize("wrapper", ["none", "zoneout"])
def test_decays_are_independent_of_the_wrapper(wrapper):
    sample, _ = drawn(DECAYS, wrapper=wrapper, activity_decay=2.0, temporal_decay=0.5)
    assert sample.decays == {"activity_decay": 2.0, "temporal_decay": 0.5}
    assert not set(sample.decays) & set(sample.wrap_arguments())
    hp = kt.HyperParameters()
    SearchSpace.load(DECAYS).sample_dropout(hp, "a")
    assert {"a/activity_decay", "a/temporal_decay"} <= set(hp.values)
    sample, hp = drawn(OPTIONS)
    assert sample.decays == {}
    assert not any("decay" in p.name for p in hp.space)
