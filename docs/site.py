"""Hook of mkdocs: links to files beside docs/ become their paths, since the site holds the documents alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./)+([^)]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """`[text](../path)` as "text (`path`)"; the path alone if the text is the path or a name in it."""
    return OUTSIDE.sub(lambda link: _plain(link[1], link[3]), markdown)


def _plain(text: str, path: str) -> str:
    return f"`{path}`" if text.strip("`/") in (path, Path(path).name) else f"{text} (`{path}`)"
