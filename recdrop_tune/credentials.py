"""Hides possible secrets in addresses and in errors of other libraries: too much rather than too little."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

HIDDEN = "***"
"""The text in the place of a secret."""

_SCHEMES = (
    "abfss?|databricks(?:-uc)?|dbfs|file|ftp|gs|hdfs|https?|mariadb|mlflow-artifacts|mssql|mysql|oracle|"
    "postgres(?:ql)?|r2|ray|redis|rediss|s3|sftp|sqlite|wasbs?"
)
# The part before the name of a user: a scheme, also one that lacks its colon or a slash.
_SCHEME = rf"(?:jdbc:)?(?:[a-z][\w+.-]*:///?|(?:{_SCHEMES})(?:\+\w+)?(?::/{{0,2}}|/{{1,2}}))"
_AT = r"(?:@|%40)"

# A path may have an @ in it, and has no user before it.
_FILE = re.compile(r"\s*(?:sqlite(?:\+\w+)?|file):///(?!.*://)", re.I | re.S)
_NO_USER = re.compile(r"\s*(?:uc|databricks(?:-uc)?)(?::|$)|\s*[a-z]:[\\/]|\s*file:", re.I)

_WHOLE = re.compile(rf"^(\s*{_SCHEME})?.*({_AT})", re.I | re.S)
# No port, so it is the password of an address whose end is missing.
_NO_PORT = re.compile(
    rf"^(\s*(?:{_SCHEME})?[^\s:/?#\[]+:)(?!\d{{0,5}}\s*(?:[/?#]|$))[^?]*", re.I | re.S
)

# Of an address in a text the beginning has to be found: its scheme, or a word with a colon in it.
_IN_TEXT = re.compile(
    rf"(?P<scheme>(?<![\w+.-]){_SCHEME}|//)(?P<rest>.*){_AT}"
    rf"|(?P<word>[^\s:'\"`(\[]+:(?=\S)(?!//)).*{_AT}",
    re.I,
)

_NO_PORT_IN_TEXT = re.compile(r"(://[^\s:/?#\['\"]+:)(?!\d{0,5}(?:[^\w%]|$))[^\s'\"]+")
_QUERY_IN_TEXT = re.compile(r"\?[^\s?'\"]*=[^\s'\"]*")

_NAMES = (
    r"password|passwd|passphrase|pwd|secret|token|credentials?|(?:api|access|account|private|ssl)[-_]?key(?:[-_]?id)?|"
    r"sig|signature|authorization"
)
_NAMED = re.compile(
    rf"((?:{_NAMES})['\"]?\s*[=:]\s*)"
    r"('[^']*'|\"[^\"]*\"|(?:(?:basic|bearer)\s+)?[^\s,;&'\")}\]]+)",
    re.I,
)


def hide_address(text: str) -> str:
    """Replaces the user, the password and the query of an address.

    It may be damaged: a colon or a slash may be missing, or there may be white space in it.

    Example:
        >>> hide_address("postgresql://ann:p w@db/mlflow?sslkey=k")
        'postgresql://***@db/mlflow?***'
        >>> hide_address("http//ann:pw@host")
        'http//***@host'
    """
    query = f"?{HIDDEN}"
    if _FILE.match(text):
        return hide_named(re.sub(r"\?.*$", query, text, flags=re.S))
    hidden = _WHOLE.sub(rf"\g<1>{HIDDEN}\g<2>", text, count=1)
    if hidden == text and not _NO_USER.match(text):
        hidden = _NO_PORT.sub(rf"\g<1>{HIDDEN}", text)
    return hide_named(re.sub(r"\?.*$", query, hidden, flags=re.S))


def hide(text: str) -> str:
    """Replaces possible secrets in any text: users of addresses, queries, and values named like a secret.

    Example:
        >>> hide("cannot reach ann:pw@db: password='x y'")
        'cannot reach ***@db: password=***'
    """
    return "".join(_line(line) for line in text.splitlines(keepends=True))


def hide_value(value: str) -> str:
    """Replaces possible secrets in the value of any argument, which may be an address.

    Example:
        >>> hide_value("mlruns"), hide_value("ann: pw@db")
        ('mlruns', '***@db')
    """
    is_one = re.search(rf"://|(?::|//).*{_AT}", value, re.S)
    return hide_address(value) if is_one else hide(value)


def scrub(text: str, uri: str) -> str:
    """Removes an address and the parts of its password from an error's text, which may quote either."""
    text = text.replace(uri, hide_address(uri))
    user = None if _FILE.match(uri) else re.match(rf"\s*{_SCHEME}(.*){_AT}", uri, re.I | re.S)
    if user is not None:
        password = user[1].partition(":")[2]
        # A library that splits an address at a slash in its password quotes a part of the password.
        pieces = [part for part in re.split(r"[/?#@:\s]", password) if len(part) > 3]
        for piece in sorted({password, *pieces}, key=len, reverse=True):
            for written in filter(None, (piece, unquote(piece), quote(piece, safe=""))):
                text = text.replace(written, HIDDEN)
    return hide(text)


def _line(line: str) -> str:
    if "@" in line or "%40" in line:
        line = _IN_TEXT.sub(lambda found: f"{found['scheme'] or ''}{HIDDEN}@", line, count=1)
    line = _NO_PORT_IN_TEXT.sub(rf"\g<1>{HIDDEN}", line)
    return hide_named(_QUERY_IN_TEXT.sub(f"?{HIDDEN}", line))


def hide_named(text: str) -> str:
    """Replaces values that are named like a secret.

    Example:
        >>> hide_named("{'user': 'ann', 'password': 'x y'}")
        "{'user': 'ann', 'password': ***}"
    """
    return _NAMED.sub(rf"\g<1>{HIDDEN}", text)
