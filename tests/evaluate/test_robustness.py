"""Faces made small, blurred, compressed and noisy: what is done to them, and what is counted."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure
from PIL import Image

from lightmark.cli import main
from lightmark.data.sample import Sample
from lightmark.errors import ConfigError
from lightmark.evaluate.predict import predict
from lightmark.evaluate.report.html import render_html
from lightmark.evaluate.report.plots import draw_panels, robustness_png
from lightmark.evaluate.report.summary import RobustnessCurve, RobustnessPoint, report_to_json
from lightmark.evaluate.report.text import render_text
from lightmark.evaluate.robustness import (
    DISTURBANCES,
    JITTER_LEVELS,
    add_noise,
    blur_face,
    box_jitter_curve,
    compress_face,
    reduce_face,
    robustness_curves,
)
from lightmark.evaluate.run import evaluate_model, make_report
from lightmark.geometry import crop_matrix, tight_box, to_normalized, transform
from lightmark.metrics import Interval, interocular, nme
from lightmark.schema import plain_schema
from lightmark.spec import ModelSpec

SHAPE = np.array([[0.0, 0.0], [0.4, 0.9], [1.0, 0.1]])  # of a face whose longer side is 1
SIZE, BLUR, JPEG, NOISE = DISTURBANCES


def face(side: float, at: tuple[float, float] = (0.3, 0.8), picture: np.ndarray | None = None) -> Sample:
    """A face of `side` px, its first point `at` px beyond a quarter of that; blobs unless `picture` is given."""
    points = (SHAPE + 0.25) * side + np.array(at)
    if picture is None:
        y, x = np.mgrid[: round(1.5 * side + at[1]), : round(1.6 * side + at[0])]
        squares = (x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2
        picture = np.rint(255 * np.exp(-squares / (2 * (0.04 * side) ** 2))).astype(np.uint8)
    name = Path(f"faces/{side:g}_{at[0]:g}_{at[1]:g}.png")
    return Sample(name, points, tight_box(points), plain_schema(3), name.stem, image=picture)


def grey(side: float) -> Sample:
    """A face of `side` px on even grey."""
    return face(side, picture=np.full((300, 300, 3), 128, np.uint8))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def oracle(fixed_model) -> Callable[[np.ndarray], np.ndarray]:
    """Model that knows where the points of `SHAPE` lie in a crop around them."""
    spec = ModelSpec(plain_schema(3), size=64, crop_scale=1.5)
    matrix = crop_matrix(tight_box(SHAPE), spec.size, spec.crop_scale)
    return fixed_model(spec, to_normalized(transform(matrix, SHAPE), spec.size))


def test_reducing_moves_points_by_the_law() -> None:
    """Halved, x becomes (x + 0.5) / 2 − 0.5: pixel centres lie at integers in both pictures."""
    reduced = reduce_face(face(100.0, picture=np.zeros((160, 200, 3), np.uint8)), 50)
    assert reduced.image.shape == (80, 100, 3)
    np.testing.assert_allclose(reduced.points, (SHAPE * 100 + [25.3, 25.8] + 0.5) / 2 - 0.5, atol=1e-9)


@pytest.mark.parametrize("side_px", [150, 96, 64, 33.3, 20])
def test_reduced_pictures_keep_the_points_coordinates(side_px: float) -> None:
    """The centre of brightness of each blob stays on its point, whatever the factor; half a pixel would show."""
    reduced = reduce_face(face(160.0), side_px)
    weights = reduced.image.astype(np.float64)
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]]
    centres = [[(along * weights[..., c]).sum() / weights[..., c].sum() for along in (x, y)] for c in range(3)]
    np.testing.assert_allclose(centres, reduced.points, atol=0.05)


@pytest.mark.parametrize("side_px", SIZE.levels)
def test_a_reduced_face_has_the_size_asked_for(side_px: float) -> None:
    """The longer side of the labels' box, to half a percent, and no direction is squeezed more than the other."""
    before, reduced = face(257.9), reduce_face(face(257.9), side_px)
    extents = [np.ptp(one.points, axis=0) for one in (before, reduced)]
    assert extents[1].max() == pytest.approx(side_px, rel=5e-3)
    assert extents[1][0] / extents[1][1] == pytest.approx(extents[0][0] / extents[0][1], rel=5e-3)


def test_the_box_moves_with_the_points() -> None:
    """The box of the reduced sample is around the reduced face."""
    reduced = reduce_face(face(100.0), 37)
    np.testing.assert_allclose(reduced.box, tight_box(reduced.points), atol=1e-9)


def test_reducing_averages_areas() -> None:
    """Of white lines every fourth pixel a quarter remains; sampling between pixels would miss them all."""
    lines = np.zeros((240, 240, 3), np.uint8)
    lines[:, ::4] = 255
    reduced = reduce_face(face(100.0, picture=lines), 25)
    assert np.ptp(reduced.image) == 0
    assert abs(int(reduced.image[0, 0, 0]) - 64) <= 1


def test_a_face_is_never_enlarged() -> None:
    """A face smaller than the level gives none."""
    assert reduce_face(face(99.0), 100) is None
    assert compress_face(face(127.0), 50) is None
    assert add_noise(face(127.0), 5, rng()) is None


def test_a_face_of_the_very_size_stays_as_it_is() -> None:
    """Reducing by nothing changes no pixel and no point."""
    sample = face(64.0, at=(0.0, 0.0))
    reduced = reduce_face(sample, 64)
    np.testing.assert_array_equal(reduced.image, sample.image)
    np.testing.assert_array_equal(reduced.points, sample.points)


def test_blur_is_a_share_of_the_face() -> None:
    """An edge under 4 % of a face of 150 px spreads with a standard deviation of 6 px."""
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[:, 100:] = 255
    edge = np.diff(blur_face(face(150.0, picture=picture), 4.0).image[100, :, 0].astype(np.float64))
    at = np.arange(len(edge))
    middle = np.average(at, weights=edge)
    assert np.sqrt(np.average((at - middle) ** 2, weights=edge)) == pytest.approx(6, rel=0.05)


def test_blur_of_nothing_is_the_untouched_face(centroid_model) -> None:
    """Level 0 has the very errors of the faces as they are."""
    samples = [face(side) for side in (40.0, 90.0, 200.0)]
    (curve,) = robustness_curves(centroid_model, samples, [BLUR])
    truth = np.stack([sample.points for sample in samples])
    errors = nme(predict(centroid_model, samples), truth, interocular(truth, samples[0].schema))
    assert curve.points[0].level == 0
    assert curve.points[0].nme.value == pytest.approx(errors.mean(), abs=1e-12)
    assert curve.points[0].untouched == pytest.approx(errors.mean(), abs=1e-12)
    assert curve.points[-1].nme.value != curve.points[0].nme.value


def test_worse_jpeg_is_further_from_the_picture(tiny_picture) -> None:
    """Quality 100 stands for the reduced face itself; each level below loses more."""
    sample = face(140.0, picture=np.kron(tiny_picture, np.ones((5, 5, 1), np.uint8)))
    whole = reduce_face(sample, 128).image.astype(np.float64)
    losses = [np.square(compress_face(sample, level).image - whole).mean() for level in JPEG.levels]
    assert losses[0] == 0
    assert losses == sorted(losses)
    assert losses[1] < losses[-1] / 2


def test_jpeg_keeps_red_red() -> None:
    """Channels come back in the order in which they went."""
    red = np.zeros((250, 250, 3), np.uint8)
    red[..., 0] = 200
    assert abs(compress_face(face(128.0, picture=red), 80).image.mean(axis=(0, 1)) - [200, 0, 0]).max() < 3


def test_noise_has_its_sigma_on_the_reduced_face() -> None:
    """Its deviation is that of the level on a face of 128 px, though the face had 200."""
    noisy = add_noise(grey(200.0), 10, rng()).image.astype(np.float64)
    assert noisy.shape[0] == pytest.approx(300 * 128 / 200, abs=1)
    assert noisy.std() == pytest.approx(10, rel=0.03)
    assert noisy.mean() == pytest.approx(128, abs=0.2)


def test_noise_only_grows_with_the_level() -> None:
    """One generator state gives one pattern: levels differ in strength alone."""
    weak, strong = (add_noise(grey(200.0), level, rng()).image.astype(np.float64) - 128 for level in (10, 20))
    assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.99


def test_noise_is_each_faces_own_and_the_seeds(centroid_model) -> None:
    """Two equal faces get two patterns; the same seed gives the same curve, another seed another."""
    samples = [face(150.0), face(150.0)]
    first, again, other = (robustness_curves(centroid_model, samples, [NOISE], seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first[0].points[-1].nme != other[0].points[-1].nme
    worst = first[0].points[-1].nme
    assert worst.high > worst.low  # equal errors of both faces would leave no interval


def test_an_oracle_makes_no_error_at_any_level(oracle) -> None:
    """Labels are transformed with the face: a model that knows the shape has no error on any degraded picture."""
    samples = [face(300.0), face(260.0, (90.0, 5.5)), face(411.7, (10.2, 77.0))]
    for curve in robustness_curves(oracle, samples, DISTURBANCES):
        assert [point.faces for point in curve.points] == [3] * len(curve.points)
        assert max(point.nme.high for point in curve.points) < 1e-9


def test_a_model_that_looks_is_right_on_small_faces(centroid_model) -> None:
    """Points found in the pixels are the reduced labels to a tenth of the crop's pixel, of which a face has 32."""
    (curve,) = robustness_curves(centroid_model, [face(side) for side in (257.3, 300.0)], [SIZE])
    assert len(curve.points) == len(SIZE.levels)
    assert max(point.nme.high for point in curve.points) < 0.1 / 32


def test_small_faces_are_left_out_and_the_rest_counted(oracle) -> None:
    """Levels count the faces that large; beside them stands the error of these very faces untouched."""
    shapes = {300.0: 0.0, 150.0: 3.0, 60.0: 6.0}
    samples = [face(side) for side in shapes]
    samples = [
        replace(one, points=one.points + np.array([[0, 0], [0, off], [0, 0]]))
        for one, off in zip(samples, shapes.values(), strict=True)
    ]
    truth = np.stack([sample.points for sample in samples])
    errors = nme(predict(oracle, samples), truth, interocular(truth, samples[0].schema))
    size, _, jpeg, _ = robustness_curves(oracle, samples, DISTURBANCES)
    faces = {point.level: point.faces for point in size.points}
    assert faces == {256: 1, 192: 1, 128: 2, 96: 2, 64: 2, 48: 3, 32: 3, 20: 3}
    untouched = {point.level: point.untouched for point in size.points}
    assert untouched[256] == pytest.approx(errors[0])
    assert untouched[128] == pytest.approx(errors[:2].mean())
    assert untouched[20] == pytest.approx(errors.mean())
    assert {point.faces for point in jpeg.points} == {2}


def test_no_face_large_enough_leaves_no_point(oracle) -> None:
    """A curve without large enough faces is empty, and text and plots skip it."""
    samples = [face(25.0), face(31.0)]
    curves = robustness_curves(oracle, samples, DISTURBANCES)
    assert [len(curve.points) for curve in curves] == [1, 5, 0, 0]
    report = make_report(samples, predict(oracle, samples), "small", robustness=curves)
    assert "compressed" not in render_text(report)
    assert "compressed" not in render_html(report, [])
    assert json.loads(report_to_json(report))["robustness"]["jpeg"]["points"] == []
    assert robustness_png(report)


def test_the_picture_has_a_panel_a_curve(oracle) -> None:
    """Four curves take two rows of three; the same report gives the same bytes."""
    samples = [face(300.0), face(150.0)]
    curves = robustness_curves(oracle, samples, DISTURBANCES)
    report = make_report(samples, predict(oracle, samples), "two", robustness=curves)
    first, second = robustness_png(report), robustness_png(report)
    assert first == second
    one = robustness_png(replace(report, robustness=curves[:1]))
    (width, height), (single_width, single_height) = (Image.open(io.BytesIO(png)).size for png in (first, one))
    assert (width, height) == (3 * single_width, 2 * single_height)


def test_panels_share_a_scale_that_holds_every_curve(oracle) -> None:
    """No point leaves its panel, though the worst one is not in the first."""
    samples = [face(300.0), face(150.0)]
    points = tuple(
        RobustnessPoint(level, 2, Interval(error, error / 2, 2 * error), 0.01) for level, error in [(1, 0.01), (2, 0.3)]
    )
    curves = tuple(RobustnessCurve(name, name, name, points[:count]) for name, count in [("mild", 1), ("bad", 2)])
    figure = Figure()
    draw_panels(figure, make_report(samples, predict(oracle, samples), "two", robustness=curves))
    assert [place.get_ylim() for place in figure.axes] == [pytest.approx((0, 63))] * 2


def test_levels_are_sorted_and_single(centroid_model, blob_samples) -> None:
    """Whatever order they come in, each level is one point of the curve."""
    curve = box_jitter_curve(centroid_model, blob_samples, [0.1, 0.0, 0.1], 0.1)
    assert [point.level for point in curve] == [0.0, 0.1]


def test_level_zero_is_the_plain_error(centroid_model, blob_samples) -> None:
    """The curve starts at the report's own number."""
    truth = np.stack([sample.points for sample in blob_samples])
    errors = nme(predict(centroid_model, blob_samples), truth, interocular(truth, centroid_model.spec.schema))
    (point,) = box_jitter_curve(centroid_model, blob_samples, [0.0], 0.1)
    assert point.nme.value == pytest.approx(errors.mean())


def test_a_model_that_looks_at_nothing_suffers(fixed_model, blob_samples) -> None:
    """Points at fixed places of the crop move with the perturbed box."""
    normalized_points = np.array([[0.3, 0.3], [0.5, 0.7], [0.7, 0.3]])
    model = fixed_model(ModelSpec(blob_samples[0].schema, size=32, crop_scale=2.0), normalized_points)
    curve = box_jitter_curve(model, blob_samples, [0.0, 0.2, 0.4], 0.1)
    values = [point.nme.value for point in curve]
    assert values == sorted(values)
    assert values[-1] > 2 * values[0]


def _evaluate(model: Path, tree: Path, out: Path, *options: str) -> Result:
    words = ["evaluate", str(model), "--data", str(tree), "--report", str(out), *options]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return result


def test_the_flag_writes_the_curves(tree_300w, model_68, tmp_path) -> None:
    """Text, JSON, Markdown, page and picture; the tree's faces of 72 px are large enough for four sizes."""
    printed = _evaluate(model_68(), tree_300w, tmp_path / "r", "--robustness").output
    data = json.loads((tmp_path / "r" / "report.json").read_text())
    assert list(data["robustness"]) == ["face_size", "blur", "jpeg", "noise"]
    sizes = data["robustness"]["face_size"]["points"]
    assert [(point["level"], point["faces"]) for point in sizes] == [(64, 12), (48, 12), (32, 12), (20, 12)]
    assert set(sizes[0]) == {"level", "faces", "nme_inter_ocular", "nme_inter_ocular_untouched"}
    assert [point["level"] for point in data["box_jitter"]] == list(JITTER_LEVELS)
    assert data["origin"]["options"]["disturbances"] == ["face_size", "blur", "jpeg", "noise"]
    page, markdown = ((tmp_path / "r" / f"report.{kind}").read_text() for kind in ("html", "md"))
    for text in (printed, page, markdown):
        assert "When the face is small" in text
        assert "smaller than a level is left out of it" in text
    assert "Error when the face is small" in page
    assert Image.open(tmp_path / "r" / "robustness.png").format == "PNG"


def test_levels_of_jitter_asked_for_are_kept(tree_300w, model_68, tmp_path) -> None:
    """The flag adds the default levels of box jitter only where none are set."""
    _evaluate(model_68(), tree_300w, tmp_path / "r", "--robustness", "--box-jitter", "0.3")
    data = json.loads((tmp_path / "r" / "report.json").read_text())
    assert [point["level"] for point in data["box_jitter"]] == [0.3]


def test_without_the_flag_nothing_of_it_is_there(tree_300w, model_68, tmp_path) -> None:
    """No curve, no note, no jitter, and no picture left from the report before."""
    model, out = model_68(), tmp_path / "r"
    _evaluate(model, tree_300w, out, "--robustness")
    printed = _evaluate(model, tree_300w, out, "--force").output
    data = json.loads((out / "report.json").read_text())
    assert (data["robustness"], data["box_jitter"]) == ({}, [])
    assert not (out / "robustness.png").exists()
    assert "spoilt" not in printed


def test_predictions_cannot_be_disturbed(tree_300w, model_68, tmp_path) -> None:
    """Points on file cannot be made again from other pictures."""
    evaluate_model(model_68(), tree_300w, report_dir=tmp_path / "r")
    with pytest.raises(ConfigError, match="robustness needs the model itself"):
        evaluate_model(tmp_path / "r" / "predictions.json", tree_300w, disturbances=DISTURBANCES)
