"""Synthetic faces: labels lie on what is painted, and the same seed paints the same face."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lightmark.data.sample import load_image
from lightmark.data.synthetic import render_face, synthetic_samples
from lightmark.data.synthetic.paint import blank, closed_curve, fill, finish, inside, open_curve
from lightmark.data.synthetic.render import render_scene, view_scene
from lightmark.data.synthetic.scene import Cover, random_scene
from lightmark.data.synthetic.view import rotation
from lightmark.errors import DataError
from lightmark.geometry import crop_matrix, mirror_matrix, tight_box, transform
from lightmark.schema import IBUG68

SIZE = 160
# A camera that adds nothing: even light, no noise, no blur.
CLEAR = {"ambient": 1.0, "gain": (1, 1, 1), "gamma": 1.0, "blur": 0.0, "noise": 0.0, "quality": 100, "grey": False}
RED, GREEN, BLUE, MAGENTA = (255.0, 0.0, 0.0), (0.0, 255.0, 0.0), (0.0, 0.0, 255.0), (255.0, 0.0, 255.0)


def scene_of(number, **changes):
    """Random scene `number` of this file, changed."""
    return replace(random_scene(np.random.default_rng([1, number]), SIZE), **changes)


def bare_scene(number):
    """A scene with nothing before the face, sharp and without noise."""
    scene = scene_of(number, cover=None)
    looks = replace(scene.looks, hair_style="bald", glasses="none", beard="none", freckles=False)
    return replace(scene, looks=looks, photo=replace(scene.photo, **CLEAR))


def frontal_scene(number):
    """A scene whose head looks straight into the camera."""
    scene = bare_scene(number)
    return replace(scene, pose=replace(scene.pose, yaw=0.0, pitch=0.0, roll=0.0))


def interocular_of(points):
    """Distance of the outer eye corners."""
    return float(np.linalg.norm(points[36] - points[45]))


def sampled(plane, points):
    """Values (N, C) of a picture at points (N, 2), bilinear."""
    x, y = np.ascontiguousarray(points.T, dtype=np.float32)
    return cv2.remap(np.asarray(plane, np.float32), x, y, cv2.INTER_LINEAR)[:, 0]


def test_the_same_generator_paints_the_same_face():
    """Pixels, points and mask depend on the generator's state only."""
    first, second = (render_face(np.random.default_rng(7), 96) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.points, second.points)
    assert np.array_equal(first.occluded, second.occluded)


def test_the_global_generator_is_not_touched():
    """Rendering draws nothing from numpy's global state."""
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    render_face(np.random.default_rng(0), 64)
    assert np.array_equal(np.random.get_state()[1], before)


def test_a_longer_list_begins_with_the_shorter_one():
    """Face i depends on the seed and on i, not on the number of faces."""
    short, long = synthetic_samples(2, seed=3, size=64), synthetic_samples(4, seed=3, size=64)
    assert [np.array_equal(a.image, b.image) for a, b in zip(short, long, strict=False)] == [True, True]


def test_another_seed_paints_other_faces():
    """No pixels are shared between seeds."""
    (first,), (second,) = (synthetic_samples(1, seed=seed, size=64) for seed in (0, 1))
    assert not np.array_equal(first.image, second.image)


def test_names_and_photos_are_unique_across_seeds():
    """Lists of two seeds can be joined: no name and no photo occurs twice."""
    samples = synthetic_samples(3, seed=0, size=48) + synthetic_samples(3, seed=1, size=48)
    assert len({sample.name for sample in samples}) == len({sample.photo for sample in samples}) == 6
    assert samples[2].name == "synthetic/0/000002.png"


def test_samples_join_the_subsets_asked_for():
    """There are no subsets by default."""
    assert synthetic_samples(1, seed=0, size=48)[0].subsets == frozenset()
    assert synthetic_samples(1, seed=0, size=48, subsets=["train"])[0].subsets == {"train"}


def test_a_sample_holds_its_picture():
    """The picture is in memory, RGB uint8, and the box is the tight one."""
    (sample,) = synthetic_samples(1, seed=0, size=72)
    assert load_image(sample).shape == (72, 72, 3)
    assert load_image(sample).dtype == np.uint8
    assert np.array_equal(sample.box, tight_box(sample.points))
    assert sample.schema is IBUG68


def test_a_picture_too_small_for_a_face_is_refused():
    """The error names the smallest size."""
    with pytest.raises(DataError, match="size 16; a face needs a picture of at least 32"):
        render_face(np.random.default_rng(0), 16)


def test_every_point_is_finite_and_inside_the_picture():
    """Faces are placed completely inside the picture."""
    points = np.array([view_scene(scene_of(i)).points for i in range(150)])
    assert np.isfinite(points).all()
    assert points.min() >= 0
    assert points.max() <= SIZE - 1


def test_frontal_faces_have_their_points_in_the_order_of_the_scheme():
    """Jaw from left over the chin to right, brows above eyes above nose above mouth above chin."""
    for i in range(20):
        points = view_scene(frontal_scene(i)).points
        x, y = points.T
        assert (np.diff(x[2:15]) > 0).all()
        assert x[0] < x[8] < x[16]
        assert (np.diff(y[:9]) > 0).all()
        assert (np.diff(y[8:17]) < 0).all()
        assert (np.diff(x[17:27]) > 0).all()
        assert (np.diff(y[27:31]) > 0).all()
        assert y[17:27].max() < y[36:48].mean() < y[33] < y[51] < y[57] < y[8]
        assert (np.diff(x[[36, 39, 42, 45]]) > 0).all()
        assert (np.diff(x[48:55]) > 0).all()


def test_a_mirrored_head_has_mirrored_permuted_points():
    """Turning, tilting and grimacing the other way gives exactly the schema's mirror."""
    for i in range(20):
        scene = scene_of(i)
        pose, expression = scene.pose, scene.expression
        other = replace(
            scene,
            pose=replace(pose, yaw=-pose.yaw, roll=-pose.roll, centre=(SIZE - 1 - pose.centre[0], pose.centre[1])),
            expression=replace(
                expression,
                mouth_shift=-expression.mouth_shift,
                eyes_closed=expression.eyes_closed[::-1],
                brows_raised=expression.brows_raised[::-1],
            ),
        )
        mirrored = transform(mirror_matrix(SIZE), view_scene(scene).points)[list(IBUG68.mirror)]
        assert view_scene(other).points == pytest.approx(mirrored, abs=1e-9)


def test_angles_are_named_as_documented():
    """Yaw turns the nose right, pitch lifts it, roll tilts the head counter-clockwise."""
    pose = replace(frontal_scene(0).pose, yaw=30.0)
    assert (rotation(pose) @ [0, 0, 1])[0] == pytest.approx(0.5)
    assert (rotation(replace(pose, yaw=0.0, pitch=30.0)) @ [0, 0, 1])[1] == pytest.approx(-0.5)
    assert (rotation(replace(pose, yaw=0.0, roll=30.0)) @ [1, 0, 0])[1] == pytest.approx(-0.5)


def test_a_rotated_jaw_follows_the_visible_outline():
    """On the far side the jaw's labels lie further out than the hidden jaw; on the near side they are the jaw."""
    scene = frontal_scene(0)
    view = view_scene(replace(scene, pose=replace(scene.pose, yaw=40.0)))
    hidden = view.put(view.head.points)
    assert (view.points[12:17, 0] > hidden[12:17, 0] + 0.02 * view.pose.scale).all()
    assert view.points[:8] == pytest.approx(hidden[:8])


def test_inner_points_lie_within_the_painted_skin():
    """Eyes and brows never leave the face, however far it is turned; only the nose may reach over its outline."""
    for i in range(150):
        view = view_scene(scene_of(i))
        outline = closed_curve(view.outline).astype(np.float32)
        inner = view.points[17:27].tolist() + view.points[36:48].tolist()
        outside = max(-cv2.pointPolygonTest(outline, point, True) for point in inner)
        assert outside < 0.03 * view.pose.scale


@pytest.fixture(scope="module")
def edges():
    """Pairs of points and edge strength, in shares of its mean, of clear renderings without cover."""
    pairs = []
    for i in range(30):
        rendering = render_scene(bare_scene(i))
        grey = cv2.cvtColor(rendering.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        slope = cv2.GaussianBlur(np.hypot(cv2.Scharr(grey, -1, 1, 0), cv2.Scharr(grey, -1, 0, 1)), (0, 0), 0.7)
        pairs.append((rendering.points, slope / slope.mean()))
    return pairs


@pytest.mark.parametrize("group", ["jaw", "brows", "nose", "eyes", "mouth"])
def test_contrast_is_greatest_at_the_labels(group, edges):
    """Moved together by 4 % of the eye distance or more, in any direction, the points of a group leave the edges."""
    shifts = np.stack(np.meshgrid(np.arange(-4, 5), np.arange(-4, 5), indexing="ij"), axis=-1) * 0.02
    energy = np.zeros((9, 9))
    for points, slope in edges:
        moved = points[list(IBUG68.groups[group])] + shifts[:, :, None] * interocular_of(points)
        energy += sampled(slope, moved.reshape(-1, 2)).reshape(9, 9, -1).mean(axis=2)
    best = np.unravel_index(energy.argmax(), energy.shape)
    assert np.abs(shifts[best]).max() < 0.03
    assert energy[4, 4] > 1.4 * energy[[0, 0, 8, 8], [0, 8, 0, 8]].max()


def test_lips_are_painted_inside_their_contour_and_nowhere_outside():
    """A step inwards from each outer lip point is lip; a step outwards is not."""
    for i in range(10):
        scene = frontal_scene(i)
        expression = replace(scene.expression, jaw_drop=0.0, pucker=0.0, smile=0.3)
        looks = replace(scene.looks, lips=RED, skin=GREEN)
        rendering = render_scene(replace(scene, expression=expression, looks=looks))
        middle = rendering.points[48:60].mean(axis=0)
        inwards = (middle - rendering.points[[50, 51, 52, 56, 57, 58]]) * [0, 1]
        step = 0.03 * interocular_of(rendering.points) * np.sign(inwards)
        lips = rendering.points[[50, 51, 52, 56, 57, 58]]
        red, green, _ = sampled(rendering.image, lips + step).T
        assert (red > green).all()
        red, green, _ = sampled(rendering.image, lips - step).T
        assert (green > red).all()


def test_brows_are_painted_just_below_their_points():
    """The points are the upper edge: below is brow, above is skin."""
    for i in range(10):
        scene = frontal_scene(i)
        rendering = render_scene(replace(scene, looks=replace(scene.looks, brow=BLUE, skin=GREEN, brow_thickness=0.13)))
        inner = rendering.points[[18, 19, 20, 23, 24, 25]]
        step = np.array([0.0, 0.03 * interocular_of(rendering.points)])
        _, green, blue = sampled(rendering.image, inner + step).T
        assert (blue > green).all()
        _, green, blue = sampled(rendering.image, inner - step).T
        assert (green > blue).all()


@pytest.mark.parametrize("kind", ["hand", "scarf", "board", "patch", "mask"])
def test_the_mask_marks_the_points_that_the_cover_hides(kind):
    """With a magenta cover the points marked occluded are magenta, the others are not."""
    right = covered = 0
    for i in range(20):
        scene = bare_scene(i)
        rng = np.random.default_rng(i)
        place = (rng.uniform(-0.6, 0.6), rng.uniform(0, 1.2))
        cover = Cover(kind, place, rng.uniform(0.5, 1.0), rng.uniform(-180, 180), MAGENTA, MAGENTA)
        rendering = render_scene(replace(scene, cover=cover))
        red, green, blue = sampled(rendering.image, rendering.points).T
        magenta = (np.minimum(red, blue) - green) > 64
        right += (magenta == rendering.occluded).sum()
        covered += rendering.occluded.sum()
    assert covered > 100
    assert right / (20 * 68) > 0.97


def test_a_cover_changes_no_pixel_elsewhere():
    """Covering the mouth leaves the picture's upper left corner and the labels as they were."""
    scene = bare_scene(3)
    cover = Cover("patch", (0.0, 1.0), 0.5, 0.0, MAGENTA, GREEN)
    plain, held = render_scene(scene), render_scene(replace(scene, cover=cover))
    assert np.array_equal(plain.points, held.points)
    assert np.array_equal(plain.image[:32, :32], held.image[:32, :32])
    assert not np.array_equal(plain.image, held.image)


def test_a_bare_face_has_no_occluded_point():
    """Without cover, glasses or hair nothing is marked."""
    assert not any(render_scene(bare_scene(i)).occluded.any() for i in range(10))


def test_dark_glasses_cover_the_eyes():
    """Sunglasses count as a cover, clear ones only where the frame runs."""
    scene = frontal_scene(0)
    eyes = list(IBUG68.groups["eyes"])
    dark = render_scene(replace(scene, looks=replace(scene.looks, glasses="dark"))).occluded
    clear = render_scene(replace(scene, looks=replace(scene.looks, glasses="clear"))).occluded
    assert dark[eyes].all()
    assert clear[eyes].sum() <= 2


def test_predicting_the_mean_shape_is_clearly_bad():
    """In the tight-box crop the mean shape is off by more than 8 % of the inter-ocular distance (it is about 26 %)."""
    shapes = [view_scene(scene_of(i)).points for i in range(150)]
    crops = np.array([transform(crop_matrix(tight_box(p), 64, 1.25), p) for p in shapes])
    errors = np.linalg.norm(crops - crops.mean(axis=0), axis=2).mean(axis=1)
    assert (errors / [interocular_of(p) for p in crops]).mean() > 0.15


def test_curves_pass_through_their_points():
    """Every sixth point of a smooth curve is one of its control points."""
    points = np.random.default_rng(0).uniform(0, 100, (7, 2))
    assert open_curve(points)[::6] == pytest.approx(points)
    assert closed_curve(points)[::6] == pytest.approx(points[[0, 1, 2, 3, 4, 5, 6, 0]])


def test_fills_reach_at_most_a_sixth_of_a_pixel_too_far():
    """A filled square has its own area, and a rim that supersampling keeps thin."""
    canvas = blank(40, 40)
    fill(canvas, np.array([[9.5, 9.5], [29.5, 9.5], [29.5, 29.5], [9.5, 29.5]]), RED)
    side = np.sqrt(finish(canvas)[..., 3].sum())
    assert 0 <= side - 20 < 2 / 6


def test_paint_inside_an_outline_stays_inside():
    """Paint that would spill over is cut off at the outline."""
    canvas = blank(40, 40)
    square = np.array([[10.0, 10], [30, 10], [30, 30], [10, 30]])
    with inside(canvas, square):
        fill(canvas, square + np.array([8, 0]), RED)
    coverage = finish(canvas)[..., 3]
    assert coverage[20, 25] == 1
    assert coverage[20, 32] == 0
