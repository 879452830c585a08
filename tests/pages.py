"""The pages of the documentation, taken apart into their blocks of code."""

import re
from dataclasses import dataclass

from tests import ROOT

PAGES = {
    str(path.relative_to(ROOT)): path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
}
"""Every page by its path in the repository."""

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The page's path in the repository.
        line: The line of the page before the block's first one.
        language: What stands behind the fence.
        code: The text.
        reason: Why it is not run: what the comment `<!-- not run: ... -->` before it says.
    """

    page: str
    line: int
    language: str
    code: str
    reason: str | None


def blocks(page, *languages):
    """The blocks of a page in these languages, in order."""
    text = PAGES[page].read_text(encoding="utf-8")
    found = [
        Block(
            page,
            text.count("\n", 0, match.start("code")),
            match["language"],
            match["code"],
            match["reason"],
        )
        for match in _FENCE.finditer(text)
    ]
    return [block for block in found if block.language in languages]


def pages_with(*languages):
    """The pages that have a block in one of these languages."""
    return [page for page in PAGES if blocks(page, *languages)]


def run(block, names):
    """Executes a block in a namespace; a traceback shows the page's own lines."""
    code = "\n" * block.line + block.code
    exec(compile(code, str(PAGES[block.page]), "exec"), names)
