"""`recdrop-tune spaces`: the presets, one space, and what is wrong with a file."""

import re

import pytest
from click.testing import CliRunner

from recdrop_tune.cli import main
from recdrop_tune.spaces import SearchSpace
from tests import ROOT

GOOD = "wrapper: [none, recurrent]\nplacement: recurrent\nrate: [0.1, 0.3]\n"


def called(*arguments):
    return CliRunner().invoke(main, ["spaces", *map(str, arguments)])


@pytest.fixture
def good(tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD)
    return tmp_path / "good.yaml"


def test_the_list_is_that_of_the_documentation():
    listed = called("list").output
    assert [line.split()[0] for line in listed.splitlines()] == list(SearchSpace.presets())
    assert listed in (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("name", SearchSpace.presets())
def test_what_is_shown_is_the_same_space(name, tmp_path):
    shown = called("show", name)
    assert shown.exit_code == 0
    (tmp_path / "mine.yaml").write_text(shown.output)
    assert SearchSpace.load(tmp_path / "mine.yaml") == SearchSpace.load(name)
    (searched,) = re.findall(r"^# searched: (.*)$", shown.output, re.M)
    assert searched.split(", ") == SearchSpace.load(name).searched()


def test_a_preset_that_is_misspelt():
    done = called("show", "qick")
    assert (done.exit_code, done.output.endswith("Did you mean `quick`?\n")) == (1, True)


def test_all_files_are_looked_at(good, tmp_path):
    (tmp_path / "bad.yaml").write_text("wrapper: [none, recurent]\nrate: 2\ncel: lstm\n")
    (tmp_path / "cut.yaml").write_text("rate: 0.1\nwrapper: [none\n")
    assert called("validate", good, good).exit_code == 0
    done = called("validate", tmp_path / "bad.yaml", tmp_path / "cut.yaml", good)
    assert done.exit_code == 1
    assert done.stdout == f"{good}: valid, 3 configurations of 2 hyperparameters\n"
    for words in ("Did you mean `recurrent`?", "Received: rate=2", "Did you mean `cell`?"):
        assert words in done.stderr
    assert f'in "{tmp_path}/cut.yaml", line 2, column 10' in done.stderr
    # A directory and the name of a preset are no files either.
    for name in (tmp_path, "lstm"):
        done = called("validate", name)
        assert (done.exit_code, "cannot be read" in done.output) == (1, True)
