"""Runs the notebooks in examples/ and writes them, with what they show, as the pages in docs/tutorials.

Needs Debian's Chromium for the figures, and some ten minutes on 2 CPU cores. Run it, from the repository's
root, with

    python -m docs.tutorials
"""

import argparse
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import plotly.io

from docs.screenshots import picture
from tests.browser import Browser, running_browser

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs/tutorials"
ANSI = re.compile(r"\x1b\[[\d;]*m")
LOCAL = re.compile(r"<style.*?</style>|<section>\n<p>Folder: .*?</section>\n", re.DOTALL)
"""The style of a frame; and where this machine keeps the search."""


def executed(path: Path) -> Any:
    """Runs a notebook in an empty folder, which is deleted."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        nbclient.NotebookClient(notebook, timeout=3600, resources=where).execute()
    return notebook


def written(name: str, notebook: Any, browser: Browser) -> str:
    """Writes an executed notebook as Markdown; saves its figures beside the page."""
    title, *text = notebook.cells[0].source.split("\n", 1)
    link = f"[Download this notebook](../../examples/{name}.ipynb) to run it."
    parts = [title, *(each.strip() for each in text), link]
    for number, cell in enumerate(notebook.cells[1:], 1):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        # The tests run the notebook, not this page: `py` is not `python`.
        parts.append(f"```py\n{cell.source}\n```")
        parts += outputs(cell, PAGES / f"{name}-{number}.png", browser)
    return "\n\n".join(parts) + "\n"


def outputs(cell: Any, image: Path, browser: Browser) -> Iterator[str]:
    """Yields what a cell shows: lines, then a table or a figure; not its warnings."""
    lines: list[str] = []
    blocks: list[str] = []
    for each in cell.outputs:
        data = each.get("data", {})
        if each.get("name") == "stdout":
            lines += each.text.splitlines()
        elif "application/vnd.plotly.v1+json" in data:
            figure = plotly.io.from_json(json.dumps(data["application/vnd.plotly.v1+json"]))
            picture(browser, figure, image)
            blocks.append(f"![The figure that this cell draws]({image.name})")
        elif each.output_type == "execute_result" and "text/html" in data:
            page = LOCAL.sub("", data["text/html"]).splitlines()
            blocks.append("\n".join(filter(str.strip, page)))  # An empty line would end it.
        elif "text/plain" in data:
            lines += ANSI.sub("", data["text/plain"]).splitlines()
    lines = [line.rstrip() for line in lines if not line.startswith(("╭", "│", "╰"))]
    if lines:
        yield "\n".join(["```text", *lines, "```"])
    yield from blocks


def main() -> None:
    """Runs the notebooks and writes their pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = sorted(path.stem for path in (ROOT / "examples").glob("*.ipynb"))
    parser.add_argument("names", nargs="*", default=names)
    PAGES.mkdir(exist_ok=True)
    with running_browser(1100, 800) as browser:
        for name in parser.parse_args().names:
            notebook = executed(ROOT / "examples" / f"{name}.ipynb")
            (PAGES / f"{name}.md").write_text(written(name, notebook, browser), encoding="utf-8")


if __name__ == "__main__":
    main()
