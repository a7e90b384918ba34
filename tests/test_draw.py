"""Overlays, tiles and contact sheets."""

import numpy as np
import pytest
from PIL import ImageFont

from lightmark.draw import (
    GREEN,
    TARGET,
    contact_sheet,
    draw_landmarks,
    face_tile,
    wrap_caption,
    write_png,
)
from lightmark.errors import ImageError, SchemaError, WriteError
from lightmark.schema import IBUG68, Schema
from lightmark.source import to_picture

PAIR = Schema("pair", mirror=(1, 0), normaliser=(0, 1), edges=((0, 1),))


def black(height=64, width=64):
    """Black picture."""
    return np.zeros((height, width, 3), np.uint8)


def centroid(image):
    """Centre of mass (x, y) of the brightness, pixel centres at integers."""
    mass = image.astype(float).sum(axis=2)
    rows, columns = np.indices(mass.shape)
    return np.array([(mass * columns).sum(), (mass * rows).sum()]) / mass.sum()


@pytest.mark.parametrize("point", [(30.0, 20.0), (30.5, 20.25), (12.3, 41.9)])
def test_a_dot_lies_on_its_point_to_a_fifth_of_a_pixel(point):
    """A lone dot's centre of mass is the point, also between pixels."""
    assert centroid(draw_landmarks(black(), np.array([point]))) == pytest.approx(point, abs=0.2)


def test_the_input_picture_is_not_changed():
    """Drawing returns a copy."""
    image = black()
    drawn = draw_landmarks(image, np.array([[30.0, 20.0]]))
    assert drawn.any()
    assert not image.any()


def test_edges_of_the_schema_are_drawn():
    """The middle of an edge is painted with a schema and bare without one."""
    points = np.array([[10.0, 32.0], [50.0, 32.0]])
    assert draw_landmarks(black(), points, PAIR)[32, 30].any()
    assert not draw_landmarks(black(), points)[32, 30].any()


def test_truth_lies_beneath_the_points():
    """Where both coincide the points' colour shows; elsewhere the target has its own."""
    points, target = np.array([[20.0, 20.0], [40.0, 40.0]]), np.array([[20.0, 20.0], [50.0, 20.0]])
    drawn = draw_landmarks(black(), points, target=target)
    assert tuple(drawn[20, 20]) == GREEN
    assert tuple(drawn[20, 50]) == TARGET


def test_strokes_grow_with_the_face():
    """A face ten times as large is drawn with larger dots."""
    small = draw_landmarks(black(800, 800), np.array([[100.0, 100.0], [160.0, 160.0]]))
    large = draw_landmarks(black(800, 800), np.array([[100.0, 100.0], [700.0, 700.0]]))
    assert large.any(axis=2).sum() > 4 * small.any(axis=2).sum()


def test_points_that_are_not_finite_are_left_out():
    """A NaN or infinite point vanishes with its edges; the others are drawn."""
    drawn = draw_landmarks(black(), np.array([[np.nan, 10.0], [20.0, 20.0]]), PAIR)
    assert centroid(drawn) == pytest.approx((20, 20), abs=0.2)


def test_points_that_are_all_unknown_draw_nothing():
    """Points that are all NaN leave the picture unchanged."""
    assert not draw_landmarks(black(), np.full((2, 2), np.nan), PAIR).any()


def test_points_far_outside_draw_nothing():
    """Half a face outside, or a point at a billion, does not wrap round into the picture."""
    assert not draw_landmarks(black(), np.array([[1e9, -1e9], [1e9, 1e9]]), PAIR).any()


def test_a_foreign_number_of_points_is_refused():
    """Points that do not fit the schema raise, naming both shapes."""
    with pytest.raises(SchemaError, match=r"\(2, 2\), ibug68 needs \(\.\.\., 68, 2\)"):
        draw_landmarks(black(), np.zeros((2, 2)), IBUG68)


def test_a_grey_picture_is_refused():
    """A picture without colour planes raises instead of being broadcast."""
    with pytest.raises(ImageError, match="RGB uint8"):
        draw_landmarks(np.zeros((8, 8), np.uint8), np.zeros((1, 2)))


def test_a_tile_centres_the_face():
    """The middle of the face's tight box lands on the tile's centre, whatever its size."""
    corners = np.array([[100.0, 60.0], [140.0, 90.0]])
    assert centroid(face_tile(black(200, 300), corners, size=81)) == pytest.approx((40, 40), abs=0.2)


def test_a_tile_follows_the_truth():
    """With a target the crop is the target's, so that two models' tiles of one face match."""
    image = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    target = np.array([[30.0, 30.0], [60.0, 60.0]])
    far = np.array([[-500.0, -500.0], [-400.0, -500.0]])
    assert np.array_equal(face_tile(image, far, target=target), face_tile(image, far - 100, target=target))


def test_a_tile_half_outside_the_picture_is_black_there():
    """The part of the crop that lies outside the picture is filled with zeros."""
    white = np.full((50, 50, 3), 255, np.uint8)
    tile = face_tile(white, np.array([[-20.0, 10.0], [20.0, 40.0]]), size=80)
    assert not tile[:, 0].any()
    assert tile[40, 79].all()


@pytest.mark.parametrize("points", [[[16.0, 16.0]], [[16.0, 16.0]] * 3, [[8.0, 16.0], [24.0, 16.0]]])
def test_a_tile_of_points_that_span_no_box_has_them_in_its_middle(points):
    """One point, the same point again, two of one height: a square of the picture around them."""
    tile = face_tile(np.zeros((32, 32, 3), np.uint8), np.array(points), size=81)
    rows, columns = np.nonzero(tile.any(axis=-1))
    assert (rows.mean(), columns.mean()) == pytest.approx((40, 40), abs=1)
    assert np.ptp(columns) < 70


def test_tiles_stand_in_reading_order():
    """The second row begins after `columns` tiles."""
    tiles = [np.full((10, 10, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(tiles, columns=2)
    assert [sheet[8, 8, 0], sheet[8, 22, 0], sheet[22, 8, 0], sheet[22, 22, 0]] == [10, 20, 30, 255]


def test_tiles_of_different_sizes_share_one_grid():
    """Every cell is as large as the largest tile."""
    sheet = contact_sheet([black(10, 20), black(30, 10)])
    assert sheet.shape == (38, 52, 3)


def test_a_caption_is_written_below_its_tile():
    """Ink appears under the captioned tile and not under the one with an empty caption."""
    sheet = contact_sheet([np.full((80, 80, 3), 255, np.uint8)] * 2, ["4.06 %", ""])
    assert sheet[:84].min() == 255
    assert sheet[84:, :88].min() < 100
    assert sheet[84:, 88:].min() == 255


def test_long_captions_wrap_to_the_width_of_the_tile():
    """Words go to the next line, and every line fits."""
    font = ImageFont.load_default(size=12)
    lines = wrap_caption("a rather long caption below a small tile", 80, font)
    assert len(lines) > 1
    assert all(font.getlength(line) <= 80 for line in lines)
    assert " ".join(lines) == "a rather long caption below a small tile"


def test_a_word_wider_than_the_tile_is_cut():
    """A word that cannot fit ends in an ellipsis."""
    font = ImageFont.load_default(size=12)
    (line,) = wrap_caption("x" * 100, 80, font)
    assert line.endswith("…")
    assert font.getlength(line) <= 80


def test_too_few_captions_are_refused():
    """Captions come one a tile or not at all."""
    with pytest.raises(ImageError, match="1 captions for 2 tiles"):
        contact_sheet([black(), black()], ["one"])


def test_an_empty_sheet_is_refused():
    """A contact sheet without tiles raises an error."""
    with pytest.raises(ImageError, match="0 tiles"):
        contact_sheet([])


def test_png_keeps_every_pixel(tmp_path):
    """What is written is what is read, and no temporary file stays."""
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    write_png(image, tmp_path / "face.png")
    assert np.array_equal(to_picture(tmp_path / "face.png"), image)
    assert [path.name for path in tmp_path.iterdir()] == ["face.png"]


def test_png_into_a_new_folder_makes_it(tmp_path):
    """A missing folder is made."""
    write_png(black(), tmp_path / "new" / "face.png")
    assert to_picture(tmp_path / "new" / "face.png").shape == (64, 64, 3)


def test_png_below_a_file_is_refused(tmp_path):
    """Where no folder can be made the error names the picture."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(WriteError, match=r"taken/face\.png: cannot be written"):
        write_png(black(), tmp_path / "taken" / "face.png")
