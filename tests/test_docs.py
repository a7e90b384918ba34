"""README and docs: links that lead somewhere, examples that are Python, and a first page that is short."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import numpy as np
import pytest

pytest.importorskip("torch")

import lightmark
from lightmark.cli import main
from lightmark.data.formats.pts import format_pts
from lightmark.data.sample import load_image
from lightmark.data.synthetic import synthetic_samples
from lightmark.draw import write_png
from lightmark.nets.checkpoint import save_checkpoint
from lightmark.nets.network import Architecture, build_network
from lightmark.schema import IBUG68
from lightmark.source import to_picture
from lightmark.spec import ModelSpec
from lightmark.video.writer import writing_video

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


EXAMPLES = [
    pytest.param(code, id=f"{page.relative_to(ROOT).as_posix()}-{number}")
    for page in PAGES
    for number, (language, code) in enumerate(FENCED.findall(page.read_text(encoding="utf-8")))
    if language == "python"
]
COMMANDS = [
    pytest.param(command, id=f"{page.name}: {command[:60]}")
    for page in PAGES
    for language, code in FENCED.findall(page.read_text(encoding="utf-8"))
    if language == "sh"
    for command in re.findall(r"(?:^|[|] |-m |-c 0 )lightmark (.*)$", code.replace("\\\n", " "), re.MULTILINE)
]


@pytest.fixture
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Working folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    samples = tmp_path / "web" / "public" / "samples"
    samples.mkdir(parents=True)
    for name in (tmp_path / "photo.jpg", samples / "meeting.jpg"):
        shutil.copy(ROOT / "web" / "public" / "samples" / "meeting.jpg", name)
    with writing_video(tmp_path / "film.mp4") as writer:
        writer.write(to_picture(tmp_path / "photo.jpg"), 0.0)
    tests, model = tmp_path / "300w" / "lfpw" / "testset", tmp_path / "runs" / "cpu128" / "student"
    for folder in (tests, model):
        folder.mkdir(parents=True)
    for index, face in enumerate(synthetic_samples(3, seed=1)):
        write_png(load_image(face), tests / f"{index}.png")
        (tests / f"{index}.pts").write_text(format_pts(face.points))
    architecture = Architecture("mobilenetv2", "spatial", width=0.25)
    network = build_network(architecture, np.full((68, 2), 0.5), seed=0)
    save_checkpoint(model / "model.safetensors", network, architecture, ModelSpec(IBUG68, 32))


@pytest.mark.usefixtures("users_folder")
@pytest.mark.parametrize("code", EXAMPLES)
def test_every_python_example_runs(code: str) -> None:
    """As it stands, in a folder with the files that it names."""
    exec(compile(code, "example", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_options_that_are_shown(command: str) -> None:
    """Each command line of the documents parses, up to the files that it names."""
    words = shlex.split(command, comments=True)
    context = click.Context(main)
    while words and isinstance(context.command, click.Group):
        chosen = context.command.get_command(context, words[0])
        assert chosen is not None or words[0].startswith("-"), f"no command {words[0]}"
        if chosen is None:
            break
        context, words = click.Context(chosen, parent=context, info_name=words[0]), words[1:]
    context.command.make_parser(context).parse_args([word for word in words if word != "…"])


def test_the_api_page_lists_the_public_names() -> None:
    """The API page lists all public names once."""
    listed = re.findall(r"^::: lightmark\.(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(set(lightmark.__all__) - {"__version__"})


def test_every_page_is_in_the_sites_navigation() -> None:
    """All pages are in the navigation of the site."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    assert {page.name for page in ROOT.glob("docs/*.md")} == set(re.findall(r"[\w-]+\.md", nav))


def test_the_first_page_is_short_and_begins_with_an_example() -> None:
    """README begins with the install, a first command and the licence of the weights."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 900
    head = "\n".join(text.splitlines()[:25])
    assert "pip install" in head
    assert "from lightmark import Landmarker" in head
    assert "for research only" in head
