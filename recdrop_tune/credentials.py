"""Hides secrets in addresses and in other libraries' errors: rather too much than too little."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

HIDDEN = "***"
"""Replaces a secret."""

_AT = r"(?:@|%40)"

# A path can contain an @, and has no user in front of it.
_FILE = re.compile(r"\s*(?:sqlite(?:\+\w+)?|file):///(?!.*://)", re.I | re.S)
_USER = re.compile(rf"^(\s*[\w+.-]+://)?.*({_AT})", re.S)
# Inside a text, an address begins with its scheme, or with a word that ends in a colon.
_USER_IN_TEXT = re.compile(rf"([\w+.-]*:?//|(?<!\w)[\w+.-]+:/)?(?(1)|[^\s:'\"`(\[]+:(?=\S)).*{_AT}")
# What follows the colon is no port: a password, in an address whose end is missing.
_NO_PORT_IN_TEXT = re.compile(r"(://[^\s:/?#\['\"]+:)(?!\d{0,5}(?:[^\w%]|$))[^\s'\"]+")
_QUERY_IN_TEXT = re.compile(r"\?[^\s?'\"]*=[^\s'\"]*")
_NAMES = (
    r"password|passwd|passphrase|pwd|secret|token|credentials?|sig|signature|authorization|"
    r"(?:api|access|account|private|ssl)[-_]?key(?:[-_]?id)?"
)
_NAMED = re.compile(
    rf"((?:{_NAMES})['\"]?\s*[=:]\s*)"
    r"('[^']*'|\"[^\"]*\"|(?:(?:basic|bearer)\s+)?[^\s,;&'\")}\]]+)",
    re.I,
)


def hide_address(text: str) -> str:
    """Replaces the user, the password and the query of an address, which can be mistyped.

    Example:
        >>> hide_address("postgresql://ann:p w@db/mlflow?sslkey=k")
        'postgresql://***@db/mlflow?***'
    """
    if not _FILE.match(text):
        text = _USER.sub(rf"\g<1>{HIDDEN}\g<2>", text, count=1)
        text = _NO_PORT_IN_TEXT.sub(rf"\g<1>{HIDDEN}", text)
    return hide_named(re.sub(r"\?.*$", f"?{HIDDEN}", text, flags=re.S))


def hide(text: str) -> str:
    """Replaces secrets in any text: users of addresses, queries, and values named like a secret.

    Example:
        >>> hide("cannot reach ann:pw@db: password='x y'")
        'cannot reach ***@db: password=***'
    """
    lines = text.splitlines(keepends=True)
    for i, line in enumerate(lines):
        if "@" in line or "%40" in line:  # The search is slow in long lines.
            lines[i] = _USER_IN_TEXT.sub(rf"\g<1>{HIDDEN}@", line, count=1)
    text = _NO_PORT_IN_TEXT.sub(rf"\g<1>{HIDDEN}", "".join(lines))
    return hide_named(_QUERY_IN_TEXT.sub(f"?{HIDDEN}", text))


def hide_value(value: str) -> str:
    """Replaces secrets in the value of any argument, which might be an address."""
    is_address = re.search(rf"://|(?::|//).*{_AT}", value, re.S)
    return hide_address(value) if is_address else hide(value)


def scrub(text: str, uri: str) -> str:
    """Removes an address, and the parts of its password, from an error that might quote them."""
    text = text.replace(uri, hide_address(uri))
    address = rf"(?:.*?//|\s*[\w+.-]+:/)?+[^:]*:(.*){_AT}"
    found = None if _FILE.match(uri) else re.match(address, uri, re.S)
    password = found[1] if found else ""
    # requests takes the host to end at a slash in the password, and quotes the rest.
    parts = [part for part in re.split(r"[/?#@:\s]", password) if len(part) > 3]
    secrets = {password, unquote(password), *parts} - {""}
    secrets |= {quote(each, safe="") for each in secrets}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return hide(text)


def hide_named(text: str) -> str:
    """Replaces values that are named like a secret, such as `x` in `password=x`."""
    return _NAMED.sub(rf"\g<1>{HIDDEN}", text)
