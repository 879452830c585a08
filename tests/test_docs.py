"""The code in the documentation runs, block after block."""

import re
from pathlib import Path

import pytest

from recdrop_tune.spaces import SearchSpace

DOCS = Path(__file__).parents[1] / "docs"


def blocks(name, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / name).read_text(), re.DOTALL | re.M)


@pytest.mark.parametrize(
    ("name", "count"), [("hypermodels.md", 6), ("search-spaces.md", 1), ("tracking.md", 1)]
)
def test_code_runs(name, count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    code = blocks(name, "python")
    assert len(code) == count
    names = {}
    for block in code:
        exec(block, names)


def test_search_spaces_load(tmp_path):
    (text,) = blocks("search-spaces.md", "yaml")
    (tmp_path / "space.yaml").write_text(text)
    SearchSpace.load(tmp_path / "space.yaml")


def test_every_key_and_preset_is_documented():
    text = (DOCS / "search-spaces.md").read_text()
    for name in (*SearchSpace.model_fields, *SearchSpace.presets()):
        assert re.search(rf"^\| .*`{name}`.* \|", text, re.MULTILINE), name
