"""Tests of the one warp: edge pictures, slow references, and that shrinking does not alias."""

import cv2
import numpy as np
import pytest

from lightmark import image as image_module
from lightmark.errors import GeometryError, ImageError
from lightmark.geometry import (
    compose,
    crop_matrix,
    invert,
    matrix_scale,
    mirror_matrix,
    similarity_matrix,
    transform,
)
from lightmark.image import reduce_by_area, reduce_for, region_of, require_image, warp


def noise(height, width, seed=0):
    """A picture in which no two pixels need agree."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def waves(height, width):
    """A smooth picture: neighbouring pixels differ by at most 13 levels."""
    y, x = np.mgrid[:height, :width]
    planes = [np.sin(x / 9 + 1), np.cos(y / 8), np.sin((x + y) / 12)]
    return np.round(127.5 + 100 * np.stack(planes, axis=-1)).astype(np.uint8)


def blob(height, width, centre, sigma):
    """A black picture with one soft white dot at `centre` (x, y)."""
    y, x = np.mgrid[:height, :width]
    dot = 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
    return np.repeat(np.round(dot).astype(np.uint8)[..., None], 3, axis=2)


def centroid(crop):
    """Centre of mass (x, y) of a crop's brightness."""
    weight = crop.mean(axis=2)
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]]
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def slow_warp(image, matrix, size):
    """Bilinear interpolation pixel by pixel, in float, black outside."""
    height, width = image.shape[:2]
    crop = np.zeros((size, size, 3))
    inverse = invert(matrix)
    for v in range(size):
        for u in range(size):
            x, y = inverse[:, :2] @ [u, v] + inverse[:, 2]
            left, top = int(np.floor(x)), int(np.floor(y))
            for column, across in ((left, 1 - (x - left)), (left + 1, x - left)):
                for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
                    if 0 <= column < width and 0 <= row < height:
                        crop[v, u] += across * down * image[row, column]
    return crop


def test_usable_image_is_returned_itself():
    """The check copies nothing."""
    picture = noise(2, 2)
    assert require_image(picture) is picture


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["float", "grey", "alpha", "empty"],
)
def test_unusable_image_is_refused(picture):
    """The message has the actual and the expected value."""
    with pytest.raises(ImageError, match=rf"camera: got {picture.dtype} \({picture.shape[0]}, .*needs RGB uint8"):
        require_image(picture, "camera")


def test_identity_gives_the_picture_back():
    """A matrix that moves nothing changes no pixel."""
    picture = noise(32, 32)
    np.testing.assert_array_equal(warp(picture, np.array([[1.0, 0, 0], [0, 1, 0]]), 32), picture)


def test_whole_shift_moves_pixels():
    """A shift by integer pixels copies them, black outside the picture."""
    picture = noise(32, 32)
    moved = warp(picture, np.array([[1.0, 0, 5], [0, 1, -3]]), 32)
    np.testing.assert_array_equal(moved[:29, 5:], picture[3:, :27])
    assert not moved[29:].any()
    assert not moved[:, :5].any()


def test_mirror_turns_columns_round():
    """The matrix of a mirror gives the mirrored picture."""
    picture = noise(32, 32)
    np.testing.assert_array_equal(warp(picture, mirror_matrix(32), 32), picture[:, ::-1])


@pytest.mark.parametrize(("scale", "angle"), [(0.4, 0), (0.7, 17), (1.0, -40), (1.6, 95), (1.95, 3)])
def test_warp_equals_slow_bilinear(scale, angle):
    """Up to a shrink of 2 the crop is plain bilinear interpolation.

    OpenCV rounds places to 1/32 pixel: at 13 levels a pixel in x and in y that is 2 · 13 / 64 < 0.5, and its own
    rounding adds another 1.
    """
    picture = waves(160, 170)
    matrix = crop_matrix([65, 60, 105, 100], 40, scale, angle)
    difference = warp(picture, matrix, 40) - slow_warp(picture, matrix, 40)
    assert np.abs(difference).max() < 1.5


def test_crop_half_outside_is_black_there():
    """Where the picture ends the crop goes on in black."""
    picture = np.full((40, 40, 3), 90, np.uint8)
    crop = warp(picture, crop_matrix([-20, 0, 20, 40], 80, 1.0), 80)
    np.testing.assert_array_equal(crop[2:78, 42:], np.full((76, 38, 3), 90))
    assert not crop[:, :37].any()


@pytest.mark.parametrize("corner", [(-500, 0), (500, 0), (0, -500), (90, 900)])
@pytest.mark.parametrize("side", [20, 300])
def test_crop_outside_is_black(corner, side):
    """A crop outside the picture is black, whether it shrinks or not."""
    x, y = corner
    crop = warp(np.full((40, 40, 3), 90, np.uint8), crop_matrix([x, y, x + side, y + side], 32, 1.0), 32)
    assert crop.shape == (32, 32, 3)
    assert not crop.any()


def test_one_pixel_fills_the_middle():
    """A picture of one pixel, enlarged, is bright in the middle and fades to the black around it."""
    crop = warp(np.full((1, 1, 3), 80, np.uint8), crop_matrix([-0.5, -0.5, 0.5, 0.5], 17, 1.0), 17)
    assert crop[8, 8].tolist() == [80, 80, 80]
    assert crop[8, 0, 0] == pytest.approx(80 * (1 - 8 / 17), abs=1.5)


def test_one_pixel_can_be_shrunk():
    """A picture of one pixel in a crop that shrinks by 6 gives a dim dot, no error."""
    crop = warp(np.full((1, 1, 3), 80, np.uint8), crop_matrix([-48, -48, 48, 48], 16, 1.0), 16)
    assert 0 < crop.max() <= 80


def test_border_may_be_repeated():
    """The border rule is OpenCV's; a repeated border leaves no black."""
    picture = np.full((40, 40, 3), 90, np.uint8)
    matrix = crop_matrix([-20, 0, 20, 40], 32, 1.0)
    assert warp(picture, matrix, 32, cv2.BORDER_REPLICATE).min() == 90


def test_very_wide_picture_is_cut():
    """A panorama wider than OpenCV's warp takes gives the same crop as its part."""
    wide = np.zeros((20, 40_000, 3), np.uint8)
    wide[:, 39_000:39_040] = noise(20, 40)
    crop = warp(wide, crop_matrix([39_003, 2, 39_021, 17], 32, 1.1), 32)
    np.testing.assert_array_equal(crop, warp(wide[:, 39_000:], crop_matrix([3, 2, 21, 17], 32, 1.1), 32))


def test_matrix_that_flattens_is_refused():
    """A singular matrix cuts no crop."""
    with pytest.raises(GeometryError, match="flattens the plane"):
        warp(noise(4, 4), np.zeros((2, 3)), 16)


def test_reduction_is_the_mean_of_blocks():
    """Each reduced pixel is the mean of its block, rounded."""
    picture = noise(24, 36)
    reduced, _ = reduce_by_area(picture, 3, (0, 0, 36, 24))
    means = picture.reshape(8, 3, 12, 3, 3).mean(axis=(1, 3))
    assert reduced.shape == (8, 12, 3)
    assert np.abs(reduced - means).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_reduction_matrix_sends_block_centres_to_pixels(factor):
    """The centre of block k, k · factor + (factor − 1) / 2, becomes pixel k."""
    _, matrix = reduce_by_area(noise(56, 84), factor, (0, 0, 84, 56))
    middle = (factor - 1) / 2
    found = transform(matrix, np.array([[middle, middle], [5 * factor + middle, 2 * factor + middle]]))
    np.testing.assert_allclose(found, [[0, 0], [5, 2]], atol=1e-12)


def test_same_blocks_whatever_the_region():
    """Blocks start at the picture's corner, so that a region's reduction is a part of the picture's."""
    picture = noise(60, 60)
    whole, to_whole = reduce_by_area(picture, 4, (0, 0, 60, 60))
    part, to_part = reduce_by_area(picture, 4, (13, 22, 41, 39))
    column, row = np.round(transform(compose(to_whole, invert(to_part)), np.zeros((1, 2)))[0]).astype(int)
    assert (column, row) == (3, 5)
    np.testing.assert_array_equal(part, whole[row : row + part.shape[0], column : column + part.shape[1]])


def test_incomplete_block_repeats_the_border():
    """Five columns by twos: the third block is the last column alone."""
    picture = noise(4, 5)
    reduced, _ = reduce_by_area(picture, 2, (0, 0, 5, 4))
    assert reduced.shape == (2, 3, 3)
    assert np.abs(reduced[:, 2] - picture.reshape(2, 2, 5, 3)[:, :, 4].mean(axis=1)).max() <= 0.5


@pytest.mark.parametrize("region", [(90, 0, 120, 10), (-40, 0, -10, 10), (0, 70, 9, 99)])
def test_region_outside_is_one_black_pixel_far_away(region):
    """Nothing of the picture is left, and no crop point falls near the one black pixel."""
    reduced, matrix = reduce_by_area(noise(60, 60), 3, region)
    assert reduced.shape == (1, 1, 3)
    assert not reduced.any()
    assert transform(matrix, np.array([[1e4, 1e4]])).max() < -1e5


@pytest.mark.parametrize("angle", [0, 30, -75])
def test_region_covers_what_the_crop_sees(angle):
    """Every place of every crop pixel, edges included, lies in the region, which is no larger than need be."""
    matrix = crop_matrix([20, 30, 61, 77], 24, 1.3, angle)
    edges = np.linspace(-0.5, 23.5, 97)
    seen = transform(invert(matrix), np.stack(np.meshgrid(edges, edges), axis=-1).reshape(-1, 2))
    x0, y0, x1, y1 = region_of(matrix, (24, 24))
    low, high = seen.min(axis=0), seen.max(axis=0)
    assert (low - [x0, y0] >= 0).all()
    assert (low - [x0, y0] < 1).all()
    assert ([x1 - 1, y1 - 1] - high >= 0).all()
    assert ([x1 - 1, y1 - 1] - high < 1).all()


@pytest.mark.parametrize("scale", [0.6, 1.2, 3.7, 8.0])
@pytest.mark.parametrize("angle", [0, 25])
def test_pixels_far_from_the_region_do_not_matter(scale, angle):
    """Cutting the region out before reducing changes no pixel of the crop."""
    picture = noise(400, 400)
    matrix = crop_matrix([180, 180, 220, 220], 40, scale, angle)
    x0, y0, x1, y1 = region_of(matrix, (40, 40))
    factor = max(1, int(1 / matrix_scale(matrix)))
    blackened = np.zeros_like(picture)
    inside = slice(max(y0 - factor, 0), y1 + factor), slice(max(x0 - factor, 0), x1 + factor)
    blackened[inside] = picture[inside]
    np.testing.assert_array_equal(warp(blackened, matrix, 40), warp(picture, matrix, 40))


def test_shrinking_by_a_whole_number_is_the_mean_of_blocks():
    """A crop of 4×4 blocks whose edges fall on the picture's is their mean, rounded in each of two halvings."""
    picture = noise(128, 128)
    crop = warp(picture, np.array([[0.25, 0, -0.375], [0, 0.25, -0.375]]), 32)
    difference = crop - picture.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    assert np.abs(difference).max() <= 1
    assert np.abs(difference).mean() < 0.4


@pytest.mark.parametrize(("shrink", "factor"), [(2.01, 2), (3.9, 2), (4.0, 4), (7.9, 4), (8.0, 8), (33.0, 32)])
def test_pictures_are_reduced_by_a_power_of_two(shrink, factor):
    """The largest one that the crop shrinks by at least, so that less than 2 is left for the bilinear sampling."""
    matrix = similarity_matrix(np.zeros(2), np.zeros(2), 1 / shrink)
    _, left = reduce_for(noise(400, 400), matrix, (10, 10))
    assert matrix_scale(left) == pytest.approx(factor / shrink)


SHRINKS = [1.0, 1.5, 1.99, 2.01, 2.5, 3.0, 3.3, 4.0, 4.9, 5.5, 6.01, 7.7, 8.0, 9.99, 11.2, 12.0]


@pytest.mark.parametrize("shrink", SHRINKS)
@pytest.mark.parametrize("angle", [0, 21])
def test_shrinking_leaves_content_in_place(shrink, angle):
    """A soft dot comes to lie where the matrix sends its centre, to 1/32 of a crop pixel (OpenCV's own grid)."""
    side = 40 * shrink
    centre = np.array([0.55 * side + 31.3, 0.47 * side + 17.8])
    picture = blob(int(side + 60), int(side + 70), centre, 3.0 * shrink)
    matrix = crop_matrix([31, 18, 31 + side, 18 + side], 40, 1.0, angle)
    np.testing.assert_allclose(centroid(warp(picture, matrix, 40)), transform(matrix, centre[None])[0], atol=1 / 32)


def enlarged(picture, interpolation):
    """The picture at four times its size."""
    return cv2.resize(picture, None, fx=4, fy=4, interpolation=interpolation)


ENLARGE = np.array([[4.0, 0, 1.5], [0, 4, 1.5]])  # pixel p covers 4p to 4p + 3
ENLARGEMENTS = pytest.mark.parametrize(
    ("interpolation", "tolerance"), [(cv2.INTER_NEAREST, 0.5), (cv2.INTER_CUBIC, 2.0)], ids=["replicated", "cubic"]
)


def difference_when_enlarged(interpolation, shrink=1.2):
    """Mean difference of a finely textured picture's crop and the same crop of it enlarged four times."""
    picture = cv2.GaussianBlur(noise(90, 90), (0, 0), 0.8)
    matrix = crop_matrix([20.3, 22.6, 20.3 + 40 * shrink, 22.6 + 40 * shrink], 40, 1.0, 10)
    large = warp(enlarged(picture, interpolation), compose(matrix, invert(ENLARGE)), 40)
    return np.abs(large.astype(float) - warp(picture, matrix, 40)).mean()


@ENLARGEMENTS
def test_enlarged_picture_gives_the_same_crop(interpolation, tolerance):
    """A face four times as large is the same face: of texture as fine as pixels allow, the crops hardly differ.

    Replicated pixels are averaged back exactly; a cubic enlargement has itself changed the picture a little.
    """
    assert difference_when_enlarged(interpolation) < tolerance


@ENLARGEMENTS
def test_enlarged_picture_gives_another_crop_without_reduction(monkeypatch, interpolation, tolerance):
    """It is the reduction by area that makes the crops agree: without it they differ by more than that."""
    nothing = np.array([[1.0, 0, 0], [0, 1, 0]])
    monkeypatch.setattr(image_module, "reduce_by_area", lambda image, factor, region: (image, nothing))
    assert difference_when_enlarged(interpolation) > tolerance


def test_fine_stripes_shrink_to_grey():
    """Stripes finer than a crop pixel become their mean, not a moiré."""
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = warp(stripes, crop_matrix([3.3, 5.1, 390, 391], 64, 1.0, 0), 64)[2:-2, 2:-2]
    assert np.abs(crop.astype(float) - 127.5).max() < 45
    assert crop.std() < 20


@pytest.mark.parametrize(
    ("right", "down", "size"), [(0, 0, (9, 7)), (3, -2, (9, 7)), (-4, 5, (20, 3)), (40, 0, (6, 6)), (0, -40, (6, 6))]
)
def test_a_move_by_whole_pixels_is_a_copy(right, down, size):
    """The same pixels as OpenCV's, at and beyond every border."""
    image, matrix = noise(8, 11), np.array([[1.0, 0, right], [0, 1.0, down]])
    np.testing.assert_array_equal(warp(image, matrix, size), cv2.warpAffine(image, matrix, size))


@pytest.mark.parametrize(("side", "zoom", "size"), [((80, 60), 0.8, (64, 48)), ((80, 60), 0.8, (96, 64)),
                                                  ((50, 75), 0.56, (32, 64)), ((40, 20), 1.0, (40, 20))])  # fmt: skip
def test_a_smaller_picture_is_the_slow_warp(side, zoom, size, monkeypatch):
    """Scaled about the corner, and black right of it and below: to a grey level what OpenCV's warp gives."""
    coarse = np.random.default_rng(0).integers(0, 256, (side[1] // 5, side[0] // 5, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, side, interpolation=cv2.INTER_CUBIC)  # the warp rounds places to 1/32 pixel
    matrix = np.array([[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2]])
    smaller = warp(picture, matrix, size)
    assert image_module._scaled_size(picture, matrix, size) == (round(side[0] * zoom), round(side[1] * zoom))
    monkeypatch.setattr(image_module, "_scaled_size", lambda *_: None)
    slow = warp(picture, matrix, size).astype(int)
    assert np.abs(smaller - slow).max() <= 2
    assert np.ptp(slow) > 100


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.81, 0, -0.095], [0, 0.81, -0.095]],  # 64.8 columns: a pixel half in the picture
        [[0.8, 0, 0], [0, 0.8, 0]],  # pixel centres on each other, not the edges
        [[1.25, 0, 0.125], [0, 1.25, 0.125]],  # enlarged: the border pixels lie outside
        [[0.8, 0.01, -0.1], [-0.01, 0.8, -0.1]],
        [[-0.8, 0, 63.1], [0, 0.8, -0.1]],
    ],
)
def test_other_matrices_are_warped(matrix):
    """Where resizing would give something else."""
    assert image_module._scaled_size(np.zeros((60, 80, 3), np.uint8), np.array(matrix), (128, 128)) is None


def test_a_mirrored_picture_is_not_taken_for_a_moved_one():
    """Its matrix has whole numbers too."""
    image = noise(6, 8)
    np.testing.assert_array_equal(warp(image, mirror_matrix(8), (8, 6)), image[:, ::-1])


def test_half_a_picture_is_the_mean_of_four_pixels():
    """What bilinear sampling gives there, too."""
    image = noise(48, 64)
    matrix = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])
    expected = cv2.warpAffine(image, matrix, (40, 24), flags=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(warp(image, matrix, (40, 24)), expected)
