"""A project folder may come from somebody else: nothing in it is run, and no path in it leads out of it."""

import ast
import contextlib
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
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console
from sklearn.linear_model import RidgeClassifier

import recdrop_tune
import recdrop_tune as rdt
from recdrop_tune.cli import main
from recdrop_tune.errors import ProjectError, ProjectWarning, RecdropError, SearchSpaceError
from recdrop_tune.events import ConfirmationEnded, Journal, ResultSaved, TrackingWarning
from recdrop_tune.files import write_all
from recdrop_tune.mlflow_store.artifacts import _load_pyfunc
from recdrop_tune.paths import inside, trial_folder
from recdrop_tune.results import TuneResult
from recdrop_tune.results.text import markdown
from recdrop_tune.terminal import LiveDisplay, Progress
from recdrop_tune.tuner import load_weights
from tests.fuzzing import hold, profiles
from tests.small_search import build, data

SOURCE = Path(recdrop_tune.__file__).parent


def search(folder, **options):
    common = {"model": build, "max_trials": 2, "epochs": 1, "seed": 0, "verbose": 0}
    common["tracking"] = rdt.MLflow(uri=f"sqlite:///{folder.parent}/mlflow.db")
    return rdt.tune(data(8), data(8), directory=folder, **{**common, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory, new_store):
    folder = tmp_path_factory.mktemp("whole") / "project"
    new_store(folder.parent)
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
    with pytest.raises(ProjectError, match=r"result/trials\.csv` is a symbolic link"):
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
def test_a_changed_line_is_an_event_or_damage(profile, project):
    path = project / "events.jsonl"
    lines = path.read_text().splitlines()
    changes = st.tuples(
        st.integers(0, len(lines) - 1),
        st.sampled_from(sorted({key for line in lines for key in json.loads(line)})),
        json_values,
    )

    def check(change):
        number, key, value = change
        changed = [*lines]
        changed[number] = json.dumps({**json.loads(lines[number]), key: value})
        path.write_text("\n".join(changed) + "\n")
        with contextlib.suppress(ProjectError):
            for event in Journal(path).read():
                assert isinstance(event.time, float)
                assert isinstance(getattr(event, "trial_id", ""), str)
                metrics = getattr(event, "metrics", {}).values()
                assert all(isinstance(each, float) for each in metrics)

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


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000])
def test_damaged_files_are_kept_and_made_anew(project, content):
    paths = [project / "oracle.json", project / "trial_0" / "trial.json"]
    whole = json.loads(paths[1].read_text())
    for path in paths:
        path.write_text(content)
    with pytest.warns(ProjectWarning) as caught:
        result = search(project, max_trials=3)
    said = " ".join(str(each.message) for each in caught if each.category is ProjectWarning)
    assert set(result.trials["state"]) == {"COMPLETE"}
    assert len(result.trials) == 3
    for path in paths:
        assert f"{path.name}` was damaged or missing" in said
        assert path.with_name(f"{path.name}.damaged").read_text() == content
    assert json.loads(paths[1].read_text()) == whole


def test_a_confirmation_of_a_trial_that_is_not_there(project):
    add_event(project, ConfirmationEnded(trial_id="../../outside", repeat=0, seed=1, score=0.1))
    with pytest.warns(TrackingWarning, match="The result was not saved: ProjectError"):
        result = search(project)
    with pytest.raises(
        ProjectError, match=r"events\.jsonl` tells of a confirmation of the trial '\.\./"
    ):
        result.best_model()
    assert not (project.parent / "outside").exists()


OPERATIONS = {
    "resume": lambda project: search(project, max_trials=3),
    "overwrite": lambda project: search(project, overwrite=True),
    "report": lambda project: TuneResult.load(project).report(project / "report.html"),
    "sync": lambda project: rdt.sync(project, f"sqlite:///{project.parent}/other.db"),
    "another tuner": lambda project: rdt.Tuner(
        rdt.OptunaOracle("val_loss"), build, directory=project.parent, project_name=project.name
    ),
}

MADE_FOR_A_WHILE = [
    "report.html",
    "overwritten",
    "deleted",
    "result.old",
    "several-workers",
    "mlflow.db",
    "mlflow.db-wal",
    "trial_2",
    "trial_2/trial.json",
    "trial_2/checkpoint.weights.h5",
    "confirmed",
    "confirmed/trial_0/build_config.json",
    "result/new.txt",
]
"""What a finished search does not leave, but one that goes on, or is deleted, makes."""


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside" / "trial_0").mkdir(parents=True)
    for name in ("secret", "events.jsonl", "search.json", "trial_0/trial.json"):
        (tmp_path / "outside" / name).write_text(f"secret {name}")
    return tmp_path / "outside"


def test_the_search_leaves_what_is_tried_with_links(whole):
    """Else the tests below would try less than there is."""
    names = {str(path.relative_to(whole)) for path in whole.rglob("*")}
    expected = {"events.jsonl", "search.json", "oracle.json", "tuner0.json"}
    expected |= {"trial_1/checkpoint.weights.h5", "trial_1/build_config.json"}
    expected |= {"trial_1/trial.json", "result/best_model.keras", "result/summary.md"}
    assert names >= expected
    assert names & set(MADE_FOR_A_WHILE) == set()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_link_in_a_project_is_followed(project, outside, operation):
    names = [str(path.relative_to(project)) for path in project.rglob("*")]
    there, before, beside = contents(project), contents(outside), sorted(os.listdir(project.parent))
    targets = [outside, outside / "secret", outside / "not there"]
    for number, name in enumerate([*names, *MADE_FOR_A_WHILE]):
        link, kept = project / name, project.parent / "kept"
        if name in names:
            os.rename(link, kept)
        above = [path for path in link.parents if not path.exists()]
        link.parent.mkdir(parents=True, exist_ok=True)
        target = targets[number % 3] if name not in names else targets[not kept.is_dir()]
        link.symlink_to(target)
        with pytest.raises(ProjectError, match=rf"{re.escape(name)}` is a symbolic link"):
            OPERATIONS[operation](project)
        assert contents(outside) == before, name
        assert os.readlink(link) == str(target)
        link.unlink()
        for path in above:
            path.rmdir()
        if name in names:
            os.rename(kept, link)
        assert contents(project) == there, name
    assert sorted(os.listdir(project.parent)) == beside


@pytest.mark.parametrize("operation", OPERATIONS)
def test_pipes_in_a_project_are_not_waited_for(project, operation):
    for name in ("events.jsonl", "trial_0/trial.json", "result/best_model.json", "oracle.json"):
        os.rename(project / name, project.parent / "kept")
        os.mkfifo(project / name)
        with pytest.raises(ProjectError, match=rf"{re.escape(name)}` is a named pipe"):
            OPERATIONS[operation](project)
        os.unlink(project / name)
        os.rename(project.parent / "kept", project / name)


def test_a_project_behind_a_link_goes_on(project):
    link = project.with_name("link")
    link.symlink_to(project)
    assert len(search(link, max_trials=3).trials) == 3
    assert TuneResult.load(link).report(link / "report.html").exists()


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


@pytest.mark.filterwarnings("ignore::recdrop_tune.events.TrackingWarning")
def test_a_model_of_scikit_learn_is_not_unpickled_by_itself(tmp_path):
    """Keras Tuner's `SklearnTuner` keeps pickles, one of which `load_model` reads."""

    def search_again():
        def make(hp):
            return RidgeClassifier(alpha=hp.Float("alpha", 0.1, 1.0))

        oracle = kt.oracles.RandomSearchOracle(kt.Objective("score", "max"), 2)
        tuner = kt.SklearnTuner(oracle, make, directory=tmp_path, project_name="project")
        x, y = data(12)
        with rdt.track(tuner, rdt.MLflow("pickles", uri=f"sqlite:///{tmp_path}/a.db")):
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


def numeric_search(folder, trials, sampler="cmaes"):
    """Tries formulas in place of models, with the sampler that pickles its state."""
    hp = kt.HyperParameters()
    hp.Float("x", -1.0, 1.0)
    hp.Float("optimizer", -1.0, 1.0)

    class Formula(kt.Tuner):
        def run_trial(self, trial, *args, **kwargs):
            return trial.hyperparameters["x"] ** 2 + trial.hyperparameters["optimizer"] ** 2

    oracle = rdt.OptunaOracle(
        kt.Objective("score", "min"), trials, sampler=sampler, hyperparameters=hp, seed=0
    )
    oracle.verbose = 0
    # So that enqueued values are in the attributes of a trial too, one named like a state among them.
    oracle.enqueue({"x": 0.5, "optimizer": 0.5})
    tuner = Formula(oracle, directory=folder, project_name="numeric")
    tuner.search()
    return tuner.oracle


def generations(oracle):
    return [trial.system_attrs.get("cma:generation", -1) for trial in oracle.study.trials]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_pickle_among_the_notes_is_not_read(tmp_path):
    """Optuna's CMA-ES unpickles what the last trial has as its state."""
    pytest.importorskip("cmaes")
    before = numeric_search(tmp_path, 20)
    first = before.study.trials[0].params
    states = [t for t in before.study.trials if "cma:optimizer:0" in t.system_attrs]
    assert states  # Else nothing would be unpickled.
    path, mark = tmp_path / "numeric" / "oracle.json", tmp_path / "ran"
    code = pickle.dumps(Bomb(mark)).hex()
    state = json.loads(path.read_text())
    assert "optimizer:" not in json.dumps(state["optuna"]["attributes"])
    for trial in states:
        state["optuna"]["attributes"][str(trial.number)]["cma:optimizer:0"] = code
    path.write_text(json.dumps(state))
    after = numeric_search(tmp_path, 40)
    assert not mark.exists()
    assert len(after.trials) == 40
    # It goes on: with the generations that there were, and then with new ones.
    assert max(generations(after)[:20]) < max(generations(after)[20:])
    assert after.study.trials[0].params == first
    pickle.loads(bytes.fromhex(code))
    assert mark.exists()  # It would have.


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_cma_es_makes_up_for_its_state_from_the_trials(tmp_path):
    """One generation a trial: the state that it comes to is the one that it had."""
    pytest.importorskip("cmaes")
    before = numeric_search(tmp_path, 30)
    last = max(generations(before))
    state = [t for t in before.study.trials if "cma:optimizer:0" in t.system_attrs][-1]
    had = restored(state)
    after = numeric_search(tmp_path, 30 + last)
    states = [t for t in after.study.trials if "cma:optimizer:0" in t.system_attrs]
    again = next(s for s in map(restored, states) if s.generation == had.generation)
    np.testing.assert_allclose(again.mean, had.mean)
    np.testing.assert_allclose(again._C, had._C)


def restored(trial):
    keys = sorted(k for k in trial.system_attrs if k.startswith("cma:optimizer"))
    return pickle.loads(bytes.fromhex("".join(trial.system_attrs[key] for key in keys)))


OBEYED = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
"""What a terminal would obey."""


def change_events(project, kind, **values):
    path = project / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert any(line["event"] == kind for line in lines)
    changed = [{**line, **values} if line["event"] == kind else line for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in changed))


def change_wrappers(project, value):
    for path in project.glob("trial_*/trial.json"):
        change_json(path, "hyperparameters", "values", "wrapper", value=value)


def assert_obeyed_by_none(text):
    assert not set(OBEYED) & set(text) - set("title]0;[2J31m")
    assert "\\x1b]0;title" in text


def test_a_report_prints_nothing_that_a_terminal_obeys(project):
    change_wrappers(project, OBEYED)
    change_events(project, "SearchStarted", context={"words": OBEYED}, name=OBEYED)
    done = CliRunner().invoke(main, ["report", str(project)])
    assert done.exit_code == 0, done.output
    assert_obeyed_by_none(done.output)
    assert_obeyed_by_none(TuneResult.load(project).summary())
    change_json(project / "oracle.json", "hyperparameters", "space", 0, "class_name", value=OBEYED)
    failed = CliRunner().invoke(main, ["report", str(project)])
    assert failed.exit_code == 1
    assert_obeyed_by_none(failed.output)


def test_the_progress_of_a_search_prints_nothing_that_a_terminal_obeys(project):
    change_events(project, "SearchStarted", experiment=OBEYED)
    change_events(
        project, "TrialStarted", hyperparameters={"wrapper": OBEYED + "\ud800", "rate": 0.1}
    )
    events = Journal(project / "events.jsonl").read()
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    lines, display = Progress(console), LiveDisplay()
    for event in events[:-1]:  # Without the end, after which nothing is displayed.
        lines.on_event(event)
        display.on_event(event)
    console.print(display.draw())
    assert_obeyed_by_none(console.file.getvalue())


MARKDOWN = "![x](http://host/pixel)[y](http://host)<img src=x>[z]: http://host WWW.host.org"


def assert_no_links(markdown):
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    found = [each for token in tokens for each in [token, *(token.children or [])]]
    assert {each.type for each in found} & {
        "image",
        "link_open",
        "html_inline",
        "html_block",
    } == set()
    # Many viewers make links of bare addresses too.
    assert not re.search(r"://|www\.", markdown, re.IGNORECASE)


def test_descriptions_load_and_link_nothing(project):
    with pytest.raises(AssertionError):
        assert_no_links(f"| {MARKDOWN} |")
    change_wrappers(project, MARKDOWN)
    change_events(project, "SearchStarted", context={"words": MARKDOWN})
    text = markdown(TuneResult.load(project), {"best_model.keras": MARKDOWN})
    assert text.count("http&#58;//host/pixel") > 2
    assert_no_links(text)
    # The summary of a journal is a stranger's as a whole.
    change_events(project, "ResultSaved", summary=f"# Result\n\n{MARKDOWN}\n\n| a |\n| --- |\n")
    uri = f"sqlite:///{project.parent}/other.db"
    rdt.sync(project, uri)
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    notes = [run.data.tags.get("mlflow.note.content") for run in runs]
    (note,) = filter(None, notes)
    links, _, words = note.partition("\n\n")
    assert re.fullmatch(r"(\[[\w ,]+\]\(#/experiments/1/runs\S+\)( · )?)+", links)
    assert words.startswith("# Result")
    assert_no_links(words)


@pytest.mark.parametrize("name", ["..", " ", "a\nb", "x" * 501])
def test_an_experiment_of_no_name_is_refused(project, name):
    change_events(project, "SearchStarted", experiment=name)
    with pytest.raises(ProjectError, match=r"`events\.jsonl` in .* names the experiment"):
        rdt.sync(project, f"sqlite:///{project.parent}/other.db")
    assert not (project.parent / "other.db").exists()


HUGE = "1" + "0" * 400
NUMBERS = [
    ("trial_0/trial.json", '"step": 0', f'"step": {HUGE}'),
    ("trial_0/trial.json", r'"value": \[[^]]*\]', f'"value": [{HUGE}]'),
    ("trial_0/trial.json", '"max_value": 0.5', f'"max_value": {HUGE}'),
    ("trial_0/trial.json", '"best_step": 0', '"best_step": 1e400'),
]


@pytest.mark.parametrize(("name", "old", "new"), NUMBERS)
@pytest.mark.parametrize("operation", ["resume", "report"])
def test_numbers_without_end_are_damage(project, operation, name, old, new):
    text, found = re.subn(old, new, (project / name).read_text())
    assert found
    (project / name).write_text(text)
    if operation == "report":
        with pytest.raises(RecdropError, match="damaged"):
            OPERATIONS[operation](project)
        return
    with pytest.warns(
        ProjectWarning, match=r"trial\.json` was damaged or missing; it was written anew"
    ):
        OPERATIONS[operation](project)
    assert (project / name).with_name("trial.json.damaged").read_text() == text
    assert "1" + "0" * 400 not in (project / name).read_text()


@pytest.mark.parametrize("field", ["time", "seconds", "epoch", "number", "score", "val_loss"])
def test_absurd_numbers_in_a_journal(project, field):
    path = project / "events.jsonl"
    begun, *others = path.read_text().splitlines()
    pattern = rf'"{field}": [-+.e0-9]+'
    assert re.search(pattern, "".join(others))
    for number in ("1e400", "-1e400", "NaN", HUGE, "1e308", "9" * 5000):
        changed = [re.sub(pattern, f'"{field}": {number}', line) for line in others]
        path.write_text("\n".join([begun, *changed]) + "\n")
        with contextlib.suppress(ProjectError):  # The journal is damaged.
            OPERATIONS["report"](project)


def test_pipes_as_yaml_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(SearchSpaceError, match="no plain file but a pipe"):
        rdt.SearchSpace.load(tmp_path / "pipe.yaml")
    done = CliRunner().invoke(main, ["run", str(tmp_path / "pipe.yaml")])
    assert "no plain file but a pipe" in done.output
    with pytest.raises(SearchSpaceError, match="Is a directory"):
        rdt.SearchSpace.load(tmp_path)


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
    write_all(tmp_path / "trial_0", {"../../a.h5": b"a", "/b.h5": b"b"}, within=tmp_path)
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
        ("models/blueprint.py", "keras.saving.deserialize_keras_object"),  # of a live object
        ("models/compiled_parts.py", "keras.saving.deserialize_keras_object"),  # of a live object
        ("models/recurrent_parts.py", "keras.saving.deserialize_keras_object"),  # the same
        ("models/plain.py", "keras.saving.deserialize_keras_object"),  # of a live object
        ("results/report/__init__.py", "jinja2.PackageLoader"),  # of the template in this package
        ("results/stored.py", "keras.models.load_model"),  # in Keras's safe mode, when asked for
        ("results/trained.py", "result.tuner.load_model"),  # builds it, and loads its weights
        ("spaces/sources.py", "_Loader"),  # a subclass of the safe loader
        ("mlflow_store/artifacts.py", "mlflow.keras.load_model"),  # in Keras's safe mode
    }
