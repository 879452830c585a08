"""Hides the secrets of addresses in texts that are printed or stored."""

from __future__ import annotations

import re

HIDDEN = "***"
"""Replaces a secret."""

# In SQLAlchemy's addresses a password can contain slashes, in those of the web an @.
_USER = re.compile(r"(?<=://)(?:[^\s/?#]*|[^\s:/]*:[^\s'\"@]*)@")
_QUERY = re.compile(r"(://[^\s'\"?]*\?)[^\s'\"]+")


def hide(text: str) -> str:
    """Replaces the user, the password and the query of each address in a text by `***`."""
    return _QUERY.sub(rf"\g<1>{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))
