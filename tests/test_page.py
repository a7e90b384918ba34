"""The built page: complete, with requests to its own server only."""

from __future__ import annotations

import json
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "src" / "lightmark" / "page"
MODELS = PAGE.parent / "models"


def test_every_file_that_the_page_names_is_there() -> None:
    """Its scripts, styles and samples lie beside it."""
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:src|href|data-sample)="(?:\./)?([^"#:]+)"', html))
    assert {"lightmark.js", "icon.svg", "samples/curls.jpg"} <= named
    assert [name for name in named if not (PAGE / name).is_file()] == []


def test_every_file_kept_for_visits_without_network_is_there() -> None:
    """A missing one would keep the service worker from starting."""
    found = re.search(r"addAll\((\[.*?\])\)", (PAGE / "sw.js").read_text(encoding="utf-8"))
    assert found is not None
    kept = [name for name in json.loads(found[1]) if name != "./"]
    assert "ort/ort-wasm-simd-threaded.wasm" in kept
    assert [name for name in kept if not (PAGE / name).is_file()] == []


def test_the_page_holds_no_inline_code_and_no_other_address() -> None:
    """What the servers' content policy forbids would silently not run."""
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html) == []
    assert re.findall(r'(?:src|href)="(?:https?:)?//', html) == []
    assert "connect-src &#39;self&#39;" in html


def test_models_stay_where_python_has_them() -> None:
    """The server maps models/ to the package's own folder: no second copy in the wheel."""
    assert list(PAGE.rglob("*.onnx")) == []
    assert (MODELS / "models.json").is_file()
