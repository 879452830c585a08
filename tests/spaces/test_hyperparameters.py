"""Search spaces: the hyperparameters they become, walked by Keras Tuner itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import keras_tuner as kt
import pytest

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.spaces import Sample, SearchSpace, plain_names
from tests.spaces.test_space import FULL, PER_SITE

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


def walk(space: object, oracle: kt.Oracle, folder: Path) -> _Walker:
    walker = _Walker(SearchSpace.load(space), oracle, folder)
    walker.search(verbose=0)
    return walker


def assert_valid(sample: Sample) -> None:
    technique = TECHNIQUES[sample.wrapper]
    if sample.wrapper == "none":
        assert sample.placement is None
        assert sample.rate is None
        return
    assert sample.placement in technique.placements
    if technique.learns_rate:
        assert sample.rate is None
        return
    sites = sample.placement.split("+")
    rates = sample.rate if isinstance(sample.rate, dict) else dict.fromkeys(sites, sample.rate)
    assert set(rates) == set(sites)
    assert all(0 <= rate < 1 for rate in rates.values())


def test_fixed_values_are_hyperparameters_too():
    hp = kt.HyperParameters()
    space = SearchSpace(wrapper="recurrent", placement="input+recurrent", rate=0.25, units=8)
    sample = space.sample(hp)
    assert sample.wrap_arguments() == {"placement": "input+recurrent", "rate": 0.25}
    assert hp.values == {
        "units": 8,
        "wrapper": "recurrent",
        "placement": "input+recurrent",
        "rate": 0.25,
    }
    assert all(isinstance(p, kt.engine.hyperparameters.Fixed) for p in hp.space)


def test_names_are_the_keys_and_the_types_fit():
    hp = kt.HyperParameters()
    space = {**FULL, "wrapper": ["recurrent", "none"]}
    SearchSpace.load(space).sample(hp)
    kinds = {p.name: type(p).__name__ for p in hp.space}
    assert kinds == {
        "cell": "Choice",
        "units": "Int",
        "layers": "Choice",
        "bidirectional": "Boolean",
        "wrapper": "Choice",
        "placement": "Choice",
        "rate": "Float",
        "learning_rate": "Float",
    }


def test_a_name_prefixes_every_hyperparameter():
    hp = kt.HyperParameters()
    for name in ("a", "b"):
        SearchSpace.load(PER_SITE).sample_dropout(hp, name)
    assert {p.name.split("/")[0] for p in hp.space} == {"a", "b"}
    assert {c.name.split("/")[0] for p in hp.space for c in p.conditions} == {"a", "b"}


def test_wrappers_that_are_offered_the_same_share_one_placement():
    hp = kt.HyperParameters()
    SearchSpace.load(FULL).sample(hp)
    offered = {p.name: p.values for p in hp.space if p.name.startswith("placement")}
    assert offered == {
        "placement.native": ["input", "recurrent", "input+recurrent"],
        "placement.recurrent": ["input", "recurrent", "input+recurrent", "output"],
        "placement.time_distributed-lambda": ["input", "output"],
    }
    assert sum(p.name == "rate" for p in hp.space) == 1


def test_no_name_is_used_under_two_conditions():
    # Keras Tuner's `ensure_active_values` would delete the value of such a hyperparameter.
    for raw in (FULL, PER_SITE):
        hp = kt.HyperParameters()
        SearchSpace.load(raw).sample(hp)
        assert max(Counter(p.name for p in hp.space).values()) == 1


def test_plain_names_brings_the_groups_together():
    values = {
        "x/wrapper": "lambda",
        "x/placement.time_distributed-lambda": "input",
        "x/rate.input.time_distributed-lambda": 0.1,
        "rate.recurrent": 0.2,
        "placement.scale": 1,
        "my_placement.a": 1,
        "rate": 0.3,
    }
    assert list(plain_names(values)) == [
        "x/wrapper",
        "x/placement",
        "x/rate.input",
        "rate.recurrent",
        "placement",
        "my_placement.a",
        "rate",
    ]


def test_left_over_values_do_not_leak():
    hp = kt.HyperParameters()
    hp.values.update({"placement": "output", "rate": 0.4, "rate.input": 0.2, "wrapper": "none"})
    sample = SearchSpace(wrapper=["none", "recurrent"]).sample(hp)
    assert (sample.placement, sample.rate) == (None, None)


def test_a_wrapper_that_the_space_lacks_is_refused():
    hp = kt.HyperParameters()
    hp.Fixed("wrapper", "native")
    with pytest.raises(
        InvalidArgumentError,
        match=r"Expected one that the space has: none, lambda\. Received: wrapper='native'",
    ):
        SearchSpace(wrapper=["none", "lambda"]).sample(hp)


def test_inside_an_inactive_scope_of_the_user_there_is_no_dropout():
    hp = kt.HyperParameters()
    hp.Choice("model", ["mlp", "rnn"])
    with hp.conditional_scope("model", ["rnn"]):
        sample = SearchSpace.load(FULL).sample(hp)
    assert (sample.wrapper, sample.placement, sample.rate, sample.units) == ("none", None, None, 64)
    assert set(hp.values) == {"model"}


def test_per_site_rates_are_those_of_the_placement():
    hp = kt.HyperParameters()
    space = SearchSpace(
        wrapper="recurrent",
        placement=["input", "input+recurrent"],
        rate={"input": [0.1, 0.2], "recurrent": 0.4, "output": 0.5},
    )
    assert space.sample(hp).rate == {"input": 0.1}
    hp.values["placement"] = "input+recurrent"
    hp.ensure_active_values()
    assert space.sample(hp).rate == {"input": 0.1, "recurrent": 0.4}
    assert "rate.output" not in {p.name for p in hp.space}


def test_per_site_rates_alone_say_which_sites_there_are():
    space = SearchSpace(wrapper=["recurrent", "native"], rate={"input": 0.1, "recurrent": 0.2})
    hp = kt.HyperParameters()
    space.sample(hp)
    assert hp.space[1].values == ["input", "recurrent", "input+recurrent"]


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0.05, 0.6, 0.05), (0.0, 0.5, 0.1), (0.1, 0.9, 0.1), (0.1, 0.55, 0.1)]
)
def test_a_stepped_range_reaches_its_upper_end(low, high, step):
    space = SearchSpace(wrapper="lambda", rate={"min": low, "max": high, "step": step})
    hp = kt.HyperParameters()
    space.sample(hp)
    (rate,) = (p for p in hp.space if p.name == "rate")
    reached = [round(value, 10) for value in rate.values]
    assert reached == [round(low + i * step, 10) for i in range(space.rate.size)]
    assert rate.max_value == pytest.approx(reached[-1], abs=1e-12)


def test_a_stepped_rate_comes_without_floating_point_noise(tmp_path):
    space = {
        "wrapper": "lambda",
        "placement": "input",
        "rate": {"min": 0.05, "max": 0.6, "step": 0.05},
    }
    walker = walk(space, kt.oracles.GridSearchOracle(OBJECTIVE), tmp_path)
    assert [s.rate for s in walker.samples] == [round(0.05 * i, 2) for i in range(1, 13)]


@pytest.mark.parametrize(
    "raw", [FULL, PER_SITE, {}, "quick"], ids=["full", "site", "empty", "quick"]
)
def test_every_random_configuration_is_valid(raw, tmp_path):
    oracle = kt.oracles.RandomSearchOracle(OBJECTIVE, max_trials=200, seed=0)
    walker = walk(raw, oracle, tmp_path)
    space = SearchSpace.load(raw)
    assert len(walker.samples) >= min(40, space.grid_size() or 200)
    for sample in walker.samples:
        assert_valid(sample)
    assert {s.wrapper for s in walker.samples} == set(space.wrapper)
    for trial in oracle.trials.values():
        values = plain_names(trial.hyperparameters.values)
        assert ("placement" in values) == (values["wrapper"] != "none")


@pytest.mark.parametrize("raw", [PER_SITE, "quick", "three_ways"], ids=["site", "quick", "ways"])
def test_a_grid_search_visits_every_configuration_once(raw, tmp_path):
    walker = walk(raw, kt.oracles.GridSearchOracle(OBJECTIVE), tmp_path)
    assert len(walker.samples) == SearchSpace.load(raw).grid_size()
    assert len({repr(sample) for sample in walker.samples}) == len(walker.samples)
    for sample in walker.samples:
        assert_valid(sample)


def test_other_keras_tuner_oracles_walk_the_space(tmp_path):
    for i, oracle in enumerate(
        [
            kt.oracles.BayesianOptimizationOracle(OBJECTIVE, max_trials=15, seed=0),
            kt.oracles.HyperbandOracle(OBJECTIVE, max_epochs=4, seed=0),
        ]
    ):
        walker = walk(FULL, oracle, tmp_path / str(i))
        assert len(walker.samples) >= 5
        for sample in walker.samples:
            assert_valid(sample)


def test_values_survive_keras_tuners_protocol_buffers(capsys):
    hp = kt.HyperParameters()
    space = SearchSpace.load(FULL)
    space.sample(hp)
    hp.values.update({"wrapper": "lambda", "placement.time_distributed-lambda": "output"})
    hp.ensure_active_values()
    back = kt.HyperParameters.from_proto(hp.to_proto())
    capsys.readouterr()  # Keras Tuner prints the values of conditions.
    sample = space.sample(back)
    assert (sample.wrapper, sample.placement) == ("lambda", "output")
    assert sample.rate == pytest.approx(space.sample(hp).rate, abs=1e-6)


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        ({"wrapper": "none"}, 1),
        ({"wrapper": ["none", "lambda"], "placement": "input", "rate": [0.1, 0.2]}, 3),
        ({"wrapper": "none", "units": {"min": 16, "max": 64, "step": 16}, "layers": [1, 2]}, 8),
        ({"wrapper": "none", "units": {"min": 1, "max": 100, "log": True}}, 100),
        ({"wrapper": "none", "learning_rate": {"min": 0.1, "max": 0.2}}, None),
        ({"wrapper": "lambda", "rate": {"min": 0.1, "max": 0.2}}, None),
        ({"wrapper": "none", "rate": {"min": 0.1, "max": 0.2}}, 1),
        (
            {
                "wrapper": "recurrent",
                "placement": ["input", "input+recurrent"],
                "rate": {"input": [0.1, 0.2], "recurrent": [0.1, 0.2, 0.3]},
            },
            8,
        ),
    ],
)
def test_grid_size(raw, size):
    assert SearchSpace.load(raw).grid_size() == size
