"""The code in the documentation runs, block after block."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import recdrop_tune
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


@pytest.mark.parametrize("path", sorted([*DOCS.glob("*.md"), DOCS.parent / "README.md"]), ids=str)
def test_arguments_exist(path):
    """Every call of this package in the documentation has arguments that there are."""
    for block in blocks(path, "python"):
        for call in ast.walk(ast.parse(block)):
            name = _called(call)
            if name is None:
                continue
            signature = inspect.signature(getattr(recdrop_tune, name))
            unknown = {word.arg for word in call.keywords} - set(signature.parameters)
            several = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
            assert several or not unknown, f"{name}: {unknown}"
            if name == "tune":  # What `Model.fit` takes is known too.
                assert unknown <= {"validation_split", "class_weight"}


def _called(node):
    """The name of the function of this package that is called, if it is one."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    owner = node.func.value
    ours = isinstance(owner, ast.Name) and owner.id in ("rdt", "recdrop_tune")
    return node.func.attr if ours else None
