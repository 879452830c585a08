"""The benchmarks run at tiny sizes and write their results."""

import dataclasses
import json
import runpy
import shlex
import sys

import keras
import numpy as np
import pytest

from recdrop_tune import wrap
from recdrop_tune.kernels import choice
from tests import ROOT
from tests.backends import BACKEND

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)


@pytest.fixture
def run(monkeypatch, benchmarks, tmp_path, capsys):
    """Runs a benchmark in this process, which has imported what it needs.

    Returns what it printed and what it wrote.
    """
    out = tmp_path / "out.json"

    def call(script, arguments):
        monkeypatch.setattr(sys, "argv", [script, *shlex.split(arguments), "--out", str(out)])
        capsys.readouterr()
        runpy.run_path(str(FOLDER / script), run_name="__main__")
        return capsys.readouterr().out, json.loads(out.read_text())

    return call


def test_scaling_of_the_oracle(run):
    _, held = run("scaling.py", "ask --sizes 3 6 --samplers random")
    assert [row["trials"] for row in held["ask"]["result"]] == [3, 6]


PLACES = "--sizes 128,4,2,4 --wrappers time_distributed --turns 1"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("script", "arguments", "keys", "value"),
    [
        ("memory.py", "--trials 2 --units 6 --kinds ours", ["trials"], 2),
        (
            "overhead.py",
            "trials epoch report --trials 3 --long 3",
            ["epoch", "result", "epochs"],
            3,
        ),
        (
            "overhead.py",
            "share --small-trials 2 --turns 1 --epochs 1",
            ["share", "result", 2, "kind"],
            "ours",
        ),
        ("placements.py", PLACES, ["rows", 0, "wrapper"], "time_distributed"),
        ("saving_time.py", "--units 4 --times 3", ["result", 0, "units"], 4),
        ("sync.py", "--trials 10 --epochs 2 --server", ["rows", 0, "second", "there"], 10),
    ],
)
def test_it_runs(script, arguments, keys, value, run):
    _, found = run(script, arguments)
    for key in keys:
        found = found[key]
    assert found == value


def test_prediction_intervals_cover_what_was_asked(benchmarks):
    """With noise of known spread all kinds cover 90 %, and those that follow the spread are narrower."""
    from prediction_intervals import intervals

    generator = np.random.default_rng(0)
    std = generator.uniform(0.2, 2.0, (2000, 2))
    kinds = intervals(np.zeros_like(std), std, generator.normal(scale=std), seed=0)
    assert [coverage for coverage, _ in kinds.values()] == pytest.approx([0.9] * 3, abs=0.015)
    assert kinds["std as scale"][1] < 0.9 * kinds["constant scale"][1]


@pytest.mark.parametrize("part", ["replay", "variants", "peers"])
def test_search_efficiency(part, run):
    tuners = {
        "replay": ["recdrop-tune", "RandomSearch", "Hyperband"],
        "variants": ["pruner asha", "sampler tpe, univariate"],
        "peers": ["ASHA", "PASHA", "TPE + Hyperband"],
    }[part]
    names = " ".join(map(shlex.quote, tuners))
    _, held = run("search_efficiency.py", f"{part} --seeds 1 --tuners {names}")
    rows = held["digits"]["rows"]
    assert [row["tuner"] for row in rows] == tuners
    # Every configuration can be searched, so a good one is found, unless a tuner resumes configurations.
    spent = [row["top 5%"] for row in rows if row["tuner"] != "TPE + Hyperband"]
    assert all(each["reached"] == 1 for each in spent)
    assert all(each["epochs"][1] <= 40 * each["trials"][1] for each in spent)


@pytest.mark.heavy
def test_what_searches_have_found_at_their_end(run):
    _, held = run("search_efficiency.py", "ends --seeds 1 --trials 20")
    for row in held["digits"]["ends"]:
        assert 5 <= row["complete"] <= row["trials"] <= (row["max_trials"] or 200)
        assert 0 <= row["place"] < 0.2
    small, *_ = held["digits"]["promises"]
    assert 0 <= small["promised"] < small["up to"] == 0.005
    page, _ = run("search_efficiency.py", "page")
    assert "| 20 trials |" in page
    assert "| `max_trials=None` |" in page


@pytest.mark.heavy
def test_search_efficiency_table(benchmarks, tmp_path, eagerly):
    import _problems
    import _table

    path = tmp_path / "table.csv"
    space = {"units": 4, "wrapper": ["none", "recurrent"], "placement": "input", "rate": 0.3}
    space |= {"learning_rate": [0.01, 0.03]}
    digits = _problems.PROBLEMS["digits"]
    one_batch = [array[: digits.batch] for array in digits.data()[0]]
    problem = dataclasses.replace(
        digits, space=space, data=lambda: (one_batch, one_batch), epochs=2, seeds=2
    )
    _table.train(problem, path)
    table, other = _table.load(path)
    assert len(table.curves) == len(other.curves) == 4
    assert all(table.curves[name] != other.curves[name] for name in table.curves)
    # A search draws a seed for each configuration.
    drawn = [_table.draw([table, other], turn).curves for turn in range(20)]
    for name, curve in table.curves.items():
        assert {tuple(each[name]) for each in drawn} == {tuple(curve), tuple(other.curves[name])}
    # Trained for real: every curve falls.
    assert all(curve[-1] < curve[0] for curve in table.curves.values())


def test_committed_tables_hold_their_whole_spaces(benchmarks):
    import _problems
    import _table

    from recdrop_tune.spaces import SearchSpace

    for problem in [each for each in _problems.PROBLEMS.values() if each.path is not None]:
        space = SearchSpace.load(problem.space)
        names = {_table.key(space.sample(hp)) for hp in _table.configurations(space)}
        tables = _table.load(problem.path)
        assert len(tables) == problem.seeds
        for table in tables:
            assert names == set(table.curves)
            assert table.epochs == problem.epochs


def test_which_dropout_answers(benchmarks):
    """Configurations are chosen by validation data, and defaults for a task by the other tasks."""
    import _which_answers

    noise = np.random.default_rng(0).normal(0, 0.01, 10)
    noise -= noise.mean()

    def row(wrapper, placement, validation, test):
        losses = {"val_loss": [validation] * 10, "test_loss": list(test + noise)}
        found = {"wrapper": wrapper, "placement": placement, "learning_rate": 0.01}
        return {**found, "rate": None if wrapper == "none" else 0.2, **losses}

    def task(native, variational, weight_drop):
        none = row("none", None, 1.0, 1.0)
        cells = [("native", "input", native), ("variational", "recurrent", variational)]
        cells.append(("weight_drop", "recurrent", weight_drop))
        return {"rows": [none, *(row(wrapper, place, *both) for wrapper, place, both in cells)]}

    # Weight-drop tests best on the first, where it validates worst.
    tasks = {
        "one": task((0.9, 0.9), (0.7, 0.8), (0.95, 0.5)),
        "two": task((0.6, 0.6), (1.1, 1.2), (1.2, 1.1)),
    }
    made = _which_answers.answers(tasks)
    first, second = made["own"].splitlines()[2:]
    assert first.startswith("| one | native, input, 0.2 | 0.90")
    assert "| variational, recurrent, 0.2 | 0.80" in first
    assert "| **+11.1 %** (" in first
    assert "| *-100.0 %* (" in second
    # The best two of the one task are known by the other alone, where native is in two of three pairs.
    assert made["pairs"].splitlines()[-1].endswith("| +20.0 % | +40.0 % | +30.0 % |")
    everything = [line.split(" | ") for line in made["all"].splitlines()]
    assert {cells[0]: cells[2:4] for cells in everything}["| weight_drop"] == ["+20.0", "-10.0"]


def test_noise_of_planted_searches(benchmarks):
    """Trainings with the same seed correlate as real ones do, and the gains are the planted ones."""
    import _planted
    import keras_tuner as kt

    for about in _planted.measured().values():
        assert 0 < about["spread"] < 0.3
        assert 0 <= about["alike"] < 1
    problem = dataclasses.replace(_planted.problems()["two"], alike=0.5)
    planted = _planted.Planted(problem)
    gains, scores = [], []
    for wrapper in ("none", "recurrent"):
        hp = kt.HyperParameters()
        hp.Fixed("wrapper", wrapper)
        gains.append(problem.gain(planted.space.sample(hp)))
        scores.append([])
        for seed in range(400):
            keras.utils.set_random_seed(seed)
            scores[-1].append(planted.fit(hp, None)["val_loss"])
    assert gains == pytest.approx([0.0, 2 * _planted.SPREAD])
    none, dropout = scores
    assert np.corrcoef(none, dropout)[0, 1] == pytest.approx(0.5, abs=0.1)
    assert np.std(none) == pytest.approx(_planted.SPREAD, rel=0.1)
    assert np.mean(none) - np.mean(dropout) == pytest.approx(gains[1], abs=0.2 * _planted.SPREAD)


@pytest.mark.backends
@pytest.mark.skipif(BACKEND != "jax", reason="trains all rates and seeds at once, by JAX")
def test_temporal_order(benchmarks, run):
    import jax
    import temporal_order

    x, y = temporal_order.sequences(jax.random.key(0), 50, 10)
    symbols = np.argmax(x, axis=-1)
    rare = [row[row < 2] for row in symbols]
    assert [list(each) for each in rare] == [[c // 2, c % 2] for c in np.array(y)]
    small = "--lengths 10 --units 4 --updates 3 --batch 2 --seeds 2 --test 9"
    _, held = run("temporal_order.py", f"run {small} --dropouts none update")
    none, update = (row["accuracy"] for row in held["rows"])
    assert set(none) == {"0.0"}
    assert set(update) == {"0.1", "0.25", "0.5"}
    assert {len(each) for each in (none | update).values()} == {2}
    printed, _ = run("temporal_order.py", "table")
    assert "| update | " in printed


@pytest.mark.heavy
def test_verdicts(tmp_path, run):
    sizes = "--searches 1 --trials 5 --confirm 1 --max-seeds 8 --jobs 1 --folder"
    search = f"{sizes} {tmp_path}/searches --problems two vowels 'models: two' 'seeds named'"
    printed, held = run("verdicts.py", search)
    rows = {row["problem"]: row for row in held["rows"]}
    assert set(rows) == {"two", "vowels"}
    for row in rows.values():
        assert row["searches"] == 1
        outcomes = ("helped", "hurt", "no difference", "not known")
        assert sum(row[outcome] for outcome in outcomes) == 1
        assert 5 <= row["seeds"] <= 8
    assert "helped at least 99 %" in printed
    (compared,) = held["comparisons"]
    assert (compared["better"], compared["all intervals hold"]) == (1.0, 1.0)
    (named,) = held["named"]
    assert {each["decided"] for each in named["cases"]} == {0, 1}
    assert run("verdicts.py", search)[1] == held  # Nothing is searched twice.


@pytest.mark.heavy
def test_layer_xla(benchmarks, run, monkeypatch):
    import layer_xla

    monkeypatch.setattr(choice, "run_loop", choice.run_loop)  # It is put back.
    x, trained = np.random.default_rng(0).normal(size=(8, 5, 3)).astype("float32"), []
    for compile_layers in (lambda: None, layer_xla.compile_layers):
        compile_layers()
        keras.utils.set_random_seed(0)
        layers = [keras.Input((5, 3)), wrap(keras.layers.GRU(4), "recurrent", rate=0.5)]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=False)
        model.fit(x, x[:, 0, :1], batch_size=4, verbose=0)
        trained.append(model.get_weights())
    for step_loop, by_xla in zip(*trained, strict=True):
        np.testing.assert_allclose(by_xla, step_loop, atol=1e-6)
    assert layer_xla.search("XLA", "quick", 2, 1) > 0
    printed, held = run("layer_xla.py", "--steps 2 --rounds 1 --searches 0")
    assert [row["size"][0] for row in held["steps"]] == 2 * [16, 32, 64]
    assert printed.count("XLA") == 6
