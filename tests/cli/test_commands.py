"""What the commands have in common: where they look for a search, and what they load."""

import json
import subprocess
import sys

import pytest

from tests import ROOT
from tests.commands import refusal_of
from tests.test_package import HEAVY
from tests.tracked_events import ended, journaled, started, trial


@pytest.mark.parametrize("command", ["confirm", "report", "status", "stop", "sync", "ui"])
def test_where_there_is_no_search(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for folder, words in (
        ([], "There is no search in recdrop_runs"),
        (["nowhere"], "There is no folder nowhere"),
        (["."], "holds no search of recdrop-tune: it has no events.jsonl"),
    ):
        assert words in refusal_of(command, *folder)


@pytest.mark.parametrize("command", ["confirm", "report", "status", "stop", "ui"])
def test_a_journal_without_a_search(tmp_path, command):
    for journal, words in (("", "No search has been started"), ("{}\n", "is damaged")):
        (tmp_path / "events.jsonl").write_text(journal)
        assert words in refusal_of(command, tmp_path)


def test_what_needs_no_keras_does_not_load_it(tmp_path):
    journaled(tmp_path, started(), *trial(0), ended())
    (tmp_path / "wrong.yaml").write_text("data: a:b\nmax_trial: 3\ntuner: {sampler: tpe}\n")
    commands = {
        "Opens MLflow's pages on the trials of a search, best first.": ["--help"],
        "quick ": ["spaces", "list"],
        "1 complete": ["status", str(tmp_path)],
        "Did you mean `max_trials`?": ["run", str(tmp_path / "wrong.yaml")],
        "speech": ["list", str(tmp_path)],
    }
    code = (
        "import json, sys\nfrom tests.commands import called\n"
        f"loaded = lambda: [m for m in {HEAVY} if m in sys.modules]\n"
        f"print(json.dumps([(called(*w).output, loaded()) for w in {[*commands.values()]}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stderr == ""
    for words, (output, loaded) in zip(commands, json.loads(done.stdout), strict=True):
        assert words in output
        assert loaded == (["pandas"] if words == "speech" else [])
