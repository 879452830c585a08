"""`recdrop-tune spaces`: the presets, one space, and what is wrong with a file."""

import re

import pytest

from recdrop_tune.spaces import SearchSpace
from tests import ROOT
from tests.commands import called, output_of, refusal_of

GOOD = "wrapper: [none, recurrent]\nplacement: recurrent\nrate: [0.1, 0.3]\n"


@pytest.fixture
def good(tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD)
    return tmp_path / "good.yaml"


def test_the_list_is_that_of_the_documentation():
    listed = output_of("spaces", "list")
    assert [line.split()[0] for line in listed.splitlines()] == list(SearchSpace.presets())
    assert listed in (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("name", SearchSpace.presets())
def test_what_is_shown_is_the_same_space(name, tmp_path):
    shown = output_of("spaces", "show", name)
    (tmp_path / "mine.yaml").write_text(shown)
    assert SearchSpace.load(tmp_path / "mine.yaml") == SearchSpace.load(name)
    (searched,) = re.findall(r"^# searched: (.*)$", shown, re.M)
    assert searched.split(", ") == SearchSpace.load(name).searched()


def test_a_preset_that_is_misspelt():
    assert refusal_of("spaces", "show", "qick").endswith("Did you mean `quick`?\n")


def test_all_files_are_looked_at(good, tmp_path):
    (tmp_path / "bad.yaml").write_text("wrapper: [none, recurent]\nrate: 2\ncel: lstm\n")
    (tmp_path / "cut.yaml").write_text("rate: 0.1\nwrapper: [none\n")
    output_of("spaces", "validate", good, good)
    done = called("spaces", "validate", tmp_path / "bad.yaml", tmp_path / "cut.yaml", good)
    assert done.exit_code == 1
    assert done.stdout == f"{good}: valid, 3 configurations of 2 hyperparameters\n"
    for words in ("Did you mean `recurrent`?", "Received: rate=2", "Did you mean `cell`?"):
        assert words in done.stderr
    assert f'in "{tmp_path}/cut.yaml", line 2, column 10' in done.stderr
    # A directory and the name of a preset are no files either.
    for name in (tmp_path, "lstm"):
        assert "cannot be read" in refusal_of("spaces", "validate", name)
