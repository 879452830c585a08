"""Names imported on first use, and what TensorFlow writes to stderr meanwhile."""

import os
import sys

import pytest

from recdrop_tune.lazy import imported_on_use

MODULE = """
import os
os.write(2, b"I0000 Could not find cuda drivers on your machine")
name = 1 / {}
"""


@pytest.mark.parametrize(("notebook", "fails"), [(True, False), (True, True), (False, False)])
def test_a_notebook_shows_what_an_import_writes_only_if_it_fails(
    tmp_path, monkeypatch, capfd, notebook, fails
):
    package = f"lazy_{notebook}_{fails}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / "module.py").write_text(MODULE.format(int(not fails)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", None)
    __import__(package)
    value = imported_on_use(package, {"name": "module"})
    if fails:
        with pytest.raises(ZeroDivisionError):
            value("name")
    else:
        assert value("name") == 1
    assert ("I0000" in capfd.readouterr().err) == (fails or not notebook)
    assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") == ("3" if notebook else None)
