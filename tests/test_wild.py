"""The benchmark of the wild draws what it says, and counts faces and errors right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lightmark.data.sample import Sample, load_image
from lightmark.data.synthetic import synthetic_samples
from lightmark.geometry import longer_side
from lightmark.schema import IBUG68

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "wild.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the package alone, without its scripts")


@pytest.fixture(scope="module")
def wild(open_script: Callable[[str], ModuleType]) -> ModuleType:
    """The script as a module."""
    return open_script("wild")


@pytest.fixture(scope="module")
def face() -> Sample:
    """A drawn face of some 100 px."""
    return synthetic_samples(1, seed=3, size=160)[0]


def colour_at(picture: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Colour (3,) of the pixel below `point`."""
    x, y = point.round().astype(int)
    return picture[y, x].astype(int)


@pytest.mark.parametrize("side", [24, 100, 300])
def test_a_placed_face_has_its_size_and_its_points(wild: ModuleType, face: Sample, side: float) -> None:
    """Also where it is reduced several times; the colours below the points are those of the face's own picture."""
    case = wild.placed(face, side, (640, 480))
    assert longer_side(case.box) == pytest.approx(side)
    np.testing.assert_allclose((case.box[:2] + case.box[2:]) / 2, (319.5, 239.5))
    own = np.array([colour_at(load_image(face), point) for point in face.points[[8, 30, 33, 57]]])
    here = np.array([colour_at(case.picture, point) for point in case.points[[8, 30, 33, 57]]])
    assert np.abs(own - here).mean() < 25
    assert tuple(case.picture[0, 0]) == wild.BORDER


def test_a_rolled_face_is_all_in_the_picture(wild: ModuleType, face: Sample) -> None:
    """Upside down the chin is above the eyes, and the nose keeps its colour."""
    case = wild.rolled(face, 180)
    assert case.points[8, 1] < case.points[36, 1]
    assert np.abs(colour_at(case.picture, case.points[30]) - colour_at(load_image(face), face.points[30])).max() < 60
    assert (case.points > 0).all()
    assert (case.points.max(axis=0) < case.picture.shape[1]).all()


@pytest.mark.parametrize("edge", range(4))
def test_the_share_beyond_the_border(wild: ModuleType, face: Sample, edge: int) -> None:
    """A third of the box lies outside, on one side, and its points are not judged."""
    case = wild.beyond_border(face, 1 / 3, edge)
    outside = np.concatenate([np.maximum(0, -case.box[:2]), np.maximum(0, case.box[2:] - (639, 479))])
    extent = (case.box[2:] - case.box[:2])[edge // 2]
    expected = np.zeros(4)
    expected[{0: 0, 1: 2, 2: 1, 3: 3}[edge]] = extent / 3
    np.testing.assert_allclose(outside, expected, atol=1e-6)
    assert 0 < (~case.judged).sum() < 68


def test_covers_hide_what_is_not_judged(wild: ModuleType, face: Sample) -> None:
    """Covered points have the cover's colour, and other inner points are as they were."""
    plain = wild.with_cover(wild.upright(face), "none")
    for kind, colour in (("mask", (170, 200, 220)), ("shades", (20, 20, 25))):
        case = wild.with_cover(wild.upright(face), kind)
        hidden = [index for index in wild.COVERS[kind] if index > 16]  # the jaw is the mask's edge
        colours = np.array([colour_at(case.picture, case.points[index]) for index in hidden])
        assert (np.abs(colours - colour).max(axis=1) == 0).mean() > 0.9, kind
        assert not case.judged[hidden].any()
        brows = case.points[18:26]
        unlike = [np.any(colour_at(case.picture, point) != colour_at(plain.picture, point)) for point in brows]
        assert sum(unlike) <= 1
    assert plain.judged.all()


def test_light_and_noise(wild: ModuleType, face: Sample) -> None:
    """Factors are of the grey levels, noise has its standard deviation and is the same in every run."""
    case = wild.upright(face)
    assert wild.lit(case, 0.5).picture.mean() == pytest.approx(case.picture.mean() / 2, rel=0.02)
    noisy = wild.with_noise(case, 10, 3).picture
    assert np.std(noisy[:40].astype(int) - case.picture[:40]) == pytest.approx(10, rel=0.05)
    np.testing.assert_array_equal(noisy, wild.with_noise(case, 10, 3).picture)


def test_rows_count_faces_and_errors(wild: ModuleType, face: Sample) -> None:
    """The nearest answer counts; none, or one that is far off, is a face that is not found."""
    off = np.array([3.0, 4.0])
    answers = {
        "exact": lambda picture, box: [wild.upright(face).points + 300, wild.upright(face).points],
        "five pixels off": lambda picture, box: [wild.upright(face).points + off],
        "none": lambda picture, box: [],
        "another": lambda picture, box: [wild.upright(face).points + 100],
    }
    part = wild.Part(("a",), lambda sample, level, number: wild.upright(sample))
    rows = {name: wild.measure(find, part, {"a": [face, face]})[0] for name, find in answers.items()}
    assert [(row["faces"], row["found"]) for row in rows.values()] == [(2, 1.0), (2, 1.0), (2, 0.0), (2, 0.0)]
    points = wild.upright(face).points
    eyes = np.linalg.norm(points[IBUG68.normaliser[0]] - points[IBUG68.normaliser[1]])
    assert rows["exact"]["nme_of_found"] == 0
    assert rows["five pixels off"]["nme_of_found"] == pytest.approx(5 / eyes, abs=1e-5)
    assert rows["none"]["nme_of_found"] is None


def test_unjudged_points_do_not_count(wild: ModuleType, face: Sample) -> None:
    """An answer that is wrong only beyond the border is exact."""
    case = wild.beyond_border(face, 0.5, 0)
    answer = np.where(case.judged[:, None], case.points, 0.0)
    assert wild.error([answer], case) == 0


def test_errors_of_turned_faces_are_over_half_the_box(wild: ModuleType, face: Sample) -> None:
    """Five pixels of a face of 160."""
    case = wild.PARTS["yaw"].draw(face, "0–30", 0)
    assert wild.error([case.points + np.array([3, 4])], case) == pytest.approx(5 / 80)


def test_copies_are_grouped_by_their_yaw(wild: ModuleType) -> None:
    """Every face is in the group of its yaw, whatever its sign."""
    faces = synthetic_samples(12, seed=1, size=96)
    groups = wild.by_yaw(faces)
    assert sum(map(len, groups.values())) == 12
    assert list(groups) == ["0–30", "30–45", "45–60", "60–75", "75–91"]


def test_tables_and_figure_have_every_part(wild: ModuleType, tmp_path: Path) -> None:
    """A table a part, and a picture."""
    row = {"level": 0, "faces": 3, "found": 0.5, "nme_of_found": None, "ms": 1.0}
    result = {"roll": {"fast": [row, {**row, "level": 15}]}, "scenes": {"fast": [{**row, "nme_of_found": 0.05}]}}
    table = wild.tables(result)
    assert "| roll | 0 | 15 |" in table
    assert "| fast: found, % | 50 | 50 |\n| NME, % | – | – |" in table
    assert "| NME, % | 5.0 |" in table
    pytest.importorskip("matplotlib")
    wild.draw(result, tmp_path / "wild.png")
    assert (tmp_path / "wild.png").read_bytes().startswith(b"\x89PNG")
