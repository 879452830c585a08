"""Secrets in addresses are never shown, even in mistyped addresses."""

import time

import pytest

import recdrop_tune as rdt
from recdrop_tune.credentials import hide, hide_address, hide_value, scrub
from recdrop_tune.errors import RecdropError, shown

# The halves of the password are secret too.
FORMS = [
    "http://ann:SEC-RET@host:5000",
    "http//ann:SEC-RET@host",
    "ann: SEC-RET@host",
    "http://ann:SEC RET@host",
    "http://ann:SEC\nRET@host",
    "http://ann:SEC@RET@host",
    "http://ann:SEC/RET@host/x",
    "http://ann:SEC?RET@host",
    "http://ann:SEC#RET@host",
    "http://ann:SEC:RET@host:50x0",
    "http://ann:SEC-RET%40host",
    "http://SEC-RET@host",
    "postgresql ://ann:SEC-RET@host",
    "postgresql://db/x?user=ann&password=SEC-RET",
    "mssql+pyodbc:///?odbc_connect=PWD%3DSEC-RET",
    "sqlite+pysqlcipher://:SEC-RET@/file.db",
    "http://host/#token=SEC-RET",
    "http://host;access_key=SEC-RET",
    "host=db password='SEC RET'",
    "DefaultEndpointsProtocol=https;AccountKey=SEC-RET==",
    "http://ann:SEC-RET@host, http://bob:SEC-RET@other",
    "http://ann:SEC-RET/x",
]


def is_told(text):
    return "SEC" in text or "RET" in text


@pytest.mark.parametrize("form", FORMS)
def test_nothing_tells(form):
    assert not is_told(hide_address(form))
    assert not is_told(hide_value(form))
    assert not is_told(scrub(f"Cannot reach {form}: {form!r}", form))
    for value in (form, [form], (form, form), {"uri": form}, {form: 1}, [[{"a": [form]}]]):
        assert not is_told(shown(value))
    assert not is_told(shown(form + "x" * 5000))
    assert not is_told(shown(["x" * 300] * 5 + [form]))
    if not {"\n", "\t"} & set(form) and form != "ann: SEC-RET@host":  # Words.
        assert not is_told(hide(f"OperationalError: no answer of '{form}' (see http://docs)"))
        assert not is_told(hide(f"first\n12:30 ERROR {form}\nlast"))


PLACES = [(rdt.MLflow, "uri"), (rdt.Optuna, "storage"), (rdt.Workers, "address")]
"""The settings that may have a password in them."""


@pytest.mark.parametrize("place", PLACES)
def test_no_argument_tells(place):
    """A list is not an address. Optuna and Ray themselves refuse one without a scheme."""
    kind, name = place
    given = [[form] for form in FORMS]
    if name == "uri":
        given += [form for form in FORMS if "://" not in form]
    for value in given:
        with pytest.raises(RecdropError, match=f"`{name}`") as refused:
            kind(**{name: value})
        assert not is_told(str(refused.value)), value


@pytest.mark.parametrize("place", PLACES)
def test_settings_do_not_tell_when_they_are_shown(place):
    kind, name = place
    assert not is_told(repr(kind(**{name: "postgresql://ann:SEC-RET@host/db"})))


def test_what_is_no_secret_is_shown():
    for address in (
        "sqlite:////home/ann@work/mlflow.db",
        "http://[::1]:5000/x",
        "postgresql://db/mlflow",
        "databricks://ann",
        "C:/mlruns",
        "localhost:6379",
    ):
        assert hide_address(address) == hide_value(address) == address
        assert shown(address) == repr(address)
    for value in ("module:function", "/home/ann@work/x", "12:30", "ann@host.org", "a: none"):
        assert shown(value) == repr(value)


def test_long_texts_take_no_time():
    before = time.perf_counter()
    hide("a:" * 100_000)
    hide("a" * 200_000)
    shown("a:" * 100_000 + "@")
    shown("@" + "a" * 200_000)
    assert time.perf_counter() - before < 5


@pytest.mark.parametrize("uri", ["http://ann:SEC RET/é@host", "ann:SEC RET/é@host"])
@pytest.mark.parametrize("said", ["no SEC RET/é", "no SEC%20RET%2F%C3%A9"])
def test_a_password_is_hidden_in_any_form(uri, said):
    assert not is_told(scrub(said, uri))


def test_what_a_password_was_taken_apart_into_is_not_quoted():
    """As requests does, for whom the slash ends the host."""
    uri = "http://ann:open/SEC-RET@host:5000"
    said = "HTTPConnectionPool(host='ann', port=80): no answer at /SEC-RET@host:5000/api"
    assert not is_told(scrub(said, uri))
