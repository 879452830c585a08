"""`compare`: what journals alone tell of searches, and that it is what their results tell."""

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import recdrop_tune as rdt
from recdrop_tune.cli import main
from recdrop_tune.errors import InvalidArgumentError, ProjectError, ProjectWarning
from recdrop_tune.search import tune
from tests.small_search import data

OLD = Path(__file__).parent / "projects" / "without_twins"
"""A search with a confirmation, a pruned trial and no twins."""

SPACE = {
    "units": 4,
    "wrapper": ["none", "recurrent"],
    "rate": {"input": [0.1, 0.2], "recurrent": [0.1, 0.3]},
    "placement": "input+recurrent",
    "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True},
}


def change(folder, kind, how):
    """Changes all events of a kind in a journal."""
    path = folder / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    for event in (event for event in events if event["event"] == kind):
        how(event)
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def worsen_the_first(event):
    event["score"] += event["trial_id"] == "0"
    event["metrics"]["val_loss"] = event["score"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, new_store, planted, running_eagerly):
    """A folder of searches: one by `tune`, two that were confirmed, and a planted one."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(OLD, folder / "confirmed")
    shutil.copytree(OLD, folder / "otherwise")
    change(folder / "otherwise", "ConfirmationEnded", worsen_the_first)
    shutil.copytree(planted.directory, folder / "planted")
    options = {"max_trials": 5, "epochs": 2, "seed": 0, "verbose": 0, "directory": folder / "tuned"}
    with running_eagerly():
        tracking = rdt.MLflow("accuracy", uri=new_store(tmp_path_factory.mktemp("mlflow")))
        goal = {"objective": "val_accuracy", "tracking": tracking}
        tune(data(24), data(16), space=SPACE, **goal, **options)
    (folder / "no_search").mkdir()
    return folder


@pytest.fixture(scope="module")
def frame(runs):
    return rdt.compare(runs)


def row_of(frame, name):
    return frame[frame["folder"].str.endswith(name)].iloc[0]


@pytest.mark.parametrize("name", ["tuned", "confirmed", "otherwise", "planted"])
def test_a_row_says_what_the_result_says(runs, frame, name):
    result, row = rdt.TuneResult.load(runs / name), row_of(frame, name)
    assert row["folder"] == str(runs / name)
    assert (row["experiment"], row["objective"]) == (result.experiment, result.objective)
    best = result.trials.set_index("trial_id").loc[result.best_trial.trial_id]
    assert row["best"] == pytest.approx(best[result.objective])
    assert row["wrapper"] == best["wrapper"]
    states = result.trials["state"].value_counts()
    assert row["trials"] == len(result.trials)
    for state in ("COMPLETE", "PRUNED", "FAILED"):
        assert row[state.lower()] == states.get(state, 0)
    assert row["seconds"] >= result.trials["seconds"].max()
    began = pd.Timestamp.fromtimestamp(result.search.records.began)
    assert abs(row["began"] - began) < pd.Timedelta("1ms")
    gain = result.twin_gain
    if result.confirmation is not None:
        dropping = result.confirmation.row(result.confirmation.dropping_id)
        assert row["confirmed"] == pytest.approx(result.confirmation.best["mean"])
        assert row["gain"] == pytest.approx(dropping["gain"])
    else:
        assert pd.isna(row["confirmed"])
        assert (pd.isna(row["gain"]) and gain is None) or row["gain"] == pytest.approx(gain.gain)
    words = None if result.context is None else result.context.words
    assert (pd.isna(row["data"]) and not words) or row["data"] == words


def test_a_gain_is_known(frame):
    assert frame["gain"].notna().sum() >= 2


def test_the_order_is_best_first_for_each_objective(runs, frame):
    assert list(frame["objective"]) == ["val_accuracy", "val_loss", "val_loss", "val_loss"]
    losses = frame["best"][frame["objective"] == "val_loss"]
    assert losses.is_monotonic_increasing
    parts = [runs / name for name in ("planted", "tuned", "confirmed", "otherwise")]
    pd.testing.assert_frame_equal(rdt.compare(*parts), frame)


def test_more_is_better_where_it_is(runs, tmp_path):
    for name, add in (("a", 0.0), ("b", 0.25)):
        folder = Path(shutil.copytree(runs / "tuned", tmp_path / name))
        change(
            folder, "TrialEnded", lambda event, add=add: event.update(score=event["score"] + add)
        )
    assert [Path(folder).name for folder in rdt.compare(tmp_path)["folder"]] == ["b", "a"]


def test_several_sites_and_layers(tmp_path, runs):
    """As text: this search has a rate for each site, another one a wrapper for each layer."""
    folder = Path(shutil.copytree(runs / "tuned", tmp_path / "p"))
    layers = {"enc/wrapper": "none", "dec/wrapper": "zoneout", "dec/rate": 0.125, "enc/rate": None}
    change(folder, "TrialStarted", lambda event: event.update(hyperparameters=layers))
    row = rdt.compare(folder).iloc[0]
    assert (row["wrapper"], row["rate"]) == ("none / zoneout", "0.125")
    assert pd.isna(row["placement"])
    assert pd.isna(row["gain"])  # All are alike: none is a twin.


def test_a_search_that_was_broken_off_and_is_damaged(tmp_path):
    folder = shutil.copytree(OLD, tmp_path / "p")
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines()
    end = next(i for i, line in enumerate(lines) if '"TrialEnded"' in line and '"1"' in line)
    damaged = ["[" * 100_000, "{", "7", '{"event": "TrialEnded", "time": "soon", "trial_id": "0"}']
    path.write_text("\n".join([*lines[:end], *damaged, '{"event": "Search']))
    row = rdt.compare(folder).iloc[0]
    assert (row["trials"], row["complete"]) == (2, 0)
    assert pd.isna(row["best"])
    assert rdt.compare(folder).dtypes["best"] == "Float64"


def test_what_cannot_be_read_is_left_out_with_a_warning(runs, tmp_path):
    shutil.copytree(OLD, tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "events.jsonl").write_text("no events\n")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "events.jsonl").symlink_to(OLD / "events.jsonl")
    with pytest.warns(ProjectWarning) as left_out:
        frame = rdt.compare(tmp_path)
    assert [Path(folder).name for folder in frame["folder"]] == ["good"]
    said = " ".join(str(each.message) for each in left_out)
    assert f"`{tmp_path / 'bad'}` is left out: " in said
    assert f"`{tmp_path / 'linked'}` is left out: " in said
    for name in ("bad", "linked"):
        with pytest.raises(ProjectError):
            rdt.compare(tmp_path / name)


@pytest.mark.parametrize(
    "damage",
    [
        {"event": "ConfirmationEnded", "trial_id": "0000", "score": 1.0},
        {"event": "SearchStarted", "experiment": "\ud800", "objective": "val_loss"},
        {"event": "TrialStarted", "trial_id": "9", "hyperparameters": {"wrapper": ["none"]}},
    ],
    ids=["repeat", "half a character", "list"],
)
def test_one_damaged_folder_costs_no_other_one(runs, tmp_path, damage):
    for name in ("good", "bad"):
        shutil.copytree(runs / "confirmed", tmp_path / name)
    with (tmp_path / "bad" / "events.jsonl").open("a") as journal:
        journal.write(json.dumps({**damage, "time": 2e9}) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProjectWarning)  # Where it is left out, that is said.
        found = rdt.compare(tmp_path)
    assert str(tmp_path / "good") in set(found["folder"])


def test_no_search(tmp_path, monkeypatch):
    with pytest.raises(ProjectError, match="holds no search, and no folder of one"):
        rdt.compare(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match="There is no folder `recdrop_runs`"):
        rdt.compare()


def test_what_is_no_path(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"`folders`\. Expected paths of folders"):
        rdt.compare([tmp_path])


# The command.


def test_the_command_lists_the_same(runs, frame):
    done = CliRunner().invoke(main, ["list", str(runs)])
    assert done.exit_code == 0
    head, *lines = done.output.splitlines()
    assert head.split() == [
        *("folder", "experiment", "objective", "best", "confirmed", "gain", "wrapper"),
        *("placement", "rate", "trials", "time", "began", "data"),
    ]
    assert [line.split()[0] for line in lines] == list(frame["folder"])
    planted = row_of(frame, "planted")
    assert (
        f"30 ({planted['failed']} failed)" in lines[list(frame["folder"]).index(planted["folder"])]
    )


def test_the_command_shows_texts_of_a_folder_as_text(tmp_path):
    folder = shutil.copytree(OLD, tmp_path / "p")
    path = folder / "events.jsonl"
    path.write_text(path.read_text().replace('"experiment": "', '"experiment": "a\\u001b[2J\\nb '))
    done = CliRunner().invoke(main, ["list", str(folder)])
    assert len(done.output.splitlines()) == 2
    assert r"a\x1b[2J b recdrop-tune" in done.output


def test_the_command_says_what_is_wrong(tmp_path):
    done = CliRunner().invoke(main, ["list", str(tmp_path)])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: `{tmp_path}` holds no search")


def test_neither_loads_keras(runs):
    code = (
        "import sys, recdrop_tune; from recdrop_tune.cli import main\n"
        f"recdrop_tune.compare({str(runs)!r})\n"
        f"main(['list', {str(runs)!r}], standalone_mode=False)\n"
        "print([m for m in ('keras', 'tensorflow', 'optuna', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
