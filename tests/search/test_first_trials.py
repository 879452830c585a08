"""The first trials of a search: each wrapper once, and a line if there are too few trials."""

import keras_tuner as kt
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.search.first_trials import enqueue_first_trials, first_points, untried_lines
from recdrop_tune.spaces import SearchSpace
from tests.oracle import finish, open_oracle
from tests.planted_search import SPACE
from tests.small_search import tuned

WRAPPERS = ["none", "recurrent", "variational", "zoneout", "lambda"]


def oracle_of(folder, space, trials=20, seed=0, **options):
    return open_oracle(folder, trials, space=SearchSpace.load(space), seed=seed, **options)


@pytest.mark.parametrize("preset", SearchSpace.presets())
def test_each_wrapper_of_a_preset_comes_once_with_a_rate_of_the_lower_half(tmp_path, preset):
    oracle, space = oracle_of(tmp_path, preset), SearchSpace.load(preset)
    points = first_points(oracle.space, oracle.seed)
    wrappers = [point["wrapper"] for point in points]
    asked = [space.wrapper] if isinstance(space.wrapper, str) else list(space.wrapper)
    assert sorted(wrappers) == sorted(asked)
    assert wrappers[0] == "none"
    assert "native" not in wrappers[2:]
    ranges = [row for row in oracle.space if row.kind == "rate" and row.choices is None]
    for point in points:
        for row in ranges:
            assert point.get(row.key, row.low) <= (row.low + row.high) / 2
    for point in points:
        oracle.enqueue(point)  # Refuses a configuration that is not in the space.


def test_the_spread_depends_on_the_seed_alone(tmp_path):
    seeds = {"a": 0, "b": 0, "c": 1}
    oracles = [oracle_of(tmp_path / name, SPACE, seed=seed) for name, seed in seeds.items()]
    points = [first_points(each.space, each.seed) for each in oracles]
    assert points[0] == points[1] != points[2]
    rates = {point["learning_rate"] for point in points[0]}
    assert len(rates) == len(points[0])
    placements = [v for p in points[0] for n, v in p.items() if n.startswith("placement")]
    assert len(set(placements)) > 1


def test_units_and_learning_rates_come_from_the_upper_part_of_their_ranges(tmp_path):
    units, rates = [32, 4, 8, 16], set()
    for seed in range(10):
        space = {**SPACE, "units": units, "learning_rate": {"min": 1e-4, "max": 1e-1, "log": True}}
        oracle = oracle_of(tmp_path / str(seed), space, seed=seed)
        _, *dropping = first_points(oracle.space, seed)
        assert {point["units"] for point in dropping} == {16, 32}
        rates |= {point["learning_rate"] for point in dropping}
    assert 1e-3 <= min(rates) < 2e-3
    assert 8e-2 < max(rates) <= 1e-1


@pytest.mark.parametrize(
    ("one", "other", "points"),
    [
        (
            ["none", "recurrent", "zoneout"],
            ["none", "lambda"],
            [("none", "none"), ("recurrent", "lambda"), ("zoneout", "lambda")],
        ),
        # The trial without dropout keeps the only wrapper of a layer.
        (["none", "recurrent"], "native", [("none", "native"), ("recurrent", "native")]),
    ],
)
def test_each_layer_gets_all_its_wrappers(tmp_path, one, other, points):
    def build(hp):
        SearchSpace(wrapper=one, rate=0.2).sample_dropout(hp, "a")
        SearchSpace(wrapper=other, rate=0.2).sample_dropout(hp, "b")

    oracle = OptunaOracle(kt.Objective("val_loss", "min"), 9, seed=0)
    kt.Tuner(oracle, build, directory=tmp_path)
    enqueue_first_trials(oracle)
    assert [(p["a/wrapper"], p["b/wrapper"]) for p in oracle.points_to_try()] == points


def test_a_rate_comes_from_the_lower_half_of_a_list_in_any_order():
    space = [
        Hyperparameter("wrapper", choices=["recurrent", "zoneout"]),
        Hyperparameter("rate", choices=[0.5, 0.1]),
    ]
    assert {point["rate"] for point in first_points(space, 0)} == {0.1}


def tried(oracle, number):
    """Runs trials, and returns their wrappers."""
    found = []
    for _ in range(number):
        trial = oracle.create_trial("tuner0")
        found.append(trial.hyperparameters.values["wrapper"])
        finish(oracle, trial, 1.0)
    return found


def test_a_search_tries_them_first_and_not_again_when_it_resumes(tmp_path):
    oracle = oracle_of(tmp_path, SPACE)
    enqueue_first_trials(oracle)
    assert tried(oracle, 3) == WRAPPERS[:3]
    again = oracle_of(tmp_path, SPACE)
    enqueue_first_trials(again)
    assert tried(again, 2) == WRAPPERS[3:]
    assert untried_lines(again) == []


@pytest.mark.parametrize(
    ("trials", "twin", "wrappers", "needed"),
    [
        (5, False, WRAPPERS, None),
        (5, True, WRAPPERS, 6),  # One is for the twin of the best.
        (2, True, ["recurrent", "zoneout"], None),  # A space without `none` has no twins.
    ],
)
def test_too_few_trials_are_reported_before_the_search(tmp_path, trials, twin, wrappers, needed):
    space = {**SPACE, "wrapper": wrappers}
    oracle = oracle_of(tmp_path, space, trials=trials, twin_last=twin)
    enqueue_first_trials(oracle)
    lines = untried_lines(oracle)
    assert [f"up to {needed} trials" in line for line in lines] == [True] * (needed is not None)


KNOWN = [
    {"wrapper": "recurrent", "placement": "input+output", "rate": 0.4},
    {"wrapper": "none"},  # The first of the baselines.
    {"wrapper": "lambda", "rate": 0.4},
    {"wrapper": "recurrent", "placement": "input+output", "rate": 0.4},
]


def search(folder, max_trials, known):
    """Returns the wrapper and the rate of each trial, in the order of their starts."""
    tuner = rdt.Optuna("random", try_first=known)
    result = tuned(folder, None, max_trials=max_trials, tuner=tuner, verbose=1)
    rows = result.trials.sort_values("trial_id")
    return list(zip(rows["wrapper"], rows["rate"].fillna(0.0), strict=True))


@pytest.mark.heavy
def test_known_points_come_after_the_baselines_and_once(tmp_path, capsys):
    first = search(tmp_path / "p", 4, KNOWN)
    assert [wrapper for wrapper, _ in first[:3]] == ["none", "recurrent", "lambda"]
    assert first[3] == ("recurrent", 0.4)
    assert "max_trials=4 may be too small" in capsys.readouterr().out
    longer = search(tmp_path / "p", 6, KNOWN)
    assert longer[:4] == first
    assert longer[4] == ("lambda", 0.4)
    assert "too small" not in capsys.readouterr().out
    assert longer.count(("recurrent", 0.4)) == 1


def test_a_wrong_known_point_is_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(InvalidArgumentError, match="Did you mean `wrapper`"):
        search(tmp_path / "p", 5, [*KNOWN, {"wraper": "none"}])
    assert not (tmp_path / "p").exists()
