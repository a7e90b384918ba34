"""The public names come from `lightmark` itself and cost nothing until they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lightmark
from lightmark import Face, Landmarker, ModelSpec
from lightmark.schema import IBUG68
from lightmark.source import to_picture

PHOTOGRAPH = Path(__file__).parents[1] / "web" / "public" / "samples" / "meeting.jpg"


def loaded_by(code: str) -> set[str]:
    """Top-level packages in `sys.modules` of a fresh Python that has run `code`."""
    code += "\nimport sys; print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_no_library() -> None:
    """Neither numpy nor what is heavier, so that it costs what bare Python does."""
    heavy = {"numpy", "cv2", "onnxruntime", "torch", "PIL", "click", "rich", "typing", "importlib.metadata"}
    assert not heavy & loaded_by("import lightmark")


def test_a_landmarker_loads_no_torch() -> None:
    """Finding landmarks needs the base install alone."""
    assert "torch" not in loaded_by("from lightmark import Landmarker, Tracker, VideoReader, nme; Landmarker()")


@pytest.mark.parametrize("name", [name for name in lightmark.__all__ if name != "__version__"])
def test_every_public_name_can_be_imported(name: str) -> None:
    """It is what the module of that name calls so, and has a docstring."""
    value = getattr(lightmark, name)
    assert value.__name__ == name
    assert value.__doc__


def test_editors_see_the_names_that_run() -> None:
    """Type checkers read the imports under TYPE_CHECKING, Python the table: they agree name by name."""
    tree = ast.parse(Path(lightmark.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    typed = {alias.asname: node.module for node in imports for alias in node.names}
    assert typed == lightmark._MODULES
    assert set(lightmark.__all__) == {*typed, "__version__"}


def test_an_unknown_name_lists_the_known_ones() -> None:
    """An unknown name raises an AttributeError that lists the known ones."""
    with pytest.raises(AttributeError, match=r"no attribute 'Landmarks'; public names: .*Landmarker"):
        lightmark.Landmarks  # noqa: B018  # looking it up is what is tested
    assert "Landmarker" in dir(lightmark)


def test_the_first_example_works() -> None:
    """Default model, a photograph's path; calling a Landmarker is detecting."""
    landmarker = Landmarker()
    if not PHOTOGRAPH.exists():
        pytest.skip("the package alone, without its pictures")
    faces = landmarker.detect(PHOTOGRAPH)
    assert len(faces) > 1
    for face, again in zip(faces, landmarker(to_picture(PHOTOGRAPH)), strict=True):
        np.testing.assert_array_equal(face.points, again.points)
    assert repr(landmarker) == "Landmarker('fast', detector='auto'): 68 points of ibug68, crops of 128 px"


def test_a_face_prints_as_one_line() -> None:
    """The repr of a face has its number of points, box, confidence and pose."""
    points = np.random.default_rng(0).uniform(0, 100, (68, 2))
    plain = Face(points, np.array([10.4, 20.0, 99.6, 120.0]), IBUG68)
    assert repr(plain).startswith("Face(68 points of ibug68, box 10, 20 to 100, 120, yaw ")
    line = np.linspace(0, 1, 68)[:, None] * np.ones(2)
    sure = Face(line, np.array([0.0, 0.0, 1.0, 1.0]), IBUG68, np.full(68, 1.25), 0.987)
    assert repr(sure) == "Face(68 points of ibug68, box 0, 0 to 1, 1, confidence 0.99, expected error 1.2 px)"


def test_a_spec_prints_as_one_line() -> None:
    """The repr of a spec is one line without the names, pairs and edges of its schema."""
    spec = ModelSpec(IBUG68, 128, confidence=True)
    assert repr(spec) == "ModelSpec(68 points of ibug68, 128 px, crop_scale 1.25, confidence)"
