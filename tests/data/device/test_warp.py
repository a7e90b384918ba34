"""The batch warp is OpenCV's: over random similarities, at every border, for pictures of every size."""

import cv2
import numpy as np
import pytest
import torch

from lightmark.data.device.warp import FAR, View, sampling_steps, warp_batch, weigh
from lightmark.geometry import compose, mirror_matrix, similarity_matrix
from lightmark.image import OPENCV_LONGEST, cut_out, warp

SIZE = 48


def noise(height, width, seed=0):
    """A picture whose neighbouring pixels have nothing in common: the hardest to sample."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def view_of(parts, matrices, size=SIZE):
    """The view of a batch of pictures."""
    starts = np.cumsum([0, *(part.shape[0] * part.shape[1] for part in parts)])
    places = torch.tensor([[start, *part.shape[:2]] for start, part in zip(starts, parts, strict=False)])
    pixels = torch.from_numpy(np.concatenate([part.reshape(-1, 3) for part in parts]))
    return View(pixels, places, *map(torch.from_numpy, sampling_steps(np.stack(matrices), size)))


def require_agreement(pictures, matrices, size=SIZE):
    """Crops on the device are those of the CPU: bit for bit, and before rounding within half a grey level."""
    wanted = np.stack([warp(picture, matrix, size) for picture, matrix in zip(pictures, matrices, strict=True)])
    cutouts = [cut_out(picture, matrix, size) for picture, matrix in zip(pictures, matrices, strict=True)]
    view = view_of(*zip(*cutouts, strict=True), size)
    exact = weigh(view).numpy() / 1024
    assert np.abs(exact - wanted).max() <= 0.5
    np.testing.assert_array_equal(warp_batch(view).numpy(), wanted)


def random_view(rng, zooms, inside=True):
    """A picture of random sides and a similarity of random angle, mirrored or not, about a point in or near it."""
    height, width = (int(side) for side in rng.integers(20, 400, 2))
    spread = (0.1, 0.9) if inside else (-0.6, 1.6)
    centre = rng.uniform(*spread, 2) * (width, height)
    matrix = similarity_matrix(
        centre, rng.uniform(0, SIZE, 2), np.exp(rng.uniform(*np.log(zooms))), rng.uniform(-180, 180), rng.random() < 0.5
    )
    return noise(height, width, int(rng.integers(1000))), matrix


@pytest.mark.parametrize("zooms", [(0.03, 0.5), (0.5, 1.0), (1.0, 12.0)], ids=["shrunk", "reduced", "enlarged"])
@pytest.mark.parametrize("inside", [True, False])
def test_random_similarities(zooms, inside):
    """Strong shrinking (by area first), enlarging, turned, mirrored, partly and wholly outside of the picture."""
    rng = np.random.default_rng(0)
    require_agreement(*zip(*(random_view(rng, zooms, inside) for _ in range(40)), strict=True))


def test_upright_and_mirrored_crops():
    """Without a turn places often lie halfway between two steps; these fall as OpenCV's do."""
    pictures, matrices = [], []
    for factor in (0.5, 0.75, 1.0, 1.5, 2.0, 3.0):
        matrix = np.array([[factor, 0, -3.25], [0, factor, 7.5]])
        pictures += [noise(80, 90)] * 2
        matrices += [matrix, compose(mirror_matrix(SIZE), matrix)]
    require_agreement(pictures, matrices)


def test_wholly_outside_is_black():
    """However far away the picture is."""
    far = [np.array([[2.0, 0, shift], [0, 2.0, 0]]) for shift in (200.0, -5000.0, 1e12)]
    pictures = [noise(30, 30)] * 3
    assert not warp_batch(view_of(*zip(*map(cut_out, pictures, far, [SIZE] * 3), strict=True))).any()
    steps = sampling_steps(np.stack(far), SIZE)
    assert max(np.abs(part).max() for part in steps) <= FAR


def test_smallest_and_longest_pictures():
    """One pixel; and more columns than OpenCV counts, which reduction brings down."""
    one = np.array([[30.0, 0, 20], [0, 30.0, 20]])
    long = similarity_matrix(np.array([39_000.0, 4]), np.array([24.0, 24]), 0.4)
    assert OPENCV_LONGEST < 40_000
    require_agreement([noise(1, 1), noise(8, 40_000)], [one, long])


def test_a_cutout_holds_no_more_than_is_seen():
    """Of a large picture only the part in view travels, no copy of it is made, and the crop is the same."""
    picture, matrix = noise(900, 1200), similarity_matrix(np.array([700.0, 400]), np.array([24.0, 24]), 0.8, 20)
    part, moved = cut_out(picture, matrix, SIZE)
    assert part.base is picture
    assert max(part.shape) < 90
    np.testing.assert_array_equal(warp(part, moved, SIZE), warp(picture, matrix, SIZE))


def test_a_dot_lies_in_the_same_place():
    """The centre of a smooth dot, found in the pixels, is within 0.05 px of the CPU's and of the moved point."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:160, :160]
    found = []
    for _ in range(20):
        point = rng.uniform(60, 100, 2)
        dot = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 7.0**2))
        picture = np.repeat((255 * dot).round().astype(np.uint8)[..., None], 3, axis=2)
        place, zoom = rng.uniform(20, 28, 2), rng.uniform(0.2, 0.6)
        matrix = similarity_matrix(point, place, zoom, rng.uniform(-180, 180), rng.random() < 0.5)
        device = warp_batch(view_of(*([each] for each in cut_out(picture, matrix, SIZE))))[0].numpy()
        found.append([place, centre_of(warp(picture, matrix, SIZE)), centre_of(device)])
    place, cpu, device = np.moveaxis(found, 1, 0)
    assert np.abs(device - cpu).max() < 0.05
    assert np.abs(device - place).max() < 0.05


def centre_of(crop):
    """Mean place of a crop's brightness."""
    weights = crop[..., 0].astype(float)
    v, u = np.mgrid[: len(crop), : len(crop)]
    return [(u * weights).sum() / weights.sum(), (v * weights).sum() / weights.sum()]


def test_opencv_still_samples_in_32nds():
    """What the exactness above rests on: a ramp of one step a pixel takes 33 values between two pixels."""
    ramp = np.zeros((4, 8, 3), np.uint8)
    ramp[:, 4:] = 255
    row = cv2.warpAffine(ramp, np.array([[100.0, 0, -300], [0, 1, 0]]), (100, 1), flags=cv2.INTER_LINEAR)[0, :, 0]
    assert len(np.unique(row)) == 33
