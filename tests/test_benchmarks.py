"""The benchmarks run at tiny sizes and write their results."""

import dataclasses
import json
import math
import runpy
import shlex
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests import ROOT

FOLDER = ROOT / "benchmarks"


def long(test):
    """One to four minutes each: for a change of such a benchmark, with `-m full`."""
    return pytest.mark.heavy(pytest.mark.full(test))


def run(script, arguments, out):
    """Runs a benchmark; returns what it printed and what it wrote."""
    command = [sys.executable, str(FOLDER / script), *shlex.split(arguments), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(out.read_text())


@pytest.fixture
def out(tmp_path):
    """The file that a benchmark writes."""
    return tmp_path / "out.json"


@pytest.fixture
def page(tmp_path):
    """Makes a page with a place for a table; returns a function that returns the lines between its marks."""
    path = tmp_path / "page.md"

    def make(name):
        path.write_text(f"Before\n<!-- table: {name} -->\nold\n<!-- end -->\nAfter\n")

        def lines():
            before, mark, *table, end, after = path.read_text().splitlines()
            assert (before, after) == ("Before", "After")
            assert (mark, end) == (f"<!-- table: {name} -->", "<!-- end -->")
            return table

        return path, lines

    return make


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)


@pytest.fixture
def run_here(monkeypatch, benchmarks, out, capsys):
    """As `run`, in this process, which has imported what it needs."""

    def call(script, arguments):
        monkeypatch.setattr(sys, "argv", [script, *shlex.split(arguments), "--out", str(out)])
        capsys.readouterr()
        runpy.run_path(str(FOLDER / script), run_name="__main__")
        return capsys.readouterr().out, json.loads(out.read_text())

    return call


@pytest.mark.heavy
def test_memory(out):
    _, held = run("memory.py", "--trials 3 --units 6 --kinds ours", out)
    assert len(held["rows"][0]["mebibytes"]) == 3


@pytest.mark.heavy
def test_overhead(out):
    _, held = run("overhead.py", "trials epoch --trials 3 --long 3", out)
    assert [row["trials"] for row in held["trials"]["result"]] == [3, 3, 3]
    assert held["epoch"]["result"]["epochs"] == 3


@pytest.mark.heavy
def test_share_lost_to_tracing(out):
    _, held = run("overhead.py", "share --small-trials 3 --turns 1 --epochs 2", out)
    lost = {row["kind"]: row["lost"] for row in held["share"]["result"]}
    assert lost["ours, reuse_models=4"] < lost["Keras Tuner, RandomSearch"] < 1


def test_scaling_of_the_oracle(run_here):
    _, held = run_here("scaling.py", "ask --sizes 3 6 --samplers random")
    assert [row["trials"] for row in held["ask"]["result"]] == [3, 6]


@long
def test_scaling(out):
    sizes = "--trials 2 --turns 1 --workers 2 --seconds 1"
    _, held = run("scaling.py", f"workers requests {sizes}", out)
    assert [row["workers"] for row in held["workers"]["result"]] == [None, 1, 2]
    for row in held["requests"]["result"]:
        assert row["trials"] > 0
        assert row["requests_a_second"] > 0


@long
def test_search_time(out):
    sizes = "--backends tensorflow --sizes digits --trials 3 --epochs 2 --turns 1"
    kinds = "--kinds 'Keras Tuner' 'same trials' defaults"
    printed, held = run("search_time.py", f"{sizes} {kinds}", out)
    rows = held["digits"]
    assert [row["kind"] for row in rows] == ["Keras Tuner", "same trials", "defaults"]
    for row in rows:
        assert row["trials"] == 3
        spent = row["steps"] + row["validation"] + row["compiling"]
        assert 0 < spent <= row["trainings"]
        assert row["trainings"] + row["between"] <= row["seconds"] <= row["process"]
    assert [row["epochs"] for row in rows[:2]] == [6, 6]  # None of these trials is pruned.
    assert held["machines"]["tensorflow"]["backend"] == "tensorflow"
    assert "of KT" in printed


@pytest.mark.heavy
def test_placements(run_here):
    sizes = "--sizes 128,4,2,4 --wrappers time_distributed --turns 1"
    (row,) = run_here("placements.py", sizes)[1]["rows"]
    assert set(row["placements"]) == {"input", "output", "input+output"}
    assert all(compiling > 0 and step > 0 for compiling, step in row["placements"].values())


@pytest.mark.heavy
def test_sync_with_a_server_that_refuses_three_of_ten(out):
    _, held = run("sync.py", "--trials 20 --refused 0.3", out)
    (row,) = held["rows"]
    assert (row["first"]["written"], row["first"]["there"]) == (20, 0)
    assert (row["second"]["written"], row["second"]["there"]) == (0, 20)
    assert row["requests"] > 80


@pytest.mark.parametrize("part", ["replay", "variants", "peers"])
def test_search_efficiency(part, run_here):
    tuners = {
        "replay": ["recdrop-tune", "RandomSearch", "Hyperband"],
        "variants": ["pruner asha", "sampler tpe, univariate"],
        "peers": ["ASHA", "PASHA", "TPE + Hyperband"],
    }[part]
    names = " ".join(map(shlex.quote, tuners))
    _, held = run_here("search_efficiency.py", f"{part} --seeds 1 --tuners {names}")
    rows = held["digits"]["rows"]
    assert [row["tuner"] for row in rows] == tuners
    # Every configuration can be searched, so a good one is found, unless a tuner resumes configurations.
    spent = [row["top 5%"] for row in rows if row["tuner"] != "TPE + Hyperband"]
    assert all(each["reached"] == 1 for each in spent)
    assert all(each["epochs"][1] <= 40 * each["trials"][1] for each in spent)


def test_peers_pay_for_new_epochs_alone(benchmarks):
    import _peers

    curves = {"a": [3.0] * 9, "b": [2.0] * 9, "c": [4.0, *[1.0] * 8]}
    spent = _peers.Spent(SimpleNamespace(epochs=9, curves=curves), [1.0])
    assert [spent.train("b", epochs) for epochs in (1, 3, 9)] == [2.0] * 3
    assert (spent.epochs, spent.trials, spent.through) == (9, 1, False)
    spent.train("c", 3)
    assert not spent.found  # It is not trained to the end, so its score is not known.
    spent.recommend("c")
    assert spent.result() == [(9 + 3 + 6, 2, 0)]
    rungs = _peers.Rungs(_peers._lengths(9))
    assert rungs.lengths == [1, 3, 9]
    rungs.scores[0] = {"a": 3.0, "b": 2.0}
    assert rungs.promotable(2) is None
    rungs.scores[0]["c"] = 4.0
    assert rungs.promotable(2) == ("b", 1)
    assert rungs.promotable(2) is None  # One of three is promoted.


def test_the_quickest_searches_are_in_bold(benchmarks):
    """Bold: not significantly slower than the fastest. Searches that never reached it are not bold."""
    import _replay
    import search_efficiency

    def row(tuner, *spent):
        found = _replay._summary([None if each is None else (each, 1, 0) for each in spent])
        return {"tuner": tuner, "seeds": len(spent), "top 1%": found}

    quick, alike = row("recdrop-tune", *range(10, 110, 10)), row("Hyperband", *range(40, 140, 10))
    slow, never = row("RandomSearch", *range(200, 300, 10)), row("ASHA", 50, *[None] * 9)
    few = row("SMAC3", 5, 5, 250)
    assert quick["top 1%"]["median_95"] == [20, 90]
    assert never["top 1%"]["epochs"] == [None, None, None]
    held = {"vowels": {"rows": [quick, alike, slow, never, few]}}
    assert search_efficiency.medians(held).splitlines() == [
        "| | vowels |",
        "|---|---|",
        "| recdrop-tune | **60** |",
        "| Hyperband | **90** |",
        "| RandomSearch | 250 |",
        "| SMAC3 | 5 |",
        "| ASHA | - |",
    ]


@pytest.mark.heavy
def test_search_efficiency_table(benchmarks, tmp_path):
    import _problems
    import _table

    path = tmp_path / "table.csv"
    space = {"units": 4, "wrapper": ["none", "recurrent"], "placement": "input", "rate": 0.3}
    space |= {"learning_rate": [0.01, 0.03]}
    problem = dataclasses.replace(_problems.PROBLEMS["digits"], space=space, epochs=3, seeds=2)
    _table.train(problem, path)
    table, other = _table.load(path)
    assert len(table.curves) == len(other.curves) == 4
    assert all(table.curves[name] != other.curves[name] for name in table.curves)
    # A search draws a seed for each configuration.
    drawn = [_table.draw([table, other], turn).curves for turn in range(20)]
    for name, curve in table.curves.items():
        assert {tuple(each[name]) for each in drawn} == {tuple(curve), tuple(other.curves[name])}
    assert table.epochs == 3
    # Trained for real: every curve falls, and no two are the same.
    assert all(curve[-1] < curve[0] for curve in table.curves.values())
    assert len(set(map(tuple, table.curves.values()))) == 4
    # A resumed run trains only the missing curves, and gets the same.
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]))
    said = []
    _table.train(problem, path, say=lambda *a, **k: said.append(a))
    assert len(said) == 6
    again = _table.load(path)
    assert [each.curves for each in again] == [table.curves, other.curves]


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


@pytest.mark.heavy
def test_search_efficiency_bias(out):
    printed, held = run("search_efficiency.py", "bias --seeds 2", out)
    held = held["digits"]
    assert "dropout alone" in printed
    stopped = {row["pruner"]: row["all"] for row in held["stopped"]}
    assert stopped["patient_median"] < stopped["halving"] < 1
    # More epochs predict the final score better.
    correlations = [row["correlation"] for row in held["bias"]]
    assert correlations[0] < correlations[-1] <= 1.0
    # Ranks are shared: one rate's gain is another's loss.
    assert all(min(row["shift by rate"].values()) <= 0 for row in held["bias"])


@long
def test_which_dropout(tmp_path, page, run_here):
    path, lines = page("vowels")
    sizes = "--task vowels --wrapper none zoneout --trials 1 --seeds 2 --epochs 1"
    search = f"run {sizes} --folder {tmp_path}/searches"
    printed, held = run_here("which_dropout.py", search)
    rows = {row["wrapper"]: row for row in held["tasks"]["vowels"]["rows"]}
    assert set(rows) == {"none", "zoneout"}
    assert all(len(row["test_loss"]) == len(row["test_accuracy"]) == 2 for row in rows.values())
    assert "2/2 zoneout recurrent: test loss" in printed
    assert run_here("which_dropout.py", search)[0] == ""  # Nothing is searched twice.

    printed, _ = run_here("which_dropout.py", f"table --page {path}")
    none, zoneout = rows["none"], rows["zoneout"]
    # The twin has the same learning rate and seeds, and no dropout.
    same = none["learning_rate"] == zoneout["learning_rate"]
    twin = sum(none["test_loss"] if same else zoneout["twin_test_loss"]) / 2
    assert len(zoneout["twin_test_loss"]) == 2
    mean = sum(zoneout["test_loss"]) / 2
    gain = twin - mean
    (line,) = [line for line in lines() if line.startswith("| zoneout | recurrent |")]
    assert f"{mean:.4f} ±" in line
    assert f"| {gain:+.4f} (" in line
    share = f"{100 * gain / twin:+.1f}"
    assert f"| zoneout | recurrent | {share} | {share} | " in printed  # The mean, and the least.
    # A search takes no dropout where that is better by the validation data.
    found = "+0.0 %" if sum(zoneout["val_loss"]) > sum(none["val_loss"]) else f"{share} %"
    assert f"| `zoneout` alone | 1 | {found} | {found} |" in printed
    assert f"| the preset `lstm` | 1 | {found} | {found} |" in printed
    assert f"{int(gain > 0)} of 1 better in the mean" in printed


@long
def test_published(tmp_path, page, run_here):
    path, lines = page("mnist1d")
    sizes = "--data mnist1d --search 'published GRU' --trials 2 --epochs 1 --seeds 2"
    search = f"run {sizes} --folder {tmp_path}/searches"
    _, held = run_here("published.py", search)
    rows = {row["what"]: row for row in held["data"]["mnist1d"]["rows"]}
    found, published = rows["published GRU"], rows["published GRU, as published"]
    assert published["values"]["wrapper"] == "none"
    assert all(len(row["test"]) == 2 and max(row["test"]) < 0.7 for row in rows.values())
    if found["values"]["wrapper"] != "none":
        # After as many epochs as are published, here one, the twin is the published setting.
        assert published["values"] == rows["published GRU, its twin"]["values"]
    assert run_here("published.py", search)[0] == ""  # Nothing is searched twice.
    run_here("published.py", f"table --page {path}")
    text = "\n".join(lines())
    assert "| published: CNN | 0.940 | | |" in text
    assert f"| published GRU, as published | {sum(published['test']) / 2:.4f} ±" in text


def test_published_baselines(benchmarks):
    """A regression is also compared with the mean of its training targets."""
    import _published
    import published

    known = _published.DATA_SETS
    counts = {name: len(published.baselines(known[name])) for name in ("mnist1d", "power", "covid")}
    assert counts == {"mnist1d": 0, "power": 1, "covid": 2}
    targets = [np.array([[1.0], [3.0]]), np.array([[2.0], [5.0], [2.0]])]
    data = [(None, part) for part in targets]
    constant = published.baselines(known["covid"])[published.CONSTANT]
    assert constant(known["covid"], data) == pytest.approx(3**0.5)


def test_published_decay(benchmarks):
    """Each training, of a copy as `tune` makes one, begins with the learning rate it was compiled with."""
    import copy

    import _published
    import keras

    rates, callback = [], _published.Cosine()
    for _ in range(2):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        seen = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_, of=model: rates.append(float(of.optimizer.learning_rate))
        )
        both = [copy.deepcopy(callback), seen]
        model.fit(np.ones((4, 1)), np.ones(4), epochs=4, callbacks=both, verbose=0)
    expected = [0.1 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert rates == pytest.approx([*expected, *expected])


def test_published_rates_beside_ours(benchmarks):
    """Welch's interval needs only the mean and deviation of published results."""
    import _shampoo
    from scipy import stats

    numbers = np.random.default_rng(0)
    ours, theirs = numbers.normal(90, 3, 10), numbers.normal(88, 6, 30)
    found = _shampoo.difference(ours, theirs.mean(), theirs.std(ddof=1))
    known = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    assert found == pytest.approx((ours.mean() - theirs.mean(), known.low, known.high))
    # The table of an interrupted run has gaps.
    cell = {"form": "as in Keras 2.0", "placement": "", "rate": 0.0, "test": [90.0, 95.0, 99.0]}
    first, second = _shampoo.tables({"cells": [cell]})["shampoo"].splitlines()[2:4]
    assert first.startswith("| recurrent | 0 | 95.74 ± 9.22 | 94.67 ± 4.51 |  |  |  |  | -1.07 (")
    assert second == "| recurrent | 0.2 | 93.66 ± 7.32 |  |  |  |  |  |  |"

    none, some = {"wrapper": "none", "units": 12}, {"wrapper": "zoneout", "units": 12}
    tried = [
        {"network": none, "rates": [0], "epochs": [5, 9], "means": [[4], [6]]},
        {"network": some, "rates": [0.1, 0.2], "epochs": [5, 9], "means": [[5, 7], [6, 3]]},
        {"network": {**some, "units": 3}, "rates": [0.1], "epochs": [5], "means": [[8]]},
    ]
    chosen = [(c["network"]["wrapper"], c["rate"], c["epochs"]) for c in _shampoo.choices(tried)]
    assert chosen == [("zoneout", 0.2, 9), ("none", 0, 9), ("none", 0, 5), ("zoneout", 0.1, 5)]


def test_which_dropout_looks_everywhere(benchmarks):
    """Every dropout of the catalog at each of its placements once, and no dropout."""
    import which_dropout

    cells = which_dropout.cells()
    assert cells[0] == ("none", None)
    assert len(cells) == len(set(cells)) == 21
    assert ("recurrent", "input+recurrent+output") in cells
    # These equal `recurrent`: see `tests/hypermodels/test_first_weights.py`.
    assert not {wrapper for wrapper, _ in cells} & {"time_distributed", "lambda"}


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
    places = [line.split(" | ") for line in made["places"].splitlines()]
    assert places[0][2] == "recurrent"
    assert places[2][2] == "**+20.0 %** variational"
    assert places[3][1] == "**+40.0 %** native"
    best = made["pairs"].splitlines()[2]
    assert best == "| native input and variational recurrent | +20.0 % | +40.0 % | +30.0 % |"
    # The best two of the one task are known by the other alone, where native is in two of three pairs.
    assert made["pairs"].splitlines()[-1].endswith("| +20.0 % | +40.0 % | +30.0 % |")
    assert made["rates"].splitlines()[-1] == "| all | 6 |"
    everything = [line.split(" | ") for line in made["all"].splitlines()]
    assert everything[0][2:4] == ["mean", "least"]
    assert {cells[0]: cells[2:4] for cells in everything}["| weight_drop"] == ["+20.0", "-10.0"]


@long
def test_learned_rates(tmp_path, run_here):
    sizes = "--task vowels --placement recurrent --epochs 1 --trials 2 --seeds 2"
    search = f"{sizes} --folder {tmp_path}/searches"
    printed, held = run_here("learned_rates.py", f"run {search}")
    rows = {row["kind"]: row for row in held["tasks"]["vowels"]["rows"]}
    assert [rows[kind]["trials"] for kind in ("learned", "searched", "samples")] == [1, 2, 3]
    assert len(rows["learned"]["rates"]["recurrent"]) == len(rows["searched"]["test_loss"]) == 2
    # With the same seeds, their twins without dropout have the same losses.
    assert rows["learned"]["twin_test_loss"] == rows["searched"]["twin_test_loss"]
    assert rows["samples"]["samples"] in rows["samples"]["offered"] == [180, 18, 2]
    assert "vowels recurrent learned: test loss" in printed
    assert run_here("learned_rates.py", f"run {search}")[0] == ""  # Nothing is trained twice.

    _, held = run_here("learned_rates.py", "move --task vowels --placement recurrent --epochs 1")
    moved = held["move"]["vowels"]["rows"]
    assert [len(row["rates"]["learned_rate.recurrent"]) for row in moved] == [1] * 12
    printed, _ = run_here("learned_rates.py", "table")
    assert printed.count("\n") == 3 + 1 + 3 + 12
    assert f"| vowels | recurrent | {rows['samples']['samples']} of 180 |" in printed


@long
def test_activity_decay(page, run_here):
    path, lines = page("decays")
    printed, held = run_here("activity_decay.py", "run --seeds 2 --epochs 1")
    losses = [row["test_loss"] for row in held["rows"]]
    assert printed.count("\n") == len({tuple(each) for each in losses}) == 8
    again, _ = run_here("activity_decay.py", "run --seeds 2 --epochs 1")
    assert again == ""  # Nothing is trained twice.
    run_here("activity_decay.py", f"table --page {path}")
    (line,) = [each for each in lines() if each.startswith("| weight_drop | 2 | 1 |")]
    assert f"| {sum(losses[7]) / 2:.4f} ±" in line
    assert f"| {(sum(losses[4]) - sum(losses[7])) / 2:+.4f} (" in line


def test_noise_of_planted_searches(benchmarks):
    """Trainings with the same seed correlate as real ones do, and the gains are the planted ones."""
    import _planted
    import keras
    import keras_tuner as kt
    import numpy as np

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


@pytest.mark.heavy
def test_verdicts(tmp_path, out, run_here):
    sizes = "--searches 2 --trials 5 --confirm 1 --max-seeds 8 --jobs 1 --problems two vowels"
    search = f"{sizes} --folder {tmp_path}/searches"
    printed, held = run("verdicts.py", search, out)
    rows = {row["problem"]: row for row in held["rows"]}
    assert set(rows) == {"two", "vowels"}
    for row in rows.values():
        assert row["searches"] == 2
        outcomes = ("helped", "hurt", "no difference", "not known")
        assert sum(row[outcome] for outcome in outcomes) == 1
        assert 5 <= row["seeds"] <= 8
    assert "helped at least 99 %" in printed
    assert run_here("verdicts.py", search)[1] == held  # Nothing is searched twice.
