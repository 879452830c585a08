"""The pages of the documentation, taken apart into their blocks of code."""

import re
from dataclasses import dataclass

from sklearn import datasets
from sklearn.utils import Bunch

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
    """A fenced block, below a line of a page; `reason` says why it is not run, if it is not."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None


def blocks(page, *languages):
    """The blocks of a page in these languages, in order."""
    text = PAGES[page].read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match["language"] in languages:
            line = text.count("\n", 0, match.start("code"))
            yield Block(page, line, match["language"], match["code"], match["reason"])


def pages_with(*languages):
    """The pages that have a block in one of these languages."""
    return [page for page in PAGES if any(blocks(page, *languages))]


def run(block, names, instead):
    """Executes a block in a namespace, with patterns replaced; a traceback shows the page's own lines."""
    code = "\n" * block.line + block.code
    for pattern, replacement in instead.items():
        code = re.sub(pattern, replacement, code)
    exec(compile(code, str(PAGES[block.page]), "exec"), names)


def have_fewer_digits(monkeypatch, number, rows=8):
    """Lets scikit-learn have so many of its handwritten digits, and of each the upper rows."""
    digits = datasets.load_digits()
    few = Bunch(images=digits.images[:number, :rows], target=digits.target[:number])
    monkeypatch.setattr(datasets, "load_digits", lambda: few)
