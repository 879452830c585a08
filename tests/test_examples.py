"""Every example runs as a user runs it, at a tiny size, from an empty folder, and prints its results."""

import os
import re
import runpy
import subprocess
import sys

import nbclient
import nbformat
import numpy as np
import pytest

import recdrop_tune as rdt
from tests.pages import ROOT

EXAMPLES = ROOT / "examples"

TINY = {
    "three_ways.py": "--cells gru --rates 0.3 --epochs 1 --seeds 1 --train-samples 100 --steps 5 --rounds 1",
    "japanese_vowels.py": "--trials 3 --epochs 2 --refits 1",
    "forecasting.py": "--trials 3 --epochs 2 --refits 1",
    "deploy_plain.py": "--trials 1 --epochs 1 --train-samples 100",
    "accuracy_vs_speed.py": "--trials 5 --epochs 2 --train-samples 100",
    "character_language_model.py": "--trials 2 --epochs 2 --confirm-seeds 2 --train-characters 1500"
    " --units 8",
    "uncertainty.py": "--epochs 40 --samples 10 --train-samples 300",
    "existing_keras_tuner.py": None,  # tests/tuner/test_workflows.py
    "quickstart.py": None,  # .ci/run, with the wheel
    "ray_cluster.py": None,  # tests/ray_workers/test_ray.py
}
"""The arguments that make an example small; None if the test in the comment runs it."""


def ran(script, folder, arguments=None):
    """Runs an example in a folder, by default at its tiny size, and returns what it printed."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, EXAMPLES / script, *(arguments or TINY[script]).split()]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def slow(test):
    """Marks the test of an example that trains."""
    return pytest.mark.heavy(pytest.mark.timeout(900)(test))


def test_each_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(TINY)


@pytest.mark.parametrize("script", TINY)
def test_each_example_says_how_long_it_takes(script):
    text = (EXAMPLES / script).read_text(encoding="utf-8")
    assert "Takes " in text
    assert f"python examples/{script}" in text
    assert f"`{script}`" in (ROOT / "docs/examples.md").read_text(encoding="utf-8")


def row(printed, name):
    """The cells of the row of a printed table that has this name."""
    (line,) = [line for line in printed.splitlines() if line.startswith(f"{name}  ")]
    return re.split(r"\s{2,}", line.removeprefix(name).strip())


@slow
def test_three_ways(tmp_path):
    printed = ran("three_ways.py", tmp_path)
    ways = {
        "plain layer": "cuDNN",
        "Keras's recurrent_dropout": "not cuDNN",
        "1 inside, each step": "cuDNN",
        "2 TimeDistributed before": "cuDNN",
        "2 TimeDistributed after": "cuDNN",
        "3 Lambda, a mask of one's own": "cuDNN",
    }
    for way, on_gpu in ways.items():
        milliseconds, of_plain, kernel, gpu, loss, accuracy, rate = row(printed, way)
        assert float(milliseconds) > 0
        assert float(of_plain) == 1 or way != "plain layer"
        assert kernel in ("step loop", on_gpu)
        assert gpu == on_gpu
        assert 0 < float(loss) < 5
        assert 0 < float(accuracy) < 1
        assert rate == ("-" if way == "plain layer" else "0.3")
    assert "recdrop_runs/three-ways-" in printed.splitlines()[-1]


@slow
def test_japanese_vowels(tmp_path):
    printed = ran("japanese_vowels.py", tmp_path)
    assert "3 trials" in printed
    assert re.search(r"^\S+ +GRU +\w+ ", printed, re.MULTILINE)  # the table of `explain`
    for name in ("best", "no dropout"):
        wrapper, epochs, loss, accuracy = row(printed, name)
        assert wrapper == "none" or name == "best"
        assert int(epochs) in (1, 2)
        loss, accuracy = (each.removesuffix(" +- nan") for each in (loss, accuracy))  # one training
        assert 0 < float(loss) < 5
        assert 0 < float(accuracy) < 1


def test_japanese_vowels_are_padded_on_the_right():
    """On that side cuDNN takes the mask; and no frame is taken for padding."""
    load_split = runpy.run_path(str(EXAMPLES / "japanese_vowels.py"))["load_split"]
    for split, utterances, longest in (("train", 270, 26), ("test", 370, 29)):
        x, y = load_split(split)
        assert x.shape == (utterances, 29, 12)
        assert set(y) == set(range(9))
        frames = (x != 0).any(axis=2)
        lengths = frames.sum(axis=1)
        assert lengths.min() == 7
        assert lengths.max() == longest
        assert (frames == (np.arange(29) < lengths[:, None])).all()


@pytest.mark.parametrize("script", ["japanese_vowels.py", "forecasting.py"])
def test_without_sktime_an_example_prints_its_arguments_and_how_to_install_it(
    script, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "sktime", None)
    monkeypatch.setitem(sys.modules, "sktime.datasets", None)
    for arguments, expected in ((["--help"], "^0$"), ([], r"pip install 'sktime>=0\.35'")):
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(SystemExit, match=expected):
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    assert "--trials TRIALS" in capsys.readouterr().out


@slow
def test_forecasting(tmp_path):
    printed = ran("forecasting.py", tmp_path)
    assert "3 trials" in printed
    # These depend on the test split alone, not on the models.
    assert row(printed, "naive: the last second again") == ["0.746", "-"]
    assert row(printed, "naive: the mean of the window") == ["0.587", "-"]
    (best,) = re.findall(r"^best \((\w+)\)  ", printed, re.MULTILINE)
    for name in (f"best ({best})", "no dropout (none)"):
        error, spread = row(printed, name)
        assert 0.3 < float(error) < 0.7  # a model that has learnt nothing: 0.6
        assert float(spread) == 0  # of one training


@slow
def test_deploy_plain(tmp_path):
    printed = ran("deploy_plain.py", tmp_path)
    assert (tmp_path / "deployed" / "model.keras").is_file()
    assert (tmp_path / "deployed" / "saved_model" / "saved_model.pb").is_file()
    assert re.search(r"^Layers of the best model: .*Wrapper", printed, re.MULTILINE)
    assert "Layers of model.keras: InputLayer, LSTM, Dense\n" in printed
    differences = re.findall(r"^Largest difference.*, (\w+): (\S+)$", printed, re.MULTILINE)
    assert [name for name, _ in differences] == ["keras", "saved_model"]
    assert all(float(difference) < 1e-6 for _, difference in differences)


def rows(text, *labels):
    """The numbers behind each label, at the start of a line; of several such lines, the last one's."""
    found = {}
    for line in text.splitlines():
        for label in labels:
            if line.strip().startswith(label):
                found[label] = [float(n) for n in re.findall(r"-?\d+\.\d+", line.split(label)[1])]
    return [found[label] for label in labels]


@slow
def test_character_language_model(tmp_path):
    text = ran("character_language_model.py", tmp_path)
    _, table = text.split("of the trainings with fresh seeds:")
    # (validation, its standard deviation, test) of two trainings each: better than guessing, and no wonder.
    for validation, spread, test in rows(table, "none", "weight_drop"):
        assert 10 < validation < 60
        assert 10 < test < 60
        assert spread < 10
    (folder,) = (tmp_path / "recdrop_runs").iterdir()
    result = rdt.TuneResult.load(folder)
    best = result.confirmation.table.iloc[0]
    assert f"{best['mean']:.3f}" in table
    assert f"{best['test_perplexity']:.3f}" in table
    written = table.split("and the best model continues\n\n")[1]
    assert len(written) == 300 + len("\n")
    assert written == written.lower()


@slow
def test_accuracy_vs_speed(tmp_path):
    text = ran("accuracy_vs_speed.py", tmp_path)
    (folder,) = (tmp_path / "recdrop_runs").iterdir()
    trials = rdt.TuneResult.load(folder).trials
    points = {
        int(n): (x, y) for n, x, y in trials[["number", "val_loss", "ms_per_step"]].to_numpy()
    }
    assert len(points) == 5

    heading, table = re.search(
        r"The Pareto front, (\d) of 5 trials:\n\n(.*?)\n\n", text, re.S
    ).groups()
    header, *lines = [line.split() for line in table.splitlines()]
    front = [dict(zip(header, line, strict=True)) for line in lines]
    undominated = {
        number
        for number, (loss, ms) in points.items()
        if not any(a <= loss and b <= ms and (a, b) != (loss, ms) for a, b in points.values())
    }
    assert {int(row["number"]) for row in front} == undominated
    assert len(front) == int(heading) == len(undominated)
    for row in front:
        loss, ms = points[int(row["number"])]
        assert (row["val_loss"], row["ms_per_step"]) == (f"{loss:.3f}", f"{ms:.3f}")
        assert float(row["median_ms"]) > 0
        assert row["in_both"] in ("True", "False")
    # The lowest loss is on both fronts at any step times.
    assert min(front, key=lambda row: points[int(row["number"])])["in_both"] == "True"
    assert [int(row["number"]) for row in front] == sorted(undominated, key=lambda n: points[n][1])

    page = (tmp_path / "accuracy_vs_speed.html").read_text(encoding="utf-8")
    assert "not dominated" in page


@slow
def test_uncertainty(tmp_path):
    kinds = ["as they are", *(f"turned by {angle}" for angle in (30, 60, 90))]
    kinds += [f"noise of {level}" for level in (0.2, 0.5)]
    text = ran("uncertainty.py", tmp_path)
    uncertain, compared = text.split("Predictions without dropout")
    accuracy, confidence, entropy, disagreement, _ = np.transpose(rows(uncertain, *kinds))
    assert accuracy[0] == max(accuracy) > 0.6
    assert accuracy[5] < accuracy[4] < accuracy[0]
    assert confidence[5] < confidence[4] < confidence[0]
    assert entropy[0] < entropy[4] < entropy[5] < np.log(10)
    assert entropy[0] < entropy[1]
    assert disagreement[0] < disagreement[4] < disagreement[5]
    assert (disagreement > 0).all()
    assert (disagreement < entropy).all()
    measured = np.array(rows(compared, *kinds))
    assert (measured[:, 1] == accuracy).all()
    assert (measured[:, 3] > 0).all()
    # The calibration error over bins is at least that of all predictions together.
    assert (measured[:, 5] >= abs(confidence - accuracy) - 0.002).all()


@slow
def test_without_dropout_there_is_no_uncertainty_to_see(tmp_path):
    small = "--rate 0 --epochs 2 --samples 3 --train-samples 100"
    text = ran("uncertainty.py", tmp_path, small)
    uncertain, compared = text.split("Predictions without")
    ((_, _, entropy, disagreement, plain),) = rows(uncertain, "turned by 30")
    assert abs(disagreement) < 0.001
    assert entropy == pytest.approx(plain, abs=0.002)
    ((a, b, c, d, e, f),) = rows(compared, "turned by 30")
    assert (a, c, e) == pytest.approx((b, d, f), abs=0.002)


NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


@slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook(name, tmp_path, monkeypatch):
    """Each runs from its first cell to its last, and shows results as a notebook does."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")  # As it is for a user.
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "outputs are not committed"
    (parameters,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", ())]
    parameters.source = "TRIALS, EPOCHS = 3, 1"
    where = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where)
    client.execute()  # It raises what a cell raises.
    outputs = [output for cell in cells for output in cell.outputs]
    red = "".join(each.text for each in outputs if each.get("name") == "stderr")
    # The other one imports Keras, which loads TensorFlow, before this package.
    assert name == "own_model.ipynb" or "0000 00:00:" not in red
    kinds = [set(output.get("data", ())) for output in outputs]
    assert sum("text/html" in kind for kind in kinds) >= 3
    assert f"`{name}`" in (ROOT / "docs/examples.md").read_text(encoding="utf-8")
