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


def test_every_preset_has_a_line():
    lines = called("list").output.splitlines()
    assert [line.split()[0] for line in lines] == list(SearchSpace.presets())
    number = SearchSpace.load("quick").grid_size()
    (quick,) = (line for line in lines if line.startswith("quick"))
    assert quick.endswith(f"  {number} configurations of 3 hyperparameters")
    (lstm,) = (line for line in lines if line.startswith("lstm"))
    assert lstm.endswith("6 hyperparameters, a continuum (a range without a step)")


def test_the_list_is_that_of_the_documentation():
    page = ROOT / "docs" / "cli.md"
    assert called("list").output in page.read_text()


@pytest.mark.parametrize("name", SearchSpace.presets())
def test_what_is_shown_is_the_same_space(name, tmp_path):
    shown = called("show", name)
    assert shown.exit_code == 0
    (tmp_path / "mine.yaml").write_text(shown.output)
    assert SearchSpace.load(tmp_path / "mine.yaml") == SearchSpace.load(name)
    (searched,) = re.findall(r"^# searched: (.*)$", shown.output, re.M)
    assert searched.split(", ") == SearchSpace.load(name).searched()


def test_a_file_is_shown(good):
    assert called("show", good).output.splitlines()[:2] == [
        "# 3 configurations of 2 hyperparameters",
        "# searched: wrapper, rate",
    ]


def test_a_space_of_one_configuration(tmp_path):
    (tmp_path / "one.yaml").write_text("wrapper: recurrent\nplacement: input\nrate: 0.1\n")
    shown = called("show", tmp_path / "one.yaml").output
    assert shown.startswith("# 1 configuration of 0 hyperparameters\n{wrapper: recurrent,")


def test_a_preset_that_is_misspelt():
    done = called("show", "qick")
    assert done.exit_code == 1
    assert done.output.endswith("Did you mean `quick`?\n")


def test_valid_files(good):
    done = called("validate", good, good)
    assert done.exit_code == 0
    assert done.output == f"{good}: valid, 3 configurations of 2 hyperparameters\n" * 2


def test_all_files_are_looked_at(good, tmp_path):
    (tmp_path / "bad.yaml").write_text("wrapper: [none, recurent]\nrate: 2\ncel: lstm\n")
    (tmp_path / "cut.yaml").write_text("rate: 0.1\nwrapper: [none\n")
    done = called("validate", tmp_path / "bad.yaml", tmp_path / "cut.yaml", good)
    assert done.exit_code == 1
    assert done.stdout == f"{good}: valid, 3 configurations of 2 hyperparameters\n"
    for words in ("Did you mean `recurrent`?", "Received: rate=2", "Did you mean `cell`?"):
        assert words in done.stderr
    assert f'in "{tmp_path}/cut.yaml", line 2, column 10' in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["missing.yaml", ".", "lstm"])
def test_what_is_no_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = called("validate", name)
    assert done.exit_code == 1
    assert "cannot be read" in done.output


def test_wrong_use():
    assert called("validate").exit_code == 2
    assert called("show").exit_code == 2
