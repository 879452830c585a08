"""The version in the footer; and what reads well on GitHub reads well in the site too.

Links out of `docs/`: on GitHub `../examples/quickstart.py` is the file in the repository; the site holds
a copy of it in `files/`. A link to a folder becomes plain text, for a site without a server cannot list one.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>\.\./[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Puts the version into the footer."""
    source = (ROOT / "recdrop_tune/__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    config.copyright = f"recdrop-tune {version and version[1]}"
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the files that pages link to outside of `docs/`."""
    for page in files.documentation_pages():
        for link in LINK.finditer(page.content_string):
            source = _outside(page.src_uri, link["target"])
            if source is None or not (ROOT / source).is_file():
                continue
            copy = f"files/{source}"
            if files.get_file_from_path(copy) is None:
                added = File.generated(config, copy, abs_src_path=str(ROOT / source))
                files.append(added)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Points links at those copies."""

    def rewritten(link: re.Match[str]) -> str:
        source = _outside(page.file.src_uri, link["target"])
        if source is None or not (ROOT / source).exists():
            return link[0]  # MkDocs says what is wrong with it.
        if (ROOT / source).is_dir():
            return link["text"]
        to = posixpath.relpath(f"files/{source}", posixpath.dirname(page.file.src_uri) or ".")
        return f"[{link['text']}]({to})"

    return LINK.sub(rewritten, markdown)


def _outside(page: str, target: str) -> str | None:
    """The path from the repository's root, if a link leads out of `docs/`."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return None if path.startswith(("..", "docs/")) or path == "docs" else path
