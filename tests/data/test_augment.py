"""Tests of augmentation: points and pixels move together, every strength keeps its range, inputs are left alone."""

import hashlib
import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from lightmark.data.crops.augment import (
    NO_AUGMENTATION,
    Augmentation,
    Cover,
    PixelChanges,
    _motion_kernel,
    apply_changes,
    change_pixels,
    draw_changes,
    move_points,
    random_matrix,
)
from lightmark.geometry import crop_matrix, invert, matrix_scale, transform
from lightmark.image import warp
from lightmark.schema import Schema
from lightmark.spec import ModelSpec, spec_crop_matrix

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
POINTS = np.array([[70.0, 80.0], [130.0, 76.0], [104.0, 110.0], [80.0, 145.0], [125.0, 140.0]])
BOX = np.array([*POINTS.min(axis=0), *POINTS.max(axis=0)])
SIZE, SCALE = 64, 1.25
GEOMETRY = {"rotation": 30.0, "scale": 0.15, "shift": 0.05, "box": 0.04, "mirror": 0.5}
EFFECTS = ("colour", "grey", "blur", "jpeg", "low_resolution", "noise", "occlusion")


def only(**strengths):
    """No augmentation but the strengths named."""
    return replace(NO_AUGMENTATION, **strengths)


def draws(augmentation, count=300):
    """`count` random matrices and whether they mirror."""
    rng = np.random.default_rng(1)
    return [random_matrix(BOX, SIZE, SCALE, augmentation, rng) for _ in range(count)]


def relative(matrix):
    """What a random matrix adds to the plain crop, as a matrix of crop pixels."""
    plain = crop_matrix([*POINTS.min(axis=0), *POINTS.max(axis=0)], SIZE, SCALE)
    both = np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(np.vstack([plain, [0, 0, 1]]))
    return both[:2]


def angle_of(matrix):
    """Degrees by which a similarity turns content counter-clockwise as displayed."""
    return math.degrees(math.atan2(matrix[0, 1], matrix[0, 0]))


def texture(size=SIZE, seed=0):
    """A crop with edges and colours."""
    coarse = np.random.default_rng(seed).integers(30, 226, (size // 4, size // 4, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1)


def roughness(crop):
    """Mean difference of neighbouring pixels."""
    return np.abs(np.diff(crop.astype(float), axis=0)).mean() + np.abs(np.diff(crop.astype(float), axis=1)).mean()


def test_nothing_named_is_nothing_done():
    """NO_AUGMENTATION has every strength at 0."""
    assert {getattr(NO_AUGMENTATION, field.name) for field in fields(Augmentation)} == {0.0}


def test_defaults_are_those_of_the_shipped_recipes():
    """The strengths that published weights were trained with."""
    assert Augmentation() == Augmentation(
        rotation=30.0,
        scale=0.15,
        shift=0.05,
        box=0.04,
        mirror=0.5,
        colour=0.8,
        grey=0.1,
        blur=0.15,
        jpeg=0.15,
        low_resolution=0.15,
        noise=0.15,
        occlusion=0.3,
    )


def test_no_augmentation_is_the_labels_crop():
    """Without augmentation, training crops are those that evaluation cuts."""
    matrix, mirrored = random_matrix(BOX, SIZE, SCALE, NO_AUGMENTATION, np.random.default_rng(0))
    assert not mirrored
    np.testing.assert_array_equal(matrix, spec_crop_matrix(ModelSpec(FIVE, SIZE, SCALE), BOX))


def test_matrix_depends_on_the_generator_alone():
    """One seed gives one matrix, another seed another."""
    first, again, other = (
        random_matrix(BOX, SIZE, SCALE, Augmentation(), np.random.default_rng(seed)) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert not np.allclose(first[0], other[0])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_mirrors(share):
    """Mirrors have the requested frequency: of 1000 draws, within four standard deviations."""
    found = np.mean([mirrored for _, mirrored in draws(only(mirror=share), 1000)])
    assert abs(found - share) <= 4 * math.sqrt(share * (1 - share) / 1000)


def test_mirror_turns_the_matrix_inside_out():
    """A mirroring matrix has a negative determinant, another a positive one."""
    for matrix, mirrored in draws(Augmentation(), 50):
        assert (np.linalg.det(matrix[:, :2]) < 0) == mirrored


def test_rotation_keeps_its_range():
    """Angles fill ±20° and nothing else changes."""
    found = [relative(matrix) for matrix, _ in draws(only(rotation=20.0))]
    angles = np.array([angle_of(matrix) for matrix in found])
    assert angles.min() > -20
    assert angles.max() < 20
    assert angles.min() < -19
    assert angles.max() > 19
    np.testing.assert_allclose([matrix_scale(matrix) for matrix in found], 1, rtol=1e-9)
    centre = np.array([[(SIZE - 1) / 2] * 2])
    np.testing.assert_allclose([transform(matrix, centre) for matrix in found], [centre] * len(found), atol=1e-9)


def test_a_share_of_crops_is_turned_steeply():
    """A quarter of the angles fills ±60°, the rest ±20°; without a share, none is turned by more than 20°."""
    augmentation = only(rotation=20.0, steep_rotation=60.0, steep_share=0.25)
    angles = np.abs([angle_of(relative(matrix)) for matrix, _ in draws(augmentation, 2000)])
    assert 59 < angles.max() < 60
    # Two thirds of the steep quarter exceed 20°: 333 of 2000, within four standard deviations.
    assert abs((angles > 20).sum() - 2000 / 6) < 4 * math.sqrt(2000 * 5 / 36)
    plain = [relative(matrix) for matrix, _ in draws(only(rotation=20.0, steep_rotation=60.0), 300)]
    assert max(abs(angle_of(matrix)) for matrix in plain) < 20


def test_a_second_cover_has_its_own_chance():
    """Of crops that are always covered once, a third is covered twice; without that chance none is."""
    rng = np.random.default_rng(3)
    twice = only(occlusion=1.0, second_occlusion=1 / 3)
    counts = np.array([len(draw_changes((SIZE, SIZE), twice, rng).covers) for _ in range(600)])
    assert set(counts) == {1, 2}
    assert abs((counts == 2).sum() - 200) < 4 * math.sqrt(600 * 2 / 9)
    assert {len(draw_changes((SIZE, SIZE), only(occlusion=1.0), rng).covers) for _ in range(100)} == {1}


def test_two_covers_hide_what_each_of_them_hides():
    """The second cover is laid over the first, and neither undoes the other."""
    left, right = np.zeros((2, SIZE, SIZE), bool)
    left[:, :20], right[:, 10:30] = True, True
    covers = (Cover(left, np.array([9, 9, 9], np.uint8)), Cover(right, np.array([7, 7, 7], np.uint8)))
    covered = apply_changes(texture(), PixelChanges(covers=covers))
    assert (covered[:, :10] == 9).all()
    assert (covered[:, 10:30] == 7).all()
    assert (covered[:, 30:] == texture()[:, 30:]).all()


@pytest.mark.parametrize(("seed", "digest"), [(0, "7398dec98907"), (1, "1ec1aefd015b")])
def test_draws_of_published_weights_can_be_made_again(seed, digest):
    """Without large rotations and second occlusions the draws are those of releases without these options."""
    rng = np.random.default_rng(seed)
    drawn = [random_matrix(BOX, SIZE, SCALE, Augmentation(), rng)[0].round(6).tolist() for _ in range(5)]
    drawn.append([draw_changes((SIZE, SIZE), Augmentation(), rng).quality for _ in range(40)])
    assert hashlib.sha256(json.dumps(drawn).encode()).hexdigest()[:12] == digest


def test_scale_keeps_its_range():
    """Crops are up to 20 % larger and smaller, about the same centre."""
    found = [relative(matrix) for matrix, _ in draws(only(scale=0.2))]
    sides = np.array([1 / matrix_scale(matrix) for matrix in found])
    assert 0.8 < sides.min() < 0.82
    assert 1.18 < sides.max() < 1.2
    centre = np.array([[(SIZE - 1) / 2] * 2])
    np.testing.assert_allclose([transform(matrix, centre) for matrix in found], [centre] * len(found), atol=1e-9)


def test_shift_keeps_its_range():
    """The crop moves by up to a tenth of its side, in x and y alike."""
    found = np.array([relative(matrix) for matrix, _ in draws(only(shift=0.1))])
    np.testing.assert_allclose(found[:, :, :2], np.broadcast_to(np.eye(2), (len(found), 2, 2)), atol=1e-9)
    shares = found[:, :, 2] / SIZE
    assert np.abs(shares).max() < 0.1
    assert (shares.max(axis=0) > 0.095).all()
    assert (shares.min(axis=0) < -0.095).all()


def test_box_error_keeps_its_range():
    """A box whose sides err by 5 % moves the crop and changes its scale by no more than that."""
    found = np.array([relative(matrix) for matrix, _ in draws(only(box=0.05))])
    sides = 1 / np.array([matrix_scale(matrix) for matrix in found])
    centre = np.array([[(SIZE - 1) / 2] * 2])
    moved = np.array([transform(invert(matrix), centre) - centre for matrix in found]) / (SIZE / SCALE)
    assert np.abs(moved).max() <= 0.05
    assert np.abs(moved).max() > 0.03
    assert 0.9 < sides.min() < 0.94
    assert 1.06 < sides.max() < 1.1


@pytest.mark.parametrize("seed", range(8))
def test_points_move_with_the_pixels(seed):
    """A dot drawn at a point lies, in the crop, at the moved point, of mirrored crops at the mirrored index."""
    matrix, mirrored = random_matrix(BOX, SIZE, 2.2, only(**GEOMETRY), np.random.default_rng(seed))
    moved = move_points(POINTS, matrix, mirrored, FIVE)
    y, x = np.mgrid[:200, :200]
    for index, point in enumerate(POINTS):
        dot = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 4.0**2))
        crop = warp(np.repeat((255 * dot).round().astype(np.uint8)[..., None], 3, axis=2), matrix, SIZE)[..., 0]
        v, u = np.mgrid[:SIZE, :SIZE]
        place = np.array([(u * crop.astype(float)).sum(), (v * crop.astype(float)).sum()]) / crop.sum()
        expected = FIVE.mirror[index] if mirrored else index
        np.testing.assert_allclose(place, moved[expected], atol=0.1)


def test_points_move_test_sees_both_kinds():
    """The seeds of the test above draw mirrored and plain crops."""
    kinds = {
        random_matrix(BOX, SIZE, 2.2, only(**GEOMETRY), np.random.default_rng(seed))[1] for seed in range(8)
    }
    assert kinds == {True, False}


def test_move_points_keeps_leading_axes():
    """Many faces move as one does, mirrored too."""
    matrix, _ = draws(only(mirror=1.0), 1)[0]
    many = move_points(np.stack([POINTS, POINTS + 1]), matrix, True, FIVE)
    np.testing.assert_allclose(many[1], move_points(POINTS + 1, matrix, True, FIVE), atol=1e-12)


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("size", [16, 64, 224])
def test_effect_keeps_the_form_and_the_input(effect, size):
    """Each effect, at any crop size, gives a new crop of the same form and leaves the old one alone."""
    crop = texture(size)
    before = crop.copy()
    for seed in range(12):
        changed = change_pixels(crop, only(**{effect: 1.0}), np.random.default_rng(seed))
        assert changed.dtype == np.uint8
        assert changed.shape == (size, size, 3)
        np.testing.assert_array_equal(crop, before)
    assert (changed != crop).any()


def test_no_effect_changes_nothing():
    """Without augmentation the pixels are those of the warp."""
    np.testing.assert_array_equal(change_pixels(texture(), NO_AUGMENTATION, np.random.default_rng(0)), texture())


def test_pixels_depend_on_the_generator_alone():
    """One seed changes the pixels one way, another seed another way."""
    first, again, other = (
        change_pixels(texture(), replace(Augmentation(), colour=1.0), np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_effects_come_as_often_as_asked_for():
    """A chance of 0.3 changes three crops in ten, within four standard deviations."""
    rng = np.random.default_rng(0)
    crop = texture(16)
    found = np.mean([(change_pixels(crop, only(grey=0.3), rng) != crop).any() for _ in range(1000)])
    assert abs(found - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 1000)


def test_grey_has_equal_channels():
    """A grey crop has the brightness of the coloured one in every channel."""
    grey = change_pixels(texture(), only(grey=1.0), np.random.default_rng(0))
    assert (grey == grey[..., :1]).all()
    brightness = texture() @ [0.299, 0.587, 0.114]
    assert np.abs(grey[..., 0] - brightness).max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_colour_changes_levels_not_places(seed):
    """Recolouring treats equal pixels equally, wherever they are, and moves nothing."""
    crop = texture()
    changed = change_pixels(crop, only(colour=1.0), np.random.default_rng(seed))
    turned = change_pixels(crop[::-1].copy(), only(colour=1.0), np.random.default_rng(seed))
    np.testing.assert_array_equal(changed[::-1], turned)
    assert (changed != crop).mean() > 0.5


def test_colour_varies_brightness_both_ways():
    """Some crops get darker, some brighter."""
    grey = np.full((16, 16, 3), 120, np.uint8)
    levels = [change_pixels(grey, only(colour=1.0), np.random.default_rng(seed)).mean() for seed in range(40)]
    assert min(levels) < 90
    assert max(levels) > 150


@pytest.mark.parametrize("effect", ["blur", "low_resolution"])
@pytest.mark.parametrize("seed", range(6))
def test_blur_and_low_resolution_smooth(effect, seed):
    """Edges get softer, the mean brightness stays, and content stays in its place."""
    crop = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    crop[:, SIZE // 2 :] //= 4
    changed = change_pixels(crop, only(**{effect: 1.0}), np.random.default_rng(seed))
    assert roughness(changed) < 0.9 * roughness(crop)
    assert changed.mean() == pytest.approx(crop.mean(), abs=2)
    assert changed[:, : SIZE // 2 - 8].mean() > 2.5 * changed[:, SIZE // 2 + 8 :].mean()


@pytest.mark.parametrize("seed", range(20))
def test_motion_kernel_is_a_centred_mean(seed):
    """Motion blur weighs sum to 1 about the centre, so it neither dims nor moves a face."""
    rng = np.random.default_rng(seed)
    for length in range(3, 18):
        kernel = _motion_kernel(length, rng)
        assert kernel.shape == (length, length)
        assert kernel.sum() == pytest.approx(1)
        y, x = np.mgrid[:length, :length] - (length - 1) / 2
        assert abs((kernel * x).sum()) < 0.51
        assert abs((kernel * y).sum()) < 0.51


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_of_the_named_strength(seed):
    """Noise has a standard deviation of 2 to 14 levels and hardly any mean."""
    crop = np.full((SIZE, SIZE, 3), 128, np.uint8)
    difference = change_pixels(crop, only(noise=1.0), np.random.default_rng(seed)).astype(float) - crop
    assert 1.9 < difference.std() < 14.3
    assert abs(difference.mean()) < 1


@pytest.mark.parametrize("seed", range(6))
def test_jpeg_keeps_the_picture(seed):
    """Compression changes levels a little and keeps the colours in their channels."""
    crop = np.zeros((SIZE, SIZE, 3), np.uint8)
    crop[..., 0], crop[: SIZE // 2, :, 2] = 200, 120
    changed = change_pixels(crop, only(jpeg=1.0), np.random.default_rng(seed)).astype(float)
    assert np.abs(changed - crop).mean() < 12
    assert changed[..., 0].mean() > 180
    assert changed[..., 1].mean() < 20


def test_occlusion_covers_one_part():
    """A covered crop differs inside one box of at most 45 % a side (a turned ellipse's), and nowhere else."""
    rng = np.random.default_rng(0)
    crop = texture()
    shares = []
    for _ in range(100):
        different = (change_pixels(crop, only(occlusion=1.0), rng) != crop).any(axis=2)
        rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
        shares.append(different.mean())
        if different.any():
            assert max(np.ptp(rows), np.ptp(columns)) <= 0.45 * SIZE + 1
    assert max(shares) <= 0.45**2 + 0.05
    assert max(shares) > 0.1
    assert np.mean(np.array(shares) > 0) > 0.9


def test_occlusion_is_a_colour_noise_or_another_part():
    """Covered places hold one colour, or noise, or pixels of the crop itself."""
    rng = np.random.default_rng(0)
    crop = texture()
    own = {tuple(colour) for colour in crop.reshape(-1, 3).tolist()}
    kinds = set()
    for _ in range(60):
        changed = change_pixels(crop, only(occlusion=1.0), rng)
        colours = {tuple(colour) for colour in changed[(changed != crop).any(axis=2)].tolist()}
        if len(colours) == 1 and not colours & own:
            kinds.add("colour")
        elif colours and colours <= own:
            kinds.add("part")
        elif len(colours) > 20:
            kinds.add("noise")
    assert kinds == {"colour", "part", "noise"}
