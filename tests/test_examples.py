"""Every example runs whole, at a tiny size, in a folder of its own, and prints its results."""

import os
import re
import runpy
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from itertools import product

import nbclient
import nbformat
import numpy as np
import pytest

from tests.pages import ROOT, have_fewer_digits

EXAMPLES = ROOT / "examples"

TINY = {
    "three_ways.py": "--cells gru --rates 0.3 --epochs 1 --seeds 1 --train-samples 32 --steps 3 --rounds 1",
    "japanese_vowels.py": "--trials 2 --epochs 1 --refits 1",
    "forecasting.py": "--trials 2 --epochs 1 --refits 1",
    "deploy_plain.py": "--trials 1 --epochs 1 --train-samples 32",
    "accuracy_vs_speed.py": "--trials 2 --epochs 1 --train-samples 32",
    "character_language_model.py": "--trials 2 --epochs 1 --confirm-seeds 1 --train-characters 1500"
    " --units 8",
    "compare_models.py": "--epochs 1 --seeds 2 --max-seeds 2 --train-samples 32",
    "uncertainty.py": "--epochs 2 --passes 3 --train-samples 32",
    "existing_keras_tuner.py": "--trials 2 --epochs 1",
}
"""The arguments that make an example small."""

IMAGES = 64
"""How many of scikit-learn's digits there are: half of them are trained on."""

EAGERLY = [
    "three_ways.py",
    "deploy_plain.py",
    "accuracy_vs_speed.py",
    "compare_models.py",
    "existing_keras_tuner.py",
]
"""Examples that are quicker without graphs. The others train on more steps, or use graphs themselves."""

ELSEWHERE = {
    "quickstart.py",  # .ci/run, with the wheel
    "ray_cluster.py",  # tests/ray_workers/test_ray.py
}
"""Examples that others run."""

RESULTS = {
    "three_ways.py": [
        r"^1 inside, each step +[\d.]+ +[\d.]+ +[\w ]+ +cuDNN",
        r"recdrop_runs/three-ways-",
    ],
    "japanese_vowels.py": [r"2 trials", r"^best +\w+ +\d", r"^no dropout +none +\d"],
    "forecasting.py": [
        r"^naive: the last second again +0\.746 ",  # These depend on the test split alone.
        r"^naive: the mean of the window +0\.587 ",
        r"^no dropout \(none\) +0\.[3-6]",  # A model that has learnt nothing: 0.6.
    ],
    "deploy_plain.py": [
        r"Layers of model.keras: InputLayer, LSTM, Dense\n",
        r"^Largest difference of a probability, keras: (0|\S+e-(0[7-9]|1\d))$",
        r"^Largest difference of a probability, saved_model: (0|\S+e-(0[7-9]|1\d))$",
    ],
    "accuracy_vs_speed.py": [r"The Pareto front, \d of 2 trials:\n"],
    "character_language_model.py": [r"the best model continues\n\n.{300}"],
    "compare_models.py": [
        r"(better|worse|difference|not known).*val_loss (lower|higher) by ",
        r"^[a-z ]*recurrent_dropout .* 2 ",
    ],
    "uncertainty.py": [
        r"as they are +0\.\d",
        r"noise of 0\.5 +0\.\d",
        "Predictions without dropout",
    ],
    "existing_keras_tuner.py": ["'wrapper': "],
}
"""What an example prints, as patterns."""


ON_SKTIME = ("japanese_vowels.py", "forecasting.py")
needs_sktime = pytest.mark.skipif(
    find_spec("sktime") is None,
    reason="the data ship with sktime, which keeps pandas below 3.1: .ci/run has an environment for it",
)


def slow(test):
    """Marks the test of an example that trains."""
    return pytest.mark.heavy(pytest.mark.timeout(900)(test))


def test_each_example_is_run_and_listed():
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert scripts == {*TINY, *ELSEWHERE}
    page = (ROOT / "docs/examples.md").read_text(encoding="utf-8")
    assert not [script for script in scripts if f"`{script}`" not in page]


@slow
@pytest.mark.parametrize(
    "script",
    [pytest.param(name, marks=[needs_sktime] if name in ON_SKTIME else []) for name in TINY],
)
def test_it_runs(script, tmp_path, monkeypatch, capfd, new_store, running_eagerly):
    """In this process, as a new one would take ten seconds to import TensorFlow and MLflow."""
    have_fewer_digits(monkeypatch, IMAGES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_store(tmp_path))
    monkeypatch.setattr(sys, "argv", [script, *TINY[script].split()])
    with running_eagerly() if script in EAGERLY else nullcontext():
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    printed = capfd.readouterr().out
    for pattern in RESULTS[script]:
        assert re.search(pattern, printed, re.MULTILINE | re.DOTALL), (pattern, printed)


@needs_sktime
def test_japanese_vowels_are_padded_on_the_right():
    """On that side cuDNN takes the mask; and no frame is taken for padding."""
    load_split = runpy.run_path(str(EXAMPLES / "japanese_vowels.py"))["load_split"]
    for split, utterances, longest in (("train", 270, 26), ("test", 370, 29)):
        x, y = load_split(split)
        assert x.shape == (utterances, 29, 12)
        assert set(y) == set(range(9))
        frames = (x != 0).any(axis=2)
        lengths = frames.sum(axis=1)
        assert (lengths.min(), lengths.max()) == (7, longest)
        assert (frames == (np.arange(29) < lengths[:, None])).all()


NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))

PARAMETERS = """%reset -f
%cd -q {folder}
TRIALS, EPOCHS = 2, 1
__import__("tensorflow").config.run_functions_eagerly(True)  # A graph takes longer to trace.
"""

SMALLER = {
    "seeds=3, max_seeds=5": "seeds=2, max_seeds=2",
    "train_size=300": "train_size=32, test_size=32",
    "images.astype": "images[:, :3].astype",
    "Input((8, 8))": "Input((3, 8))",
    "60 * 24": "15 * 24",
    "50 * 24": "10 * 24",
    "STEPS, HORIZON, STRIDE = 24, 6, 3": "STEPS, HORIZON, STRIDE = 3, 2, 6",
    "TimeSeriesSplit(3,": "TimeSeriesSplit(2,",
}
"""What else is replaced in the cells of a notebook."""


@pytest.fixture(scope="module")
def kernel():
    """Runs all notebooks: each of its own would import TensorFlow, MLflow and Plotly, for ten seconds."""
    client = nbclient.NotebookClient(nbformat.v4.new_notebook(), timeout=600, kernel_name="python3")
    as_of_a_user = {**os.environ}
    as_of_a_user.pop("TF_CPP_MIN_LOG_LEVEL")
    with client.setup_kernel(env=as_of_a_user):
        yield client


@slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook(name, tmp_path, kernel):
    """Each runs from its first cell to its last, and shows results as a notebook does."""
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "outputs are not committed"
    (parameters,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", ())]
    parameters.source = PARAMETERS.format(folder=tmp_path)
    for cell, (text, smaller) in product(cells, SMALLER.items()):
        cell.source = cell.source.replace(text, smaller)
    kernel.nb = notebook
    for index, cell in enumerate(notebook.cells):
        kernel.execute_cell(cell, index)  # It raises what the cell raises.
    kinds = [set(output.get("data", ())) for cell in cells for output in cell.outputs]
    assert sum("text/html" in kind for kind in kinds) >= 3
    # A page that is made of the notebook shows its figures, too.
    assert all("text/html" in kind for kind in kinds if any("plotly" in form for form in kind))
    assert f"`{name}`" in (ROOT / "docs/examples.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_page_of_a_notebook_has_its_cells(name):
    """`python -m docs.tutorials` writes it."""
    page = (ROOT / "docs/tutorials" / name).with_suffix(".md").read_text(encoding="utf-8")
    cells = nbformat.read(EXAMPLES / name, as_version=4).cells[1:]
    assert all(cell.source in page for cell in cells)
