"""Files in a project folder: written whole or not at all, and never through a link that leads out."""

import os
import stat

import pytest

from recdrop_tune.errors import ProjectError
from recdrop_tune.files import (
    check_folder,
    delete_leftovers,
    delete_leftovers_of,
    inside,
    is_leftover,
    read_all,
    replacing,
    write_all,
    write_atomically,
)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "project" / "trial_0").mkdir(parents=True)
    return tmp_path / "project"


@pytest.mark.parametrize(
    ("name", "target"),
    [("trial_1", "outside"), ("trial_0/weights\x1b[2J.h5", "outside/secret"), ("x", "outside/new")],
)
def test_links_that_lead_out_are_refused(project, name, target):
    (project / name).symlink_to(project.parent / target)
    for check in (check_folder, delete_leftovers):
        with pytest.raises(ProjectError, match="leads out of the project folder") as raised:
            check(project)
        assert "\x1b" not in str(raised.value)
    assert os.readlink(project / name) == str(project.parent / target)


def test_links_within_the_folder_and_to_it_are_followed(project):
    (project / "optuna.journal.lock").symlink_to(project / "optuna.journal")  # Optuna's lock.
    (project / "trial_1").symlink_to("trial_0")
    link = project.with_name("link")
    link.symlink_to(project)
    check_folder(link)
    check_folder(project / "missing")
    assert inside(link, "trial_0/a..b", "a.json") == link / "trial_0" / "a..b"


@pytest.mark.parametrize("name", ["..", "a/../../b", "/a", "a\0"])
def test_paths_out_of_the_folder_are_refused(project, name):
    with pytest.raises(ProjectError, match=r"`a\.json` in `.*` names"):
        inside(project, name, "a.json")


def test_names_of_sent_files_cannot_leave_the_folder(project):
    write_all(project / "trial_1", {"../../a.h5": b"a", "/b.h5": b"b"})
    assert read_all(project / "trial_1") == {"a.h5": b"a", "b.h5": b"b"}
    assert sorted(os.listdir(project.parent)) == ["outside", "project"]


def test_a_file_is_written_whole_or_not_at_all(project):
    path = project / "search.json"
    write_atomically(path, "old", durable=True)

    def interrupted():
        with replacing(path, durable=True) as fresh:
            assert fresh.suffix == ".json"  # By which Keras chooses the format.
            fresh.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    write_atomically(path, "new ü")
    assert path.read_text(encoding="utf-8") == "new ü"
    assert sorted(os.listdir(project)) == ["search.json", "trial_0"]
    (project / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((project / "plain").stat().st_mode)


def test_a_link_is_replaced_and_not_written_through(project):
    (project / "search.json").symlink_to(project.parent / "outside" / "secret")
    write_atomically(project / "search.json", "new")
    assert (project.parent / "outside" / "secret").read_text() == "secret"


def test_leftovers_of_killed_processes_are_deleted(project):
    names = []
    for path in (project / "search.json", project / "trial_0" / "trial.json"):
        path.write_text("whole")
        with pytest.raises(FileNotFoundError), replacing(path) as fresh:
            names.append(fresh.name)
        (path.parent / names[-1]).write_text("half")
    assert all(map(is_leftover, names))
    (project / ".unfinished-0123456789abcdef-result").mkdir()
    (project / ".unfinished-0123456789abcdef-result" / "a").write_text("x")
    assert read_all(project / "trial_0") == {"trial.json": b"whole"}
    delete_leftovers_of(project / "result")
    assert sorted(os.listdir(project)) == sorted([names[0], "search.json", "trial_0"])
    delete_leftovers(project)
    assert sorted(os.listdir(project)) == ["search.json", "trial_0"]
    assert os.listdir(project / "trial_0") == ["trial.json"]
