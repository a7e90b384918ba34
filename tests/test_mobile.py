"""The golden picture, crop and points of docs/mobile, and the code there which apps copy."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmark.data.synthetic import synthetic_samples
from lightmark.detectors.face_detector import fit_input, merge_cells, read_settings
from lightmark.detectors.keypoint_box import roll_of_keypoints
from lightmark.geometry import invert, matrix_scale, transform
from lightmark.image import warp
from lightmark.landmarker import Landmarker
from lightmark.runtime.onnx_model import OnnxModel, open_session
from lightmark.runtime.shipped import DETECTORS, model_path
from lightmark.spec import face_box, face_roll, spec_crop_matrix
from lightmark.video.tracker import held_roll

FOLDER = Path(__file__).parents[1] / "docs" / "mobile"
GOLDEN = json.loads((FOLDER / "golden.json").read_text())
# Reads a picture, writes the crop's bytes and where the crop puts the normalized points of its corners and its middle.
CALL = """
import java.nio.file.*;
import java.awt.image.BufferedImage;
import javax.imageio.ImageIO;

public class Call {
    public static void main(String[] given) throws Exception {
        BufferedImage picture = ImageIO.read(Path.of(given[0]).toFile());
        int width = picture.getWidth(), height = picture.getHeight();
        byte[] rgb = new byte[width * height * 3];
        for (int i = 0; i < width * height; i++) {
            int pixel = picture.getRGB(i % width, i / width);
            for (int channel = 0; channel < 3; channel++) rgb[3 * i + channel] = (byte) (pixel >> (16 - 8 * channel));
        }
        double[] box = new double[4];
        for (int i = 0; i < 4; i++) box[i] = Double.parseDouble(given[2 + i]);
        int size = Integer.parseInt(given[6]);
        double scale = Double.parseDouble(given[7]), roll = Double.parseDouble(given[8]);
        FaceCrop crop = roll == 0 ? new FaceCrop(rgb, width, height, box, size, scale)
            : new FaceCrop(rgb, width, height, box, roll, size, scale);
        Files.write(Path.of(given[1]), crop.rgb);
        for (double unit : new double[] {0, 0.25, 1}) {
            double[] place = crop.toPicture(unit, 1 - unit);
            System.out.println(place[0] + " " + place[1] + " " + crop.toPixels(unit));
        }
    }
}
"""


# Reads a roll and points, writes the points' roll, their box and the roll to hold.
ROLL_CALL = """
public class Roll {
    public static void main(String[] given) {
        double[][] points = new double[(given.length - 1) / 2][2];
        for (int i = 1; i < given.length; i++) points[(i - 1) / 2][(i - 1) % 2] = Double.parseDouble(given[i]);
        double roll = FaceCrop.rollOf(points);
        System.out.println(roll);
        for (double side : FaceCrop.uprightBox(points, roll)) System.out.println(side);
        System.out.println(FaceCrop.heldRoll(Double.parseDouble(given[0]), roll));
    }
}
"""


# Reads a picture and the input's size, writes the input; with a detector's outputs, prints the faces in them.
BOXES_CALL = """
import java.nio.*;
import java.nio.file.*;

public class Boxes {
    static FloatBuffer read(String path) throws Exception {
        return ByteBuffer.wrap(Files.readAllBytes(Path.of(path))).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    }

    public static void main(String[] given) throws Exception {
        int[] sides = new int[4];
        for (int i = 0; i < 4; i++) sides[i] = Integer.parseInt(given[1 + i]);
        FaceBoxes input = new FaceBoxes(Files.readAllBytes(Path.of(given[0])), sides[0], sides[1], sides[2], sides[3]);
        Files.write(Path.of(given[5]), input.rgb);
        if (given.length == 6) return;
        FloatBuffer scored = read(given[6]), framed = read(given[7]), placed = read(given[8]);
        float[] scores = new float[scored.remaining()];
        scored.get(scores);
        float[][] boxes = new float[scores.length][4];
        for (float[] box : boxes) framed.get(box);
        float[][][] keypoints = placed.remaining() == 0 ? null : new float[scores.length][5][2];
        if (keypoints != null) for (float[][] cell : keypoints) for (float[] point : cell) placed.get(point);
        for (FaceBoxes.Face face : input.faces(boxes, scores, keypoints, Double.parseDouble(given[9]))) {
            for (double side : face.box) System.out.print(side + " ");
            System.out.println(face.roll + " " + face.score);
        }
    }
}
"""


def pixels(name: str) -> np.ndarray:
    return np.asarray(Image.open(FOLDER / name).convert("RGB"))


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    return OnnxModel(model_path(GOLDEN["model"]))


def test_crop_is_the_one_that_the_package_cuts(model):
    crop = warp(pixels("picture.png"), spec_crop_matrix(model.spec, np.array(GOLDEN["box"])), model.spec.size)
    np.testing.assert_array_equal(crop, pixels("crop.png"))
    assert (GOLDEN["size"], GOLDEN["crop_scale"]) == (model.spec.size, model.spec.crop_scale)


def test_the_rolled_crop_is_the_one_that_the_package_cuts(model):
    """The same box with a roll taken out: pixels, corners, and roll and box of the rolled points."""
    rolled, spec, box = GOLDEN["rolled"], model.spec, np.array(GOLDEN["box"])
    matrix = spec_crop_matrix(spec, box, rolled["roll"])
    np.testing.assert_array_equal(warp(pixels("picture.png"), matrix, spec.size), pixels("rolled.png"))
    corners = np.array([[0, 0], [1, 0], [1, 1]]) * spec.size - 0.5
    np.testing.assert_allclose(transform(matrix, np.array(rolled["corners"])), corners, atol=1e-5)
    points = np.array(rolled["points"])
    assert face_roll(spec, points) == pytest.approx(rolled["points_roll"], abs=1e-5)
    np.testing.assert_allclose(face_box(spec, points, roll=rolled["points_roll"]), rolled["points_box"], atol=1e-5)
    assert rolled["points_roll"] == pytest.approx(rolled["roll"], abs=10)


def test_golden_numbers_are_the_shipped_model_s(model):
    outputs = model.outputs(pixels("crop.png")[None])
    np.testing.assert_allclose(outputs.normalized_points[0], GOLDEN["normalized_points"], atol=0.01 / model.spec.size)
    np.testing.assert_allclose(outputs.expected_error[0], GOLDEN["normalized_error"], atol=0.01 / model.spec.size)
    assert outputs.confidence[0] == pytest.approx(GOLDEN["confidence"], abs=0.001)


def test_golden_points_lie_on_the_picture():
    (face,) = Landmarker(GOLDEN["model"], "cascade").landmarks(
        pixels("picture.png"), [np.array(GOLDEN["box"])], angles=[0.0]
    )
    np.testing.assert_allclose(face.points, GOLDEN["points"], atol=0.03)
    np.testing.assert_allclose(face.expected_error, GOLDEN["expected_error"], atol=0.03)


@pytest.fixture(scope="module")
def java_roll(java):
    """Calls Java with 68 points and the roll held before: roll and box of the points, and the roll to hold."""
    folder = java.keywords["folder"]
    (folder / "Roll.java").write_text(ROLL_CALL)
    subprocess.run(["javac", "-cp", folder, "-d", folder, folder / "Roll.java"], check=True)

    def call(points: np.ndarray, held: float) -> list[float]:
        command = ["java", "-cp", folder, "Roll", held, *points.ravel()]
        printed = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
        return [float(number) for number in printed.split()]

    return call


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    """Calls the compiled FaceCrop.java: (picture, box, size) → crop and places."""
    if shutil.which("javac") is None or shutil.which("java") is None:
        pytest.skip("no JDK here; FaceCrop.java is compiled where there is one")
    folder = tmp_path_factory.mktemp("java")
    (folder / "Call.java").write_text(CALL)
    subprocess.run(["javac", "-d", folder, FOLDER / "FaceCrop.java", folder / "Call.java"], check=True)

    def call(picture: np.ndarray, box: np.ndarray, size: int, scale: float, roll: float, folder: Path):
        Image.fromarray(picture).save(folder / "in.png")
        given = [folder / "in.png", folder / "out.bin", *box, size, scale, roll]
        command = ["java", "-Djava.awt.headless=true", "-cp", folder, "Call", *map(str, given)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        crop = np.frombuffer((folder / "out.bin").read_bytes(), np.uint8).reshape(size, size, 3)
        return crop, np.array([line.split() for line in printed.splitlines()], dtype=float)

    return partial(call, folder=folder)


@pytest.mark.parametrize("roll", [0.0, 70.0, -155.0])
@pytest.mark.parametrize(
    "box",
    [GOLDEN["box"], [150.2, 160.9, 222.4, 231.0], [-40.0, 300.5, 180.0, 560.0]],
    ids=["reduced", "as it is", "over the border"],
)
def test_java_cuts_the_same_crop(java, model, box, roll):
    """But for OpenCV's sampling at whole 1/32 of a pixel; and the way back is the inverse."""
    picture, spec = pixels("picture.png"), model.spec
    matrix = spec_crop_matrix(spec, np.array(box), roll)
    crop, places = java(picture, np.array(box), spec.size, spec.crop_scale, roll)
    expected = warp(picture, matrix, spec.size)
    difference = np.abs(crop.astype(int) - expected)
    assert (difference > 1).mean() < 0.02
    assert difference.max() <= 8
    if not roll:  # the face is upright: in a turned crop the model sees none, and its points mean nothing
        found, known = (model.outputs(picture[None]).normalized_points for picture in (crop, expected))
        moved = np.abs(found - known) * spec.size
        assert moved.mean() < 0.15
        assert moved.max() < 0.45
    in_crop = np.array([[0, 1], [0.25, 0.75], [1, 0]]) * spec.size - 0.5
    np.testing.assert_allclose(places[:, :2] @ matrix[:, :2].T + matrix[:, 2], in_crop, atol=1e-9)
    np.testing.assert_allclose(places[:, 2] * matrix_scale(matrix), np.array([0, 0.25, 1]) * spec.size, atol=1e-9)


def test_java_has_the_roll_and_box_of_points(java_roll):
    """Those of the golden points, rolled; what it holds is what the tracker holds."""
    rolled = GOLDEN["rolled"]
    for held in (0.0, 90.0, -180.0):
        roll, *box, kept = java_roll(np.array(rolled["points"]), held)
        assert roll == pytest.approx(rolled["points_roll"], abs=1e-4)
        np.testing.assert_allclose(box, rolled["points_box"], atol=1e-3)
        assert kept == pytest.approx(held_roll(held, rolled["points_roll"]), abs=1e-4)


@pytest.fixture(scope="module")
def java_boxes(java):
    """Calls FaceBoxes.java: (picture, width, height, outputs, threshold) → input of the detector, rows of faces."""
    folder = java.keywords["folder"]
    (folder / "Boxes.java").write_text(BOXES_CALL)
    sources = [FOLDER / "FaceBoxes.java", folder / "Boxes.java"]
    subprocess.run(["javac", "-cp", folder, "-d", folder, *sources], check=True)

    def call(picture: np.ndarray, width: int, height: int, outputs: tuple[np.ndarray, ...] = (), threshold: float = 0):
        (folder / "picture.rgb").write_bytes(picture.tobytes())
        given = [folder / "picture.rgb", picture.shape[1], picture.shape[0], width, height, folder / "input.rgb"]
        for number, output in enumerate(outputs):
            (folder / f"{number}.bin").write_bytes(output.astype("<f4").tobytes())
        read = [*(folder / f"{number}.bin" for number in range(3)), threshold] if outputs else []
        command = ["java", "-cp", folder, "Boxes", *map(str, [*given, *read])]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows = np.array([line.split() for line in printed.splitlines()], dtype=float).reshape(-1, 6)
        return np.frombuffer((folder / "input.rgb").read_bytes(), np.uint8).reshape(height, width, 3), rows

    return call


@pytest.mark.parametrize(("width", "height"), [(480, 480), (479, 301), (120, 200), (100, 40)])
def test_java_fits_a_picture_into_the_detector_s_input(java_boxes, width, height):
    """As FaceDetector does, in an input whose longer side the picture has."""
    picture = np.ascontiguousarray(pixels("picture.png")[:height, :width])
    matrix, size = fit_input(picture.shape[:2], 160, 32)
    fitted, _ = java_boxes(picture, *size)
    difference = np.abs(fitted.astype(int) - warp(picture, matrix, size))
    assert (difference > 1).mean() < 0.02
    assert difference.max() <= 8


def test_java_chooses_the_faces_that_the_package_chooses(java_boxes):
    """Of random cells: boxes in the picture, scores and rolls, near ones blended; without key points no roll."""
    rng, picture = np.random.default_rng(0), np.zeros((200, 400, 3), np.uint8)
    matrix, size = fit_input(picture.shape[:2], 320, 32)
    centres, sides = rng.uniform(0, 320, (300, 1, 2)), rng.uniform(20, 80, (300, 1, 2))
    centres[150:], sides[150:] = centres[:150] + rng.uniform(-4, 4, (150, 1, 2)), sides[:150]
    boxes = (centres + sides * np.array([[-0.5], [0.5]])).reshape(-1, 4).astype(np.float32)
    scores = rng.permutation(300).astype(np.float32) / 300
    keypoints = (centres + rng.uniform(-40, 40, (300, 5, 2))).astype(np.float32)
    chosen, merged = merge_cells(boxes.astype(float), scores, 0.4)
    blended = (merged != boxes[chosen]).any(axis=1)
    assert 10 < blended.sum() < len(chosen) - 10, "some cells are near others, some are not"
    _, faces = java_boxes(picture, *size, (scores, boxes, keypoints), 0.4)
    expected = transform(invert(matrix), merged.reshape(-1, 2, 2)).reshape(-1, 4)
    np.testing.assert_allclose(faces[:, :4], expected, atol=1e-3)
    np.testing.assert_allclose(faces[:, 4], roll_of_keypoints(keypoints[chosen]), atol=1e-3)
    np.testing.assert_allclose(faces[:, 5], scores[chosen], atol=1e-6)
    _, without = java_boxes(picture, *size, (scores, boxes, keypoints[:0]), 0.4)
    np.testing.assert_allclose(without[:, :4], expected, atol=1e-3)
    assert np.isnan(without[:, 4]).all()


def test_litert_file_of_the_detector_is_the_same(tmp_path):
    """`convert_detector` compares it with onnxruntime; what it returns is what the apps' code has as defaults."""
    for package in ("litert_torch", "ai_edge_litert"):
        pytest.importorskip(package, reason='needs LiteRT: pip install "lightmark[litert]"')
    from lightmark.export.detector_formats import convert_detector

    convert_detector(model_path("face", registry=DETECTORS), tmp_path / "face.tflite", "litert", (160, 128))
    assert (tmp_path / "face.tflite").stat().st_size > 500_000


def test_litert_file_gives_the_golden_points(tmp_path, model):
    """What Android runs, fed with the golden crop's bytes."""
    for package in ("litert_torch", "ai_edge_litert"):
        pytest.importorskip(package, reason='needs LiteRT: pip install "lightmark[litert]"')
    from lightmark.export.exporter import export_formats
    from lightmark.runtime.model_file import open_exported

    out = tmp_path / "fast.tflite"
    export_formats(model_path(GOLDEN["model"]), {"litert": out}, synthetic_samples(20, seed=7), uint8_input=True)
    outputs = open_exported(out).outputs(pixels("crop.png")[None])
    np.testing.assert_allclose(outputs.normalized_points[0], GOLDEN["normalized_points"], atol=0.01 / model.spec.size)
    np.testing.assert_allclose(outputs.expected_error[0], GOLDEN["normalized_error"], atol=0.01 / model.spec.size)
    assert outputs.confidence[0] == pytest.approx(GOLDEN["confidence"], abs=0.001)


def test_numbers_in_the_apps_code_are_the_model_s(model):
    """Defaults of the Kotlin and Swift classes."""
    size, scale = model.spec.size, model.spec.crop_scale
    assert f"size: Int = {size}, private val cropScale: Double = {scale}" in (FOLDER / "Landmarks.kt").read_text()
    assert f"size: Int = {size}, cropScale: Double = {scale}" in (FOLDER / "Landmarks.swift").read_text()
    path = model_path("face", registry=DETECTORS)
    settings = read_settings(open_session(path, threads=1), path)
    threshold, possible = settings["threshold"], settings["possible"]
    kotlin, swift = ((FOLDER / f"FaceDetector.{suffix}").read_text() for suffix in ("kt", "swift"))
    assert f"val threshold: Float = {threshold}f, val possible: Float = {possible}f" in kotlin
    assert f"threshold: Float = {threshold}, possible: Float = {possible}" in swift
