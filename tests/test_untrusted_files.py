"""A project folder may come from somebody else: nothing in it is run, and no path in it leads out of it."""

import ast
import json
import os
import pickle
import shutil
from pathlib import Path

import keras
import mlflow
import pytest
from hypothesis import strategies as st

import recdrop_tune
import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError, ProjectWarning, RecdropError
from recdrop_tune.executors import _files as sent_files
from recdrop_tune.oracle import inside, trial_folder
from recdrop_tune.tracking import (
    ConfirmationEnded,
    Journal,
    ResultSaved,
    TrackingWarning,
)
from recdrop_tune.tracking._pyfunc import _load_pyfunc
from recdrop_tune.tuner import load_weights
from tests.fuzzing import hold, profiles
from tests.small_search import build, data

SOURCE = Path(recdrop_tune.__file__).parent


def search(folder, **options):
    common = {"hypermodel": build, "max_trials": 2, "epochs": 1, "seed": 0, "verbose": 0}
    uri = f"sqlite:///{folder.parent}/mlflow.db"
    return rdt.tune(data(8), data(8), directory=folder, tracking_uri=uri, **{**common, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "project"
    search(folder)
    return folder


@pytest.fixture
def project(whole, tmp_path):
    """A copy of a project, to be changed; beside it lies what is nobody's business."""
    shutil.copytree(whole.parent, tmp_path, dirs_exist_ok=True)
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "project"


def add_event(project, event):
    journal = Journal(project / "events.jsonl")
    journal.on_event(event)
    journal.close()


def saved(name):
    return ResultSaved(files=["result/trials.csv", name], summary="", best_trial_id="0")


@pytest.mark.parametrize(
    "name", ["../secret.txt", "result/../../secret.txt", "/etc/hostname", "a\0b"]
)
def test_files_elsewhere_are_not_sent(project, name):
    add_event(project, saved(name))
    with pytest.raises(
        ProjectError, match=r"`events\.jsonl` in .* names '.*nothing in that folder"
    ):
        rdt.sync(project, f"sqlite:///{project.parent}/other.db")
    assert not (project.parent / "other.db").exists()


def test_links_to_files_elsewhere_are_not_followed(project):
    (project / "result" / "trials.csv").unlink()
    (project / "result" / "trials.csv").symlink_to(project.parent / "secret.txt")
    with pytest.raises(ProjectError, match=r"names 'result/trials\.csv'"):
        rdt.sync(project, f"sqlite:///{project.parent}/other.db")
    assert not (project.parent / "other.db").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"requirements": ["keras==3.0", "-r /etc/passwd"]},
        {"requirements": ["keras @ file:///tmp/evil"]},
        {"requirements": "keras"},
        {"fingerprint": "0' OR 'a' = 'a"},
        {"plain": [1]},
        {"hyperparameters": None},
    ],
    ids=str,
)
def test_a_changed_description_of_the_model_is_refused(project, change):
    card = project / "result" / "best_model.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), **change}))
    with pytest.raises(ProjectError, match=r"best_model\.json` does not describe the best model"):
        rdt.sync(project, f"sqlite:///{project.parent}/other.db")
    assert not (project.parent / "other.db").exists()


def test_a_store_in_the_journal_has_to_be_one(project):
    path = project / "events.jsonl"
    path.write_text(path.read_text().replace("sqlite:///", "file:///"))
    with pytest.raises(RecdropError, match=r"`tracking_uri`.*a database or a server"):
        rdt.sync(project)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@profiles
def test_lines_that_are_no_events_are_left_out(profile, project):
    """Whatever line is changed, the journal can be read, and the rest of it is there."""
    path = project / "events.jsonl"
    lines = path.read_text().splitlines()
    changes = st.tuples(
        st.integers(0, len(lines) - 1),
        st.sampled_from(sorted({key for line in lines for key in json.loads(line)})),
        json_values,
    )

    def check(change):
        number, key, value = change
        changed = [
            *lines,
            json.dumps(value),
            "[" * 100_000,
            '{"event": 1}',
            '{"seconds": 1' + "0" * 5000,
        ]
        changed[number] = json.dumps({**json.loads(lines[number]), key: value})
        path.write_text("\n".join(changed) + "\n")
        events = Journal(path).read()
        assert len(events) >= len(lines) - 1
        for event in events:
            assert isinstance(event.time, float)
            assert isinstance(getattr(event, "trial_id", ""), str)
            assert all(isinstance(each, float) for each in getattr(event, "metrics", {}).values())

    hold(profile, 60, changes, check)


def change_json(path, *keys, value):
    whole = json.loads(path.read_text())
    inner = whole
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(whole))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("trial_id",), "../../outside"),
        (("trial_id",), "/outside"),
        (("trial_id",), "a/b"),
        (("hyperparameters", "values", "tuner/trial_id"), "../../outside"),
        (("hyperparameters", "values", "tuner/trial_id"), 3),
    ],
)
def test_trials_elsewhere_are_neither_read_nor_written(project, keys, value):
    before = sorted(os.listdir(project.parent))
    change_json(project / "trial_0" / "trial.json", *keys, value=value)
    with pytest.raises(ProjectError, match=r"`trial\.json` in .* names"):
        search(project, max_trials=3)
    assert sorted(os.listdir(project.parent)) == before
    assert sorted(project.parent.parent.glob("outside*")) == []


NO_OBJECTS = ["", "[]", "{}", '"x"', "[" * 100_000, "\0"]


@pytest.mark.parametrize("content", NO_OBJECTS)
def test_a_damaged_description_of_the_search(project, content):
    (project / "search.json").write_text(content)
    (project / "events.jsonl").unlink()  # It has all of that too.
    with pytest.raises(RecdropError, match=r"search\.json` is damaged"):
        search(project, max_trials=3)


@pytest.mark.parametrize("name", ["oracle.json", "trial_0/trial.json"])
@pytest.mark.parametrize("content", NO_OBJECTS)
def test_damaged_files_are_kept_and_made_anew(project, name, content):
    path, whole = project / name, json.loads((project / name).read_text())
    path.write_text(content)
    with pytest.warns(ProjectWarning, match=f"{path.name}` was damaged or missing"):
        result = search(project, max_trials=3)
    assert set(result.trials["state"]) == {"COMPLETE"}
    assert len(result.trials) == 3
    assert path.with_name(f"{path.name}.damaged").read_text() == content
    if name != "oracle.json":
        assert json.loads(path.read_text()) == whole


def test_a_confirmation_of_a_trial_that_is_not_there(project):
    add_event(project, ConfirmationEnded(trial_id="../../outside", repeat=0, seed=1, score=0.1))
    with pytest.warns(TrackingWarning, match="The result was not saved: ProjectError"):
        result = search(project)
    with pytest.raises(
        ProjectError, match=r"events\.jsonl` tells of a confirmation of the trial '\.\./"
    ):
        result.best_model()
    assert not (project.parent / "outside").exists()


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def model_with_code(mark):
    source = f"lambda x: [x, __import__('pathlib').Path({str(mark)!r}).touch()][0]"
    made = eval(source)  # As somebody who means ill would make it.
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(made, output_shape=(3,))])
    mark.unlink(missing_ok=True)
    return model


def test_a_project_with_code_in_it_runs_none(project, tmp_path):
    mark = tmp_path / "ran"
    pickled = pickle.dumps(Bomb(mark))
    for folder in (project, project / "result", project / "trial_0"):
        for name in ("model.pickle", "custom_objects.cloudpickle", "checkpoint", "data.npy"):
            (folder / name).write_bytes(pickled)
    model_with_code(mark).save(project / "result" / "best_model.keras")
    mark.unlink(missing_ok=True)
    rdt.sync(project, f"sqlite:///{tmp_path}/other.db")
    result = search(project, max_trials=3)
    result.best_model()
    assert len(result.trials) == 3
    assert not mark.exists()
    pickle.loads(pickled)
    assert mark.exists()  # It would have.


def test_a_logged_model_with_code_in_it_is_not_loaded(tmp_path):
    mark = tmp_path / "ran"
    model = model_with_code(mark)
    mlflow.keras.save_model(model, str(tmp_path / "model"), pip_requirements=["keras"])
    mark.unlink(missing_ok=True)
    with pytest.raises(ValueError, match="Lambda"):
        _load_pyfunc(str(tmp_path / "model"))
    assert not mark.exists()


def test_weights_that_are_damaged(tmp_path):
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    made.save_weights(tmp_path / "checkpoint.weights.h5")
    for content in ("[", "[1]", '{"input_shape": "x"}', '{"input_shape": [null, -3]}'):
        (tmp_path / "build_config.json").write_text(content)
        with pytest.raises(ProjectError, match="cannot be loaded"):
            load_weights(tmp_path, keras.Sequential([keras.layers.Dense(2)]))
    (tmp_path / "checkpoint.weights.h5").write_bytes(b"not HDF5")
    with pytest.raises(ProjectError, match="cannot be loaded: OSError"):
        load_weights(tmp_path, made)


@pytest.mark.parametrize(
    "name", ["..", "../a", "a/../../b", "/a", "a\0", 3, None, ["a"], "\ud800/../.."]
)
def test_paths_out_of_the_folder(tmp_path, name):
    with pytest.raises(ProjectError, match=r"`a\.json` in `.*` names"):
        inside(tmp_path / "project", name, "a.json")
    with pytest.raises(ProjectError, match=r"`a\.json` in `.*` names"):
        trial_folder(tmp_path / "project", "../x" if name == ".." else name, "a.json")


def test_paths_in_the_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "project")
    assert inside(tmp_path / "project", "result/a..b", "a.json").name == "a..b"
    assert inside(tmp_path / "link", "a", "a.json") == tmp_path / "link" / "a"
    assert trial_folder(tmp_path, "..", "a.json").name == "trial_.."


def test_files_of_a_trial_that_are_sent_stay_in_its_folder(tmp_path):
    sent_files.write(tmp_path / "trial_0", {"../../a.h5": b"a", "/b.h5": b"b"})
    assert sorted(os.listdir(tmp_path / "trial_0")) == ["a.h5", "b.h5"]
    assert os.listdir(tmp_path) == ["trial_0"]


RUNS_CODE = {
    "eval",
    "exec",
    "compile",
    "pickle",
    "cloudpickle",
    "marshal",
    "joblib",
    "shelve",
    "dill",
}


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            yield from (
                (name.partition(".")[0], node)
                for name in [*names, getattr(node, "module", "") or ""]
            )
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_in_the_package_reads_what_can_hold_code():
    """Loads are few: each is listed here with what makes it harmless."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for name, node in calls(ast.parse(path.read_text(encoding="utf-8"))):
            words = {
                keyword.arg: ast.unparse(keyword.value) for keyword in getattr(node, "keywords", [])
            }
            last = name.rpartition(".")[2]
            risky = name in RUNS_CODE or name.endswith(
                ("np.load", "yaml.load", "Loader", "loads_pickle")
            )
            if risky or last == "load_model" or "allow_pickle" in words or "safe_mode" in words:
                found.add((path.relative_to(SOURCE).as_posix(), name))
    assert found == {
        ("models/_plain.py", "keras.saving.deserialize_keras_object"),  # of a live object
        ("results/tune_result.py", "self.tuner.load_model"),  # builds it, and loads its weights
        ("spaces/_yaml.py", "_Loader"),  # a subclass of the safe loader
        ("tracking/_pyfunc.py", "mlflow.keras.load_model"),  # in Keras's safe mode
    }
