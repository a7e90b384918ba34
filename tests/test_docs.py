"""README and docs: links that lead somewhere, examples that are Python, and a first page that is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lightmark

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("web/*.md"), *ROOT.glob("licences/*.md")])
pytestmark = pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="the package alone, without its documents")
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the page's headings: lower case, punctuation dropped, hyphens for spaces."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files that exist, headings that are there."""
    broken = []
    for match in LINK.finditer(FENCED.sub("", page.read_text(encoding="utf-8"))):
        link = match[1] or match[2]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_example_is_python(page: Path) -> None:
    """It compiles, and the names that it takes from Lightmark are there."""
    for language, code in FENCED.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            compile(code, str(page), "exec")
            imports = re.findall(r"^(?:from lightmark\S* import .*|import lightmark\S*)$", code, re.MULTILINE)
            exec("\n".join(imports), {})


def test_the_api_page_lists_the_public_names() -> None:
    """All of them, once."""
    listed = re.findall(r"^::: lightmark\.(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(set(lightmark.__all__) - {"__version__"})


def test_every_page_is_in_the_sites_navigation() -> None:
    """Else nobody finds it."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    assert {page.name for page in ROOT.glob("docs/*.md")} == set(re.findall(r"[\w-]+\.md", nav))


def test_the_first_page_is_short_and_begins_with_an_example() -> None:
    """A stranger sees how to install and what to type before scrolling, and whether the weights may be used."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 900
    head = "\n".join(text.splitlines()[:25])
    assert "pip install" in head
    assert "from lightmark import Landmarker" in head
    assert "for research only" in head
