"""Imports point one way: each module imports only from the layers below it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lightmark

ROOT = Path(lightmark.__file__).parent
# From the bottom; a part is a file or a folder right below src/lightmark.
LAYERS: tuple[set[str], ...] = (
    {"errors", "bit_depth", "provenance"},
    {"extras", "geometry", "files", "schema", "bounds", "losses"},
    {"schemes"},
    {"image", "spec", "mean_head", "mesh_points", "outputs", "metrics", "shape"},
    {"runtime", "pose", "pnm", "draw", "nets", "measures", "alignment", "scores"},
    {"detectors", "face", "source", "bench"},
    {"crop_requests"},
    {"landmarker", "data", "anonymise"},
    {"interop"},
    {"annotate", "evaluate", "overlay"},
    {"photos", "train", "video", "export"},
    {"serve", "demo"},
    {"cli"},
    {"__main__"},
)
LEVELS = {part: level for level, parts in enumerate(LAYERS) for part in parts}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def part_of(module: str) -> str:
    """Part of a dotted name: "lightmark.data.read" is of "data"."""
    return module.split(".")[1] if "." in module else ""


def imported_parts(path: Path) -> set[str]:
    """Parts that a file imports anywhere, in functions too, but for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typed = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "lightmark":
            names = [node.module] if node.module != "lightmark" else [f"lightmark.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("lightmark.")]
        else:
            continue
        found |= {part_of(name or "") for name in names} & LEVELS.keys()
    return found


def test_every_part_has_a_layer() -> None:
    """Every package has a layer, and every package named in a layer exists."""
    parts = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES}
    assert parts == LEVELS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path: Path) -> None:
    """A file imports its own part and those of lower layers."""
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    upward = {part for part in imported_parts(path) - {own} if LEVELS[part] >= LEVELS[own]}
    assert upward == set()
