"""The package as a whole: what it exports, how its parts may import each other, what importing it costs."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import recdrop_tune

PACKAGE = Path(recdrop_tune.__file__).parent
ROOT = PACKAGE.parent

# Each may import only what stands before it, and itself.
ORDER = [
    "lazy",
    "errors",
    "backends",
    "documents",
    "markdown",
    "addresses",
    "files",
    "catalog",
    "hyperparameters",
    "encoding",
    "data_description",
    "optuna_forms",
    "states",
    "events",
    "records",
    "standing",
    "journal",
    "session",
    "comparison",
    "rewrites",
    "kernels",
    "wrappers",
    "models",
    "spaces",
    "hypermodels",
    "terminal",
    "mlflow_store",
    "oracle",
    "tuner",
    "ray_workers",
    "results",
    "search",
    "cli",
]
"""The layers of the package, from the ground up."""


def test_exported_names():
    for name in recdrop_tune.__all__:
        assert getattr(recdrop_tune, name) is not None
        assert name in dir(recdrop_tune)


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'recdrop_tune' has no attribute 'tunes'"):
        _ = recdrop_tune.tunes


def test_version_is_the_same_everywhere():
    assert recdrop_tune.__version__ == metadata.version("recdrop-tune")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert recdrop_tune.__version__ == project["version"] == citation["version"]
    assert project["license"] == citation["license"]


def layer_of(module):
    """`recdrop_tune.mlflow_store.writer` belongs to the layer `mlflow_store`."""
    return module.split(".")[1] if module.count(".") else None


def imports_of(path):
    """Every module of this package that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__"
)


def test_imports_point_one_way():
    wrong = []
    for path in FILES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert own in ORDER, f"{own} has no place in the order of layers"
        layers = {m: layer_of(m) for m in imports_of(path) if m.startswith("recdrop_tune.")}
        name = path.relative_to(PACKAGE)
        wrong += [f"{name} imports {m}" for m, at in layers.items() if ORDER.index(own) < where(at)]
        # A folder's `__init__` lists its public names.
        inner = [m for m, at in layers.items() if at != own and is_module_in_a_folder(m)]
        wrong += [f"{name} imports {m}, which is inside of another folder" for m in inner]
    assert wrong == []


def test_the_modules_of_a_folder_import_one_way():
    """Imports in functions and for types count too."""
    modules = {
        f"recdrop_tune.{'.'.join(each.relative_to(PACKAGE).with_suffix('').parts)}": each
        for each in FILES
    }
    graph = {
        name: modules.keys() & set(imports_of(path))
        for name, path in modules.items()
        if path.name != "__init__.py"
    }
    TopologicalSorter(graph).prepare()  # Raises for a circle.


def is_module_in_a_folder(module):
    parts = module.split(".")[1:]
    return len(parts) > 1 and PACKAGE.joinpath(*parts).with_suffix(".py").exists()


def where(layer):
    return ORDER.index(layer) if layer in ORDER else -1


HEAVY = ["tensorflow", "keras", "keras_tuner", "mlflow", "optuna", "pandas", "ray"]


WITHOUT_MLFLOW = """
import sys
from tests.small_search import tuned
result = tuned(sys.argv[1], None)
result.summary(), result.best_model(), type(result).load(sys.argv[1]).summary()
print([name for name in sys.modules if name.split(".")[-1] in ("mlflow", "mlflow_store")])
"""


@pytest.mark.heavy
def test_a_search_without_mlflow_does_not_load_it(tmp_path):
    command = [sys.executable, "-c", WITHOUT_MLFLOW, tmp_path / "search"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_states_are_named_in_one_file():
    """Others compare members of `TrialState`, `SearchOutcome` and Keras Tuner's `TrialStatus`."""
    state = r'"(RUNNING|COMPLETED?|STOPPED|PRUNED|INVALID|FAILED|INTERRUPTED|KILLED|FINISHED)"'
    naming = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(state, path.read_text())
    ]
    assert sorted(naming) == ["events.py", "states.py"]  # `STOPPED` is why a search ended early.


def test_internals_of_keras_are_touched_in_one_file():
    touching = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"keras\.src|tensorflow\.python|\._flatten_layers", path.read_text())
    ]
    assert touching == ["kernels/keras_internals.py"]
