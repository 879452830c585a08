"""Files in a project folder: whole or not at all, plain ones, and none outside the folder."""

import os
import socket
import stat

import pytest

from recdrop_tune.errors import ProjectError
from recdrop_tune.files import (
    delete,
    delete_leftovers,
    delete_tree,
    is_leftover,
    make_folder,
    move,
    open_file,
    read,
    read_all,
    replacing,
    write_all,
    write_atomically,
)
from recdrop_tune.paths import check_folder, check_path


@pytest.fixture
def project(tmp_path):
    """A project folder; beside it lies what is nobody's business."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "project" / "trial_0").mkdir(parents=True)
    return tmp_path / "project"


def untouched(project):
    outside = project.parent / "outside"
    return os.listdir(outside) == ["secret"] and (outside / "secret").read_text() == "secret"


def put(kind, path):
    """Puts something that is no plain file into the folder of a trial."""
    outside = path.parents[2] / "outside"
    if kind == "link":
        path.symlink_to(outside / "secret")
    elif kind == "link to nothing":
        path.symlink_to(outside / "new")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))
    else:
        path.mkdir()


KINDS = ["link", "link to nothing", "pipe", "socket", "folder"]

OPERATIONS = {
    "write": lambda path, root: write_atomically(path, "x", within=root),
    "append": lambda path, root: open_file(path, "a+b", within=root),
    "change": lambda path, root: open_file(path, "r+b", within=root),
    "read": lambda path, root: read(path, within=root),
    "check": lambda path, root: check_path(path, within=root),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused(project, monkeypatch, kind):
    monkeypatch.chdir(project)
    path = project / "trial_0" / "trial.json"
    put(kind, path)
    for operation in OPERATIONS.values():
        with pytest.raises(ProjectError, match=r"trial_0/trial\.json` is .*has to be a file"):
            operation(path, project)
        assert untouched(project)
        assert os.listdir(project / "trial_0") == ["trial.json"]


@pytest.mark.parametrize("name", [*OPERATIONS, "delete", "delete_tree", "move", "make", "all"])
def test_a_folder_that_is_a_link_is_refused(project, name):
    (project / "trial_0").rmdir()
    (project / "trial_0").symlink_to(project.parent / "outside")
    operations = {
        **OPERATIONS,
        "delete": lambda path, root: delete(path, within=root),
        "delete_tree": lambda path, root: delete_tree(path.parent, within=root),
        "move": lambda path, root: move(path, root / "here", within=root),
        "make": lambda path, root: make_folder(path, within=root),
        "all": lambda path, root: write_all(path.parent, {"secret": b"x"}, within=root),
    }
    with pytest.raises(ProjectError, match=r"trial_0` is a symbolic link, and has to be a folder"):
        operations[name](project / "trial_0" / "secret", project)
    assert untouched(project)
    with pytest.raises(ProjectError, match=r"trial_0` is a symbolic link"):
        read_all(project / "trial_0", within=project)


def test_the_project_folder_may_be_a_link(project):
    link = project.with_name("link")
    link.symlink_to(project)
    assert make_folder(link, within=link) == link
    write_atomically(link / "trial_0" / "a", "x", within=link)
    check_folder(link)
    assert read(project / "trial_0" / "a", within=project) == b"x"


def test_paths_out_of_the_folder_are_refused(project):
    for path in (project / ".." / "outside" / "secret", project.parent / "outside" / "secret"):
        with pytest.raises(ProjectError, match="nothing in that folder"):
            write_atomically(path, "x", within=project)
    assert untouched(project)


def test_a_file_with_a_second_name_is_not_changed_in_place(project):
    os.link(project.parent / "outside" / "secret", project / "events.jsonl")
    with pytest.raises(ProjectError, match=r"events\.jsonl` has a second name"):
        open_file(project / "events.jsonl", "a+b")
    write_atomically(project / "events.jsonl", "new")
    assert untouched(project)


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_written_whole_or_not_at_all(project, durable):
    path = project / "search.json"
    write_atomically(path, "old", durable=durable)

    def broken_off():
        with replacing(path, durable=durable) as fresh:
            assert fresh.name.endswith("search.json")
            assert is_leftover(fresh.name)
            fresh.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert path.read_text() == "old"
    write_atomically(path, "new ü", durable=durable)
    assert path.read_text(encoding="utf-8") == "new ü"
    assert sorted(os.listdir(project)) == ["search.json", "trial_0"]


def test_permissions_are_those_of_any_new_file(project):
    write_atomically(project / "a", "x")
    (project / "b").write_text("x")
    assert stat.S_IMODE(os.stat(project / "a").st_mode) == stat.S_IMODE(
        os.stat(project / "b").st_mode
    )


def test_what_killed_processes_left_is_deleted(project):
    names = []
    for path in (project / "search.json", project / "trial_0" / "trial.json"):
        path.write_text("whole")
        with pytest.raises(FileNotFoundError), replacing(path) as fresh:
            names.append(fresh.name)
        (path.parent / names[-1]).write_text("half")
    (project / ".unfinished-0123456789abcdef-result").mkdir()
    (project / ".unfinished-0123456789abcdef-result" / "a").write_text("x")
    assert read_all(project / "trial_0", within=project) == {"trial.json": b"whole"}
    delete_leftovers(project)
    assert sorted(os.listdir(project)) == ["search.json", "trial_0"]
    assert os.listdir(project / "trial_0") == ["trial.json"]


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_whole_folder_is_checked(project, monkeypatch, kind):
    check_folder(project)
    check_folder(project / "not there")
    monkeypatch.chdir(project)
    put(kind, project / "trial_0" / "weights\x1b[2J.h5")
    with pytest.raises(ProjectError, match=r"trial_0/weights\\x1b\[2J\.h5` is a") as raised:
        check_folder(project)
    assert "\x1b" not in str(raised.value)


def test_the_lock_of_optunas_journal_is_a_link(project):
    (project / "optuna.journal.lock").symlink_to(project / "optuna.journal")
    check_folder(project)
    (project / "trial_0" / "optuna.journal.lock").symlink_to(project / "optuna.journal")
    with pytest.raises(ProjectError, match=r"trial_0/optuna\.journal\.lock"):
        check_folder(project)


def test_deleting(project):
    (project / "link").symlink_to(project.parent / "outside" / "secret")
    delete(project / "link")
    delete(project / "not there")
    with pytest.raises(ProjectError, match="is a folder, and has to be a file"):
        delete(project / "trial_0")
    (project / "trial_0" / "link").symlink_to(project.parent / "outside")
    delete_tree(project / "trial_0")
    assert os.listdir(project) == []
    assert untouched(project)
