"""The file that asks a search to end, in a folder that may be somebody else's."""

from recdrop_tune.stopping import STOP, ask_to_stop, forget_stop, is_asked_to_stop


def test_a_request(tmp_path):
    assert not is_asked_to_stop(tmp_path)
    forget_stop(tmp_path)
    ask_to_stop(tmp_path)
    assert (is_asked_to_stop(tmp_path), is_asked_to_stop(tmp_path, now=True)) == (True, False)
    ask_to_stop(tmp_path, now=True)
    assert (is_asked_to_stop(tmp_path), is_asked_to_stop(tmp_path, now=True)) == (True, True)
    forget_stop(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / STOP).symlink_to("secret")
    ask_to_stop(tmp_path)
    forget_stop(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert (tmp_path / "secret").read_text() == "secret"
