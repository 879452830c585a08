"""A project folder can come from a stranger: nothing in it is run, and no path in it leads out of it."""

import ast
import io
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import keras
import keras_tuner as kt
import mlflow
import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from sklearn.linear_model import RidgeClassifier

import recdrop_tune
import recdrop_tune as rdt
from recdrop_tune.errors import ProjectError
from recdrop_tune.events import ResultSaved
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store.artifacts import _load_pyfunc
from recdrop_tune.records import Records
from recdrop_tune.results import TuneResult
from recdrop_tune.terminal import Progress
from recdrop_tune.terminal.displays import LiveDisplay
from recdrop_tune.tuner import load_weights
from tests.commands import output_of, refusal_of
from tests.planted_search import description
from tests.small_search import build, contents, data, tuned
from tests.tracked_events import journaled

SOURCE = Path(recdrop_tune.__file__).parent


def search(folder, **options):
    return tuned(folder, rdt.MLflow(uri=f"sqlite:///{folder.parent}/mlflow.db"), **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, new_store):
    folder = tmp_path_factory.mktemp("whole") / "project"
    new_store(folder.parent)
    search(folder)
    return folder


@pytest.fixture
def project(whole, tmp_path):
    """A copy of a project next to a secret file."""
    shutil.copytree(whole.parent, tmp_path, dirs_exist_ok=True)
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "project"


def change_json(path, *keys, value):
    whole = json.loads(path.read_text())
    inner = whole
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(whole))


def change_events(project, kind, **values):
    path = project / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert any(line["event"] == kind for line in lines)
    changed = [{**line, **values} if line["event"] == kind else line for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in changed))


def with_files(*names):
    saved = ResultSaved(files=["result/trials.csv", *names], summary="", best_trial_id="0")
    return lambda project: journaled(project, saved)


def with_description(key, value):
    return lambda project: change_json(project / "result" / "best_model.json", key, value=value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_files("result/../../secret.txt"), "names '.*not in that folder"),
        (with_files("/etc/hostname"), "names '.*not in that folder"),
        (with_description("requirements", ["-r /etc/passwd"]), "does not describe the best model"),
        (with_description("fingerprint", "0' OR 'a' = 'a"), "does not describe the best model"),
        (lambda project: change_events(project, "SearchStarted", experiment=".."), "names the exp"),
    ],
)
def test_sync_refuses_what_no_search_writes(project, change, message):
    change(project)
    with pytest.raises(ProjectError, match=message):
        rdt.sync(project, f"sqlite:///{project.parent}/other.db")
    assert not (project.parent / "other.db").exists()


@pytest.mark.parametrize("keys", [("trial_id",), ("hyperparameters", "values", "tuner/trial_id")])
def test_trials_elsewhere_are_neither_read_nor_written(project, keys):
    before = sorted(os.listdir(project.parent))
    change_json(project / "trial_0" / "trial.json", *keys, value="a/../../outside")
    with pytest.raises(ProjectError, match=r"trial\.json` (is damaged|in .* names)"):
        search(project, max_trials=3)
    assert sorted(os.listdir(project.parent)) == before
    assert sorted(project.parent.parent.glob("outside*")) == []


OPERATIONS = {
    "resume": lambda project: search(project, max_trials=3),
    "overwrite": lambda project: search(project, overwrite=True),
    "report": lambda project: TuneResult.load(project).report(project / "report.html"),
    "sync": lambda project: rdt.sync(project, f"sqlite:///{project.parent}/other.db"),
    "another tuner": lambda project: rdt.Tuner(
        rdt.OptunaOracle("val_loss"), build, directory=project.parent, project_name=project.name
    ),
}


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside" / "trial_0").mkdir(parents=True)
    for name in ("secret", "events.jsonl", "search.json", "trial_0/trial.json"):
        (tmp_path / "outside" / name).write_text(f"secret {name}")
    return tmp_path / "outside"


LINKS = {
    "events.jsonl": "events.jsonl",
    "result": "trial_0",
    "trial_0/checkpoint.weights.h5": "missing",
}
"""Links in a project, and their targets in the folder outside; the last one would be a new file."""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_links_that_lead_out_of_a_project_are_refused(project, outside, operation):
    beside = sorted(os.listdir(project.parent))
    for name, target in LINKS.items():
        link, kept = project / name, project.parent / "kept"
        if link.exists():
            link.rename(kept)
        link.symlink_to(outside / target)
        before = contents(project), contents(outside)
        with pytest.raises(ProjectError, match=rf"{re.escape(name)}` is a link that leads out"):
            OPERATIONS[operation](project)
        assert (contents(project), contents(outside)) == before
        assert os.readlink(link) == str(outside / target)
        link.unlink()
        if kept.exists():
            kept.rename(link)
    assert sorted(os.listdir(project.parent)) == beside


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def model_with_code(mark):
    source = f"lambda x: [x, __import__('pathlib').Path({str(mark)!r}).touch()][0]"
    made = eval(source)  # As an attacker would make it.
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(made, output_shape=(3,))])
    mark.unlink(missing_ok=True)
    return model


def test_a_project_with_code_in_it_runs_none(project, tmp_path, new_store):
    mark = tmp_path / "ran"
    pickled = pickle.dumps(Bomb(mark))
    for folder in (project, project / "result", project / "trial_0"):
        for name in ("model.pickle", "custom_objects.cloudpickle", "checkpoint", "data.npy"):
            (folder / name).write_bytes(pickled)
    model_with_code(mark).save(project / "result" / "best_model.keras")
    mark.unlink(missing_ok=True)
    rdt.sync(project, new_store(tmp_path, "other.db"))
    result = search(project, max_trials=3)
    result.best_model()
    assert len(result.trials) == 3
    assert not mark.exists()
    pickle.loads(pickled)
    assert mark.exists()  # It would have.


@pytest.mark.filterwarnings("ignore::recdrop_tune.events.TrackingWarning")
def test_a_model_of_scikit_learn_is_not_unpickled(tmp_path, planted_uri):
    """Keras Tuner's `SklearnTuner` keeps pickles, which its `load_model` reads."""

    def search_again():
        def make(hp):
            return RidgeClassifier(alpha=hp.Float("alpha", 0.1, 1.0))

        oracle = kt.oracles.RandomSearchOracle(kt.Objective("score", "max"), 2)
        tuner = kt.SklearnTuner(oracle, make, directory=tmp_path, project_name="project")
        x, y = data(12)
        with rdt.track(tuner, rdt.MLflow("pickles", uri=planted_uri)):
            tuner.search(x.reshape(12, -1), y)
        return tuner

    assert len(search_again().oracle.trials) == 2
    for path in tmp_path.glob("project/trial_*/model.pickle"):
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    tuner = search_again()
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "project" / "result" / "trials.csv").exists()
    tuner.load_model(tuner.oracle.get_best_trials()[0])
    assert (tmp_path / "ran").exists()  # It would have.


CONTROL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
"""Text with control sequences of terminals."""


def change_wrappers(project, value):
    change_events(project, "TrialStarted", hyperparameters={"wrapper": value, "rate": 0.1})


def assert_harmless(text):
    assert not set(CONTROL) & set(text) - set("title]0;[2J31m")
    assert "\\x1b]0;title" in text


def test_a_report_prints_no_control_sequences(project):
    change_wrappers(project, CONTROL)
    change_events(project, "SearchStarted", context={"words": CONTROL}, name=CONTROL)
    assert_harmless(output_of("report", project))
    assert_harmless(TuneResult.load(project).summary())
    (project / "events.jsonl").write_text(f"{CONTROL}\n")
    assert_harmless(refusal_of("report", project))


def test_the_progress_of_a_search_prints_no_control_sequences(project):
    change_events(project, "SearchStarted", experiment=CONTROL)
    change_events(
        project, "TrialStarted", hyperparameters={"wrapper": CONTROL + "\ud800", "rate": 0.1}
    )
    events = Journal(project / "events.jsonl").read()
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    lines = Progress(console)
    for event in events[:-1]:  # Without the end, after which nothing is displayed.
        lines.on_event(event)
    console.print(LiveDisplay(Records(events[:-1])).draw())
    assert_harmless(console.file.getvalue())


MARKDOWN = "![x](http://host/pixel)[y](http://host)<img src=x>[z]: http://host WWW.host.org"


def assert_no_links(markdown):
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    found = [each for token in tokens for each in [token, *(token.children or [])]]
    forbidden = {"image", "link_open", "html_inline", "html_block"}
    assert not forbidden & {each.type for each in found}
    # Many viewers make links of bare addresses too.
    assert not re.search(r"://|www\.", markdown, re.IGNORECASE)


def test_descriptions_load_and_link_nothing(project, new_store):
    with pytest.raises(AssertionError):
        assert_no_links(f"| {MARKDOWN} |")
    change_wrappers(project, MARKDOWN)
    change_events(project, "SearchStarted", context={"words": MARKDOWN})
    text = description(TuneResult.load(project))
    assert text.count("http&#58;//host/pixel") > 1
    assert_no_links(text)
    # The summary of a journal is a stranger's as a whole.
    change_events(project, "ResultSaved", summary=f"# Result\n\n{MARKDOWN}\n\n| a |\n| --- |\n")
    for kind in ("SearchStarted", "TrialStarted"):
        change_events(project, kind, tags={"mlflow.note.content/": MARKDOWN, "team": "theirs"})
    uri = new_store(project.parent, "other.db")
    rdt.sync(project, uri)
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    notes = [run.data.tags.get("mlflow.note.content") for run in runs]
    (note,) = filter(None, notes)
    assert {run.data.tags["team"] for run in runs} == {"theirs"}
    links, _, words = note.partition("\n\n")
    assert re.fullmatch(r"(\[[\w ,]+\]\(#/experiments/1/runs\S+\)( · )?)+", links)
    assert words.startswith("# Result")
    assert_no_links(words)


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
    (tmp_path / "checkpoint.weights.h5").write_bytes(b"not HDF5")
    with pytest.raises(ProjectError, match="cannot be loaded: OSError"):
        load_weights(tmp_path, made)
    made.save_weights(tmp_path / "checkpoint.weights.h5")
    (tmp_path / "build_config.json").write_text('{"input_shape": "x"}')
    with pytest.raises(ProjectError, match="cannot be loaded"):
        load_weights(tmp_path, keras.Sequential([keras.layers.Dense(2)]))


RUNS_CODE = {"eval", "exec", "compile", "pickle", "cloudpickle", "marshal"}
RUNS_CODE |= {"joblib", "shelve", "dill"}


def calls(tree):
    """Yields the names of imported modules and called functions, with their nodes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            for name in (node.module or "", *(alias.name for alias in node.names)):
                yield name.partition(".")[0], node
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_the_package_loads_nothing_that_can_hold_code():
    """The list has every exception with its reason."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for name, node in calls(ast.parse(path.read_text(encoding="utf-8"))):
            words = {keyword.arg for keyword in getattr(node, "keywords", [])}
            loads = ("np.load", "yaml.load", "Loader", "loads_pickle", "load_model")
            if name in RUNS_CODE or name.endswith(loads) or words & {"allow_pickle", "safe_mode"}:
                found.add((path.relative_to(SOURCE).as_posix(), name))
    assert found == {
        ("tuner/recovery.py", "np.load"),  # without pickles
        ("tuner/recovery.py", "pickle"),  # into a hash; nothing is read
        ("models/copies.py", "keras.saving.deserialize_keras_object"),  # of a live object
        (
            "results/tune_result.py",
            "keras.models.load_model",
        ),  # in Keras's safe mode, when asked for
        ("results/tune_result.py", "self.tuner.load_model"),  # builds it, and loads its weights
        ("documents.py", "_Loader"),  # a subclass of the safe loader
        ("mlflow_store/artifacts.py", "mlflow.keras.load_model"),  # in Keras's safe mode
    }
