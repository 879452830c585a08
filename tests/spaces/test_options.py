"""Search spaces: the wrappers' own options, and the dropout beside a wrapper."""

from __future__ import annotations

import keras_tuner as kt
import numpy as np
import pytest

from recdrop_tune.catalog import OPTIONS
from recdrop_tune.spaces import SearchSpace, plain_names
from tests.spaces.test_hyperparameters import OBJECTIVE, walk

OPTIONED = {
    "wrapper": ["none", "recurrent", "variational", "zoneout", "lambda", "concrete"],
    "placement": ["input", "recurrent", "input+recurrent"],
    "rate": [0.1, 0.2],
    "per_step": [True, False],
    "tied_gates": [True, False],
    "mask_groups": [1, 2],
    "elements": [False, True],
    "hidden_rate": [0.0, 0.1],
    "samples": [90, 180],
    "tau": [0.5, 2.0],
    "function": ["bernoulli", "gaussian"],
}
BESIDE = {
    "layers": [2, 3],
    "wrapper": ["none", "weight_drop"],
    "placement": "recurrent",
    "rate": 0.5,
    "locked_rate": {"input": [0.1, 0.2], "between": [0.3, 0.4, 0.5], "output": 0.6},
    "embedding_rate": [0.0, 0.1],
}


def drawn(space, embedding=False, **values):
    """The sample of a space for the values given, by their names in Keras Tuner."""
    hp = kt.HyperParameters()
    space = SearchSpace.load(space)
    space.sample(hp, embedding=embedding)
    hp.values.update(values)
    hp.ensure_active_values()
    return space.sample(hp, embedding=embedding), hp


def test_an_option_is_drawn_only_where_it_says_something(tmp_path):
    oracle = kt.oracles.RandomSearchOracle(OBJECTIVE, max_trials=300, seed=0)
    seen = set()
    for sample in walk(OPTIONED, oracle, tmp_path).samples:
        recurrent = "recurrent" in (sample.placement or "")
        due = {
            name
            for name, option in OPTIONS.items()
            if sample.wrapper in option.techniques and (option.site is None or recurrent)
        }
        assert set(sample.options) == due
        own = {"rate"} if sample.rate is not None else set()
        assert (not own) == (sample.wrapper in ("none", "concrete"))
        assert set(sample.wrap_arguments()) == (
            set() if sample.wrapper == "none" else {"placement", *own, *due}
        )
        seen |= {(name, value) for name, value in sample.options.items()}
    assert seen == {(name, value) for name in OPTIONS for value in OPTIONED[name]}


def test_a_rate_that_is_learned_is_not_searched():
    space = {
        "wrapper": ["concrete", "variational"],
        "rate": {"input": 0.1, "recurrent": [0.2, 0.3]},
    }
    sample, hp = drawn(space, wrapper="concrete", **{"placement.concrete": "input+output"})
    assert sample.wrap_arguments() == {"placement": "input+output"}
    assert not [name for name in hp.values if name.startswith("rate")]
    sample, _ = drawn(space, wrapper="variational", **{"placement.variational": "input"})
    assert sample.wrap_arguments() == {"placement": "input", "rate": {"input": 0.1}}
    # Of concrete all placements, of variational those that have a rate: input, recurrent with 2, and both.
    assert SearchSpace.load(space).grid_size() == 7 + 1 + 2 + 2


def test_options_are_hyperparameters_of_their_own_names():
    _, hp = drawn(OPTIONED, wrapper="recurrent", per_step=False)
    assert plain_names(hp.values)["per_step"] is False
    assert not {"tied_gates", "mask_groups", "elements", "hidden_rate", "function"} & set(hp.values)


def test_an_option_of_two_wrappers_has_one_name_in_tables():
    space = {**OPTIONED, "wrapper": ["variational", "concrete"]}
    del space["rate"]
    for wrapper, groups in (("variational", 1), ("concrete", 2)):
        own = f"mask_groups.{wrapper}"
        given = {"wrapper": wrapper, f"placement.{wrapper}": "recurrent", own: groups}
        sample, hp = drawn(space, **given)
        assert sample.options["mask_groups"] == groups
        assert [name for name in hp.values if "mask_groups" in name] == [own]
        assert plain_names(hp.values)["mask_groups"] == groups
        # Alone it has the name of the key.
        _, hp = drawn({**space, "wrapper": wrapper}, placement="recurrent")
        assert "mask_groups" in hp.values


def test_h_of_an_lstm_alone_has_a_rate():
    space = {"wrapper": "zoneout", "rate": 0.1, "hidden_rate": 0.05}
    assert drawn({**space, "cell": "lstm"})[0].options == {"hidden_rate": 0.05}
    hp = kt.HyperParameters()
    assert SearchSpace.load(space).sample_dropout(hp, cell="gru").options == {}
    assert SearchSpace.load(space).sample_dropout(hp).options == {"hidden_rate": 0.05}


def test_options_of_wrappers_that_the_space_lacks_are_no_hyperparameters():
    sample, hp = drawn({**OPTIONED, "wrapper": ["none", "native"]})
    assert sample.options == {}
    assert not set(OPTIONS) & {p.name for p in hp.space}


def test_a_locked_rate_for_each_site():
    given = {"locked_rate.input": 0.2, "locked_rate.between": 0.3}
    sample, hp = drawn(BESIDE, wrapper="weight_drop", **given)
    assert sample.locked_rate == {"input": 0.2, "between": 0.3, "output": 0.6}
    named = {name: value for name, value in hp.values.items() if name.startswith("locked")}
    assert named == {**given, "locked_rate.output": 0.6}


def test_one_locked_rate_is_that_of_all_sites():
    sample, hp = drawn({"wrapper": "lambda", "rate": 0.1, "locked_rate": [0.3, 0.4]})
    assert sample.locked_rate == {"input": 0.3, "between": 0.3, "output": 0.3}
    assert hp.values["locked_rate"] == 0.3


def test_nothing_drops_without_a_wrapper():
    sample, hp = drawn(BESIDE, embedding=True, wrapper="none")
    assert (sample.locked_rate, sample.embedding_rate) == ({}, None)
    assert set(hp.values) == {"layers", "wrapper"}
    sample, hp = drawn({"wrapper": "none", "locked_rate": 0.3, "embedding_rate": 0.1}, True)
    assert (sample.locked_rate, sample.embedding_rate) == ({}, None)
    assert [p.name for p in hp.space] == ["wrapper"]


def test_the_rate_of_an_embedding_is_that_of_models_with_one():
    given = {"wrapper": "weight_drop", "embedding_rate": 0.1}
    assert drawn(BESIDE, embedding=True, **given)[0].embedding_rate == 0.1
    sample, hp = drawn(BESIDE, wrapper="weight_drop")
    assert sample.embedding_rate is None
    assert "embedding_rate" not in {p.name for p in hp.space}


def test_a_build_function_has_the_options_and_not_what_is_beside():
    hp = kt.HyperParameters()
    hp.values.update({"a/wrapper": "recurrent", "a/per_step": False})
    space = SearchSpace.load({**OPTIONED, "locked_rate": 0.1, "embedding_rate": 0.1})
    assert space.sample_dropout(hp, "a").options == {"per_step": False}
    assert not any("locked" in p.name or "embedding" in p.name for p in hp.space)


DECAYED = {
    "wrapper": ["none", "zoneout"],
    "rate": 0.1,
    "activity_decay": [0, 2],
    "temporal_decay": {"min": 0.5, "max": 1.0, "step": 0.5},
}


@pytest.mark.parametrize("wrapper", ["none", "zoneout"])
def test_decays_are_drawn_without_dropout_too(wrapper):
    sample, hp = drawn(DECAYED, wrapper=wrapper, activity_decay=2.0, temporal_decay=0.5)
    assert sample.decays == {"activity_decay": 2.0, "temporal_decay": 0.5}
    assert not set(sample.decays) & set(sample.wrap_arguments())
    hp = kt.HyperParameters()
    space = SearchSpace.load(DECAYED)
    space.sample_dropout(hp, "a")
    assert {"a/activity_decay", "a/temporal_decay"} <= set(hp.values)
    assert space.of_dropout() == space


def test_what_a_space_does_not_name_is_no_decay():
    sample, hp = drawn({**DECAYED, "temporal_decay": 1.5})
    assert sample.decays == {"activity_decay": 0.0, "temporal_decay": 1.5}
    sample, hp = drawn(OPTIONED)
    assert sample.decays == {}
    assert not any("decay" in p.name for p in hp.space)


def test_both_round_trip():
    for raw in (OPTIONED, BESIDE, DECAYED):
        space = SearchSpace.load(raw)
        assert SearchSpace.load(space.to_dict()) == space


@pytest.mark.parametrize("raw", [OPTIONED, BESIDE, DECAYED], ids=["options", "beside", "decays"])
def test_grid_size_is_what_a_grid_search_visits(raw, tmp_path):
    space = {**raw, "embedding_rate": 0.1} if "embedding_rate" in raw else raw
    walker = walk(space, kt.oracles.GridSearchOracle(OBJECTIVE), tmp_path)
    assert len(walker.samples) == SearchSpace.load(space).grid_size()
    assert len({repr(sample) for sample in walker.samples}) == len(walker.samples)


def test_grid_size_by_hand():
    # lambda and zoneout have 1 placement and 2 options; recurrent has 3 placements and 2 options;
    # variational has 3 placements, two of them with the recurrent site and so 4 options; 2 rates. concrete
    # has 3 placements and 4 options, and no rate; at the recurrent site 4 times as many.
    concrete, variational = 4 + 16 + 16, 1 + 4 + 4
    assert SearchSpace.load(OPTIONED).grid_size() == 1 + concrete + 2 * (
        2 + 2 + 3 * 2 + variational
    )
    # 2 numbers of layers; 2 rates at the input, 3 between, 2 of the embedding.
    assert SearchSpace.load(BESIDE).grid_size() == 2 * (1 + 2 * 3 * 2)
    # Two of each decay, whatever the wrapper.
    assert SearchSpace.load(DECAYED).grid_size() == 2 * 2 * 2
    assert (
        SearchSpace.load({**OPTIONED, "hidden_rate": {"min": 0.0, "max": 0.1}}).grid_size() is None
    )
    assert np.isfinite(SearchSpace.load({**BESIDE, "layers": {"min": 2, "max": 4}}).grid_size())
