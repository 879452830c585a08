"""Secrets of addresses are neither shown nor stored."""

import time

import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import RecdropError, format_repr, hide

# The halves of the password are secret too.
ADDRESSES = [
    "http://ann:SEC-RET@host:5000",
    "http://SEC-RET@host",
    "http://ann:SEC@RET@host",
    "http://ann:SEC%40RET@host/x",
    "postgresql://ann:SEC/RET@host/x",
    "postgresql://ann:SEC?RET@host/x",
    "postgresql://db/x?user=ann&password=SEC-RET",
    "mssql+pyodbc:///?odbc_connect=PWD%3DSEC-RET",
    "sqlite+pysqlcipher://:SEC-RET@/file.db",
]


def is_told(text):
    return "SEC" in text or "RET" in text


@pytest.mark.parametrize("address", ADDRESSES)
def test_secrets_of_addresses_are_hidden(address):
    assert not is_told(hide(address))
    assert not is_told(hide(f"OperationalError: no answer of '{address}' (see http://docs)"))
    assert not is_told(hide(f"first\n12:30 ERROR {address}, {address}\nlast"))
    for value in (address, [address], {"uri": address}, {address: 1}, [[{"a": [address]}]]):
        assert not is_told(format_repr(value))
    assert not is_told(format_repr(address + "x" * 5000))
    assert not is_told(format_repr(["x" * 300] * 5 + [address]))


PLACES = [(rdt.MLflow, "uri"), (rdt.Workers, "address")]
"""The settings that may have a password in them."""


@pytest.mark.parametrize("place", PLACES)
def test_no_setting_tells(place):
    kind, name = place
    assert not is_told(repr(kind(**{name: "postgresql://ann:SEC-RET@host/db"})))
    for address in ADDRESSES:  # A list is not an address.
        with pytest.raises(RecdropError, match=f"`{name}`") as refused:
            kind(**{name: [address]})
        assert not is_told(str(refused.value)), address


def test_what_is_no_secret_is_shown():
    for text in (
        "sqlite:////home/ann@work/mlflow.db",
        "http://[::1]:5000/x",
        "postgresql://db/mlflow",
        "databricks://ann",
        "C:/mlruns",
        "localhost:6379",
        "module:function",
        "/home/ann@work/x",
        "ann@host.org",
        "what? a=b",
    ):
        assert hide(text) == text
        assert format_repr(text) == repr(text)


def test_long_texts_take_no_time():
    before = time.perf_counter()
    hide("a:" * 100_000 + "@")
    hide("a" * 200_000)
    format_repr("http://a:" + "b" * 200_000)
    format_repr("://a:" * 100_000 + "@")
    assert time.perf_counter() - before < 5
