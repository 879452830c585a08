"""Names the sections of docstrings as mkdocstrings knows them; the sources use Keras's names."""

import re
from typing import Any

from griffe import Extension, Object

NAMES = {
    r"^Example:$": "Examples:",
    r"^Call arguments:$": "Other Parameters: Call arguments:",
}


class Sections(Extension):
    """Renames sections before they are parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            for pattern, name in NAMES.items():
                obj.docstring.value = re.sub(pattern, name, obj.docstring.value, flags=re.M)
