"""Puts tables between the marks of a page of the documentation."""

import re


def fill(page, tables):
    """Replaces what stands between `<!-- table: name -->` and `<!-- end -->`.

    Args:
        page: The file, or `None` to do nothing.
        tables: The tables by name, in Markdown.
    """
    if page is None or not page.exists():
        return
    text = page.read_text()
    for name, made in tables.items():
        block = f"<!-- table: {name} -->\n{made}\n<!-- end -->"
        pattern = rf"<!-- table: {name} -->.*?<!-- end -->"
        text = re.sub(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
    page.write_text(text)
