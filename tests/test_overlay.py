"""Overlays draw each style where the face is, thin on small faces, and leave the rest of the picture alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightmark.anonymise import anonymised
from lightmark.cli.options import STYLES as STYLE_NAMES
from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import ConfigError
from lightmark.face import Face
from lightmark.geometry import Array, tight_box
from lightmark.image import Picture
from lightmark.overlay import (
    AXES,
    BOX_COLOUR,
    CLOSED_EYE,
    COLOURS,
    MESH,
    OPEN_EYE,
    PLAIN,
    SIZE,
    STYLES,
    Style,
    chains,
    draw_faces,
    draw_faces_in_place,
    overlaid,
    require_drawable,
)
from lightmark.schema import COFW29, IBUG68, WFLW98, Schema

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
FIVE_POINTS = np.array([[0.25, 0.3], [0.75, 0.3], [0.5, 0.55], [0.35, 0.8], [0.65, 0.8]])


def near(picture: Picture, colour: tuple[int, int, int], by: int = 12) -> Array:
    """Places (K, 2), x then y, where `picture` has that colour to `by` levels."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - colour).max(axis=2) < by)
    return np.stack([columns, rows], axis=1).astype(float)


def drawn_face(style: Style, scale: float = 2.0, shade: int = 0) -> tuple[Face, Picture]:
    """A frontal face `scale` times as large as in a picture of 160 px, drawn on a plain ground."""
    points = synthetic_samples(1, seed=0)[0].points * scale
    face = Face(points, tight_box(points), IBUG68)
    side = round(160 * scale)
    return face, draw_faces_in_place(np.full((side, side, 3), shade, np.uint8), [face], [style])


def test_the_command_line_names_every_style() -> None:
    """The list of the command line is that of the styles, in their order."""
    assert tuple(STYLES) == STYLE_NAMES


@pytest.mark.parametrize(
    ("style", "colours"),
    [
        ("box", [BOX_COLOUR]),
        ("mesh", [MESH]),
        ("lines", COLOURS.values()),
        ("points", COLOURS.values()),
        ("axes", AXES[:2]),
    ],
)
def test_a_style_has_its_colours_within_the_face(style: Style, colours: list[tuple[int, int, int]]) -> None:
    """Each colour of the style is in the picture, and nothing is drawn beyond the face's box and a stroke."""
    face, drawn = drawn_face(style)
    for colour in colours:
        assert len(near(drawn, colour, by=12 if style != "mesh" else 90)) > 10
    x0, y0, x1, y1 = tight_box(np.argwhere(drawn.any(axis=2))[:, ::-1].astype(float))
    margin = 8 if style != "axes" else 30
    assert x0 > face.box[0] - margin
    assert y0 > face.box[1] - margin
    assert x1 < face.box[2] + margin
    assert y1 < face.box[3] + margin


@pytest.mark.parametrize("shade", [0, 255])
@pytest.mark.parametrize("style", ["box", "mesh", "lines", "points"])
def test_strokes_read_on_black_and_on_white(style: Style, shade: int) -> None:
    """Some pixels of the drawing differ from either ground by at least 45 of 255 in lightness."""
    _, drawn = drawn_face(style, shade=shade)
    difference = np.abs(drawn.astype(float).mean(axis=2) - shade)
    assert (difference > 45).sum() > 100


@pytest.mark.parametrize("style", ["points", "lines", "mesh"])
def test_a_small_face_stays_visible(style: Style) -> None:
    """The strokes on a face of 40 px hide less than they leave: their mean coverage is below a half."""
    face, drawn = drawn_face(style, scale=0.4, shade=128)
    x0, y0, x1, y1 = face.box.astype(int)
    change = np.abs(drawn[y0:y1, x0:x1].astype(float) - 128).max(axis=2)
    assert 5 < change.mean() < 64


def test_a_dot_lies_on_its_point() -> None:
    """The centre of mass of a lone dot is the point to a tenth of a pixel, also between pixels and at every zoom."""
    schema = Schema("pair", mirror=(1, 0), normaliser=(0, 1))
    for size in (20.0, 200.0, 700.0):
        points = np.array([[30.3, 20.6], [np.nan, np.nan]])
        face = Face(points, np.array([10.0, 10.0, 10.0 + size, 10.0 + size]), schema)
        mass = draw_faces_in_place(np.zeros((64, 64, 3), np.uint8), [face], ["points"]).astype(float).sum(axis=2)
        rows, columns = np.indices(mass.shape)
        centre = np.array([(mass * columns).sum(), (mass * rows).sum()]) / mass.sum()
        np.testing.assert_allclose(centre, points[0], atol=0.1)


def test_the_filled_mouth_is_open() -> None:
    """Lips are filled, what lies between them only with the face's tint."""
    points = synthetic_samples(1, seed=0)[0].points * 4
    points[60:68] += np.array([0, 1.0]) * np.where(np.arange(8) < 4, -6, 10)[:, None]  # opens the inner contour
    points[48:60] += np.array([0, 1.0]) * np.where(np.arange(12) < 7, -12, 20)[:, None]
    face = Face(points, tight_box(points), IBUG68)
    drawn = draw_faces_in_place(np.zeros((640, 640, 3), np.uint8), [face], ["filled"])
    column, row = np.rint(points[60:68].mean(axis=0)).astype(int)
    between, lip = drawn[row, column], drawn[tuple(np.rint((points[51] + points[62]) / 2).astype(int)[::-1])]
    np.testing.assert_allclose(between, np.array(COLOURS["jaw"]) * 0.16, atol=2)
    np.testing.assert_allclose(lip, np.array(COLOURS["mouth"]) * 0.55, atol=2)


def test_the_axes_turn_with_the_head() -> None:
    """The axis towards the person's left points right on an upright face, down at a roll of −90°."""
    points = synthetic_samples(1, seed=0)[0].points * 2
    turned = np.stack([320 - points[:, 1], points[:, 0]], axis=1)  # clockwise by 90°
    for face_points, direction in ((points, (1, 0)), (turned, (0, 1))):
        face = Face(face_points, tight_box(face_points), IBUG68)
        red = near(draw_faces_in_place(np.zeros((320, 320, 3), np.uint8), [face], ["axes"]), AXES[0])
        way = red.mean(axis=0) - (face.box[:2] + face.box[2:]) / 2
        assert way @ direction > 0.8 * np.linalg.norm(way)


def test_eyes_show_their_state_on_the_persons_own_side() -> None:
    """A closed left eye is red, on the picture's right, an open one green; also on a turned head."""
    points = synthetic_samples(1, seed=0)[0].points * 2
    upper, lower = [43, 44], [47, 46]
    points[upper] = points[lower] = (points[upper] + points[lower]) / 2
    points[[37, 38]] -= [0, 6]
    for turned in (False, True):
        place = np.stack([320 - points[:, 1], points[:, 0]], axis=1) if turned else points
        face = Face(place, tight_box(place), IBUG68)
        drawn = draw_faces_in_place(np.zeros((320, 320, 3), np.uint8), [face], ["eyes"])
        red, green = near(drawn, CLOSED_EYE), near(drawn, OPEN_EYE)
        assert 10 < len(red) < len(green)
        left, right = place[42:48].mean(axis=0), place[36:42].mean(axis=0)
        for found, own, other in ((red, left, right), (green, right, left)):
            middle = found.mean(axis=0)
            assert np.linalg.norm(middle - own) < np.linalg.norm(middle - other)


def test_unknown_points_are_left_out() -> None:
    """Points of NaN vanish with their lines in every style; the others are drawn, and nothing fails."""
    points = synthetic_samples(1, seed=0)[0].points
    points[[3, 40, 60]] = [[np.nan, 1.0], [np.nan, 2.0], [np.nan, np.nan]]
    face = Face(points, np.array([20.0, 20.0, 140.0, 140.0]), IBUG68)
    for style in STYLES:
        drawn = draw_faces_in_place(np.zeros((160, 160, 3), np.uint8), [face], [style])
        assert drawn.any() == (style not in ("axes", "eyes")), style  # a pose needs every point


@pytest.mark.parametrize("style", list(STYLES))
def test_faces_beyond_the_picture_are_cut_or_absent(style: Style) -> None:
    """A face half outside is drawn inside alone; one at a billion pixels draws nothing."""
    half = synthetic_samples(1, seed=0)[0].points - [80, 0]
    drawn = draw_faces_in_place(np.zeros((160, 160, 3), np.uint8), [Face(half, tight_box(half), IBUG68)], [style])
    assert drawn[:, :60].any()
    far = half + 1e9
    assert not draw_faces_in_place(np.zeros((16, 16, 3), np.uint8), [Face(far, tight_box(far), IBUG68)], [style]).any()


def test_a_colour_replaces_those_of_the_groups() -> None:
    """Without group colours everything has the colour of the caller, as the ids of a video."""
    from lightmark.overlay import draw_face

    face, _ = drawn_face("lines")
    canvas = np.zeros((320, 320, 3), np.uint8)
    draw_face(canvas, face, ["lines", "points", "box"], colour=(10, 20, 250))
    assert len(near(canvas, (10, 20, 250))) > 200
    assert not any(len(near(canvas, colour)) for colour in COLOURS.values())


def test_blurred_faces_are_drawn_only_where_styles_are_named() -> None:
    """Landmarks are a person's own: the default after blurring is the blurred picture alone."""
    sample = synthetic_samples(1, seed=0)[0]
    face, image = Face(sample.points, sample.box, IBUG68), np.asarray(sample.image)
    blurred, drawn = overlaid(image, [face], None, "faces"), overlaid(image, [face], ["points"], "faces")
    np.testing.assert_array_equal(blurred, anonymised(image, [face]))
    assert len(near(drawn, COLOURS["jaw"], by=40)) > len(near(blurred, COLOURS["jaw"], by=40)) + 10


def test_axes_of_points_without_a_pose_are_refused() -> None:
    """The error names the schema; other styles are drawn for any points."""
    with pytest.raises(ConfigError, match="style axes: needs the head's pose, which five does not give"):
        require_drawable(FIVE, ["points", "axes"])
    with pytest.raises(ConfigError, match="style eyes: needs"):
        require_drawable(FIVE, ["eyes"])
    require_drawable(FIVE, ["points", "filled"])
    require_drawable(WFLW98, ["axes"])


def test_lines_join_the_edges_of_each_schema() -> None:
    """Every edge is in one line, and eyes and lips are closed."""
    for schema, closed in ((IBUG68, 4), (WFLW98, 6), (COFW29, 6)):
        lines = chains(schema)
        assert sum(len(line) - 1 for line in lines) == len(schema.edges)
        assert sum(line[0] == line[-1] for line in lines) == closed


def test_all_faces_lie_inside_the_drawing() -> None:
    """The square takes in the points and boxes of every face, and draws them in its own pixels."""
    boxes = np.array([[40.0, 30.0, 60.0, 50.0], [150.0, 90.0, 190.0, 120.0]])
    faces = [Face(box[:2] + FIVE_POINTS * (box[2:] - box[:2]), box, FIVE) for box in boxes]
    drawn = draw_faces(np.zeros((140, 200, 3), np.uint8), faces)
    x0, y0, x1, y1 = tight_box(near(drawn, BOX_COLOUR))
    # 150 px from box to box, in a square of 1.8 times that.
    assert x1 - x0 == pytest.approx(SIZE / 1.8, abs=8)
    assert (x0 + x1) / 2 == pytest.approx((SIZE - 1) / 2, abs=4)
    assert (y0 + y1) / 2 == pytest.approx((SIZE - 1) / 2, abs=4)
    assert len(near(drawn, PLAIN)) > 4


def test_a_picture_without_faces_is_unchanged() -> None:
    """Nothing is drawn, nothing moves, and the result is a copy."""
    grey = np.full((80, 100, 3), 128, np.uint8)
    drawn = draw_faces_in_place(grey, [])
    np.testing.assert_array_equal(drawn, grey)
    assert not np.shares_memory(drawn, grey)


def test_the_page_has_the_same_styles_and_colours() -> None:
    """The page's source names each style, and every colour as CSS writes it."""
    source = Path(__file__).parents[1] / "web" / "src" / "page" / "drawing.ts"
    if not source.exists():
        pytest.skip("the package alone, without the page's sources")
    text = source.read_text(encoding="utf-8")
    for style in STYLES:
        assert f'"{style}"' in text
    for colour in (BOX_COLOUR, PLAIN, MESH, *COLOURS.values(), *AXES):
        assert "#{:02x}{:02x}{:02x}".format(*colour) in text
